"""Layers that put out tokens, or channels last: the same maps as from the definition, and no silent mix-up."""

import re
import warnings
from collections import OrderedDict

import pytest
import timm
import torch
import torchvision
from torch import nn

import batchcam
from batchcam.layouts import channels_last, looks_channels_last, tokens
from tests.toys import (
    METHODS,
    NUM_CLASSES,
    Apply,
    batch,
    hooks,
    parameter_gradients,
    plain_grad_cam,
    relative_error,
    toy,
    transformer,
)

#: A model, and the layout of its layer.
CASES = {
    "class token": lambda: (transformer(), tokens(4, 3)),
    "class token and three registers": lambda: (transformer(skip=4), tokens(4, 3, skip=4)),
    "no class token": lambda: (transformer(skip=0), tokens(4, 3, skip=0)),
    "channels last": lambda: (transformer(skip=0, channels_last=True), channels_last),
    "one's own": lambda: (transformer(skip=2), lambda x: x[:, 2:].mT.reshape(len(x), 8, 4, 3)),
}


def said_to_capture(model, images, targets, layout, **options):
    with batchcam.capture(model.layer, layout=layout) as captured:
        logits = model(images)
    return batchcam.grad_cam(captured.activations, logits, targets, **options)


def said_twice(model, images, targets, layout, **options):
    with batchcam.capture(model.layer, layout=layout) as captured:
        logits = model(images)
    return batchcam.grad_cam(captured.activations, logits, targets, layout=layout, **options)


def without_capture(model, images, targets, layout, **options):
    split = [name for name, _ in model.named_children()].index("layer") + 1
    features = model[:split](images)
    return batchcam.grad_cam(features, model[split:](features), targets, layout=layout, **options)


def captured_under_no_grad(model, images, targets, layout, **options):
    with torch.no_grad():
        return said_to_capture(model, images, targets, layout, **options)


def explained(model, images, targets, layout, **options):
    return batchcam.explain(model, model.layer, images, targets, layout=layout, **options)[1]


def looped(model, images, targets, layout, **options):
    return batchcam.grad_cam_loop(model, model.layer, images, targets, layout=layout, **options)


WAYS = [said_to_capture, said_twice, without_capture, captured_under_no_grad, explained, looped]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_maps_of_the_definition(way, case, method):
    (model, layout), (images, targets) = CASES[case](), batch()
    expected = plain_grad_cam(model, images, targets, method=method, layout=layout)
    maps = way(model, images, targets, layout, method=method)
    assert maps.shape == (4, 4, 3)
    assert relative_error(maps, expected) < 1e-10
    assert hooks(model) == 0


@pytest.mark.parametrize("case", CASES)
def test_all_classes(case):
    (model, layout), (images, targets) = CASES[case](), batch()
    expected = plain_grad_cam(model, images, targets, relu=False, layout=layout)
    for way in (said_to_capture, explained):
        maps = way(model, images, "all", layout, relu=False)
        assert relative_error(maps[range(4), targets], expected) < 1e-10


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", [said_to_capture, without_capture])
def test_batch_equals_loop_for_the_gradients_of_the_parameters(way, case, method):
    (model, layout), (images, targets) = CASES[case](), batch()
    ours = way(model, images, targets, layout, method=method, create_graph=True)
    loop = looped(model, images, targets, layout, method=method, create_graph=True)
    ours, loop = (parameter_gradients(maps, model.parameters()) for maps in (ours, loop))
    assert relative_error(ours, loop) < 1e-10


def test_gradients_of_the_maps_agree_with_finite_differences():
    model, images = transformer(skip=2), batch(2)[0]
    names, values = zip(*model[: list(model).index(model.layer) + 1].named_parameters(), strict=True)

    def maps(*values):
        with batchcam.capture(model.layer, layout=tokens(4, 3, skip=2)) as captured:
            logits = torch.func.functional_call(model, dict(zip(names, values, strict=True)), images)
        return batchcam.grad_cam(captured.activations, logits, torch.tensor([1, 4]), create_graph=True, relu=False)

    assert torch.autograd.gradcheck(maps, values, fast_mode=True)


def test_layouts_by_hand():
    output = torch.arange(14.0).view(1, 7, 2)  # a class token and 2×3 patches, each of two channels
    assert tokens(2, 3)(output)[0].tolist() == [[[2, 4, 6], [8, 10, 12]], [[3, 5, 7], [9, 11, 13]]]
    assert torch.equal(tokens(2, 2, skip=3)(output)[0, 0], torch.tensor([[6.0, 8], [10, 12]]))
    assert torch.equal(channels_last(output.view(1, 7, 1, 2))[0, 1, :, 0], torch.tensor([1.0, 3, 5, 7, 9, 11, 13]))


def test_the_activations_are_the_output_itself():
    """What the logits depend on; an arranged copy they would not."""
    model, (images, _) = transformer(), batch()
    with batchcam.capture(model.layer, layout=tokens(4, 3)) as captured:
        model(images)
    assert captured.activations.shape == (4, 13, 8)
    assert torch.equal(captured.activations, model[:5](images))


def test_after_the_last_block_only_the_class_token_counts_and_that_is_said():
    model, (images, targets) = transformer(), batch()
    model.add_module("layer", model._modules.pop("last"))  # reads its output at the class token alone
    model.read, model.fc = model._modules.pop("read"), model._modules.pop("fc")
    with pytest.warns(UserWarning, match="every map is zero.*choose an earlier layer") as caught:
        maps = explained(model, images, targets, tokens(4, 3))
    assert caught[0].filename == __file__
    assert maps.abs().max() == 0


def test_a_dead_relu_is_not_said_to_be_a_class_token():
    """Without a layout, maps of zero are what Grad-CAM often gives, and an empty batch has none."""
    model, (images, targets) = toy("relu"), batch()
    model.fc.weight.data.zero_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert batchcam.explain(model, model.layer, images, targets)[1].abs().max() == 0
        assert said_to_capture(transformer(), images[:0], targets[:0], tokens(4, 3)).shape == (0, 4, 3)


# What looks channels-last, or has no place to look at


class Layer(nn.Module):
    """Puts out a tensor of some shape, and has parameters of some lengths."""

    def __init__(self, shape, lengths):
        super().__init__()
        self.shape = shape
        self.biases = nn.ParameterList([nn.Parameter(torch.ones(length)) for length in lengths])
        self.scale, self.table = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(12, 1, 1))

    def forward(self, x):
        return torch.rand(len(x), *self.shape).to(x) * x.mean((1, 2, 3)).view(-1, 1, 1, 1)


def shaped(shape, lengths=()):
    read = Apply(lambda x: x.flatten(1)[:, :NUM_CLASSES])
    return nn.Sequential(OrderedDict(layer=Layer(shape, lengths), read=read)).double()


#: Shape without N, lengths of the layer's parameters, and whether it looks channels-last.
SHAPES = [
    ((7, 7, 768), (768, 3072, 169), True),  # Swin
    ((12, 12, 768), (768,), True),  # as many heads as rows
    ((14, 10, 384), (384, 1536), True),  # images that are not square
    ((10, 14, 384), (384, 1536), True),
    ((56, 56, 32), (32,), True),
    ((7, 7, 768), (), True),  # dropout or an identity
    ((512, 7, 7), (512,), False),
    ((64, 112, 112), (64,), False),
    ((48, 12, 12), (24, 12), False),  # concatenated branches
    ((512, 28, 32), (480, 32), False),  # DenseNet with a growth rate of 32
    ((64, 50, 200), (64,), False),  # spectrograms
    ((64, 64, 300), (64,), False),
    ((64, 64, 128), (64, 128), False),  # early layers for images twice as wide as high
    ((64, 64, 128), (), False),
    ((3, 40, 64), (), False),
    ((64, 40, 30), (), False),
]


@pytest.mark.parametrize("way", [said_to_capture, captured_under_no_grad, explained, looped])
@pytest.mark.parametrize(("shape", "lengths", "looks"), SHAPES)
def test_what_looks_channels_last_is_said_so(way, shape, lengths, looks):
    model, (images, targets) = shaped(shape, lengths), batch()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        way(model, images, targets, None)
    said = [str(warning.message) for warning in caught]
    assert len(said) == looks
    if looks:
        sizes = ", ".join(map(str, shape))
        assert re.search(rf"\(\d, {sizes}\) look like \(N,h,w,K\): pass layout=batchcam.layouts.channels_last", said[0])
        assert caught[0].filename == __file__


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (64, 128)])
@pytest.mark.parametrize(
    "name",
    ["resnet18", "densenet121", "mobilenetv3_small_050", "efficientnet_b0", "convnext_atto", "dla34", "regnetx_002"],
)
def test_no_layer_of_an_ordinary_network_is_suspected(name, size):
    suspected, seen = [], []

    def look(layer, args, output):
        if isinstance(output, torch.Tensor) and output.ndim == 4:
            seen.append(layer)
            if looks_channels_last(output, layer):
                suspected.append((type(layer), output.shape))

    model = timm.create_model(name).eval()
    for layer in model.modules():
        layer.register_forward_hook(look)
    with torch.no_grad():
        model(torch.rand(1, 3, *size))
    assert len(seen) > 50
    assert suspected == []


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (64, 128)])
def test_swin_is_suspected_at_each_stage_and_has_the_maps_of_its_layout(size):
    model = torchvision.models.swin_t(num_classes=NUM_CLASSES).double().eval()
    images, targets = torch.rand(2, 3, *size, dtype=torch.float64), torch.tensor([1, 4])
    for stage in (0, 1, 3, 5, 7):
        with pytest.warns(UserWarning, match="look like"), torch.no_grad():
            batchcam.explain(model, model.features[stage], images, targets)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            logits, maps = batchcam.explain(model, model.features[stage], images, targets, layout=channels_last)
    A = model.features(images).detach().requires_grad_()
    after = nn.Sequential(model.norm, model.permute, model.avgpool, model.flatten, model.head)(A)
    torch.testing.assert_close(after.detach(), logits, rtol=1e-10, atol=1e-12)
    after.gather(1, targets[:, None]).sum().backward()
    expected = (A.grad.mean((1, 2), keepdim=True) * A.detach()).sum(-1).relu()
    assert relative_error(maps, expected) < 1e-10


def test_a_layout_says_that_one_knows():
    model, (images, targets) = shaped((7, 7, 768), (768,)), batch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert said_to_capture(model, images, targets, channels_last).shape == (4, 7, 7)
        assert explained(model, images, targets, lambda A: A).shape == (4, 7, 768)


def test_without_capture_only_the_shape_can_be_judged():
    model, (images, targets) = shaped((7, 7, 768), (768,)), batch()
    features = model[0](images).requires_grad_()
    with pytest.warns(UserWarning, match="look like"):
        batchcam.grad_cam(features, model[1](features), targets)
    model = shaped((64, 40, 30), (64,))
    features = model[0](images).requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batchcam.grad_cam(features, model[1](features), targets)


@pytest.mark.parametrize("way", [said_to_capture, captured_under_no_grad, explained, looped])
def test_a_1x1_layer_is_warned_of(way):
    model, (images, targets) = shaped((8, 1, 1)), batch()
    with pytest.warns(UserWarning, match="activations are 1×1, .* choose an earlier layer") as caught:
        assert way(model, images, targets, None).shape == (4, 1, 1)
    assert len(caught) == 1
    assert caught[0].filename == __file__


# Bad arguments


@pytest.mark.parametrize(
    ("layout", "error", "message"),
    [
        (None, ValueError, r"the captured layer's output must be \(N,K,h,w\), got float64 of shape \(\d, 13, 8\)"),
        ("channels_last", TypeError, "layout must be a function, such as batchcam.layouts.channels_last, got a str"),
        (channels_last, ValueError, r"channels_last needs an output \(N,h,w,K\), got float64 of shape \(\d, 13, 8\)"),
        (tokens(3, 3), ValueError, r"tokens\(3, 3, skip=1\) needs an output \(N,10,K\), got .* \(\d, 13, 8\)"),
        (
            lambda x: x,
            ValueError,
            r"what the layout makes of the captured .* must be \(N,K,h,w\), got .* \(\d, 13, 8\)",
        ),
        (lambda x: None, TypeError, r"what the layout makes of .* must be a floating-point .* got a NoneType"),
        (lambda x: x[:0, ..., None], ValueError, r"the layout makes \(0, .*\) of .* \(\d, 13, 8\): N differs"),
    ],
)
@pytest.mark.parametrize("way", [said_to_capture, explained, looped])
def test_a_layout_that_does_not_fit_is_named(way, layout, error, message):
    model, (images, targets) = transformer(), batch()
    with pytest.raises(error, match=message):
        way(model, images, targets, layout)
    assert hooks(model) == 0


def test_a_layout_that_does_not_fit_is_named_by_grad_cam():
    model, (images, targets) = transformer(), batch()
    for layout, message in (
        (None, r"activations must be \(N,K,h,w\)"),
        (tokens(2, 2), r"tokens\(2, 2, skip=1\) needs"),
    ):
        with pytest.raises(ValueError, match=message):
            without_capture(model, images, targets, layout)


@pytest.mark.parametrize("output", [(1, 2), torch.ones(4, 13, 8).long()])
def test_a_layout_needs_one_floating_point_tensor(output):
    model, (images, _) = transformer(), batch()
    model.layer = Apply(lambda x: output)
    with batchcam.capture(model.layer, layout=tokens(4, 3)) as captured, pytest.raises((TypeError, RuntimeError)):
        model(images)
    with pytest.raises(
        TypeError, match=r"captured layer's output must be a floating-point tensor, got (a tuple|int64)"
    ):
        _ = captured.activations


@pytest.mark.parametrize("arguments", [(0, 3), (4, -1), (4, 3, -1)])
def test_a_grid_without_patches_is_refused(arguments):
    with pytest.raises(ValueError, match="tokens needs height and width ≥ 1 and skip ≥ 0, got"):
        tokens(*arguments)

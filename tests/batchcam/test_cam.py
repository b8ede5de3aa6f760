"""capture, grad_cam and grad_cam_loop: the maps are right in every surrounding, and so are their gradients."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

import batchcam
from bench.cell import backbones
from tests.toys import (
    NUM_CLASSES,
    SIZE,
    TOYS,
    Apply,
    batch,
    hooks,
    parameter_gradients,
    plain_grad_cam,
    relative_error,
    toy,
)

BACKBONES = [
    ("simple_cnn", 23),
    ("simple_cnn", 56),
    ("resnet18", 23),
    ("resnet18", 56),
    ("convnextv2_tiny", 23),
    ("convnextv2_tiny", 56),
]


def captured_run(model, layer, images):
    with batchcam.capture(layer) as captured:
        logits = model(images)
    return captured.activations, logits


def vectorised(model, layer, images, targets, **options):
    activations, logits = captured_run(model, layer, images)
    return batchcam.grad_cam(activations, logits, targets, **options)


def recorded_under_no_grad(model, layer, images, targets):
    with torch.no_grad():
        activations, logits = captured_run(model, layer, images)
    return batchcam.grad_cam(activations, logits, targets)


def differentiated_under_no_grad(model, layer, images, targets):
    activations, logits = captured_run(model, layer, images)
    with torch.no_grad():
        return batchcam.grad_cam(activations, logits, targets, create_graph=True)


def no_grad_inside_capture(model, layer, images, targets):
    with batchcam.capture(layer) as captured, torch.no_grad():
        logits = model(images)
    return batchcam.grad_cam(captured.activations, logits, targets)


def explained(model, layer, images, targets):
    return batchcam.explain(model, layer, images, targets)[1]


def surrounded(function, context, **options):
    def inside(model, layer, images, targets):
        with context():
            # Copies, since tensors made inside inference mode are of another kind.
            return function(model, layer, images.clone(), targets.clone(), **options)

    return inside


def frozen(function, **options):
    def with_frozen_parameters(model, layer, images, targets):
        return function(model.requires_grad_(False), layer, images, targets, **options)

    return with_frozen_parameters


def channels_last(function, **options):
    def in_channels_last(model, layer, images, targets):
        images = images.to(memory_format=torch.channels_last)
        return function(model.to(memory_format=torch.channels_last), layer, images, targets, **options)

    return in_channels_last


def training_but_for_its_norms(function):
    """Training mode changes nothing where BatchNorm alone stays in eval mode."""

    def run(model, layer, images, targets):
        model.train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return function(model, layer, images, targets)

    return run


#: Ways to the same maps.
WAYS = {
    "capture": vectorised,
    "capture, create_graph": lambda *a: vectorised(*a, create_graph=True),
    "capture in training mode": training_but_for_its_norms(vectorised),
    "capture and grad_cam under no_grad": surrounded(vectorised, torch.no_grad),
    "capture under no_grad": recorded_under_no_grad,
    "no_grad inside capture": no_grad_inside_capture,
    "grad_cam under no_grad": differentiated_under_no_grad,
    "capture, frozen": frozen(vectorised),
    "capture, frozen, create_graph": frozen(vectorised, create_graph=True),
    "capture, frozen, under no_grad": frozen(surrounded(vectorised, torch.no_grad)),
    "capture, channels-last": channels_last(vectorised),
    "capture, channels-last, create_graph": channels_last(vectorised, create_graph=True),
    "explain": explained,
    "explain under no_grad": surrounded(explained, torch.no_grad),
    "explain under inference_mode": surrounded(explained, torch.inference_mode),
    "explain, frozen": frozen(explained),
    "explain, channels-last": channels_last(explained),
    "explain in training mode": training_but_for_its_norms(explained),
    "loop": batchcam.grad_cam_loop,
    "loop, create_graph": partial(batchcam.grad_cam_loop, create_graph=True),
    "loop under no_grad": surrounded(batchcam.grad_cam_loop, torch.no_grad),
    "loop under inference_mode": surrounded(batchcam.grad_cam_loop, torch.inference_mode),
    "loop, frozen": frozen(batchcam.grad_cam_loop),
    "loop, frozen, create_graph": frozen(batchcam.grad_cam_loop, create_graph=True),
    "loop, channels-last": channels_last(batchcam.grad_cam_loop),
    "loop in training mode": training_but_for_its_norms(batchcam.grad_cam_loop),
}


@pytest.mark.parametrize("kind", TOYS)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_maps_of_the_definition(way, kind):
    model, (images, targets) = toy(kind), batch()
    expected = plain_grad_cam(model, images, targets)
    maps = WAYS[way](model, model.layer, images, targets)
    assert maps.shape == (4, SIZE[0] - 2, SIZE[1] - 2)
    assert maps.dtype == torch.float64
    assert relative_error(maps, expected) < 1e-10
    assert hooks(model) == 0


@pytest.mark.parametrize("kind", TOYS)
def test_relu_false_leaves_the_negative_evidence_in(kind):
    model, (images, targets) = toy(kind), batch()
    expected = plain_grad_cam(model, images, targets, relu=False)
    assert expected.min() < 0 < expected.max()
    assert relative_error(vectorised(model, model.layer, images, targets, relu=False), expected) < 1e-10
    every = vectorised(model, model.layer, images, "all", relu=False)
    assert relative_error(every[range(4), targets], expected) < 1e-10
    assert relative_error(batchcam.explain(model, model.layer, images, targets, relu=False)[1], expected) < 1e-10


def test_map_by_hand():
    # y = Σ w·A, so ∂y/∂A = w: α_0 = mean(1, 2, 3, 4) = 2.5 and α_1 = mean(−1, −1, −1, −5) = −2
    w = torch.tensor([[[1.0, 2], [3, 4]], [[-1, -1], [-1, -5]]])
    A = torch.tensor([[[[1.0, 0], [2, 4]], [[1, 1], [1, 8]]]], requires_grad=True)
    logits = torch.stack([(w * A).sum((1, 2, 3)), (A * 0).sum((1, 2, 3))], dim=1)
    assert batchcam.grad_cam(A, logits, torch.tensor([0])).tolist() == [[[0.5, 0], [3, 0]]]
    assert batchcam.grad_cam(A, logits, torch.tensor([0]), relu=False).tolist() == [[[0.5, -2], [3, -6]]]
    assert batchcam.grad_cam(A, logits, "all").tolist() == [[[[0.5, 0], [3, 0]], [[0, 0], [0, 0]]]]


@pytest.mark.parametrize("create_graph", [False, True])
def test_behind_pooling_and_a_linear_layer_the_map_has_a_closed_form(create_graph):
    model, (images, targets) = toy("pool_linear"), batch()
    A, logits = captured_run(model, model.layer, images)
    every = torch.einsum("ck,nkhw->nchw", model.fc.weight, A).relu() / A[0, 0].numel()
    cases: list[tuple[Tensor | Literal["all"], Tensor]] = [("all", every), (targets, every[range(4), targets])]
    for chosen, expected in cases:
        maps = batchcam.grad_cam(A, logits, chosen, create_graph=create_graph)
        assert relative_error(maps, expected) < 1e-12
        if create_graph:
            ours, theirs = (parameter_gradients(m, model.parameters()) for m in (maps, expected))
            assert relative_error(ours, theirs) < 1e-10


@pytest.mark.parametrize("kind", TOYS)
def test_all_equals_stacking_single_targets(kind):
    model, (images, _) = toy(kind), batch()
    singles = [
        vectorised(model, model.layer, images, torch.full((4,), c), create_graph=True) for c in range(NUM_CLASSES)
    ]
    every = vectorised(model, model.layer, images, "all", create_graph=True)
    assert every.shape[:2] == (4, NUM_CLASSES)
    assert relative_error(every, torch.stack(singles, dim=1)) < 1e-12
    ours, theirs = (parameter_gradients(m, model.parameters()) for m in (every, torch.stack(singles, dim=1)))
    assert relative_error(ours, theirs) < 1e-10


@pytest.mark.parametrize("kind", TOYS)
def test_batch_equals_loop_for_the_gradients_of_the_parameters(kind):
    model, (images, targets) = toy(kind), batch()
    ours = vectorised(model, model.layer, images, targets, create_graph=True)
    loop = batchcam.grad_cam_loop(model, model.layer, images, targets, create_graph=True)
    with torch.no_grad():
        lifted = batchcam.grad_cam_loop(model, model.layer, images, targets, create_graph=True)
    of_ours, of_loop, of_lifted = (parameter_gradients(m, model.parameters()) for m in (ours, loop, lifted))
    assert relative_error(of_ours, of_loop) < 1e-10
    assert relative_error(of_lifted, of_loop) < 1e-12


@pytest.mark.parametrize(("name", "resolution"), BACKBONES)
def test_batch_equals_loop_on_the_backbones(name, resolution):
    model, layer = backbones.build(name, resolution, num_classes=10)
    model = model.double().eval()
    with torch.no_grad():
        # Away from the initial values, where GRN and the norms' shifts are zero and have no second-order terms.
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                if parameter.abs().max() == 0 or "Norm" in type(module).__name__:
                    parameter.add_(torch.randn_like(parameter) * 0.2)
            if isinstance(module, nn.BatchNorm2d):
                module.get_buffer("running_mean").uniform_(-0.1, 0.1)
                module.get_buffer("running_var").uniform_(0.5, 2)
    images, targets = torch.rand(2, 1, resolution, resolution, dtype=torch.float64), torch.tensor([7, 2])
    ours = vectorised(model, layer, images, targets, create_graph=True)
    loop = batchcam.grad_cam_loop(model, layer, images, targets, create_graph=True)
    explained_maps = batchcam.explain(model, layer, images, targets)[1]
    assert relative_error(ours, loop) < 1e-10
    assert relative_error(explained_maps, loop) < 1e-10
    of_ours, of_loop = (parameter_gradients(m, model.parameters()) for m in (ours, loop))
    assert relative_error(of_ours, of_loop) < 1e-10


# Gradients through the maps


@pytest.mark.parametrize("targets", [torch.tensor([0, 1]), "all"], ids=["single", "all"])
@pytest.mark.parametrize("relu", [False, True])
def test_gradients_of_the_maps_agree_with_finite_differences(targets, relu):
    # As few parameters as finite differences can afford, and no kink.
    layer = nn.Conv2d(2, 2, 2)
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Tanh(), layer, nn.GELU(), nn.Conv2d(2, 2, 2), Apply(torch.sin))
    model = model.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten()).append(nn.Linear(2, 3)).double()
    images = torch.rand(2, 1, 5, 5, dtype=torch.float64)
    names, values = zip(*model.named_parameters(), strict=True)

    def maps(*values):
        with batchcam.capture(layer) as captured:
            logits = torch.func.functional_call(model, dict(zip(names, values, strict=True)), images)
        return batchcam.grad_cam(captured.activations, logits, targets, create_graph=True, relu=relu)

    assert maps(*values).max() > 0
    assert torch.autograd.gradcheck(maps, values)


@pytest.mark.parametrize("route", ["activations", "weights"])
def test_gradients_pass_through_the_activations_and_through_the_weights(route):
    """Cutting either route changes the gradient, and the two add up."""
    model, (images, targets) = toy("gelu_norms"), batch()
    A, logits = captured_run(model, model.layer, images)
    maps = batchcam.grad_cam(A, logits, targets, create_graph=True, relu=False)
    score = logits.gather(1, targets[:, None]).sum()
    alpha = torch.autograd.grad(score, A, create_graph=True)[0].mean((2, 3), keepdim=True)
    through_activations = parameter_gradients_of(maps, (alpha.detach() * A).sum(1), model)
    through_weights = parameter_gradients_of(maps, (alpha * A.detach()).sum(1), model)
    whole = parameter_gradients_of(maps, maps, model)
    assert relative_error([a + w for a, w in zip(through_activations, through_weights, strict=True)], whole) < 1e-10
    part = {"activations": through_activations, "weights": through_weights}[route]
    assert relative_error(part, whole) > 0.05
    head = [p for name, p in model.named_parameters() if name.startswith("fc.weight")]
    assert parameter_gradients(maps, head)[0].abs().max() > 0


def parameter_gradients_of(values, maps, model):
    """The gradient of Σ values²/2 through the graph of `maps`, which may be only a part of theirs."""
    return list(
        torch.autograd.grad(
            (values.detach() * maps).sum(),
            list(model.parameters()),
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
    )


def test_a_frozen_backbone_leaves_the_head_its_gradients():
    model, (images, targets) = toy("gelu_norms"), batch()
    maps = vectorised(model, model.layer, images, targets, create_graph=True)
    head = [p for name, p in model.named_parameters() if name.startswith(("behind", "fc"))]
    expected = parameter_gradients(maps, head)
    for module in (model.stem, model.norm, model.layer):
        module.requires_grad_(False)
    maps = vectorised(model, model.layer, images, targets, create_graph=True)
    assert relative_error(parameter_gradients(maps, head), expected) < 1e-12


def test_create_graph_refuses_activations_that_have_lost_the_backbone():
    model, (images, targets) = toy(), batch()
    with torch.no_grad():
        activations, logits = captured_run(model, model.layer, images)
        with pytest.raises(ValueError, match="recorded under no_grad"):
            batchcam.grad_cam(activations, logits, targets, create_graph=True)
    with pytest.raises(ValueError, match="recorded under no_grad"):
        batchcam.grad_cam(activations, logits, "all", create_graph=True)


def test_without_create_graph_maps_have_no_graph_and_the_logits_keep_theirs():
    model, (images, targets) = toy(), batch()
    activations, logits = captured_run(model, model.layer, images)
    for chosen in (targets, "all", targets):
        assert not batchcam.grad_cam(activations, logits, chosen).requires_grad
    logits.sum().backward()
    assert model.stem.weight.grad.abs().max() > 0
    assert not batchcam.grad_cam_loop(model, model.layer, images, targets).requires_grad


def test_after_the_backward_pass_or_the_optimizer_s_step_a_map_is_refused_with_the_order():
    model, (images, targets) = toy(), batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    activations, logits = captured_run(model, model.layer, images)
    logits.sum().backward()
    with pytest.raises(RuntimeError, match=r"graph of the logits was freed, .* make maps before backward\(\)$"):
        batchcam.grad_cam(activations, logits, targets)
    activations, logits = captured_run(model, model.layer, images)
    logits.sum().backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"changed in place since it ran: make maps before optimizer.step\(\)"):
        batchcam.grad_cam(activations, logits, targets)


class Tripwire(torch.autograd.Function):
    """Counts the backward passes that run through it."""

    passes = 0

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        Tripwire.passes += 1
        return gradient.clone()


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("targets", [torch.tensor([3, 0, 3, 4]), "all"], ids=["single", "all"])
def test_the_gradient_reaches_no_further_than_the_layer(targets, create_graph):
    model, (images, _) = toy(), batch()
    model.act = Apply(Tripwire.apply)
    Tripwire.passes = 0
    activations, logits = captured_run(model, model.layer, images)
    batchcam.grad_cam(activations, logits, targets, create_graph=create_graph)
    assert Tripwire.passes == 0
    assert all(p.grad is None for p in model.parameters())
    logits.sum().backward()
    assert Tripwire.passes == 1


def test_the_loop_makes_one_full_backward_pass_per_image():
    model, (images, targets) = toy(), batch()
    model.act = Apply(Tripwire.apply)
    Tripwire.passes = 0
    batchcam.grad_cam_loop(model, model.layer, images, targets)
    assert Tripwire.passes == len(images)


def test_a_map_needs_one_backward_pass_for_the_whole_batch():
    model, (images, targets) = toy(), batch()
    model.behind0 = Apply(Tripwire.apply)
    activations, logits = captured_run(model, model.layer, images)
    Tripwire.passes = 0
    batchcam.grad_cam(activations, logits, targets)
    assert Tripwire.passes == 1


# Where batch and loop differ


def per_image_gradients_differ(model, images, targets):
    """Relative difference between the batched gradient and the gradients of each score alone, in one graph."""
    activations, logits = captured_run(model, model.layer, images)
    batched = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), activations, retain_graph=True)[0]
    single = [
        torch.autograd.grad(logits[i, target], activations, retain_graph=True)[0][i] for i, target in enumerate(targets)
    ]
    maps = batchcam.grad_cam(activations, logits, targets, relu=False)
    assert relative_error(maps, (batched.mean((2, 3), keepdim=True) * activations).sum(1)) < 1e-12
    return relative_error(batched, torch.stack(single))


def test_batchnorm_in_training_mode_mixes_samples_behind_the_layer_and_only_there():
    """The documented limitation: row i of the batched gradient is then not image i's own."""
    behind, before = toy("batchnorm"), toy("relu")
    images, targets = batch()
    assert per_image_gradients_differ(behind, images, targets) < 1e-14
    assert per_image_gradients_differ(behind.train(), images, targets) > 0.05
    assert per_image_gradients_differ(before.train(), images, targets) < 1e-14


# Precision


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_maps_are_float32_and_float64_stays(dtype):
    model, (images, targets) = toy("relu", dtype), batch(dtype=dtype)
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    activations, logits = captured_run(model, model.layer, images)
    assert activations.dtype == dtype
    for chosen in (targets, "all"):
        maps = batchcam.grad_cam(activations, logits, chosen)
        assert maps.dtype == expected
        # α and the sum over channels, too, are no coarser than that.
        gradient = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), activations, retain_graph=True)[0]
        alpha = gradient.to(expected).mean((2, 3))
        by_formula = torch.einsum("nk,nkhw->nhw", alpha, activations.to(expected)).relu()
        assert relative_error(maps if chosen is targets else maps[range(4), targets], by_formula) < 1e-6


@pytest.mark.parametrize("way", ["capture", "all", "explain", "loop"])
def test_under_autocast_the_maps_are_computed_in_float32(way):
    model, (images, targets) = toy("relu", torch.float32), batch(dtype=torch.float32)
    exact = plain_grad_cam(model, images, targets)
    with torch.autocast("cpu", torch.bfloat16):
        activations, logits = captured_run(model, model.layer, images)
        gradient = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), activations, retain_graph=True)[0]
        maps = {
            "capture": lambda: batchcam.grad_cam(activations, logits, targets, create_graph=True),
            "all": lambda: batchcam.grad_cam(activations, logits, "all")[range(4), targets],
            "explain": lambda: explained(model, model.layer, images, targets),
            "loop": lambda: batchcam.grad_cam_loop(model, model.layer, images, targets, create_graph=True),
        }[way]()
    assert activations.dtype == logits.dtype == torch.bfloat16
    assert maps.dtype == torch.float32
    assert relative_error(maps, exact) < 0.05
    by_formula = torch.einsum("nk,nkhw->nhw", gradient.float().mean((2, 3)), activations.float()).relu()
    assert relative_error(maps, by_formula) < 1e-6


@pytest.mark.parametrize("way", ["capture", "loop"])
def test_gradients_of_maps_made_under_autocast_are_those_of_float32_but_for_rounding(way):
    model, (images, targets) = toy("gelu_norms", torch.float32), batch(dtype=torch.float32)
    ways: dict[str, Callable[..., Tensor]] = {"capture": vectorised, "loop": batchcam.grad_cam_loop}
    run = ways[way]
    exact = run(model, model.layer, images, targets, create_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        maps = run(model, model.layer, images, targets, create_graph=True)
    rounded, expected = (parameter_gradients(m, model.parameters()) for m in (maps, exact))
    assert 0 < relative_error(rounded, expected) < 0.1


# Hooks and grad mode


def failing(where):
    """A network that raises in front of the layer, in it, or behind it."""
    model = toy()

    def fail(x):
        raise KeyboardInterrupt("as a user would")

    setattr(model, {"front": "act", "layer": "layer", "behind": "behind0"}[where], Apply(fail))
    return model


@pytest.mark.parametrize("context", [contextlib.nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("where", ["front", "layer", "behind"])
@pytest.mark.parametrize("way", ["capture", "explain", "loop"])
def test_no_hook_and_no_grad_mode_stays_behind_an_exception(way, where, context):
    model, (images, targets) = failing(where), batch()
    run = {"capture": vectorised, "explain": explained, "loop": batchcam.grad_cam_loop}[way]
    with context():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        with pytest.raises(KeyboardInterrupt):
            run(model, model.layer, images, targets)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
    assert hooks(model) == 0


@pytest.mark.parametrize("context", [contextlib.nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("way", ["capture", "explain", "loop"])
def test_no_hook_and_no_grad_mode_stays_behind_a_bad_argument(way, context):
    model, (images, _) = toy(), batch()
    run = {"capture": vectorised, "explain": explained, "loop": batchcam.grad_cam_loop}[way]
    with context():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        with pytest.raises(ValueError, match=r"targets|inference_mode"):
            run(model, model.layer, images, torch.tensor([0, 0, 0, NUM_CLASSES]))
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
    assert hooks(model) == 0


def test_a_failure_at_the_last_image_of_the_loop_leaves_no_hook():
    model, (images, targets) = toy(), batch()
    calls = []

    def fail_at_the_last(x):
        calls.append(x)
        if len(calls) == len(images):
            raise RuntimeError("at last")
        return x

    model.behind0 = Apply(fail_at_the_last)
    with pytest.raises(RuntimeError, match="at last"):
        batchcam.grad_cam_loop(model, model.layer, images, targets)
    assert hooks(model) == 0


def test_captured_activations_are_those_before_an_in_place_operation():
    model, (images, _) = toy("inplace_relu"), batch()
    expected = model.layer(model.act(model.norm(model.stem(images))))
    activations, _ = captured_run(model, model.layer, images)
    assert expected.min() < 0
    assert torch.equal(activations, expected)


def test_capture_does_not_change_the_logits():
    model, (images, _) = toy("inplace_relu"), batch()
    assert torch.equal(captured_run(model, model.layer, images)[1], model(images))


# Bad arguments


def good_arguments():
    model, (images, targets) = toy(), batch()
    activations, logits = captured_run(model, model.layer, images)
    return {"activations": activations, "logits": logits, "targets": targets}


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"targets": torch.tensor([0, 1])}, ValueError, r"targets must have the shape \(4,\).*got \(2,\)"),
        ({"targets": torch.zeros(4, 1).long()}, ValueError, r"targets must have the shape \(4,\).*got \(4, 1\)"),
        ({"targets": torch.zeros(4)}, TypeError, r"targets must be a long .* \(4,\), got float32 of shape \(4,\)"),
        ({"targets": torch.zeros(4).int()}, TypeError, r"targets must be a long .* got int32"),
        ({"targets": [0, 1, 2, 3]}, TypeError, r"targets must be a long .* got a list"),
        ({"targets": None}, TypeError, r"targets must be a long .* got a NoneType"),
        ({"targets": torch.tensor([0, 1, 5, 0])}, ValueError, r"targets must be in 0\.\.4, got 5"),
        ({"targets": torch.tensor([0, -1, 2, 0])}, ValueError, r"targets must be in 0\.\.4, got -1"),
        ({"targets": "every"}, ValueError, r"targets must be .* or 'all', got 'every'"),
        ({"logits": torch.rand(4)}, ValueError, r"logits must be \(N,C\), got float32 of shape \(4,\)"),
        ({"logits": (torch.rand(4, 5),)}, TypeError, r"logits must be .* \(N,C\), got a tuple"),
        ({"logits": torch.ones(4, 5).long()}, TypeError, r"logits must be .* got int64 of shape \(4, 5\)"),
        ({"logits": torch.rand(3, 5)}, ValueError, r"activations \(4, 6, 7, 5\) and logits \(3, 5\) differ in N"),
        ({"activations": torch.rand(4, 6)}, ValueError, r"activations must be \(N,K,h,w\), got .* \(4, 6\)"),
        ({"activations": [1]}, TypeError, r"activations must be .* got a list"),
        ({"activations": torch.rand(4, 6, 7, 5)}, ValueError, r"do not depend on the activations \(4, 6, 7, 5\)"),
        (
            {"activations": torch.rand(4, 6, 7, 5, requires_grad=True)},
            ValueError,
            r"do not depend on the activations \(4, 6, 7, 5\)",
        ),
        ({"logits": torch.rand(4, 5)}, ValueError, "do not depend on the activations"),
    ],
)
def test_grad_cam_names_what_is_wrong_with_an_argument(changed, error, message):
    with pytest.raises(error, match=message):
        batchcam.grad_cam(**(good_arguments() | changed))


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        ("not run", ValueError, "did not run"),
        ("twice", ValueError, "ran 2 times .*: run the model once, and .* capture the module around one use"),
        ("tuple", TypeError, r"the captured layer's output must be .* \(N,K,h,w\), got a tuple"),
        ("integers", TypeError, r"the captured layer's output must be .* got int64 of shape \(4, 1, 9, 7\)"),
        (
            "flat",
            ValueError,
            r"without a layout, the captured layer's output must be \(N,K,h,w\), got float64 of shape \(4, 6\)",
        ),
    ],
)
@pytest.mark.parametrize("way", ["capture", "capture under no_grad", "explain", "loop"])
def test_capture_names_what_is_wrong_with_a_layer(way, layer, error, message):
    model, (images, targets) = toy("relu"), batch()
    model_layer: nn.Module
    if layer == "not run":
        model_layer = nn.Identity()
    elif layer == "twice":
        model_layer = model.act
        model[1] = model.act
    elif layer == "flat":
        model_layer = model.flatten
    else:
        model_layer = Apply((lambda x: (x, x)) if layer == "tuple" else (lambda x: (x * 9).long()))
        around = Apply(lambda x: model_layer(x)[0] if layer == "tuple" else model_layer(x) + x)
        model = nn.Sequential(around, *model)
    if way == "loop":
        message = message.replace(r"\(4,", r"\(1,")
    run = {
        "capture": vectorised,
        "capture under no_grad": surrounded(vectorised, torch.no_grad),
        "explain": explained,
        "loop": batchcam.grad_cam_loop,
    }[way]
    with pytest.raises(error, match=message):
        run(model, model_layer, images, targets)
    assert hooks(model) == 0


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"targets": torch.tensor([0, 1])}, ValueError, r"targets must have the shape \(4,\).*got \(2,\)"),
        ({"targets": torch.zeros(4)}, TypeError, r"targets must be a long .* got float32"),
        ({"targets": [0, 1, 2, 3]}, TypeError, r"targets must be a long .* got a list"),
        ({"targets": "all"}, TypeError, r"targets must be a long .* got a str"),
        ({"targets": torch.tensor([0, 1, 2, 5])}, ValueError, r"targets must be in 0\.\.4, got 5"),
        ({"images": torch.zeros(0, 1, 9, 7)}, ValueError, "images must hold at least one image, got an empty batch"),
        ({"images": [1]}, TypeError, "images must be a tensor, N first, got a list"),
        ({"model": lambda m: nn.Sequential(m, Apply(lambda y: (y, y)))}, ValueError, r"logits .* \(N,C\), got a tuple"),
        ({"model": lambda m: nn.Sequential(m, Apply(lambda y: y[..., None]))}, ValueError, r"logits .* \(1, 5, 1\)"),
        ({"model": lambda m: nn.Sequential(m, Apply(torch.detach))}, ValueError, "do not depend on the activations"),
    ],
)
def test_grad_cam_loop_names_what_is_wrong_with_an_argument(changed, error, message):
    model, (images, targets) = toy(), batch()
    arguments = {"model": lambda m: m, "images": images, "targets": targets} | changed
    with pytest.raises(error, match=message):
        batchcam.grad_cam_loop(arguments["model"](model), model.layer, arguments["images"], arguments["targets"])


def test_a_capture_under_inference_mode_points_to_explain():
    model, (images, targets) = toy(), batch()
    with torch.inference_mode(), pytest.raises(ValueError, match=r"not under inference_mode .*use explain"):
        vectorised(model, model.layer, images, targets)


def test_an_empty_batch_has_no_maps():
    model = toy()
    activations, logits = captured_run(model, model.layer, torch.zeros(0, 1, *SIZE, dtype=torch.float64))
    assert batchcam.grad_cam(activations, logits, torch.zeros(0).long()).shape == (0, 7, 5)
    assert batchcam.grad_cam(activations, logits, "all").shape == (0, NUM_CLASSES, 7, 5)

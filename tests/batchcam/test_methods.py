"""HiResCAM and LayerCAM beside Grad-CAM: by hand, by definition, by loop, and by their gradients."""

import pytest
import torch

import batchcam
from tests.toys import METHODS, TOYS, batch, parameter_gradients, plain_grad_cam, relative_error, toy


def captured_maps(model, images, targets, **options):
    with batchcam.capture(model.layer) as captured:
        logits = model(images)
    return batchcam.grad_cam(captured.activations, logits, targets, **options)


def explained(model, images, targets, **options):
    return batchcam.explain(model, model.layer, images, targets, **options)[1]


def looped(model, images, targets, **options):
    return batchcam.grad_cam_loop(model, model.layer, images, targets, **options)


def test_maps_by_hand():
    # y = Σ w·A, so g = ∂y/∂A = w; the mean of w_1 is 0 and Grad-CAM does not see channel 1.
    w = torch.tensor([[[1.0, 1], [1, 1]], [[-4, 2], [2, 0]]])
    A = torch.tensor([[[[1.0, 0], [-5, 4]], [[1, 2], [3, 4]]]], requires_grad=True)
    logits, target = (w * A).sum((1, 2, 3))[:, None], torch.tensor([0])
    expected = {
        "grad_cam": [[1, 0], [-5, 4]],
        "hires_cam": [[1 - 4, 0 + 4], [-5 + 6, 4 + 0]],
        "layer_cam": [[1 + 0, 0 + 4], [-5 + 6, 4 + 0]],
    }
    for method in METHODS:
        signed = expected[method]
        assert batchcam.grad_cam(A, logits, target, relu=False, method=method)[0].tolist() == signed
        rectified = torch.tensor(signed).clamp(min=0).tolist()
        assert batchcam.grad_cam(A, logits, target, method=method)[0].tolist() == rectified
    assert torch.equal(batchcam.grad_cam(A, logits, target), batchcam.grad_cam(A, logits, target, method="grad_cam"))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", TOYS)
def test_the_maps_are_those_of_the_definition(kind, method, relu):
    model, (images, targets) = toy(kind), batch()
    expected = plain_grad_cam(model, images, targets, relu, method)
    every = captured_maps(model, images, "all", relu=relu, method=method)
    assert relative_error(captured_maps(model, images, targets, relu=relu, method=method), expected) < 1e-10
    assert relative_error(explained(model, images, targets, relu=relu, method=method), expected) < 1e-10
    assert relative_error(every[range(4), targets], expected) < 1e-10
    if relu:
        assert relative_error(looped(model, images, targets, method=method), expected) < 1e-10


def test_the_methods_differ():
    model, (images, targets) = toy(), batch()
    maps = [explained(model, images, targets, method=method) for method in METHODS]
    assert min(relative_error(maps[i], maps[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > 0.05


def test_hires_cam_adds_up_to_the_logit_of_a_linear_head():
    """Its faithfulness: Σ over h,w of M is what the activations add to the logit."""
    model, (images, targets) = toy("pool_linear"), batch()
    logits, maps = batchcam.explain(model, model.layer, images, targets, relu=False, method="hires_cam")
    expected = logits.gather(1, targets[:, None])[:, 0] - model.fc.bias[targets]
    assert relative_error(maps.sum((1, 2)), expected) < 1e-12


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", TOYS)
def test_batch_equals_loop_for_the_gradients_of_the_parameters(kind, method):
    model, (images, targets) = toy(kind), batch()
    ours = captured_maps(model, images, targets, method=method, create_graph=True)
    loop = looped(model, images, targets, method=method, create_graph=True)
    ours, loop = (parameter_gradients(maps, model.parameters()) for maps in (ours, loop))
    assert relative_error(ours, loop) < 1e-10


@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_the_maps_agree_with_finite_differences(method):
    model, (images, targets) = toy("gelu_norms"), batch(2)
    names, values = zip(*model.named_parameters(), strict=True)

    def maps(*values):
        with batchcam.capture(model.layer) as captured:
            logits = torch.func.functional_call(model, dict(zip(names, values, strict=True)), images)
        return batchcam.grad_cam(captured.activations, logits, targets, create_graph=True, relu=False, method=method)

    assert torch.autograd.gradcheck(maps, values, fast_mode=True)


@pytest.mark.parametrize("method", METHODS)
def test_maps_of_bfloat16_are_float32(method):
    model, (images, targets) = toy("relu", torch.bfloat16), batch(dtype=torch.bfloat16)
    assert captured_maps(model, images, targets, method=method).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert captured_maps(model, images, targets, method=method).dtype == torch.float32


@pytest.mark.parametrize("run", [captured_maps, explained, looped])
def test_an_unknown_method_is_named(run):
    model, (images, targets) = toy(), batch()
    with pytest.raises(ValueError, match=r"unknown method 'hirescam': choose one of grad_cam, .*mean 'hires_cam'\?"):
        run(model, images, targets, method="hirescam")
    with pytest.raises(ValueError, match=r"unknown method \['layer_cam'\]: choose one of"):
        run(model, images, targets, method=["layer_cam"])

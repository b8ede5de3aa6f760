"""Memory stays flat: no hook, no graph and no tensor is left, however often a model is explained or trained."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

import batchcam
from batchcam.layouts import tokens
from tests.toys import SIZE, batch, hooks, toy, transformer

PROTOTYPES = torch.rand(5, *SIZE)


def explain(model, options):
    images, targets = batch(dtype=torch.float32)
    return batchcam.explain(model, model.layer, images, targets, **options)


def explain_and_fail(model, options):
    with pytest.raises(ValueError, match="targets must be in"):
        batchcam.explain(model, model.layer, batch(dtype=torch.float32)[0], torch.full((4,), 9), **options)


def loop(model, options):
    batchcam.grad_cam_loop(model, model.layer, *batch(2, torch.float32), create_graph=True, **options)


def guided_step(model, options):
    images, targets = batch(dtype=torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with batchcam.capture(model.layer, layout=options.get("layout")) as captured:
        logits = model(images)
    maps = batchcam.grad_cam(captured.activations, logits, targets, create_graph=True)
    maps = batchcam.normalize_maps(batchcam.resize_maps(maps, SIZE))
    loss = F.cross_entropy(logits, targets) + batchcam.PrototypeLoss(PROTOTYPES, "l1")(maps, targets)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def living_tensors():
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


@pytest.fixture
def _no_collector():
    """What is forgotten must go by itself: a cycle would wait for the collector, a graph with it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


MODELS = {
    "convolutions": lambda: (toy("batchnorm", torch.float32, dropout=0.3).train(), {}),
    "tokens": lambda: (transformer().float(), {"layout": tokens(4, 3)}),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("run", "times"), [(explain, 400), (explain_and_fail, 100), (loop, 100), (guided_step, 100)])
@pytest.mark.usefixtures("_no_collector")
def test_nothing_is_left(run, times, model):
    model, options = MODELS[model]()
    outputs = []
    model.layer.register_forward_hook(lambda _, args, output: outputs.append(weakref.ref(output)))
    kinds = hooks(model)
    for _ in range(3):
        run(model, options)
    before = living_tensors(), len(gc.get_objects()) - len(outputs)
    for _ in range(times):
        run(model, options)
    after = living_tensors(), len(gc.get_objects()) - len(outputs)
    assert after[0] == before[0]
    assert after[1] - before[1] < times / 10, "objects grow with the number of calls"
    assert len(outputs) >= times
    assert not any(output() is not None for output in outputs)
    assert hooks(model) == kinds


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("run", [explain, loop, guided_step])
@pytest.mark.usefixtures("_no_collector")
def test_every_byte_that_is_allocated_is_freed(run, model):
    """Graphs hold tensors that Python does not see; the allocator does."""
    model, options = MODELS[model]()
    for _ in range(3):
        run(model, options)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        for _ in range(20):
            run(model, options)
    sizes = [e.nbytes() for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    assert max(sizes) > 1000
    assert sum(sizes) == 0

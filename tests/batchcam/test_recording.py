"""Layers that hand on their input or keep their output, and wrappers around models: right, or refused with a reason."""

import concurrent.futures
import contextlib
import copy
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

import batchcam
from tests.toys import NUM_CLASSES, Apply, batch, hooks, parameter_gradients, relative_error, toy


def captured_maps(model, layer, images, targets, **options):
    with batchcam.capture(layer) as captured:
        logits = model(images)
    return batchcam.grad_cam(captured.activations, logits, targets, **options)


def captured_under_no_grad(model, layer, images, targets):
    with torch.no_grad():
        return captured_maps(model, layer, images, targets)


def frozen(model, layer, images, targets):
    return captured_maps(model.requires_grad_(False), layer, images, targets, create_graph=True)


def explained(model, layer, images, targets):
    return batchcam.explain(model, layer, images, targets)[1]


WAYS = {
    "explain": explained,
    "capture": captured_maps,
    "capture, create_graph": lambda *a: captured_maps(*a, create_graph=True),
    "capture under no_grad": captured_under_no_grad,
    "capture, frozen": frozen,
    "loop": batchcam.grad_cam_loop,
}


class Keep(nn.Module):
    """A convolution that also keeps what it puts out."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        self.kept = self.conv(x)
        return self.kept


class Stash(nn.Module):
    """Hands on what the model put into it before, as a U-Net's skip connection may."""

    stash: torch.Tensor
    stashes: dict[str, torch.Tensor]

    def forward(self, x):
        return self.stashes["one"] if hasattr(self, "stashes") else self.stash


class Net(nn.Module):
    """A stem, then `layer` and something beside it, then a head; `pure` says the same without aliases.

    `output(x)` is what the layer puts out for the stem's x, and `pure(x, A)` what follows from both.
    """

    def __init__(self, kind):
        super().__init__()
        self.stem, self.other, self.fc = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, NUM_CLASSES)
        self.kind = kind
        makers: dict[str, Callable[[], nn.Module]] = {
            "identity": nn.Identity,
            "empty": nn.Sequential,
            "dropout": nn.Dropout,
            "inplace": lambda: nn.ReLU(inplace=True),
            "first": lambda: Apply(lambda xs: xs[0]),
            "kept": Keep,
            "view": lambda: Apply(lambda x: x[:, :3]),
            "stash": Stash,
            "nested": lambda: nn.Sequential(nn.Identity(), Stash()),
        }
        self.layer: Any = makers[kind.split()[0]]()

    def head(self, x):
        return self.fc(x.sin().mean((2, 3)))

    def forward(self, images):
        x = self.stem(images)
        match self.kind.split():
            case ["kept"]:
                return self.head(self.layer(x).tanh()) + self.head(self.layer.kept * self.other(x))
            case ["view"]:
                return self.head(self.other(x) + F.pad(self.layer(x), (0, 0, 0, 0, 0, 1)))
            case ["stash" | "nested" as kind, place]:
                stash = self.layer if kind == "stash" else self.layer[1]
                if place == "dict":
                    stash.stashes = {"one": x}
                else:
                    stash.stash = x.mul_(1) if place == "changed" else x
                beside = None if place == "before" else self.other(x)
                A = self.layer(images)
                return self.head(A.tanh() + (self.other(x) if beside is None else beside))
            case [_, "first"]:
                A = self.layer(x)
                return self.head(A.tanh() + self.other(x))
            case [_, "named"]:
                A = self.layer(input=x)
                return self.head(A.tanh() + self.other(x))
            case ["first", "listed"]:
                A = self.layer([x, images])
                return self.head(A.tanh() + self.other(x))
            case [_, "last"]:
                return self.head(self.other(x) + self.layer(x))
            case [_, "changed"]:  # the tensor is then changed in place, whoever else holds it
                A = self.layer(x)
                return self.head(A.tanh() + self.other(F.relu_(x)))

    def output(self, x):
        match self.kind.split()[0]:
            case "inplace":
                return x.relu()
            case "kept":
                return self.layer.conv(x)
            case "view":
                return x[:, :3] * 1
        return x * 1

    def pure(self, x, A):
        after = A if self.kind.startswith("inplace") else x  # what a later reader of x sees
        match self.kind.split():
            case ["kept"]:
                return self.head(A.tanh()) + self.head(A * self.other(x))
            case ["view"]:
                return self.head(self.other(x) + F.pad(A, (0, 0, 0, 0, 0, 1)))
            case [_, "first" | "named" | "listed"] | ["stash" | "nested", _]:
                return self.head(A.tanh() + self.other(after))
            case [_, "last"]:
                return self.head(self.other(x) + A)
            case [_, "changed"]:
                return self.head(A.tanh() + self.other(x.relu()))


KINDS = [
    *("identity first", "identity last", "identity named", "identity changed", "empty first", "empty last"),
    *("dropout first", "dropout last", "inplace first", "inplace named", "first listed", "kept", "view"),
    *("stash after", "stash before", "stash changed", "stash dict", "nested after", "nested before"),
]


def net(kind):
    return Net(kind).double().eval()


def oracle(model, images, targets):
    """The map from the definition, of the same network without aliases; and that its logits are the network's."""
    x = model.stem(images)
    A = model.output(x)
    logits = model.pure(x, A)
    torch.testing.assert_close(logits, model(images), rtol=1e-12, atol=0)
    (g,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), A, create_graph=True)
    return (g.mean((2, 3), keepdim=True) * A).sum(1).relu()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_the_map_is_that_of_the_same_network_without_aliases(way, kind):
    model, (images, targets) = net(kind), batch()
    expected = oracle(model, images, targets)
    assert relative_error(WAYS[way](model, model.layer, images, targets), expected) < 1e-10
    assert hooks(model) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_so_are_the_gradients_of_the_parameters(kind):
    model, (images, targets) = net(kind), batch()
    expected = oracle(model, images, targets)
    maps = captured_maps(model, model.layer, images, targets, create_graph=True)
    ours, theirs = (parameter_gradients(m, model.parameters()) for m in (maps, expected))
    assert relative_error(ours, theirs) < 1e-10


@pytest.mark.parametrize("way", WAYS)
def test_an_output_that_is_changed_in_place_later_is_refused(way):
    """The network's own reader of it changes it: the map would be of other values than those that were put out."""
    model, (images, targets) = net("kept"), batch()
    model.head = lambda x: model.fc(F.relu_(model.layer.kept).mean((2, 3)) + x.mean((2, 3)))
    error, message = {
        # Torch refuses it itself where the graph begins at the layer.
        "capture under no_grad": (RuntimeError, "a leaf Variable .* in-place operation"),
        "capture, frozen": (RuntimeError, "a leaf Variable .* in-place operation"),
    }.get(way, (ValueError, r"output \(\d, 4, 7, 5\) was changed in place after the layer"))
    with pytest.raises(error, match=message):
        WAYS[way](model, model.layer, images, targets)


def test_of_a_layer_that_raises_nothing_is_kept():
    images, _ = batch()

    def fail(x):
        raise RuntimeError("of the layer")

    layer = Apply(fail)
    given = images * 2
    alive = weakref.ref(given)
    captured = batchcam.capture(layer)
    with pytest.raises(RuntimeError, match="of the layer"), captured:
        layer(given)
    del given
    gc.collect()  # the exception held it, too
    assert alive() is None


def test_a_layer_that_does_not_know_its_shapes_yet():
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(NUM_CLASSES)).double()
    images, targets = batch()
    maps = explained(model, model[0], images, targets)
    assert relative_error(maps, captured_maps(model, model[0], images, targets)) < 1e-10


def test_what_the_layer_keeps_needs_no_gradient_afterwards():
    model, (images, targets) = net("kept"), batch()
    explained(model, model.layer, images, targets)
    assert not model.layer.kept.requires_grad


def test_a_layer_may_put_out_a_parameter():
    model, (images, targets) = toy("relu"), batch()
    model.layer = nn.Sequential()
    model.layer.weight = nn.Parameter(torch.rand(4, 6, 7, 5).double())
    model.layer.forward = lambda x: model.layer.weight
    maps = explained(model, model.layer, images, targets)
    assert relative_error(maps, captured_maps(model, model.layer, images, targets)) < 1e-10
    assert model.layer.weight.is_leaf
    assert model.layer.weight.requires_grad


# A view from before the layer, changed in place after it


class Ghost(nn.Module):
    """timm's GhostNet in little: `x` is a view of what was made before the shortcut, and is added to in place."""

    def __init__(self):
        super().__init__()
        self.stem, self.layer, self.fc = nn.Conv2d(1, 6, 3), nn.Conv2d(1, 4, 3), nn.Linear(4, NUM_CLASSES)
        self.drop = nn.Dropout(0.5)

    def forward(self, images):
        x = self.drop(self.stem(images))[:, :4]
        x += self.layer(images)
        return self.fc(x.tanh().mean((2, 3)))


@pytest.mark.parametrize("context", [contextlib.nullcontext, torch.no_grad, torch.inference_mode])
def test_a_view_from_before_the_layer_may_be_changed_in_place_after_it(context):
    model, (images, targets) = Ghost().double().eval(), batch()
    expected = captured_maps(model, model.layer, images, targets)
    with context():
        logits, maps = batchcam.explain(model, model.layer, images.clone(), targets.clone())
    assert relative_error(maps, expected) < 1e-12
    assert relative_error(logits, model(images).detach()) < 1e-12
    assert not maps.requires_grad
    assert not logits.requires_grad
    assert relative_error(batchcam.grad_cam_loop(model, model.layer, images, targets), expected) < 1e-10
    random = torch.get_rng_state()
    batchcam.explain(model.train(), model.layer, images, targets)
    assert torch.equal(torch.get_rng_state(), random)


def test_ghostnet():
    model: Any = timm.create_model("ghostnet_050", num_classes=NUM_CLASSES).double().eval()
    images, targets = torch.rand(2, 3, 64, 64, dtype=torch.float64), torch.tensor([3, 1])
    layer = model.blocks[6][3].shortcut
    expected = captured_maps(model, layer, images, targets)
    assert relative_error(explained(model, layer, images, targets), expected) < 1e-10


def test_another_runtime_error_is_raised_once():
    model, (images, targets) = toy(), batch()
    calls = []

    def fail(x):
        calls.append(x)
        raise RuntimeError("of the model itself")

    model.behind0 = Apply(fail)
    with pytest.raises(RuntimeError, match="of the model itself"):
        explained(model, model.layer, images, targets)
    assert len(calls) == 1


# Compiled and scripted models


@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace")
def test_a_compiled_model_is_refused_with_the_reason():
    model, (images, targets) = toy("relu"), batch()
    expected = explained(model, model.layer, images, targets)
    compiled: Any = torch.compile(copy.deepcopy(model), backend="eager")
    layer = compiled._orig_mod.layer
    compiled(images)
    with torch.no_grad():
        compiled(images)
    for run in (explained, captured_maps):
        with pytest.raises(ValueError, match=r"did not run .* torch.compile .* before it was compiled$"):
            run(compiled, layer, images, targets)
    assert relative_error(explained(compiled._orig_mod, layer, images, targets), expected) < 1e-12


def test_a_riddle_of_compiled_code_is_solved():
    """Inductor writes into a tensor that needs a gradient, and this is all that torch says; here without a compiler."""

    class Compiled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return torch.empty_like(gradient).requires_grad_(torch.is_grad_enabled()).copy_(gradient)

    model, (images, targets) = toy("gelu_norms"), batch()
    expected = explained(model, model.layer, images, targets)
    model.append(Apply(Compiled.apply))
    with pytest.raises(RuntimeError, match=r"torch\.compile's code cannot .* compile the model only up to the layer"):
        step(model, model.layer, images, targets)
    assert relative_error(explained(model, model.layer, images, targets), expected) < 1e-12
    assert hooks(model) == 0


def test_vmap_is_refused():
    """Torch says that it cannot access a data pointer, or that a function is being transformed."""
    model, (images, targets) = toy("gelu_norms"), batch()

    def maps(image, target):
        return captured_maps(model, model.layer, image[None], target[None])[0]

    for run in (
        lambda image, target: explained(model, model.layer, image[None], target[None])[0],
        maps,
        torch.func.grad(lambda image, target: maps(image, target).sum()),
    ):
        with pytest.raises(ValueError, match=r"does not work under torch\.func\.vmap: run the whole batch"):
            torch.func.vmap(run)(images, targets)
    assert hooks(model) == 0


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
def test_a_scripted_module_in_training_mode_is_refused():
    """It runs on buffers of its own, that no copy can be put in the place of."""
    model, (images, targets) = toy("batchnorm"), batch()
    expected = explained(model, model.layer, images, targets)
    model.norm = torch.jit.script(model.norm)
    assert relative_error(explained(model, model.layer, images, targets), expected) < 1e-12
    before = model.norm.running_mean.clone()
    for run in (explained, batchcam.grad_cam_loop):
        with pytest.raises(
            TypeError, match=r"a scripted module in training mode .* use the Python module, or eval\(\)"
        ):
            run(model.train(), model.layer, images, targets)
    assert torch.equal(model.norm.running_mean, before)


# Models inside a wrapper


@pytest.fixture
def one_process(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def step(model, layer, images, targets):
    """The gradients of a guided training step."""
    model.zero_grad()
    with batchcam.capture(layer) as captured:
        logits = model(images)
    maps = batchcam.grad_cam(captured.activations, logits, targets, create_graph=True)
    (F.cross_entropy(logits, targets) + maps.square().mean()).backward()
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("run", [explained, batchcam.grad_cam_loop])
@pytest.mark.usefixtures("one_process")
def test_explaining_between_the_steps_of_distributed_data_parallel(run):
    model, (images, targets) = toy("gelu_norms"), batch()
    expected_maps, expected = run(model, model.layer, images, targets), step(model, model.layer, images, targets)
    ddp = nn.parallel.DistributedDataParallel(model)
    for _ in range(3):
        assert relative_error(run(ddp, model.layer, images, targets), expected_maps) < 1e-12
        assert relative_error(step(ddp, model.layer, images, targets), expected) < 1e-12


@pytest.mark.usefixtures("one_process")
def test_under_no_grad_distributed_data_parallel_is_refused():
    model, (images, targets) = toy("gelu_norms"), batch()
    ddp = nn.parallel.DistributedDataParallel(model)
    expected = step(ddp, model.layer, images, targets)
    with pytest.raises(ValueError, match=r"under no_grad needs the module inside .*: run ddp.module"):
        captured_under_no_grad(ddp, model.layer, images, targets)
    with pytest.raises(ValueError, match=r"under no_grad needs the module inside .*: run ddp.module"):
        explained(nn.Sequential(ddp, nn.Identity()), model.layer, images, targets)
    assert hooks(model) == 0
    assert relative_error(step(ddp, model.layer, images, targets), expected) < 1e-12


@pytest.mark.parametrize("way", ["explain", "capture", "capture under no_grad"])
@pytest.mark.usefixtures("one_process")
def test_a_model_may_run_while_another_thread_trains_one_of_its_own(way):
    """Which DDP runs is known for the process alone; here one begins between `capture` and the layer."""
    trained, model, (images, targets) = toy("gelu_norms"), toy("relu"), batch()
    expected = explained(model, model.layer, images, targets)
    ddp = nn.parallel.DistributedDataParallel(trained, static_graph=True)
    begun, explanation_ended = threading.Event(), threading.Event()

    def stay(module, args, output):
        begun.set()
        assert explanation_ended.wait(60)

    def train(module, args):
        training.append(other.submit(lambda: ddp(images).sum().backward()))
        assert begun.wait(60)

    trained.layer.register_forward_hook(stay)
    model.register_forward_pre_hook(train)
    training: list[concurrent.futures.Future[None]] = []
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        try:
            assert relative_error(WAYS[way](model, model.layer, images, targets), expected) < 1e-12
        finally:
            explanation_ended.set()
        training[0].result(60)


@pytest.mark.usefixtures("one_process")
def test_a_static_graph_is_refused():
    model, (images, targets) = toy("gelu_norms"), batch()
    ddp = nn.parallel.DistributedDataParallel(model, static_graph=True)
    with pytest.raises(ValueError, match=r"static_graph=True.* leave static_graph out"):
        step(ddp, model.layer, images, targets)
    assert explained(ddp, model.layer, images, targets).shape == (4, 7, 5)


class Step(nn.Module):
    """A model with its loss, as Lightning and others have DDP run it; without targets, its explanation."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images, targets=None):
        if targets is None:
            return explained(self.model, self.model.layer, images, targets)
        maps = captured_maps(self.model, self.model.layer, images, targets, create_graph=True)
        return F.cross_entropy(self.model(images), targets) + maps.square().mean()


@pytest.mark.parametrize("static_graph", [False, True])
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.usefixtures("one_process")
def test_all_may_run_inside_distributed_data_parallel(context, static_graph):
    """There the loss alone leaves it, and no map's gradient passes its border."""
    model, (images, targets) = toy("gelu_norms"), batch()
    expected_maps, expected = explained(model, model.layer, images, None), step(model, model.layer, images, targets)
    ddp = nn.parallel.DistributedDataParallel(Step(model), static_graph=static_graph)
    for _ in range(3):
        model.zero_grad()
        ddp(images, targets).backward()
        assert relative_error([p.grad for p in model.parameters()], expected) < 1e-12
        if context is not torch.enable_grad:  # with one, DDP waits for the backward pass of its output
            with context():
                assert relative_error(ddp(images), expected_maps) < 1e-12
    assert hooks(model) == 0


def test_data_parallel():
    model, (images, targets) = toy("relu"), batch()
    expected = explained(model, model.layer, images, targets)
    parallel = nn.DataParallel(model)
    assert relative_error(explained(parallel, model.layer, images, targets), expected) < 1e-12

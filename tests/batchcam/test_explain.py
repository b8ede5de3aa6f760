"""explain and grad_cam_loop leave no trace: state kept, threads apart, nothing of the backbone in a graph."""

import contextlib
import copy
import operator
import pickle
import sys
import threading
import time
from collections import OrderedDict
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import batchcam
from tests.toys import NUM_CLASSES, Apply, batch, hooks, plain_grad_cam, relative_error, toy

RUNS = {
    "explain": lambda model, images, targets: batchcam.explain(model, model.layer, images, targets)[1],
    "loop": lambda model, images, targets: batchcam.grad_cam_loop(model, model.layer, images, targets),
    "loop, create_graph": lambda model, images, targets: batchcam.grad_cam_loop(
        model, model.layer, images, targets, create_graph=True
    ),
}


class Remembers(nn.Module):
    """Writes its buffers in every mode, one of them None at first and one under two names, and draws a number."""

    calls: torch.Tensor
    replaced: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("alias", self.calls)
        self.register_buffer("seen", None)
        self.register_buffer("replaced", torch.zeros(2))

    def forward(self, x):
        self.calls += 1
        assert self.alias is self.calls
        self.seen = x.detach().mean()
        self.replaced = self.replaced + torch.rand(2)
        return x


def state_of(model):
    """Everything that must be as before: by identity where a caller may hold a reference, and by value."""
    buffers = {f"{n}.{k}": b for n, m in model.named_modules() for k, b in m._buffers.items()}
    parameters = dict(model.named_parameters())
    return {
        "mode": [module.training for module in model.modules()],
        "buffers": {name: (id(b), None if b is None else b.tolist()) for name, b in buffers.items()},
        "parameters": {name: (id(p), p.tolist(), p.requires_grad) for name, p in parameters.items()},
        "grad": {n: (id(p.grad), None if p.grad is None else p.grad.tolist()) for n, p in parameters.items()},
        "random": torch.get_rng_state().tolist(),
        "hooks": hooks(model),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    }


def in_mode(model, mode):
    model.train(mode != "eval")
    if mode == "mixed":
        model.norm.eval()
    return model


@pytest.mark.parametrize("ends", ["well", "raising"])
@pytest.mark.parametrize("mode", ["eval", "train", "mixed"])
@pytest.mark.parametrize("custom", [False, True], ids=["torch's modules", "own module"])
@pytest.mark.parametrize("run", RUNS)
def test_the_state_is_afterwards_what_it_was(run, custom, mode, ends):
    model, (images, targets) = toy("batchnorm", dropout=0.5), batch()
    if custom:
        model.stem = nn.Sequential(Remembers(), model.stem)
    in_mode(model, mode)
    # A parameter that has a gradient and others that have none.
    model.fc.weight.grad = torch.rand_like(model.fc.weight)
    if ends == "raising":
        model.append(Apply(operator.attrgetter("no_such_attribute")))
    before = state_of(model)
    with pytest.raises(AttributeError) if ends == "raising" else contextlib.nullcontext():
        RUNS[run](model, images, targets)
    assert state_of(model) == before


def test_a_module_under_two_names_is_put_back_once():
    model, (images, targets) = toy("batchnorm").train(), batch()
    model.stem = nn.Sequential(OrderedDict(stem=model.stem, norm=model.norm, again=model.norm))
    before = state_of(model)
    RUNS["explain"](model, images, targets)
    assert state_of(model) == before
    assert {type(m._buffers) for m in model.modules()} == {dict}


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("run", RUNS)
def test_a_graph_that_the_caller_still_holds_can_be_differentiated(run, mode):
    """Restoring values into the buffers would have changed what that graph saved."""
    model, (images, targets) = in_mode(toy("batchnorm"), mode), batch()
    logits = model(images)
    RUNS[run](model, images, targets)
    logits.sum().backward()
    assert model.stem.weight.grad.abs().max() > 0


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_model_is_used_in_the_mode_it_is_in(mode):
    model, (images, targets) = in_mode(toy("batchnorm", dropout=0.5), mode), batch()
    random = torch.get_rng_state()
    with batchcam.capture(model.layer) as captured:
        expected = model(images)
    maps = batchcam.grad_cam(captured.activations, expected, targets)
    torch.set_rng_state(random)
    logits, explained = batchcam.explain(model, model.layer, images, targets)
    assert torch.equal(logits, expected)
    assert relative_error(explained, maps) < 1e-12


@pytest.mark.parametrize("context", [contextlib.nullcontext, torch.no_grad, torch.inference_mode])
def test_explain_returns_logits_and_maps_without_a_graph(context):
    model, (images, targets) = toy(), batch()
    expected = model(images)
    with context():
        # Made in here: inference_mode makes tensors of another kind.
        inside, chosen = images * 1, targets * 1
        default = batchcam.explain(model, model.layer, inside)
        predicted = batchcam.explain(model, model.layer, inside, None)
        all_classes = batchcam.explain(model, model.layer, inside, "all")
        given = batchcam.explain(model, model.layer, inside, chosen)
    for logits, maps in (predicted, all_classes, given, default):
        assert torch.equal(logits, expected)
        assert not logits.requires_grad
        assert not maps.requires_grad
        assert not logits.is_inference()
        assert not maps.is_inference()
    assert relative_error(predicted[1], plain_grad_cam(model, images, expected.argmax(1))) < 1e-10
    assert torch.equal(default[1], predicted[1])
    assert relative_error(given[1], plain_grad_cam(model, images, targets)) < 1e-10
    for c in range(NUM_CLASSES):
        assert relative_error(all_classes[1][:, c], plain_grad_cam(model, images, torch.full((4,), c))) < 1e-10


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_explain_under_inference_mode_in_either_mode(mode):
    model, (images, targets) = in_mode(toy("batchnorm"), mode), batch()
    _, expected = batchcam.explain(model, model.layer, images, targets)
    before = state_of(model)
    with torch.inference_mode():
        _, maps = batchcam.explain(model, model.layer, images.clone(), targets.clone())
    assert torch.equal(maps, expected)
    assert state_of(model) == before


def test_under_inference_mode_the_images_may_also_enter_behind_the_layer():
    """There they are saved for the backward pass, as no tensor made in inference mode can be."""
    model, (images, targets) = toy(), batch()
    seen = []
    model.stem.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.pool = Apply(lambda a: (a * seen.pop()[..., 1:-1, 1:-1]).mean((2, 3)))
    expected = batchcam.explain(model, model.layer, images, targets)[1]
    assert expected.max() > 0
    for run in ("explain", "loop"):
        with torch.inference_mode():
            maps = RUNS[run](model, images.clone(), targets.clone())
        assert not maps.is_inference()
        assert relative_error(maps, expected) < 1e-10


@pytest.mark.parametrize("targets", [None, "all", torch.tensor([3, 0, 3, 4])], ids=["predicted", "all", "given"])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_explain_runs_the_backbone_once_and_without_a_graph(mode, targets):
    model, (images, _) = in_mode(toy("batchnorm"), mode), batch()
    backbone_runs: list[int] = []
    saved: list[Any] = []
    saved_by_the_layer: list[int] = []
    model.stem.register_forward_hook(lambda *_: backbone_runs.append(1))
    model.layer.register_forward_hook(lambda *_: saved_by_the_layer.append(len(saved)))

    def save(tensor):
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        batchcam.explain(model, model.layer, images, targets)
    assert len(backbone_runs) == 1
    assert saved_by_the_layer == [0]
    assert saved, "what comes after the layer does have a graph"


# Threads


def in_threads(*functions):
    """Run functions side by side and return what they returned; an exception in one is raised here."""
    results: list[Any] = [None] * len(functions)

    def run(i):
        try:
            results[i] = functions[i]()
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def captured_in_this_thread(model, images, targets):
    with batchcam.capture(model.layer) as captured:
        logits = model(images)
    return batchcam.grad_cam(captured.activations, logits, targets)


@pytest.mark.parametrize("run", ["explain", "explain, one image", "loop", "loop, create_graph", "capture"])
def test_two_threads_explain_one_model_without_seeing_each_other(run):
    model = toy("batchnorm")
    n = 1 if run == "explain, one image" else 4
    batches = [batch(n), batch(n)]
    work = captured_in_this_thread if run == "capture" else RUNS[run.removesuffix(", one image")]
    expected = [work(model, *b) for b in batches]
    assert relative_error(*expected) > 0.01
    # Both wait for each other before and behind the layer: each one's layer runs while both have their hook on it.
    meeting = threading.Barrier(2, timeout=20)

    def meet(x):
        meeting.wait()
        return x

    model.act = nn.Sequential(model.act, Apply(meet))
    model.pool = nn.Sequential(model.pool, Apply(meet))
    model.eval()
    maps = in_threads(*(lambda b=b: work(model, *b) for b in batches))
    for actual, alone in zip(maps, expected, strict=True):
        assert relative_error(actual, alone) < 1e-12
    assert hooks(model) == 0


@pytest.mark.parametrize("changing", ["norm", "dropout", "own module"])
@pytest.mark.parametrize("run", ["explain", "loop"])
def test_threads_that_overlap_put_back_what_was_there_before_both(run, changing):
    """The second to come finds the copies of the first, and must not take them for the ones to put back."""
    model = toy("relu", dropout=0.5 if changing == "dropout" else 0.0)
    if changing == "dropout":
        model.norm = nn.Identity()
    elif changing == "own module":
        model.stem = nn.Sequential(Remembers(), model.stem)
    met, first_left = threading.Barrier(2, timeout=20), threading.Event()

    def overlap(x):
        if met.wait() == 0:  # one of the two stays until the other is done
            first_left.wait(20)
        return x

    model.act = nn.Sequential(model.act, Apply(overlap))
    # Own modules may write in eval mode, too.
    model.train(changing != "own module")
    images, targets = batch(1)
    before = state_of(model)

    def explain_and_leave():
        RUNS[run](model, images, targets)
        first_left.set()

    in_threads(explain_and_leave, explain_and_leave)
    assert state_of(model) == before


class Own(nn.Module):
    """A module of one's own: nobody knows whether it draws or writes, until it does."""

    def forward(self, x):
        return x


def beside(work, explain, times):
    """What `work` returns when another thread explains as long as it runs."""
    done = threading.Event()

    def explain_on():
        count = 0
        while not done.is_set() or count < times:
            explain()
            count += 1

    def then_stop():
        try:
            return work()
        finally:
            done.set()

    return in_threads(then_stop, explain_on)[0]


def drawn():
    """Random numbers, with a moment for other threads between them."""
    numbers = []
    for _ in range(500):
        numbers.append(torch.rand(1, dtype=torch.float64).item())
        time.sleep(1e-5)
    return numbers


@pytest.mark.parametrize("kind", ["torch's modules", "own module", "training"])
def test_where_nothing_is_drawn_the_random_numbers_of_other_threads_go_on(kind):
    """Each explanation used to set the generator back: 1,950 of 2,000 numbers were repeated."""
    model, (images, targets) = toy("batchnorm"), batch(1)
    if kind == "own module":
        model.act = nn.Sequential(model.act, Own())
    model.train(kind == "training")
    torch.manual_seed(1)
    expected = drawn()

    def draw():
        torch.manual_seed(1)
        return drawn()

    for run in RUNS.values():
        assert beside(draw, lambda run=run: run(model, images, targets), 5) == expected


def test_what_another_thread_draws_is_not_set_back_where_the_model_draws_too():
    model, (images, targets) = toy("relu", dropout=0.5).train(), batch(1)
    numbers = beside(drawn, lambda: batchcam.explain(model, model.layer, images, targets), 20)
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("mode", ["alone", "beside another thread"])
@pytest.mark.parametrize("draw", [nn.Dropout(0.5), Apply(lambda x: x * torch.rand(2)[1])], ids=["dropout", "rand"])
def test_the_model_draws_what_it_always_would_and_the_random_state_is_as_before(draw, mode, monkeypatch):
    model, (images, targets) = toy("relu").train(), batch()
    model.pool = nn.Sequential(draw, draw, model.pool)
    before = torch.get_rng_state()
    expected = model(images)
    assert not torch.equal(torch.get_rng_state(), before)
    torch.set_rng_state(before)
    wait = threading.Event()
    if mode == "alone":  # pytest may have threads of its own
        monkeypatch.setattr(sys, "_current_frames", lambda: {threading.get_ident(): None})
    else:
        threading.Thread(target=wait.wait, daemon=True).start()
    for _ in range(3):
        logits, _ = batchcam.explain(model, model.layer, images, targets)
        assert torch.equal(logits, expected)
        assert torch.equal(torch.get_rng_state(), before)
    wait.set()


def test_the_random_state_of_every_device_is_as_before(monkeypatch):
    """The model may be on another device than its images; here a generator stands for that device's."""
    other = torch.Generator()
    monkeypatch.setattr(torch.cuda, "default_generators", (other,))
    monkeypatch.setattr(sys, "_current_frames", lambda: {threading.get_ident(): None})
    model, (images, targets) = toy("relu"), batch()
    model.act = Apply(lambda x: x * torch.rand(1, generator=other))
    before = other.get_state()
    RUNS["explain"](model, images, targets)
    assert torch.equal(other.get_state(), before)


def test_beside_another_thread_the_model_may_draw_on_any_device():
    """Also where there is no generator to copy; this used to be a KeyError."""
    model, (images, targets) = toy("relu"), batch()
    shapes = []
    model.act = Apply(lambda x: shapes.append(F.dropout(torch.ones(3, device="meta")).shape) or x)
    expected = RUNS["explain"](model, images, targets)
    assert torch.equal(in_threads(lambda: RUNS["explain"](model, images, targets))[0], expected)
    assert shapes == [(3,)] * 2


SOLID = nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Upsample(8), nn.FractionalMaxPool3d(2, 4), nn.Flatten(1, 2))


@pytest.mark.parametrize("draw", [nn.FractionalMaxPool2d(2, 4), SOLID], ids=["2d", "3d"])
def test_what_draws_in_eval_mode_too_leaves_the_random_state_as_before(draw):
    model, (images, targets) = toy("relu"), batch()
    model.act = nn.Sequential(model.act, draw).eval()
    before = torch.get_rng_state()
    RUNS["explain"](model, images, targets)
    assert torch.equal(torch.get_rng_state(), before)
    model(images)
    assert not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("threads", ["alone", "two"])
def test_an_explanation_inside_an_explanation_sets_back_its_own(threads):
    """Part of the model is explained while the whole is, on copies of the copies."""
    model, (images, targets) = toy("batchnorm", dropout=0.5).train(), batch()
    part = nn.Sequential(model.norm, nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten()).train()
    steps = []

    def inner(x):
        steps.append(int(model.norm.num_batches_tracked))
        batchcam.explain(part, model.norm, torch.rand(2, 4, 5, 5).double())
        steps.append(int(model.norm.num_batches_tracked))
        return x

    model.pool = nn.Sequential(Apply(inner), model.pool)
    before = state_of(model)
    runs = [lambda: RUNS["explain"](model, images, targets)] * (2 if threads == "two" else 1)
    in_threads(*runs) if threads == "two" else runs[0]()
    assert state_of(model) == before
    assert steps == [1, 1] * len(runs)


def test_another_thread_may_train_the_model_meanwhile():
    """BatchNorm used to count 3 of 30 steps: it wrote into the copies that an explanation forgets."""
    model, (images, targets) = toy("batchnorm").train(), batch()
    model.norm.register_buffer("steps", torch.zeros(1))
    model.norm.register_forward_hook(lambda norm, *_: norm.steps.add_(1) and None)
    alone = copy.deepcopy(model)

    def train(model=model):
        for _ in range(30):
            model.zero_grad()
            F.cross_entropy(model(images), targets).backward()
        return {name: buffer.tolist() for name, buffer in model.named_buffers()}

    expected = train(alone)
    kept = [id(m._buffers) for m in model.modules()]
    assert beside(train, lambda: RUNS["explain"](model, images, targets), 20) == expected
    assert int(model.norm.num_batches_tracked) == int(model.norm.steps) == 30
    assert [id(m._buffers) for m in model.modules()] == kept
    assert {type(m._buffers) for m in model.modules()} == {dict}


def test_a_training_step_meanwhile_is_refused():
    model, (images, targets) = toy("relu"), batch()

    def step(x):
        with torch.no_grad():
            model.fc.weight.mul_(2)
        return x

    model.append(Apply(step))
    before = state_of(model)["buffers"]
    with pytest.raises(RuntimeError, match=r"changed in place since it ran: .* another thread .* explain a copy of it"):
        RUNS["explain"](model, images, targets)
    assert state_of(model)["buffers"] == before
    assert hooks(model) == 0


def test_another_error_of_the_backward_pass_is_the_models():
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise RuntimeError("of the model itself")

    model, (images, targets) = toy("relu").append(Apply(Fails.apply)), batch()
    with pytest.raises(RuntimeError, match="of the model itself"):
        RUNS["explain"](model, images, targets)


def test_to_another_thread_a_model_that_is_explained_looks_as_ever():
    """Its buffers can be listed, replaced, removed and saved meanwhile, and stay so."""
    model, (images, targets) = toy("batchnorm").train(), batch()
    before = state_of(model)["buffers"]
    seen = {}

    def look():
        seen["before"] = state_of(model)["buffers"]
        seen["state"] = list(model.norm.state_dict())
        model.norm.register_buffer("more", torch.ones(1))
        del model.norm.running_var
        model.norm.running_var = nn.Parameter(torch.ones(4).double(), requires_grad=False)
        model.norm.running_mean = torch.ones(4).double()

    def then(x):
        in_threads(look)
        return x

    model.pool = nn.Sequential(Apply(then), model.pool)
    RUNS["explain"](model, images, targets)
    assert seen["before"] == before
    assert seen["state"] == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert sorted(model.norm._buffers) == ["more", "num_batches_tracked", "running_mean"]
    assert model.norm.running_mean.tolist() == [1, 1, 1, 1]


def test_a_copy_that_is_made_meanwhile_is_an_ordinary_module():
    """It would keep the explanation's buffers for the explaining thread, and nobody would ever take them away."""
    model, (images, targets) = toy("batchnorm").train(), batch()
    made: dict[str, dict[str, Any]] = {}

    def copies(who):
        made[f"{who}, deepcopy"] = copy.deepcopy(model.norm)._buffers
        made[f"{who}, pickle"] = pickle.loads(pickle.dumps(model.norm))._buffers
        made[f"{who}, replica"] = model.norm._replicate_for_data_parallel()._buffers.copy()

    def then(x):
        copies("explains")
        in_threads(lambda: copies("looks on"))
        return x

    model.pool = nn.Sequential(Apply(then), model.pool)
    RUNS["explain"](model, images, targets)
    assert len(made) == 6
    for name, buffers in made.items():
        assert type(buffers) is dict
        assert buffers["num_batches_tracked"] == name.startswith("explains")


# Autocast


def step_gradients(model, images, targets):
    model.zero_grad()
    F.cross_entropy(model(images), targets).backward()
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("surrounding", [contextlib.nullcontext, torch.no_grad])
def test_a_training_step_in_the_same_autocast_block_still_trains(surrounding, run):
    """Autocast caches the weights that it casts; cast under no_grad, they would have no graph for the step."""
    model, (images, targets) = toy("batchnorm", torch.float32), batch(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        expected = step_gradients(model, images, targets)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        with surrounding():
            RUNS[run](model, images, targets)
        gradients = step_gradients(model, images, targets)
    assert relative_error(gradients, expected) < 1e-6
    assert min(float(g.abs().max()) for g in gradients) > 0


def test_explain_leaves_nothing_in_the_cache_of_autocast():
    """Newer releases of torch (2.15) keep weights cast under no_grad out of it themselves, older ones do not."""
    model, (images, targets) = toy("batchnorm", torch.float32), batch(dtype=torch.float32)
    cached = []
    model.stem.register_forward_hook(lambda *_: cached.append(torch.is_autocast_cache_enabled()))
    with torch.autocast("cpu", torch.bfloat16):
        batchcam.explain(model, model.layer, images, targets)
        assert torch.is_autocast_cache_enabled()
    assert cached == [False]


@pytest.mark.parametrize("enabled", [False, True])
def test_explain_under_autocast_gives_the_logits_of_the_model(enabled):
    model, (images, targets) = toy("batchnorm", torch.float32), batch(dtype=torch.float32)
    exact = plain_grad_cam(model, images, targets)
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        expected = model(images)
        logits, maps = batchcam.explain(model, model.layer, images, targets)
        assert torch.is_autocast_enabled("cpu") == enabled
        assert torch.is_autocast_cache_enabled()
    assert logits.dtype == (torch.bfloat16 if enabled else torch.float32)
    assert torch.equal(logits, expected)
    assert maps.dtype == torch.float32
    assert relative_error(maps, exact) < (0.05 if enabled else 1e-5)


# Bad arguments; those of the layer are in test_cam


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"targets": torch.tensor([0, 1])}, ValueError, r"targets must have the shape \(4,\).*got \(2,\)"),
        ({"targets": torch.zeros(4)}, TypeError, r"targets must be a long .* got float32"),
        ({"targets": [0, 1, 2, 3]}, TypeError, r"targets must be a long .* got a list"),
        ({"targets": "every"}, ValueError, r"targets must be .* or 'all', got 'every'"),
        ({"targets": torch.tensor([0, 1, 2, 5])}, ValueError, r"targets must be in 0\.\.4, got 5"),
        ({"images": [1]}, TypeError, "images must be a tensor, N first, got a list"),
        ({"layer": "layer"}, TypeError, "layer must be a module, such as model.layer4, got a str"),
        ({"model": lambda images: images}, TypeError, "model must be a module, got a function"),
        ({"behind": lambda y: (y, y)}, ValueError, r"logits as one tensor \(N,C\), got a tuple"),
        ({"behind": lambda y: y[..., None]}, ValueError, r"logits as one tensor \(N,C\), got .* \(4, 5, 1\)"),
        ({"behind": lambda y: (y * 9).long()}, TypeError, r"logits must be .* got int64 of shape \(4, 5\)"),
        ({"behind": torch.detach}, ValueError, r"do not depend on the activations \(4, 6, 7, 5\)"),
    ],
)
def test_explain_names_what_is_wrong_with_an_argument(changed, error, message):
    model, (images, targets) = toy(), batch()
    arguments = {"model": model, "layer": model.layer, "images": images, "targets": targets} | changed
    if "behind" in changed:
        model.append(Apply(arguments.pop("behind")))
    with pytest.raises(error, match=message):
        batchcam.explain(**arguments)
    assert hooks(model) == 0

"""docs/your-own-loop.md: each block runs as it stands there, and trains with the gradients of a plain loop."""

import contextlib
import copy
import functools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import lightning
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

import batchcam
from tests.batchcam.recipes import RECIPES, SIDE, TEXT, expected_steps, leave, plain_gradients, run, setting
from tests.toys import Apply, hooks, relative_error

TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])


def test_every_block_is_run_by_a_test():
    here, there = (Path(__file__).with_name(name).read_text() for name in ("test_recipes.py", "two_processes.py"))
    assert len(RECIPES) == TEXT.count("```python") == 14
    assert [name for name in RECIPES if f'"{name}"' not in here + there] == []


@pytest.mark.parametrize("recipe", ["checkpointing", "compile"])
def test_the_steps_are_those_of_the_plain_loop(recipe, monkeypatch):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))  # needs no C++
    names = setting()
    model, optimizer, expected = names["model"], names["optimizer"], expected_steps(names)
    run(recipe, names)
    assert len(optimizer.steps) == len(expected) == 2
    for actual, reference in zip(optimizer.steps, expected, strict=True):
        assert relative_error(actual, reference) < 1e-10
    leave(names, model)


@pytest.mark.parametrize("where", ["in front", "around", "behind", "everything"])
def test_checkpoints_anywhere(where):
    names = setting(batches=1)
    model, ((images, labels),) = names["model"], names["loader"]
    expected = plain_gradients(names, images, labels)

    def loss(use_reentrant):
        kept = functools.partial(checkpoint, use_reentrant=use_reentrant)
        run = {
            "in front": lambda x: model.head(model.backbone[2](kept(model.backbone[:2], x))),
            "around": lambda x: model.head(kept(model.backbone, x)),
            "behind": lambda x: kept(model.head, model.backbone(x)),
            "everything": lambda x: kept(model, x),
        }[where]
        return names["guided_loss"](run, names["layer"], images.requires_grad_(), labels, names["regularizer"])

    for use_reentrant in [False, True] if where == "in front" else [False]:
        model.zero_grad()
        loss(use_reentrant).backward()
        assert relative_error([p.grad for p in model.parameters()], expected) < 1e-10
    if where != "in front":
        with pytest.raises((ValueError, RuntimeError), match=r"recorded under no_grad|use_reentrant=True"):
            loss(use_reentrant=True)
    assert hooks(model) == 0


@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace")
def test_compiled_code_behind_the_layer_is_refused():
    names = setting()
    compiled = torch.compile(names["model"], backend="aot_eager")
    (images, labels), *_ = names["loader"]
    # Before torch 2.14 it is already the layer's hook that dynamo cannot compile, and it says so in its own words.
    words = "does not currently support double backward" if TORCH >= (2, 14) else ""
    with pytest.raises(Exception, match=words):
        names["guided_loss"](compiled, names["layer"], images, labels, names["regularizer"]).backward()
    assert hooks(names["model"]) == 0


def test_attention():
    names = setting()
    model, optimizer, ((images, labels), *_) = names["model"], names["optimizer"], names["loader"]

    def attend(x):
        x = x.flatten(2).mT[:, None].contiguous()
        return F.scaled_dot_product_attention(x, 2 * x, x.sin())[:, 0].mT.unflatten(2, (SIDE, SIDE))

    model.head.insert(0, Apply(attend))
    with pytest.raises(RuntimeError, match=r"derivative for \S*attention\S* is not implemented"):
        names["guided_loss"](model, names["layer"], images, labels, names["regularizer"]).backward()
    optimizer.zero_grad()
    with sdpa_kernel(SDPBackend.MATH):
        expected = expected_steps(names)
    run("attention", names)
    for actual, reference in zip(optimizer.steps, expected, strict=True):
        assert relative_error(actual, reference) < 1e-10
    leave(names, model)


@pytest.mark.parametrize("autocast", [False, True])
def test_amp(autocast, monkeypatch):
    names = setting(torch.float32)
    model, optimizer = names["model"], names["optimizer"]
    images, labels = names["loader"].dataset.tensors
    expected = plain_gradients(names, images, labels)
    if not autocast:  # the accumulation alone is exact
        monkeypatch.setattr(torch, "autocast", lambda *_: torch.enable_grad())
    run("amp", names)
    (actual,) = optimizer.steps
    assert relative_error(actual, expected) < (0.1 if autocast else 1e-4)
    if autocast:
        assert relative_error(actual, expected) > 1e-5
    leave(names, model)


def test_norm():
    names = setting()
    model, optimizer = names["model"], names["optimizer"]
    norm = torch.nn.BatchNorm2d(6).double()
    model.head.insert(1, norm)
    optimizer.param_groups[0]["params"] = list(model.parameters())
    expected = expected_steps({**names, "model": copy.deepcopy(model).eval()})
    mixed = names["guided_loss"](model.train(), names["layer"], *next(iter(names["loader"])), names["regularizer"])
    assert relative_error(list(torch.autograd.grad(mixed, list(model.parameters()))), expected[0]) > 0.01
    del mixed
    norm.reset_running_stats()
    run("norm", names)
    assert model.training
    assert not norm.training
    for actual, reference in zip(optimizer.steps, expected, strict=True):
        assert relative_error(actual, reference) < 1e-10
    leave(names, model)


def shown(capsys):
    return [float(line.rpartition(":")[2]) for line in capsys.readouterr().out.splitlines()]


def test_watch(capsys):
    names = setting()
    model = names["model"]
    run("watch", names)
    zero, reached, of_cross_entropy = shown(capsys)
    assert zero == 0
    assert min(reached, of_cross_entropy) > 0
    assert reached != of_cross_entropy
    with torch.no_grad():
        model.head[-1].weight.zero_()  # nothing speaks for a class
    run("watch", names)
    assert shown(capsys)[:2] == [1, 0]
    model.backbone[0].requires_grad_(requires_grad=False)
    run("watch", names)  # the gradient is then that of the first weights that have one
    shown(capsys)
    leave(names, model)


def test_blob():
    names = setting(torch.float32) | {"images": torch.rand(1, 3, 5, 7), "num_classes": 3}
    exec(RECIPES["blob"], names)
    target = names["regularizer"].prototypes
    assert target.shape == (3, 5, 7)
    assert target[0].argmax() == 2 * 7 + 3  # the middle
    assert target.max() == 1
    assert relative_error(target[2, 2, 0], torch.tensor(0.1353)) < 1e-3  # at the edge, two σ away: e⁻²


def test_accelerate():
    names = setting()
    model, optimizer = names["model"], names["optimizer"]
    images, labels = names["loader"].dataset.tensors
    expected = plain_gradients(names, images, labels)
    run("accelerate", names)
    (actual,) = optimizer.steps
    assert relative_error(actual, expected) < 1e-10
    leave(names, model)


@pytest.fixture
def _of_one_process():
    """What Lightning sets for DDP, and sets up, is gone afterwards."""
    before = dict(os.environ)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    yield
    if dist.is_initialized():
        dist.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.filterwarnings("ignore")  # Lightning's hints about the number of workers
@pytest.mark.parametrize("strategy", ["auto", "ddp"])
@pytest.mark.usefixtures("_of_one_process")
def test_lightning(strategy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"strategy": strategy, "devices": 1, "use_distributed_sampler": False}  # which would shuffle
    monkeypatch.setattr(lightning, "Trainer", functools.partial(lightning.Trainer, **options))
    names = setting()
    model, optimizer, expected = names["model"], names["optimizer"], expected_steps(names)
    monkeypatch.setattr(torch.optim, "SGD", lambda *_, **__: optimizer)
    run("lightning", names)
    assert len(optimizer.steps) == len(expected) == 2
    for actual, reference in zip(optimizer.steps, expected, strict=True):
        assert relative_error(actual, reference) < 1e-10
    *_, (images, labels) = names["loader"]
    maps = batchcam.explain(model, names["layer"], images, labels)[1]
    assert torch.equal(names["guided"].maps, maps)
    leave(names, model)


def test_func():
    names = setting(batches=1)
    model, ((images, labels),) = names["model"], names["loader"]
    expected = plain_gradients(names, images, labels)
    exec(RECIPES["func"], names)  # its transforms allow none of the counting that run() does
    assert relative_error(list(names["gradients"].values()), expected) < 1e-10
    assert all(p.grad is None for p in model.parameters())
    leave(names, model)


@pytest.mark.parametrize("frozen", ["before the layer", "the backbone"])
def test_frozen(frozen):
    names = setting()
    model, optimizer = names["model"], names["optimizer"]
    model.backbone[0].requires_grad_(False)
    if frozen == "the backbone":
        model.backbone.requires_grad_(False)
    recipe = RECIPES["frozen"]
    expected = expected_steps(names)
    if frozen == "the backbone":
        run("frozen", names)
    else:
        exec(recipe.replace("model.backbone.requires_grad_(False)\n", ""), names)
    assert recipe.startswith("model.backbone.requires_grad_(False)\n")
    for actual, reference in zip(optimizer.steps, expected, strict=True):
        assert relative_error(actual, reference) < 1e-10
    assert model.backbone[0].weight.grad is None
    leave(names, model)


def test_layers():
    names = setting(batches=1)
    model, optimizer, ((images, labels),) = names["model"], names["optimizer"], names["loader"]
    names["layers"] = [model.backbone[0], model.backbone[2]]
    expected = plain_gradients(names, images, labels, depths=(1, 3))
    run("layers", names)
    assert relative_error(optimizer.steps[0], expected) < 1e-10
    leave(names, model)


# Two processes


def run_two_processes(script: Path, *arguments: object, seconds: float = 300) -> None:
    """Run a script in two processes with what torchrun gives them, and leave neither behind, whatever happens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    given |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen(
            [sys.executable, script, *map(str, arguments)],
            env=os.environ | given | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for rank in range(2)
    ]
    try:
        printed = [process.communicate(timeout=seconds)[0] for process in processes]
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(printed)


def test_ddp(tmp_path):
    """Two processes with half of the images each, twice: the gradients of one process with all of them."""
    run_two_processes(Path(__file__).with_name("two_processes.py"), tmp_path / "rank")
    names = setting()
    images, labels = names["loader"].dataset.tensors
    expected = plain_gradients(names, images, labels)
    for rank in range(2):
        steps, maps, refused = torch.load(tmp_path / f"rank{rank}")
        assert len(steps) == 2
        for actual in steps:
            assert relative_error(actual, expected) < 1e-10
        assert (maps is None) == (rank == 1)
        if rank == 0:
            assert relative_error(maps, batchcam.explain(names["model"], names["layer"], images[0::2])[1]) < 1e-10
        assert refused.endswith("leave static_graph out")

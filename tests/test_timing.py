"""The timing suite measures what it says: everyone in turns, memory by hand, and nobody whose maps are wrong."""

import gc
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import batchcam
from bench.params import Timing, load
from bench.timing import inference, interleave, measure, training
from bench.timing.groups import Group, Scene, groups, scene
from bench.timing.interleave import Seconds, Stopwatch
from bench.timing.memory import peak_bytes

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
SMALL = Group("maps", "simple_cnn", 23, 3)
STEP = Group("step", "simple_cnn", 23, 12)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Stop the clock; what is returned moves it."""
    now = [100.0]
    monkeypatch.setattr(interleave, "clock", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def test_a_round_times_each_call_once_and_the_stopwatch_its_part(clock: Callable[[float], None]) -> None:
    def whole(_: Stopwatch) -> None:
        clock(3)

    def in_parts(watch: Stopwatch) -> None:
        for _ in range(2):
            clock(1)
            with watch:
                clock(0.25)

    found = interleave.one_round({"whole": whole, "in parts": in_parts}, 0)
    assert found == {"whole": Seconds(3, None), "in parts": Seconds(2.5, 0.5)}


def test_everyone_is_first_in_turn() -> None:
    order: list[str] = []
    calls = {name: lambda _, name=name: order.append(name) for name in "abc"}
    for number in range(4):
        interleave.one_round(calls, number)
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"


def test_the_garbage_collector_comes_back() -> None:

    with interleave.no_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_peak_is_what_is_held_at_once_above_the_start() -> None:
    before = torch.zeros(1000)
    kept = []

    def call() -> None:
        a = torch.zeros(1000)  # 4,000 bytes
        b = a + before  # 8,000
        del a
        c = torch.cat([b, b, b, b])  # 4,000 + 16,000, the peak
        del c
        kept.append(torch.zeros(2000))  # 12,000

    assert peak_bytes(call, CPU) == 20_000
    assert peak_bytes(lambda: None, CPU) == 0


def timing(**changes: Any) -> Timing:
    content: dict[str, Any] = {"devices": ["cpu"], "threads": 1, "seconds": 0.01, "backbone": ["convnextv2_tiny"]}
    content |= {"resolution": [56, 112], "batch": {"cpu": [1, 2]}, "step_batch": 4, "growth": None}
    return Timing.model_validate(content | changes)


def test_groups_are_every_combination_and_the_last_stage_where_it_has_a_grid() -> None:
    found = groups(timing(), "cpu")
    assert {(g.kind, g.resolution, g.batch, g.last_stage) for g in found} == {
        *(("maps", px, batch, False) for px in (56, 112) for batch in (1, 2)),
        *(("maps", 112, batch, True) for batch in (1, 2)),
        *(("step", px, 4, last) for px, last in ((56, False), (112, False), (112, True))),
    }
    assert len(found) == len(set(found)) == len({g.name for g in found}) == 9


def test_growth_varies_one_thing_at_a_time() -> None:
    growth = {"backbone": "resnet18", "batch": [2, 1], "resolution": [32, 56], "classes": [10, 100]}
    found = [g for g in groups(timing(growth=growth), "cpu") if g.kind == "growth"]
    points = {(g.batch, g.resolution, g.num_classes) for g in found}
    assert points == {(2, 32, 10), (1, 32, 10), (2, 56, 10), (2, 32, 100)}


@pytest.mark.parametrize("profile", ["params.yaml", "profiles/paper/params.yaml"])
def test_every_name_of_a_group_is_a_contender_and_the_work_of_a_group_is_positive(profile: str) -> None:
    for group in groups(load(ROOT / profile).timing, "cpu"):
        assert len(set(measure.names(group))) == len(measure.names(group)) >= 6
        assert measure.names(group)[0] in (inference.FLOOR, training.FLOOR)
        assert group.work > 0


@pytest.mark.parametrize("backbone", ["simple_cnn", "resnet18", "convnextv2_tiny"])
def test_everyone_makes_the_maps_of_the_definition(backbone: Any) -> None:
    stage = scene(SMALL._replace(backbone=backbone), CPU)
    expected = inference.reference(stage)
    assert expected.shape[0] == 3
    found = inference.contenders(stage, measure.names(SMALL))
    assert [c.name for c in found if isinstance(c, inference.Contender)] == list(measure.names(SMALL))
    for contender in found:
        assert isinstance(contender, inference.Contender)
        watch = Stopwatch()
        assert contender.compare(contender.call(watch), expected) < 1e-4, contender.name
        in_parts = {"loop, backward()", "loop, autograd.grad", "grad_cam", "torch-cam"}
        assert (watch.seconds is not None) == (contender.name in in_parts or "alone" in contender.name)
    assert stage.model.training is False
    assert not stage.layer._forward_hooks
    assert all(p.grad is None for p in stage.model.parameters())


def test_the_last_stage_is_the_last() -> None:
    stage = scene(Group("maps", "convnextv2_tiny", 112, 1, last_stage=True), CPU)
    assert stage.layer_name == "stages.3"
    assert stage.images.is_contiguous(memory_format=torch.channels_last)


def wrong(maps: torch.Tensor, kind: str) -> torch.Tensor:
    return {"scaled": maps * 1.01, "shape": maps[:, None], "nan": maps * math.nan}[kind]


@pytest.mark.parametrize("kind", ["scaled", "shape", "nan"])
def test_whoever_returns_wrong_maps_is_reported_and_not_timed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    explain = batchcam.explain

    def planted(*args: Any) -> Any:
        logits, maps = explain(*args)
        return logits, wrong(maps, kind)

    monkeypatch.setattr(batchcam, "explain", planted)
    found = {m.contender: m for m in measure.measure(SMALL, CPU, 0.01, ("forward", "explain", "grad_cam"))}
    assert found["explain"].status.startswith("wrong: differs by ")
    assert (found["explain"].seconds, found["explain"].peak_bytes) == (None, None)
    for name in ("forward", "grad_cam"):
        seconds = found[name].seconds
        assert found[name].status == "ok"
        assert seconds is not None
        assert len(seconds) >= measure.LEAST_ROUNDS


def test_a_library_that_is_absent_or_fails_costs_its_own_row_only(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = inference.importlib.util.find_spec
    monkeypatch.setattr(inference.importlib.util, "find_spec", lambda n: None if n == "captum" else find_spec(n))

    def broken(_: Scene) -> Any:
        def call(_: Stopwatch) -> Any:
            raise RuntimeError("no kernel\nfor this")

        return call, inference.relative_error

    monkeypatch.setitem(inference._PEERS, "torch-cam", ("torchcam", broken))
    found = {m.contender: m for m in measure.measure(SMALL, CPU, 0.01, ("forward", "captum", "torch-cam"))}
    assert found["captum"].status == "not measured: captum is not installed"
    assert found["torch-cam"].status == "not measured: RuntimeError: no kernel for this"
    assert found["forward"].status == "ok"


def test_every_step_has_the_loss_of_the_definition_and_moves_nothing() -> None:
    stage = scene(STEP, CPU)
    found = training.contenders(stage, training.NAMES)
    expected = training.reference(stage)
    before = [p.detach().clone() for p in stage.model.parameters()]
    for contender in found:
        assert isinstance(contender, inference.Contender)
        assert contender.compare(contender.call(Stopwatch()), expected) < 1e-5, contender.name
    assert len({round(v, 6) for v in expected.values()}) == len(training.NAMES) - 1  # ce twice
    assert all(torch.equal(a, b) for a, b in zip(before, stage.model.parameters(), strict=True))
    assert all(p.grad is None for p in stage.model.parameters())


def test_a_step_with_another_loss_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = batchcam.PrototypeLoss.forward
    monkeypatch.setattr(batchcam.PrototypeLoss, "forward", lambda *args: 1.1 * forward(*args))
    found = {m.contender: m for m in measure.measure(STEP, CPU, 0.01, ("ce", "prototype-l1", "batchcam-l1"))}
    assert found["prototype-l1"].status.startswith("wrong: differs by ")
    assert found["batchcam-l1"].status == found["ce"].status == "ok"


@pytest.fixture
def fake_rounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Rounds that take one second each, by their number."""
    seen: list[int] = []

    def one_round(calls: Any, number: int) -> dict[str, Seconds]:
        seen.append(number)
        return {name: Seconds(1 / len(calls), None) for name in calls}

    monkeypatch.setattr(measure, "one_round", one_round)
    return seen  # type: ignore[return-value]


@pytest.mark.parametrize(("seconds", "rounds"), [(0.5, 6), (6.5, 7), (9, 9), (1000, 30)])
def test_a_group_goes_on_for_its_seconds_between_the_least_and_the_most_rounds(
    seconds: float, rounds: int, fake_rounds: list[int]
) -> None:
    found = measure.measure(SMALL, CPU, seconds, ("forward", "explain"))
    assert fake_rounds == list(range(rounds))
    assert [len(m.seconds or []) for m in found] == [rounds] * 2

"""The timing suite measures what it says: everyone in turns, memory by hand, and nobody whose maps are wrong."""

import gc
import math
import sys
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


def test_everyone_runs_once_a_round_after_ever_another_one() -> None:
    order: list[str] = []
    calls = {name: lambda _, name=name: order.append(name) for name in "abcd"}
    for number in range(6):
        interleave.one_round(calls, number)
    rounds = ["".join(order[i : i + 4]) for i in range(0, 24, 4)]
    assert {"".join(sorted(turn)) for turn in rounds} == {"abcd"}
    before_a = {turn[turn.index("a") - 1] if turn[0] != "a" else "" for turn in rounds}
    assert len(before_a) > 2  # not always the same one
    again: list[str] = []
    interleave.one_round({name: lambda _, name=name: again.append(name) for name in "abcd"}, 0)
    assert "".join(again) == rounds[0]


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
    assert (len(expected.logits), len(expected.maps), len(expected.first)) == (3, 3, 10)
    assert expected.maps.amax() > 0
    found = inference.contenders(stage)
    assert list(found) == list(measure.names(SMALL))
    for name, set_up in found.items():
        call, compare = set_up()
        watch = Stopwatch()
        assert compare(call(watch), expected) < 1e-4, name
        in_parts = {"loop, backward()", "loop, autograd.grad", "grad_cam", "torch-cam"}
        assert (watch.seconds is not None) == (name in in_parts or "alone" in name)
    assert stage.model.training is False
    assert not stage.layer._forward_hooks
    assert all(p.grad is None for p in stage.model.parameters())


def test_the_last_stage_is_the_last_has_a_grid_and_is_not_where_the_map_is_read() -> None:
    group = Group("maps", "convnextv2_tiny", 112, 1)
    stage = scene(group._replace(last_stage=True), CPU)
    assert stage.layer_name == "stages.3" != scene(group, CPU).layer_name
    assert inference.reference(stage).maps.shape[1:] == (3, 3)
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
    def broken(_: Scene) -> Any:
        raise RuntimeError("no kernel\nfor this")

    monkeypatch.setitem(sys.modules, "captum.attr", None)
    monkeypatch.setattr(inference, "_torchcam", broken)
    monkeypatch.setattr(inference, "_explain", broken)
    found = {m.contender: m for m in measure.measure(SMALL, CPU, 0.01, ("forward", "captum", "torch-cam", "explain"))}
    assert found["captum"].status == "not measured: captum.attr is not installed"
    assert found["torch-cam"].status == "not measured: RuntimeError: no kernel for this"
    assert found["explain"].status.startswith("not measured: TypeError: ")
    assert found["forward"].status == "ok"


def test_no_hook_and_no_gradient_stays_after_an_exception() -> None:
    stage = scene(SMALL, CPU)
    short = stage._replace(targets=stage.targets[:2])
    for loop in (inference._old_loop, inference._autograd_loop):
        with pytest.raises(ValueError, match="zip"):
            loop(short, Stopwatch())
        assert not stage.layer._forward_hooks
        assert not stage.layer._backward_hooks
        assert all(p.grad is None for p in stage.model.parameters())


def test_a_wrong_map_of_any_class_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    explain = batchcam.explain

    def planted(*args: Any) -> Any:
        logits, maps = explain(*args)
        maps[0, 7] *= 2
        return logits, maps

    stage = scene(SMALL, CPU)
    assert 7 not in stage.targets[:1].tolist()
    assert inference.reference(stage).first[7].any()
    monkeypatch.setattr(batchcam, "explain", planted)
    (found,) = measure.measure(SMALL, CPU, 0.01, ("explain, all classes",))
    assert found.status.startswith("wrong: differs by ")


def test_nothing_is_compared_with_maps_that_are_all_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = inference.reference

    def zero(stage: Scene) -> Any:
        found = reference(stage)
        return found._replace(maps=torch.zeros_like(found.maps))

    monkeypatch.setattr(inference, "reference", zero)
    found = measure.measure(SMALL, CPU, 0.01)
    assert {m.status for m in found} == {
        "not measured: by the definition all maps are zero, so nothing can be compared"
    }


def test_every_step_has_the_loss_of_the_definition_and_moves_nothing() -> None:
    stage = scene(STEP, CPU)
    found = training.contenders(stage)
    expected = training.reference(stage, training.NAMES)
    before = [p.detach().clone() for p in stage.model.parameters()]
    for name, set_up in found.items():
        call, compare = set_up()
        step = call(Stopwatch())
        assert compare(step, expected) < 1e-5, name
        torch.testing.assert_close(step.gradient, expected[name].gradient, rtol=0, atol=1e-5)
    assert len({round(float(step.loss), 6) for step in expected.values()}) == len(training.NAMES) - 1  # ce twice
    assert all(torch.equal(a, b) for a, b in zip(before, stage.model.parameters(), strict=True))
    assert all(p.grad is None for p in stage.model.parameters())


def test_a_step_with_another_loss_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = batchcam.PrototypeLoss.forward
    monkeypatch.setattr(batchcam.PrototypeLoss, "forward", lambda *args: 1.1 * forward(*args))
    found = {m.contender: m for m in measure.measure(STEP, CPU, 0.01, ("ce", "prototype-l1", "batchcam-l1"))}
    assert found["prototype-l1"].status.startswith("wrong: differs by ")
    assert found["batchcam-l1"].status == found["ce"].status == "ok"


def test_a_step_whose_maps_have_no_gradient_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loss is right, and it is fast."""
    forward = batchcam.PrototypeLoss.forward
    monkeypatch.setattr(batchcam.PrototypeLoss, "forward", lambda self, maps, y: forward(self, maps.detach(), y))
    found = {m.contender: m for m in measure.measure(STEP, CPU, 0.01, ("ce", "prototype-l1", "batchcam-l1"))}
    assert found["prototype-l1"].status.startswith("wrong: differs by ")
    assert found["batchcam-l1"].status == found["ce"].status == "ok"


def test_the_clock_waits_for_the_gpu_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: order.append("synchronize"))
    monkeypatch.setattr(interleave.time, "perf_counter", lambda: order.append("read") or 1.0)
    assert interleave.clock() == 1.0
    assert order == ["synchronize", "read"]


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

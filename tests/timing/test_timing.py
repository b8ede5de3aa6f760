"""The timing suite measures what it says: everyone in turns, memory by hand, and nobody whose maps are wrong."""

import gc
import math
import sys
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import batchcam
from bench.names import CE_STEP, FORWARD, OUTPUT_TOLERANCE, STEPS
from bench.params import load
from bench.sections import Timing
from bench.timing import inference, interleave, measure, training
from bench.timing.groups import Group, Scene, groups, scene
from bench.timing.interleave import Call, Seconds, Stopwatch
from bench.timing.memory import peak_bytes

ROOT = Path(__file__).parents[2]
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


def _note(ran: list[str], name: str, _: Stopwatch) -> None:
    ran.append(name)


def test_everyone_runs_once_a_round_after_ever_another_one() -> None:
    order: list[str] = []
    calls: dict[str, Call] = {name: partial(_note, order, name) for name in "abcd"}
    for number in range(6):
        interleave.one_round(calls, number)
    rounds = ["".join(order[i : i + 4]) for i in range(0, 24, 4)]
    assert {"".join(sorted(turn)) for turn in rounds} == {"abcd"}
    before_a = {turn[turn.index("a") - 1] if turn[0] != "a" else "" for turn in rounds}
    assert len(before_a) > 2  # not always the same one
    again: list[str] = []
    interleave.one_round({name: partial(_note, again, name) for name in "abcd"}, 0)
    assert "".join(again) == rounds[0]


def test_the_garbage_collector_comes_back_where_it_was_on() -> None:
    with interleave.no_collection():
        assert not gc.isenabled()
        with interleave.no_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


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


def test_on_a_gpu_the_peak_is_that_of_the_call_above_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"now": 1000, "peak": 9000}  # the peak of what ran before
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: held.update(peak=held["now"]))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: held["now"])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: held["peak"])
    assert peak_bytes(lambda: held.update(now=1200, peak=max(held["peak"], 1500)), torch.device("cuda")) == 500


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
    assert found == sorted(found, key=lambda group: group.work)


def test_each_device_has_its_own_batches() -> None:
    found = groups(timing(batch={"cpu": [1, 2], "cuda": [64]}), "cuda")
    assert {g.batch for g in found if g.kind == "maps"} == {64}


def test_growth_varies_one_thing_at_a_time() -> None:
    growth = {"backbone": "resnet18", "batch": [2, 1], "resolution": [32, 56], "classes": [10, 100]}
    found = [g for g in groups(timing(growth=growth), "cpu") if g.kind == "growth"]
    points = {(g.batch, g.resolution, g.num_classes) for g in found}
    assert len(found) == len(points)
    assert points == {(2, 32, 10), (1, 32, 10), (2, 56, 10), (2, 32, 100)}


@pytest.mark.parametrize("profile", ["params.yaml", "profiles/paper/params.yaml"])
def test_every_name_of_a_group_is_a_contender_and_the_work_of_a_group_is_positive(profile: str) -> None:
    for group in groups(load(ROOT / profile).timing, "cpu"):
        assert len(set(measure.names(group))) == len(measure.names(group)) >= 6
        assert measure.names(group)[0] in (FORWARD, CE_STEP)
        assert group.work > 0


def test_where_nothing_else_is_compared_the_floor_and_ours_are() -> None:
    for group in (SMALL._replace(kind="growth"), SMALL._replace(backbone="convnextv2_tiny", last_stage=True)):
        ours = ("grad_cam", "explain", "explain, map alone", "explain, all classes", "explain, all classes, map alone")
        assert measure.names(group) == ("forward", *ours)


def test_an_error_is_that_of_the_worst_value() -> None:
    expected = torch.linspace(0, 2, 100)
    found = expected.clone()
    found[50] -= 0.5
    assert inference.relative_error(found, expected) == pytest.approx(0.25)
    assert inference.relative_error(found[:99], expected) == math.inf
    found[0] = math.nan
    assert inference.relative_error(found, expected) == math.inf


@pytest.mark.parametrize("backbone", ["simple_cnn", "resnet18", "convnextv2_tiny"])
def test_everyone_makes_the_maps_of_the_definition(backbone: Any) -> None:
    stage = scene(SMALL._replace(backbone=backbone), CPU)
    expected = inference.reference(stage)
    assert (len(expected.logits), len(expected.maps), len(expected.first)) == (3, 3, 10)
    assert expected.maps.amax() > 0
    found = inference.contenders(stage)
    assert list(found) == [*measure.names(SMALL), inference.TRAINING_MAP]
    for name, set_up in found.items():
        call, compare = set_up()
        watch = Stopwatch()
        output: Any = call(watch)
        assert compare(output, expected) < 1e-4, name
        assert compare(1.01 * output, expected) > OUTPUT_TOLERANCE, name
        in_parts = {"loop, backward()", "loop, autograd.grad", "grad_cam", "torch-cam", inference.TRAINING_MAP}
        assert (watch.seconds is not None) == (name in in_parts or "alone" in name)
    assert stage.model.training is False
    assert not stage.layer._forward_hooks
    assert all(p.grad is None for p in stage.model.parameters())


def test_a_scene_is_the_same_every_time_and_has_a_class_of_its_own_for_each_image() -> None:
    one, other = scene(SMALL, CPU), scene(SMALL, CPU)
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.targets, other.targets)
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))
    assert len(set(one.targets.tolist())) == SMALL.batch


def test_the_references_need_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = scene(SMALL, CPU), scene(STEP, CPU)
    for name in (*batchcam.__all__, "distances", "ssim"):
        monkeypatch.setattr(batchcam, name, None)
    assert inference.reference(stages[0]).maps.any()
    assert set(training.reference(stages[1], STEPS)) == set(STEPS)


class RunningStopwatch(Stopwatch):
    """One that says whether it runs."""

    running = False

    def __enter__(self) -> None:
        self.running = True
        super().__enter__()

    def __exit__(self, *args: Any) -> None:
        self.running = False
        super().__exit__(*args)


def test_the_part_that_makes_the_map_has_no_forward_pass_in_it() -> None:
    stage = scene(SMALL, CPU)
    watch = RunningStopwatch()
    passes: list[bool] = []
    stage.model.register_forward_pre_hook(lambda *_: passes.append(watch.running))
    expected = {"loop, backward()": 3, "loop, autograd.grad": 3, "grad_cam": 1, "torch-cam": 1, "forward": 1}
    expected |= {"explain": 1, "explain, map alone": 0, "explain, all classes": 1, "explain, all classes, map alone": 0}
    for name, count in expected.items():
        call, _ = inference.contenders(stage)[name]()
        passes.clear()
        found = call(watch)
        assert passes == [False] * count, name
        assert isinstance(found, torch.Tensor)
        assert not found.requires_grad, name


def test_the_last_stage_is_the_last_has_a_grid_and_is_not_where_the_map_is_read() -> None:
    group = Group("maps", "convnextv2_tiny", 112, 1)
    stage = scene(group._replace(last_stage=True), CPU)
    assert stage.layer_name == "stages.3" != scene(group, CPU).layer_name
    assert inference.reference(stage).maps.shape[1:] == (3, 3)
    assert stage.images.is_contiguous(memory_format=torch.channels_last)
    weight = next(p for p in stage.model.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last)


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
    assert (found["grad_cam"].peak_bytes or 0) > (found["forward"].peak_bytes or 0) > 10_000  # the graph, the maps


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


@pytest.mark.parametrize("image", [0, 1])
def test_a_wrong_map_of_any_class_and_of_any_target_is_noticed(image: int, monkeypatch: pytest.MonkeyPatch) -> None:
    explain = batchcam.explain
    stage = scene(SMALL, CPU)
    target = [7, int(stage.targets[1])][image]

    def planted(*args: Any) -> Any:
        logits, maps = explain(*args)
        maps[image, target] += 1
        return logits, maps

    assert 7 not in stage.targets[:1].tolist()
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
    expected = training.reference(stage, STEPS)
    before = [p.detach().clone() for p in stage.model.parameters()]
    for name, set_up in found.items():
        call, compare = set_up()
        step: Any = call(Stopwatch())
        assert compare(step, expected) < 1e-5, name
        torch.testing.assert_close(step.gradient, expected[name].gradient, rtol=0, atol=1e-5)
    assert len({round(float(step.loss), 6) for step in expected.values()}) == len(STEPS) - 1  # ce twice
    assert all(torch.equal(a, b) for a, b in zip(before, stage.model.parameters(), strict=True))
    assert all(p.grad is None for p in stage.model.parameters())


def test_a_step_is_one_of_training_with_the_optimiser_and_watching_makes_the_maps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps, maps = [], []
    normalize, adamw = batchcam.normalize_maps, torch.optim.AdamW

    class Counted(adamw):  # type: ignore[misc, valid-type]
        def step(self, *args: Any) -> Any:
            steps.append(self)
            return super().step(*args)

    monkeypatch.setattr(torch.optim, "AdamW", Counted)
    monkeypatch.setattr(batchcam, "normalize_maps", lambda found: maps.append(found) or normalize(found))
    stage = scene(STEP, CPU)
    found = training.contenders(stage)
    assert stage.model.training
    assert len(steps) == 1  # whoever is first does not pay for the moments
    for count, name in enumerate(("ce", "ce, maps watched"), 2):
        assert not maps
        found[name]()[0](Stopwatch())
        assert len(steps) == count
    assert [(m.shape, m.requires_grad) for m in maps] == [((12, 23, 23), False)]


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
    monkeypatch.setattr("time.perf_counter", lambda: order.append("read") or 1.0)
    assert interleave.clock() == 1.0
    assert order == ["synchronize", "read"]


@pytest.fixture
def fake_rounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Rounds that take one second each, by their number; `explain` makes its maps in a quarter of one."""
    seen: list[int] = []
    left: list[Any] = []

    def one_round(calls: Any, number: int) -> dict[str, Seconds]:
        assert not gc.isenabled()
        assert all(reference() is None for reference in left)  # what the round before left in cycles
        cycle = Stopwatch()
        cycle.itself = cycle  # type: ignore[attr-defined]
        left.append(weakref.ref(cycle))
        seen.append(number)
        return {name: Seconds(1 / len(calls), 0.25 if name == "explain" else None) for name in calls}

    monkeypatch.setattr(measure, "one_round", one_round)
    return seen  # type: ignore[return-value]


@pytest.mark.parametrize(("seconds", "rounds"), [(0.5, 6), (6.5, 7), (9, 9), (1000, 30)])
def test_a_group_goes_on_for_its_seconds_between_the_least_and_the_most_rounds(
    seconds: float, rounds: int, fake_rounds: list[int]
) -> None:
    found = measure.measure(SMALL, CPU, seconds, ("forward", "explain"))
    assert fake_rounds == list(range(rounds))
    assert [m.seconds for m in found] == [[0.5] * rounds] * 2
    assert [m.map_seconds for m in found] == [None, [0.25] * rounds]

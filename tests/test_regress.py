"""The regression check breaks on the right row for what it must notice, and on nothing else."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import batchcam
from bench.__main__ import app
from bench.errors import BenchError
from bench.intervals import MedianInterval
from bench.timing import regress, training
from bench.timing.groups import Group
from bench.timing.measure import Measured
from bench.timing.regress import EXPECTATION, PLANS, Plan, Row

MAPS = Plan(Group("maps", "simple_cnn", 23, 32), PLANS[0].contenders, 1.0)
STEP = Plan(Group("step", "simple_cnn", 23, 32), ("ce", "prototype-l1", "batchcam-l1"), 2.0)


@pytest.fixture(scope="module")
def expectation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what this machine gives now, before anything is planted: maps.json and step.json."""
    folder = tmp_path_factory.mktemp("regress")
    for plan in (MAPS, STEP):
        regress.regress(folder / f"{plan.group.kind}.json", update=True, plans=[plan])
    return folder


def broken(expectation: Path, plan: Plan) -> list[str]:
    """The rows that break."""
    table, sentences = regress.regress(expectation / f"{plan.group.kind}.json", plans=[plan])
    assert table.count("BROKEN") == len(sentences)
    return [sentence.split(": ")[1] for sentence in sentences]


def test_nothing_breaks_where_nothing_was_planted(expectation: Path) -> None:
    assert broken(expectation, MAPS) + broken(expectation, STEP) == []


def test_explain_that_builds_the_graph_of_the_backbone(expectation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(model: Any, layer: Any, images: Any, targets: Any) -> Any:
        with batchcam.capture(layer) as captured:
            logits = model(images)
        return logits, batchcam.grad_cam(captured.activations, logits, targets)

    monkeypatch.setattr(batchcam, "explain", planted)
    assert "explain ÷ forward, memory" in broken(expectation, MAPS)


def test_a_map_loss_that_goes_image_by_image(expectation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = batchcam.PrototypeLoss.forward

    def planted(self: Any, maps: Any, labels: Any) -> Any:
        pairs = zip(maps.split(1), labels.split(1), strict=True)
        return torch.stack([forward(self, m, y) for m, y in pairs]).mean()

    monkeypatch.setattr(batchcam.PrototypeLoss, "forward", planted)
    rows = broken(expectation, STEP)
    assert "prototype-l1 ÷ ce" in rows
    assert "batchcam-l1 ÷ ce" not in rows


def test_30_percent_more_work_in_the_guided_step(expectation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contenders = training.contenders

    def planted(stage: Any) -> Any:
        def slower(set_up: Any) -> Any:
            call, compare = set_up()

            def longer(watch: Any) -> Any:
                start = time.perf_counter()
                done = call(watch)
                end = start + 1.3 * (time.perf_counter() - start)
                while time.perf_counter() < end:
                    pass
                return done

            return longer, compare

        found = contenders(stage)
        return {n: (lambda s=s: slower(s)) if n in ("prototype-l1", "batchcam-l1") else s for n, s in found.items()}

    monkeypatch.setattr(training, "contenders", planted)
    assert {"prototype-l1 ÷ ce", "batchcam-l1 ÷ ce"} <= set(broken(expectation, STEP))


def test_a_contender_that_returns_wrong_maps(expectation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explain = batchcam.explain
    monkeypatch.setattr(batchcam, "explain", lambda *args: (None, explain(*args)[1].flip(0)))
    _, sentences = regress.regress(expectation / "maps.json", plans=[MAPS])
    assert any(re.search(r"explain ÷ forward: wrong: differs by [\d.]+ of the largest value", s) for s in sentences)
    assert not any("÷ forward: wrong" in s and "explain" not in s for s in sentences)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Let the one row of MAPS's time be what is given, measurement by measurement; the list shrinks."""

    def give(values: list[float], kind: str = "time") -> list[float]:
        def rows(plan: Plan) -> list[Row]:
            value = values.pop(0)
            return [Row("a row", kind, MedianInterval(value, value / 2, value * 2))]

        monkeypatch.setattr(regress, "_rows", rows)
        monkeypatch.setattr(regress, "_names", lambda plan: ["a row"])
        return values

    return give


def expect(tmp_path: Path, ratio: float) -> Path:
    path = tmp_path / "expected.json"
    path.write_text(json.dumps({"layout": 1, "machine": "", "ratios": {"a row": ratio}}))
    return path


@pytest.mark.parametrize(
    ("kind", "values", "breaks", "left"),
    [
        ("time", [1.14, 9], False, 1),  # within the band: one look is enough
        ("time", [1.16, 1.14], False, 0),  # a neighbour woke up
        ("time", [1.16, 1.16], True, 0),
        ("time", [0.1, 9], False, 1),  # faster is fine
        ("memory", [1.06, 1.06], True, 0),
        ("memory", [1.04, 9], False, 1),
        ("speed-up", [0.81, 9], False, 1),
        ("speed-up", [0.79, 0.79], True, 0),
        ("speed-up", [0.79, 0.81], False, 0),
        ("speed-up", [9.0, 9], False, 1),
    ],
)
def test_a_row_breaks_when_it_is_beyond_its_band_twice(
    kind: str, values: list[float], breaks: bool, left: int, measured: Any, tmp_path: Path
) -> None:
    waiting = measured(values, kind)
    table, sentences = regress.regress(expect(tmp_path, 1.0), plans=[MAPS])
    assert bool(sentences) == breaks == ("BROKEN" in table)
    assert ("≥" in table, "≤" in table) == (kind == "speed-up", kind != "speed-up")
    assert len(waiting) == left


def test_the_second_measurement_counts_for_the_row_that_was_beyond_its_band_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "expected.json"
    path.write_text(json.dumps({"layout": 1, "machine": "", "ratios": {"a row": 1.0, "another": 1.0}}))
    seen = [(1.2, 1.0), (1.0, 1.2)]

    def rows(plan: Plan) -> list[Row]:
        pairs = zip(("a row", "another"), seen.pop(0), strict=True)
        return [Row(name, "time", MedianInterval(value, value, value)) for name, value in pairs]

    monkeypatch.setattr(regress, "_rows", rows)
    monkeypatch.setattr(regress, "_names", lambda plan: ["a row", "another"])
    assert regress.regress(path, plans=[MAPS])[1] == []
    assert not seen


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> dict[str, Measured]:
    """What a measurement of MAPS gives, by contender, to be changed."""
    seconds = {
        "forward": ([1.0, 2, 3, 4, 5, 1], 100),
        "loop, backward()": ([20.0] * 6, 400),
        "explain": ([2.0, 4, 6, 8, 10, 8], 110),
        "explain, all classes": ([3.0, 6, 9, 12, 15, 30], 120),
    }
    found = {n: Measured(MAPS.group, n, "layer", "ok", 0.0, peak, data) for n, (data, peak) in seconds.items()}

    def measure(*args: Any) -> list[Measured]:
        assert args == (MAPS.group, torch.device("cpu"), MAPS.seconds, MAPS.contenders)
        return list(found.values())

    monkeypatch.setattr(regress, "measure", measure)
    return found


def test_ratios_are_medians_of_those_within_a_round(by_hand: dict[str, Measured], tmp_path: Path) -> None:
    path = tmp_path / "expected.json"
    regress.regress(path, update=True, plans=[MAPS])
    assert {name.split(": ")[1]: ratio for name, ratio in json.loads(path.read_text())["ratios"].items()} == {
        "loop, backward() ÷ explain": 2.9167,  # 10, 5, 10/3, 2.5, 2, 2.5
        "explain ÷ forward": 2,  # five times 2, and 8
        "explain ÷ forward, memory": 1.1,
        "explain, all classes ÷ forward": 3,
        "explain, all classes ÷ forward, memory": 1.2,
    }


def test_without_its_floor_a_row_is_broken(by_hand: dict[str, Measured], tmp_path: Path) -> None:
    path = tmp_path / "expected.json"
    regress.regress(path, update=True, plans=[MAPS])
    by_hand["forward"] = Measured(MAPS.group, "forward", "layer", "not measured: no")
    sentences = regress.regress(path, plans=[MAPS])[1]
    assert [sentence.split(": ", 1)[1] for sentence in sentences] == [
        f"{name} ÷ forward{kind}: not measured: no"
        for name in ("explain", "explain, all classes")
        for kind in ("", ", memory")
    ]


def test_the_command_prints_the_table_and_exits_with_the_row_that_broke(measured: Any, tmp_path: Path) -> None:
    measured([2.0] * 8 + [2.34567] * 4)
    path = expect(tmp_path, 1.0)
    result = CliRunner().invoke(app, ["regress", "--expectation", str(path)])
    assert result.exit_code == 1
    assert "| a row" in result.stdout
    assert "a row: 2, at most 1.15 is expected" in result.stderr
    updated = CliRunner().invoke(app, ["regress", "--update", "--expectation", str(path)])
    assert updated.exit_code == 0
    assert json.loads(path.read_text())["ratios"] == {"a row": 2.3457}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot read .*expected.json"),
        ("{", "expected.json is not JSON"),
        ('{"layout": 2, "machine": "", "ratios": {}}', r"expected.json has another layout \(layout: "),
        ('{"rows": []}', r"expected.json has another layout \(layout: field required\)"),
        ('{"layout": 1, "machine": "", "ratios": {"x": "fast"}}', r"another layout \(ratios.x: "),
        ('{"layout": 1, "machine": "", "ratios": {"x": Infinity}}', r"another layout \(ratios.x: "),
        ('{"layout": 1, "machine": "", "ratios": {"x": 0}}', r"another layout \(ratios.x: .* greater than 0\)"),
        ('{"layout": 1, "machine": "", "ratios": {}, "bands": {}}', r"another layout \(bands: "),
        ('{"layout": 1, "machine": "", "ratios": {}}', "has no expectation for 'maps, simple_cnn, 23 px, batch 32: "),
    ],
)
def test_an_expectation_of_another_layout_is_one_sentence(content: str | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "expected.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BenchError, match=f"{sentence}.*: python -m bench regress --update writes it anew"):
        regress.regress(path)


def test_an_expectation_of_what_is_not_measured_and_bytes_that_are_no_text_are_one_sentence(tmp_path: Path) -> None:
    content = json.loads(EXPECTATION.read_text())
    content["ratios"]["x"] = 1.0
    path = tmp_path / "expected.json"
    path.write_text(json.dumps(content))
    with pytest.raises(BenchError, match="expects 'x', which is not measured: python -m bench regress --update"):
        regress.regress(path)
    path.write_bytes(b"\xff")
    with pytest.raises(BenchError, match="is not JSON"):
        regress.regress(path)


def test_what_is_wrong_once_is_broken(measured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured([])
    wrong = Row("a row", "time", MedianInterval(1, 1, 1), "wrong: differs by 1 of the largest value")
    seen = [[wrong], [wrong._replace(problem="")]]
    monkeypatch.setattr(regress, "_rows", lambda plan: seen.pop(0))
    _, sentences = regress.regress(expect(tmp_path, 1.0), plans=[MAPS])
    assert sentences == ["a row: wrong: differs by 1 of the largest value"]
    assert len(seen) == 1


def test_no_expectation_is_written_of_what_could_not_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Row("a row", "time", MedianInterval(1, 1, 1), "not measured: no")
    monkeypatch.setattr(regress, "_rows", lambda plan: [row])
    with pytest.raises(BenchError, match="no expectation without a measurement: a row: not measured: no"):
        regress.regress(tmp_path / "expected.json", update=True)
    assert not list(tmp_path.iterdir())


def test_the_committed_expectation_fits_the_plans_and_threads_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = regress._read(EXPECTATION, PLANS)
    assert list(found) == [name for plan in PLANS for name in regress._names(plan)]
    seen = []
    monkeypatch.setattr(regress, "_rows", lambda plan: seen.append(torch.get_num_threads()) or [])
    torch.set_num_threads(2)
    try:
        regress.regress()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert seen == [1] * len(PLANS)

"""From the timing suite's JSON to ratios, table and figures; the command, and what is missing."""

import json
import math
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from typer.testing import CliRunner

from bench import figures, tables
from bench.__main__ import app
from bench.collect import collect
from bench.errors import BenchError
from bench.params import load
from bench.timing import figures as timing_figures
from bench.timing import measure, rows, run
from bench.timing import table as timing_table
from bench.timing.conftest import Measurements
from bench.timing.groups import Group
from bench.timing.measure import Measured
from bench.timing.rows import COLUMNS

ROOT = Path(__file__).parents[1]
#: Seconds of six rounds. The paired ratios to the floor are 2, 2, 2, 2, 2, 8: median 2, interval from 2 to 8.
FLOOR = [1.0, 2, 3, 4, 5, 1]
OURS = [2.0, 4, 6, 8, 10, 8]
LOOP = [20.0, 20, 20, 20, 20, 20]
EXPLAIN = "#0B3C5D"  # its colour
#: Of a measurement by hand, and of its part that makes the map.
ROUNDS, ALONE = [3.0, 1, 2, 6, 4, 5], [0.5, 0.25, 0.5, 0.5, 0.5, 0.5]


def benchmark(contender: str, data: list[float], peak: int, kind: str = "maps", **changes: Any) -> dict[str, Any]:
    about = {"kind": kind, "backbone": "resnet18", "layer": "layer4", "resolution": 23, "batch": 8, "classes": 10}
    about |= {"contender": contender, "status": "ok", "error": 1e-6, "peak_bytes": peak, "map_seconds": None}
    return {"extra_info": about | changes, "stats": {"data": data}}


def content() -> dict[str, Any]:
    machine = {"device": "cpu", "gpu": None, "cpu": {"brand_raw": "A CPU"}, "processor": "x86_64", "threads": 1}
    machine |= {"parameters": {"threads": 1}}
    machine |= {"cpu_capability": "AVX2", "versions": {"torch": "2.15.0"}}
    found = [
        benchmark("forward", FLOOR, 100),
        benchmark("explain", OURS, 110),
        benchmark("loop, backward()", LOOP, 400, map_seconds=[v / 2 for v in LOOP]),
        benchmark("torch-cam", [3.0, 3, 3, 3, 3, 3], 300, map_seconds=FLOOR),
        benchmark("ce", FLOOR, 100, "step"),
        benchmark("prototype-l1", OURS, 150, "step"),
    ]
    about = {k: v for k, v in found[0]["extra_info"].items() if k not in ("error", "peak_bytes", "map_seconds")}
    absent = [about | {"contender": "captum", "status": "not measured: captum is not installed"}]
    absent += [about | {"contender": "grad_cam", "status": "wrong: differs by 0.5 of the largest value"}]
    return {"machine_info": machine, "benchmarks": found, "not_measured": absent}


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    path = tmp_path / "timing-cpu.json"
    path.write_text(json.dumps(content()))
    return rows.read(path)[1]


def row(table: pd.DataFrame, contender: str) -> dict[str, Any]:
    (found,) = table[table["contender"] == contender].to_dict("records")
    return {str(k): v for k, v in found.items()}


def test_ratios_are_medians_of_pairs_with_the_interval_of_order_statistics(table: pd.DataFrame) -> None:
    assert list(table) == COLUMNS
    ours = row(table, "explain")
    assert (ours["floor_ratio"], ours["floor_ratio_low"], ours["floor_ratio_high"]) == (2, 2, 8)
    assert (ours["seconds"], ours["rounds"], ours["memory_ratio"]) == (7, 6, 1.1)
    assert (ours["ours_ratio"], ours["speedup_low"], ours["speedup_high"]) == (1, 2, 10)
    # 20 ÷ ours: 10, 5, 10/3, 2.5, 2, 2.5
    assert ours["speedup"] == pytest.approx((2.5 + 10 / 3) / 2)
    loop = row(table, "loop, backward()")
    assert (loop["map_seconds"], loop["memory_ratio"]) == (10, 4)
    # 10 ÷ the floor: 10, 5, 10/3, 2.5, 2, 10, whose median is between 10/3 and 5.
    assert loop["map_floor_ratio"] == pytest.approx((10 / 3 + 5) / 2)
    step = row(table, "prototype-l1")
    assert (step["floor_ratio"], step["memory_ratio"]) == (2, 1.5)
    assert math.isnan(step["ours_ratio"])
    assert math.isnan(step["speedup"])
    assert set(table["machine"]) == {"A CPU, AVX2, 1 thread, torch 2.15.0"}


def test_who_was_not_measured_is_a_row_with_the_reason(table: pd.DataFrame) -> None:
    absent = row(table, "captum")
    assert absent["status"] == "not measured: captum is not installed"
    assert pd.isna(absent["rounds"])
    assert math.isnan(absent["floor_ratio"])


@pytest.mark.parametrize("damage", ["{", "[]", '{"machine_info": {}}'])
def test_a_file_that_is_none_of_the_suite_is_one_sentence(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "timing-cpu.json"
    path.write_text(damage)
    with pytest.raises(BenchError, match=r"timing-cpu.json is not what `python -m bench time` writes .*make it anew"):
        rows.read(path)


def test_the_table_shows_ratios_and_the_reason_of_every_gap(table: pd.DataFrame) -> None:
    made = timing_table.timing(table)
    blocks = {block.title: block.cells.iloc[0] for block in made.blocks}
    whole = blocks["CPU, maps at inference: whole call ÷ plain forward pass"]
    peers = blocks["CPU, other libraries: whole call ÷ plain forward pass"]
    assert whole[["backbone", "read at", "px", "batch", "n"]].tolist() == ["ResNet-18", "layer4", "23", "8", "6"]
    assert whole["forward"] == "2,500 ms"
    assert whole["explain"] == "2.00 [2.00, 8.00]"
    assert (peers["captum"], whole["grad_cam"], peers["pytorch-grad-cam"]) == ("not measured", "wrong", "–")
    assert blocks["CPU, maps at inference: old loop ÷ whole call"]["explain"] == "2.92 [2.00, 10.0]"
    assert blocks["CPU, other libraries: whole call ÷ explain's"]["torch-cam"].startswith("0.44 [0.30, 1.50]")
    assert blocks["CPU, maps at inference: peak memory ÷ plain forward pass"]["explain"] == "1.10"
    assert blocks["CPU, training step ÷ ce step"]["prototype-l1"] == "2.00 [2.00, 8.00]"
    assert blocks["CPU, training step: peak memory ÷ ce step"]["prototype-l1"] == "1.50"
    assert blocks["CPU, other libraries: map alone ÷ explain's"]["torch-cam"] == "no explain"
    assert not any("growth" in title for title in blocks)
    assert "?" not in tables.latex(made)
    text = tables.markdown(made)
    assert "* captum: not measured: captum is not installed." in text
    assert "* grad_cam: wrong: differs by 0.5 of the largest value." in text
    assert "* CPU: A CPU, AVX2, 1 thread, torch 2.15.0." in text


def everyone(**about: Any) -> list[dict[str, Any]]:
    """A group in which the i-th contender takes i seconds, i / 8 for the map, and 100 i bytes."""
    names = enumerate(measure.names(Group("maps", "resnet18", 23, 8)), 1)
    return [benchmark(name, [float(i)] * 6, 100 * i, map_seconds=[i / 8] * 6, **about) for i, name in names]


def cells_of(benchmarks: list[dict[str, Any]], path: Path) -> dict[str, pd.DataFrame]:
    """The table's blocks by their title, without device."""
    path.write_text(json.dumps(content() | {"benchmarks": benchmarks, "not_measured": []}))
    blocks = timing_table.timing(rows.read(path)[1]).blocks
    return {block.title.removeprefix("CPU, "): block.cells for block in blocks}


def test_every_column_of_the_table_shows_its_own_contender(tmp_path: Path) -> None:
    made = everyone()
    i = {b["extra_info"]["contender"]: b["stats"]["data"][0] for b in made}
    ours, alone = i["explain"], i["explain, map alone"]
    peers = ("captum", "torch-cam", "pytorch-grad-cam")
    maps = ("loop, backward()", "loop, autograd.grad", "grad_cam", "explain", "explain, all classes")
    sources = {n: f"{n}, map alone" if n.startswith("explain") else n for n in (*maps, "torch-cam")}
    expected = {
        "maps at inference: whole call ÷ plain forward pass": {n: i[n] for n in maps},
        "other libraries: whole call ÷ plain forward pass": {n: i[n] for n in peers},
        "other libraries: whole call ÷ explain's": {n: i[n] / ours for n in peers},
        "maps at inference: map alone ÷ plain forward pass": {n: i[source] / 8 for n, source in sources.items()},
        "other libraries: map alone ÷ explain's": {"torch-cam": i["torch-cam"] / 8 / alone},
        "maps at inference: old loop ÷ whole call": {n: i["loop, backward()"] / i[n] for n in (*maps[1:], *peers)},
        "maps at inference: peak memory ÷ plain forward pass": {n: i[n] for n in (*maps, *peers)},
    }
    blocks = cells_of(made, tmp_path / "timing-cpu.json")
    assert set(blocks) == set(expected)
    for title, ratios in expected.items():
        found = blocks[title].iloc[0, 5:].drop("forward", errors="ignore")
        assert {n: float(text.split()[0]) for n, text in found.items()} == pytest.approx(ratios, abs=0.0051), title


def test_growth_has_a_row_for_every_setting_in_the_order_of_the_suite(tmp_path: Path) -> None:
    settings = [(112, 8, 10), (23, 32, 10), (23, 8, 100), (23, 8, 10)]
    made = [
        b
        for px, batch, classes in settings
        for b in everyone(kind="growth", resolution=px, batch=batch, classes=classes)
        if b["extra_info"]["contender"] in timing_table.GROWN
    ]
    made += [benchmark("forward", FLOOR, 2**20, "growth", backbone="simple_cnn")]
    blocks = cells_of(made, tmp_path / "timing-cpu.json")
    whole, memory = (blocks[f"growth: {what} ÷ plain forward pass"] for what in ("whole call", "peak memory"))
    first, *found = whole[["backbone", "px", "batch", "classes"]].to_numpy().tolist()
    assert first[0] == "SimpleCNN"
    assert found == [["ResNet-18", *map(str, setting)] for setting in sorted(settings)]
    assert (whole["forward"][0], memory["forward"][0]) == ("2,500 ms", "1 MiB")
    assert set(memory["explain"][1:]) == {"5.00"}
    assert set(whole["explain"][1:]) == {"5.00 [5.00, 5.00]"}


def test_a_device_without_timings_is_told_and_spoils_no_number(table: pd.DataFrame, tmp_path: Path) -> None:
    with_gap = pd.concat([table, pd.DataFrame([{"device": "cuda", "status": "missing"}])])
    with_gap.to_csv(tmp_path / "timing.csv", index=False)
    read = timing_table.read(tmp_path / "timing.csv")
    made = timing_table.timing(read)
    assert "* CUDA: not measured (missing)." in tables.markdown(made)
    assert made.blocks[0].cells.iloc[0][["px", "batch", "n"]].tolist() == ["23", "8", "6"]
    drawn = timing_figures.drawn(read)
    assert drawn["timing-step-cpu"].axes[0].get_title() == "ResNet-18, 23 px\nread at layer4\nbatch 8"


def test_without_its_floor_a_contender_has_no_ratio_and_that_is_said(tmp_path: Path) -> None:
    made = content()
    del made["benchmarks"][0], made["benchmarks"][1]  # forward and the loop
    (tmp_path / "timing-cpu.json").write_text(json.dumps(made))
    blocks = timing_table.timing(rows.read(tmp_path / "timing-cpu.json")[1]).blocks
    cells = {block.title.split(", ", 1)[1]: block.cells.iloc[0] for block in blocks}
    assert cells["maps at inference: whole call ÷ plain forward pass"]["explain"] == "no floor"
    assert cells["maps at inference: peak memory ÷ plain forward pass"]["explain"] == "no floor"
    assert cells["maps at inference: old loop ÷ whole call"]["explain"] == "no loop"
    assert cells["maps at inference: whole call ÷ plain forward pass"]["forward"] == "–"


def test_reasons_are_told_with_their_groups_where_not_all_are_concerned(tmp_path: Path) -> None:
    made = content()
    made["benchmarks"].append(benchmark("captum", OURS, 100, batch=32))
    (tmp_path / "timing-cpu.json").write_text(json.dumps(made))
    notes = timing_table.timing(rows.read(tmp_path / "timing-cpu.json")[1]).notes
    place = "maps, ResNet-18 at layer4, 23 px, batch 8, 10 classes"
    assert f"captum: not measured: captum is not installed ({place})." in notes


def test_figures_are_drawn_of_what_was_measured(table: pd.DataFrame, tmp_path: Path) -> None:
    grown = table[table["kind"] == "maps"].assign(kind="growth")
    drawn = timing_figures.drawn(pd.concat([table, grown]))
    assert set(drawn) == {"timing-maps-cpu", "timing-step-cpu", "timing-growth-cpu"}
    with figures.style():
        for name, figure in drawn.items():
            figures.save(figure, tmp_path, name)
    axis = drawn["timing-maps-cpu"].axes[0]
    lines = {tuple(line.get_ydata()) for line in axis.lines}
    assert (2.5 / 8 * 1e3,) in lines  # the floor, ms per image
    assert drawn["timing-step-cpu"].axes[0].lines[0].get_xdata().tolist() == [2]
    assert timing_figures.drawn(table.iloc[:0]) == {}


def lines(axis: Any) -> dict[str, list[tuple[float, float]]]:
    """The points of each line of a figure's panel, by its colour."""
    return {str(line.get_color()): list(zip(*line.get_data(), strict=True)) for line in axis.lines}


def test_growth_is_drawn_of_the_settings_that_differ_in_one_thing() -> None:
    def grown(batch: int, px: int, classes: int, seconds: float) -> dict[str, Any]:
        about = {"device": "cpu", "kind": "growth", "backbone": "resnet18", "layer": "layer4", "machine": "A CPU"}
        about |= {"contender": "explain", "status": "ok", "seconds": seconds, "peak_bytes": seconds * 2**20}
        return about | {"batch": batch, "resolution": px, "classes": classes}

    settings = [(2, 23, 10, 1.0), (8, 23, 10, 2.0), (32, 23, 10, 3.0), (8, 56, 10, 4.0), (8, 112, 10, 5.0)]
    settings += [(8, 23, 100, 6.0), (8, 23, 1000, 7.0)]
    figure = timing_figures.drawn(pd.DataFrame([grown(*s) for s in settings]))["timing-growth-cpu"]
    expected = [
        ("batch, resolution 23, classes 10", [(2, 1), (8, 2), (32, 3)]),
        ("resolution, batch 8, classes 10", [(23, 2), (56, 4), (112, 5)]),
        ("classes, batch 8, resolution 23", [(10, 2), (100, 6), (1000, 7)]),
    ]
    for factor, axes in ((1e3, figure.axes[:3]), (1, figure.axes[3:])):
        for axis, (title, points) in zip(axes, expected, strict=True):
            assert f"{axis.get_xlabel()}, {axis.get_title()}" == title
            assert lines(axis)[EXPLAIN] == [(x, y * factor) for x, y in points]


def test_a_panel_shows_one_place_of_one_device_and_only_what_is_right(table: pd.DataFrame) -> None:
    ours = table[table["contender"] == "explain"]
    changes: list[dict[str, Any]] = [{}, {"layer": "layer3"}, {"device": "cuda"}, {"batch": 32, "status": "wrong: no"}]
    drawn = timing_figures.drawn(pd.concat([ours.assign(**change) for change in changes]))
    assert set(drawn) == {"timing-maps-cpu", "timing-maps-cuda"}
    titles = {name: [axis.get_title().split()[-1] for axis in f.axes] for name, f in drawn.items()}
    assert titles == {"timing-maps-cpu": ["layer3", "layer4"], "timing-maps-cuda": ["layer4"]}
    for axis in drawn["timing-maps-cpu"].axes + drawn["timing-maps-cuda"].axes:
        assert lines(axis)[EXPLAIN] == [(8, 7 / 8 * 1e3)]


def test_a_step_is_drawn_beside_its_name_from_end_to_end_of_its_interval(table: pd.DataFrame) -> None:
    axis = timing_figures.drawn(table)["timing-step-cpu"].axes[0]
    (bar,) = (bar for c in axis.collections for bar in c.get_segments())
    ((low, y), (high, _)) = bar.tolist()
    assert (low, high) == (2, 8)
    labels = {tick: label.get_text() for tick, label in zip(axis.get_yticks(), axis.get_yticklabels(), strict=True)}
    assert labels[y] == "prototype-l1"


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The smallest profile that times something, as the current directory."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["timing"] |= {"seconds": 0.01, "backbone": ["simple_cnn"], "resolution": [12], "threads": 1}
    content["timing"] |= {"batch": {"cpu": [2], "cuda": [2]}, "step_batch": 2}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_leaves_json_and_table_and_goes_on_where_it_stopped(
    profile: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    measured: list[str] = []
    real = measure.measure

    def counted(group: Any, *args: Any) -> Any:
        measured.append(group.name)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return real(group, *args)

    monkeypatch.setattr("bench.timing.conftest.measure", counted)
    runner = CliRunner()
    interrupted = runner.invoke(app, ["time", "cpu"])
    assert interrupted.exit_code == 130
    assert not list(Path("results").rglob("*.json"))
    assert not list(Path("runs/quick").iterdir())
    torch.set_num_threads(2)
    torch.backends.cudnn.allow_tf32 = True
    try:
        result = runner.invoke(app, ["time", "cpu"])
        assert (torch.get_num_threads(), torch.backends.cudnn.allow_tf32) == (1, False)
    finally:
        torch.set_num_threads(1)
    assert (result.exit_code, result.stdout.splitlines()[-2:]) == (
        0,
        ["runs/quick/timing-cpu.json", "results/quick/timing-cpu.json"],
    )
    assert len(measured) == 3  # the first group was not measured twice
    assert len(set(measured)) == 2
    assert not list(Path("runs/.partial").iterdir())
    about = json.loads(Path("results/quick/timing-cpu.json").read_text())
    assert "node" not in about["machine_info"]
    assert about["machine_info"]["versions"]["torch"] == version("torch")
    assert about["machine_info"]["threads"] == 1
    assert len(about["benchmarks"]) == 11 + 8
    made_with, found = rows.read(Path("runs/quick/timing-cpu.json"))
    assert made_with == load(Path("params.yaml")).timing.settings("cpu")
    assert set(found["status"]) == {"ok"}
    assert (found["floor_ratio"] > 0).all()


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("cuda", "error: time cuda: torch finds no GPU here; leave cuda out of timing.devices"),
        ("tpu", "error: unknown device 'tpu': choose one of cpu, cuda"),
    ],
)
def test_a_device_that_is_not_there_is_one_sentence(
    device: str, sentence: str, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(app, ["time", device])
    assert result.exit_code != 0
    assert sentence in result.stderr
    assert not Path("results").exists()


def test_a_suite_that_fails_leaves_nothing_and_says_so(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def broken(self: Measurements, group: Any) -> Any:
        asked.append(group)
        raise RuntimeError(f"no more than {len(asked)}")

    monkeypatch.setattr(Measurements, "_measure", broken)
    with pytest.raises(BenchError, match=r"the timing suite stopped: RuntimeError: no more than 1$"):
        run.run(load(Path("params.yaml")), Path("params.yaml"), "cpu")
    assert len(asked) == 1
    assert not list(Path("results").rglob("*.json"))


def by_hand(group: Group, *_: Any) -> list[Measured]:
    """What `measure` gives, but for the last contender, which is not there."""
    *ok, last = measure.names(group)
    found = [Measured(group, name, "layer", "ok", 1e-6, 100, ROUNDS, ALONE) for name in ok]
    return [*found, Measured(group, last, "layer", "not measured: no")]


def test_the_json_holds_every_round_in_its_order_and_who_was_not_measured(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.timing.conftest.measure", by_hand)
    run.run(load(Path("params.yaml")), Path("params.yaml"), "cpu")
    content = json.loads(Path("results/quick/timing-cpu.json").read_text())
    assert {tuple(b["stats"]["data"]) for b in content["benchmarks"]} == {tuple(ROUNDS)}
    assert {tuple(b["extra_info"]["map_seconds"]) for b in content["benchmarks"]} == {tuple(ALONE)}
    absent = {(row["contender"], row["status"]) for row in content["not_measured"]}
    assert absent == {("pytorch-grad-cam", "not measured: no"), ("batchcam-ssim", "not measured: no")}


@pytest.mark.parametrize(("lacking", "times"), [(1, 2), (0, 1)])
def test_a_group_is_measured_again_by_the_next_run_where_someone_was_lacking(
    lacking: int, times: int, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"--timing-params": Path("params.yaml"), "--timing-device": "cpu", "--timing-kept": Path("kept")}
    config: Any = SimpleNamespace(getoption=options.__getitem__)
    group = Group("maps", "simple_cnn", 12, 2)
    found = by_hand(group)
    seen = []
    monkeypatch.setattr(
        "bench.timing.conftest.measure", lambda *args: seen.append(args) or found[: len(found) - 1 + lacking]
    )
    first, second = (Measurements(config).of(group) for _ in range(2))
    assert first == second
    assert len(seen) == times


def test_an_interrupted_run_is_taken_up_only_by_the_same_code_parameters_and_machine(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("bench", "batchcam"):
        shutil.copytree(ROOT / package, profile / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(run, "SUITE", profile / "bench/timing")
    params = load(Path("params.yaml"))
    longer = params.model_copy(update={"timing": params.timing.model_copy(update={"seconds": 9.0})})
    found = [run._identity(params, "cpu"), run._identity(longer, "cpu")]
    assert run._identity(params, "cpu") == found[0]
    for path in ("bench/timing/memory.py", "batchcam/ssim.py"):
        with Path(path).open("a") as file:
            file.write("# another line\n")
        found.append(run._identity(params, "cpu"))
    for module, name in ((platform, "node"), (run, "versions")):
        monkeypatch.setattr(module, name, lambda: "another")
        found.append(run._identity(params, "cpu"))
    assert len(set(found)) == len(found)


def test_collect_has_a_row_for_every_contender_or_for_the_device_that_is_missing(
    profile: Path, table: pd.DataFrame
) -> None:
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["timing"]["devices"] = ["cpu", "cuda"]
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    params = load(Path("params.yaml"))
    params.runs.mkdir(parents=True)
    params.bounds_file("digits").write_text("dataset\n")
    made = content()
    made["machine_info"]["parameters"] = params.timing.settings("cpu")
    params.timing_file("cpu").write_text(json.dumps(made))
    collect(params)
    found = timing_table.read(params.results / "timing.csv")
    assert len(found) == len(table) + 1
    assert found.iloc[-1][["device", "status"]].tolist() == ["cuda", "missing"]
    pd.testing.assert_frame_equal(found.iloc[:-1][["floor_ratio"]], table[["floor_ratio"]].reset_index(drop=True))
    made["machine_info"]["parameters"]["threads"] = 99
    params.timing_file("cpu").write_text(json.dumps(made))
    collect(params)
    assert timing_table.read(params.results / "timing.csv")["status"].tolist() == ["stale", "missing"]


def test_a_timing_table_that_is_missing_or_damaged_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "timing.csv"
    with pytest.raises(BenchError, match=r"timing.csv is not there: python -m bench collect makes it"):
        timing_table.read(path)
    path.write_text("device\ncpu\n")
    with pytest.raises(BenchError, match=r"timing.csv lacks kind, .*: python -m bench collect makes it anew"):
        timing_table.read(path)
    path.write_text("")
    with pytest.raises(BenchError, match=r"timing.csv cannot be read"):
        timing_table.read(path)

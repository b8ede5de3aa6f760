"""The timing table: each column has its own contender, and every gap a reason."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.report import timing_figures, timing_table
from bench.report.rendering import latex, markdown
from bench.report.results import read_timing
from bench.timing import measure
from bench.timing.groups import Group
from tests.report.timings import FLOOR, OURS, benchmark, content, written


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    return written(content(), tmp_path)


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
    assert "?" not in latex(made)
    text = markdown(made)
    assert "* captum: not measured: captum is not installed." in text
    assert "* grad_cam: wrong: differs by 0.5 of the largest value." in text
    assert "* CPU: A CPU, AVX2, 1 thread, torch 2.15.0." in text


def everyone(**about: Any) -> list[dict[str, Any]]:
    """A group in which the i-th contender takes i seconds, i / 8 for the map, and 100 i bytes."""
    names = enumerate(measure.names(Group("maps", "resnet18", 23, 8)), 1)
    return [benchmark(name, [float(i)] * 6, 100 * i, map_seconds=[i / 8] * 6, **about) for i, name in names]


def cells_of(benchmarks: list[dict[str, Any]], directory: Path) -> dict[str, pd.DataFrame]:
    """The table's blocks by their title, without device."""
    rows = written(content() | {"benchmarks": benchmarks, "not_measured": []}, directory)
    blocks = timing_table.timing(rows).blocks
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
    blocks = cells_of(made, tmp_path)
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
    blocks = cells_of(made, tmp_path)
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
    read = read_timing(tmp_path / "timing.csv")
    made = timing_table.timing(read)
    assert "* CUDA: not measured (missing)." in markdown(made)
    assert made.blocks[0].cells.iloc[0][["px", "batch", "n"]].tolist() == ["23", "8", "6"]
    drawn = timing_figures.drawn(read)
    assert drawn["timing-step-cpu"].axes[0].get_title() == "ResNet-18, 23 px\nread at layer4\nbatch 8"


def test_without_its_floor_a_contender_has_no_ratio_and_that_is_said(tmp_path: Path) -> None:
    made = content()
    del made["benchmarks"][0], made["benchmarks"][1]  # forward and the loop
    blocks = timing_table.timing(written(made, tmp_path)).blocks
    cells = {block.title.split(", ", 1)[1]: block.cells.iloc[0] for block in blocks}
    assert cells["maps at inference: whole call ÷ plain forward pass"]["explain"] == "no floor"
    assert cells["maps at inference: peak memory ÷ plain forward pass"]["explain"] == "no floor"
    assert cells["maps at inference: old loop ÷ whole call"]["explain"] == "no loop"
    assert cells["maps at inference: whole call ÷ plain forward pass"]["forward"] == "–"


def test_reasons_are_told_with_their_groups_where_not_all_are_concerned(tmp_path: Path) -> None:
    made = content()
    made["benchmarks"].append(benchmark("captum", OURS, 100, batch=32))
    notes = timing_table.timing(written(made, tmp_path)).notes
    group = "maps, ResNet-18 at layer4, 23 px, batch 8, 10 classes"
    assert f"captum: not measured: captum is not installed ({group})." in notes

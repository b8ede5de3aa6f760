"""Tables in Markdown and LaTeX."""

import re
from pathlib import Path

import pandas as pd
import pytest

from bench.report import tables
from bench.report.rendering import latex, markdown, write
from tests.report.collected import bounds, four_losses


@pytest.fixture
def cells() -> pd.DataFrame:
    return four_losses()


def test_markdown_has_one_cell_per_column(cells: pd.DataFrame) -> None:
    cells["status"] = cells["status"].str.replace("failed:", "fai|led:", regex=False)
    for table in (tables.saliency(cells), tables.reconstruction(cells, bounds())):
        lines = [line for line in markdown(table).splitlines() if line.startswith("|")]
        assert len(lines) == 2 + len(table.blocks[0].cells)
        widths = {len(re.split(r"(?<!\\)\|", line)) for line in lines}
        assert widths == {table.blocks[0].cells.shape[1] + 2}


def test_latex_escapes_and_balances(cells: pd.DataFrame) -> None:
    text = latex(tables.saliency(cells))
    assert r"failed: 100 \% of a\_b \& c is NaN at step \{3\}" in text
    assert r"93.00 $\pm$ 2.48" in text
    assert text.isascii()
    assert not re.search(r"(?<!\\)[_#]", text.replace("{table}", ""))
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1


def test_latex_has_a_rule_between_losses_and_bounds(cells: pd.DataFrame) -> None:
    lines = latex(tables.reconstruction(cells, bounds())).splitlines()
    rules = [i for i, line in enumerate(lines) if line == r"\midrule"]
    assert rules[1] - rules[0] == 5
    assert lines[rules[1] + 1].startswith(r"floor & global mean image & -- & 0.066")
    assert r"3$\times$3 grid" in lines[rules[1] + 2]
    assert len({line.count(" & ") for line in lines if line.endswith(r"\\")}) == 1


def test_a_character_without_a_latex_form_does_not_break_the_document(cells: pd.DataFrame) -> None:
    cells["status"] = cells["status"].str.replace("{3}", "3 → ∞ ~ ^ \\", regex=False)
    assert r"3 ? ? \textasciitilde{} \textasciicircum{} \textbackslash{}" in latex(tables.saliency(cells))


def test_two_writings_are_the_same_bytes(cells: pd.DataFrame, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tables.reconstruction(cells.copy(), bounds()), tmp_path / name)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        f"reconstruction.{ending}" for ending in ("csv", "md", "tex")
    ]
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()

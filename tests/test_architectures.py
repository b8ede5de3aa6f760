"""Architectures that `batchcam` was not written for: part of what `make architectures` compares, and its page."""

import re
from pathlib import Path

import pytest

from tests.architectures.compare import compare, wrong
from tests.architectures.rows import ROWS

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"
FAST = [row for row in ROWS if row.fast]


@pytest.mark.parametrize("row", FAST, ids=lambda row: row.name)
def test_the_map_is_that_of_the_definition(row):
    found = compare(row, thorough=False)
    assert wrong(row, found) == []


def test_there_are_fifteen_of_them_from_a_hundred_architectures():
    assert len(FAST) == 15
    assert len({(row.library, row.model) for row in ROWS}) >= 100
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_page_has_every_row_and_none_that_is_wrong():
    text = PAGE.read_text(encoding="utf-8")
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    listed = {(model.split(",")[0], layer, layout) for model, layer, layout, *_ in cells if layer.startswith("`")}
    assert listed == {
        (f"{row.model} ({row.library})", f"`{row.layer}`", f"`{row.layout.name}`" if row.layout else "") for row in ROWS
    }
    assert re.search(r", 0 silently wrong\.", text)

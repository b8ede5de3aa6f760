"""Architectures that `batchcam` was not written for: part of what `make architectures` compares, and its page."""

import re
from pathlib import Path

import pytest
import torch

from batchcam import cam
from tests.batchcam.architectures.__main__ import key
from tests.batchcam.architectures.compare import compare
from tests.batchcam.architectures.definition import grad_cam
from tests.batchcam.architectures.judge import wrong
from tests.batchcam.architectures.peers import compare_peer
from tests.batchcam.architectures.rows import ROWS
from tests.batchcam.architectures.table import summary
from tests.toys import Apply, batch, toy

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"
FAST = [row for row in ROWS if row.fast]


@pytest.mark.parametrize("row", FAST, ids=lambda row: row.name)
def test_the_map_is_that_of_the_definition(row):
    found = compare(row, thorough=False)
    assert wrong(row, found) == []


def test_a_map_that_is_off_by_a_millionth_is_found(monkeypatch):
    monkeypatch.setitem(cam.METHODS, "grad_cam", lambda A, g: 1.000001 * cam._grad_cam(A, g))
    row = next(row for row in FAST if row.model == "alexnet")
    assert [fault.split(":")[0] for fault in wrong(row, compare(row, thorough=False))] == ["maps", "loop", "gradients"]


def test_there_are_fifteen_of_them_from_a_hundred_architectures():
    assert len(FAST) == 15
    assert len({(row.library, row.model) for row in ROWS}) >= 100
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_what_is_finished_is_found_again_by_the_next_process():
    """So no key may be made of an address, such as that of a layout."""
    assert len({key(row) for row in ROWS}) == len(ROWS)
    for row in ROWS:
        elsewhere = row.layout and row.layout._replace(function=torch.abs)
        assert key(row) == key(row._replace(layout=elsewhere))


def add_in_place(x):
    x += 1.0
    return x * x


@pytest.mark.parametrize("function", [add_in_place, torch.relu_])
@pytest.mark.parametrize("name", ["torch-cam", "pytorch-grad-cam"])
def test_an_operation_in_place_is_named_as_the_reason(name, function):
    model, (images, targets) = toy("relu"), batch()
    model.behind0 = Apply(function)
    expected = grad_cam(model, model.layer, None, images, targets)
    found = compare_peer(name, model, model.layer, None, images, targets, expected)
    assert found["off"] > 0.01
    assert found["in_place"]


# The page


def cells(line):
    return [cell.strip() for cell in line.strip("|").split(" |")]


def test_the_page_has_every_row():
    lines = [cells(line) for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    listed = [(model.split(",")[0], layer, layout) for model, layer, layout, *_ in lines if layer.startswith("`")]
    assert listed == [
        (f"{row.model} ({row.library})", f"`{row.layer}`", f"`{row.layout.name}`" if row.layout else "")
        for refused in (False, True)
        for row in ROWS
        if (row.refused is not None) == refused
    ]


def test_its_summary_is_what_its_rows_say():
    text = PAGE.read_text(encoding="utf-8")
    shown, refused = (
        [cells(line) for line in part.splitlines() if line.startswith("| ")][1:] for part in text.split("## Refused")
    )
    maps, loop, gradients, no_derivative = ([line[i].removesuffix(" †") for line in shown] for i in range(5, 9))
    differentiable = [cell for cell in gradients if not cell.startswith("no (")]
    assert max(map(float, [*maps, *loop, *differentiable])) < 1e-10
    assert len(differentiable) > 0.9 * len(shown)
    assert max(map(float, no_derivative)) < 1e-5
    assert (
        f"`batchcam`: {len(shown)} rows right, {len(refused)} refused or warned of as they should be, 0 silently wrong."
        in text
    )
    for sign, what in ((" †", "torch itself is wrong"), ("no (", "lacks a second derivative")):
        count = sum(any(sign in cell for cell in line[5:9]) for line in shown)
        assert re.search(rf"Among the rows that are right, {count} [^:]*{what}", text)
    for column, name in ((9, "captum"), (10, "pytorch-grad-cam"), (11, "torch-cam")):
        right = sum(line[column] == "✓" for line in shown)
        in_place = sum(line[column].endswith("in place") for line in shown)
        assert f"* {name}: {right} right, {in_place} wrong because of an operation in place, " in text


def test_a_row_that_is_wrong_is_counted():
    peers = {"captum": {"off": 0.0}, "pytorch-grad-cam": {"off": 1e-7}, "torch-cam": {"off": 0.5, "in_place": True}}
    found = {
        "maps": 1e-16,
        "loop": 1e-16,
        "gradients": 1e-15,
        "finite differences": 1e-9,
        "alone": 0.0,
        "warned": [],
        "peers": peers,
    }
    found |= {"elsewhere": {"right": 3, "refused": {}, "wrong": {}}}
    shown, refused = next(row for row in ROWS if not row.refused), next(row for row in ROWS if row.refused)
    rows = [shown, shown, refused, refused]
    found_wrong = found | {"gradients": 0.1}
    text = summary(rows, [found, found_wrong, {"refused": f"… {refused.refused} …"}, {"refused": "it was not refused"}])
    assert "`batchcam`: 1 rows right, 1 refused or warned of as they should be, 2 silently wrong." in text
    assert re.search(r"map 1e-16, of the parameters' gradients 1e-01", text)
    assert "torch-cam: 0 right, 2 wrong because of an operation in place, 0 wrong for another reason, 0 without" in text
    assert "at other layers of these models: 6 right, 0 refused or warned of, 0 wrong" in text

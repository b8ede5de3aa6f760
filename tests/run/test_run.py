"""What of a profile a run looks at."""

from pathlib import Path

import pytest

from bench.params import Cell
from bench.run import pipeline
from bench.run.run import run
from tests.tiny import tiny

CELL = Cell("digits", "simple_cnn", "ce", 12)
SWEEP = pipeline.Task(CELL, swept=True)


def test_sweeps_alone_leave_the_cells_for_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recorded: list[pipeline.Task] = []
    states = {pipeline.Task(CELL): pipeline.UNRECORDED, SWEEP: pipeline.UNRECORDED}
    monkeypatch.setattr(pipeline, "states", lambda _: states)
    monkeypatch.setattr(pipeline, "tasks", lambda _: [])
    monkeypatch.setattr(pipeline, "prepare_data", lambda _: None)
    monkeypatch.setattr(pipeline, "record", lambda _, tasks: recorded.extend(tasks))
    assert run(tiny({}), 1, None, sweeps_alone=True) == "tiny: all 1 sweeps are up to date"
    assert recorded == [SWEEP]
    assert run(tiny({}), 1, None) == "tiny: all 2 cells and sweeps are up to date"

"""What of a profile a run looks at."""

from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.params import Cell
from bench.run import cluster, pipeline
from bench.run import run as module
from bench.run.run import repro, run
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


def test_what_is_put_back_is_recorded_unless_it_is_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recorded: list[pipeline.Task] = []
    monkeypatch.setattr(pipeline, "states", lambda _: dict.fromkeys((pipeline.Task(CELL), SWEEP), pipeline.MISSING))
    monkeypatch.setattr(pipeline, "tasks", lambda _: [])
    monkeypatch.setattr(pipeline, "prepare_data", lambda _: None)
    monkeypatch.setattr(pipeline, "record", lambda _, tasks: recorded.extend(tasks))
    monkeypatch.setattr(module, "restore", lambda *_: ([pipeline.Task(CELL)], [SWEEP]))
    assert run(tiny({}), 1, None) == "tiny: all 2 cells and sweeps are up to date"
    assert recorded == [SWEEP]


def test_what_slurm_has_in_its_hands_is_not_run_here_and_not_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task, tried = pipeline.Task(CELL), []
    monkeypatch.setattr(pipeline, "states", lambda _: {task: pipeline.MISSING})
    monkeypatch.setattr(pipeline, "prepare_data", lambda _: None)
    monkeypatch.setattr(module, "restore", lambda _, tasks: tried.extend(tasks) or ([], []))
    monkeypatch.setattr(pipeline, "repro", lambda _: tried.append(task))
    monkeypatch.setattr(cluster, "in_hands", lambda _, tasks: list(tasks))
    for call in (lambda: run(tiny({}), 1, None), lambda: repro(tiny({}))):
        with pytest.raises(BenchError, match=r"1 cells and sweeps are in Slurm's hands, such as digits-simple_cnn-ce"):
            call()
    assert tried == []
    monkeypatch.setattr(cluster, "in_hands", lambda *_: [])
    repro(tiny({}))
    assert tried == [task]

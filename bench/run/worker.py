"""What runs in a worker process: one cell or sweep."""

import time
from pathlib import Path

from bench.files import written_aside
from bench.params import Params
from bench.progress import State
from bench.run.pipeline import Task


def work(params: Params, task: Task, progress: Path) -> float:
    """Run a task, leaving how far it is in the file `progress`; seconds that it took."""
    from bench.run.cells import run_cell  # not above: who hands this function to a worker needs no torch
    from bench.run.room import check_room
    from bench.run.sweep import run_sweep

    start = time.monotonic()

    def tell(state: State) -> None:
        with written_aside(progress) as aside:
            aside.write_text(state.to_json(), encoding="utf-8")

    if task.swept:
        check_room(params, task.cell, swept=True)
        run_sweep(params, task.cell, tell)
    else:
        run_cell(params, task.cell, params.runs / task.cell.name, tell)
    return time.monotonic() - start

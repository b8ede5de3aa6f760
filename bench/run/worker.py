"""What runs in a worker process: one cell after another, until the parent says stop or is gone."""

import os
import signal
import threading
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path

from bench.files import written_aside
from bench.params import Params
from bench.progress import State
from bench.run.cells import run_cell
from bench.run.pipeline import Task
from bench.run.sweep import run_sweep


def start(end: Connection) -> None:
    """Set a new worker up: the keyboard is the parent's, and it leaves when the parent closes its side or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_at, args=(end,), daemon=True).start()


def _leave_at(end: Connection) -> None:
    wait([end])
    os._exit(1)


def work(params: Params, task: Task, progress: Path) -> float:
    """Run a task, leaving how far it is in the file `progress`; seconds that it took."""
    start = time.monotonic()

    def tell(state: State) -> None:
        with written_aside(progress) as aside:
            aside.write_text(state.to_json(), encoding="utf-8")

    if task.swept:
        run_sweep(params, task.cell, tell)
    else:
        run_cell(params, task.cell, params.runs / task.cell.name, tell)
    return time.monotonic() - start

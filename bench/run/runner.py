"""Train all that is missing or stale in a profile, several cells side by side, and record it in DVC."""

import shutil
import signal
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from bench.display import Display
from bench.errors import BenchError
from bench.params import Params
from bench.progress import State
from bench.run.pipeline import Task
from bench.run.pool import here
from bench.run.worker import work

#: How often the display is brought up to date.
LOOK_EVERY_S = 0.5
#: A task whose process dies is tried once more: what killed it may have been meant for its neighbour.
DEATHS = 2


@dataclass
class Outcome:
    """What has become of the tasks of a run, while it runs and after."""

    finished: list[Task] = field(default_factory=list)
    failed: dict[Task, str] = field(default_factory=dict)
    cut_off: str = ""  # why it ended before all were finished or had failed

    def settled(self, task: Task) -> bool:
        """Whether nothing is left to do for a task."""
        return task in self.finished or task in self.failed


def train(params: Params, expected_s: Mapping[Task, float], jobs: int, time_limit_s: float | None = None) -> Outcome:
    """Run tasks in worker processes, the longest first. Ctrl-C, SIGTERM and the time limit cut off what is under way.

    Args:
        params: the profile.
        expected_s: the tasks, with about how many seconds each takes.
        jobs: how many run at a time.
        time_limit_s: when to stop. The same call resumes after the last finished seed.
    """
    outcome = Outcome()
    end = None if time_limit_s is None else time.monotonic() + time_limit_s
    with Display({task.name: seconds for task, seconds in expected_s.items()}, jobs) as display:
        try:
            with terminated_like_interrupted():
                _train(params, expected_s, jobs, outcome, display, end)
        except KeyboardInterrupt:
            outcome.cut_off = "interrupted"
        except TimeoutError:
            outcome.cut_off = "time limit reached"
    return outcome


def _train(
    params: Params,
    expected_s: Mapping[Task, float],
    jobs: int,
    outcome: Outcome,
    display: Display,
    end: float | None,
) -> None:
    """Until every task has finished or failed; `TimeoutError` at `end`."""
    deaths = dict.fromkeys(expected_s, 0)
    while waiting := [task for task in expected_s if not outcome.settled(task)]:
        waiting.sort(key=lambda task: -expected_s[task])
        with _notes(params) as notes, here(jobs) as executor:
            died = _until_one_dies(params, waiting, executor, notes, outcome, display, end)
        for task in died:
            deaths[task] += 1
            if deaths[task] == DEATHS:
                fail(outcome, display, task, "its process was killed; too little memory?")


def _until_one_dies(
    params: Params,
    waiting: Sequence[Task],
    executor: Executor,
    notes: Path,
    outcome: Outcome,
    display: Display,
    end: float | None,
) -> list[Task]:
    """Take in what finishes or fails; if a worker dies, the tasks that it may have been at."""
    futures = {executor.submit(work, params, task, notes / f"{task.name}.json"): task for task in waiting}
    pending = set(futures)
    while pending:
        if end is not None and time.monotonic() > end:
            raise TimeoutError
        done, pending = wait(pending, timeout=LOOK_EVERY_S, return_when=FIRST_COMPLETED)
        if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
            return list(progress(notes, [futures[future] for future in (*done, *pending)]))
        for future in done:
            _take_in(outcome, display, futures[future], future)
        running = progress(notes, [futures[future] for future in pending])
        display.running({task.name: state for task, state in running.items()})
    return []


def _take_in(outcome: Outcome, display: Display, task: Task, future: "Future[float]") -> None:
    error = future.exception()
    if error is None:
        outcome.finished.append(task)
        display.done(task.name, future.result())
    elif isinstance(error, BenchError):
        fail(outcome, display, task, str(error))
    else:
        fail(outcome, display, task, f"{type(error).__name__}: {error}")


def fail(outcome: Outcome, display: Display, task: Task, sentence: str) -> None:
    """Note that a task has failed, and say why."""
    outcome.failed[task] = sentence
    display.failed(task.name, sentence)


@contextmanager
def _notes(params: Params) -> Iterator[Path]:
    """A folder in which workers note how far they are."""
    folder = Path("runs", ".partial", f"notes of {params.profile}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def progress(notes: Path, tasks: Collection[Task]) -> dict[Task, State]:
    """The tasks that have begun, and how far they are."""
    there = {path.name for path in notes.glob("*.json")}  # of a thousand tasks few have begun
    begun = {task: notes / f"{task.name}.json" for task in tasks if f"{task.name}.json" in there}
    return {task: State.from_json(path.read_text(encoding="utf-8")) for task, path in begun.items()}


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM does what Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

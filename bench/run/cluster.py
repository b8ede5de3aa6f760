"""Train all that is missing or stale in a profile on a Slurm cluster; the jobs do not need this process.

What was submitted stands in runs/.slurm/PROFILE/jobs.json, written before and after Slurm is asked: whoever calls
`train` again takes the same jobs up, and submits none twice.
"""

import contextlib
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bench.display import Display
from bench.errors import BenchError
from bench.files import written_aside
from bench.params import Params
from bench.run import pipeline, slurm
from bench.run.pipeline import Task
from bench.run.runner import DEATHS, Outcome, fail, progress, terminated_like_interrupted

#: How often results are looked for, and how often Slurm is asked.
LOOK_EVERY_S, ASK_EVERY_S = 2.0, 10.0
#: How long nothing runs before that is said: between two jobs it is ordinary.
STILL_S = 30.0
#: How long after its job's end a result may still be under way on the shared file system.
GRACE_S = 15.0


@dataclass(frozen=True)
class Submitted:
    """A task that is in Slurm's hands."""

    array: str  # its name in Slurm, and its folder
    index: int  # in the array
    job: str | None  # None: this process ended before Slurm had answered
    parameters: str  # a hash of those that it was submitted with
    finished: int  # trainings when it was submitted
    deaths: int = 0  # of jobs without a result, since the last training that was finished


Book = dict[Task, Submitted]
_NOTED = TypeAdapter(dict[str, Submitted])


def folder(params: Params) -> Path:
    """Where jobs, their logs and what they tell are kept."""
    return Path("runs", ".slurm", params.profile)


def in_hands(params: Params, tasks: Sequence[Task]) -> list[Task]:
    """Those tasks that were submitted and have not ended, as far as is known here."""
    noted = _read(params)
    return [task for task in tasks if task.name in noted and not _has_ended(params, noted[task.name])]


def train(
    params: Params, expected_s: Mapping[Task, float], jobs: int | None, time_limit_s: float | None = None
) -> Outcome:
    """Run tasks as an array of jobs, the longest first, or take up those that an earlier call has submitted.

    Ctrl-C, SIGTERM and the time limit end the display; the jobs go on.

    Args:
        params: the profile.
        expected_s: the tasks, with about how many seconds each takes.
        jobs: how many run at a time; None: as many as Slurm has room for.
        time_limit_s: when to stop looking.

    Raises:
        BenchError: Slurm refuses the jobs.
    """
    outcome = Outcome()
    end = None if time_limit_s is None else time.monotonic() + time_limit_s
    with Display({task.name: seconds for task, seconds in expected_s.items()}, jobs) as display:
        try:
            with terminated_like_interrupted():
                _Watch(params, jobs, outcome, display).until_settled(expected_s, end)
        except KeyboardInterrupt:
            outcome.cut_off = "interrupted"
        except TimeoutError:
            outcome.cut_off = "time limit reached"
        if outcome.cut_off:
            display.say("the jobs go on; the same command takes the display up again")
    return outcome


class _Watch:
    """Looks after the jobs of one run."""

    def __init__(self, params: Params, jobs: int | None, outcome: Outcome, display: Display) -> None:
        self._params, self._jobs, self._outcome, self._display = params, jobs, outcome, display
        self._folder = folder(params)
        self._book: Book = {}
        self._others: dict[str, Submitted] = {}  # what was submitted and is not this call's
        self._pending: set[Task] = set()
        self._restarts: dict[Task, int] = {}
        self._gone: dict[Task, tuple[float, str]] = {}  # since when without a result, and what Slurm says of it
        self._asked, self._ran = float("-inf"), time.monotonic()
        self._told = ""  # of the queue as a whole

    def until_settled(self, expected_s: Mapping[Task, float], end: float | None) -> None:
        """Submit what is not yet, and return when every task has finished or failed; `TimeoutError` at `end`."""
        tasks = sorted(expected_s, key=lambda task: -expected_s[task])
        self._take_up(tasks)
        self._submit({task: 0 for task in tasks if task not in self._book})
        while self._book:
            if end is not None and time.monotonic() > end:
                raise TimeoutError
            self._take_in()
            if time.monotonic() - self._asked >= ASK_EVERY_S:
                self._ask()
            self._bury()
            states = progress(self._notes, self._book.keys() - self._pending)
            self._display.running({task.name: state for task, state in states.items()})
            if self._book:
                time.sleep(LOOK_EVERY_S)
        if not self._outcome.failed:  # else a log may be of use
            self._tidy()

    @property
    def _notes(self) -> Path:
        return self._folder / "notes"

    def _note(self, task: Task) -> Path:
        return self._notes / f"{task.name}.json"

    def _take_up(self, tasks: Sequence[Task]) -> None:
        """Find the jobs of an earlier call; cancel those that were submitted with other parameters."""
        noted, profile = _read(self._params), {task.name for task in pipeline.tasks(self._params)}
        going = {name: entry for name, entry in noted.items() if not _has_ended(self._params, entry)}
        self._others = {name: entry for name, entry in going.items() if name in profile - {task.name for task in tasks}}
        stale = [entry.job for name, entry in going.items() if name not in profile and entry.job is not None]
        for task, entry in _with_jobs({task: noted[task.name] for task in tasks if task.name in noted}).items():
            if entry.parameters == _parameters(self._params, task):
                self._book[task] = entry
            elif task.name in going and entry.job is not None:
                stale.append(entry.job)
        slurm.cancel(stale)
        self._write()
        self._tidy()
        if stale:
            self._display.say(
                f"cancelled: {len(stale)} of a cell that has other parameters now, or is no longer asked for"
            )
        if self._book:
            self._display.say(f"{len(self._book)} are in Slurm's hands already")

    def _submit(self, deaths: Mapping[Task, int]) -> None:
        """Tasks, each with how often its job has died without progress, as arrays in this order."""
        waiting = list(deaths)
        while waiting:
            tasks, waiting = waiting[: slurm.LONGEST_ARRAY], waiting[slurm.LONGEST_ARRAY :]
            name = f"bench-{self._params.profile}-{uuid.uuid4().hex[:8]}"
            self._notes.mkdir(parents=True, exist_ok=True)
            for task in tasks:
                if not deaths[task]:
                    self._note(task).unlink(missing_ok=True)
            for index, task in enumerate(tasks):
                parameters = _parameters(self._params, task)
                done = slurm.trainings_finished(self._note(task))
                self._book[task] = Submitted(name, index, None, parameters, done, deaths[task])
            try:
                self._write()
                notes = {task: self._note(task) for task in tasks}
                ids = slurm.submit(self._params, notes, self._folder / name, name, self._jobs)
            except slurm.NoAnswerError:
                raise  # they stay noted: the next call looks for them by their name
            except (BenchError, OSError):
                for task in tasks:
                    del self._book[task]
                with contextlib.suppress(OSError):
                    self._write()
                raise
            for task, job in zip(tasks, ids, strict=True):
                self._book[task] = replace(self._book[task], job=job)
                self._restarts[task] = 0
            self._write()
            number = ids[0].partition("_")[0]
            self._display.say(f"submitted: {len(tasks)} as job {number}; `scancel {number}` ends them")

    def _take_in(self) -> None:
        """What has ended since the last look."""
        before = len(self._book)
        arrays = {entry.array for entry in self._book.values()}
        ended_jobs = {(array, job) for array in arrays for job in slurm.ended(self._folder / array)}
        for task, entry in list(self._book.items()):
            if (entry.array, entry.job) not in ended_jobs:
                continue
            ended = slurm.result(self._folder / entry.array, str(entry.job))
            if ended.failure is not None:
                self._fail(task, ended.failure)
            elif task.recorded_by(self._params) is not None:
                self._outcome.finished.append(task)
                self._display.done(task.name, ended.seconds)
                self._settled(task)
            else:
                self._gone.setdefault(task, (time.monotonic(), "COMPLETED"))
        if len(self._book) != before:
            with contextlib.suppress(OSError):  # a full disk: then the next call finds the same results
                self._write()

    def _ask(self) -> None:
        """Which jobs have ended by what Slurm says."""
        self._asked = time.monotonic()
        queued = slurm.queue()
        if queued is None:
            self._ran = time.monotonic()
            self._tell("Slurm's controller does not answer; the jobs go on without it")
            return
        states = {task: queued.get(str(entry.job)) for task, entry in self._book.items()}
        for task, one in states.items():
            if one is None or one.state in slurm.ENDED:
                self._gone.setdefault(task, (time.monotonic(), "no longer known" if one is None else one.state))
                continue
            self._gone.pop(task, None)
            if one.restarts > self._restarts.setdefault(task, one.restarts):
                self._restarts[task] = one.restarts
                finished = slurm.trainings_finished(self._note(task))
                self._display.say(f"requeued: {task.name}, behind {finished} finished trainings")
        pending = {task: one for task, one in states.items() if one is not None and one.state == "PENDING"}
        self._pending = set(pending)
        if not pending or len(pending) < len(states):
            self._ran = time.monotonic()
            self._tell("")
        elif time.monotonic() - self._ran > STILL_S:
            self._tell(f"nothing runs: Slurm says {next(iter(pending.values())).reason}")

    def _tell(self, sentence: str) -> None:
        """Say once how the queue is as a whole, and once when that is over."""
        if sentence != self._told:
            self._display.say(sentence or "Slurm runs jobs again")
            self._told = sentence

    def _bury(self) -> None:
        """Submit tasks again whose jobs have ended without a result, unless they do so again and again."""
        again: dict[Task, int] = {}
        for task, (since, state) in list(self._gone.items()):
            if task not in self._book or time.monotonic() - since < GRACE_S:
                continue
            del self._gone[task]
            entry = self._book[task]
            further = slurm.trainings_finished(self._note(task)) > entry.finished
            deaths = 1 if further else entry.deaths + (state != "PREEMPTED")  # that is no fault of the cell's
            what = f"its job {entry.job} ended ({state}) without a result"
            if state == "COMPLETED":
                self._fail(task, f"{what} here: is this folder shared with the nodes?")
            elif state.startswith("CANCELLED"):
                self._fail(task, f"its job {entry.job} was cancelled")
            elif deaths == DEATHS:
                hint = "raise slurm.memory" if state == "OUT_OF_MEMORY" else "too little memory?"
                log = slurm.log(self._folder / entry.array, str(entry.job))
                self._fail(task, f"{what}, {DEATHS} times; {hint} See {log}")
            else:
                self._display.say(f"again: {task.name}: {what}")
                again[task] = deaths
        if again:
            try:
                self._submit(again)
            except (BenchError, OSError) as error:
                for task in again:
                    self._fail(task, f"its job ended without a result, and cannot be submitted again: {error}")

    def _fail(self, task: Task, sentence: str) -> None:
        fail(self._outcome, self._display, task, sentence)
        self._settled(task)

    def _settled(self, task: Task) -> None:
        """Strike a task off."""
        self._book.pop(task, None)
        self._gone.pop(task, None)

    def _tidy(self) -> None:
        """Remove what arrays have left of which nothing is under way."""
        used = {entry.array for entry in [*self._book.values(), *self._others.values()]}
        for path in self._folder.glob("bench-*"):
            if path.name not in used:
                shutil.rmtree(path, ignore_errors=True)
        if not used:
            shutil.rmtree(self._notes, ignore_errors=True)

    def _write(self) -> None:
        path = self._folder / "jobs.json"
        noted = self._others | {task.name: entry for task, entry in self._book.items()}
        if not noted:
            path.unlink(missing_ok=True)
            return
        with written_aside(path) as aside:
            aside.write_text(json.dumps({name: asdict(entry) for name, entry in noted.items()}))


def _read(params: Params) -> dict[str, Submitted]:
    """jobs.json: by the name of their task, the jobs that may not have ended."""
    path = folder(params) / "jobs.json"
    try:
        return _NOTED.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValidationError:
        raise BenchError(
            f"{path} is damaged, so that jobs cannot be taken up again: `scancel` what `squeue --me` shows of"
            f" bench-{params.profile}, and remove {path.parent}"
        ) from None


def _has_ended(params: Params, entry: Submitted) -> bool:
    return entry.job is not None and entry.job in slurm.ended(folder(params) / entry.array)


def _with_jobs(book: Book) -> Book:
    """The same without what never came to Slurm, and with the jobs of what was submitted by a call that was killed."""
    if all(entry.job is not None for entry in book.values()):
        return book
    queued = slurm.queue()
    if queued is None:
        raise slurm.NoAnswerError
    jobs = {(one.name, int(job.partition("_")[2] or 0)): job for job, one in queued.items()}
    found = {
        task: replace(entry, job=entry.job or jobs.get((entry.array, entry.index))) for task, entry in book.items()
    }
    return {task: entry for task, entry in found.items() if entry.job is not None}


def _parameters(params: Params, task: Task) -> str:
    """A hash of the parameters that a task's numbers depend on."""
    settings = params.sweep_settings(task.cell) if task.swept else params.settings(task.cell)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

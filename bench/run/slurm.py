"""Jobs on a Slurm cluster, by submitit: an array with a cell an element, and what has become of each.

What runs in a job is `worker.work`, as at home. The folder must be shared with the nodes, as submitit needs it.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from submitit import SlurmExecutor, SlurmJob
from submitit.core.utils import DelayedSubmission, FailedJobError, UncompletedJobError

from bench.errors import BenchError
from bench.params import Params
from bench.progress import State
from bench.resources import Slurm
from bench.run.pipeline import Task

#: Slurm takes no longer arrays, unless its administrator says so.
LONGEST_ARRAY = 1000
#: How long before its time limit a job is told; of a short limit, a quarter.
NOTICE_S = 90
#: Slurm may tell it so much earlier; of a short limit, half is counted.
EARLIER_S = 60
#: Requeued at the time limit as long as each time a seed is finished; submitit wants a number.
REQUEUES = 10**6
#: Slurm kills what is left of a job after `KillWait`, 30 s unless its administrator says so.
ENDED_WITHIN_S = 600
#: As submitit's files end.
RESULT = "_0_result.pkl"
#: The states of `squeue` after which a job does not go on.
ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
}


class NoAnswerError(BenchError):
    """Slurm's controller does not answer."""

    def __init__(self) -> None:
        super().__init__("Slurm's controller does not answer; the same command goes on when it does")


class Ended(NamedTuple):
    """How a job ended that came to its end."""

    seconds: float  # of its last start
    failure: str | None  # a sentence


class Queued(NamedTuple):
    """A job as `squeue` knows it."""

    name: str
    state: str
    restarts: int  # how often it was requeued
    reason: str  # why it waits


@dataclass
class Job:
    """A task as submitit runs it; at its time limit or when it is preempted, `checkpoint` says how it goes on."""

    params: Params
    task: Task
    note: Path  # where it tells how far it is
    finished: int = 0  # trainings when it was last submitted or requeued
    began: float = field(default=0.0)

    def __call__(self) -> Ended:
        """Run the task. What goes wrong is a sentence in the result: the others are not concerned."""
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see bench/run/pool.py
        from bench.run.worker import work

        self.began = time.monotonic()
        try:
            return Ended(work(self.params, self.task, self.note), None)
        except BenchError as error:
            sentence = str(error)
        except subprocess.CalledProcessError as error:
            if error.returncode < 0 and error.cmd[:2] == ["scontrol", "requeue"]:
                # Slurm ends the processes of the job that is requeued, before submitit's own scontrol can say that it
                # is done. A result left now would count as the task's.
                time.sleep(ENDED_WITHIN_S)
            sentence = f"{type(error).__name__}: {error}"
        except UncompletedJobError:
            sentence = f"no seed was finished within slurm.time, {_limits(self.params).time} min: raise it"
        except Exception as error:  # whatever it is, the display says it
            sentence = f"{type(error).__name__}: {error}"
        return Ended(time.monotonic() - self.began, sentence)

    def checkpoint(self) -> DelayedSubmission | None:
        """The same again, behind its last finished seed; None where the time limit was too short for one."""
        finished = trainings_finished(self.note)
        limits = _limits(self.params)
        told_s = 60 * limits.time - _notice_s(limits) - min(EARLIER_S, 60 * limits.time // 2)
        at_limit = time.monotonic() - self.began > told_s
        if at_limit and finished == self.finished:
            return None
        return DelayedSubmission(Job(self.params, self.task, self.note, finished))


def trainings_finished(note: Path) -> int:
    """How many trainings a task has told that it has finished."""
    try:
        return State.from_json(note.read_text(encoding="utf-8")).finished
    except FileNotFoundError:
        return 0


def submit(
    params: Params, notes: Mapping[Task, Path], folder: Path, name: str, at_a_time: int | None = None
) -> list[str]:
    """Submit an array, an element for each task in this order; the jobs' ids.

    Args:
        params: the profile; its `slurm` says what each element gets.
        notes: the tasks, each with the file where it tells how far it is.
        folder: where submitit keeps jobs, results and logs.
        name: the array's name in Slurm.
        at_a_time: how many run at a time; None: as many as Slurm has room for.

    Raises:
        BenchError: Slurm refuses it.
        NoAnswerError: it cannot be known whether Slurm has taken it.
    """
    executor = SlurmExecutor(folder, max_num_timeout=REQUEUES)
    executor.update_parameters(**_resources(params), job_name=name, array_parallelism=at_a_time or len(notes))
    elements = [Job(params, task, note.absolute(), trainings_finished(note)) for task, note in notes.items()]
    try:
        return [job.job_id for job in executor.submit_array(elements)]
    except (FailedJobError, subprocess.CalledProcessError) as error:
        _run(["scancel", f"--name={name}"])  # Slurm may have taken them, and its answer was lost
        raise BenchError(f"Slurm refuses the jobs: {_last_line(str(error))}") from None


def check(params: Params) -> None:
    """Raise `BenchError` where the profile does not say what a job gets, or there is no Slurm here."""
    _limits(params)
    missing = [command for command in ("sbatch", "squeue", "srun") if shutil.which(command) is None]
    if missing:
        raise BenchError(f"--slurm: there is no {missing[0]} here; run it where Slurm's commands are")


def _limits(params: Params) -> Slurm:
    if params.slurm is None:
        raise BenchError(f"{params.params_file}: --slurm needs the section slurm, with time (minutes) at least")
    return params.slurm


def _notice_s(limits: Slurm) -> int:
    return min(NOTICE_S, 60 * limits.time // 4)


def _resources(params: Params) -> dict[str, Any]:
    """What each element gets, in submitit's words."""
    limits = _limits(params)
    cpus = limits.cpus or params.threads
    found: dict[str, Any] = {"time": limits.time, "cpus_per_task": cpus, "signal_delay_s": _notice_s(limits)}
    # Since 22.05 srun does not take the number of CPUs over from sbatch.
    found |= {"srun_args": [f"--cpus-per-task={cpus}"], "stderr_to_stdout": True}
    found |= {"additional_parameters": {"requeue": True}}
    if limits.gpus:
        found["gpus_per_node"] = limits.gpus
    if limits.memory:
        found["mem"] = f"{limits.memory}GB"
    named = {key: getattr(limits, key) for key in ("partition", "account", "qos", "constraint")}
    return found | {key: value for key, value in named.items() if value is not None}


def queue() -> dict[str, Queued] | None:
    """This user's jobs by id, with those that ended a few minutes ago; None where the controller does not answer.

    Asks `squeue`, not `sacct` as submitit does: it answers at once, and on clusters without accounting.
    """
    fields = ",".join(f"{field}:|" for field in ("JobArrayID", "Name", "State", "RestartCnt", "Reason"))
    command = ["squeue", "--me", "--array", "--states=all", "--noheader", "--Format", fields]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return None
    if ran.returncode != 0:
        return None
    rows = [line.rstrip("|").split("|") for line in ran.stdout.splitlines()]
    return {row[0]: Queued(row[1], row[2], int(row[3]), row[4]) for row in rows if len(row) == 5}


def ended(folder: Path) -> set[str]:
    """The jobs that have left their result in submitit's folder."""
    return {path.name.removesuffix(RESULT) for path in folder.glob(f"*{RESULT}")}


def result(folder: Path, job: str) -> Ended:
    """How a job ended that has left its result."""
    try:
        return SlurmJob[Ended](folder, job).result()
    except FailedJobError as error:
        trace = str(error).split("-" * 22)[1]
        return Ended(0.0, _last_line(trace))


def log(folder: Path, job: str) -> Path:
    """What a job printed."""
    return Path(os.path.relpath(SlurmJob[Ended](folder, job).paths.stdout))


def cancel(jobs: Sequence[str]) -> None:
    """End these jobs; `NoAnswerError` where Slurm's controller does not answer."""
    if jobs:
        _run(["scancel", *jobs])


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, capture_output=True, check=False)
    if queue() is None:  # its exit status does not tell that from a job that has ended
        raise NoAnswerError


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]

"""`python -m bench run`: from the datasets to the record in DVC, for all cells of a profile."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from bench.display import duration
from bench.errors import BenchError
from bench.params import Params
from bench.run import pipeline, pool
from bench.run.restore import restore

if TYPE_CHECKING:
    from bench.run.runner import Outcome

#: Cells side by side at home, where nothing else is said.
JOBS = 2


def run(
    params: Params,
    jobs: int | None,
    time_limit_s: float | None,
    *,
    sweeps_alone: bool = False,
    on_slurm: bool = False,
) -> str:
    """Train what `pipeline.states` finds missing or stale, here or on Slurm, and record it; a sentence of what is done.

    Raises:
        BenchError: some cells failed, or were made while their code or data changed; all others are recorded.
        KeyboardInterrupt: it was interrupted; what had finished is recorded.
    """
    start = time.monotonic()
    if on_slurm:
        from bench.run import slurm

        slurm.check(params)
    with pipeline.only_runner():
        if not all(task.output(params).exists() for task in pipeline.tasks(params)):
            pool.warm_up()
        pipeline.mend(params)
        pipeline.link(params)
        pipeline.prepare_data(params)
        states = {task: state for task, state in pipeline.states(params).items() if task.swept or not sweeps_alone}
        to_record = [task for task, state in states.items() if state == pipeline.UNRECORDED]
        to_train = [task for task, state in states.items() if state not in (pipeline.OK, pipeline.UNRECORDED)]
        held = _in_slurms_hands(params, to_train)
        if held and not on_slurm:
            _refuse(params, held)
        recorded, unrecorded = restore(params, [task for task in to_train if task not in held])
        if restored := {*recorded, *unrecorded}:
            _say(f"{len(restored)} of {len(states)} had been trained before, and were put back")
            to_record += unrecorded
            to_train = [task for task in to_train if task not in restored]
        if not to_train:
            pipeline.record(params, to_record)
            what = "sweeps" if sweeps_alone else "cells and sweeps"
            return f"{params.profile}: all {len(states)} {what} are up to date"

        from bench.run.cost import cost, described  # imports torch

        with pool.here(jobs or JOBS) as executor:
            needed = cost(params, to_train, executor, by_earlier=on_slurm)
        side = jobs if on_slurm else jobs or JOBS
        _say(f"{len(to_train)} of {len(states)} to train, {described(needed, side)}")
        outcome = _train(params, needed.seconds, jobs, time_limit_s, on_slurm=on_slurm)
        pipeline.record(params, [*to_record, *outcome.finished])
        left = len(to_train) - len(outcome.finished) - len(outcome.failed)
        if outcome.failed:
            lines = [f"{task.name}: {sentence}" for task, sentence in outcome.failed.items()]
            raise BenchError("\n".join([f"{len(lines)} failed, {left} left:", *lines]))
        if outcome.cut_off == "interrupted":
            raise KeyboardInterrupt
        took = duration(time.monotonic() - start)
        if outcome.cut_off:
            return f"{outcome.cut_off} after {took}: {left} left; the same command resumes"
        return f"{params.profile}: {len(outcome.finished)} trained in {took}"


def _train(
    params: Params,
    expected_s: Mapping[pipeline.Task, float],
    jobs: int | None,
    time_limit_s: float | None,
    *,
    on_slurm: bool,
) -> "Outcome":
    """The tasks, here or on Slurm."""
    from bench.run import cluster, runner

    if on_slurm:
        return cluster.train(params, expected_s, jobs, time_limit_s)
    return runner.train(params, expected_s, jobs or JOBS, time_limit_s)


def repro(params: Params) -> NoReturn:
    """Become `dvc repro` of a profile, if nothing of it is in Slurm's hands."""
    if held := _in_slurms_hands(params, pipeline.tasks(params)):
        _refuse(params, held)
    pipeline.repro(params)


def _in_slurms_hands(params: Params, tasks: Sequence[pipeline.Task]) -> list[pipeline.Task]:
    if not tasks:
        return []
    from bench.run import cluster

    return cluster.in_hands(params, tasks)


def _refuse(params: Params, held: Sequence[pipeline.Task]) -> NoReturn:
    from bench.run import cluster

    raise BenchError(
        f"{len(held)} cells and sweeps are in Slurm's hands, such as {held[0].name}: `run --slurm` takes them up again;"
        f" if their jobs were cancelled, remove {cluster.folder(params)}"
    )


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)

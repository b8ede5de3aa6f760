"""`python -m bench run`: from the datasets to the record in DVC, for all cells of a profile."""

import sys
import time

from bench.display import duration
from bench.errors import BenchError
from bench.params import Params
from bench.run import pipeline, pool


def run(params: Params, jobs: int, time_limit_s: float | None, *, sweeps_alone: bool = False) -> str:
    """Train what `pipeline.states` finds missing or stale, and record it; a sentence of what was done.

    Raises:
        BenchError: some cells failed, or were made while their code or data changed; all others are recorded.
        KeyboardInterrupt: it was interrupted; what had finished is recorded.
    """
    start = time.monotonic()
    with pipeline.only_runner():
        if not all(task.output(params).exists() for task in pipeline.tasks(params)):
            pool.warm_up()
        pipeline.mend(params)
        pipeline.prepare_data(params)
        states = {task: state for task, state in pipeline.states(params).items() if task.swept or not sweeps_alone}
        to_record = [task for task, state in states.items() if state == pipeline.UNRECORDED]
        to_train = [task for task, state in states.items() if state not in (pipeline.OK, pipeline.UNRECORDED)]
        if not to_train:
            pipeline.record(params, to_record)
            return f"{params.profile}: all {len(states)} {'sweeps' if sweeps_alone else 'cells'} are up to date"

        from bench.run import estimate  # imports torch
        from bench.run.runner import train

        with pool.here(jobs) as executor:
            expected_s = estimate.seconds(params, to_train, executor)
        _say(f"{len(to_train)} of {len(states)} to train, about {duration(sum(expected_s.values()) / jobs)} for {jobs}")
        outcome = train(params, expected_s, jobs, time_limit_s)
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


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)

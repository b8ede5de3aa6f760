"""Time calls in turns: what is compared runs within seconds of each other, on one machine, in one process."""

import contextlib
import gc
import random
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import NamedTuple

import torch


def clock() -> float:
    """Seconds, read once the GPU has finished what it was given.

    torch.utils.benchmark has the same timer, but looks for a compiler when it is imported, and complains.
    """
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


class Stopwatch:
    """Adds up the seconds of `with` blocks. `seconds` is None as long as there was none."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def __enter__(self) -> None:
        self._start = clock()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.seconds = (self.seconds or 0.0) + clock() - self._start


#: What is timed. It may run that part of itself which makes the map out of logits under the stopwatch.
Call = Callable[[Stopwatch], object]


class Seconds(NamedTuple):
    """Of one call: all of it, and its part that makes the map; None where the two cannot be told apart."""

    call: float
    map: float | None


def one_round(calls: Mapping[str, Call], number: int) -> dict[str, Seconds]:
    """Time each call once, in an order drawn for the number of the round.

    A fixed order, even one that rotates, would always give a call the caches and the heap that the same other one left.
    """
    order = random.Random(number).sample(list(calls), len(calls))
    return {name: _timed(calls[name]) for name in order}


def _timed(call: Call) -> Seconds:
    stopwatch = Stopwatch()
    start = clock()
    call(stopwatch)
    return Seconds(clock() - start, stopwatch.seconds)


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Without Python's garbage collector, whose pauses fall on whoever is running.

    What is there already is left out of `gc.collect()` inside: torch's modules take it a quarter of a second.
    """
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()

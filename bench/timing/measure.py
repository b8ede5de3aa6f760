"""Measure one group: check what comes out, take the peak of memory, then time everyone in turns."""

import gc
from collections.abc import Collection
from typing import Any, NamedTuple

import torch

from bench.names import OUTPUT_TOLERANCE, STEPS
from bench.timing import inference, training
from bench.timing.groups import Group, scene
from bench.timing.inference import SetUp
from bench.timing.interleave import Call, Seconds, Stopwatch, no_collection, one_round
from bench.timing.memory import peak_bytes

#: Rounds of a group: 6 are the least that give the median a 95 % interval (1 − 2 · ½⁶ = .97).
LEAST_ROUNDS, MOST_ROUNDS = 6, 30


class Measured(NamedTuple):
    """What is known of one contender. Not measured: `status` says why, and the rest is empty."""

    group: Group
    contender: str
    layer: str
    status: str  # "ok"
    error: float | None = None  # of its output, relative to the reference
    peak_bytes: int | None = None
    seconds: list[float] | None = None  # of each round
    map_seconds: list[float] | None = None  # of the part that makes the map, where it can be told apart


def names(group: Group) -> tuple[str, ...]:
    """Who is measured in a group, in the order of the tables."""
    return STEPS if group.kind == "step" else inference.names(group)


def measure(
    group: Group, device: torch.device, seconds: float, wanted: Collection[str] | None = None
) -> list[Measured]:
    """Time the contenders of a group for about so many seconds, in as many rounds for one as for the other.

    Args:
        group: which model, layer and batch.
        device: where it runs.
        seconds: how long to go on for, between `LEAST_ROUNDS` and `MOST_ROUNDS`.
        wanted: some of `names(group)`; None for all.
    """
    wanted = names(group) if wanted is None else wanted
    _settle_allocator()
    stage = scene(group, device)
    set_ups: dict[str, SetUp]
    expected: Any
    if group.kind == "step":
        set_ups, expected = training.contenders(stage), training.reference(stage, wanted)
    else:
        set_ups, expected = inference.contenders(stage), inference.reference(stage)
        if not expected.maps.any():
            reason = "not measured: by the definition all maps are zero, so nothing can be compared"
            return [Measured(group, name, stage.layer_name, reason) for name in wanted]
    results, calls = {}, {}
    for name in wanted:
        call, results[name] = _first(Measured(group, name, stage.layer_name, "ok"), set_ups[name], expected, device)
        if call is not None:
            calls[name] = call
    rounds = _timed(calls, seconds)
    return [_with_seconds(result, [r[name] for r in rounds if name in r]) for name, result in results.items()]


def _settle_allocator() -> None:
    """Free one large block, so that every group finds the same allocator, whatever ran before.

    glibc raises the size from which it maps memory afresh, and faults every page of it, to the largest block freed so
    far, up to 32 MB. A process that has trained for a step is there; one that has not paid a tenth more for a map.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def _first(measured: Measured, set_up: SetUp, expected: Any, device: torch.device) -> tuple[Call | None, Measured]:
    """Set a contender up and run it once: that warms up, shows the peak of memory, and decides whether it is timed."""
    kept: list[Any] = []
    try:
        call, compare = set_up()
        peak = peak_bytes(lambda: kept.append(call(Stopwatch())), device)
        difference = compare(kept[0], expected)
    except ModuleNotFoundError as absent:
        return None, measured._replace(status=f"not measured: {absent.name} is not installed")
    except Exception as error:  # another library's may be any; it must cost its own row only
        sentence = " ".join(str(error).split())
        return None, measured._replace(status=f"not measured: {type(error).__name__}: {sentence}")
    if not difference <= OUTPUT_TOLERANCE:
        return None, measured._replace(status=f"wrong: differs by {difference:.2g} of the largest value")
    return call, measured._replace(error=difference, peak_bytes=peak)


def _timed(calls: dict[str, Call], seconds: float) -> list[dict[str, Seconds]]:
    rounds: list[dict[str, Seconds]] = []
    spent = 0.0
    with no_collection():
        while calls and (len(rounds) < LEAST_ROUNDS or (spent < seconds and len(rounds) < MOST_ROUNDS)):
            gc.collect()  # between rounds: what other libraries leave in cycles can be gigabytes
            rounds.append(one_round(calls, len(rounds)))
            spent += sum(s.call for s in rounds[-1].values())
    return rounds


def _with_seconds(result: Measured, rounds: list[Seconds]) -> Measured:
    if not rounds:
        return result
    maps = [r.map for r in rounds if r.map is not None]
    return result._replace(seconds=[r.call for r in rounds], map_seconds=maps or None)

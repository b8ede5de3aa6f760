"""Measure one group: check what comes out, take the peak of memory, then time everyone in turns."""

import gc
from collections.abc import Collection
from typing import Any, NamedTuple

import torch

from bench.timing import inference, training
from bench.timing.groups import Group, scene
from bench.timing.inference import TOLERANCE, Absent, Contender
from bench.timing.interleave import Seconds, Stopwatch, no_collection, one_round
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
    return training.NAMES if group.kind == "step" else inference.names(group)


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
    found: list[Contender | Absent]
    expected: Any
    if group.kind == "step":
        found, expected = training.contenders(stage, wanted), training.reference(stage)
    else:
        found, expected = inference.contenders(stage, wanted), inference.reference(stage)
    results = {c.name: _first(group, stage.layer_name, c, expected, device) for c in found}
    running = {c.name: c.call for c in found if isinstance(c, Contender) and results[c.name].status == "ok"}
    rounds = _timed(running, seconds)
    return [_with_seconds(result, [r[name] for r in rounds if name in r]) for name, result in results.items()]


def _settle_allocator() -> None:
    """Free one large block, so that every group finds the same allocator, whatever ran before.

    glibc raises the size from which it maps memory anew, and faults every page of it, to the largest block freed so
    far, up to 32 MB. A process that has trained for a step is there; one that has not paid a tenth more for a map.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def _timed(calls: dict[str, Any], seconds: float) -> list[dict[str, Seconds]]:
    rounds: list[dict[str, Seconds]] = []
    spent = 0.0
    with no_collection():
        while len(rounds) < LEAST_ROUNDS or (spent < seconds and len(rounds) < MOST_ROUNDS):
            gc.collect()  # between rounds: what other libraries leave in cycles can be gigabytes
            rounds.append(one_round(calls, len(rounds)))
            spent += sum(s.call for s in rounds[-1].values())
    return rounds


def _first(group: Group, layer: str, contender: Contender | Absent, expected: Any, device: torch.device) -> Measured:
    """The first run: it warms up, shows the peak of memory, and its output decides whether the rest is timed."""
    if isinstance(contender, Absent):
        return Measured(group, contender.name, layer, f"not measured: {contender.reason}")
    kept: list[Any] = []
    try:
        peak = peak_bytes(lambda: kept.append(contender.call(Stopwatch())), device)
    except Exception as error:  # another library's may be any; it must cost its own row only
        sentence = " ".join(str(error).split())
        return Measured(group, contender.name, layer, f"not measured: {type(error).__name__}: {sentence}")
    difference = contender.compare(kept[0], expected)
    if not difference <= TOLERANCE:
        return Measured(group, contender.name, layer, f"wrong: differs by {difference:.2g} of the largest value")
    return Measured(group, contender.name, layer, "ok", difference, peak)


def _with_seconds(result: Measured, rounds: list[Seconds]) -> Measured:
    if not rounds:
        return result
    maps = [r.map for r in rounds if r.map is not None]
    return result._replace(seconds=[r.call for r in rounds], map_seconds=maps or None)

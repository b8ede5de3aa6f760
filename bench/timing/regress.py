"""The check that notices when something gets slower: ratios measured now against a committed expectation.

Seconds differ from machine to machine and from minute to minute; ratios of two calls that take turns, at one thread,
hardly do: beside a busy neighbour on the second core they stayed within 7 % of what was expected.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import pandas as pd
import pydantic
import torch
from pydantic import BaseModel, ConfigDict, Field

from bench.errors import BenchError
from bench.files import written_aside
from bench.names import CE_STEP, EXPLAIN, EXPLAIN_ALL, FORWARD, LOOP, STEPS
from bench.statistics import MedianInterval, median_interval
from bench.timing.groups import Group
from bench.timing.inference import TRAINING_MAP
from bench.timing.measure import Measured, measure

EXPECTATION = Path(__file__).with_name("expected.json")

#: The noise bands: how far a ratio may be on the worse side of what is expected, as a share of it.
BANDS = {
    # Half of the 30 % of extra work that must be noticed.
    "time": 0.15,
    # The loop allocates the gradient of every weight again for each image, and what that costs is up to the allocator.
    "speed-up": 0.2,
    # The allocator's bytes are the same in every run; another version of torch may allocate a little otherwise.
    "memory": 0.05,
}


class Plan(NamedTuple):
    """A group, the contenders in it, and for how many seconds they are timed."""

    group: Group
    contenders: tuple[str, ...]
    seconds: float


_MAPS = (FORWARD, LOOP, EXPLAIN, EXPLAIN_ALL)
PLANS = (
    Plan(Group("maps", "simple_cnn", 23, 32), (*_MAPS, TRAINING_MAP), 4.0),
    Plan(Group("maps", "resnet18", 112, 8), _MAPS, 8.0),
    Plan(Group("step", "simple_cnn", 23, 32), STEPS, 6.0),
    Plan(Group("step", "resnet18", 112, 8), ("ce", "prototype-l1", "prototype-ssim", "batchcam-ssim"), 12.0),
)


#: How often a group is measured at the most.
MOST_MEASUREMENTS = 4

#: The exit status of `python -m bench regress` where the machine was too busy to tell.
TOO_BUSY = 3
OK, BROKEN, UNCLEAR = "ok", "BROKEN", "could not tell"


class Expectation(BaseModel):
    """What expected.json holds."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    layout: Literal[1]
    machine: str
    ratios: dict[str, Annotated[float, Field(gt=0)]]


class Row(NamedTuple):
    """One ratio as it was measured: in every round, or once for memory; where a contender could not be, the reason."""

    name: str
    kind: str  # of the noise band
    ratios: tuple[float, ...]
    problem: str = ""

    @property
    def found(self) -> MedianInterval:
        """The median and its 95 % interval; of memory, which does not vary, the interval is the value."""
        if len(self.ratios) == 1:
            return MedianInterval(*self.ratios * 3)
        return median_interval(self.ratios)


class Checked(NamedTuple):
    """What the check found: the table in Markdown, and a sentence for each row that is not all right."""

    table: str
    broken: list[str]
    unclear: list[str]


def regress(expectation: Path = EXPECTATION, *, update: bool = False, plans: Sequence[Plan] = PLANS) -> Checked:
    """Measure all rows and compare them with the expectation; or, with `update`, write a new one.

    A row is all right where its interval lies within the band, and broken where it lies beyond. Where it straddles the
    limit, and before a row is called broken, its group is measured again, and the rounds are taken together, up to
    `MOST_MEASUREMENTS`; what still straddles then is unclear. What is wrong or could not be measured is broken at once.
    With `update` each is judged by its own median, and nothing is written while one is unclear.

    Raises:
        BenchError: an expectation file that cannot be read, of another layout, or with other rows; with `update`, a
            contender that could not be measured.
    """
    before = None if update else _read(expectation, plans)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        by_plan = {plan: _rows(plan) for plan in plans}
        by_plan = {plan: _settled(plan, rows, before.ratios if before else None) for plan, rows in by_plan.items()}
    finally:
        torch.set_num_threads(threads)
    rows = [row for of_plan in by_plan.values() for row in of_plan]
    if update and (broken := [f"{row.name}: {row.problem}" for row in rows if row.problem]):
        raise BenchError(f"no expectation without a measurement: {broken[0]}")
    expected = before.ratios if before else _medians(rows)
    verdicts = {row.name: _verdict(row, expected) for row in rows}
    if update and UNCLEAR not in verdicts.values():
        _write(expectation, expected)
    return Checked(
        _table(rows, expected) + (_other_machine(before) if before else ""),
        [_sentence(row, expected) for row in rows if verdicts[row.name] == BROKEN],
        [_sentence(row, expected) for row in rows if verdicts[row.name] == UNCLEAR],
    )


def _settled(plan: Plan, rows: list[Row], expected: Mapping[str, float] | None) -> list[Row]:
    """The rows of a plan after as many more measurements as they need; expected is by default each row's own median."""
    for measurement in range(2, MOST_MEASUREMENTS + 1):
        limits = _medians(rows) if expected is None else expected
        open_ = {row.name: _verdict(row, limits) for row in rows if not row.problem}
        confirmed = measurement > 2  # by a second measurement
        if all(verdict == OK or (verdict == BROKEN and confirmed) for verdict in open_.values()):
            break
        again = {row.name: row for row in _rows(plan)}
        rows = [_together(row, again[row.name]) if open_.get(row.name, OK) != OK else row for row in rows]
    return rows


def _medians(rows: Iterable[Row]) -> dict[str, float]:
    return {row.name: row.found.median for row in rows if not row.problem}


def _together(row: Row, again: Row) -> Row:
    """Two measurements of a row as one; memory, measured once in each, keeps the lesser."""
    if again.problem:
        return again
    ratios = (min(*row.ratios, *again.ratios),) if row.kind == "memory" else row.ratios + again.ratios
    return row._replace(ratios=ratios)


def _rows(plan: Plan) -> list[Row]:
    """The ratios of a group, measured."""
    found = measure(plan.group, torch.device("cpu"), plan.seconds, plan.contenders)
    return _ratios(plan, {m.contender: m for m in found})


def _ratios(plan: Plan, found: Mapping[str, Measured]) -> list[Row]:
    """Time and memory of each contender to the floor's, and time of the loop to ours."""
    floor = CE_STEP if plan.group.kind == "step" else FORWARD
    rows = []
    for name in plan.contenders:
        if name == LOOP:
            rows.append(_row(plan, "speed-up", found[name], found[EXPLAIN]))
        elif name != floor:
            rows += [_row(plan, kind, found[name], found[floor]) for kind in ("time", "memory")]
    return rows


def _row(plan: Plan, kind: str, above: Measured, below: Measured) -> Row:
    what = f"{above.contender} ÷ {below.contender}"
    group = plan.group
    place = f"{group.kind}, {group.backbone}, {group.resolution} px, batch {group.batch}"
    name = f"{place}: {what}{', memory' if kind == 'memory' else ''}"
    problem = next((m.status for m in (above, below) if m.status != "ok"), "")
    if problem:
        return Row(name, kind, (), problem)
    if kind == "memory":
        assert above.peak_bytes is not None
        assert below.peak_bytes is not None
        return Row(name, kind, (above.peak_bytes / below.peak_bytes,))
    pairs = zip(above.seconds or [], below.seconds or [], strict=True)
    return Row(name, kind, tuple(a / b for a, b in pairs))


def _limit(row: Row, expected: float) -> float:
    """The worst that is allowed: a speed-up may not fall, everything else not rise."""
    return expected * (1 - BANDS[row.kind] if row.kind == "speed-up" else 1 + BANDS[row.kind])


def _verdict(row: Row, expected: Mapping[str, float]) -> str:
    """On which side of the limit the interval of a row lies."""
    if row.problem:
        return BROKEN
    limit, (_, low, high) = _limit(row, expected[row.name]), row.found
    if row.kind == "speed-up":
        return OK if low >= limit else BROKEN if high < limit else UNCLEAR
    return OK if high <= limit else BROKEN if low > limit else UNCLEAR


def _sentence(row: Row, expected: Mapping[str, float]) -> str:
    """What a row shows that is not all right."""
    if row.problem:
        return f"{row.name}: {row.problem}"
    (median, low, high), usual = row.found, expected[row.name]
    change = f"{100 * abs(median / usual - 1):.0f} % {'above' if median > usual else 'below'} the {usual:.3g} expected"
    return f"{row.name}: {median:.3g} [{low:.3g}, {high:.3g}], {change} (limit {_limit(row, usual):.3g})"


def _table(rows: list[Row], expected: Mapping[str, float]) -> str:
    """All rows: expected, measured with its interval, the limit, and whether it holds."""
    lines = []
    for row in rows:
        interval = f"{row.found.low:.3f} to {row.found.high:.3f}" if len(row.ratios) > 1 else ""
        limit = _limit(row, expected[row.name])
        lines.append(
            {
                "ratio": row.name,
                "expected": f"{expected[row.name]:.3f}",
                "measured": row.problem or f"{row.found.median:.3f}",
                "95 % interval": interval,
                "limit": f"{'≥' if row.kind == 'speed-up' else '≤'} {limit:.3f}",
                "": _verdict(row, expected),
            }
        )
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _names(plan: Plan) -> list[str]:
    """What the rows of a plan are called, without measuring any."""
    nothing = {name: Measured(plan.group, name, "", "not measured") for name in plan.contenders}
    return [row.name for row in _ratios(plan, nothing)]


def _machine() -> str:
    """What ratios depend on most; they move less between processors than seconds do, but they move."""
    return f"{torch.backends.cpu.get_cpu_capability()}, one thread, torch {torch.__version__}"


def _other_machine(expected: Expectation) -> str:
    """A word of caution where the expectation is not of this machine's kind."""
    if expected.machine == _machine():
        return ""
    own = "docs/timing.md says how to expect what this one gives"
    return f"\n\nThe expectation is of {expected.machine}. This is {_machine()}; {own}."


def _read(path: Path, plans: Sequence[Plan]) -> Expectation:
    remedy = "python -m bench regress --update writes a new one"
    try:
        read = Expectation.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BenchError(f"cannot read {path} ({error.strerror}): {remedy}") from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BenchError(f"{path} has another layout ({where}: {first['msg'].lower()}): {remedy}") from None
    except ValueError as error:  # also bytes that are no text
        raise BenchError(f"{path} is not JSON ({error}): {remedy}") from None
    rows = [name for plan in plans for name in _names(plan)]
    if lacking := [name for name in rows if name not in read.ratios]:
        raise BenchError(f"{path} has no expectation for {lacking[0]!r}: {remedy}")
    if superfluous := [name for name in read.ratios if name not in rows]:
        raise BenchError(f"{path} expects {superfluous[0]!r}, which is not measured: {remedy}")
    return read


def _write(path: Path, medians: Mapping[str, float]) -> None:
    ratios = {name: round(median, 4) for name, median in medians.items()}
    content = Expectation(layout=1, machine=_machine(), ratios=ratios)
    with written_aside(path) as aside:
        aside.write_text(content.model_dump_json(indent=1) + "\n", encoding="utf-8")

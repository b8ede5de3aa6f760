"""The forest plot: estimates with their intervals, one below the other, beside the margin they are judged by."""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.report.frames import Record, groups, in_order, records

#: Verdict → colour (Okabe and Ito's palette) and whether the marker is filled: what is decided is.
_LOOKS = {
    "supported": ("#0072B2", True),
    "contradicted": ("#D55E00", True),
    "equivalent": ("#009E73", True),
    "inconclusive": ("#6E6E6E", False),
    "not measured": ("#A0A0A0", False),
}
_OTHER = ("#333333", False)
_BAND = "#FFF3C4"
_BETTER = {"more": "better →", "less": "← better"}
_WORDS = 1.4  # inches for the verdicts at the right of a panel


def forest(effects: pd.DataFrame, title: str, margin: str = "margin") -> Figure:
    """A line for each effect, from the top, with no effect as a line across and the margin as a band beside it.

    Args:
        effects: a row for each, with `label, estimate, low, high, margin, verdict`. An end of the interval is NaN where
            there is none (one seed), and infinite where a test is one-sided; an estimate is NaN where nothing was
            measured; `margin` is NaN where there is none. Five more columns are optional: `group`, whose values become
            headings; `panel`, whose values become the labels of axes, a panel for each, with the lines in common;
            `better`, "more" or "less", for the arrow at each axis; `note`, for a word after the verdict; and
            `one_sided`, where the margin is below no effect alone and not on both sides.
        title: above.
        margin: what the band is called in the legend, say "band of equivalence".

    Raises:
        ValueError: no rows, or two rows with one group and label in a panel.
    """
    effects = effects.assign(**{name: "" for name in ("group", "panel", "better", "note") if name not in effects})
    if "one_sided" not in effects:
        effects = effects.assign(one_sided=False)
    if effects.empty:
        raise ValueError("a forest plot needs a row at least")
    twice = effects[effects.duplicated(["panel", "group", "label"])]
    if len(twice):
        row = records(twice)[0]
        where = f" in the panel {row['panel']!r}" if row["panel"] else ""
        raise ValueError(f"two rows of a forest plot have the label {row['label']!r}{where}")
    lines = _lines(effects)
    by_panel = [here for _, here in groups(effects, ["panel"])]
    longest = max(len(label) for label, _ in lines)
    width = 0.3 + 0.072 * longest + (2.3 + _WORDS) * len(by_panel)
    figure = Figure(figsize=(max(7.5, width), 1.5 + 0.23 * len(lines)), layout="constrained")
    panels = figure.subplots(1, len(by_panel), sharey=True, squeeze=False)[0]
    for panel, here in zip(panels, by_panel, strict=True):
        _panel(panel, lines, here)
    figure.suptitle(title)
    figure.legend(handles=_keys(effects, margin), loc="outside lower center", ncols=6)
    return figure


Line = tuple[str, str | None]  # the label, and the group of an effect; None: a heading


def _lines(effects: pd.DataFrame) -> list[Line]:
    """Headings and labels from the top; a label that is in several panels has one line."""
    found: list[Line] = []
    for (group,), here in groups(effects, ["group"]):
        found += [(group, None)] if group else []
        found += [(label, group) for label in in_order(here, "label")]
    return found


def _panel(panel: Axes, lines: list[Line], effects: pd.DataFrame) -> None:
    by_line = {(row["label"], row["group"]): row for row in records(effects)}
    drawn = [(y, by_line[line]) for y, line in enumerate(lines) if line in by_line]
    panel.axvline(0, color=".4", linewidth=1, zorder=1)
    _scale(panel, effects)
    for y, row in drawn:
        if row["margin"] > 0:
            most = 0 if row["one_sided"] else row["margin"]
            panel.fill_betweenx([y - 0.5, y + 0.5], -row["margin"], most, color=_BAND, linewidth=0, zorder=0)
        _effect(panel, y, row)
    panel.set_yticks(range(len(lines)), [label for label, _ in lines])
    headings = [y for y, (_, group) in enumerate(lines) if group is None]
    for y in headings:
        panel.axhspan(y - 0.5, y + 0.5, color="0.96", zorder=0.5)
    for y, label in enumerate(panel.get_yticklabels()):
        if y in headings:
            label.set_fontweight("bold")
    panel.set_ylim(len(lines) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x")
    better = _BETTER.get(in_order(effects, "better")[0], "")
    panel.set_xlabel("\n".join(text for text in (in_order(effects, "panel")[0], better) if text))


def _scale(panel: Axes, effects: pd.DataFrame) -> None:
    """From the least to the greatest end, margins and no effect among them."""
    found = [effects[name] for name in ("estimate", "low", "high")]
    found += [-effects["margin"], effects["margin"].mask(effects["one_sided"])]
    finite = [value for value in pd.concat(found) if math.isfinite(value)] + [0.0]
    least, most = min(finite), max(finite)
    pad = 0.05 * (most - least) or 1.0
    panel.set_xlim(least - pad, most + pad)
    panel.locator_params(axis="x", nbins=5)


def _effect(panel: Axes, y: int, row: Record) -> None:
    """A marker, its interval, and the verdict at the right; an end that is infinite is an arrow at the edge."""
    colour, filled = _LOOKS.get(row["verdict"], _OTHER)
    at_right: dict[str, Any] = {"transform": panel.get_yaxis_transform(), "va": "center", "fontsize": 8}
    panel.text(1.02, y, ", ".join(filter(None, (row["verdict"], row["note"]))), color=colour, **at_right)
    if math.isnan(row["estimate"]):
        return
    edges = panel.get_xlim()
    ends = [edge if math.isinf(end) else end for end, edge in zip((row["low"], row["high"]), edges, strict=True)]
    if not any(map(math.isnan, ends)):
        panel.plot(ends, [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
        for end, edge, arrow in zip((row["low"], row["high"]), edges, "<>", strict=True):
            if math.isinf(end):
                panel.plot(edge, y, marker=arrow, color=colour, markersize=5, clip_on=False)
    panel.plot(row["estimate"], y, "s", color=colour, markersize=5.5, markerfacecolor=colour if filled else "white")


def _keys(effects: pd.DataFrame, margin: str) -> list[Line2D | Patch]:
    """What marker, line and band are, of those that these effects have."""
    keys: list[Line2D | Patch] = [Line2D([], [], color=".3", marker="s", markersize=5.5, label="estimate, interval")]
    known = effects[effects["estimate"].notna()]
    if known["low"].isna().any():
        keys.append(Line2D([], [], color=".3", marker="s", linestyle="", label="no interval (n = 1)"))
    if not all(_LOOKS.get(verdict, _OTHER)[1] for verdict in known["verdict"]):
        hollow = Line2D([], [], color=".3", marker="s", markerfacecolor="white", linestyle="")
        hollow.set_label("hollow: undecided")
        keys.append(hollow)
    if (effects["margin"] > 0).any():
        keys.append(Patch(color=_BAND, label=margin))
    return keys

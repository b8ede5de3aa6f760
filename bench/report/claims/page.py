"""claims.csv and claims.md: the verdicts overall, and a table for each claim with its settings."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.files import written_aside
from bench.names import shown
from bench.report.claims.catalogue import catalogue
from bench.report.claims.rules import Rules
from bench.report.claims.verdict import OVERALL, Verdict, notes, number
from bench.report.frames import Record, having, records
from bench.report.rendering import NONE, count, markdown_table
from bench.statistics import p_text


def write(frame: pd.DataFrame, rules: Rules, directory: Path) -> None:
    """claims.csv, unrounded, and claims.md."""
    with written_aside(directory / "claims.csv") as aside:
        frame.to_csv(aside, index=False, lineterminator="\n")
    with written_aside(directory / "claims.md") as aside:
        aside.write_text(markdown(frame, rules), "utf-8", newline="\n")


def markdown(frame: pd.DataFrame, rules: Rules) -> str:
    """What `judge` found, for readers; of claims that the profile has no setting for, the names alone."""
    parts = ["# Verdicts on the claims", "\n".join(f"* {note}" for note in notes(rules)), overview(frame)]
    for claim in catalogue(rules):
        *rows, overall = records(having(frame, claim=claim.sentence))
        if not rows and overall["verdict"] == Verdict.NOT_MEASURED:
            continue
        parts.append(f"## {claim.sentence[0].upper()}{claim.sentence[1:]} ({claim.source})")
        parts.append(f"Overall {overall['verdict']}: {overall['reason']}. {claim.reading(rules)}")
        if rows:
            parts.append(markdown_table(pd.DataFrame(_lines(rows, rules))))
    return "\n\n".join(parts) + "\n"


def overview(frame: pd.DataFrame) -> str:
    """The verdict on each claim over all settings, as a table for readers; below it, what was not measured."""
    overall = having(frame, dataset=OVERALL)[["claim", "source", "verdict", "reason"]]
    without = overall["verdict"].eq(Verdict.NOT_MEASURED)
    parts = []
    if not without.all():
        parts.append(markdown_table(overall[~without].rename(columns={"reason": "settings"})))
    if without.any():
        ours = overall["source"].eq("ours")
        claims = overall.loc[without & ~ours, "claim"].tolist()
        if number := int((without & ours).sum()):
            claims.append(f"{count(number, 'comparison')} of our own, which claims.csv names")
        parts.append(f"Not measured in this profile, which says nothing of them: {'; '.join(claims)}.")
    return "\n\n".join(parts)


def _lines(rows: Sequence[Record], rules: Rules) -> list[dict[str, str]]:
    """A line for each setting, with the number of its losses that have each verdict."""
    lines, by_loss = [], list[str]()
    for row in rows:
        if row["loss"] in rules.family:
            by_loss.append(row["verdict"])
        if row["decides"]:
            lines.append(_line(row, by_loss))
            by_loss = []
    return lines


def _line(row: Record, by_loss: Sequence[str]) -> dict[str, str]:
    """One setting for readers."""
    line = {"dataset": shown(row["dataset"]) or NONE, "backbone": shown(row["backbone"]) or NONE}
    line |= {"px": NONE if pd.isna(row["resolution"]) else str(row["resolution"]), "tested": row["test"]}
    line["estimate"] = NONE if math.isnan(row["estimate"]) else number(row["estimate"])
    line["interval"] = NONE if math.isnan(row["low"]) else f"[{number(row['low'])}, {number(row['high'])}]"
    line |= {"n": str(row["n"]), "p": NONE if math.isnan(row["p_holm"]) else p_text(row["p_holm"])}
    line["by loss"] = ", ".join(f"{by_loss.count(v)} {v}" for v in dict.fromkeys(by_loss)) or NONE
    return line | {"verdict": row["verdict"], "reason": "; ".join(filter(None, (row["picked"], row["reason"]))) or NONE}

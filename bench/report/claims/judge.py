"""claims.csv: every test behind a verdict, unrounded."""

from typing import Any

import pandas as pd

from bench.report.claims.catalogue import catalogue
from bench.report.claims.evidence import Evidence
from bench.report.claims.kinds import Claim
from bench.report.claims.verdict import Judged

COLUMNS = [
    *("claim", "source", "dataset", "backbone", "resolution", "loss", "picked", "reference", "level", "test"),
    *("estimate", "low", "high", "n", "p", "p_holm", "verdict", "decides", "reason"),
]


def judge(evidence: Evidence) -> pd.DataFrame:
    """The columns `COLUMNS`: per claim and setting a row for each loss, and those of the whole, of which one `decides`;
    then one overall.
    """
    found: dict[Claim, list[Judged]] = {}
    for claim in catalogue(evidence.rules):
        found[claim] = claim.judged(evidence, found)
    rows = [
        _row(claim, row)
        for claim, judged in found.items()
        for row in (*judged, claim.overall([row for row in judged if row.decides]))
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"resolution": "Int64", "n": "Int64"})


def _row(claim: Claim, judged: Judged) -> dict[str, Any]:
    finding = judged.finding
    row = {"claim": claim.sentence, "source": claim.source, **judged.setting._asdict(), "loss": judged.loss}
    row["picked"] = judged.picked
    names = ("reference", "level", "test", "estimate", "low", "high", "n", "p")
    row |= {name: getattr(finding, name) for name in names}
    return row | {
        "p_holm": judged.p_holm,
        "verdict": judged.verdict.value,
        "decides": judged.decides,
        "reason": judged.reason,
    }

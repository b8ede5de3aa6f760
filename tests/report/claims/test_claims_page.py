"""claims.csv and claims.md."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.report.claims.catalogue import catalogue
from bench.report.claims.judge import COLUMNS
from bench.report.claims.page import markdown, write
from bench.report.claims.verdict import OVERALL, Verdict
from bench.report.frames import having
from tests.report.claims.synthetic import (
    ACCURACY,
    BEYOND,
    BOTH,
    COHERENT,
    COMPETITIVE,
    CONTRADICTED,
    DECLARED,
    EVERYWHERE,
    FAMILY,
    FLIPS,
    FLOORS,
    FORWARD,
    IN,
    INCONCLUSIVE,
    MASS,
    NOT_MEASURED,
    OLD_LOOP,
    ONE_CELL,
    OVERHEAD,
    ROBUST,
    SPECIFIC,
    SUPPORTED,
    TRAINING,
    absent,
    clean,
    decoyed,
    everywhere,
    judged,
    results,
    row,
    with_differences,
)


def test_every_claim_has_a_verdict_also_where_nothing_was_measured() -> None:
    nothing = judged(ONE_CELL)
    for found in (nothing, clean(), decoyed()):
        assert found.columns.tolist() == COLUMNS
        assert set(found["verdict"]) <= {verdict.value for verdict in Verdict}
        assert found["claim"].drop_duplicates().tolist() == [c.sentence for c in catalogue(DECLARED)]
        assert having(found, reason="")["verdict"].isin([SUPPORTED, CONTRADICTED]).all()
        assert (found["dataset"] == OVERALL).sum() == len(catalogue(DECLARED))
    assert set(nothing["verdict"]) == {NOT_MEASURED}


def test_claims_name_their_source() -> None:
    sources = {claim.sentence: claim.source for claim in catalogue(DECLARED)}
    assert {sources[c] for c in (ACCURACY, *IN, TRAINING, FORWARD, OLD_LOOP, EVERYWHERE, BOTH)} == {"v1"}
    assert {sources[c] for c in (COMPETITIVE, COHERENT, MASS, FLIPS, ROBUST, OVERHEAD)} == {"v2"}
    assert sources[FLOORS] == "figures 2–5"
    assert {sources[c] for c in sources if c.startswith(BEYOND)} == {sources[SPECIFIC]} == {"ours"}


def section(text: str, claim: str) -> list[list[str]]:
    """The cells of a claim's table in the document."""
    part = text.split(f"## {claim[0].upper()}{claim[1:]} ")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[one.strip() for one in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[:1] + lines[2:]]


def test_the_document_has_an_overview_and_a_table_for_each_claim() -> None:
    text = markdown(clean(), DECLARED)
    overview = [line for line in text.split("\n## ")[0].splitlines() if line.startswith("|")]
    measured = having(clean(), dataset=OVERALL)["verdict"].ne(NOT_MEASURED)
    assert 0 < measured.sum() < len(catalogue(DECLARED))
    assert len(overview) == 2 + measured.sum()
    assert re.search(r"\| accuracy improves +\| v1 +\| inconclusive +\| supported in 1, contra", text)
    heads, up, down, flat = section(text, ACCURACY)
    last = ["by loss", "verdict", "reason"]
    assert heads == ["dataset", "backbone", "px", "tested", "estimate", "interval", "n", "p", *last]
    found = row(clean(), ACCURACY, dataset="up")
    assert up[:5] == ["up", "SimpleCNN", "23", found["test"], "0.1"]
    assert up[5] == f"[{found['low']:.4f}, {found['high']:.4f}]".replace("-", "−")
    assert up[6:] == ["8", "–", "6 supported", SUPPORTED, "–"]
    assert down[4] == "−0.1"
    assert down[8:10] == ["6 contradicted", CONTRADICTED]
    assert flat[8:10] == ["6 inconclusive", INCONCLUSIVE]
    assert "loss − ce; above 0 speaks for the claim" in text
    assert "`l1`, loss − ce; below 0 speaks for the claim" in text


def test_the_document_tells_of_claims_without_settings() -> None:
    text = markdown(clean(), DECLARED)
    without = having(clean(), dataset=OVERALL, verdict=NOT_MEASURED)
    silent = without["claim"]
    of_paper = without.loc[without["source"] != "ours", "claim"].tolist()
    ours = f"{len(silent) - len(of_paper)} comparisons of our own, which claims.csv names"
    assert f"Not measured in this profile, which says nothing of them: {'; '.join([*of_paper, ours])}." in text
    headed = [claim for claim in silent if f"## {claim[0].upper()}{claim[1:]} (" in text]
    assert headed == [claim for claim in silent if (clean()["claim"] == claim).sum() > 1]
    assert 0 < len(headed) < len(silent)
    assert section(markdown(everywhere(), DECLARED), BOTH)[1][:3] == ["all", "SimpleCNN", "–"]
    assert section(markdown(everywhere(), DECLARED), EVERYWHERE)[1][1] == "–"


def test_by_loss_counts_are_those_of_the_setting() -> None:
    first = with_differences(batchcam_ssim=np.linspace(0.009, 0.01, 10))
    found = judged(pd.concat([first, results("up", "down", ["accuracy"], seeds=3)]))
    lines = section(markdown(found, DECLARED), ACCURACY)[1:]
    assert [line[8] for line in lines] == ["5 inconclusive, 1 supported", "6 supported"]


def test_a_bar_in_a_reason_does_not_break_the_table() -> None:
    found = judged(pd.concat([absent(loss, "fai|led") for loss in ("ce", *FAMILY)]))
    assert len({len(line) for line in section(markdown(found, DECLARED), ACCURACY)}) == 1


def test_two_writings_are_the_same_bytes(tmp_path: Path) -> None:
    write(clean(), DECLARED, tmp_path)
    first = [(tmp_path / name).read_bytes() for name in ("claims.csv", "claims.md")]
    write(clean().copy(), DECLARED, tmp_path)
    assert [(tmp_path / name).read_bytes() for name in ("claims.csv", "claims.md")] == first
    again = pd.read_csv(tmp_path / "claims.csv")
    assert again["estimate"].to_numpy() == pytest.approx(clean()["estimate"].to_numpy(), nan_ok=True, abs=0)

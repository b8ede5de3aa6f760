"""The results of a profile as a reader gets them: `bench.results.load`."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bench.results
from bench.errors import BenchError
from bench.results import Results, load
from tests.report.collected import bounds, cells_of, rows, swept
from tests.tiny import tiny

ROOT = Path(__file__).parents[2]
PROFILES = sorted(path.parent.name for path in ROOT.glob("results/*/claims.csv"))
TIMED = pd.DataFrame({"device": ["cpu"] * 2, "status": ["ok"] * 2, "kind": ["maps", "growth"]})


def results(cells: pd.DataFrame, timing: pd.DataFrame = TIMED, sweep: pd.DataFrame | None = None) -> Results:
    """Results with these frames, and nothing in the others."""
    nothing = pd.DataFrame()
    return Results(tiny({}), cells, nothing, bounds(), timing, swept() if sweep is None else sweep, nothing)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_with_results_is_read_as_it_is_committed(profile: str) -> None:
    found = load(profile)
    assert found.params.profile == profile
    for name in ("cells", "epochs", "bounds", "timing", "sweep", "claims"):
        committed = pd.read_csv(ROOT / "results" / profile / f"{name}.csv", low_memory=False)
        assert list(getattr(found, name)) == list(committed)
        assert len(getattr(found, name)) == len(committed)
    assert len(found.ledger()) > 10
    tables = {path.stem for path in (ROOT / "results" / profile / "tables").glob("*.md")}
    assert set(found.tables()) == tables
    assert found.settings()["trainings"].sum() == (found.cells["status"] == "ok").sum()


def test_the_examples_of_the_docs_run() -> None:
    tables, _ = re.findall(r"```python\n(.*?)```", (ROOT / "docs/notebooks.md").read_text("utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(tables, names)
    assert names["results"].params.profile == "quick"


def test_a_profile_that_is_unknown_or_has_no_results_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BenchError, match=r"^there is no profile 'slow'; there are quick, evidence, paper, reduced$"):
        load("slow")
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.setattr(bench.results, "ROOT", tmp_path)
    with pytest.raises(BenchError, match=r"^the profile quick has no results yet: make repro PROFILE=quick$"):
        load("quick")


def test_it_says_in_a_sentence_what_a_profile_lacks() -> None:
    cells = cells_of("ce", "prototype-ssim")
    params = tiny({"timing": {"devices": []}})
    assert set(results(cells)._replace(params=params).lacks()) == {"cues", "timing"}
    with_cues = pd.concat([cells, cells.assign(dataset="decoy_digits")])
    assert "cues" not in results(with_cues).lacks()
    short = pd.DataFrame(
        [*rows("ce", ["ok", "missing", "missing"]), *rows("rrr", ["failed: NaN"] * 3), *rows("hint", ["ok"])]
    )
    lacks = results(short, TIMED.iloc[:1], swept().iloc[:0]).lacks()
    assert lacks["cells"] == "Of the 3 cells of the profile tiny, 2 are not whole: 1 missing, 1 failed."
    assert lacks["growth"] == "The profile tiny does not follow the cost of a map over resolutions and classes."
    assert lacks["sweep"] == "The profile tiny has no results of other weights than its own."


def test_a_device_that_was_not_timed_is_named() -> None:
    found = load("paper")
    asked = found.params.timing.devices
    kept = found.timing[found.timing["device"] != asked[0]]
    assert found._replace(timing=kept).lacks()["timing"].endswith(f"no timings on {' and '.join(asked)}.")


def test_settings_are_those_with_results_the_largest_first() -> None:
    cells = pd.concat(
        [cells_of("ce"), cells_of("ce", "rrr").assign(dataset="mnist"), cells_of("batchcam-l2").assign(resolution=9)]
    )
    found = results(cells).settings()
    assert found.index.tolist() == [("mnist", "resnet18", 23), ("digits", "resnet18", 23)]
    assert found.to_numpy().tolist() == [[2, 3, 6], [1, 3, 3]]
    nothing = results(cells_of("batchcam-l2")).settings()
    assert nothing.empty
    assert nothing.index.names == found.index.names


def test_differences_are_paired_by_seed() -> None:
    better = [row | ({"accuracy": row["accuracy"] + 0.01 * row["seed"]}) for row in rows("rrr", ["ok"] * 3)]
    cells = pd.DataFrame([*rows("ce", ["ok", "missing", "ok"]), *better, *rows("hint", ["failed: NaN"] * 3)])
    found = results(cells).against("ce")
    assert found.index.tolist() == [("digits", "resnet18", 23, "rrr", seed) for seed in (0, 2)]
    np.testing.assert_allclose(found["accuracy"], [0, 0.02], atol=1e-12)
    np.testing.assert_allclose(found["ssim"], 0, atol=1e-12)
    np.testing.assert_allclose(results(cells).against("rrr").xs("ce", level="loss")["accuracy"], [0, -0.02], atol=1e-12)
    with pytest.raises(BenchError, match=r"^the profile tiny has no loss 'blob-ssim'; it has ce, rrr, hint$"):
        results(cells).against("blob-ssim")


def test_a_cell_that_is_not_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.results, "ROOT", tmp_path)
    found = results(cells_of("ce", "batchcam-l2"))
    for loss, message in (
        ("rrr", r"the profile tiny has no cell digits-resnet18-rrr-23; `settings\(\)` lists what it has"),
        ("batchcam-l2", "digits-resnet18-batchcam-l2-23 of the profile tiny has no results: failed"),
        ("ce", "runs/tiny/digits-resnet18-ce-23 is not there: dvc pull fetches it"),
    ):
        for method in (found.maps, found.by_image):
            with pytest.raises(BenchError, match=f"^{message}$"):
                method("digits", "resnet18", loss, 23)

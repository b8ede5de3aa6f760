"""The weight that is chosen of a sweep."""

import math
from pathlib import Path

import pandas as pd
import pytest

from bench.names import VALIDATION
from bench.params import load
from bench.prepare.datasets import SOURCES
from bench.report.choice import choose, picked, standard_error
from bench.report.claims.rules import RULES
from bench.report.frames import having, records
from bench.report.results import read_sweep
from tests.report.collected import chosen, swept

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("dataset", ["digits", "decoy_digits"])
def test_the_largest_weight_that_competes_is_chosen(dataset: str) -> None:
    """`ce` reaches .91, so .886 is asked for; rrr failed once at weight 1, and hint never competes."""
    pd.testing.assert_frame_equal(
        choose(swept(dataset), RULES), chosen().assign(dataset=dataset), check_dtype=False, check_like=True
    )


def test_each_setting_has_its_own_baseline() -> None:
    better = swept().assign(resolution=32)
    better.loc[better["loss"] == "ce", "accuracy"] = 0.935
    found = choose(pd.concat([swept(), better]), RULES)
    assert found["weight"].tolist() == [10, 0.1, 0.1, 0.1, 0.1, 0.1]
    assert found["resolution"].tolist() == [23] * 3 + [32] * 3


def test_nothing_is_chosen_of_a_sweep_that_is_missing_or_failed_altogether() -> None:
    missing = {"dataset": "digits", "backbone": "simple_cnn", "loss": "blob-ssim", "resolution": 23} | {
        "status": "missing"
    }
    failed = swept().query("loss == 'hint'").assign(loss="noise-ssim", accuracy=None, status="failed: NaN")
    found = choose(pd.concat([swept(), pd.DataFrame([missing]), failed]), RULES)
    for loss in ("blob-ssim", "noise-ssim"):
        (row,) = records(having(found, loss=loss))
        assert math.isnan(row["weight"])
        assert not row["competitive"]


def test_a_sweep_of_the_baseline_alone_chooses_nothing() -> None:
    found = choose(swept().query("loss == 'ce'"), RULES)
    assert found.empty
    assert list(found) == list(chosen())


def test_without_a_baseline_nothing_competes() -> None:
    found = choose(swept().query("loss != 'ce'"), RULES)
    assert not found["competitive"].any()
    assert found["weight"].tolist() == [0.1] * 3


@pytest.mark.parametrize(
    ("accuracies", "dataset", "expected"),
    [
        # By hand: s² = .0002, .0002 / 2 + .91 · .09 / 180 = .000555
        ([0.90, 0.92], "digits", 0.000555**0.5),
        ([0.90, 0.92], "decoy_digits", 0.000555**0.5),
        ([0.98, 0.98, 0.98], "decoy_mnist", (0.98 * 0.02 / 5000) ** 0.5),
        ([0.5], "fashion_mnist", 0.5 / 5000**0.5),
        ([], "mnist", math.nan),
    ],
)
def test_the_standard_error_is_over_seeds_and_images(accuracies: list[float], dataset: str, expected: float) -> None:
    assert standard_error(pd.Series(accuracies, dtype=float), dataset) == pytest.approx(expected, nan_ok=True)


def test_the_images_of_the_validation_splits_are_those_that_are_prepared() -> None:
    assert {name: source["validation"] for name, source in SOURCES.items()} == VALIDATION


def of(loss: str, accuracy: float, ssim: float, weight: float = 1) -> dict[str, object]:
    """One training of a sweep."""
    setting = {"dataset": "digits", "backbone": "simple_cnn", "resolution": 23}
    return setting | {"loss": loss, "weight": weight, "accuracy": accuracy, "objective": 1 - ssim, "ssim": ssim}


def test_of_each_kind_the_nearest_maps_that_cost_no_accuracy_are_picked_and_the_better_kind_stands_first() -> None:
    tried = pd.DataFrame(
        [
            *(of("ce", accuracy, 0.1, 0) for accuracy in (0.90, 0.92)),
            of("prototype-l1", 0.95, 0.3),
            of("prototype-l2", 0.95, 0.4),
            of("prototype-ssim", 0.80, 0.9),  # costs accuracy
            of("batchcam-l1", 0.95, 0.5),
            of("permuted-ssim", 0.95, 0.8),  # a control
        ]
    )
    setting = ("digits", "simple_cnn", 23)
    assert picked(tried, choose(tried, RULES), RULES) == {setting: ["batchcam-l1", "prototype-l2"]}
    # A kind whose weights all cost accuracy stands behind one that has a weight that costs none.
    dear = tried[tried["loss"] != "batchcam-l1"]
    dear = pd.concat([dear, pd.DataFrame([of("batchcam-l2", 0.7, 0.95)])])
    assert picked(dear, choose(dear, RULES), RULES) == {setting: ["prototype-l2", "batchcam-l2"]}


def test_nothing_is_picked_where_nothing_was_tried() -> None:
    nothing = swept().iloc[:0]
    assert picked(nothing, choose(nothing, RULES), RULES) == {}


def test_the_committed_weights_and_picks_are_those_that_the_committed_sweeps_choose() -> None:
    """Of each dataset whose sweeps have run; `reduced` and `paper` take over what `evidence` chose with SimpleCNN."""
    evidence = load(ROOT / "profiles/evidence/params.yaml", ROOT)
    tried = read_sweep(ROOT / "results/evidence/sweep.csv")
    chosen = choose(tried, RULES)
    best = {dataset: losses for (dataset, _, _), losses in picked(tried, chosen, RULES).items()}
    known = chosen[chosen["weight"].notna() & chosen["dataset"].isin(best)]
    assert {"decoy_mnist", "mnist"} <= set(known["dataset"])
    for row in records(known):
        assert evidence.weights[row["dataset"]][row["loss"]] == row["weight"], row
    for name in ("reduced", "paper"):
        profile = load(ROOT / f"profiles/{name}/params.yaml", ROOT)
        for dataset, losses in profile.picked.items():
            assert losses == best[dataset]
            for row in records(having(known, dataset=dataset)):
                assert profile.weights[dataset].get(row["loss"], row["weight"]) == row["weight"], (name, row)

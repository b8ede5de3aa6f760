"""The ledger: each kind of result has its answer, and it is made of the committed tables alone."""

import io
import math
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.errors import BenchError
from bench.names import METRICS
from bench.params import load
from bench.report import ledger as module
from bench.report.claims.evidence import Setting
from bench.report.claims.verdict import ALL, Verdict
from bench.report.collect import TRAININGS
from bench.report.ledger import Profile, answer, ledger
from bench.report.questions import QUESTIONS, Question

ROOT = Path(__file__).parents[2]
SUPPORTED, CONTRADICTED, EQUIVALENT, INCONCLUSIVE, NOT_JUDGED, NOT_MEASURED = Verdict
KEPT = Question("Is it kept?", ("accuracy is competitive",), "another weight")
RELIED = Question(
    "Is less relied on it?", ("robustness to spurious correlations improves: reliance on the decoy",), "-"
)


#: The accuracy of the paper's losses, whose mean over seeds is .01 more.
SIX = dict.fromkeys(
    (f"{kind}_{distance}" for kind in ("prototype", "batchcam") for distance in ("l1", "l2", "ssim")), 0.8
)


def decided(verdict: Verdict, **more: Any) -> dict[str, Any]:
    """A row of claims.csv."""
    row = {"claim": KEPT.claims[0], "source": "v2", "dataset": "mnist", "backbone": "simple_cnn", "resolution": 23}
    row |= {
        "loss": "all six",
        "picked": "",
        "reference": "ce",
        "level": math.nan,
        "estimate": 0.1,
        "low": 0.05,
        "high": 0.15,
        "n": 5,
        "decides": True,
    }
    return row | {"verdict": verdict.value} | more


def cells(**accuracy: float) -> pd.DataFrame:
    """cells.csv of a few losses with three seeds that differ alike."""
    rows = [
        {"dataset": "mnist", "backbone": "simple_cnn", "resolution": 23, "loss": loss.replace("_", "-"), "seed": seed}
        | dict.fromkeys(METRICS, math.nan)
        | {"status": "ok", "accuracy": value + seed / 100}
        for loss, value in accuracy.items()
        for seed in range(3)
    ]
    return pd.DataFrame(rows)


def profile(*rows: dict[str, Any], name: str = "reduced", measured: pd.DataFrame | None = None) -> Profile:
    path = "params.yaml" if name == "quick" else f"profiles/{name}/params.yaml"
    measured = cells(ce=0.9, **SIX, blob_ssim=0.92, permuted_ssim=0.89) if measured is None else measured
    return Profile(load(ROOT / path), pd.DataFrame(rows), measured, pd.DataFrame(columns=TRAININGS))


@pytest.fixture(autouse=True)
def _one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUESTIONS", (KEPT,))


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([SUPPORTED, SUPPORTED], "yes"),  # clear gain
        ([CONTRADICTED], "no"),  # clear loss
        ([EQUIVALENT, CONTRADICTED], "no"),  # tie within the band
        ([INCONCLUSIVE], "open"),  # tie with a wide interval
        ([NOT_JUDGED], "open"),  # one seed
        ([NOT_MEASURED], "not measured"),
        ([], "not measured"),
        ([SUPPORTED, NOT_MEASURED], "yes"),  # a cell missing
        ([SUPPORTED, CONTRADICTED], "mixed"),  # a loss opposed
        ([SUPPORTED, EQUIVALENT], "mixed"),
        ([SUPPORTED, INCONCLUSIVE], "mixed"),  # half cannot tell
        ([CONTRADICTED, INCONCLUSIVE], "mixed"),
        ([SUPPORTED, SUPPORTED, INCONCLUSIVE], "yes"),  # most can
        ([EQUIVALENT, CONTRADICTED, INCONCLUSIVE], "no"),
    ],
)
def test_each_kind_of_result_has_its_answer(verdicts: list[Verdict], expected: str) -> None:
    assert answer(verdicts) == expected
    rows = [decided(verdict, resolution=23 + k) for k, verdict in enumerate(verdicts)]
    made = ledger([profile(*rows, decided(SUPPORTED, decides=False), decided(SUPPORTED, claim="another"))])
    assert made["answer"].tolist() == [expected]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([SUPPORTED, SUPPORTED], "yes"),
        ([SUPPORTED, EQUIVALENT, INCONCLUSIVE, INCONCLUSIVE], "no"),  # one does as well
        ([SUPPORTED, SUPPORTED, INCONCLUSIVE], "mixed"),  # one may
        ([INCONCLUSIVE], "open"),
        ([NOT_MEASURED], "not measured"),
    ],
)
def test_what_must_hold_of_all_falls_with_one(
    verdicts: list[Verdict], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUESTIONS", (KEPT._replace(of_all=True),))
    rows = [decided(verdict, resolution=23 + k) for k, verdict in enumerate(verdicts)]
    assert ledger([profile(*rows)])["answer"].tolist() == [expected]


def test_a_row_says_how_much_where_and_what_speaks_against() -> None:
    rows = [decided(SUPPORTED), decided(CONTRADICTED, resolution=112, estimate=-0.1)]
    (row,) = ledger([profile(*rows)]).to_dict("records")
    assert (row["effect"], row["low"], row["high"]) == (0.1, 0.05, 0.15)
    assert row["control_effect"] == pytest.approx(0.02)  # the best of the controls, by seeds
    assert (row["for"], row["against"], row["would_change"]) == (1, 1, "another weight")
    reduced = load(ROOT / "profiles/reduced/params.yaml")
    epochs = {px: reduced.trained("simple_cnn", px).epochs for px in (23, 112)}
    images = {px: reduced.trained("simple_cnn", px).train_images for px in epochs}
    places = [
        f"reduced: MNIST × SimpleCNN × {px} px × {f'{images[px]:,}' if images[px] else 'all'} images"
        f" × {epochs[px]} epoch{'s' if epochs[px] > 1 else ''} × 5 seeds"
        for px in epochs
    ]
    assert row["where"] == "; ".join(places)


def test_readers_see_effects_in_the_metrics_unit_and_ratios_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    text = module.table(ledger([profile(decided(SUPPORTED, estimate=-0.1, low=-0.15, high=-0.05))]))
    assert "| accuracy ↑ 81.00 vs 91.00: −10.00 [−15.00, −5.00] points; all six vs ce | " in " ".join(text.split())
    assert "| +2.00 points; blob-ssim, 3 seeds |" in " ".join(text.split())
    assert "| 1, 0, 0 |" in " ".join(text.split())
    monkeypatch.setattr(module, "QUESTIONS", (KEPT._replace(claims=("overhead is minimal",)),))
    of_times = {"claim": "overhead is minimal"}
    times = [  # the range is that of single losses, which the row of all six hides
        decided(CONTRADICTED, **of_times, estimate=ratio, loss=loss, decides=loss == ALL)
        for ratio, loss in ((1.9, "batchcam-ssim"), (1.354, "prototype-l1"), (1.02, "prototype-l2"), (1.4, ALL))
    ]
    text = module.table(ledger([profile(*times)]))
    assert "| median × 1.35 (1.02 to 1.90) | – |" in " ".join(text.split())


def test_what_is_equivalent_to_a_control_speaks_against_and_what_none_can_tell_is_counted() -> None:
    rows = [decided(EQUIVALENT), decided(INCONCLUSIVE, resolution=112), decided(NOT_JUDGED, dataset="digits")]
    (row,) = ledger([profile(*rows)]).to_dict("records")
    assert (row["for"], row["against"], row["undecided"]) == (0, 1, 1)


def test_what_is_held_against_a_number_has_its_control_held_against_it_too() -> None:
    rows = [decided(SUPPORTED, reference="the floor, blob (0.800)", level=0.8)]
    made = ledger([profile(*rows)])
    assert made["control_effect"].tolist() == pytest.approx([0.12 + 0.01])  # over seeds 0, .01 and .02 more
    text = " ".join(module.table(made).split())
    assert "81.00 vs 80.00: +10.00 [+5.00, +15.00] points; all six vs the floor, blob (0.800) |" in text
    assert "| +13.00 points; blob-ssim, 3 seeds |" in text


def test_fewer_seeds_of_a_control_are_said_and_levels_are_of_the_seeds_that_are_compared() -> None:
    measured = cells(ce=0.9, prototype_l1=0.8, blob_ssim=0.92)
    fewer = measured[~(measured["loss"].eq("blob-ssim") & measured["seed"].eq(2))]
    (row,) = ledger([profile(decided(SUPPORTED, n=3), measured=fewer)]).to_dict("records")
    assert (row["control_seeds"], row["control_effect"]) == (2, pytest.approx(0.02))
    assert "; blob-ssim, 2 seeds |" in module.table(ledger([profile(decided(SUPPORTED, n=3), measured=fewer)]))
    assert "; blob-ssim |" in module.table(ledger([profile(decided(SUPPORTED, n=3), measured=measured)]))
    some = measured[~(measured["loss"].eq("prototype-l1") & measured["seed"].eq(2))]
    (row,) = ledger([profile(decided(SUPPORTED, picked="prototype-l1"), measured=some)]).to_dict("records")
    assert row["level"] == pytest.approx(0.9 + 0.005)  # over seeds 0 and .01
    assert row["loss_level"] == pytest.approx(0.8 + 0.005)


@pytest.mark.parametrize("loss", ["all six", "prototype-l1", "ce"])
def test_a_seed_without_a_value_has_no_part_in_the_levels(loss: str) -> None:
    measured = cells(ce=0.9, **SIX)
    of_whom = "prototype-l1" if loss == "all six" else loss
    measured.loc[measured["loss"].eq(of_whom) & measured["seed"].eq(2), "accuracy"] = math.nan
    picked = "" if loss == "all six" else "prototype-l1"
    (row,) = ledger([profile(decided(SUPPORTED, picked=picked), measured=measured)]).to_dict("records")
    assert (row["loss_level"], row["level"]) == (pytest.approx(0.805), pytest.approx(0.905))


def test_levels_need_the_cells_that_they_are_of() -> None:
    (row,) = ledger([profile(decided(SUPPORTED), measured=cells(ce=0.9, prototype_l1=0.8))]).to_dict("records")
    assert math.isnan(row["level"])  # five of the six are not there
    assert "| accuracy ↑ +10.00 [" in " ".join(
        module.table(ledger([profile(decided(SUPPORTED), measured=cells(ce=0.9))])).split()
    )


def test_what_is_held_against_a_control_has_none_beside_it() -> None:
    pair = "prototype-ssim − permuted-ssim"
    made = ledger([profile(decided(CONTRADICTED, loss=pair, reference="permuted-ssim"))])
    assert made["control_effect"].isna().all()
    text = " ".join(module.table(made).split())
    assert "81.00 vs 90.00: +10.00 [+5.00, +15.00] points; prototype-ssim vs permuted-ssim | – |" in text


def test_the_least_gain_is_named_and_what_makes_a_no_stands_first(monkeypatch: pytest.MonkeyPatch) -> None:
    worse = decided(CONTRADICTED, dataset="fashion_mnist", estimate=-0.03)
    (row,) = ledger([profile(decided(SUPPORTED), worse)]).to_dict("records")
    assert (row["effect"], row["worst"]) == (0.1, -0.03)
    assert row["worst_where"] == "Fashion-MNIST × SimpleCNN × 23 px"
    unknown = decided(INCONCLUSIVE, dataset="digits", estimate=math.nan)
    assert ledger([profile(decided(SUPPORTED), unknown, worse)])["worst"].tolist() == [-0.03]
    (less,) = ledger([profile(decided(SUPPORTED))]).to_dict("records")
    assert math.isnan(less["worst"])
    small = profile(decided(CONTRADICTED, dataset="digits", estimate=-0.9), name="quick")
    unable = [decided(INCONCLUSIVE), decided(INCONCLUSIVE, dataset="fashion_mnist", estimate=-0.03)]
    assert ledger([small, profile(*unable)])["worst"].tolist() == [-0.03]
    relied = {"claim": RELIED.claims[0]}  # less is better: the least gain is the largest difference
    monkeypatch.setattr(module, "QUESTIONS", (RELIED,))
    rows = [
        decided(SUPPORTED, **relied, estimate=estimate, resolution=px) for estimate, px in ((-0.1, 23), (-0.02, 112))
    ]
    assert ledger([profile(*rows)])["worst"].tolist() == [-0.02]
    monkeypatch.setattr(module, "QUESTIONS", (KEPT._replace(of_all=True),))
    (of_all,) = ledger([profile(decided(SUPPORTED), worse)]).to_dict("records")
    assert (of_all["answer"], of_all["effect"]) == ("no", -0.03)
    assert of_all["where"].startswith("reduced: Fashion-MNIST")
    another = decided(EQUIVALENT, estimate=0.01, resolution=112)  # in the first dataset again
    (of_all,) = ledger([profile(decided(SUPPORTED), worse, another)]).to_dict("records")
    assert of_all["effect"] == 0.01


def test_the_smallest_profile_is_asked_only_where_no_other_can_tell() -> None:
    small = profile(decided(CONTRADICTED, dataset="digits"), name="quick")
    large = profile(decided(SUPPORTED))
    (row,) = ledger([small, large]).to_dict("records")
    assert (row["answer"], row["for"], row["against"]) == ("yes", 1, 0)
    assert "digits" not in row["where"]
    unable = profile(decided(INCONCLUSIVE))
    (row,) = ledger([small, unable]).to_dict("records")
    assert (row["answer"], row["against"], row["undecided"]) == ("mixed", 1, 1)
    assert module._answer_to([small, large], KEPT.claims[0], ()) == "yes"
    assert module._answer_to([small, large], KEPT.claims[0], {Setting("mnist", "resnet18", 112)}) == "not measured"


def test_profiles_that_contradict_each_other_are_named() -> None:
    yes = profile(decided(SUPPORTED), decided(INCONCLUSIVE, resolution=112))
    no, open_ = profile(decided(CONTRADICTED), name="evidence"), profile(decided(INCONCLUSIVE), name="quick")
    assert module.disagreements([open_, no, yes]) == ["Is it kept? Yes in `reduced`, no in `evidence`."]
    assert "**Profiles contradict each other.** Is it kept?" in module.markdown(ledger([yes, no]), [yes, no])
    assert module.disagreements([yes, open_]) == []
    mixed = profile(decided(SUPPORTED), decided(CONTRADICTED, resolution=112), name="quick")
    assert module.disagreements([mixed, no]) == []


def test_the_committed_ledger_is_that_of_the_committed_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    command = ["git", "archive", "--format=zip", "HEAD", "results", "params.yaml", "profiles"]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    with zipfile.ZipFile(io.BytesIO(archive)) as content:
        content.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    made = ledger(module.read(tmp_path))
    assert (tmp_path / "results/ledger.csv").read_text("utf-8") == made.to_csv(index=False, lineterminator="\n")
    assert (tmp_path / "results/ledger.md").read_text("utf-8") == f"{module.table(made)}\n"


def test_the_effect_is_that_of_the_profile_that_is_worth_most() -> None:
    small = profile(decided(SUPPORTED, dataset="digits", estimate=0.7), name="quick")
    large = profile(decided(SUPPORTED, estimate=0.2))
    assert ledger([small, large])["effect"].tolist() == ledger([large, small])["effect"].tolist() == [0.2]
    silent = profile(decided(NOT_JUDGED, estimate=0.2))
    assert ledger([small, silent])["effect"].tolist() == [0.7]


def test_less_can_be_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUESTIONS", (RELIED,))
    measured = cells(ce=0.2, blob_ssim=0.1, permuted_ssim=0.15).assign(reliance=lambda frame: frame["accuracy"])
    made = ledger([profile(decided(SUPPORTED, claim=RELIED.claims[0]), measured=measured)])
    assert made["control_effect"].tolist() == pytest.approx([-0.1])


def test_the_effect_and_its_control_are_of_the_first_claim_that_says_something(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Question("Is it kept?", ("accuracy is competitive", "accuracy with the true decoy is competitive"), "-")
    monkeypatch.setattr(module, "QUESTIONS", (both,))
    measured = cells(ce=0.9, blob_ssim=0.92).assign(true_accuracy=lambda frame: 1 - frame["accuracy"])
    rows = [
        decided(SUPPORTED, claim=both.claims[1], estimate=0.3),
        decided(NOT_MEASURED, claim=both.claims[0], estimate=math.nan),
    ]
    (row,) = ledger([profile(*rows, measured=measured)]).to_dict("records")
    assert (row["metric"], row["effect"]) == ("true_accuracy", 0.3)
    assert row["control_effect"] == pytest.approx(-0.02)
    rows.append(decided(SUPPORTED, claim=both.claims[0], estimate=0.1))  # listed after, asked before
    (row,) = ledger([profile(*rows, measured=measured)]).to_dict("records")
    assert (row["metric"], row["effect"]) == ("accuracy", 0.1)
    assert row["control_effect"] == pytest.approx(0.02)


def test_every_question_is_answered_by_claims_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    from bench.report.claims.catalogue import catalogue
    from bench.report.claims.rules import RULES

    known = {claim.sentence for claim in catalogue(RULES)}
    for question in QUESTIONS:
        assert set(question.claims) <= known, question.question


def test_a_profile_of_ones_own_comes_last() -> None:
    mine = profile(decided(SUPPORTED, estimate=0.9))
    mine = mine._replace(params=mine.params.model_copy(update={"profile": "mine"}))
    ours = profile(decided(SUPPORTED, dataset="digits", estimate=0.2), name="evidence")
    assert ledger([mine, ours])["effect"].tolist() == [0.2]


def test_verdicts_of_an_older_version_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / "results/quick").mkdir(parents=True)
    columns = decided(SUPPORTED).keys() - {"decides"}
    pd.DataFrame([], columns=sorted(columns)).to_csv(tmp_path / "results/quick/claims.csv", index=False)
    with pytest.raises(BenchError, match=r"claims\.csv is of an older version: python -m bench report makes it again"):
        module.read(tmp_path)

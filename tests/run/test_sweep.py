"""The sweep: every weight with the same budget, on the validation split, and the choice that is made of it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import yaml
from typer.testing import CliRunner

from bench.__main__ import app
from bench.cell.data import load
from bench.cell.training import train
from bench.errors import BenchError
from bench.names import SWEPT_METRICS
from bench.params import Cell, Params
from bench.prepare import datasets
from bench.report.collect import sweep_state
from bench.run import sweep
from bench.run.cells import run_cell
from bench.run.sweep import run_sweep
from tests.tiny import tiny

CE, SSIM = (Cell("digits", "simple_cnn", loss, 12) for loss in ("ce", "prototype-ssim"))


def profile(*weights: float, **changes: Any) -> Params:
    swept = {"dataset": ["digits"], "backbone": ["simple_cnn"], "loss": [CE.loss, SSIM.loss], "resolution": [12]}
    return tiny({"sweep": swept | {"weights": list(weights), "seeds": 2, "epochs": 1}, **changes})


def content(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """Seed and weight of every training from now on."""
    trained: list[tuple[int, float]] = []
    genuine = train

    def spy(backbone: Any, data: Any, settings: Any, seed: int, regularizer: Any, weight: float, *rest: Any) -> None:
        trained.append((seed, weight))
        genuine(backbone, data, settings, seed, regularizer, weight, *rest)

    monkeypatch.setattr(sweep, "train", spy)
    return trained


@pytest.mark.usefixtures("place")
def test_each_weight_is_trained_with_each_seed_and_tried_on_the_validation_split(
    begun: list[tuple[int, float]],
) -> None:
    params = profile(0.5, 2)
    path = run_sweep(params, SSIM)
    assert path == Path("runs/tiny/sweep-digits-simple_cnn-prototype-ssim-12.json")
    rows = content(path)["rows"]
    assert begun == [(row["seed"], row["weight"]) for row in rows] == [(0, 0.5), (1, 0.5), (0, 2), (1, 2)]
    assert all(list(row) == ["weight", "seed", "status", *SWEPT_METRICS] for row in rows)
    assert {row["status"] for row in rows} == {"ok"}
    assert len({row["specificity"] for row in rows}) == 4
    # As a cell is trained, but for the split: with the test images in its place the numbers are those of the cell.
    data = load(Path("data/digits.safetensors"))
    exchanged = datasets._tensors((data.train, data.test, data.validation))
    safetensors.torch.save_file(exchanged, "data/digits.safetensors", {"about": '{"class_names": ["0"]}'})
    cell = profile(2, weight=2, test_images=None).for_cell(*SSIM, seeds=2)
    run_cell(cell, SSIM, Path("cell"))
    for row, metrics in zip(rows[2:], json.loads(Path("cell/metrics.json").read_text()), strict=True):
        assert row["objective"] == pytest.approx(1 - row["ssim"], abs=1e-4)  # two sums of the same
        assert all(row[name] == metrics[name] for name in SWEPT_METRICS if name != "objective")
    assert sweep_state(params, SSIM) == "ok"
    assert not any(path.is_dir() for path in Path("runs/.partial").iterdir())


@pytest.mark.usefixtures("place")
def test_ce_has_no_weight_and_is_trained_once_for_each_seed(begun: list[tuple[int, float]]) -> None:
    rows = content(run_sweep(profile(0.5, 2), CE))["rows"]
    assert begun == [(row["seed"], row["weight"]) for row in rows] == [(0, 0), (1, 0)]


@pytest.mark.usefixtures("place")
def test_an_interrupted_sweep_resumes_after_its_last_training(
    begun: list[tuple[int, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_sweep(profile(0.5, 2, profile="whole"), SSIM).read_bytes()
    spied: Any = vars(sweep)["train"]

    def halting(*arguments: Any) -> None:
        if len(begun) == 7:
            raise KeyboardInterrupt
        spied(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "train", halting)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(profile(0.5, 2), SSIM)
    assert not Path("runs/tiny").exists()
    assert run_sweep(profile(0.5, 2), SSIM).read_bytes() == whole
    assert begun[4:] == [(0, 0.5), (1, 0.5), (0, 2), (1, 2)]
    # Nothing is left to be taken for that of other parameters.
    run_sweep(profile(0.5, 2, learning_rate=1e-3), SSIM)
    assert len(begun) == 12


@pytest.mark.usefixtures("place")
def test_a_training_that_fails_is_a_row_with_its_reason_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = train

    def failing(
        backbone: Any, data: Any, settings: Any, seed: int, regularizer: Any, weight: float, *rest: Any
    ) -> None:
        genuine(backbone, data, settings, seed, regularizer, math.inf if weight == 5 else weight, *rest)

    monkeypatch.setattr(sweep, "train", failing)
    rows = content(run_sweep(profile(5, 1), SSIM))["rows"]
    for seed, row in enumerate(rows[:2]):
        reason = f"failed: sweep {SSIM.name}, weight 5, seed {seed}: the loss became inf at step 0 of 4"
        assert list(row) == ["weight", "seed", "status"]
        assert row["status"].startswith(reason)
    assert [row["status"] for row in rows[2:]] == ["ok", "ok"]


@pytest.mark.usefixtures("place")
def test_weights_that_are_not_finite_after_the_last_step_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = train

    def spoil(backbone: Any, *rest: Any) -> None:
        genuine(backbone, *rest)
        next(backbone.model.parameters()).data.fill_(math.nan)

    monkeypatch.setattr(sweep, "train", spoil)
    rows = content(run_sweep(profile(1), CE))["rows"]
    assert [row["status"].split(":")[0] for row in rows] == ["failed", "failed"]


@pytest.mark.usefixtures("place")
def test_the_command_line_makes_a_sweep_and_refuses_a_cell_outside_of_it() -> None:
    Path("params.yaml").write_text(yaml.safe_dump(profile(1).model_dump()))
    runner = CliRunner()
    made = runner.invoke(app, ["sweep", *map(str, CE)])
    assert made.stdout.strip() == "runs/tiny/sweep-digits-simple_cnn-ce-12.json"
    refused = runner.invoke(app, ["sweep", *map(str, SSIM._replace(resolution=23))])
    assert refused.exit_code == 1
    assert refused.stderr.strip() == "error: params.yaml: digits-simple_cnn-prototype-ssim-23 is not in its sweeps"


def test_the_error_of_a_missing_dataset_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BenchError, match=r"data/digits.safetensors is missing: python -m bench prepare digits"):
        run_sweep(profile(1), CE)

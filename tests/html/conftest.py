"""A small repository with results, whose page is quickly made."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from bench.html.page import render
from bench.report.ledger import read

ROOT = Path(__file__).parents[2]
CLAIMS = (
    "reconstruction improves in SSIM",
    "accuracy is competitive",
    "inference time falls: below a plain forward pass",
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A repository to be changed."""
    return repository(tmp_path)


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of such a repository as it is."""
    root = repository(tmp_path_factory.mktemp("repository"))
    return render(read(root), root)


def repository(tmp_path: Path) -> Path:
    """The root of a repository: `quick` with few cells, claims and figures, and `evidence` without results."""
    for name in ("params.yaml", "profiles/evidence/params.yaml", "docs/choices.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    results = tmp_path / "results/quick"
    claims = pd.read_csv(ROOT / "results/quick/claims.csv", dtype={"resolution": "Int64", "n": "Int64"})
    (results / "tables").mkdir(parents=True)
    claims[claims["claim"].isin(CLAIMS)].to_csv(results / "claims.csv", index=False)
    cells = pd.read_csv(ROOT / "results/quick/cells.csv", dtype={"status": str})
    few = cells["backbone"].isin(["simple_cnn", "resnet18"]) & (cells["resolution"] == 20)
    cells[few].to_csv(results / "cells.csv", index=False)
    shutil.copyfile(ROOT / "results/quick/trainings.csv", results / "trainings.csv")
    (results / "tables/losses.md").write_text("**Accuracy, %**\n\n| loss | px |\n|---|---|\n| ce | 97.2 ± 0.3 |\n")
    (results / "figures").mkdir()
    names = ("effects-digits-simple_cnn-20", "effects-digits-resnet18-20", "overview-digits-20", "novel")
    for number, name in enumerate(names):
        Image.new("RGB", (300, 200), (number, 100, 200)).save(results / f"figures/{name}.png")
    machine = {"device": "cpu", "cpu": {"brand_raw": "A processor", "count": 2}, "versions": {"torch": "2"}}
    made = {"machine_info": machine, "commit_info": {"id": "0123456789abcdef"}, "datetime": "2026-01-02T03:04:05"}
    (results / "timing-cpu.json").write_text(json.dumps(made))
    return tmp_path

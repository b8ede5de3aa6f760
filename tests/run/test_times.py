"""How long cells took, from what their provenance says."""

import json
from pathlib import Path

import pytest

from bench.params import Params, load
from bench.run.times import times, write

ROOT = Path(__file__).parents[2]


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A profile with three cells in runs/."""
    monkeypatch.chdir(tmp_path)
    params = load(ROOT / "params.yaml", ROOT)
    for backbone, loss, seconds in (
        ("resnet18", "ce", [100]),
        ("simple_cnn", "ce", [1, 3]),
        ("simple_cnn", "rrr", [5]),
    ):
        cell = {"dataset": "digits", "backbone": backbone, "loss": loss, "resolution": 23}
        seeds = [{"seed": seed, "train_s": second - 0.5, "test_s": 0.5} for seed, second in enumerate(seconds)]
        path = params.runs / f"digits-{backbone}-{loss}-23" / "provenance.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"parameters": {"cell": cell}, "device": "CPU, AVX2", "seconds": seeds}))
    return params


def test_times_are_added_up_by_network(profile: Params) -> None:
    assert times([profile]).to_numpy().tolist() == [
        ["quick", "SimpleCNN", "23", "2", "3", "3 s", "9 s", "CPU, AVX2"],
        ["quick", "ResNet-18", "23", "1", "1", "2 min", "2 min", "CPU, AVX2"],
    ]


def test_a_profile_without_cells_has_no_row(profile: Params, tmp_path: Path) -> None:
    other = load(ROOT / "profiles/evidence/params.yaml", ROOT)
    path = write([profile, other], tmp_path / "times.md")
    lines = path.read_text().splitlines()
    assert len(lines) == 4
    assert "evidence" not in path.read_text()

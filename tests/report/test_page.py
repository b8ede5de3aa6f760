"""The whole report of a profile."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import yaml
from matplotlib.figure import Figure

from batchcam import resize_maps
from bench.cell.data import PARTS
from bench.errors import BenchError
from bench.names import METRICS
from bench.report import figures, page
from bench.report.collect import EPOCHS, TRAININGS
from bench.report.results import means
from bench.report.timing_rows import COLUMNS
from tests.report.collected import bounds, cells_of, swept
from tests.report.drawn import pixels, row_labels, words
from tests.tiny import NO_CELLS, OTHERS

ROOT = Path(__file__).parents[2]
LOSSES = ("ce", "prototype-ssim", "batchcam-ssim")
MAPS = torch.linspace(0, 1, 3 * 2 * 9).reshape(3, 2, 3, 3).half()  # (seeds,classes,h,w)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with the results of digits × ResNet-18 × 23 px: four losses, of which batchcam-l2 failed."""
    cells = cells_of(*LOSSES, "batchcam-l2")
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["grid"] = {
        "dataset": ["digits"],
        "backbone": ["resnet18"],
        "loss": [*LOSSES, "batchcam-l2"],
        "resolution": [23],
        "seeds": {"digits": {"resnet18": 3}},
    }
    content |= dict.fromkeys(OTHERS, NO_CELLS)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    results = tmp_path / "results" / content["profile"]
    results.mkdir(parents=True)
    cells.to_csv(results / "cells.csv", index=False)
    bounds().to_csv(results / "bounds.csv", index=False)
    pd.DataFrame(columns=COLUMNS).to_csv(results / "timing.csv", index=False)
    swept().iloc[:0].to_csv(results / "sweep.csv", index=False)
    pd.DataFrame(columns=EPOCHS).to_csv(results / "epochs.csv", index=False)
    devices = np.where(cells["loss"] == "ce", "CPU, AVX2", "CPU, AVX512")
    cells.assign(device=devices).reindex(columns=TRAININGS).to_csv(results / "trainings.csv", index=False)
    for loss in LOSSES:
        run = tmp_path / "runs" / content["profile"] / f"digits-resnet18-{loss}-23"
        run.mkdir(parents=True)
        maps = {name: MAPS.repeat(1, 5, 1, 1) for name in ("class_means", "examples")}
        safetensors.torch.save_file(maps | {"example_indices": torch.arange(10)}, run / "maps.safetensors")
        by_image = {name: torch.rand(3, 20) for name in ("epg_ink", "specificity")}
        by_image |= {"correct": torch.full((3, 5), 170, dtype=torch.uint8), "tested": torch.full((3,), 40)}
        safetensors.torch.save_file(by_image, run / "images.safetensors")
    images = torch.arange(40, dtype=torch.uint8)[:, None, None].expand(-1, 28, 28).contiguous()
    parts = {"images": images, "labels": torch.arange(40, dtype=torch.uint8) % 10}
    data = {f"{split}_{part}": parts[part].clone() for split in PARTS for part in parts}
    (tmp_path / "data").mkdir()
    about = '{"class_names": ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]}'
    safetensors.torch.save_file(data, tmp_path / "data" / "digits.safetensors", {"about": about})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def unsaved(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The figures by name, which are drawn and not saved."""
    drawn: dict[str, Figure] = {}

    @contextlib.contextmanager
    def saving(_: Path) -> Iterator[Callable[[str, Figure], None]]:
        yield drawn.__setitem__

    monkeypatch.setattr(figures, "saving", saving)
    return drawn


def test_report_writes_everything_and_shows_the_mean_over_seeds(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = unsaved(monkeypatch)
    page.report(tree / "params.yaml")
    results = next((tree / "results").iterdir())
    assert sorted(path.name for path in (results / "tables").iterdir()) == [
        f"{table}.{ending}" for table in ("losses", "reconstruction", "saliency") for ending in ("csv", "md", "tex")
    ]
    plots = {f"{kind}-digits" for kind in ("accuracy", "reconstruction")}
    kinds = ("saliency", "mean-maps", "effects")
    assert set(drawn) == plots | {f"{kind}-digits-resnet18-23" for kind in kinds} | {"overview-digits-23"}
    text = (results / "README.md").read_text("utf-8")
    verdicts = pd.read_csv(results / "claims.csv")
    improves = verdicts[(verdicts["claim"] == "accuracy improves") & (verdicts["dataset"] == "digits")]
    assert improves["backbone"].unique().tolist() == ["resnet18"]
    apart = improves.set_index("loss")["reason"].str.contains("3 of 3 pairs trained on different kinds of processor")
    assert apart[apart].index.tolist() == ["prototype-ssim", "batchcam-ssim"]
    assert "## Accuracy improves (v1)" in (results / "claims.md").read_text("utf-8")
    assert "[claims.md](claims.md)" in text
    for name in drawn:
        assert f"(figures/{name}.png)" in text
    assert (results / "tables" / "losses.md").read_text("utf-8").rstrip() in text
    assert not list(results.glob(".*"))

    figure = drawn["mean-maps-digits-resnet18-23"]
    ssim = means(cells_of("ce"), ["class_mean_ssim"])[0].interval.mean
    labels = row_labels(figure.axes[0])
    ok = [f"{loss}\nSSIM {ssim:.2f}" for loss in LOSSES]
    assert labels[1:] == [*ok[:2], "batchcam-l2", ok[2]]
    assert [text.get_text() for text in figure.axes[0].texts] == ["failed"]
    for part in ("digits", "ResNet-18", "23 px", "map grid 3×3", "3 seeds", "figure 2", "global mean image 0.48"):
        assert part in words(figure)
    # Below the prototype of the first class: the first class of the first loss.
    expected = resize_maps(MAPS.float(), 23).mean(0)[0]
    top = int(figure.axes[0].get_yticks()[1] - 11.5)
    here = pixels(figure.axes[0].images[0])[top : top + 23, :23]
    np.testing.assert_allclose(here, expected.numpy(), rtol=1e-6)
    shown = [f"{label}, 93.0 %" for label in ok]
    assert row_labels(drawn["overview-digits-23"].axes[0]) == [labels[0], *shown]


def test_report_shows_every_section_of_the_parameters(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells with decoys alone, and a sweep; the paper's own tables and figures are left out then."""
    drawn = unsaved(monkeypatch)
    content = yaml.safe_load((tree / "params.yaml").read_text())
    content["decoys"] = content["grid"] | {
        "dataset": ["decoy_digits"],
        "loss": ["ce"],
        "seeds": {"decoy_digits": {"resnet18": 3}},
    }
    content["grid"] = NO_CELLS
    (tree / "params.yaml").write_text(yaml.safe_dump(content))
    results = next((tree / "results").iterdir())
    cells_of("ce").assign(dataset="decoy_digits").to_csv(results / "cells.csv", index=False)
    swept().to_csv(results / "sweep.csv", index=False)
    followed = {"dataset": "decoy_digits", "backbone": "resnet18", "loss": "ce", "resolution": 23, "seed": 0}
    pd.DataFrame([{**followed, "epoch": 1, "true_accuracy": 0.9, "decoy_accuracy": 0.8}]).to_csv(
        results / "epochs.csv", index=False
    )
    runs = next((tree / "runs").iterdir())
    (runs / "digits-resnet18-ce-23").rename(runs / "decoy_digits-resnet18-ce-23")
    prepared = safetensors.torch.load_file(tree / "data/digits.safetensors")
    shown = {"shown": 255, "corners": 0}
    cues = {f"{split}_{k}": torch.full((40,), v, dtype=torch.uint8) for split in PARTS for k, v in shown.items()}
    about = {"about": json.dumps({"class_names": [str(c) for c in range(10)]})}
    safetensors.torch.save_file(prepared | cues, tree / "data/decoy_digits.safetensors", about)
    page.report(tree / "params.yaml")
    setting = "decoy_digits-resnet18-23"
    kinds = ("conditions", "epochs", "mean-maps", "saliency", "examples")
    assert set(drawn) == {"path-digits-simple_cnn-23", *(f"{kind}-{setting}" for kind in kinds)}
    text = (results / "README.md").read_text("utf-8")
    for name in drawn:
        assert f"(figures/{name}.png)" in text
    assert "Maps on decoy digits, 23 px" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| hint") and "84.00" in line]
    assert line.endswith("0.1 (none competes) (the cells have 1) |")


def test_doses_and_networks_without_a_place_for_maps_have_no_figures_of_maps(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = unsaved(monkeypatch)
    results = next((tree / "results").iterdir())
    others = [cells_of("ce").assign(dataset="decoy_mnist_90"), cells_of("ce").assign(backbone="perceptron")]
    pd.concat([cells_of("ce"), *others]).to_csv(results / "cells.csv", index=False)
    for dataset, backbone in (("decoy_mnist_90", "resnet18"), ("digits", "perceptron")):
        shutil.copytree("runs/quick/digits-resnet18-ce-23", f"runs/quick/{dataset}-{backbone}-ce-23")
    page.report(tree / "params.yaml")
    maps = {name for name in drawn if name.startswith(("mean-maps", "saliency", "examples"))}
    assert maps == {"mean-maps-digits-resnet18-23", "saliency-digits-resnet18-23"}


def test_damaged_metrics_of_images_are_one_sentence(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unsaved(monkeypatch)
    path = Path("runs/quick/digits-resnet18-ce-23/images.safetensors")
    path.write_bytes(b"x")
    with pytest.raises(BenchError, match=f"^{path} is damaged .*: python -m bench cell makes it again$"):
        page.report(tree / "params.yaml")
    assert not list((tree / "results").rglob("claims.*"))


def test_a_profile_without_results_says_so_and_shows_its_timings(tree: Path) -> None:
    results = next((tree / "results").iterdir())
    cells_of("ce").assign(status="missing").to_csv(results / "cells.csv", index=False)
    pd.DataFrame([{"device": "cuda", "status": "missing"}], columns=COLUMNS).to_csv(results / "timing.csv", index=False)
    page.report(tree / "params.yaml")
    text = (results / "README.md").read_text("utf-8")
    assert "No cell of this profile has results: 1 missing." in text
    assert "CUDA: not measured (missing)." in text
    assert sorted(path.stem for path in (results / "tables").glob("*.md")) == ["timing"]
    assert not list((results / "figures").iterdir())
    assert set(pd.read_csv(results / "claims.csv")["verdict"]) == {"not measured"}


def test_a_setting_that_has_not_begun_is_named_and_has_no_figure(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = unsaved(monkeypatch)
    results = next((tree / "results").iterdir())
    begun = pd.read_csv(results / "cells.csv", dtype={"status": str})
    waiting = begun.assign(status="missing", resolution=112, **dict.fromkeys(METRICS))
    pd.concat([begun, waiting]).to_csv(results / "cells.csv", index=False)
    page.report(tree / "params.yaml")
    text = (results / "README.md").read_text("utf-8")
    assert "No cell has results of: digits, ResNet-18, 112 px." in text
    assert "mean-maps-digits-resnet18-23" in drawn
    assert not [name for name in drawn if "112" in name]
    assert "| 112 |" not in (results / "tables/saliency.md").read_text("utf-8")


def test_what_is_missing_or_damaged_is_one_sentence(tree: Path) -> None:
    results = next((tree / "results").iterdir())
    for damage, message in (
        (
            lambda: next((tree / "runs").rglob("*ce-23/maps.safetensors")).write_bytes(b"x"),
            "maps.safetensors is damaged",
        ),
        (lambda: shutil.rmtree(tree / "data"), "digits.safetensors is missing: python -m bench prepare digits"),
        (lambda: (results / "bounds.csv").unlink(), "bounds.csv is missing: python -m bench collect"),
    ):
        damage()
        with pytest.raises(BenchError, match=message):
            page.report(tree / "params.yaml")
        assert not (results / "figures").exists()
        assert not list(results.glob(".*"))

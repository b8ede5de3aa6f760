"""What the README shows is what the code does and what the committed results say."""

import re
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from bench.cell import backbones
from bench.names import COMPARISONS, PAPER_BACKBONES, PAPER_LOSSES
from bench.paper import RESOLUTIONS
from bench.params import load
from bench.report.frames import having, records

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_trains() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    torch.manual_seed(0)
    model = nn.Sequential()
    model.layer4 = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU())
    model.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    images, labels = torch.rand(20, 1, 16, 16), torch.arange(20) % 10
    names: dict[str, Any] = {
        "model": model,
        "train_images": images,
        "train_labels": labels,
        "loader": [(images, labels)],
        "criterion": nn.CrossEntropyLoss(),
    }
    exec(example, names)
    assert names["loss"].isfinite()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert sum(bool(line) for line in example.splitlines()) == 10


def committed(path: str) -> str:
    """A file of the results as it was committed: it may have been made anew, on a machine with other bits."""
    return subprocess.run(["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, check=True).stdout.decode()


def test_the_tables_are_the_committed_ones() -> None:
    shown = re.findall(r"<!-- (results/\S+) -->\n(.*?)\n?<!-- end -->", README, flags=re.DOTALL)
    assert [path for path, _ in shown] == ["results/ledger.md"]
    for path, text in shown:
        assert text.strip() == committed(path).strip(), f"make README's table that of {path}"


def test_what_it_says_of_the_decoy_on_fashion_mnist_is_what_was_measured() -> None:
    cells = pd.read_csv(StringIO(committed("results/evidence/cells.csv")))
    here = cells[cells["dataset"] == "decoy_fashion_mnist"]
    means = {
        column: {str(loss): float(seeds.mean()) for loss, seeds in here.groupby("loss")[column]}
        for column in ("decoy_mass", "reliance", "road")
    }
    six = [loss for loss in PAPER_LOSSES if loss != "ce"]
    mass, lost = ({loss: f"{100 * mean:.1f}" for loss, mean in means[c].items()} for c in ("decoy_mass", "reliance"))
    between = [f"{min(of[loss] for loss in six)} and {max(of[loss] for loss in six)}" for of in (mass, lost)]
    claims = pd.read_csv(StringIO(committed("results/evidence/claims.csv")))
    reliance = claims["claim"].str.endswith("reliance on the decoy") & claims["loss"].isin(six)
    intervals = claims[reliance & (claims["dataset"] == "decoy_fashion_mnist")]
    assert len(intervals) == len(six)
    widest = 100 * float(intervals[["low", "high"]].abs().to_numpy().max())
    said = (
        f"from {mass['ce']} % of their energy to between {between[0]} %",
        f"`ce` loses {lost['ce']} points of accuracy, the six between {between[1]}, and no interval of a"
        f" difference reaches further than {widest:.1f} points.",
        f"lose {lost['rrr']} and {lost['hint']}.",
        f"a blob in the centre, the same for all classes, leaves {mass['blob-ssim']} % of the energy",
    )
    text = " ".join(README.split())
    assert [sentence for sentence in said if sentence not in text] == []
    assert max(means["road"][loss] for loss in six) < means["road"]["ce"]


def test_what_the_docs_say_of_reliance_is_what_was_measured() -> None:
    cells = pd.read_csv(StringIO(committed("results/evidence/cells.csv")))

    def of(loss: str, dataset: str, metric: str = "reliance", backbone: str = "simple_cnn") -> str:
        return f"{100 * float(having(cells, dataset=dataset, backbone=backbone, loss=loss)[metric].mean()):.1f}"

    six = [float(of(loss, "decoy_mnist")) for loss in PAPER_LOSSES if loss != "ce"]
    ce, guided = (
        ", ".join(of(loss, f"decoy_mnist_{share}") for share in (99, 95)) + f" and {of(loss, 'decoy_mnist_90')}"
        for loss in ("ce", "prototype-ssim")
    )
    colored = {loss: of(loss, "color_mnist") for loss in ("ce", *PAPER_LOSSES, "permuted-ssim", "blob-ssim")}
    zero = {
        loss: of(loss, "color_mnist", "zero_map_rate")
        for loss in ("ce", "prototype-l1", "prototype-l2", "batchcam-l1", "batchcam-l2")
    }
    decoyed = having(cells, dataset="decoy_mnist", backbone="simple_cnn").set_index(["loss", "seed"])["reliance"]
    bits = 100 * (decoyed["zero-ssim"] - decoyed["ce"]).dropna()
    assert len(bits) == 5
    said = (
        f"perceptron reaches {of('ce', 'decoy_mnist', 'decoy_accuracy', 'perceptron')} % with a random grey",
        f"`ce` loses {of('ce', 'decoy_mnist')} points on decoy MNIST and {of('ce', 'decoy_fashion_mnist')} on decoy",
        f"relies on the decoy less, {min(six)} to {max(six)}, and so do",
        f"{of('permuted-ssim', 'decoy_mnist')} with the next class's prototype, {of('blob-ssim', 'decoy_mnist')} with",
        f"differs from it by {bits.min():.1f} to {bits.max():+.1f} on single seeds".replace("-", "−"),
        f"Many maps are all zero there, with `ce` {zero.pop('ce')} %, with the four losses by L1 or L2"
        f" {min(zero.values())} to {max(zero.values())} %.",
        f"`ce` relies on the colour by {colored['ce']}. `prototype-ssim` brings that to {colored['prototype-ssim']} and"
        f" `batchcam-ssim` to {colored['batchcam-ssim']}, the next class's prototype to {colored['permuted-ssim']}, a"
        f" blob to {colored['blob-ssim']}.",
        f"`ce` relies on it by {ce}, and `prototype-ssim` by {guided}.",
    )
    text = " ".join((ROOT / "docs/evidence.md").read_text("utf-8").split())
    assert [sentence for sentence in said if sentence not in text] == []


def test_the_weights_that_it_tells_of_are_those_that_validation_picked() -> None:
    weights = load(ROOT / "profiles/evidence/params.yaml").weights
    picked = [of[loss] for of in weights.values() for loss in PAPER_LOSSES if loss != "ce"]
    assert f"picked between {min(picked):g} and {max(picked):g}, by dataset and loss" in " ".join(README.split())


def test_every_file_it_links_or_lists_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    listed = re.findall(r"^\| (`[^|]+`) \|", README, flags=re.MULTILINE)
    paths = links + [name for cell in listed for name in re.findall(r"`([^`]+)`", cell)]
    made = {"runs/"}  # by the pipeline
    assert len(paths) > 12
    assert not [path for path in paths if path not in made and not (ROOT / path).exists()]


def grids() -> list[list[str]]:
    """The rows of the table in docs/backbones.md."""
    text = (ROOT / "docs" / "backbones.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return rows[2:]


def test_the_docs_list_every_grid_as_it_is() -> None:
    listed = {(name, int(px)): (layer, grid) for px, name, layer, grid, *_ in grids()}
    assert {name for name, _ in listed} == set(PAPER_BACKBONES)
    for (name, px), (layer, grid) in listed.items():
        with torch.device("meta"):  # shapes alone
            backbone = backbones.build(name, px)
            assert "×".join(map(str, backbones.grid_size(backbone, px))) == grid
        assert backbone.model.get_submodule(layer) is backbone.layer


def test_the_docs_ceilings_are_those_of_the_profile_paper() -> None:
    bounds = pd.read_csv(StringIO(committed("results/paper/bounds.csv")))
    ceilings = bounds[(bounds["dataset"] == "mnist") & (bounds["kind"] == "ceiling")]
    floors = bounds[bounds["dataset"].eq("mnist") & bounds["resolution"].eq(23)].set_index("name")["ssim"]
    best, mean = (f"{floors[name]:.2f}".lstrip("0") for name in ("one map, best by SSIM", "global mean image"))
    page = " ".join((ROOT / "docs/backbones.md").read_text("utf-8").split())
    assert f"has SSIM {best} at 23 px, the mean of all images {mean} (" in page
    measured = {
        (row["resolution"], name): [row["name"].removesuffix(" grid"), *(f"{row[key]:.3f}" for key in COMPARISONS)]
        for row in records(ceilings)
        for name in row["backbones"].split(", ")
    }
    compared = [(name, int(px), rest) for px, name, _, *rest in grids() if (int(px), name) in measured]
    assert len(compared) == len(PAPER_BACKBONES) * len(RESOLUTIONS)
    for name, px, listed in compared:
        assert listed == measured[px, name], f"python -m bench grids mnist: {name} at {px} px"

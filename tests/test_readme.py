"""What the README shows is what the code does and what the committed results say."""

import itertools
import math
import re
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import scipy.stats
import torch
from torch import nn

from bench.cell import backbones
from bench.names import COMPARISONS, PAPER_BACKBONES, PAPER_LOSSES, shown
from bench.paper import RESOLUTIONS, USUAL
from bench.params import load
from bench.report.frames import having, records
from bench.statistics import Difference, paired_difference

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HEADLINE = "results/reduced/tables/headline.md"


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
    assert [path for path, _ in shown] == ["results/ledger.md", HEADLINE]
    for path, text in shown:
        assert text.strip() == committed(path).strip(), f"make README's table that of {path}"


def test_every_number_of_the_headline_table_is_that_of_the_cells() -> None:
    reduced = load(ROOT / "profiles/reduced/params.yaml")
    cells, bounds = (pd.read_csv(StringIO(committed(f"results/reduced/{name}.csv"))) for name in ("cells", "bounds"))
    (table,) = re.findall(rf"<!-- {HEADLINE} -->\n(.*?)\n?<!-- end -->", README, flags=re.DOTALL)
    heading, _, *lines = [line for line in table.splitlines() if line.startswith("|")]
    columns, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in (heading, *lines)]
    told = [dict(zip(columns, row, strict=True)) for row in rows]
    settings = [(row["dataset"], row["backbone"], int(row["px"])) for row in told]
    grid = reduced.grid
    assert settings == [(shown(d), shown(b), px) for d in grid.dataset for b in grid.backbone for px in grid.resolution]
    for (dataset, backbone, px), row in zip(
        itertools.product(grid.dataset, grid.backbone, grid.resolution), told, strict=True
    ):
        losses = {"ce": "ce", "wrong class": "permuted-ssim"}
        losses |= dict(zip(("Prototype", "Batch-CAM"), reduced.picked[dataset], strict=True))
        for (metric, factor, digits), (kind, loss) in itertools.product(
            (("accuracy, %", 100, 2), ("SSIM", 1, 3)), losses.items()
        ):
            seeds = having(cells, dataset=dataset, backbone=backbone, resolution=px, loss=loss)
            assert (seeds["status"] == "ok").all()
            values = factor * seeds[metric.partition(",")[0].lower()]
            half = float(scipy.stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
            text = f"{values.mean():.{digits}f} ± {half:.{digits}f}".replace("-", "−")
            assert row[f"{metric}: {kind}"] == text
            assert row["n"] == str(len(values))
        training, low_high = reduced.trained(backbone, px), USUAL[dataset, backbone]
        images = "all" if training.train_images is None else f"{training.train_images:,}"
        assert row["trained on"] == f"{images} images, {training.epochs} epoch{'s' if training.epochs > 1 else ''}"
        assert row["usual for ce"] == " to ".join(f"{end:g}" for end in low_high)
        floors = having(bounds, dataset=dataset, resolution=px, kind="floor")["ssim"]
        assert row["SSIM: floor"] == f"{floors.max():.3f}"


def test_what_it_says_of_the_papers_grid_is_what_was_measured() -> None:
    reduced = load(ROOT / "profiles/reduced/params.yaml")
    picked = ["prototype-ssim", "batchcam-ssim"]
    assert all(losses == picked for losses in reduced.picked.values())
    setting = ["dataset", "backbone", "resolution"]
    cells = pd.read_csv(StringIO(committed("results/reduced/cells.csv")))
    accuracy, ssim = (cells.pivot_table(metric, setting, "loss") for metric in ("accuracy", "ssim"))
    claims = pd.read_csv(StringIO(committed("results/reduced/claims.csv"))).query("dataset != 'overall'")
    improves = claims[claims["claim"].eq("accuracy improves") & claims["loss"].eq("prototype-ssim")]
    six = [loss for loss in PAPER_LOSSES if loss != "ce"]
    changes = 100 * accuracy[six].sub(accuracy["ce"], axis=0)

    def verdicts(claim: str) -> dict[Any, str]:
        rows = claims[claims["claim"].eq(claim) & claims["decides"]]
        assert set(rows["picked"]) == {"prototype-ssim"}
        return dict(zip(rows[setting].itertuples(index=False, name=None), rows["verdict"], strict=True))

    kept = verdicts("accuracy is competitive")
    lost = ("mnist", "resnet18", 112)
    assert [where for where, verdict in kept.items() if verdict == "contradicted"] == [lost]
    of, n = len(kept), list(kept.values()).count
    assert n("supported") + 1 + n("inconclusive") == of == 12
    small = accuracy.xs("simple_cnn", level="backbone").xs(23, level="resolution")
    assert small[picked].sub(small["ce"], axis=0).abs().to_numpy().max() < 0.001
    open_ = improves[[kept[key] == "inconclusive" for key in improves[setting].itertuples(index=False, name=None)]]
    low, high = 100 * open_["low"].min(), 100 * open_["high"].max()
    least, most = 100 * open_["estimate"].min(), 100 * open_["estimate"].max()

    assert set(verdicts("reconstruction improves in SSIM").values()) == {"supported"}
    above = [
        where
        for where, verdict in verdicts("reconstruction beats the floors in SSIM").items()
        if verdict == "supported"
    ]
    assert above == [(dataset, "simple_cnn", 23) for dataset in reduced.grid.dataset]
    assert changes.min(axis=1).idxmin() == lost
    resnet = changes.xs("resnet18", level="backbone").xs(23, level="resolution")
    share = 100 * (ssim["permuted-ssim"] - ssim["ce"]) / (ssim["prototype-ssim"] - ssim["ce"])
    (fallen,) = (100 * row for where, row in accuracy.iterrows() if where == lost)
    assert fallen[six].idxmin() == "batchcam-l2"
    wrong = [100 * small["permuted-ssim"][dataset] for dataset in reduced.grid.dataset]
    said = (
        f"at 23 px no loss is more than {math.ceil(-10 * resnet.to_numpy().min()) / 10} points below it.",
        f"falls from {fallen['ce']:.1f} to {fallen['prototype-ssim']:.1f} and {fallen['batchcam-ssim']:.1f} %, with"
        f" `batchcam-l2`, the worst of all, to {fallen['batchcam-l2']:.1f}.",
        f"kept in {n('supported')} of {of} settings and lost in 1; of {n('inconclusive')} it cannot be told:"
        f" differences lie between −{-least:.1f} and +{most:.1f} points, with intervals from −{-low:.1f} to"
        f" +{high:.1f}.",
        f"accuracy is {wrong[0]:.2f} and {wrong[1]:.2f} %",
        f"by {share.min():.0f} to {share.max():.0f} % of what it rises with the right one.",
    )
    text = " ".join(README.split())
    assert [sentence for sentence in said if sentence not in text] == []


def test_what_the_docs_say_of_how_reduced_was_trained_is_so() -> None:
    reduced = load(ROOT / "profiles/reduced/params.yaml")
    trained = {(net, px): settings for net, of in reduced.training.items() for px, settings in of.items()}
    whole = trained.pop(("simple_cnn", "px23"))
    assert (whole.train_images, whole.test_images, whole.epochs) == (None, None, 5)
    assert {settings.epochs for settings in trained.values()} == {1}
    seeds = {
        net: {reduced.grid.seeds[dataset][net] for dataset in reduced.grid.dataset} for net in reduced.grid.backbone
    }
    assert seeds == {"simple_cnn": {5}, "resnet18": {3}, "convnextv2_tiny": {3}}
    fewer = [settings.train_images for settings in trained.values() if settings.train_images]
    for page in ("docs/evidence.md", "docs/choices.md"):
        assert f"{min(fewer):,} to {max(fewer):,}" in " ".join((ROOT / page).read_text("utf-8").split())


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

    def against_ce(loss: str, dataset: str) -> Difference:
        by_seed = having(cells, dataset=dataset, backbone="simple_cnn").pivot_table("reliance", "seed", "loss")
        return paired_difference(100 * (by_seed[loss] - by_seed["ce"]).to_numpy())

    def change(loss: str, n: int = 5, dataset: str = "color_mnist") -> str:
        found = against_ce(loss, dataset)
        assert found.n == n
        return f"{found.mean:.1f} [{found.low:.1f}, {found.high:+.1f}]".replace("-", "−")

    doses = [against_ce("prototype-ssim", f"decoy_mnist_{share}") for share in (99, 95, 90)]
    assert all(dose.n == 3 and dose.low < 0 < dose.high for dose in doses)
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
        f"`ce` relies on the colour by {colored['ce']}. `prototype-ssim` brings that to {colored['prototype-ssim']}"
        f" ({change('prototype-ssim')}) and `batchcam-ssim` to {colored['batchcam-ssim']}"
        f" ({change('batchcam-ssim')}), the next class's prototype, with three seeds, to"
        f" {colored['permuted-ssim']} ({change('permuted-ssim', 3)}), a blob to {colored['blob-ssim']}.",
        f"`ce` relies on it by {ce}, and `prototype-ssim` by {guided}. With three seeds every interval of the"
        f" difference holds 0, at 99 % it is {change('prototype-ssim', 3, 'decoy_mnist_99')}, and with a blob"
        f" {change('blob-ssim', 3, 'decoy_mnist_99')}.",
    )
    text = " ".join((ROOT / "docs/evidence.md").read_text("utf-8").split())
    assert [sentence for sentence in said if sentence not in text] == []


def test_what_a_map_costs_is_what_was_timed() -> None:
    ledger = pd.read_csv(StringIO(committed("results/ledger.csv"))).set_index("question")
    median, least, most = ledger.loc[
        "Is a forward pass with its map faster than one without?", ["effect", "low", "high"]
    ]
    said = f"for {least:.2f} to {most:.2f} forward passes, {median:.2f} in the median of what was timed on a CPU"
    assert said in " ".join(README.split())


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

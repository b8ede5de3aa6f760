"""Cues: what they name in each part and under each condition, and that nothing else of a dataset changes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from bench.cell import colors, decoys
from bench.cell.cues import naming_another, pictures, under, without
from bench.cell.data import PARTS, Dataset, Split, load
from bench.cell.images import subset
from bench.errors import BenchError
from bench.names import CONDITIONS, DATASETS
from bench.names import Dataset as Known
from bench.prepare import datasets


@pytest.fixture(scope="module")
def both(prepared: Path) -> tuple[Dataset, Dataset]:
    """digits, and digits with decoys."""
    return load(prepared / "digits.safetensors"), load(prepared / "decoy_digits.safetensors")


def splits(count: int = 4000) -> tuple[Split, ...]:
    return tuple(Split(torch.full((count, 28, 28), part).byte(), torch.arange(count) % 10) for part in range(3))


def cued(cue: str, truth: float = 1) -> tuple[Split, ...]:
    return datasets._with_cues(splits(), Known("", "", "digits", cue, truth))  # type: ignore[arg-type]


def named(split: Split) -> Tensor:
    assert split.shown is not None
    return split.shown.long() if split.corners is None else decoys.named(split.shown)


def test_the_decoy_names_the_label_in_training_and_nothing_in_the_test(both: tuple[Dataset, Dataset]) -> None:
    clean, decoyed = both
    for part in PARTS:
        split, original = getattr(decoyed, part), getattr(clean, part)
        assert torch.equal(split.labels, original.labels)
        assert torch.equal(split.images, original.images)
        assert split.corners.bincount().min() > 0.17 * len(split.labels)  # each is as likely
        assert set(split.shown.tolist()) == set(range(30, 256, 25))
        agree = named(split) == split.labels
        if part == "test":
            assert agree.float().mean() == pytest.approx(0.1, abs=0.05)  # of 360; σ = .016
        else:
            assert agree.all()
    assert clean.class_names == decoyed.class_names


@pytest.mark.parametrize("cue", ["decoy", "color"])
@pytest.mark.parametrize("truth", [1, 0.95, 0.9])
def test_as_many_cues_of_the_training_are_true_as_the_dataset_says(cue: str, truth: float) -> None:
    train, validation, test = cued(cue, truth)
    for split in (train, validation):
        share = (named(split) == split.labels).float().mean()
        assert share == pytest.approx(
            truth + (1 - truth) / 10, abs=0.02
        )  # of those drawn, one in ten is true by chance
    assert (named(test) == test.labels).float().mean() == pytest.approx(0.1, abs=0.02)
    assert (train.corners is None) == (cue == "color")


def test_doses_and_kinds_of_cues_differ_in_nothing_else() -> None:
    full, less, colored = cued("decoy"), cued("decoy", 0.9), cued("color")
    for a, b, _c in zip(full, less, colored, strict=True):
        assert a.corners is not None
        assert b.corners is not None
        assert torch.equal(a.corners, b.corners)
    assert torch.equal(named(full[2]), named(less[2]))
    assert torch.equal(named(full[2]), named(colored[2]))


def test_the_datasets_with_cues_are_those_that_their_names_say() -> None:
    assert {name: (d.base, d.cue, d.truth) for name, d in DATASETS.items() if d.cue and d.base == "mnist"} == {
        "decoy_mnist": ("mnist", "decoy", 1),
        "decoy_mnist_99": ("mnist", "decoy", 0.99),
        "decoy_mnist_95": ("mnist", "decoy", 0.95),
        "decoy_mnist_90": ("mnist", "decoy", 0.9),
        "color_mnist": ("mnist", "color", 1),
    }


def test_decoys_under_each_condition() -> None:
    labels = torch.arange(10)
    split = Split(torch.zeros(10, 28, 28).byte(), labels, decoys.grey((labels + 3) % 10), torch.zeros(10).byte())
    shown = {name: pictures(under(split, name))[:, 0, 0].tolist() for name in CONDITIONS}
    assert shown == {
        "true": [255, 230, 205, 180, 155, 130, 105, 80, 55, 30],
        "decoy": [180, 155, 130, 105, 80, 55, 30, 255, 230, 205],
        "reversed": [0, 25, 50, 75, 100, 125, 150, 175, 200, 225],
        "clean": [0] * 10,
    }


def test_colours_under_each_condition() -> None:
    labels = torch.arange(10)
    split = Split(torch.full((10, 28, 28), 255).byte(), labels, ((labels + 3) % 10).byte())
    shown = {name: [tuple(c) for c in pictures(under(split, name))[:, :, 0, 0].tolist()] for name in CONDITIONS}
    hues = [tuple(color) for color in colors.PALETTE.tolist()]
    assert shown == {
        "true": hues[:10],
        "decoy": [*hues[3:10], *hues[:3]],
        "reversed": hues[9::-1],
        "clean": [(255, 255, 255)] * 10,
    }


def test_without_its_decoys_the_dataset_is_the_clean_one_bit_for_bit(both: tuple[Dataset, Dataset]) -> None:
    for clean, decoyed in zip(both[0][:3], both[1][:3], strict=True):
        assert not torch.equal(pictures(decoyed), clean.images)
        assert torch.equal(pictures(without(decoyed)), clean.images)
        assert torch.equal(without(decoyed).labels, clean.labels)
        assert torch.equal(pictures(without(clean)), clean.images)


@pytest.mark.parametrize("cue", ["decoy", "color"])
def test_another_cue_names_each_of_the_nine_other_labels_and_never_the_one_shown(cue: str) -> None:
    split = under(cued(cue)[0], "true")
    other = naming_another(split, torch.Generator().manual_seed(3))
    for label in range(10):
        values, counts = named(other)[split.labels == label].unique(return_counts=True)
        assert set(values.tolist()) == set(range(10)) - {label}
        assert counts.min() > 20  # of 44; σ = 6.3


def test_the_same_bytes_every_time(prepared: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    again = datasets.prepare("decoy_digits", tmp_path)
    assert again.read_bytes() == (prepared / "decoy_digits.safetensors").read_bytes()
    with safetensors.safe_open(again, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
    assert about["dataset"] == "decoy_digits"
    assert about["licence"] == "CC BY 4.0"


def test_a_subset_keeps_cues_with_their_images(both: tuple[Dataset, Dataset]) -> None:
    part, clean = subset(both[1].test, 50), subset(both[0].test, 50)
    assert [None if tensor is None else len(tensor) for tensor in part] == [50] * 4
    assert torch.equal(pictures(part), subset(Split(pictures(both[1].test), both[1].test.labels), 50).images)
    assert torch.equal(part.images, clean.images)
    assert clean.corners is clean.shown is None


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("test_corners", lambda t: t + 4, "test_corners must be uint8 (360,) up to 3, got uint8"),
        ("test_corners", lambda t: t.long(), "test_corners must be uint8 (360,) up to 3, got int64"),
        ("train_corners", lambda t: t[1:], "train_corners must be uint8 (1257,) up to 3"),
        ("validation_shown", lambda t: t[:, None], "validation_shown must be uint8 (180,) up to 255, got uint8"),
        ("validation_shown", lambda t: t.float(), "validation_shown must be uint8 (180,) up to 255, got float32"),
        ("test_corners", None, "test_corners is missing, but other parts have it"),
        ("train_shown", None, "train_shown is missing, but other parts have it"),
    ],
)
def test_damaged_cues_are_one_sentence(
    name: str, change: Callable[[Tensor], Tensor] | None, reason: str, prepared: Path, tmp_path: Path
) -> None:
    tensors = safetensors.torch.load_file(prepared / "decoy_digits.safetensors")
    damaged = tensors.pop(name)
    if change is not None:
        tensors[name] = change(damaged).contiguous()
    path = tmp_path / "decoy_digits.safetensors"
    safetensors.torch.save_file(tensors, path, {"about": json.dumps({"class_names": list("0123456789")})})
    with pytest.raises(BenchError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path} is damaged (")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert f"python -m bench prepare decoy_digits --directory {tmp_path} makes it again" in str(caught.value)

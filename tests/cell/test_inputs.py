"""What a cell sees of a dataset: which images, with and without decoys, and the prototypes of which."""

from pathlib import Path

import pytest
import torch

from bench.cell.cues import pictures, under, without
from bench.cell.data import load
from bench.cell.images import ink, prototypes, resize, subset
from bench.cell.inputs import inputs
from bench.params import Cell
from tests.tiny import tiny

DIGITS = Path("data/digits.safetensors")
CELL = Cell("digits", "simple_cnn", "prototype-ssim", 12)

pytestmark = pytest.mark.usefixtures("place")


@pytest.mark.parametrize("loss", ["prototype-ssim", "hint"])
def test_what_is_loaded_of_a_dataset_with_decoys(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and prototypes with them, the oracle's prototypes and all ink without; the probed images are first."""
    monkeypatch.setattr("bench.cell.inputs.PROBED", 30)
    cell, settings = CELL._replace(dataset="decoy_digits", loss=loss), tiny({}).trained("simple_cnn", 12)
    data = inputs(Path("data/decoy_digits.safetensors"), cell, settings, torch.device("cpu"))
    clean, decoyed = load(DIGITS), load(Path("data/decoy_digits.safetensors"))
    assert data.clean_prototypes is not None
    assert data.probe.patch is not None
    assert data.probe.repainted is not None
    assert data.probe.honest is not None
    assert torch.equal(data.train_images, resize(pictures(subset(decoyed.train, 64)), 12))
    test = subset(decoyed.test, 120)
    assert torch.equal(data.test_images, resize(pictures(test), 12))
    assert list(data.conditions) == ["true", "decoy", "reversed", "clean"]
    assert data.conditions["decoy"] is data.test_images
    for name in ("true", "reversed"):
        assert torch.equal(data.conditions[name], resize(pictures(under(test, name)), 12))
    assert torch.equal(data.conditions["clean"], resize(subset(clean.test, 120).images, 12))
    assert torch.equal(data.prototypes, prototypes(decoyed.train, 12))
    assert torch.equal(data.clean_prototypes, prototypes(clean.train, 12))
    if loss == "hint":
        assert data.train_ink is not None
        assert torch.equal(data.train_ink, ink(resize(subset(clean.train, 64).images, 12)))
    else:
        assert data.train_ink is None
    probed = subset(test, 30)
    assert torch.equal(data.probe.images, resize(pictures(probed), 12))
    assert torch.equal(data.probe.honest, resize(pictures(under(probed, "true")), 12))
    assert torch.equal(data.probe.labels, probed.labels)
    assert torch.equal(data.probe.ink, ink(resize(without(probed).images, 12)))
    # 16 of 784 pixels; another grey there, and nothing else.
    assert data.probe.patch.mean((1, 2)).tolist() == pytest.approx([16 / 784] * 30, abs=0.002)
    differs = (data.probe.repainted - data.probe.images).abs()[:, 0] > 1e-6
    assert differs.flatten(1).any(1).all()
    assert not (differs & (data.probe.patch == 0)).any()


def test_the_validation_split_can_stand_for_the_test_images() -> None:
    settings = tiny({"test_images": None}).trained("simple_cnn", 12)
    data = inputs(DIGITS, CELL, settings, torch.device("cpu"), "validation")
    assert torch.equal(data.test_images, resize(load(DIGITS).validation.images, 12))
    assert len(data.probe.labels) == 180
    assert data.clean_prototypes is data.probe.patch is data.probe.repainted is data.probe.honest is None
    assert not data.conditions

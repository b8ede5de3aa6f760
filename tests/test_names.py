"""bench/names.py against the modules whose things it names."""

import torch

from bench.cell import backbones
from bench.cell.losses import regularizer_for
from bench.names import BACKBONES, DATASETS, LOSSES, METRICS, SWEPT_METRICS, base, shown
from bench.prepare.datasets import SOURCES
from bench.report.claims.rules import RULES


def test_every_dataset_has_a_source_or_is_one_with_decoys() -> None:
    assert set(DATASETS) == {*SOURCES, *(name for name, known in DATASETS.items() if known.base in SOURCES)}


def test_every_backbone_can_be_built_and_no_other() -> None:
    assert set(backbones._MAKERS) == set(BACKBONES)


def test_every_loss_is_a_regulariser_but_cross_entropy_alone() -> None:
    P = torch.rand(10, 12, 12)
    assert [name for name in LOSSES if regularizer_for(name, P, P) is None] == ["ce", "weight_decay"]


def test_what_a_sweep_measures_and_a_rule_names_exists() -> None:
    assert set(SWEPT_METRICS) <= {*METRICS, "objective"}
    assert {RULES.baseline, *RULES.controls.values(), *RULES.family, *RULES.controls} <= set(LOSSES)
    assert set(RULES.accuracy_margin) == {base(name) for name in DATASETS}


def test_readers_see_names_of_their_own() -> None:
    assert shown("fashion_mnist") == "Fashion-MNIST"
    assert shown("prototype-l1") == "prototype-l1"
    assert METRICS["l1"].heading == "L1 ↓"
    assert METRICS["ssim_nonzero"].heading == "SSIM of non-zero maps ↑"
    assert METRICS["zero_map_rate"].heading == "zero maps, %"

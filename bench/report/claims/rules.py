"""What is declared beforehand: the same for every profile."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.names import PAPER_LOSSES


class Rules(NamedTuple):
    """docs/evidence.md says what of it was changed after results had been seen."""

    baseline: str
    family: Sequence[str]  # tested together, for each setting
    controlled: str  # the loss that the controls differ from
    controls: Sequence[str]
    accuracy_margin: Mapping[str, float]  # of a decoy dataset: that of the one it was made from
    least_specificity: float  # of the energy, above which maps count as specific to the instance
    overhead: float  # a guided step ÷ a plain one that still counts as minimal


RULES = Rules(
    baseline="ce",
    family=tuple(loss for loss in PAPER_LOSSES if loss != "ce"),
    controlled="prototype-ssim",
    controls=("permuted-ssim", "global_mean-ssim", "blob-ssim", "noise-ssim"),
    accuracy_margin={"digits": 0.01, "mnist": 0.002, "fashion_mnist": 0.005},
    least_specificity=0.02,
    overhead=1.1,
)

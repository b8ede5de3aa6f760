"""What is declared beforehand, the same for every profile. The ledger says which commit changed this file last."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.names import PAPER_LOSSES


class Rules(NamedTuple):
    """docs/evidence.md says what of it was changed after results had been seen."""

    baseline: str
    family: Sequence[str]  # alternatives to each other: each is judged by itself, tested together in each setting
    controls: Mapping[str, str]  # each with the loss of the family that it is held against
    accuracy_margin: Mapping[str, float]  # of a dataset with cues: that of the one it was made from
    equivalence: Mapping[str, float]  # how far apart, by metric, a loss and a control may be and count as equivalent
    least_seeds: int  # a setting with fewer is shown and not judged
    least_reliance: float  # of the baseline on a cue; where it relies less, there is no shortcut to drop
    least_specificity: float  # of the energy, above which maps count as specific to the instance
    overhead: float  # a guided step ÷ a plain one that still counts as minimal


RULES = Rules(
    baseline="ce",
    family=tuple(loss for loss in PAPER_LOSSES if loss != "ce"),
    controls={
        "permuted-ssim": "prototype-ssim",
        "global_mean-ssim": "prototype-ssim",
        "blob-ssim": "prototype-ssim",
        "noise-ssim": "prototype-ssim",
        "corner-ssim": "prototype-ssim",
        "inverted-ssim": "prototype-ssim",
        "batchcam_permuted-ssim": "batchcam-ssim",
        "batchcam_global_mean-ssim": "batchcam-ssim",
        "batchcam_blob-ssim": "batchcam-ssim",
        "weight_decay": "prototype-ssim",
        "input_gradient": "prototype-ssim",
    },
    accuracy_margin={"digits": 0.01, "mnist": 0.002, "fashion_mnist": 0.005},
    # Of a baseline that loses ten points or more to the decoy, a fifth.
    equivalence={"reliance": 0.02, "decoy_flip_rate": 0.02, "decoy_accuracy": 0.02, "accuracy": 0.005},
    least_seeds=3,
    least_reliance=0.05,
    least_specificity=0.02,
    overhead=1.1,
)

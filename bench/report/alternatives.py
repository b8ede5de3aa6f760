"""How much the choices matter that were made where the paper is silent: what was tried, held against what was taken."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from bench.names import METRICS, Metric, shown
from bench.report.frames import Record, groups, having
from bench.report.rendering import NONE, markdown_table
from bench.report.results import finished
from bench.statistics import paired_difference

#: What a choice is judged by.
_METRICS = ("accuracy", "ssim", "specificity")


class Choice(NamedTuple):
    """Something that the paper does not say: what is done here, and pairs of what was tried and what was taken."""

    question: str
    taken: str
    column: str  # of cells.csv, that the pairs are values of
    pairs: Sequence[tuple[str, str]]


CHOICES = (
    Choice(
        "What does the Batch-CAM loss compare?",
        "the mean map of a class in the batch with the class's prototype",
        "loss",
        (("consistency-ssim", "batchcam-ssim"), ("batch_image-ssim", "batchcam-ssim")),
    ),
    Choice(
        "At which layer is the map read?",
        "the deepest whose grid is at least 3×3; in ConvNeXt the stage before the last, where larger images have 3×3",
        "backbone",
        (("resnet18_earlier", "resnet18"), ("convnextv2_tiny_earlier", "convnextv2_tiny")),
    ),
)


def page(profiles: Sequence[tuple[str, pd.DataFrame]]) -> str:
    """What stands in results/alternatives.md, of the cells.csv of each profile, the most worth first."""
    rows = [row for choice in CHOICES for name, cells in profiles for row in _rows(choice, name, cells)]
    parts = [
        "# How much the choices matter",
        "Where the paper is silent something had to be chosen. Here is what was tried instead, less what was taken:"
        " differences paired by seed, with 95 % t intervals; a single seed has none, and says little. What a weight"
        " does is in the table `sweep` of a profile that tried several.",
        markdown_table(pd.DataFrame(rows)) if rows else "No profile has results of anything else.",
        "\n".join(f"* {choice.question} Taken: {choice.taken}." for choice in CHOICES),
    ]
    return "\n\n".join(parts) + "\n"


def _rows(choice: Choice, profile: str, cells: pd.DataFrame) -> Iterator[Record]:
    """A row for each cell that was tried in place of another, with their differences."""
    others = [name for name in ("dataset", "backbone", "loss", "resolution") if name != choice.column]
    for tried, taken in choice.pairs:
        for key, here in groups(finished(having(cells, **{choice.column: tried})), others):
            where = dict(zip(others, key, strict=True))
            reference = finished(having(cells, **where, **{choice.column: taken}))
            if len(reference):
                about = [profile, *(shown(str(value)) for value in key[:-1]), f"{key[-1]} px"]
                row = {"question": choice.question, "instead": shown(tried), "where": " × ".join(about)}
                yield row | {METRICS[name].heading: _difference(here, reference, METRICS[name]) for name in _METRICS}


def _difference(tried: pd.DataFrame, taken: pd.DataFrame, metric: Metric) -> str:
    """With its interval, in the metric's unit."""
    by_seed = tried.set_index("seed")[metric.name] - taken.set_index("seed")[metric.name]
    found = paired_difference(by_seed * metric.factor)
    if found.n == 0:
        return NONE
    mean, low, high = (
        f"{value:+.{metric.decimals}f}".replace("-", "−") for value in (found.mean, found.low, found.high)
    )
    return mean if found.n == 1 else f"{mean} [{low}, {high}]"

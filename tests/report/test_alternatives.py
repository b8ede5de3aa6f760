"""What was tried in place of a choice: differences by hand."""

import pandas as pd

from bench.names import BACKBONES, LOSSES
from bench.report.alternatives import CHOICES, page
from tests.report.collected import rows


def cell(loss: str, accuracies: list[float], backbone: str = "resnet18") -> pd.DataFrame:
    return pd.DataFrame(rows(loss, ["ok"] * len(accuracies), backbone=backbone)).assign(accuracy=accuracies)


def lines(*cells: pd.DataFrame) -> list[list[str]]:
    found = [line for line in page([("quick", pd.concat(cells))]).splitlines() if line.startswith("| ")]
    return [[word.strip() for word in line.strip("|").split("|")] for line in found[1:]]


def test_another_reading_is_held_against_ours_seed_by_seed() -> None:
    ours, other = cell("batchcam-ssim", [0.9, 0.8, 0.7]), cell("consistency-ssim", [0.91, 0.82, 0.73])
    ((question, instead, where, accuracy, ssim, specificity),) = lines(ours, other, cell("ce", [0.9, 0.9, 0.9]))
    assert (question, instead) == (CHOICES[0].question, "consistency-ssim")
    assert where == "quick × digits × ResNet-18 × 23 px"
    # By hand: 1, 2 and 3 points; s = 1, t = 4.302653, half-width 2.4841.
    assert accuracy == "+2.00 [−0.48, +4.48]"
    assert (ssim, specificity) == ("+0.000 [+0.000, +0.000]",) * 2


def test_another_place_is_held_against_ours_for_each_loss_and_one_seed_has_no_interval() -> None:
    ours = [cell("ce", [0.9, 0.8]), cell("rrr", [0.7])]
    earlier = [cell("ce", [0.95], "resnet18_earlier"), cell("rrr", [0.6], "resnet18_earlier")]
    found = lines(*ours, *earlier)
    assert [row[2] for row in found] == ["quick × digits × ce × 23 px", "quick × digits × rrr × 23 px"]
    assert [row[3] for row in found] == ["+5.00", "−10.00"]


def test_without_anything_tried_the_page_says_so() -> None:
    assert "No profile has results of anything else." in page([("quick", cell("ce", [0.9]))])


def test_what_can_be_tried_has_a_name() -> None:
    names = {name for choice in CHOICES for pair in choice.pairs for name in pair}
    assert names <= {*LOSSES, *BACKBONES}

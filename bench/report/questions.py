"""What a reader asks, and the claims and figures that answer it: the rows of the ledger."""

from collections.abc import Sequence
from typing import NamedTuple

from bench.names import LOSSES
from bench.report.claims.rules import RULES


class Question(NamedTuple):
    """What a reader asks, and what answers it."""

    question: str
    claims: Sequence[str]  # their sentences; the effect is that of the first that says something
    would_change: str
    figures: Sequence[str] = ()  # the kinds of figures that show it; one that several ask for is shown at the first
    of_all: bool = False  # whether one test against it is a no, and yes takes all


def _gains_more_than(*, mapless: bool) -> tuple[str, ...]:
    """The claims that a loss keeps the model from the shortcut better than controls without a map, or with one."""
    pairs = [pair for pair in RULES.controls.items() if LOSSES[pair[0]].mapless is mapless]
    return tuple(f"{guided} gains more than {control}: reliance on the decoy" for control, guided in pairs)


QUESTIONS = (
    Question(
        "Do single maps look more like their class than those of `ce`?",
        ("reconstruction improves in SSIM",),
        "a larger grid of the map, or another distance",
        ("overview", "reconstruction", "mean-maps"),
    ),
    Question(
        "Do class means look more like it than the best map that knows nothing?",
        ("reconstruction beats the floors in class-mean SSIM",),
        "a grid that can show more",
        ("reconstruction",),
    ),
    Question(
        "Do class means beat the best map that knows nothing by L1 and L2?",
        ("reconstruction beats the floors in class-mean L2", "reconstruction beats the floors in class-mean L1"),
        "a loss that is trained by the same distance",
        ("reconstruction",),
    ),
    Question(
        "Do maps lie on the object?",
        ("maps lie on the object: energy on ink",),
        "objects that fill less of the image",
        ("saliency",),
    ),
    Question(
        "Do maps lie on what the model needs?",
        ("maps lie on what the model needs: ROAD",),
        "another way of removing pixels",
        ("saliency",),
    ),
    Question(
        "Do maps fit this image, and not its class alone?",
        ("maps stay specific to the instance",),
        "a target made of the image",
        ("saliency",),
    ),
    Question("Are maps more coherent?", ("maps are more coherent",), "a baseline without templates", ("saliency",)),
    Question(
        "Is accuracy kept?",
        ("accuracy is competitive", "accuracy with the true decoy is competitive"),
        "another weight or margin; longer training",
        ("effects", "accuracy"),
    ),
    Question("Is accuracy gained?", ("accuracy improves",), "a baseline that overfits", ("accuracy", "path")),
    Question(
        "Do predictions rely less on a shortcut?",
        (
            "robustness to spurious correlations improves: reliance on the decoy",
            "spurious activation is suppressed: flip rate",
        ),
        "a shortcut of another kind; of a colour, see docs/evidence.md",
        ("conditions", "epochs", "dose"),
    ),
    Question(
        "Do maps lie less on a shortcut?",
        ("spurious activation is suppressed: decoy mass",),
        "maps by another method",
        ("examples", "saliency"),
    ),
    Question(
        "Is it the class in the target that does it?",
        _gains_more_than(mapless=False),
        "a control that keeps the model from the shortcut less well",
        ("contrasts",),
        of_all=True,
    ),
    Question(
        "Is it the map, and not any regulariser?",
        _gains_more_than(mapless=True),
        "another regulariser without a map",
        ("contrasts",),
    ),
    Question(
        "Is the overhead of a training step minimal?",
        ("overhead is minimal",),
        "another network, batch or device",
        ("timing-step", "timing-growth"),
    ),
    Question(
        "Is a forward pass with its map faster than one without?",
        ("inference time falls: below a plain forward pass",),
        "another network, batch or device",
        ("timing-maps",),
    ),
    Question(
        "Is it faster than the loop over images?",
        ("inference time falls: below the old loop over images",),
        "a batch of one",
        ("timing-maps",),
    ),
    Question(
        "Do gains hold for all networks and resolutions?",
        ("gains hold for all three backbones", "gains hold at both resolutions"),
        "the grid at full scale",
        ("effects",),
    ),
)

"""From each sentence, figure, table and algorithm of the paper, as far as they are known, to what answers it here."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from bench.report.captions import KINDS
from bench.report.claims.evidence import Setting
from bench.report.claims.verdict import Verdict
from bench.report.rendering import NONE, markdown_table


class Sentence(NamedTuple):
    """Something that the paper says or shows, in our words."""

    says: str
    where: str
    claims: Sequence[str] = ()  # the sentences of the claims that judge it
    code: str = ""  # what implements it
    sections: Sequence[str] = ()  # of a profile's page that show it, by their headings
    settings: Collection[Setting] = ()  # where it is judged, if not everywhere


_FIGURES = {kind.stem: kind.heading for kind in KINDS}
_MAPS = (_FIGURES["mean-maps"],)
_MEANS = ("reconstruction beats the floors in class-mean SSIM",)
_TIMES = ("Timing", _FIGURES["timing"])

SENTENCES = (
    Sentence(
        "accuracy and reconstruction improve at once",
        "v1, abstract",
        ("accuracy improves", *(f"reconstruction improves in {name}" for name in ("L1", "L2", "SSIM"))),
        sections=("Losses", _FIGURES["effects"]),
    ),
    Sentence("training takes less time", "v1, abstract", ("training time falls",), sections=_TIMES),
    Sentence(
        "inference takes less time",
        "v1, abstract",
        ("inference time falls: below a plain forward pass", "inference time falls: below the old loop over images"),
        sections=_TIMES,
    ),
    Sentence(
        "accuracy is competitive",
        "v2, abstract",
        ("accuracy is competitive",),
        sections=("Losses", _FIGURES["accuracy"]),
    ),
    Sentence("the overhead is minimal", "v2, abstract", ("overhead is minimal",), sections=_TIMES),
    Sentence(
        "maps are more coherent and easier to interpret",
        "v2, abstract",
        ("maps are more coherent", "maps lie on the object: energy on ink", "maps lie on what the model needs: ROAD"),
        sections=("Saliency", _FIGURES["saliency"]),
    ),
    Sentence(
        "spurious activation is suppressed",
        "v2, abstract",
        ("spurious activation is suppressed: decoy mass", "spurious activation is suppressed: flip rate"),
        sections=(_FIGURES["conditions"], _FIGURES["examples"]),
    ),
    Sentence(
        "a Prototype loss aligns each image's map with the mean of its class",
        "v2, abstract; figure 1",
        code="batchcam/losses.py: `PrototypeLoss`",
    ),
    Sentence(
        "a Batch-CAM loss enforces consistency within a batch",
        "v2, abstract; figure 1",
        code="batchcam/losses.py: `BatchCAMLoss`, in three readings",
    ),
    Sentence("both are measured by L1, L2 and SSIM", "v2, abstract", code="batchcam/distances.py"),
    Sentence(
        "mean maps of each class on MNIST, 23 px: ResNet-18 and ConvNeXt-V2",
        "figure 2",
        _MEANS,
        sections=_MAPS,
        settings={Setting("mnist", "resnet18", 23), Setting("mnist", "convnextv2_tiny", 23)},
    ),
    Sentence(
        "the same for the CNN with cross-entropy, and with the Batch-CAM prototype loss",
        "figures 3 and 4",
        _MEANS,
        sections=_MAPS,
        settings={Setting("mnist", "simple_cnn", 23)},
    ),
    Sentence(
        "the same at 112 px for ConvNeXt-V2 with L1",
        "figure 5",
        _MEANS,
        sections=_MAPS,
        settings={Setting("mnist", "convnextv2_tiny", 112)},
    ),
    Sentence(
        "the old way: hooks, and a backward pass for each image",
        "algorithm 2",
        code="batchcam/inference.py: `grad_cam_loop`",
    ),
    Sentence(
        "the new way: the gradient of the target score by the feature maps, for a batch",
        "algorithm 1",
        code="batchcam/cam.py: `grad_cam`; batchcam/inference.py: `explain`",
    ),
    Sentence("two more figures, three tables", "not known: only captions of five figures could be read"),
)


def page(answer: Callable[[str, Collection[Setting]], str], pages: Mapping[str, str]) -> str:
    """What stands in results/paper.md.

    Args:
        answer: what the verdicts of all profiles on a claim come to, in these settings, or without any in all.
        pages: README.md of each profile, the most worth first.
    """
    rows = []
    for one in SENTENCES:
        answers = {claim: answer(claim, one.settings) for claim in one.claims}
        links = [] if set(answers.values()) == {Verdict.NOT_MEASURED} else _links(one.sections, pages)
        rows.append(
            {
                "the paper says": one.says,
                "where": one.where,
                "claim": "; ".join(f"{claim}: **{found}**" for claim, found in answers.items()) or NONE,
                "artefact": "; ".join(filter(None, [one.code, *links])) or NONE,
            }
        )
    return (
        "\n\n".join(
            [
                "# From the paper to its answers",
                "What arXiv 2510.00664 says, in our words, as far as it could be read: its two abstracts, the captions"
                " of five figures and summaries by others. An answer is over all profiles that have results, as in"
                " [the ledger](README.md), where the words are explained, and of a figure over the settings that it"
                " shows; a link leads to the profile that is worth"
                " most. `make repro PROFILE=NAME` makes that profile's artefacts again.",
                markdown_table(pd.DataFrame(rows)),
            ]
        )
        + "\n"
    )


def _links(headings: Sequence[str], pages: Mapping[str, str]) -> list[str]:
    """Each section on the first page that has it."""
    found = []
    for heading in headings:
        profile = next(
            (name for name, text in pages.items() if re.search(rf"^#+ {re.escape(heading)}$", text, re.M)), ""
        )
        if profile:
            found.append(f"[{profile}: {heading[0].lower()}{heading[1:]}]({profile}/README.md#{_anchor(heading)})")
    return found


def _anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")

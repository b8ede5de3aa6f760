"""What a reader should look for in each figure, and the part of a profile's page that shows them."""

from collections.abc import Sequence
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of figure: how its files' names begin, a heading, what to see, and whether the page only links to it."""

    stem: str
    heading: str
    caption: str
    linked: bool = False


_DOTS = (
    "In dot plots, small points are seeds, the diamond is their mean with its 95 % t interval; a single seed is a plain"
    " point. An arrow at an axis is the better direction. Losses are compared seed by seed in the claims, not by"
    " whether intervals overlap."
)

#: In the order of the page. The overviews stand at its top.
KINDS = (
    Kind(
        "effects",
        "What each loss changes",
        "Does it work, and at what price? A line is a loss, its square the difference to `ce` with its interval; the"
        " arrow at each axis is the better direction. A loss is competitive in accuracy where its interval stays"
        " right of the band's left edge; there, each end is a one-sided 95 % bound. `the method` is"
        " the loss that the validation split picked, here or in `evidence`. A loss can be undecided though its interval"
        " leaves 0 out: p is corrected over the six (Holm).",
    ),
    Kind(
        "contrasts",
        "Losses against their controls",
        "Is it the class in the target that does it? A control differs from the loss above it in its target alone, or"
        " knows no map. Where the 90 % interval lies within the band, the two are equivalent (drawn is the 95 %"
        " one); where it only crosses 0, nothing can be said.",
    ),
    Kind(
        "conditions",
        "Accuracy by what the cue says",
        "How much of the accuracy is the shortcut? A model that reads the object alone has one accuracy in all four"
        " conditions. One that reads the cue falls from the first panel to the second (a random cue) and further in the"
        " third (a cue from the other end of the scale); its reliance is the fall from the first to the second. A loss"
        " helps where its reliance lies left of the grey band of `ce`, and costs something where its accuracy with a"
        " true cue does. That it is the class which helps can be said only if the controls do not do as well.",
    ),
    Kind(
        "epochs",
        "Reliance as training goes on",
        "Is the shortcut avoided, or only learned later? In each panel the loss in colour and `ce` in grey, on one"
        " scale. Lines that keep their distance say avoided; a line that climbs towards the grey one says later. Bands"
        " are 95 % t intervals over seeds.",
    ),
    Kind(
        "dose",
        "Reliance by the share of cues that are true in training",
        "How many training images have to contradict the cue before the model lets go of it by itself? A loss is worth"
        " most where `ce` still relies on the cue; where all lines meet, nothing is left to gain. The steps of the axis"
        " are not to scale.",
    ),
    Kind(
        "examples",
        "Single images with a cue, and their maps",
        "Does the map leave the outlined patch? One model per loss, and the first test image of each class; what they"
        " show need not hold for others, so the label has the mean over test images and seeds. A map that leaves the"
        " patch does not say that the prediction does: see the reliance above.",
    ),
    Kind("accuracy", "Accuracy", "Does a loss cost accuracy, or gain some? Mind the scale of each panel."),
    Kind(
        "reconstruction",
        "How near the maps come to the class",
        "A map is worth something where it beats every floor, which are maps that know nothing of the image: the"
        " strongest is one for all images, sought for the metric. No single map of the network's grid can pass the"
        " ceiling. A floor is drawn in full resolution and not on that grid, so a coarse grid can have a ceiling that"
        " is worse than the floor.",
    ),
    Kind(
        "saliency",
        "What the maps show",
        "How many predictions change when the cue alone does (flips), where a map's mass lies, how much it says of this"
        " image rather than of its class (specificity: 0 for a template), how much more alike the maps of one class are"
        " than those of different classes (coherence, which a template maximises), and whether the pixels that it names"
        " matter to the prediction (ROAD)."
        " The grey band is `ce`, the dashed line chance.",
    ),
    Kind(
        "path",
        "Accuracy and objective against the weight",
        "How strong may a regulariser be? Above, the validation accuracy should stay in the grey band of `ce`; below,"
        " the loss's own objective should fall. The chosen weight, ringed, brings the objective lowest among those"
        " whose accuracy is not below the band. A grey ring: no weight keeps the accuracy, and the least is taken.",
    ),
    Kind("timing", "Time", "Both axes are logarithmic where time is in ms; less is better throughout."),
    Kind("mean-maps", "Mean map of each class beside its prototype, for every loss", "", linked=True),
)


def section(names: Sequence[str]) -> list[str]:
    """Paragraphs of Markdown that show the figures with these names; none where there are none."""
    parts = []
    for kind in KINDS:
        here = [name for name in names if name.startswith(f"{kind.stem}-")]
        if here:
            parts += [f"### {kind.heading}", *([kind.caption] if kind.caption else [])]
            links = [f"[{name}](figures/{name}.png)" for name in here]
            parts += ["\n".join(f"* {link}" for link in links)] if kind.linked else [f"!{link}" for link in links]
    return ["## Figures", _DOTS, *parts] if parts else []

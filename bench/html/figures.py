"""The figures of the profiles inside the page: under which question, with which words, in which bytes."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from bench.names import shown
from bench.params import Params
from bench.report.captions import KINDS
from bench.report.ledger import TOO_SMALL

#: Kind → what it looks like, for those who cannot see it.
_FORMS = {
    "effects": "Forest plot",
    "contrasts": "Forest plot",
    "epochs": "Lines over epochs",
    "dose": "Lines over the share of true cues",
    "path": "Lines over the weight",
    "timing-growth": "Lines on logarithmic axes",
    "timing-maps": "Dots on logarithmic axes",
    "timing-step": "Bars with intervals",
    "overview": "Images in rows and columns",
    "mean-maps": "Images in rows and columns",
    "examples": "Images in rows and columns",
}
_MEAN_MAPS = (
    "Each class's prototype, and beside it the mean of its maps with each loss. A mean map that shows the class says"
    " that maps differ by class, not that each fits its own image."
)
#: Kinds that the captions do not tell apart, or do not name: their heading.
_HEADINGS = {
    "overview": "Mean map of each class, by backbone and loss",
    "timing-maps": "Time of a map at inference",
    "timing-step": "Time of a training step",
    "timing-growth": "How time grows with batch, resolution and classes",
}
#: Bytes of all figures as they stand in the page, which is to stay under 10 MB.
BUDGET = 6_800_000
#: How many colours figures keep, tried in turn.
LEVELS = (None, 256, 128, 64, 32)


class Figure(NamedTuple):
    """A figure of a profile."""

    name: str  # of its files
    profile: str
    kind: str
    title: str  # what it is of
    alt: str
    command: str  # what makes it
    path: Path
    width: int
    height: int


class Kind(NamedTuple):
    """Figures of one kind, and what to see in them."""

    name: str
    heading: str
    caption: str  # Markdown
    figures: list[Figure]


def found(params: Params, root: Path) -> list[Figure]:
    """All figures of a profile."""
    return [_figure(path, params) for path in sorted((root / params.results / "figures").glob("*.png"))]


def chosen(figures: Sequence[Figure]) -> list[Figure]:
    """What the page has room for: of the profile that the ledger rarely hears, times, and kinds that no other has."""
    elsewhere = {figure.kind for figure in figures if figure.profile != TOO_SMALL and "timing" not in figure.kind}
    return [figure for figure in figures if figure.profile != TOO_SMALL or figure.kind not in elsewhere]


def by_kind(figures: Sequence[Figure]) -> list[Kind]:
    """Figures by their kind, in the order of a profile's page."""
    there = {figure.kind for figure in figures}
    order = [kind for kind in _stems() if kind in there]
    kinds = [*order, *sorted(there - set(order))]
    return [Kind(kind, *_words(kind), [figure for figure in figures if figure.kind == kind]) for kind in kinds]


def embedded(figures: Sequence[Figure]) -> dict[Figure, str]:
    """Each as a data URL: as it is where all of them together stay within the budget, else with fewer colours.

    Raises:
        ValueError: they are too large even so.
    """
    for colors in LEVELS:
        urls, left = dict[Figure, str](), BUDGET
        for figure in figures:
            urls[figure] = _url(figure.path, colors)
            left -= len(urls[figure])
            if left < 0:
                break
        else:
            return urls
    raise ValueError(f"its {len(figures)} figures take more than {BUDGET:,} bytes")


def _url(path: Path, colors: int | None) -> str:
    """Lossless WebP, which is a third smaller than PNG, and half of that with 256 colours."""
    packed = io.BytesIO()
    with Image.open(path) as image:
        picture = image.convert("RGB")
        if colors is not None:
            picture = picture.quantize(colors, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).convert("RGB")
        # All figures with 64 colours: 7.1 MB in 2 s by quality 20 and method 1, 5.9 in 4 so, 5.7 in 250 by 100 and 6.
        picture.save(packed, "WEBP", lossless=True, quality=50, method=2)
    return f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}"


def _stems() -> list[str]:
    """How the names of figures begin: by the captions, with the overviews, and the three figures of times apart."""
    times = [name for name in _HEADINGS if name.startswith("timing-")]
    return ["overview", *(stem for kind in KINDS for stem in (times if kind.stem == "timing" else [kind.stem]))]


def _figure(path: Path, params: Params) -> Figure:
    name = path.stem
    kind = next((stem for stem in _stems() if name.startswith(f"{stem}-")), name)
    of = _setting(name.removeprefix(kind).removeprefix("-")) or "all backbones"
    heading, _ = _words(kind)
    alt = f"{_FORMS.get(kind, 'Dot plots')}. {heading}: {of}, profile {params.profile}. The tables hold its numbers."
    file = "params.yaml" if params.profile == "quick" else f"profiles/{params.profile}/params.yaml"
    with Image.open(path) as image:
        width, height = image.size
    return Figure(name, params.profile, kind, of, alt, f"python -m bench report --params {file}", path, width, height)


def _words(kind: str) -> tuple[str, str]:
    """Heading and caption of a kind of figure."""
    captions = {known.stem: known for known in KINDS}
    known = captions.get("timing" if kind.startswith("timing-") else kind)
    heading = _HEADINGS.get(kind) or (known.heading if known else kind.replace("-", " ").capitalize())
    return heading, (known.caption if known else "") or (_MEAN_MAPS if kind in ("overview", "mean-maps") else "")


def _setting(stem: str) -> str:
    """ "digits-simple_cnn-20" in words."""
    parts = [f"{part} px" if part.isdigit() else shown(part) for part in stem.split("-") if part]
    return ", ".join({"cpu": "CPU", "cuda": "GPU"}.get(part, part) for part in parts)

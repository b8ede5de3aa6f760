"""Cues: what names the label in training, and misleads in the test.

A decoy is a grey patch in a corner (`decoys`), a colour is that of the whole image (`colors`). A split keeps its images
as they are without, and what the cue of each shows; `pictures` puts the two together.
"""

import torch
from torch import Tensor

from bench.cell import colors, decoys
from bench.cell.data import NUM_CLASSES, Split


def pictures(split: Split) -> Tensor:
    """The images as a model sees them: uint8 (N,28,28), or (N,3,28,28) in colours."""
    if split.shown is None:
        return split.images
    if split.corners is None:
        return colors.paint(split.images, split.shown)
    return decoys.paint(split.images, split.corners, split.shown)


def naming(labels: Tensor, corners: Tensor | None) -> Tensor:
    """What a cue shows that names these labels, uint8 (N,): a grey, or without corners a colour."""
    return labels.to(torch.uint8) if corners is None else decoys.grey(labels)


def under(split: Split, condition: str) -> Split:
    """A split with cues as one of `bench.names.CONDITIONS` has it.

    Reversed is the other end of the scale: the grey 25 · label, which is CDEP's test (Rieger et al. 2020, arXiv
    1909.13584), or the colour of 9 − label.
    """
    labels = split.labels
    match condition:
        case "true":
            return split._replace(shown=naming(labels, split.corners))
        case "decoy":
            return split
        case "reversed":
            opposite = NUM_CLASSES - 1 - labels if split.corners is None else 25 * labels
            return split._replace(shown=opposite.to(torch.uint8))
        case _:
            return without(split)


def without(split: Split) -> Split:
    """A split without its cues, where it has any; instead of a colour its images are white."""
    if split.shown is not None and split.corners is None:
        return split._replace(shown=torch.full_like(split.shown, colors.WHITE))
    return Split(split.images, split.labels)


def naming_another(split: Split, generator: torch.Generator) -> Split:
    """A split whose cues each name one of the nine other labels than they did, each as likely."""
    assert split.shown is not None
    named = split.shown.long() if split.corners is None else decoys.named(split.shown)
    other = (named + torch.randint(1, NUM_CLASSES, named.shape, generator=generator)) % NUM_CLASSES
    return split._replace(shown=naming(other, split.corners))

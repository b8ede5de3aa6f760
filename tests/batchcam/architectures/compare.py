"""One row: the map of `batchcam` against Grad-CAM by its definition, finite differences, the loop and the peers.

All in float64 and eval mode (but for a row in training mode, which is refused), with random weights.
"""

import contextlib
import re
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import batchcam
from batchcam.layouts import Layout

from . import definition
from .definition import EQUAL, ROUGHLY_EQUAL, choose_targets, difference, differentiated, score_of, trained
from .models import build
from .ours import captured, elsewhere, refusal
from .peers import PEERS, compare_peer
from .rows import ROWS, Row

NUM_IMAGES = 2

#: Bounds on one row. The longest takes a minute of one core, and 3 GB.
SECONDS, GIGABYTES = 1800, 8.0

#: What a row found, as JSON has it.
Found = dict[str, Any]


def compare(row: Row, thorough: bool = True) -> Found:
    """What the row shows: `refused`, a sentence, or a relative difference for each comparison.

    Thorough: other layers of the model, and the other libraries, too.
    """
    torch.manual_seed(0)
    model, layer = build(row)
    images = torch.rand(NUM_IMAGES, 3, *row.size, dtype=torch.float64)
    layout = row.layout.function if row.layout else None
    if row.refused is not None:
        return {"refused": refusal(model, layer, layout, images)}

    with torch.no_grad():
        model(images)  # timm's EfficientFormer keeps part of its attention, which would be part of the first graph
    targets, A = choose_targets(model, layer, layout, images)
    alone = expected = definition.grad_cam(model, layer, layout, images, targets)
    found: Found = {"shape": list(A.shape[1:]), "alone": 0.0}
    found["finite differences"] = definition.finite_differences(model, layer, layout, images, targets, alone)
    if found["finite differences"] > ROUGHLY_EQUAL:  # then torch is wrong of an image alone
        expected = definition.grad_cam(model, layer, layout, images, targets, copies=2)
        found["finite differences"] = definition.finite_differences(model, layer, layout, images, targets, expected)
        found["alone"] = difference(alone, expected)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found["maps"] = max(
            difference(batchcam.explain(model, layer, images, targets, relu=False, layout=layout)[1], expected),
            difference(captured(model, layer, layout, images, targets), expected),
        )
        loop = batchcam.grad_cam_loop(model, layer, images, targets, layout=layout)
        found["loop"] = difference(loop, alone.relu(), scale=alone)
    found["warned"] = sorted({str(w.message) for w in caught if Path(w.filename).parent == Path(__file__).parent})

    found["gradients"], of_one = compare_gradients(model, layer, layout, images, targets, expected)
    found["alone"] = max(found["alone"], of_one)
    if layout is not None:
        found["without layout"] = refusal(model, layer, None, images)
    if thorough:
        found["peers"] = {name: compare_peer(name, model, layer, layout, images, targets, expected) for name in PEERS}
        found["elsewhere"] = elsewhere(model, layer, images, targets)
    return found


def compare_gradients(
    model: nn.Module, layer: nn.Module, layout: Layout | None, images: Tensor, targets: Tensor, expected: Tensor
) -> tuple[float | str, float]:
    """How far the parameters' gradients are from the definition's, or what torch cannot differentiate twice.

    Fused attention is among the latter, so attention is computed step by step. And how far torch's gradients of an
    image alone are from those of the image beside its copy, looked at where the former differ from ours.
    """
    largest = expected.abs().max()

    def ours() -> list[Tensor]:
        maps = captured(model, layer, layout, images, targets, create_graph=True)
        return differentiated(score_of(maps, largest), trained(model))

    with sdpa_kernel(SDPBackend.MATH):
        try:
            theirs = definition.gradients(model, layer, layout, images, targets, largest)
        except RuntimeError as error:
            missing = re.search(r"derivative for aten::(\w+?)(_backward)? is not implemented", str(error))
            if missing is None:
                raise
            with contextlib.suppress(RuntimeError):
                ours()
                raise AssertionError(f"gradients without {missing[0]}") from error
            return missing[1], 0.0
        off = furthest(ours(), theirs)
        if off < EQUAL:
            return off, 0.0
        beside = definition.gradients(model, layer, layout, images, targets, largest, copies=2)
        return furthest(ours(), beside), furthest(theirs, beside)


def furthest(actual: list[Tensor], expected: list[Tensor]) -> float:
    scale = torch.stack([g.abs().max() for g in expected])
    return max(difference(a, b, scale) for a, b in zip(actual, expected, strict=True))


def bounded(name: str) -> Found:
    """`compare` of the row with this name, or an `error` where it fails, takes too long or needs too much memory."""
    (row,) = (row for row in ROWS if row.name == name)
    try:
        with at_most(SECONDS, GIGABYTES):
            return compare(row)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


@contextlib.contextmanager
def at_most(seconds: int, gigabytes: float) -> Iterator[None]:
    """Raise TimeoutError or MemoryError (torch: RuntimeError) beyond; where the platform knows neither, do nothing."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"took longer than {seconds} s")

    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 2**30),) * 2)
        signal.signal(signal.SIGALRM, stop)
        signal.alarm(seconds)
    except (ImportError, AttributeError):
        yield
        return
    try:
        yield
    finally:
        signal.alarm(0)

"""docs/architectures.md, made of what the rows found."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from tabulate import tabulate

from .compare import Found
from .definition import EQUAL, ROUGHLY_EQUAL
from .judge import wrong
from .peers import PEERS, limit
from .rows import Row

TEXT = """# Architectures

Does `batchcam` give the right map for a network that it was not written for, and which layer and layout does that
network need? Here it is tried on {models} models of torchvision and timm, at {count} layers, with random weights, in
float64 and eval mode, two images each. `make architectures` generates this page; interrupted, it goes on where it was.

What was found:

{summary}

## Maps

The images are small, and not square where the model allows it, so that exchanged height and width show. A layout's
grid is that of the image: `tokens(4, 6)` for patches of 16 px in 64×96 is `tokens(14, 14)` in 224×224. Every number is
the largest difference, relative to the largest value.

* **maps**: `explain`, and `capture` with `grad_cam`, against Grad-CAM by its definition: one image at a time, a hook
  that keeps the layer's output, a full backward pass, the sum over the channels written out.
* **loop**: `grad_cam_loop` against the same.
* **gradients**: the gradients of the parameters, of a function of the maps made with `create_graph=True`, against those
  of the definition; or the operation that torch cannot differentiate twice: there training with maps raises an
  error, and maps without `create_graph` work.
* **no derivative**: the maps against finite differences: α_k is what the logit gains when all of A_k is raised. Two
  places of each map.
* **captum**, **pytorch-grad-cam**, **torch-cam**: ✓ if equal to the definition ({equal:g}; pytorch-grad-cam, which puts
  out float32, resized and normalised, {roughly:g}). *In place*: off by this much, since an operation behind the layer
  works in place and changes what the library recorded; right once nothing works in place.
* **elsewhere**: `explain` and `capture` at up to six other layers of the model, among them such as return their own
  input: how many are right, and how many are refused or warned of with a sentence.

{table}

Every layer with a layout was also tried without one: each is refused or warned of, with a sentence. Where a transformer
reads the class from one token, the patch tokens behind its last block have no gradient: take the norm in front of the
last attention, or an earlier block.

{alone}## Refused, or warned of

What is no warning is an error; where `explain` and `capture` with `grad_cam` say it differently, both are here.

{refused}
{elsewhere}
Made with {versions}.
"""


def page(rows: Sequence[Row], results: Sequence[Found], versions: Mapping[str, str]) -> str:
    """The page in Markdown, for the rows in their order."""
    both = list(zip(rows, results, strict=True))
    shown = [(row, found) for row, found in both if row.refused is None]
    return TEXT.format(
        models=len({(row.library, row.model) for row in rows}),
        count=len({(row.library, row.model, row.layer) for row in rows}),
        summary=summary(rows, results),
        equal=EQUAL,
        roughly=ROUGHLY_EQUAL,
        table=table(
            [
                {
                    **place(row),
                    "px": row.pixels.removesuffix(" px"),
                    "K×h×w": "×".join(map(str, found["shape"])),
                    "maps": f"{found['maps']:.0e}" + (" †" if found["alone"] else ""),
                    "loop": f"{found['loop']:.0e}",
                    "gradients": gradients_cell(found["gradients"]),
                    "no derivative": f"{found['finite differences']:.0e}",
                    **{name: peer_cell(name, found["peers"][name]) for name in PEERS},
                    "elsewhere": elsewhere_cell(found["elsewhere"]),
                }
                for row, found in shown
            ]
        ),
        alone=alone([(row, found) for row, found in shown if found["alone"]]),
        refused=table([{**place(row), "the sentence": found["refused"]} for row, found in both if row.refused]),
        elsewhere=elsewhere_list([found for _, found in shown]),
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
    )


def summary(rows: Sequence[Row], results: Sequence[Found]) -> str:
    """What the rows found, counted."""
    both = list(zip(rows, results, strict=True))
    shown = [(row, found) for row, found in both if row.refused is None]
    num_wrong = sum(bool(wrong(row, found)) for row, found in both)
    num_right = sum(not wrong(row, found) for row, found in shown)
    lines = [
        f"* `batchcam`: {num_right} rows right, {len(rows) - num_right - num_wrong} refused or warned of as they should"
        f" be, {num_wrong} silently wrong. Largest difference of a map {max(f['maps'] for _, f in shown):.0e}, of the"
        f" parameters' gradients {max(g for _, f in shown if not isinstance(g := f['gradients'], str)):.0e}."
    ]
    for name in PEERS:
        kinds = Counter(kind(name, found["peers"][name]) for _, found in shown)
        lines.append(
            f"* {name}: {kinds['right']} right, {kinds['in place']} wrong because of an operation in place,"
            f" {kinds['wrong']} wrong for another reason, {kinds['none']} without a map."
        )
    counted = {
        "that it warns of (a 1×1 map)": [row for row, found in shown if found["warned"]],
        "that cannot train with maps, since torch lacks a second derivative": [
            row for row, found in shown if isinstance(found["gradients"], str)
        ],
        "where torch itself is wrong of one image alone (†)": [row for row, found in shown if found["alone"]],
    }
    for what, these in counted.items():
        names = ", ".join(f"{row.model} at {row.pixels}" for row in these)
        lines.append(f"* Among the rows that are right, {len(these)} {what}" + (f": {names}." if these else "."))
    right = sum(found["elsewhere"]["right"] for _, found in shown)
    refused = sum(len(found["elsewhere"]["refused"]) for _, found in shown)
    bad = sum(len(found["elsewhere"]["wrong"]) for _, found in shown)
    lines.append(
        f"* `batchcam` at other layers of these models: {right} right, {refused} refused or warned of, {bad} wrong."
    )
    return "\n".join(lines)


def place(row: Row) -> dict[str, str]:
    """The first cells of a line."""
    return {
        "model": f"{row.model} ({row.library})" + (", training mode" if row.mode == "train" else ""),
        "layer": f"`{row.layer}`",
        "layout": f"`{row.layout.name}`" if row.layout else "",
    }


def gradients_cell(found: float | str) -> str:
    return f"no ({found})" if isinstance(found, str) else f"{found:.0e}"


def kind(name: str, found: Found) -> str:
    if "fails" in found:
        return "none"
    if found["off"] < limit(name):
        return "right"
    return "in place" if found.get("in_place") else "wrong"


def peer_cell(name: str, found: Found) -> str:
    return {
        "none": str(found.get("fails")).replace("|", "\\|")[:80],
        "right": "✓",
        "in place": f"{found.get('off', 0):.2g} in place",
        "wrong": f"{found.get('off', 0):.2g}",
    }[kind(name, found)]


def alone(rows: Sequence[tuple[Row, Found]]) -> str:
    """What torch gets wrong of an image alone."""
    if not rows:
        return ""
    models = ", ".join(f"{row.model} {found['alone']:.1g}" for row, found in rows)
    return (
        "† An error of torch: on the CPU BatchNorm's gradient is wrong for a batch of one where the gradient of the"
        " output comes transposed, as it does from `flatten(2).transpose(1, 2)`. So of one image alone, whatever runs a"
        " backward pass is off there, in the map or in the parameters' gradients, also the loop and the other libraries"
        f" ({models}). From two images on `batchcam` is right, compared with each image beside its copy; the loop is"
        " compared with the image alone. To explain one image, pass it twice.\n\n"
    )


def elsewhere_cell(found: Found) -> str:
    counts = {"right": found["right"], "refused": len(found["refused"]), "wrong": len(found["wrong"])}
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def elsewhere_list(results: Sequence[Found]) -> str:
    """The sentences with which other layers were refused; layers of other shapes get the same sentence."""
    sentences = Counter(
        re.sub(r"\([\d, ]+\)", "(…)", sentence)
        for found in results
        for sentence in found["elsewhere"]["refused"].values()
    )
    items = "\n".join(f"* {sentence} ({times}×)" for sentence, times in sentences.most_common())
    return f"\nAnd at other layers of the models above:\n\n{items}\n" if items else ""


def table(lines: Sequence[Mapping[str, str]]) -> str:
    return tabulate(lines, headers="keys", tablefmt="github", disable_numparse=True)

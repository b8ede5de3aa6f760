"""Class activation maps of a batch, from the activations of a layer and the logits that depend on them.

Σ_i y[i, target_i] is differentiated once for the whole batch. Row i of that gradient is image i's own as long as
nothing after the layer mixes samples (eval mode, or no train-mode BatchNorm there).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from batchcam.checks import check_choice, check_class_indices, check_float, warn
from batchcam.layouts import Layout, arranged, looks_channels_last
from batchcam.precision import UNCHANGED, full_precision, no_autocast
from batchcam.recording import origin_of

Method = Literal["grad_cam", "hires_cam", "layer_cam"]


def grad_cam(
    activations: Tensor,
    logits: Tensor,
    targets: Tensor | Literal["all"],
    create_graph: bool = False,
    relu: bool = True,
    *,
    method: Method = "grad_cam",
    layout: Layout | None = None,
) -> Tensor:
    """Grad-CAM of a whole batch: with g = ∂y_c/∂A, by method,

        "grad_cam"   M = ReLU(Σ_k α_k A_k), α_k = mean over h,w of g_k   Selvaraju et al. 2017, arXiv 1610.02391
        "hires_cam"  M = ReLU(Σ_k g_k ⊙ A_k)                             Draelos and Carin 2020, arXiv 2011.08891
        "layer_cam"  M = ReLU(Σ_k ReLU(g_k) ⊙ A_k)                       Jiang et al. 2021, doi 10.1109/TIP.2021.3089943

    Args:
        activations: A, (N,K,h,w) or what the layout makes that of, from `capture`.
        logits: y, (N,C), computed from those activations; any scores will do (docs/scores.md).
        targets: the class c of each image, (N,) long; or "all" for every class.
        create_graph: let gradients flow through the maps into the parameters, through A and through g.
        relu: False leaves the negative evidence in, and out the outer ReLU.
        method: one of the three above.
        layout: brings activations and their gradient to (N,K,h,w), see `batchcam.layouts`; None for the layout that
            the activations were captured with.

    Returns:
        Raw maps (N,h,w), or (N,C,h,w) for "all", ≥ 0 (with `relu`), float32 (float64 stays float64). Without
        `create_graph` they carry no graph. The graph of the logits is kept: it can still be differentiated.

    Raises:
        TypeError, ValueError: tensors of other shapes or dtypes; a target out of range; an unknown method; logits that
            do not depend on the activations; with `create_graph`, activations that were recorded under `no_grad`.
        RuntimeError: the model was changed in place meanwhile, or the graph of the logits freed; with `create_graph`,
            compiled code behind the layer.

    Example:
        >>> with batchcam.capture(model.layer4) as captured:
        ...     logits = model(images)
        >>> maps = batchcam.grad_cam(captured.activations, logits, labels, create_graph=True)
        >>> maps.square().mean().backward()
    """
    origin = origin_of(activations)
    layout = layout or origin.layout
    check_activations(activations, layout)
    check_float("logits", logits, "(N,C)")
    check_choice("method", method, METHODS)
    if len(logits) != len(activations):
        raise ValueError(f"activations {tuple(activations.shape)} and logits {tuple(logits.shape)} differ in N")
    if not isinstance(targets, str):
        check_class_indices("targets", targets, *logits.shape)
    elif targets != "all":
        raise ValueError(f"targets must be a long tensor (N,) or 'all', got {targets!r}")
    if create_graph and activations.is_leaf and not origin.frozen:
        found = "these were recorded under no_grad (or detached): the backbone would get no gradient"
        raise ValueError(f"create_graph needs activations with a graph behind them, but {found}")
    maps = partial(raw_maps, create_graph=create_graph, relu=relu, method=method, layout=layout)
    # Without create_graph nothing here has a graph, whatever the mode.
    with no_autocast(activations), torch.enable_grad() if create_graph else UNCHANGED:
        if not isinstance(targets, str):
            return maps(activations, logits, targets)
        classes = torch.arange(logits.shape[1], device=logits.device)
        return torch.stack([maps(activations, logits, c.expand(len(logits))) for c in classes], dim=1)


def raw_maps(
    output: Tensor,
    logits: Tensor,
    targets: Tensor,
    *,
    create_graph: bool,
    relu: bool,
    method: Method,
    layout: Layout | None,
    others: Sequence[Tensor] = (),
) -> Tensor:
    """The maps (N,h,w) of `grad_cam`; the logits are differentiated by `others` as well, and that thrown away."""
    gradient = None
    if logits.requires_grad and output.requires_grad:
        # ∂ Σ_i y[i, target_i] / ∂output
        chosen = torch.zeros_like(logits).scatter_(1, targets.unsqueeze(1), 1.0)
        inputs = [output, *others] if others else output  # of a list torch first asks whether it is a mapping: 5 µs
        try:
            gradient, *_ = torch.autograd.grad(
                logits, inputs, chosen, retain_graph=True, create_graph=create_graph, allow_unused=True
            )
        except RuntimeError as error:
            for words, reason in REASONS.items():
                if words in str(error):
                    raise RuntimeError(reason) from error
            raise
    if gradient is None:
        needed = "both must come from one forward pass of the model, and not under inference_mode (there, use explain)"
        raise ValueError(f"the logits do not depend on the activations {tuple(output.shape)} in autograd: {needed}")
    A, g = output if create_graph else output.detach(), gradient
    if layout is not None:
        A, g = arranged(layout, "activations", A), arranged(layout, "the gradient", g)
        if g.numel() and not g.any():
            warn(
                f"the logits do not change with what the layout takes from the activations {tuple(output.shape)}: every"
                " map is zero. After a transformer's last block only its class token counts: choose an earlier layer"
            )
    M = METHODS[method](full_precision(A), full_precision(g))
    return M.relu() if relu else M


def check_activations(activations: Tensor, layout: Layout | None) -> None:
    """Raise unless activations can be brought to (N,K,h,w); warn where their maps would mean little."""
    A = arranged(layout, "activations", activations)
    if A.shape[2:] == (1, 1):
        warn("the activations are 1×1, so a map is one number and normalises to zero: choose an earlier layer")
    suspected = origin_of(activations).channels_last
    if layout is None and (looks_channels_last(A) if suspected is None else suspected):
        hint = "pass layout=batchcam.layouts.channels_last, or, if they are (N,K,h,w), layout=lambda A: A"
        warn(f"the activations {tuple(A.shape)} look like (N,h,w,K): {hint}")


def _grad_cam(A: Tensor, g: Tensor) -> Tensor:
    alpha = g.mean((2, 3))
    return torch.bmm(alpha.unsqueeze(1), A.flatten(2)).view(len(A), *A.shape[2:])


#: What torch says of a gradient, and why.
REASONS = {
    "inplace operation": "the model was changed in place since it ran: make maps before optimizer.step(), and where"
    " another thread trains the model, explain a copy of it",
    "the graph a second time": "the graph of the logits was freed, as backward() does: make maps before backward()",
    "leaf Variable": "torch.compile's code cannot be differentiated twice: compile the model only up to the layer",
}

#: A, g (N,K,h,w) → M before its ReLU.
METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "grad_cam": _grad_cam,
    "hires_cam": lambda A, g: (g * A).sum(1),
    "layer_cam": lambda A, g: (g.relu() * A).sum(1),
}

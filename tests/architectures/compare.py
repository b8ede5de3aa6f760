"""One row: the map of `batchcam` against Grad-CAM by its definition, finite differences, the loop and the peers.

All in float64 and eval mode (but for a row in training mode, which is refused), with random weights. A difference is
the largest over the largest value of the map before its ReLU, or of the gradients over the largest of them.
"""

import contextlib
import signal
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import timm
import torch
import torchvision
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM as PytorchGradCam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchcam.methods import GradCAM as TorchCam

import batchcam

from .rows import ROWS, Row

NUM_CLASSES = 10
NUM_IMAGES = 2

#: Largest relative difference that counts as equal, for maps and for parameter gradients in float64.
EQUAL = 1e-10
#: Of finite differences, and of pytorch-grad-cam, which puts out float32.
ROUGHLY_EQUAL = 1e-5

NOT_REFUSED = "it was not refused"

PEERS = ("captum", "pytorch-grad-cam", "torch-cam")

#: Bounds on one row. The longest takes a minute of one core, and 3 GB.
SECONDS, GIGABYTES = 1800, 8.0

Layout = Callable[[Tensor], Tensor]
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

    targets, expected, shape = choose_targets(model, layer, layout, images)
    found: Found = {"shape": shape}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found["maps"] = max(
            difference(batchcam.explain(model, layer, images, targets, relu=False, layout=layout)[1], expected),
            difference(captured(model, layer, layout, images, targets), expected),
        )
        found["loop"] = difference(
            batchcam.grad_cam_loop(model, layer, images, targets, layout=layout), expected.relu(), scale=expected
        )
    found["warned"] = sorted({str(w.message) for w in caught if issubclass(w.category, UserWarning)})
    found["finite differences"] = finite_differences(model, layer, layout, images, targets, expected)
    found["gradients"] = gradients(model, layer, layout, images, targets, expected.abs().max())
    if layout is not None:
        found["without layout"] = refusal(model, layer, None, images)
    if thorough:
        found["peers"] = {name: peer(name, model, layer, layout, images, targets, expected) for name in PEERS}
        found["elsewhere"] = elsewhere(model, layer, images, targets)
    return found


def wrong(row: Row, found: Found) -> list[str]:
    """What is silently wrong in what a row found: nothing may be."""
    if row.refused is not None:
        return [] if row.refused in found["refused"] and NOT_REFUSED not in found["refused"] else [found["refused"]]
    faults = [
        f"{what}: off by {found[what]:.2g}"
        for what, limit in (
            ("maps", EQUAL),
            ("loop", EQUAL),
            ("gradients", EQUAL),
            ("finite differences", ROUGHLY_EQUAL),
        )
        if not found[what] < limit
    ]
    if NOT_REFUSED in found.get("without layout", ""):
        faults.append("without the layout it is not refused")
    return faults + [f"{name}: {what}" for name, what in found.get("elsewhere", {"wrong": {}})["wrong"].items()]


def build(row: Row) -> tuple[nn.Module, nn.Module]:
    if row.library == "timm":
        model = timm.create_model(row.model, num_classes=NUM_CLASSES, **row.options)
    else:
        model = torchvision.models.get_model(row.model, weights=None, num_classes=NUM_CLASSES, **row.options)
    return disturb(narrow(model)).double().train(row.mode == "train"), model.get_submodule(row.layer)


def narrow(model: nn.Module, hidden: int = 4096, to: int = 256) -> nn.Module:
    """Give AlexNet's and VGG's classifier fewer hidden units: a gigabyte of weights would show nothing more."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and hidden in (module.in_features, module.out_features):
            inputs, outputs = (to if n == hidden else n for n in (module.in_features, module.out_features))
            model.set_submodule(name, nn.Linear(inputs, outputs))
    return model


def disturb(model: nn.Module) -> nn.Module:
    """Move every bias, scale and statistic from where a fresh model has it.

    Many start with zeros (the last norm of a residual block, layer scale, the head), behind which a map is zero or does
    not show what was left out of it.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim <= 1 or parameter.min() == parameter.max():
                parameter += torch.empty_like(parameter).uniform_(-0.3, 0.3)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                module.running_mean.uniform_(-0.3, 0.3)
                module.running_var.uniform_(0.5, 2)
    return model


def difference(actual: Tensor, expected: Tensor, scale: Tensor | None = None) -> float:
    """Largest difference over the largest value, of `expected` or of `scale`."""
    if actual.shape != expected.shape:
        raise ValueError(f"shape {tuple(actual.shape)} for {tuple(expected.shape)}")
    largest = float((expected if scale is None else scale).detach().abs().max())
    if not 0 < largest < float("inf"):
        raise ValueError("the expected map is zero or not finite: nothing would be compared")
    return float((actual - expected).detach().abs().max()) / largest


def refusal(model: nn.Module, layer: nn.Module, layout: Layout | None, images: Tensor) -> str:
    """The sentence that `explain` and `capture` both refuse with, or what they did instead."""
    sentences = []
    for attempt in (
        lambda: batchcam.explain(model, layer, images, torch.zeros(NUM_IMAGES).long(), layout=layout),
        lambda: captured(model, layer, layout, images, torch.zeros(NUM_IMAGES).long()),
    ):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                attempt()
        except (TypeError, ValueError, UserWarning) as error:
            sentences.append(str(error))
        else:
            sentences.append(NOT_REFUSED)
    return " / ".join(dict.fromkeys(sentences))


# Grad-CAM by its definition, without anything of batchcam


def choose_targets(
    model: nn.Module, layer: nn.Module, layout: Layout | None, images: Tensor
) -> tuple[Tensor, Tensor, list[int]]:
    """For each image a class whose map has something positive to show; the maps before ReLU; the shape of A."""
    with hooked(layer, keep := Keep()):
        logits = model(images)
    A = keep.output.detach() if layout is None else layout(keep.output.detach())
    targets = []
    for i in range(NUM_IMAGES):
        for target in range(3 + 4 * i, 3 + 4 * i + NUM_CLASSES):
            (gradient,) = torch.autograd.grad(logits[i, target % NUM_CLASSES], keep.output, retain_graph=True)
            gradient = gradient if layout is None else layout(gradient)
            cam = (gradient.mean((2, 3), keepdim=True) * A).sum(1)[i]
            if cam.max() > 0.1 * cam.abs().max():
                break
        targets.append(target % NUM_CLASSES)
    del logits, keep
    maps = [by_definition(model, layer, layout, image, target) for image, target in zip(images, targets, strict=True)]
    return torch.tensor(targets), torch.stack(maps), list(A.shape[1:])


def by_definition(model: nn.Module, layer: nn.Module, layout: Layout | None, image: Tensor, target: int) -> Tensor:
    """One image, a hook that keeps the output, a full backward pass, and the sum written out; (h,w) before ReLU."""
    with hooked(layer, keep := Keep()):
        score = model(image[None])[0, target]
    keep.output.retain_grad()
    score.backward()
    model.zero_grad()
    A, gradient = keep.output.detach(), keep.output.grad
    if layout is not None:
        A, gradient = layout(A), layout(gradient)
    cam = torch.zeros_like(A[0, 0])
    for k in range(A.shape[1]):
        cam += gradient[0, k].mean() * A[0, k]
    return cam


class Keep:
    """A forward hook that keeps the output; what is behind the layer reads a copy, and cannot change what was kept."""

    output: Tensor

    def __call__(self, module: nn.Module, args: object, output: Tensor) -> Tensor:
        self.output = output.clone()
        return self.output.clone()


@contextlib.contextmanager
def hooked(layer: nn.Module, hook: Callable[..., object]) -> Iterator[None]:
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def finite_differences(
    model: nn.Module, layer: nn.Module, layout: Layout | None, images: Tensor, targets: Tensor, expected: Tensor
) -> float:
    """The same without any derivative: α_k is what y gains when all of A_k is raised, so M at a place p is

        M[p] = (y(A + tV) − y(A − tV)) / (2t hw),   V_k = A_k[p] everywhere

    Two places of each map.
    """
    h, w = expected.shape[1:]
    t = 1e-6
    places = [(p // w, p % w) for p in np.unique(np.linspace(0, h * w - 1, 2).astype(int))]
    worst = 0.0
    for p in places:
        y = []
        for step in (t, -t):

            def raise_channels(module: nn.Module, args: object, output: Tensor, step: float = step) -> Tensor:
                A = output if layout is None else layout(output)
                V = A[:, :, p[0], p[1], None, None].expand_as(A)  # noqa: B023
                if layout is not None:  # back to the layer's own layout: a layout only moves values
                    with torch.enable_grad():
                        zeros = torch.zeros_like(output).requires_grad_()
                        (V,) = torch.autograd.grad((layout(zeros) * V).sum(), zeros)
                return output + step * V

            with torch.no_grad(), hooked(layer, raise_channels):
                y.append(model(images)[range(NUM_IMAGES), targets])
        M = (y[0] - y[1]) / (2 * t * h * w)
        worst = max(worst, difference(M, expected[:, p[0], p[1]], scale=expected))
    return worst


# Parameter gradients


def captured(
    model: nn.Module,
    layer: nn.Module,
    layout: Layout | None,
    images: Tensor,
    targets: Tensor,
    create_graph: bool = False,
) -> Tensor:
    """The maps before ReLU, as a training loop gets them."""
    with batchcam.capture(layer, layout=layout) as recorded:
        logits = model(images)
    return batchcam.grad_cam(recorded.activations, logits, targets, create_graph=create_graph, relu=False)


def gradients(
    model: nn.Module, layer: nn.Module, layout: Layout | None, images: Tensor, targets: Tensor, largest: Tensor
) -> float:
    """How far the gradients of a function of the maps are from those of the definition, one image at a time."""
    parameters = [p for p in model.parameters() if p.requires_grad]

    def of(maps: Tensor) -> list[Tensor]:
        maps = maps / largest
        weights = torch.linspace(-1, 2, maps[0].numel(), dtype=maps.dtype).reshape(maps.shape[1:])
        score = (weights * maps.square()).sum() + maps.relu().sum()
        return list(torch.autograd.grad(score, parameters, allow_unused=True, materialize_grads=True))

    expected = [torch.zeros_like(p) for p in parameters]
    for image, target in zip(images, targets, strict=True):
        with hooked(layer, keep := Keep()):
            y = model(image[None])[0, target]
        A = keep.output
        (gradient,) = torch.autograd.grad(y, A, create_graph=True)
        if layout is not None:
            A, gradient = layout(A), layout(gradient)
        cam = sum(gradient[0, k].mean() * A[0, k] for k in range(A.shape[1]))
        expected = [e + part for e, part in zip(expected, of(cam[None]), strict=True)]
    actual = of(captured(model, layer, layout, images, targets, create_graph=True))
    scale = torch.stack([e.abs().max() for e in expected])
    return max(difference(a, e, scale) for a, e in zip(actual, expected, strict=True))


# The other libraries


def peer(
    name: str,
    model: nn.Module,
    layer: nn.Module,
    layout: Layout | None,
    images: Tensor,
    targets: Tensor,
    expected: Tensor,
) -> Found:
    """`off`, a relative difference, or `fails`, how; `in_place`: right once nothing works in place."""
    if name == "captum" and layout is not None:
        return {"fails": "has no layouts"}
    run = {"captum": captum_map, "torch-cam": torch_cam_map, "pytorch-grad-cam": pytorch_grad_cam_map}[name]
    try:
        off = run(model, layer, layout, images, targets, expected)
    except Exception as error:
        return {"fails": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    finally:
        model.zero_grad()
    if off < limit(name):
        return {"off": off}
    with torch.no_grad():
        logits = model(images)
        with OutOfPlace():
            same = torch.equal(model(images), logits)
    if not same:
        return {"off": off}
    with OutOfPlace():
        return {"off": off, "in_place": run(model, layer, layout, images, targets, expected) < limit(name)}


def limit(name: str) -> float:
    return ROUGHLY_EQUAL if name == "pytorch-grad-cam" else EQUAL


def captum_map(
    model: nn.Module, layer: nn.Module, layout: Layout | None, images: Tensor, targets: Tensor, expected: Tensor
) -> float:
    return difference(LayerGradCam(model, layer).attribute(images, target=targets)[:, 0], expected)


def torch_cam_map(
    model: nn.Module, layer: nn.Module, layout: Layout | None, images: Tensor, targets: Tensor, expected: Tensor
) -> float:
    with TorchCam(model, layer, reshape_transform=layout) as theirs:
        (maps,) = theirs(targets.tolist(), model(images), normalized=False)
    return difference(maps, expected.relu(), expected)


def pytorch_grad_cam_map(
    model: nn.Module, layer: nn.Module, layout: Layout | None, images: Tensor, targets: Tensor, expected: Tensor
) -> float:
    """It normalises each map, resizes it bilinearly and normalises again, with ε = 1e-7 in place of a least range."""

    def min_max(maps: Tensor) -> Tensor:
        maps = maps - maps.amin((1, 2), keepdim=True)
        return maps / (maps.amax((1, 2), keepdim=True) + 1e-7)

    with PytorchGradCam(model, [layer], reshape_transform=layout) as theirs:
        maps = theirs(images, [ClassifierOutputTarget(int(target)) for target in targets])
    resized = nn.functional.interpolate(min_max(expected.relu())[None], images.shape[2:], mode="bilinear")[0]
    return difference(torch.from_numpy(maps).double(), min_max(resized))


class OutOfPlace(TorchFunctionMode):
    """Run functions out of place that were asked to work in place, and `+=` and `*=` as `+` and `*`."""

    COUNTERPARTS: ClassVar = {
        torch.Tensor.__iadd__: torch.add,
        torch.Tensor.__imul__: torch.mul,
        torch.relu_: torch.relu,
    }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("inplace"):
            kwargs["inplace"] = False
        func = {torch.Tensor.__iadd__: torch.add, torch.Tensor.__imul__: torch.mul, torch.relu_: torch.relu}.get(
            func, func
        )
        return func(*args, **kwargs)


# Other layers of the same model


def elsewhere(model: nn.Module, layer: nn.Module, images: Tensor, targets: Tensor) -> Found:
    """`explain` and `capture` at up to six other layers with a four-dimensional output: right, or refused, or wrong."""
    found: Found = {"right": 0, "refused": {}, "wrong": {}}
    others = other_layers(model, layer, images)
    keeps = {name: Keep() for name in others}
    with contextlib.ExitStack() as hooks:
        for name, other in others.items():
            hooks.enter_context(hooked(other, keeps[name]))
        y = model(images)[range(NUM_IMAGES), targets].sum()
    outputs = [keep.output for keep in keeps.values()]
    gradients = torch.autograd.grad(y, outputs, allow_unused=True) if outputs else ()
    for (name, other), A, gradient in zip(others.items(), outputs, gradients, strict=True):
        try:
            maps = [
                batchcam.explain(model, other, images, targets, relu=False)[1],
                captured(model, other, None, images, targets),
            ]
        except (TypeError, ValueError) as error:
            found["refused"][name] = str(error)
            continue
        except Exception as error:
            found["wrong"][name] = f"{type(error).__name__}: {error}"
            continue
        if gradient is None or len(gradient) != NUM_IMAGES:
            found["wrong"][name] = NOT_REFUSED
            continue
        expected = (gradient.mean((2, 3), keepdim=True) * A.detach()).sum(1)
        off = max(difference(m, expected) for m in maps) if expected.any() else float(any(m.any() for m in maps))
        if off < EQUAL:
            found["right"] += 1
        else:
            found["wrong"][name] = f"off by {off:.2g}"
    return found


def other_layers(model: nn.Module, layer: nn.Module, images: Tensor) -> dict[str, nn.Module]:
    """Up to four layers spread over the model, and up to two that return their own input."""
    runs: dict[str, int] = {}
    outputs: dict[str, bool] = {}
    handles = []
    for name, module in model.named_modules():

        def note(module: nn.Module, args: tuple[object, ...], output: object, name: str = name) -> None:
            runs[name] = runs.get(name, 0) + 1
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
                outputs[name] = bool(args) and output is args[0]

        if module is not layer:
            handles.append(module.register_forward_hook(note))
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    modules = dict(model.named_modules())
    chosen = []
    for own_input, most in ((False, 4), (True, 2)):
        names = [name for name, own in outputs.items() if runs[name] == 1 and own == own_input]
        chosen += [names[i] for i in np.unique(np.linspace(0, len(names) - 1, most).astype(int))] if names else []
    return {name: modules[name] for name in chosen}


# Bounds


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

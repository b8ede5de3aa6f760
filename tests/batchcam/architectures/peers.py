"""The other libraries' maps of a row, against those of the definition."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM as PytorchGradCam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchcam.methods import GradCAM as TorchCam

from batchcam.layouts import Layout

from .definition import EQUAL, ROUGHLY_EQUAL, difference


def compare_peer(
    name: str,
    model: nn.Module,
    layer: nn.Module,
    layout: Layout | None,
    images: Tensor,
    targets: Tensor,
    expected: Tensor,
) -> dict[str, Any]:
    """`off`, a relative difference, or `fails`, how; `in_place`: right once nothing works in place."""
    if name == "captum" and layout is not None:
        return {"fails": "has no layouts"}
    try:
        off = PEERS[name](model, layer, layout, images, targets, expected)
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
        return {"off": off, "in_place": PEERS[name](model, layer, layout, images, targets, expected) < limit(name)}


def limit(name: str) -> float:
    return ROUGHLY_EQUAL if name == "pytorch-grad-cam" else EQUAL


def captum(
    model: nn.Module, layer: nn.Module, layout: Layout | None, images: Tensor, targets: Tensor, expected: Tensor
) -> float:
    return difference(LayerGradCam(model, layer).attribute(images, target=targets)[:, 0], expected)


def torch_cam(
    model: nn.Module, layer: nn.Module, layout: Layout | None, images: Tensor, targets: Tensor, expected: Tensor
) -> float:
    with TorchCam(model, layer, reshape_transform=layout) as theirs:
        (maps,) = theirs(targets.tolist(), model(images), normalized=False)
    return difference(maps, expected.relu(), expected)


def pytorch_grad_cam(
    model: nn.Module, layer: nn.Module, layout: Layout | None, images: Tensor, targets: Tensor, expected: Tensor
) -> float:
    """It normalises each map, resizes it bilinearly and normalises again, with ε = 1e-7 in place of a least range.

    So its maps reach 1, and this is what the difference is relative to; a 1×1 map is zero.
    """

    def min_max(maps: Tensor) -> Tensor:
        maps = maps - maps.amin((1, 2), keepdim=True)
        return maps / (maps.amax((1, 2), keepdim=True) + 1e-7)

    with PytorchGradCam(model, [layer], reshape_transform=layout) as theirs:
        maps = theirs(images, [ClassifierOutputTarget(int(target)) for target in targets])
    resized = nn.functional.interpolate(min_max(expected.relu())[None], images.shape[2:], mode="bilinear")[0]
    return difference(torch.from_numpy(maps).double(), min_max(resized), scale=torch.ones(1))


PEERS: dict[str, Callable[..., float]] = {
    "captum": captum,
    "pytorch-grad-cam": pytorch_grad_cam,
    "torch-cam": torch_cam,
}


class OutOfPlace(TorchFunctionMode):
    """Run functions out of place that were asked to work in place, and `+=` and `*=` as `+` and `*`."""

    #: `x += y` comes here as Tensor.add_, and binds x to what is returned; a plain call of x.add_(y) does not, so
    #: whoever uses this must see that the logits stay the same.
    COUNTERPARTS: ClassVar[dict[Any, Any]] = {
        torch.Tensor.add_: torch.add,
        torch.Tensor.mul_: torch.mul,
        torch.relu_: torch.relu,
    }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("inplace"):
            kwargs["inplace"] = False
        return self.COUNTERPARTS.get(func, func)(*args, **kwargs)

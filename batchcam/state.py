"""What a model that runs for an explanation must leave as it was: its buffers, and the state of the random numbers.

Other threads may train the same model, explain it, or draw random numbers at the same time.
"""

import contextlib
import sys
import threading
from collections import UserDict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from batchcam.precision import UNCHANGED

_lock = threading.RLock()


def state_kept(model: nn.Module) -> contextlib.AbstractContextManager[object]:
    """Let this thread run a model on copies of its buffers, and leave the random state alone.

    Raises:
        TypeError: a scripted module in training mode, whose buffers cannot be kept.
    """
    modules = _may_change(model)
    if not modules:
        return UNCHANGED
    if any(m.training and isinstance(m, torch.jit.ScriptModule) for m in modules):
        raise TypeError("a scripted module in training mode would change its buffers: use the Python module, or eval()")
    owners = [m for m in modules if m._buffers and isinstance(m._buffers, dict)]
    return _buffers_kept(owners) if owners else _random_state_kept()


def _may_change(model: nn.Module) -> list[nn.Module]:
    """The modules that may write buffers or draw: torch's own, bar two, do not in eval mode (ResNet-18: 60 buffers)."""
    found, seen, changing = [model], {model}, []  # model.modules() makes names, too: .2 ms for ConvNeXt-V2-Tiny
    for module in found:
        own = type(module).__module__.startswith("torch.nn.modules.")
        if module.training or not own or isinstance(module, (nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)):
            changing.append(module)
        for child in module._modules.values():
            if child is not None and child not in seen:
                seen.add(child)
                found.append(child)
    return changing


class _ThreadBuffers(UserDict[str, Any], dict[str, Any]):  # type: ignore[misc]
    """The buffers of a module: for a thread that has copies those, for every other thread the buffers themselves.

    A dict too, since torch tells by that type how a name is removed.
    """

    def __init__(self, shared: dict[str, Any]) -> None:
        self.shared = shared
        self.copies: dict[int, dict[str, Any]] = {}

    @property
    def data(self) -> dict[str, Any]:  # type: ignore[override]
        return self.copies.get(threading.get_ident(), self.shared)

    def copy(self) -> dict[str, Any]:  # type: ignore[override]
        return dict(self.data)

    def __reduce__(self) -> Any:  # so that a copy of the module, or a file, keeps nothing of an explanation
        return dict, (self.copy(),)


@contextlib.contextmanager
def _buffers_kept(owners: Sequence[nn.Module]) -> Iterator[None]:
    """Let this thread see copies of the modules' buffers, and keep the random state.

    Restoring values instead would write into buffers, and break a graph that the caller still holds.
    """
    thread = threading.get_ident()
    buffers = [dict(m._buffers) for m in owners]
    # By identity, since a buffer may have two names.
    clones = {id(b): b.clone() for named in buffers for b in named.values() if b is not None}
    shown: list[tuple[nn.Module, _ThreadBuffers, dict[str, Any] | None]] = []
    with _lock:
        for module, named in zip(owners, buffers, strict=True):
            view = module._buffers if isinstance(module._buffers, _ThreadBuffers) else _ThreadBuffers(module._buffers)
            module._buffers = view
            shown.append((module, view, view.copies.get(thread)))  # this thread's, if it is explaining already
            view.copies[thread] = {name: clones.get(id(b)) for name, b in named.items()}
    try:
        with _random_state_kept():
            yield
    finally:
        with _lock:
            for module, view, outer in shown:
                del view.copies[thread]
                if outer is not None:
                    view.copies[thread] = outer
                if not view.copies:
                    module._buffers = view.shared


def _random_state_kept() -> contextlib.AbstractContextManager[object]:
    """Leave the random numbers, the CPU's and each CUDA device's, as they are, whatever this thread draws."""
    generators = [torch.default_generator, *torch.cuda.default_generators]
    if len(sys._current_frames()) > 1:
        return _OwnNumbers(generators)
    stack = contextlib.ExitStack()  # no other thread is there to draw
    for generator in generators:
        stack.callback(generator.set_state, generator.get_state())
    return stack


class _OwnNumbers(TorchDispatchMode):
    """This thread draws from copies of the generators; costs 5 µs an operation."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.own = {g.device: (g, g.clone_state()) for g in generators}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        takes_one = any(a.name == "generator" for a in func._schema.arguments)
        if takes_one and args and isinstance(args[0], Tensor) and args[0].device in self.own:
            return func(*args, **kwargs, generator=self.own[args[0].device][1])
        # Such as rand, which takes none: in this moment another thread would draw from the copies, too.
        with _lock:
            self.swap()
            try:
                return func(*args, **kwargs)
            finally:
                self.swap()

    def swap(self) -> None:
        for generator, own in self.own.values():
            state = generator.get_state()
            generator.set_state(own.get_state())
            own.set_state(state)

    # Without these two, torch imports its compiler at the first operation (seconds), and says for the whole process
    # that a mode is on, which stays said when threads leave in the order in which they came.
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        return True

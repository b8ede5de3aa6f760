"""What a model that runs for an explanation must leave as it was: its buffers, and the state of the random numbers.

Other threads may train the same model, explain it, or draw random numbers at the same time.
"""

import contextlib
import ctypes
import sys
import threading
from collections import UserDict
from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from batchcam.precision import UNCHANGED

_lock = threading.RLock()


def state_kept(model: nn.Module, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Let this thread run a model on copies of its buffers, and take back the random numbers that it draws.

    Raises:
        TypeError: a scripted module in training mode, whose buffers cannot be kept.
    """
    modules = _may_change(model)
    if not modules:
        return UNCHANGED
    if any(m.training and isinstance(m, torch.jit.ScriptModule) for m in modules):
        raise TypeError("a scripted module in training mode would change its buffers: use the Python module, or eval()")
    owners = [m for m in modules if m._buffers and isinstance(m._buffers, dict)]
    return _buffers_kept(owners, device) if owners else _random_state_kept(device)


def _may_change(model: nn.Module) -> list[nn.Module]:
    """The modules that may write buffers or draw: all but torch's own in eval mode (ResNet-18 has 60 buffers in such).

    `model.modules()` makes names on its way, which takes .2 ms for ConvNeXt-V2-Tiny.
    """
    found, seen, changing = [model], {model}, []
    for module in found:
        if module.training or not type(module).__module__.startswith("torch.nn.modules."):
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


@contextlib.contextmanager
def _buffers_kept(owners: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Let this thread see copies of the modules' buffers, and keep the random state.

    Restoring values instead would write into buffers, and break a graph that the caller still holds.
    """
    thread = threading.get_ident()
    buffers = [dict(m._buffers) for m in owners]
    # By identity, since a buffer may have two names.
    clones = {id(b): b.clone() for named in buffers for b in named.values() if b is not None}
    with _lock:
        shown = [_thread_buffers(m) for m in owners]
        outer = [s.copies.get(thread) for s in shown]  # an explanation inside an explanation
        for s, named in zip(shown, buffers, strict=True):
            s.copies[thread] = {name: clones.get(id(b)) for name, b in named.items()}
    try:
        with _random_state_kept(device):
            yield
    finally:
        with _lock:
            for module, s, before in zip(owners, shown, outer, strict=True):
                if before is not None:
                    s.copies[thread] = before
                else:
                    del s.copies[thread]
                if not s.copies:
                    module._buffers = s.shared


def _thread_buffers(module: nn.Module) -> _ThreadBuffers:
    if not isinstance(module._buffers, _ThreadBuffers):
        module._buffers = _ThreadBuffers(module._buffers)
    return module._buffers


def _random_state_kept(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Set the random numbers, the CPU's and a CUDA device's, back to before, unless somebody else drew meanwhile."""
    of_device = [torch.cuda.default_generators[device.index]] if device.type == "cuda" else []
    generators = [torch.default_generator, *of_device]
    return _SetBack(generators) if len(sys._current_frames()) == 1 else _Draws(generators)


class _SetBack(contextlib.AbstractContextManager[None]):
    """Sets generators back: where no other thread is, nobody else can draw."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = generators

    def __enter__(self) -> None:
        self.states = [g.get_state() for g in self.generators]

    def __exit__(self, *exception: object) -> None:
        for generator, state in zip(self.generators, self.states, strict=True):
            generator.set_state(state)


class _Watched:
    """A generator: its state before the threads that explain, and after their last draw."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.threads = 0
        self.start = generator.get_state()
        self.last = self.first = _bytes(self.start)
        self.disturbed = False  # somebody else has drawn

    def look(self) -> None:
        self.disturbed |= _bytes(self.generator.get_state()) != self.last


def _bytes(state: torch.Tensor) -> bytes:
    """To be compared without letting another thread run, which `torch.equal` does, between a look and what follows."""
    return ctypes.string_at(state.data_ptr(), state.numel())


_watched: dict[torch.Generator, _Watched] = {}


class _Draws(TorchDispatchMode):
    """Tells what this thread draws from what others draw; costs 5 µs an operation.

    Of the threads that explain at a time, the last to leave sets the generators back if nobody else drew.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.generators = generators

    def __enter__(self) -> Self:
        with _lock:
            self.watched = [_watched.setdefault(g, _Watched(g)) for g in self.generators]
            for w in self.watched:
                w.threads += 1
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        with _lock:
            for w in self.watched:
                w.threads -= 1
                w.look()
                if w.threads == 0:
                    del _watched[w.generator]
                    if w.last != w.first and not w.disturbed:
                        w.generator.set_state(w.start)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **(kwargs or {}))
        with _lock:
            for w in self.watched:
                w.look()
            try:
                return func(*args, **(kwargs or {}))
            finally:
                for w in self.watched:
                    w.last = _bytes(w.generator.get_state())

    # Without these two, torch imports its compiler at the first operation (seconds), and says for the whole process
    # that a mode is on, which stays said when threads leave in the order in which they came.
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        return True

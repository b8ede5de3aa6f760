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
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

_lock = threading.RLock()


@contextlib.contextmanager
def state_kept(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Let this thread run a model on copies of its buffers, and with random numbers that are drawn from nobody else.

    In eval mode torch's own modules write no buffer and draw nothing: they are left out (ResNet-18 has 60 buffers).

    Raises:
        TypeError: a scripted module in training mode, whose buffers cannot be kept.
    """
    modules = [m for m in _modules(model) if m.training or not type(m).__module__.startswith("torch.nn.modules.")]
    if any(m.training and isinstance(m, torch.jit.ScriptModule) for m in modules):
        raise TypeError("a scripted module in training mode would change its buffers: use the Python module, or eval()")
    with contextlib.ExitStack() as stack:
        if modules:
            stack.enter_context(_random_state_kept(device))
        owners = [m for m in modules if isinstance(m._buffers, dict) and m._buffers]
        if owners:
            stack.enter_context(_buffers_kept(owners))
        yield


def _modules(model: nn.Module) -> list[nn.Module]:
    """What `model.modules()` yields, but without making names (.2 ms for ConvNeXt-V2-Tiny)."""
    found, seen = [model], {id(model)}
    for module in found:
        for child in module._modules.values():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                found.append(child)
    return found


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
def _buffers_kept(owners: Sequence[nn.Module]) -> Iterator[None]:
    """Let this thread see copies of the modules' buffers.

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


class _Watched:
    """A generator of random numbers: its state before the threads that explain, and after their last draw."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.threads = 0
        self.start = self.last = generator.get_state()
        self.disturbed = False  # somebody else has drawn

    def look(self) -> None:
        self.disturbed |= not torch.equal(self.generator.get_state(), self.last)


_watched: dict[torch.Generator, _Watched] = {}


@contextlib.contextmanager
def _random_state_kept(device: torch.device) -> Iterator[None]:
    """Set the random numbers, the CPU's and a CUDA device's, back to before, unless somebody else drew meanwhile."""
    of_device = [torch.cuda.default_generators[device.index]] if device.type == "cuda" else []
    alone = len(sys._current_frames()) == 1
    with _lock:
        watched = [_watched.setdefault(g, _Watched(g)) for g in (torch.default_generator, *of_device)]
        for w in watched:
            w.threads += 1
    try:
        with contextlib.nullcontext() if alone else _Draws(watched):
            yield
    finally:
        with _lock:
            for w in watched:
                w.threads -= 1
                if not alone:
                    w.look()
                if w.threads == 0:
                    del _watched[w.generator]
                    if not w.disturbed:
                        w.generator.set_state(w.start)


class _Draws(TorchDispatchMode):
    """Sees what this thread draws, to tell it from what other threads draw; costs 5 µs an operation."""

    def __init__(self, watched: Sequence[_Watched]) -> None:
        super().__init__()
        self.watched = watched

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
                    w.last = w.generator.get_state()

    # Without these two, torch imports its compiler at the first operation (seconds), and says for the whole process
    # that a mode is on, which stays said when threads leave in the order in which they came.
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        return True

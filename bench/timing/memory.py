"""The memory that a call needs: allocated bytes, not resident ones.

Resident memory hides what a graph costs, since freed pages stay with the process: 1.16 times where the allocator
shows 3.6.
"""

import itertools
import os
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

# The profiler's library tells its every start and stop, and that it finds no GPU, on stderr.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")


def peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """The most bytes that torch's allocator held at once during a call, above what it held at the start.

    Args:
        call: what is measured; it runs once, and on a CPU under torch's profiler, so it is slow.
        device: where its tensors are. Workspaces that libraries allocate for themselves are not seen on a CPU.
    """
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - start
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = itertools.accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()))
    return max(held, default=0)

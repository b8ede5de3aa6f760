"""Where tasks run: worker processes on this machine.

They come from a server that has imported everything once, and so start at once.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext


@contextmanager
def here(jobs: int) -> Iterator[Executor]:
    """So many workers. What still runs when the block is left is cut off."""
    context = _context()
    end, held = context.Pipe(duplex=False)  # workers leave when `held` is closed, by us or by our end
    executor = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(end,))
    try:
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        held.close()
        end.close()


def warm_up() -> None:
    """Start the server that workers come from: it imports for 5 s, on another core than what is done meanwhile."""
    _context()


def _context() -> ForkServerContext:
    # Before torch starts its threads: let those that wait sleep. Spinning, two threads beside another process on two
    # cores trained SimpleCNN four times slower (298 against 1,136 images/s).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.run.preload"])
    # The keyboard is ours: a Ctrl-C while the server imports would end in its traceback. It keeps the signals that are
    # blocked when it starts; if one comes meanwhile, we have it afterwards.
    resource_tracker.ensure_running()  # the server starts it otherwise, and that unblocks the signal
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return context


def _start(end: Connection) -> None:
    """Set a new worker up: the keyboard is the parent's, and it leaves when the parent closes its side or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_at, args=(end,), daemon=True).start()


def _leave_at(end: Connection) -> None:
    wait([end])
    os._exit(1)

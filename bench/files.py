"""Nothing unfinished under a final name: write aside, then rename. And one process at a time where two would clash."""

import contextlib
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write a file or a directory to; it takes the name `path` if all went well.

    What is left of an attempt that failed is removed; of one that was killed, by the next attempt.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside, old = (path.with_name(f".{path.name}.{what}") for what in ("unfinished", "old"))
    remove(aside)
    try:
        yield aside
        if path.is_dir():  # a rename replaces a file, but not a directory that holds something
            remove(old)
            path.rename(old)
        aside.replace(path)
    finally:
        remove(aside)
        remove(old)


def remove(path: Path) -> None:
    """A file or a directory, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(path: Path, other: str, *, inherited: bool = False) -> Iterator[bool]:
    """Wait until no other process holds `path`, and say that it is `other`; yields whether there was one.

    The lock goes with this process and, if `inherited`, with what it starts.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        os.set_inheritable(lock.fileno(), inherited)
        waited = False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{other}: waiting for it to end", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
            waited = True
        yield waited

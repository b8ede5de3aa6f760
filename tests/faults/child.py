"""`python -m bench` in a child that has all imported already, bounded in time and memory."""

import contextlib
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from .tries import Ended

GIB = 2**30


def bench(
    *arguments: str,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    seconds: float = 60,
    memory: int = 3 * GIB,
) -> Ended:
    """Run a command in a fork of this process, with so much address space more than this process has.

    What does not end in time is killed, and its exit status is -9.
    """
    start = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _become(arguments, cwd, environment or {}, memory, out.fileno(), err.fileno())
        code = _wait(child, start + seconds)
        took = time.monotonic() - start
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Ended(code, texts[0], texts[1], took)


def _become(
    arguments: tuple[str, ...], cwd: Path, environment: Mapping[str, str], memory: int, out: int, err: int
) -> NoReturn:
    from bench.__main__ import main

    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(cwd)
        os.environ.update(environment)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
        sys.argv = ["bench", *arguments]
        main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0 if left.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _wait(child: int, end: float) -> int:
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -9

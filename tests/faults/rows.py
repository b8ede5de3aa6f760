"""What is tried: each row of docs/faults.md, with what makes its tries."""

import contextlib
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from . import commands, machine, parameters, sources
from .project import CELL, REPRO, SWEEP, TIME
from .tries import Try

KIB = 2**10
#: Files that hypothesis draws for each row.
DRAWN = 2_000


class Row(NamedTuple):
    """One row: `make` takes the folder with the project's states."""

    group: str
    fault: str
    make: Callable[[Path], list[Try]]
    mounts: bool = False  # needs a namespace of its own
    heavy: bool = True  # needs the project's states


def _drawn(name: str, _: Path) -> list[Try]:
    with _elsewhere() as folder:
        return parameters.drawn(parameters.DRAWN[name], DRAWN, folder)


def _named(_: Path) -> list[Try]:
    with _elsewhere() as folder:
        return [parameters.named(name, folder) for name in parameters.NAMED]


@contextlib.contextmanager
def _elsewhere() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield Path(folder)


def _words(command: machine.Command) -> str:
    return f"`bench {command[0]}`"


PARAMETERS, SOURCES = "Parameters", "Sources of data"
KILL, CTRL_C, TERM = "Killed (SIGKILL)", "Ctrl-C", "SIGTERM"
DISK, READ_ONLY, COMPANY = "Full disk", "Read-only folder", "Two at once"

ROWS: list[Row] = [
    *(Row(PARAMETERS, name, partial(_drawn, name), heavy=False) for name in parameters.DRAWN),
    Row(PARAMETERS, f"{len(parameters.NAMED)} files by name", _named, heavy=False),
    Row(PARAMETERS, "the same, by the command line", lambda _: commands.refused_by_commands(), heavy=False),
    Row(PARAMETERS, "a shell command as a name, `dvc repro` itself", commands.injected),
    Row(SOURCES, "a directory", lambda _: sources.in_directories(), heavy=False),
    Row(SOURCES, "over HTTP", lambda _: sources.over_http(), heavy=False),
]


#: Bytes that are left on the disk, for each stage.
_FREE: dict[machine.Command, list[int]] = {
    ("prepare", "digits"): [0, 100 * KIB],
    CELL: [0, 4 * KIB, 100 * KIB],
    SWEEP: [0, 4 * KIB],
    ("bounds", "digits"): [0, 4 * KIB],
    TIME: [0, 4 * KIB],
    ("collect",): [0, 8 * KIB],
    ("report",): [0, 300 * KIB],
    ("notebooks",): [0, 100 * KIB],
    ("ledger",): [0, 8 * KIB],
    ("run",): [0, 300 * KIB],
    ("repro",): [0, 300 * KIB],
}
_READ_ONLY: dict[machine.Command, list[str]] = {
    ("prepare", "digits"): ["data"],
    CELL: ["runs", "."],
    ("run",): ["runs", ".dvc", "."],
    ("repro",): ["results"],
    ("ledger",): ["results"],
}


def _machine() -> list[Row]:
    def row(group: str, fault: str, make: Callable[[machine.Bench], list[Try]], *, mounts: bool = False) -> Row:
        return Row(group, fault, lambda folder: make(machine.Bench(folder)), mounts)

    rows = []
    for group, number, whole_group, counts in (
        (KILL, signal.SIGKILL, False, (5, 3, 2)),
        (CTRL_C, signal.SIGINT, True, (3, 3, 2)),
        (TERM, signal.SIGTERM, False, (2, 2, 1)),
    ):
        for command, tries in zip((CELL, ("run",), ("repro",)), counts, strict=True):
            make = partial(machine.signalled, command=command, number=number, tries=tries, group=whole_group)
            rows.append(row(group, _words(command), make))
    for stage, free in _FREE.items():
        rows.append(row(DISK, _words(stage), partial(machine.full_disk, command=stage, free=free), mounts=True))
    for command, folders in _READ_ONLY.items():
        rows.append(
            row(READ_ONLY, _words(command), partial(machine.read_only, command=command, folders=folders), mounts=True)
        )
    together: dict[str, list[list[machine.Command]]] = {
        "`bench cell`, the same": [[CELL]] * 2,
        "`bench run`": [[("run",)]] * 2,
        "`make repro`": [list(REPRO)] * 2,
    }
    together["`bench run` and `bench cell`"] = [[("run",)], [CELL]]
    for words, both in together.items():
        rows.append(row(COMPANY, words, partial(machine.in_company, rows=both)))
    return rows


ROWS += _machine()

"""What happens to the machine while a command runs: kills, Ctrl-C, a full disk, folders that are read-only, company."""

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from . import project
from .tries import Ended, Try, refusal

#: What outlives its run, such as a DVC that was at work, has to be gone by then.
ORPHANS_GONE_S = 60
#: A command that hangs.
LIMIT_S = 300
#: The state with all that any command makes.
WHOLE = "timed"
Command = tuple[str, ...]


class Case(NamedTuple):
    """Where a command starts here, and what it makes."""

    state: str
    makes: tuple[str, ...]  # patterns


CASES: dict[Command, Case] = {
    ("prepare", "digits"): Case("created", ("data/digits.safetensors",)),
    project.CELL: Case("prepared", (f"{project.RUNS}/{'-'.join(project.CELL[1:])}/*",)),
    project.SWEEP: Case("prepared", (f"{project.RUNS}/sweep-*.json",)),
    ("run",): Case("prepared", (f"{project.RUNS}/digits-*/*", f"{project.RUNS}/sweep-*.json")),
    ("bounds", "digits"): Case("reproduced", (f"{project.RUNS}/bounds-digits.csv",)),
    project.TIME: Case("reproduced", (f"{project.RUNS}/timing-cpu.json", f"{project.RESULTS}/timing-cpu.json")),
    ("collect",): Case(
        "reproduced",
        (
            *(f"{project.RESULTS}/{name}.csv" for name in ("bounds", "cells", "epochs", "sweep", "timing")),
            *(f"{project.RESULTS}/trainings.csv", f"{project.RESULTS}/metrics/**/*.json"),
        ),
    ),
    ("report",): Case(
        "reproduced",
        (
            *(f"{project.RESULTS}/{name}" for name in ("README.md", "claims.csv", "claims.md")),
            *(f"{project.RESULTS}/figures/*", f"{project.RESULTS}/tables/*"),
        ),
    ),
    ("notebooks",): Case("reproduced", (f"{project.RESULTS}/notebooks/*",)),
    ("ledger",): Case("reproduced", ("results/*.*",)),
    ("repro",): Case("trained", (f"{project.RUNS}/bounds-digits.csv", f"{project.RESULTS}/**/*.*")),
}


class Bench:
    """The states of the project, each a folder that stays as it is; and how long commands take without a fault."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.private = folder, folder / "private"

    def make(self) -> None:
        """Make the states that are not there yet, one after the other."""
        steps: list[tuple[str, Command]] = [("prepared", ("run", "--time-limit", "0")), ("trained", ("run",))]
        steps += [("reproduced", ("repro",)), ("finished", ("ledger",)), (WHOLE, project.TIME)]
        before = self.folder / "created"
        if not before.is_dir():
            project.create(self.folder / "unfinished").rename(before)
        for name, command in steps:
            state = self.folder / name
            if not state.is_dir():
                with self.copy(before.name) as copy:
                    project.run(copy, self.private, command)
                    copy.rename(state)
            before = state

    @contextmanager
    def before(self, command: Command, place: Path | None = None) -> Iterator[Path]:
        """The project before a command, for a while: without what it makes."""
        case = CASES[command]
        with self.copy(case.state, place) as folder:
            for path in [path for pattern in case.makes for path in folder.glob(pattern)]:
                path.unlink()
            yield folder

    @contextmanager
    def copy(self, state: str, place: Path | None = None) -> Iterator[Path]:
        """A copy of a state, for a while."""
        with tempfile.TemporaryDirectory(dir=place or self.folder, prefix="try-", ignore_cleanup_errors=True) as folder:
            yield Path(shutil.copytree(self.folder / state, Path(folder, "project"), symlinks=True))

    def ended(self, command: Command, folder: Path, process: "subprocess.Popen[str] | None" = None) -> Ended:
        """Wait for the end of a command, or start it and wait."""
        start, process = time.monotonic(), process or project.start(folder, self.private, *command)
        try:
            out, err = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        return Ended(process.returncode, out, err, time.monotonic() - start)

    def after(self, folder: Path, *commands: Command) -> str:
        """What is wrong after a fault: half a file under a final name; or if the same command, the last of these, does
        not make good what all of them make.
        """
        whole = project.results(self.folder / WHOLE)
        if wrong := project.differences(project.results(folder), whole):
            return f"at once: {wrong}"
        again = self.ended(commands[-1], folder)
        if again.code:
            return f"again: exit {again.code}: {again.err[-300:]}"
        makes = [pattern for command in commands for pattern in CASES[command].makes]
        state = WHOLE if project.TIME in commands else "finished"
        needed = {name for pattern in makes for name in project.matching(self.folder / state, pattern)}
        return project.differences(project.results(folder), whole, sorted(needed))


def signalled(bench: Bench, command: Command, number: signal.Signals, tries: int, *, group: bool) -> list[Try]:
    """A signal to the command alone or, as the keyboard does it, to all of its group; at random moments."""
    found = []
    with bench.before(command) as copy:
        usual_s = bench.ended(command, copy).seconds
    moments = random.Random(f"{command} {number} {group}")
    for _ in range(tries):
        with bench.before(command) as copy:
            process = project.start(copy, bench.private, *command)
            start = time.monotonic()
            try:
                process.wait(moments.uniform(1.0, usual_s))  # not while Python itself starts
            except subprocess.TimeoutExpired:
                (os.killpg if group else os.kill)(process.pid, number)
            ended = bench.ended(command, copy, process)
            took = time.monotonic() - start
            wrong = _farewell(ended, number) or _orphans(process.pid) or bench.after(copy, command)
            found.append(Try("good after a rerun" if ended.code else "had ended", wrong, took))
    return found


def _farewell(ended: Ended, number: signal.Signals) -> str:
    if ended.code == 0 or number == signal.SIGKILL:
        return ""
    if "Traceback" in ended.err:
        return f"a traceback: {ended.err[-600:]}"
    if ended.code in (130, 143, -number, 255):  # the last is DVC's own
        return ""
    said = re.search(r"^(error|ERROR): ", ended.out + ended.err, re.MULTILINE)
    return "" if said and ended.code == 1 else f"exit {ended.code}: {ended.err[-200:]}"


def _orphans(session: int) -> str:
    """Who is left of a session, when it had the time to go."""
    end = time.monotonic() + ORPHANS_GONE_S
    while left := _members(session):
        if time.monotonic() > end:
            for process, _ in left:
                os.kill(process, signal.SIGKILL)
            return f"left behind: {'; '.join(words for _, words in left)}"
        time.sleep(0.1)
    return ""


def _members(session: int) -> list[tuple[int, str]]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, leader = (path / "stat").read_text().rpartition(") ")[2].split()[:4]
            if int(leader) == session and state != "Z":
                found.append((int(path.name), (path / "cmdline").read_text().replace("\0", " ")[:120]))
        except OSError:
            continue
    return found


def full_disk(bench: Bench, command: Command, free: list[int]) -> list[Try]:
    """So many bytes are free on the project's disk, a tmpfs; then there is space again."""
    found = []
    for size in free:
        with _tmpfs(bench) as disk, bench.before(command, disk) as copy:
            ballast = disk / "ballast"
            _fill(ballast, size)
            ended = bench.ended(command, copy)
            tried = _refused(ended, command, "No space left on device|Errno 28|os error 28|no space")
            ballast.unlink()
            if ended.code == 0 and size:  # what is left was enough
                tried = Try("done", "", ended.seconds)
            found.append(tried._replace(wrong=tried.wrong or bench.after(copy, command)))
    return found


def _refused(ended: Ended, command: Command, words: str) -> Try:
    if command != ("repro",):
        return refusal(ended, words)
    if "Traceback" in ended.err or "Traceback" in ended.out:  # DVC speaks, and its stages
        return Try("refused", f"a traceback: {(ended.err + ended.out)[-400:]}", ended.seconds)
    return Try(
        "refused", "" if ended.code and "ERROR" in ended.err + ended.out else f"exit {ended.code}", ended.seconds
    )


@contextmanager
def _tmpfs(bench: Bench) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=bench.folder, prefix="disk-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def _fill(path: Path, free: int) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            file.truncate(max(0, file.tell() - free))


def read_only(bench: Bench, command: Command, folders: list[str]) -> list[Try]:
    """One folder of the project after the other cannot be written; then it can."""
    found = []
    for name in folders:
        with _tmpfs(bench) as disk, bench.before(command, disk) as copy:
            place = copy / name
            place.mkdir(exist_ok=True)
            subprocess.run(["mount", "--bind", place, place], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
            ended = bench.ended(command, copy)
            subprocess.run(["umount", place], check=True)
            tried = _refused(ended, command, "Read-only file system|not writable|Errno 30")
            found.append(tried._replace(wrong=f"{name}: {tried.wrong}" if tried.wrong else bench.after(copy, command)))
    return found


def in_company(bench: Bench, rows: list[list[Command]]) -> list[Try]:
    """Rows of commands at once in one folder: all succeed."""
    start = time.monotonic()
    with bench.before(rows[0][0]) as copy:

        def all_of(commands: list[Command]) -> str:
            for command in commands:
                ended = bench.ended(command, copy)
                if ended.code or "Traceback" in ended.err:
                    return f"{command[0]}: exit {ended.code}: {ended.err[-400:]}"
            return ""

        with ThreadPoolExecutor(len(rows)) as pool:
            wrong = "; ".join(filter(None, pool.map(all_of, rows)))
        commands = dict.fromkeys(command for row in reversed(rows) for command in row)
        return [Try("all done", wrong or bench.after(copy, *commands), time.monotonic() - start)]

"""What the code before needs on this machine: it decides where the committed expectation says that something is slower.

Ratios differ between machines, even where torch uses the same instructions: on two with AVX-512 `map in training ÷
forward` was 0.35 and 0.41, with the same code.
"""

import io
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import typer

from bench.errors import BenchError
from bench.timing.regress import TOO_BUSY, Checked, regress

ROOT = Path(__file__).parents[2]
#: What `python -m bench regress` runs.
CODE = ("batchcam", "bench")


def decided_here(checked: Checked, expectation: Path) -> Checked:
    """Compare with the code of the commit that wrote the expectation, and say so; `checked` where it cannot be had."""
    try:
        commit = commit_of(expectation)
        typer.echo(f"\nNot all as expected. What the code of {commit[:8]} needs on this machine decides.\n")
        here = regress_from(commit)
    except BenchError as error:
        typer.echo(f"the expectation decides, since {error}", err=True)
        return checked
    typer.echo(here.table)
    return here


def regress_from(commit: str) -> Checked:
    """Measure the code of a commit on this machine, and compare the present code with that.

    Where the machine is too busy to say what to expect, that one sentence is what is unclear.

    Raises:
        BenchError: a commit whose code this clone does not have, or that could not be measured.
    """
    with tempfile.TemporaryDirectory() as folder:
        _extract(commit, Path(folder))
        expectation = Path(folder, "expectation.json")
        command = [sys.executable, "-m", "bench", "regress", "--update", "--expectation", str(expectation)]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if ran.returncode == TOO_BUSY:
            return Checked("", [], [f"what to expect of the code of {commit[:8]}"])
        if ran.returncode:
            said = ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"]
            raise BenchError(f"the code of {commit[:8]} could not be measured: {said[-1]}")
        return regress(expectation)


def commit_of(expectation: Path) -> str:
    """The commit that last changed a file.

    Raises:
        BenchError: none, as in a folder that is no clone; a change that is not committed; or a commit that a shallow
            clone cannot tell: to such a clone the oldest commit that it has seems to have written every file.
    """
    folder = expectation.parent
    found = _git("log", "-1", "--format=%H %P", "--", expectation.name, folder=folder).decode().split()
    if not found:
        raise BenchError(f"no commit of this clone has {expectation}")
    if _git("status", "--porcelain", "--", expectation.name, folder=folder):
        raise BenchError(f"{expectation.name} has changes that are not committed")
    commit, *parents = found
    if not parents and _git("rev-parse", "--is-shallow-repository", folder=folder).strip() == b"true":
        raise BenchError(f"this clone is too shallow to tell which commit wrote {expectation.name}")
    return commit


def _extract(commit: str, folder: Path) -> None:
    packed = _git("archive", "--format=zip", commit, *CODE, folder=ROOT)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(folder)


def _git(*arguments: str, folder: Path) -> bytes:
    # A hook of git sets GIT_DIR and more, which would outweigh the folder.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {"LC_ALL": "C"}
    try:
        ran = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, check=False)
    except FileNotFoundError:
        raise BenchError("git is not installed") from None
    if ran.returncode:
        raise BenchError(f"git {arguments[0]}: {ran.stderr.decode().strip()}")
    return ran.stdout

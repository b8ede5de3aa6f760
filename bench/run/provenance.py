"""Where numbers come from: the identity of what makes them, and the record that is kept beside them."""

import functools
import hashlib
import json
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.params import Cell, Params

ROOT = Path(__file__).parents[2]
#: All that can change a cell's numbers, besides its data and parameters. dvc.yaml names the same.
CODE = ("batchcam", "bench/cell")

Identity = dict[str, Any]
#: Where finished seeds wait.
PARTIAL = Path("runs", ".partial")


def identity(params: Params, cell: Cell) -> Identity:
    """What makes the numbers of a cell: its parameters, the versions of the libraries, and hashes of data and code."""
    return {"parameters": params.settings(cell), **surroundings(cell.dataset)}


def sweep_identity(params: Params, cell: Cell) -> Identity:
    """What makes the numbers of a sweep, which are `identity`'s but for the parameters and the sweep's own code."""
    own = code_hash((*CODE, "bench/run/sweep.py"))
    return {"parameters": params.sweep_settings(cell), **surroundings(cell.dataset), "code": own}


def surroundings(dataset: str) -> Identity:
    """What an identity holds besides parameters."""
    return {"versions": versions(), "data": file_hash(Path("data", f"{dataset}.safetensors")), "code": code_hash()}


def changed(recorded: Identity, present: Identity) -> list[str]:
    """In which parts two identities differ."""
    return [part for part in ("parameters", "versions", "data", "code") if recorded.get(part) != present[part]]


def folder(name: str, made_by: Identity) -> Path:
    """Where finished seeds wait until all of a cell are there: a name for everything but the number of seeds."""
    unsown = made_by | {"parameters": {key: value for key, value in made_by["parameters"].items() if key != "seeds"}}
    digest = hashlib.sha256(json.dumps(unsown, sort_keys=True).encode()).hexdigest()
    return PARTIAL / f"{name}-{digest[:16]}"


def record(made_by: Identity, device: str, commit: str | None, seconds: list[Any]) -> dict[str, Any]:
    """provenance.json: what made the numbers, where and in how long; the wall-clock is here, not among the metrics."""
    made_on = {"device": device, "processor": processor(), "platform": platform.platform(), "memory": peak_memory()}
    return made_by | {"commit": commit, **made_on, "seconds": seconds}


def peak_memory() -> int:
    """The most that this process has had so far, in bytes; without that of a GPU."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@functools.cache
def processor() -> str:
    """The model of this machine's processor: on another, the same cell may have other bits."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


@functools.cache
def gpu() -> str | None:
    """The model of this machine's first GPU; None where torch finds none."""
    import torch  # not above: what asks only of cells on a CPU answers at once

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


@functools.cache
def versions() -> dict[str, str]:
    """Of Python and the libraries that can change a number."""
    return {"python": platform.python_version()} | {p: version(p) for p in ("torch", "timm", "pytorch-msssim")}


def code_hash(places: Iterable[str] = CODE, root: Path = ROOT) -> str:
    """Of all modules in these directories, by their bytes; a place may also be one module."""
    modules = []
    for place in places:
        path = root / place
        for module in [path] if path.is_file() else sorted(path.rglob("*.py")):
            about = module.stat()
            modules.append((module, about.st_size, about.st_mtime_ns))
    return _code_hash(tuple(modules), root)


@functools.lru_cache
def _code_hash(modules: tuple[tuple[Path, int, int], ...], root: Path) -> str:
    digest = hashlib.sha256()
    for module, _, _ in modules:
        digest.update(module.relative_to(root).as_posix().encode() + b"\0" + module.read_bytes())
    return digest.hexdigest()


def file_hash(path: Path) -> str | None:
    """sha256 of a file, or None where it is missing: whoever reads it next says so."""
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    return _file_hash(path.resolve(), about.st_size, about.st_mtime_ns)


@functools.lru_cache
def _file_hash(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def commit() -> str | None:
    """The commit that runs, with "-dirty" after it where `CODE` differs from it; None outside Git.

    Parameters and data are told beside it, and dvc.lock changes with every run.
    """
    head = _git("rev-parse", "--verify", "HEAD")
    if not head:
        return None
    return f"{head}-dirty" if _git("status", "--porcelain", "--", *CODE) else head


def _git(*arguments: str) -> str:
    try:
        ran = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""

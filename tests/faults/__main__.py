"""Generate docs/faults.md: `python -m tests.faults`, or `make test-faults`.

Each row runs in a process of its own. What is finished is kept in build/ and not repeated, as long as nothing of the
suite, of what tries it, or of its libraries has changed.
"""

import hashlib
import json
import platform
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from .rows import PARAMETERS, ROWS, SOURCES, Row
from .table import page

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "faults.md"
LIBRARIES = ("torch", "dvc", "pydantic", "ruamel.yaml", "hypothesis")
#: A mount of one's own, without being root.
UNSHARED: tuple[str, ...] = ("unshare", "--user", "--map-root-user", "--mount")
ROW_LIMIT_S = 1_800

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context, jobs: Annotated[int, typer.Option(help="Rows side by side, one thread each.")] = 2
) -> None:
    """Try every row, and write docs/faults.md."""
    if context.invoked_subcommand:
        return
    folder = ROOT / "build" / "faults" / fingerprint()
    folder.mkdir(parents=True, exist_ok=True)
    mounts = subprocess.run([*UNSHARED, "true"], check=False, capture_output=True).returncode == 0
    rows = [row for row in ROWS if mounts or not row.mounts]
    missing = [row for row in rows if not _path(folder, row).exists()]
    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(rows), initial=len(rows) - len(missing), unit="row") as bar:
        tried = [pool.submit(_start, folder, row) for row in missing if not row.heavy]
        if heavy := [row for row in missing if row.heavy]:
            states = pool.submit(_run, [sys.executable, "-m", __package__, "states", str(folder)])
            tried += [pool.submit(_start, folder, row, states) for row in heavy]
        for future in as_completed(tried):
            bar.update()
            for line in future.result():
                tqdm.write(line)
    done = [row for row in rows if _path(folder, row).exists()]
    found = [json.loads(_path(folder, row).read_text(encoding="utf-8")) for row in done]
    not_yet = "; ".join(f"{row.group.lower()}, {row.fault}" for row in rows if row not in done)
    left_out = f"Not tried yet: {not_yet}." if not_yet else ""
    if not mounts:
        left_out += " Full disks and read-only folders were not tried: this machine lets nobody mount them."
    versions = ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in LIBRARIES)])
    words = {"PARAMETERS": PARAMETERS, "SOURCES": SOURCES, "timeouts": "1 s and 2 s", "versions": versions}
    PAGE.write_text(page(found, left_out, words), encoding="utf-8")
    if not_yet or any(row["wrong"] for row in found):
        raise SystemExit(f"something did not hold, or was not tried: see {PAGE}")


@app.command()
def states(folder: Path) -> None:
    """Make the states of the project that faults are tried on."""
    from .machine import Bench

    Bench(folder).make()


@app.command()
def row(folder: Path, number: int) -> None:
    """Try one row, and keep what it came to."""
    import torchvision.datasets  # noqa: F401

    import bench.prepare.datasets  # noqa: F401 – before the forks

    one = ROWS[number]
    tries = one.make(folder)
    found: dict[str, Any] = {"group": one.group, "fault": one.fault, "tries": len(tries)}
    found |= {"ends": Counter(one.end for one in tries), "wrong": [one.wrong for one in tries if one.wrong]}
    found |= {"seconds": max(one.seconds for one in tries)}
    path = _path(folder, one)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(found), encoding="utf-8")
    unfinished.replace(path)


def _start(folder: Path, one: Row, states: "Future[str] | None" = None) -> list[str]:
    """Try a row in a process, if needed after the project's states were made; what there is to say of it."""
    if states and (failed := states.result()):
        return [f"{one.group}, {one.fault}: not tried: {failed}"]
    command = [sys.executable, "-m", str(__package__), "row", str(folder), str(ROWS.index(one))]
    if failed := _run([*(UNSHARED if one.mounts else ()), *command]):
        return [f"{one.group}, {one.fault}: {failed}"]
    wrong = json.loads(_path(folder, one).read_text(encoding="utf-8"))["wrong"]
    return [f"{one.group}, {one.fault}: {sentence}" for sentence in wrong]


def _run(command: list[str]) -> str:
    """Run a command to its end; why it failed, if it did."""
    try:
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=ROW_LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"did not end in {ROW_LIMIT_S} s"
    return "" if ran.returncode == 0 else f"exit {ran.returncode}: {ran.stderr[-1000:]}"


def _path(folder: Path, one: Row) -> Path:
    return folder / f"{hashlib.sha256(f'{one.group} {one.fault}'.encode()).hexdigest()[:16]}.json"


def fingerprint() -> str:
    """Of everything that a row's result depends on."""
    digest = hashlib.sha256()
    paths = [path for place in ("batchcam", "bench", "tests/faults") for path in (ROOT / place).rglob("*.py")]
    for path in sorted(path for path in paths if path.name not in ("__main__.py", "table.py") or "bench" in path.parts):
        digest.update(path.read_bytes())
    digest.update((ROOT / "dvc.yaml").read_bytes() + (ROOT / "params.yaml").read_bytes())
    digest.update(repr([version(name) for name in LIBRARIES]).encode())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    if shutil.which("unshare") is None:
        UNSHARED = ("false",)
    app()

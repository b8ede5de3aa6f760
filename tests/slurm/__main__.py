"""`make test-slurm`: eight cells on a Slurm of one node, as at home bit by bit, whatever happens meanwhile.

Needs root and Debian's packages (setup.sh); about half an hour. Prints a log of each fault.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import faults, project
from .faults import Cluster, Display

Fault = Callable[[Cluster, Path], str]
FAULTS: tuple[Fault, ...] = (
    *(faults.nothing, faults.killed_job, faults.over_time, faults.drained_node, faults.restarted_controller),
    *(faults.full_disk, faults.killed_display),
)
#: Appended to a copy of bench/run/cells.py: what was finished, and how often.
COUNTING = """

_keep_uncounted = _keep


def _keep(measured, params, directory):
    _keep_uncounted(measured, params, directory)
    with open({path!r}, "a") as file:
        file.write(f"{{directory.parent.name}} {{directory.name}}\\n")
"""
#: Size of the disk that becomes full.
DISK_MB = 48


def main() -> int:
    """Try the faults that are named, or all; the number that went wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("faults", nargs="*", help=", ".join(fault.__name__ for fault in FAULTS))
    named = parser.parse_args().faults
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as name:
        folder, wrong = Path(name).resolve(), 0
        cluster = Cluster(folder)
        cluster.start()
        try:
            for fault in FAULTS:
                if not named or fault.__name__ in named:
                    wrong += not tried(fault, cluster, folder)
        finally:
            cluster.stop()
    print(f"{wrong} wrong" if wrong else "all as at home")
    return wrong


def tried(fault: Fault, cluster: Cluster, folder: Path) -> bool:
    """Whether everything is there after a fault, once and equal to the bytes of home; prints what was said."""
    content = _parameters(fault)
    print(f"== {fault.__name__}: {(fault.__doc__ or '').strip()}", flush=True)
    start = time.monotonic()
    with _disk(folder, fault) as place:
        there = project.create(place / "project", content)
        with (there / "bench/run/cells.py").open("a") as file:
            file.write(COUNTING.format(path=str(place / "project.kept")))
        try:
            said = fault(cluster, there)
            error = ""
        except Exception as problem:  # the log below says more than a traceback
            said, error = "", f"{type(problem).__name__}: {problem}"
        log = (place / "project.log").read_text()
        print(log, end="")
        wrong = [error] if error else _wrong(fault, cluster, there, said, log, _at_home(content, folder, cluster))
    verdict = "; ".join(wrong) or "as at home, each seed once, dvc repro trains nothing"
    print(f"{verdict} ({time.monotonic() - start:.0f} s)", flush=True)
    return not wrong


def _wrong(fault: Fault, cluster: Cluster, there: Path, said: str, log: str, home: dict[str, bytes]) -> list[str]:
    wrong = []
    if said not in log:
        wrong.append(f"not said: {said}")
    if project.metrics(there) != home:
        wrong.append("metrics differ")
    twice = [seed for seed, count in Counter(faults.kept(there)).items() if count > 1]
    expected = sum(project.trainings(there).values())
    if twice or len(faults.kept(there)) != expected:
        wrong.append(f"{len(faults.kept(there))} seeds finished, not {expected}; twice: {', '.join(twice) or 'none'}")
    repro = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "collect"],
        cwd=there,
        env=project.environment(cluster.private),
        capture_output=True,
        text=True,
        check=False,
    )
    if repro.returncode or "Running stage 'cell@" in repro.stdout:
        wrong.append(f"dvc repro trains: {repro.stdout}{repro.stderr}")
    if (there / "runs/.slurm/quick/jobs.json").exists():
        wrong.append("jobs are still noted")
    return wrong


_home: dict[str, dict[str, bytes]] = {}


def _at_home(content: dict[str, Any], folder: Path, cluster: Cluster) -> dict[str, bytes]:
    """The metrics of the same cells from the local runner."""
    key = repr({name: value for name, value in content.items() if name != "slurm"})
    if key not in _home:
        there = project.create(folder / f"home-{len(_home)}" / "project", content)
        assert Display(there, cluster.private, "--jobs", "2").ended() == 0
        _home[key] = project.metrics(there)
    return _home[key]


def _parameters(fault: Fault) -> dict[str, Any]:
    if fault is not faults.over_time:
        return project.parameters(count=3, epochs=8)
    content = project.parameters(count=100, epochs=8, time=2)
    content["grid"]["loss"] = content["grid"]["loss"][:2]
    return content


@contextmanager
def _disk(folder: Path, fault: Fault) -> Iterator[Path]:
    """A folder for a project; for a full disk, a file system of its own is mounted on the project's place in it."""
    place = folder / fault.__name__
    place.mkdir()
    if fault is not faults.full_disk:
        yield place
        return
    (place / "project").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", place / "project"], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place / "project"], check=False)


if __name__ == "__main__":
    sys.exit(main())

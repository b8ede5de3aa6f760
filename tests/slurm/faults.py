"""What happens to a cluster while cells run on it: each fault is brought about once, and says what it did."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from .project import environment

SETUP = Path(__file__).with_name("setup.sh")
#: A display that does not end.
LIMIT_S = 900


class Cluster:
    """A Slurm of one node, and the displays that are started on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.private = folder / "slurm", folder / "private"

    def start(self) -> None:
        """Set Slurm up; what is asked of it from here on, by whatever process, goes there."""
        subprocess.run([SETUP, "start", self.folder], check=True)
        os.environ["SLURM_CONF"] = str(self.folder / "slurm.conf")

    def stop(self) -> None:
        """End its daemons, and first the jobs."""
        subprocess.run(["scancel", "--me"], check=False)
        subprocess.run([SETUP, "stop", self.folder], check=True)

    def restart_controller(self, after_s: int) -> None:
        """Stop the controller and start it again."""
        subprocess.run([SETUP, "controller", self.folder, str(after_s)], check=True)

    def node(self, state: str) -> None:
        """Drain the node or resume it."""
        command = ["scontrol", "update", f"nodename={os.uname().nodename.partition('.')[0]}", f"state={state}"]
        subprocess.run([*command, "reason=test"], check=True)

    def display(self, project: Path) -> "Display":
        """`python -m bench run --slurm`, two cells at a time."""
        return Display(project, self.private)


class Display:
    """A run that shows how far the jobs are, and what it says."""

    def __init__(self, project: Path, private: Path, *arguments: str) -> None:
        command = ["python", "-m", "bench", "run", *(arguments or ("--slurm", "--jobs", "2"))]
        self.log = project.with_name(f"{project.name}.log")
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command,
                cwd=project,
                env=environment(private),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # in the background it is ignored
            )

    def ended(self) -> int:
        """Its exit status, once it has ended."""
        return self.process.wait(LIMIT_S)

    def text(self) -> str:
        """All that this and earlier ones of the project have said."""
        return self.log.read_text()


def until(what: Callable[[], bool], seconds: float = 300) -> None:
    """Wait until it is so."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.002)  # shorter than a submission takes


def jobs_of(project: Path) -> dict[int, Path]:
    """The processes at this project's cells, each with its working directory."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            where = (process / "cwd").resolve()
        except OSError:
            continue
        if b"submitit.core._submit" in words and b"srun" not in words[0] and where == project:
            found[int(process.name)] = where
    return found


def kept(project: Path) -> list[str]:
    """Every seed that was finished, as often as it was."""
    path = project.with_name(f"{project.name}.kept")
    return path.read_text().splitlines() if path.exists() else []


def seeds_wait(project: Path) -> bool:
    """Whether a job is at a cell of which a seed is finished."""
    return bool(jobs_of(project)) and bool(kept(project))


def nothing(cluster: Cluster, project: Path) -> str:
    """Two at a time, without a fault."""
    display = cluster.display(project)
    until(lambda: len(jobs_of(project)) == 2)
    assert display.ended() == 0
    return "done:"


def killed_job(cluster: Cluster, project: Path) -> str:
    """SIGKILL to a job in the midst of its cell."""
    display = cluster.display(project)
    until(lambda: seeds_wait(project))
    os.kill(next(iter(jobs_of(project))), signal.SIGKILL)
    assert display.ended() == 0
    return "again:"


def over_time(cluster: Cluster, project: Path) -> str:
    """Cells that need longer than their time limit, two minutes."""
    assert cluster.display(project).ended() == 0
    return "requeued:"


def drained_node(cluster: Cluster, project: Path) -> str:
    """The node drained while two cells run, and resumed a minute after nothing runs."""
    display = cluster.display(project)
    until(lambda: seeds_wait(project))
    cluster.node("drain")
    until(lambda: "nothing runs" in display.text())
    cluster.node("resume")
    assert display.ended() == 0
    return "nothing runs:"


def restarted_controller(cluster: Cluster, project: Path) -> str:
    """The controller away for half a minute."""
    display = cluster.display(project)
    until(lambda: seeds_wait(project))
    cluster.restart_controller(30)
    assert display.ended() == 0
    return "does not answer"


def full_disk(cluster: Cluster, project: Path) -> str:
    """Not a byte left while cells run; then room again, and the same command."""
    display = cluster.display(project)
    until(lambda: seeds_wait(project))
    ballast = project / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    assert display.ended() == 1
    ballast.unlink()
    until(lambda: not jobs_of(project))
    assert cluster.display(project).ended() == 0
    return "No space left on device"


def killed_display(cluster: Cluster, project: Path) -> str:
    """The display killed while it submits, killed while jobs run, interrupted, and each time taken up again."""
    book = project / "runs/.slurm/quick/jobs.json"
    display = cluster.display(project)
    until(lambda: book.exists() and all(entry["job"] is None for entry in json.loads(book.read_text()).values()))
    display.process.kill()
    display.ended()
    display = cluster.display(project)
    until(lambda: seeds_wait(project))
    display.process.kill()
    display.ended()
    display = cluster.display(project)
    before = display.text().count("in Slurm's hands")
    until(lambda: display.text().count("in Slurm's hands") > before)
    display.process.send_signal(signal.SIGINT)
    assert display.ended() == 130
    assert cluster.display(project).ended() == 0
    return "in Slurm's hands already"

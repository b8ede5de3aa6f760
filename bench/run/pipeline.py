"""What DVC knows: which cells are stale, and the record of those that were trained outside `dvc repro`."""

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from bench.errors import BenchError
from bench.files import alone, written_aside
from bench.params import Cell, Params, check_all, load
from bench.run.provenance import changed, gpu, identity, processor, sweep_identity, versions
from bench.run.quickly import marked, opened

RUNS = Path("runs")

_DVC = ("-m", "dvc", "--wait-for-lock")

OK, MISSING, UNRECORDED = "ok", "missing", "finished, not recorded"


class Task(NamedTuple):
    """A cell to train, or the sweep of one."""

    cell: Cell
    swept: bool = False

    @property
    def name(self) -> str:
        """As readers see it."""
        return f"sweep {self.cell.name}" if self.swept else self.cell.name

    def output(self, params: Params) -> Path:
        """What it leaves, a directory or a file."""
        return params.sweep_file(self.cell) if self.swept else params.runs / self.cell.name

    def address(self, params: Params) -> str:
        """Its DVC stage, as seen from the root."""
        return params.sweep_address(self.cell) if self.swept else params.address(self.cell)

    def recorded_by(self, params: Params) -> dict[str, Any] | None:
        """The identity that its output was made with; None where there is no output, or one that cannot be read."""
        path = self.output(params)
        try:
            found = json.loads((path if self.swept else path / "provenance.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def present(self, params: Params) -> dict[str, Any]:
        """The identity that it would be made with now."""
        return sweep_identity(params, self.cell) if self.swept else identity(params, self.cell)


def tasks(params: Params) -> list[Task]:
    """Everything that a profile trains, in the order of its parameters."""
    return [Task(cell) for cell in params.cells()] + [Task(cell, swept=True) for cell in params.swept()]


def states(params: Params) -> dict[Task, str]:
    """ "ok", or in a few words why a task has to run: missing, failed, stale and by what, finished but not recorded."""
    with _linked(params):
        found = _status(params)
    return {task: _state(params, task, found.get(task.address(params))) for task in tasks(params)}


def _state(params: Params, task: Task, changes: list[Any] | None) -> str:
    reasons = _reasons(changes or [])
    if not reasons:
        return OK
    failure = params.failure_file(task.cell)
    if not task.output(params).exists():
        return f"failed: {failure.read_text(encoding='utf-8').strip()}" if failure.is_file() else MISSING
    recorded = task.recorded_by(params)
    if recorded is not None and not changed(recorded, task.present(params)):
        return UNRECORDED
    return f"stale: {', '.join(reasons)} changed"


def _reasons(changes: list[Any]) -> list[str]:
    """What of a stage has changed. Missing data are no reason: `run` prepares them, and they may turn out equal."""
    reasons: list[str] = []
    for change in changes:
        if isinstance(change, str):  # "changed command"
            reasons.append(change.removeprefix("changed "))
            continue
        for name, what in [item for things in change.values() for item in things.items()]:
            if isinstance(what, dict):
                reasons += what  # parameters, by their paths
            elif not (what == "deleted" and name.startswith("data/")):
                reasons.append(name)
    return list(dict.fromkeys(reasons))


def elsewhere(params: Params, task: Task) -> str:
    """On which other machine and with which other libraries a task was run, in words; nothing: as it would be here."""
    recorded = task.recorded_by(params) or {}
    found, made_on, device = [], recorded.get("processor"), recorded.get("device")
    if made_on is not None and (made_on != processor() or (params.device == "cuda" and device != gpu())):
        found.append(f"from another machine: {made_on}; {device}")
    made_with = recorded.get("versions", {})
    others = [f"{name} {made_with[name]}" for name, here in versions().items() if made_with.get(name, here) != here]
    if others:
        found.append(f"made with {', '.join(others)}")
    return "; ".join(found)


def link(params: Params) -> None:
    """Put the pipeline beside the parameters: profiles/NAME/dvc.yaml is a link to the one at the root.

    A profile gets it with its first run and not before: `dvc pull` without arguments wants the outputs of every stage
    in the repository, and fails where there are none yet.
    """
    pipeline = Path(params.params_file).parent / "dvc.yaml"
    if not pipeline.exists():
        pipeline.unlink(missing_ok=True)
        pipeline.symlink_to(Path(params.root, "dvc.yaml"))


@contextlib.contextmanager
def _linked(params: Params) -> Iterator[None]:
    """The pipeline beside the parameters while DVC is asked about it; a question alone leaves no link."""
    pipeline = Path(params.params_file).parent / "dvc.yaml"
    there = pipeline.exists()
    link(params)
    try:
        yield
    finally:
        if not there:
            pipeline.unlink()


@contextlib.contextmanager
def only_runner() -> Iterator[None]:
    """Wait until no other run works in this folder; the lock goes with this process and the DVC that it started."""
    with alone(RUNS / ".lock", "another run is at work here", inherited=True):  # see `_dvc`
        _mend_locks()
        yield


def _mend_locks() -> None:
    """Remove DVC's list of who reads and writes what if it was cut off, by a full disk: DVC refuses to read it."""
    path = Path(".dvc", "tmp", "rwlock")
    if _is_json(path):
        return
    from dvc.lock import make_lock

    with make_lock(str(path.with_name("rwlock.lock")), tmp_dir=str(path.parent)):  # unless it is just being written
        if not _is_json(path):
            path.unlink()


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True


def repro(params: Params) -> NoReturn:
    """Become `dvc repro` of a profile, which then has the keyboard, the exit status and the lock of `only_runner`."""
    link(params)
    with only_runner():
        check_all()
        os.environ["DVC_NO_ANALYTICS"] = "1"
        os.execv(sys.executable, [sys.executable, *_DVC, "repro", str(Path(params.params_file).parent / "dvc.yaml")])


def prepare_data(params: Params) -> None:
    """Make the datasets of a profile that are missing or stale, by their DVC stages."""
    _dvc("repro", *(f"data/dvc.yaml:prepare@{dataset}" for dataset in _datasets(params)))


def lacks_data(params: Params) -> bool:
    """Whether any dataset of a profile is not there."""
    return not all(Path("data", f"{dataset}.safetensors").exists() for dataset in _datasets(params))


def _datasets(params: Params) -> list[str]:
    return list(dict.fromkeys(task.cell.dataset for task in tasks(params)))


def record(params: Params, finished: Sequence[Task]) -> None:
    """Tell DVC what finished cells were made from: `dvc commit` of their stages and no others.

    Raises:
        BenchError: a cell was made by other parameters, data, code or versions than the present ones.
    """
    now = load(Path(params.params_file))  # DVC reads it now, too: it may have changed since the run began
    there = set(tasks(now))
    mixed = {
        task: changed(task.recorded_by(params) or {}, task.present(now)) if task in there else ["parameters"]
        for task in finished
    }
    wrong = [f"{task.name}: {', '.join(parts)} changed while it ran" for task, parts in mixed.items() if parts]
    sound = [task.address(params) for task, parts in mixed.items() if not parts]
    if sound:
        with _lock_file_kept(params):
            _commit(sound)
    if wrong:
        raise BenchError("not recorded; run them again:\n" + "\n".join(wrong))


def _commit(addresses: Sequence[str]) -> None:
    """What `dvc commit --force` does with these stages of one pipeline, but dvc.lock is parsed and written once.

    DVC's own command does so for each stage: for 66 cells 44 s, and 3 s here.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import lock_repo

    logging.getLogger("dvc").setLevel(logging.WARNING)
    pipeline = addresses[0].rpartition(":")[0] or "dvc.yaml"
    try:
        with opened() as repo, lock_repo(repo):
            stages = [stage for stage in repo.stage.load_file(pipeline) if stage.addressing in addresses]
            with marked(repo, stages, written=True):
                for stage in stages:
                    stage.save()
                    stage.commit(relink=False)  # what is there may stay: DVC would copy it once more
            for stage in stages:
                for dependency in stage.params:  # what stages share, YAML would write once and refer to elsewhere
                    dependency.hash_info = deepcopy(dependency.hash_info)
            stages[0].dvcfile.dump_stages(stages, update_pipeline=False)
    except DvcException as error:
        raise BenchError(f"dvc commit failed: {error}") from error


def mend(params: Params) -> None:
    """Take back a dvc.lock that was being written when a recording was killed."""
    backup = _backup(params)
    if not backup.is_file():
        return
    if backup.stat().st_size:
        backup.replace(_lock_file(params))
    else:  # there was none before
        _lock_file(params).unlink(missing_ok=True)
        backup.unlink()


@contextlib.contextmanager
def _lock_file_kept(params: Params) -> Iterator[None]:
    """Keep a copy of dvc.lock while DVC rewrites it in place; if that is cut off, it is taken back, after a kill by the
    next run's `mend`.
    """
    path, backup = _lock_file(params), _backup(params)
    with written_aside(backup) as aside:
        if path.is_file():
            shutil.copyfile(path, aside)
        else:
            aside.touch()
    try:
        yield
    except BaseException:
        mend(params)
        raise
    backup.unlink()


def _lock_file(params: Params) -> Path:
    return Path(params.params_file).parent / "dvc.lock"


def _backup(params: Params) -> Path:
    return RUNS / ".partial" / f"dvc.lock of {params.profile}"


def _status(params: Params) -> dict[str, list[Any]]:
    """`dvc status` of a profile's stages, by their address from the root."""
    from dvc.exceptions import DvcException
    from dvc.repo import lock_repo

    logging.getLogger("dvc").setLevel(logging.WARNING)
    pipeline = Path(params.params_file).parent / "dvc.yaml"
    check_all()  # see `_dvc`
    try:
        with opened() as repo, lock_repo(repo):
            stages = repo.stage.load_file(str(pipeline))
            with marked(repo, stages, written=False):
                return {address: found for stage in stages for address, found in stage.status().items()}
    except DvcException as error:
        raise BenchError(f"dvc status failed: {error}") from error


def _dvc(*arguments: str) -> str:
    """What a DVC command prints; `BenchError` with its last words if it fails, or if parameters are wrong."""
    check_all()  # of all profiles: DVC reads them all, and makes commands and paths of what they say
    command = [sys.executable, *_DVC, *arguments]
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    # With the lock of `only_runner`: a DVC that outlives its run, which was killed, keeps the next one waiting.
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, close_fds=False)
    if ran.returncode != 0:
        words = (ran.stderr or ran.stdout).strip()
        raise BenchError(f"dvc {arguments[0]} failed: {words}")
    return ran.stdout

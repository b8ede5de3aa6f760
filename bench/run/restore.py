"""Finished cells that DVC's run-cache has, from here or from others, put back instead of trained once more."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.files import remove
from bench.params import Params
from bench.run.pipeline import Task
from bench.run.provenance import PARTIAL, changed
from bench.run.quickly import opened


def restore(params: Params, missing: Sequence[Task]) -> tuple[list[Task], list[Task]]:
    """Put back what dvc.lock or the run-cache has of the same parameters, data, code and versions.

    `dvc pull --run-cache` fetches what others have pushed. What it names is looked for in all remotes, the default one
    first.

    Returns:
        What dvc.lock has, and what it has not, which is still to be recorded.
    """
    from dvc.repo import lock_repo

    locked, unlocked = list[Task](), list[Task]()
    if not missing:
        return locked, unlocked
    logging.getLogger("dvc").setLevel(logging.ERROR)  # it warns of what a remote does not have
    by_address = {task.address(params): task for task in missing}
    pipeline = next(iter(by_address)).rpartition(":")[0] or "dvc.yaml"
    with opened() as repo, lock_repo(repo):
        default = repo.config["core"].get("remote")
        remotes = sorted(repo.config["remote"], key=lambda name: name != default)
        for stage in repo.stage.load_file(pipeline):
            task = by_address.get(stage.addressing)
            if task is None:
                continue
            if _is_locked(stage) and _put_back(params, task, repo, stage, remotes, LOCKED):
                locked.append(task)
            elif _restored(params, task, repo, stage, remotes):
                unlocked.append(task)
    return locked, unlocked


class _OtherwiseMadeError(Exception):
    """What DVC gave was not made as it would be now."""


#: What of an identity must be as it would be now. Of what dvc.lock has, DVC itself has compared the rest; a maintainer
#: may have recorded a change of code that leaves the numbers as they are.
LOCKED = frozenset({"versions"})
UNLOCKED = frozenset({"parameters", "versions", "data", "code"})


def _is_locked(stage: Any) -> bool:
    """Whether dvc.lock has it as it would be made now, but for versions."""
    return all(out.hash_info for out in stage.outs) and not stage.changed_stage() and stage.deps_cached()


def _restored(params: Params, task: Task, repo: Any, stage: Any, remotes: list[str]) -> bool:
    """Whether one of the run-cache's entries was made as it would be now; if so, it is put back."""
    from dvc.exceptions import DvcException

    try:
        for entry in _entries(repo, stage):
            os.utime(entry)  # DVC looks at the newest alone
            if _put_back(params, task, repo, stage, remotes, UNLOCKED):
                return True
    except (DvcException, OSError) as error:
        _say(f"{task.name}: DVC's run-cache cannot be read: {error}")
    return False


def _put_back(params: Params, task: Task, repo: Any, stage: Any, remotes: list[str], compared: frozenset[str]) -> bool:
    """Whether what DVC gives was made as it would be now. A remote that cannot be read is struck off."""
    from dvc.exceptions import DvcException
    from dvc.stage.cache import RunCacheNotFoundError

    for remote in [None, *remotes]:  # None: what is here already
        try:
            with _default(repo, remote), _out_of_the_way(task.output(params)):
                repo.stage_cache.restore(stage, pull=remote is not None)
                if compared.intersection(changed(task.recorded_by(params) or {}, task.present(params))):
                    raise _OtherwiseMadeError
        except RunCacheNotFoundError:
            continue
        except _OtherwiseMadeError:
            return False
        except (DvcException, OSError) as error:  # say, no network
            place = "here" if remote is None else f"in the remote {remote}"
            _say(f"{task.name} is in DVC's run-cache, but {place}: {error}")
            if remote is None:
                return False
            remotes.remove(remote)
        else:
            return True
    return False


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _default(repo: Any, remote: str | None) -> Iterator[None]:
    """A remote as the default one for a while: DVC restores from no other."""
    before = dict(repo.config["core"])
    if remote is not None:
        repo.config["core"]["remote"] = remote
    try:
        yield
    finally:
        repo.config["core"] = before


def _entries(repo: Any, stage: Any) -> list[Path]:
    """What the run-cache has of the same parameters, data and code, the newest first; dvc.lock is forgotten."""
    from dvc.stage.cache import _can_hash, _get_stage_hash
    from dvc_data.hashfile.hash_info import HashInfo

    stage.save_deps()
    for out in stage.outs:
        out.hash_info = HashInfo()
    if not _can_hash(stage):
        return []
    key = _get_stage_hash(stage)
    entries = Path(repo.stage_cache.cache_dir, key[:2], key).glob("*")
    return sorted(entries, key=lambda path: path.stat().st_mtime, reverse=True)


@contextlib.contextmanager
def _out_of_the_way(output: Path) -> Iterator[None]:
    """Let DVC put an output where a stale one is, about which it would ask; all as before if it does not."""
    aside = PARTIAL / f"stale {output.name}"
    aside.parent.mkdir(parents=True, exist_ok=True)
    remove(aside)
    there = output.exists()
    if there:
        output.replace(aside)
    try:
        yield
    except BaseException:
        remove(output)
        if there:
            aside.replace(output)
        raise
    remove(aside)

"""Finished cells that DVC has, from here or from others, put back instead of trained once more."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.files import remove
from bench.params import Params
from bench.run.pipeline import Task
from bench.run.provenance import PARTIAL, changed
from bench.run.quickly import opened


def restore(params: Params, missing: Sequence[Task]) -> tuple[list[Task], list[Task]]:
    """Put back what dvc.lock or the run-cache has of the same parameters, data, code and versions.

    DVC tells whether it is the same code. What dvc.lock has may have been recorded by a maintainer after a change of
    code that leaves the numbers as they are. `dvc pull --run-cache` fetches what others have pushed to the run-cache;
    the cells themselves are looked for in all remotes, the default one first.

    Returns:
        What dvc.lock has, and what it has not, which is still to be recorded.

    Raises:
        BenchError: DVC cannot read its files.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import lock_repo

    recorded, unrecorded = list[Task](), list[Task]()
    if not missing:
        return recorded, unrecorded
    logging.getLogger("dvc").setLevel(logging.ERROR)  # it warns of what a remote does not have
    by_address = {task.address(params): task for task in missing}
    pipeline = next(iter(by_address)).rpartition(":")[0] or "dvc.yaml"
    try:
        with opened() as repo, lock_repo(repo):
            default = repo.config["core"].get("remote")
            remotes = sorted(repo.config["remote"], key=lambda name: name != default)
            for stage in repo.stage.load_file(pipeline):
                task = by_address.get(stage.addressing)
                if task is None:
                    continue
                if _is_recorded(stage) and _put_back(params, task, repo, stage, remotes, but_for=frozenset({"code"})):
                    repo.stage_cache.save(stage)
                    recorded.append(task)
                elif _from_run_cache(params, task, repo, stage, remotes):
                    unrecorded.append(task)
    except DvcException as error:
        raise BenchError(f"what was trained before cannot be put back: {error}") from error
    return recorded, unrecorded


class _OtherwiseMadeError(Exception):
    """What DVC gave was not made as it would be now."""


def _is_recorded(stage: Any) -> bool:
    """Whether dvc.lock has the outputs of the present parameters, data and code: DVC's `StageCache.restore` then takes
    those, and else the newest entry of the run-cache.
    """
    return all(out.hash_info for out in stage.outs) and not stage.changed_stage() and stage.deps_cached()


def _from_run_cache(params: Params, task: Task, repo: Any, stage: Any, remotes: list[str]) -> bool:
    """Whether one of the run-cache's entries was made as it would be now; if so, it is put back."""
    for number, entry in enumerate(_entries(repo, stage)):
        try:
            if number:  # DVC looks at the newest alone
                os.utime(entry)
        except OSError as error:  # of another user
            _say(f"{task.name}: an entry of DVC's run-cache cannot be used: {error}")
            continue
        if _put_back(params, task, repo, stage, remotes):
            return True
    return False


def _put_back(
    params: Params,
    task: Task,
    repo: Any,
    stage: Any,
    remotes: list[str],
    but_for: frozenset[str] = frozenset(),
) -> bool:
    """Whether what DVC gives was made as it would be now, but for these parts of its identity. A remote that cannot be
    read is struck off.
    """
    from dvc.exceptions import DvcException
    from dvc.stage.cache import RunCacheNotFoundError

    for remote in [None, *remotes]:  # None: what is here already
        try:
            with _default(repo, remote), _out_of_the_way(task.output(params)):
                repo.stage_cache.restore(stage, pull=remote is not None)
                if {*changed(task.recorded_by(params) or {}, task.present(params))} - but_for:
                    raise _OtherwiseMadeError
        except RunCacheNotFoundError:
            continue
        except _OtherwiseMadeError:
            return False
        except (DvcException, OSError) as error:  # say, no network
            place = "from here" if remote is None else f"from the remote {remote}"
            _say(f"{task.name} could not be put back {place}: {error}")
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
    found = dict[Path, float]()
    for entry in Path(repo.stage_cache.cache_dir, key[:2], key).glob("*"):
        with contextlib.suppress(FileNotFoundError):  # another DVC has just given it its name
            found[entry] = entry.stat().st_mtime
    return sorted(found, key=lambda entry: found[entry], reverse=True)


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

"""DVC for many stages: what they share is read and hashed once, not anew for each of them."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any


@contextmanager
def opened() -> Iterator[Any]:
    """This folder's `dvc.repo.Repo`, for as long as no dependency changes.

    `python -m tests.run.many 1000`: 47 s, and 108 s when parameters alone were read once. It waits for its lock, as
    with `--wait-for-lock`.
    """
    from dvc.dependency import base, param
    from dvc.repo import Repo
    from dvc.utils import serialize

    with ExitStack() as stack:
        stack.enter_context(_replaced(param, "read_param_file", _read_once(param.read_param_file)))
        stack.enter_context(_replaced(base.Dependency, "_build", _built_once(base.Dependency._build)))
        stack.enter_context(_replaced(serialize, "dump_yaml", _dump_quickly))
        yield stack.enter_context(Repo(str(Path.cwd()), _wait_for_lock=True))


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    inherited, before = name not in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if inherited:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


def _read_once(read: Callable[..., Any]) -> Callable[..., Any]:
    """Parse a file of parameters once; DVC does so for each stage that names it, and searches all of it for each key.

    A stage's parameters are read before its outputs are hashed. DVC keeps a list of each directory that it has hashed,
    and walks through all of them for the next one; those of earlier stages have done their work.
    """
    import fsspec

    files = dict[str, Any]()
    listed = fsspec.filesystem("memory").store

    def read_once(fs: Any, path: str, key_paths: list[str] | None = None, *rest: Any, **more: Any) -> Any:
        listed.clear()
        if not key_paths or not more.get("flatten"):
            return read(fs, path, key_paths, *rest, **more)
        if path not in files:
            files[path] = read(fs, path)
        try:
            return {key: _at(files[path], key) for key in key_paths}
        except (KeyError, TypeError):  # DVC knows what to say
            return read(fs, path, key_paths, *rest, **more)

    return read_once


def _at(content: Any, key: str) -> Any:
    for part in key.split("."):
        content = content[part]
    return content


def _built_once(build: Callable[..., Any]) -> Callable[..., Any]:
    """Hash a dependency once."""
    built = dict[str, Any]()

    def build_once(dependency: Any, *args: Any, **more: Any) -> Any:
        if dependency.fs_path not in built:
            built[dependency.fs_path] = build(dependency, *args, **more)
        return built[dependency.fs_path]

    return build_once


def _dump_quickly(path: str, data: Any, *_: Any, **__: Any) -> None:
    """Write an entry of the run-cache as JSON, which is YAML: DVC's writer took a fifth of the time of recording."""
    Path(path).write_text(json.dumps(data, allow_nan=False, ensure_ascii=False), encoding="utf-8")


@contextmanager
def marked(repo: Any, stages: Sequence[Any], *, written: bool) -> Iterator[None]:
    """Mark what these stages depend on as being read, and their outputs as being read or written, for the whole block.

    DVC marks each stage by itself, and takes the mark back after it: it rewrites its list of marks four times for each.

    Raises:
        dvc.lock.LockError: another DVC is at them.
    """
    from dvc import rwlock

    outputs = [out.fs_path for stage in stages for out in stage.outs]
    read = [*{dep.fs_path for stage in stages for dep in stage.deps}, *([] if written else outputs)]
    write = outputs if written else []

    def already(tmp_dir: str, fs: Any, cmd: str, reads: list[str], writes: list[str], *_: Any) -> Any:
        assert {*reads} <= {*read, *write}, "read without a mark"
        assert {*writes} <= {*write}, "written without a mark"
        return nullcontext()

    hardlink = repo.config["core"].get("hardlink_lock", False)
    command = " ".join(sys.argv)
    with (
        rwlock.rwlock(repo.tmp_dir, repo.fs, command, read, write, hardlink),
        _replaced(rwlock, "rwlock", already),
    ):
        yield

"""DVC made quicker says, writes and refuses what DVC does."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc import output
from dvc.dependency.base import Dependency
from dvc.repo import Repo, lock_repo
from dvc.utils.serialize import load_yaml

from bench.errors import BenchError
from bench.params import Params, load
from bench.run import pipeline, provenance
from bench.run.pipeline import OK, UNRECORDED, Task
from bench.run.quickly import marked, opened
from tests.run.many import leave, project

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # inside DVC


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project of ten cells, as the current directory."""
    for name in ("DVC_SITE_CACHE_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_GLOBAL_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "private" / name))
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)  # and back afterwards
    monkeypatch.setattr(provenance, "ROOT", folder)
    return project(folder, 10)


@pytest.fixture
def left(params: Params) -> list[Task]:
    """The cells, as if they had been trained."""
    tasks = pipeline.tasks(params)
    for task in tasks:
        leave(params, task)
    return tasks


def told_by_dvc(tasks: list[Task], params: Params) -> set[str]:
    """Which cells `dvc status` finds changed."""
    with Repo() as repo:
        return set(repo.status()) & {task.address(params) for task in tasks}


def run_cache() -> dict[Path, Any]:
    """DVC's run-cache, as DVC reads it."""
    return {path: load_yaml(path) for path in Path(".dvc/cache/runs").glob("*/*/*")}


def test_what_is_recorded_is_what_dvc_would_record(params: Params, left: list[Task]) -> None:
    pipeline.record(params, left)
    ours, entries = Path("dvc.lock").read_text(), run_cache()
    Path("dvc.lock").unlink()
    shutil.rmtree(".dvc/cache/runs")
    with Repo() as repo, lock_repo(repo):
        for stage in repo.stage.load_file("dvc.yaml"):
            if stage.addressing in {task.address(params) for task in left}:
                stage.save()
                stage.commit()
                stage.dvcfile.dump(stage, update_pipeline=False)
    assert ours == Path("dvc.lock").read_text()
    assert len(entries) == len(left)
    assert entries == run_cache()


def test_dvc_puts_back_from_the_run_cache_what_was_recorded(
    params: Params, left: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.record(params, left)
    made = {task: (task.output(params) / "metrics.json").read_bytes() for task in left}
    Path("dvc.lock").unlink()
    shutil.rmtree(params.runs)
    monkeypatch.setenv("PATH", "/nowhere")  # what has to be run cannot be
    with Repo() as repo:
        repo.reproduce([task.address(params) for task in left], pull=False, single_item=True)
    assert {task: (task.output(params) / "metrics.json").read_bytes() for task in left} == made
    assert told_by_dvc(left, params) == set()


def test_a_changed_dependency_is_seen(params: Params, left: list[Task]) -> None:
    assert set(pipeline.states(params).values()) == {UNRECORDED}
    pipeline.record(params, left)
    assert set(pipeline.states(params).values()) == {OK}
    for path in ("batchcam/__init__.py", "bench/cell/losses.py", "data/digits.safetensors"):
        before = Path(path).read_bytes()
        Path(path).write_bytes(before + b"\n")
        assert OK not in pipeline.states(params).values()
        assert told_by_dvc(left, params) == {task.address(params) for task in left}
        Path(path).write_bytes(before)


def test_a_dependency_is_hashed_once(params: Params, left: list[Task], monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = Counter[str]()
    build = output.build

    def counted(odb: Any, path: str, *rest: Any, **more: Any) -> Any:
        hashed[os.path.relpath(path)] += 1
        return build(odb, path, *rest, **more)

    monkeypatch.setattr(output, "build", counted)
    for ask in (pipeline.states, lambda params: pipeline.record(params, left)):
        hashed.clear()
        ask(params)
        assert {path: hashed[path] for path in ("batchcam", "bench/cell", "data/digits.safetensors")} == {
            "batchcam": 1,
            "bench/cell": 1,
            "data/digits.safetensors": 1,
        }


def mark(mode: str, path: Path, by: dict[str, Any]) -> None:
    """What another DVC notes while it reads or writes a file."""
    Path(".dvc/tmp").mkdir(exist_ok=True)
    Path(".dvc/tmp/rwlock").write_text(json.dumps({mode: {str(path.resolve()): [by] if mode == "read" else by}}))


def marks() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(".dvc/tmp/rwlock").read_text())
    return {mode: {Path(path).name for path in paths} for mode, paths in found.items() if paths}


def test_what_another_dvc_is_writing_is_neither_judged_nor_recorded(params: Params, left: list[Task]) -> None:
    other = {"pid": os.getppid(), "cmd": "dvc repro"}
    output = left[-1].output(params)
    for path in (output, Path("data/digits.safetensors")):
        for ask in (pipeline.states, lambda params: pipeline.record(params, left)):
            mark("write", path, other)
            with pytest.raises(BenchError, match=r"busy.*\n.*dvc repro"):
                ask(params)
    mark("read", output, other)
    pipeline.states(params)
    with pytest.raises(BenchError, match=r"busy.*\n.*dvc repro"):
        pipeline.record(params, left)
    Path(".dvc/tmp/rwlock").unlink()
    pipeline.record(params, left)
    assert marks() == {}


@pytest.mark.parametrize("written", [True, False])
def test_marks_cover_what_is_done_beneath_them_and_go_with_the_block(
    written: bool, params: Params, left: list[Task]
) -> None:
    with opened() as repo, lock_repo(repo):
        first, second = repo.stage.load_file("dvc.yaml")[:2]
        for stage in (first, second):
            stage.save(run_cache=False)
        found = {}

        def commit_what_is_not_marked() -> None:
            with marked(repo, [first], written=written):
                found.update(marks())
                (second if written else first).commit(relink=False)

        with pytest.raises(AssertionError, match="without a mark"):
            commit_what_is_not_marked()
        assert Path(first.outs[0].fs_path).name in found["write" if written else "read"]
        assert {"batchcam", "cell", "digits.safetensors"} <= found["read"]
        assert marks() == {}
        second.commit(relink=False)  # DVC marks by itself again
    assert "_build" not in vars(Dependency)


def test_what_the_parameters_no_longer_say_is_not_recorded(params: Params, left: list[Task]) -> None:
    """They were edited while it ran, say for the next run: DVC reads them when it records."""
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["weights"]["digits"]["prototype-l1"] += 1
    content["grid"]["loss"].remove("prototype-l2")
    Path("params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(BenchError) as refused:
        pipeline.record(params, left)
    assert str(refused.value).splitlines() == [
        "not recorded; run them again:",
        "digits-simple_cnn-prototype-l1-12: parameters changed while it ran",
        "digits-simple_cnn-prototype-l2-12: parameters changed while it ran",
    ]
    assert list(pipeline.states(load(Path("params.yaml"))).values()).count(OK) == len(left) - 2

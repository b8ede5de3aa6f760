"""DVC made quicker says, writes and refuses what DVC does."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from dvc import output
from dvc.repo import Repo, lock_repo

from bench.errors import BenchError
from bench.params import Params
from bench.run import pipeline, provenance
from bench.run.pipeline import OK, UNRECORDED, Task
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


def test_what_is_recorded_is_what_dvc_would_record(params: Params, left: list[Task]) -> None:
    pipeline.record(params, left)
    ours = Path("dvc.lock").read_text()
    Path("dvc.lock").unlink()
    shutil.rmtree(".dvc/cache/runs")
    with Repo() as repo, lock_repo(repo):
        for stage in repo.stage.load_file("dvc.yaml"):
            if stage.addressing in {task.address(params) for task in left}:
                stage.save()
                stage.commit()
                stage.dvcfile.dump(stage, update_pipeline=False)
    assert ours == Path("dvc.lock").read_text()


def test_dvc_puts_back_from_the_run_cache_what_was_recorded(params: Params, left: list[Task]) -> None:
    pipeline.record(params, left)
    made = {task: (task.output(params) / "metrics.json").read_bytes() for task in left}
    Path("dvc.lock").unlink()
    shutil.rmtree(params.runs)
    with Repo() as repo:
        repo.reproduce([task.address(params) for task in left], pull=False)
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


def test_what_another_dvc_is_writing_is_neither_judged_nor_recorded(params: Params, left: list[Task]) -> None:
    writer = {"pid": os.getppid(), "cmd": "dvc repro"}
    place = Path(".dvc/tmp/rwlock")
    pipeline.states(params)
    place.write_text(json.dumps({"write": {str(left[-1].output(params).resolve()): writer}}))
    for ask in (pipeline.states, lambda params: pipeline.record(params, left)):
        with pytest.raises(BenchError, match=r"busy.*\n.*dvc repro"):
            ask(params)
    place.unlink()
    pipeline.record(params, left)
    assert not any(json.loads(place.read_text()).values())

"""Finished cells are shared: two clones split a small grid, a third gathers it without training."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from typer.testing import CliRunner

from bench.__main__ import app
from bench.errors import BenchError
from bench.params import Params, load
from bench.run import pipeline, provenance, runner
from bench.run.cells import run_cell
from bench.run.pipeline import Task
from bench.run.restore import restore
from bench.run.run import run
from tests.tiny import tiny

ROOT = Path(__file__).parents[2]
LOSSES = ("ce", "prototype-l1", "prototype-l2", "rrr")

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # inside DVC


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """The repository with a grid of four cells and prepared data, its own remote, and one that a lab shares."""
    folder = tmp_path_factory.mktemp("sharing") / "origin"
    for name in ("batchcam", "bench"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "data/dvc.yaml", "data/.gitignore", ".dvc/.gitignore", ".dvcignore", ".gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    (folder / ".dvc/config").write_text(
        "[core]\n    remote = store\n['remote \"store\"']\n    url = ../store\n"
        f"['remote \"lab\"']\n    url = {folder}-lab\n"
    )
    shutil.copyfile(prepared / "digits.safetensors", folder / "data/digits.safetensors")
    grid = {"dataset": ["digits"], "backbone": ["simple_cnn"], "loss": list(LOSSES), "resolution": [12]}
    grid["seeds"] = {"digits": {"simple_cnn": 1}}
    content = tiny({"grid": grid}).model_dump(mode="json")
    (folder / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the user's settings of DVC."""
    for name in ("DVC_SITE_CACHE_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_GLOBAL_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "private" / name))


@contextmanager
def clone(origin: Path, folder: Path) -> Iterator[Params]:
    """A copy with a cache of its own, as the current directory."""
    shutil.copytree(origin, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(provenance, "ROOT", folder)
        yield load(Path("params.yaml"))


def test_two_clones_split_a_grid_and_a_third_gathers_it_without_training(
    origin: Path, own: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {}
    for name, losses in (("first", LOSSES[:2]), ("second", LOSSES[2:])):
        with clone(origin, tmp_path / name) as params, pytest.MonkeyPatch.context() as patch:
            patch.setattr(provenance, "processor", lambda name=name: f"the processor of {name}")
            tasks = [task for task in pipeline.tasks(params) if task.cell.loss in losses]
            for task in tasks:
                run_cell(params, task.cell, task.output(params))
                made[task] = (task.output(params) / "metrics.json").read_bytes()
            pipeline.record(params, tasks)
            with Repo() as repo:
                repo.push(run_cache=True, remote="lab")

    with clone(origin, tmp_path / "third") as params:
        monkeypatch.setattr(pipeline, "prepare_data", lambda _: None)  # they are there
        monkeypatch.setattr(runner, "train", None)
        with Repo() as repo:
            repo.pull(run_cache=True, allow_missing=True, remote="lab")
        stale = pipeline.tasks(params)[0].output(params)
        stale.mkdir(parents=True)
        (stale / "metrics.json").write_text("of other parameters")
        assert run(params, 1, None) == "tiny: all 4 cells and sweeps are up to date"
        assert {task: (task.output(params) / "metrics.json").read_bytes() for task in made} == made
        monkeypatch.setattr(pipeline, "processor", lambda: "the processor of first")
        lines = CliRunner().invoke(app, ["plan"]).stdout.splitlines()
        assert lines[0] == "digits-simple_cnn-ce-12: ok"
        assert lines[2].startswith(
            "digits-simple_cnn-prototype-l2-12: ok (from another machine: the processor of second;"
        )


def test_what_is_put_back_was_made_with_the_present_versions(
    origin: Path, own: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC's run-cache does not know the libraries' versions, and looks at its newest entry alone."""
    with clone(origin, tmp_path / "clone") as params:
        task = pipeline.tasks(params)[0]
        output = task.output(params)

        def with_torch(version: str) -> None:
            monkeypatch.setattr(provenance, "versions", lambda: {"torch": version})
            monkeypatch.setattr(pipeline, "versions", lambda: {"torch": version})

        for version in ("2.11", "2.15"):
            with_torch(version)
            run_cell(params, task.cell, output)
            pipeline.record(params, [task])
        for locked in (True, False):
            newest = ([task], []) if locked else ([], [task])
            for version, found in (
                ("2.11", ([], [task])),
                ("2.15", newest),
                ("2.11", ([], [task])),
                ("2.12", ([], [])),
            ):
                with_torch(version)
                shutil.rmtree(output)
                output.mkdir()
                (output / "metrics.json").write_text("stale")
                assert restore(params, [task]) == found
                if task in (*found[0], *found[1]):
                    assert (task.recorded_by(params) or {})["versions"] == {"torch": version}
                    assert pipeline.elsewhere(params, task) == ""
            assert (output / "metrics.json").read_text() == "stale"
            if locked:
                Path("dvc.lock").unlink()
        with_torch("2.11")
        assert restore(params, [task]) == ([], [task])
        with_torch("2.12")
        assert pipeline.elsewhere(params, task) == "made with torch 2.11"
        on_gpu = params.model_copy(update={"device": "cuda"})
        monkeypatch.setattr(pipeline, "gpu", lambda: "another GPU")
        assert pipeline.elsewhere(on_gpu, task).startswith("from another machine: ")


def test_an_entry_of_the_run_cache_that_cannot_be_used_leaves_the_others(
    origin: Path, own: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with clone(origin, tmp_path / "clone") as params:
        task = pipeline.tasks(params)[0]
        for version in ("2.11", "2.12", "2.15"):
            monkeypatch.setattr(provenance, "versions", lambda version=version: {"torch": version})
            run_cell(params, task.cell, task.output(params))
            pipeline.record(params, [task])
            (entry,) = (entry for entry in Path(".dvc/cache/runs").glob("*/*/*") if "." not in entry.name)
            os.utime(entry, (float(version),) * 2)
            entry.rename(entry.with_name(version))
        Path("dvc.lock").unlink()
        monkeypatch.setattr(provenance, "versions", lambda: {"torch": "2.11"})
        touch = os.utime

        def of_another(path: Path) -> None:
            if Path(path).name == "2.12":
                raise PermissionError("[Errno 1] Operation not permitted")
            touch(path)

        monkeypatch.setattr(os, "utime", of_another)
        assert restore(params, [task]) == ([], [task])
        said = capsys.readouterr().err.splitlines()
        assert said == [f"{task.name}: an entry of DVC's run-cache cannot be used: [Errno 1] Operation not permitted"]


def test_what_dvc_cannot_read_is_one_sentence(origin: Path, own: None, tmp_path: Path) -> None:
    with clone(origin, tmp_path / "clone") as params:
        Path("dvc.lock").write_text("stages: [")
        with pytest.raises(BenchError, match="what was trained before cannot be put back: "):
            restore(params, pipeline.tasks(params))


def with_code(task: Task, params: Params, code: str) -> None:
    """Record a finished cell as made by other code, as `dvc commit --force` does after a change of it."""
    path = task.output(params) / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"code": code}))
    with Repo() as repo:
        repo.commit(task.address(params), force=True)


def test_a_change_of_code_that_was_recorded_without_training_is_believed(
    origin: Path, own: None, tmp_path: Path
) -> None:
    with clone(origin, tmp_path / "clone") as params:
        task = pipeline.tasks(params)[0]
        run_cell(params, task.cell, task.output(params))
        with_code(task, params, "before the change")
        for recorded in (True, False):  # the run-cache alone does not tell why its code is another
            shutil.rmtree(task.output(params))
            assert restore(params, [task]) == (([task], []) if recorded else ([], []))
            assert pipeline.states(params)[task] == (pipeline.OK if recorded else pipeline.MISSING)
            Path("dvc.lock").unlink(missing_ok=True)


def test_a_lock_of_other_parameters_does_not_vouch_for_the_run_cache(origin: Path, own: None, tmp_path: Path) -> None:
    with clone(origin, tmp_path / "clone") as params:
        task = pipeline.tasks(params)[1]
        run_cell(params, task.cell, task.output(params))
        pipeline.record(params, [task])
        lock = Path("dvc.lock").read_text()
        content = yaml.safe_load(Path("params.yaml").read_text())
        content["weights"]["digits"]["prototype-l1"] += 1
        Path("params.yaml").write_text(yaml.safe_dump(content))
        params = load(Path("params.yaml"))
        shutil.rmtree(task.output(params))
        run_cell(params, task.cell, task.output(params))
        with_code(task, params, "other code")
        Path("dvc.lock").write_text(lock)
        shutil.rmtree(task.output(params))
        assert restore(params, [task]) == ([], [])


def test_what_is_put_back_from_the_lock_is_in_the_run_cache_again(origin: Path, own: None, tmp_path: Path) -> None:
    """So that it can be shared, and found when dvc.lock has gone on to other parameters and back."""
    with clone(origin, tmp_path / "clone") as params:
        task = pipeline.tasks(params)[0]
        run_cell(params, task.cell, task.output(params))
        pipeline.record(params, [task])
        shutil.rmtree(".dvc/cache/runs")
        for recorded in (True, False):
            shutil.rmtree(task.output(params))
            assert restore(params, [task]) == (([task], []) if recorded else ([], [task]))
            Path("dvc.lock").unlink(missing_ok=True)

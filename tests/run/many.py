"""How long planning, looking for earlier cells, display and recording take: `python -m tests.run.many 250 1000`.

A dry run: no cell is trained, each leaves a directory with its identity at once. Not a part of `make test`.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from bench.params import Params, load
from bench.prepare.datasets import prepare
from bench.run import cluster, estimate, pipeline, provenance, runner, slurm
from bench.run.cost import cost
from bench.run.pipeline import Task
from bench.run.restore import restore
from tests.tiny import tiny

ROOT = Path(__file__).parents[2]
LOSSES = (
    *("ce", "prototype-l1", "prototype-l2", "prototype-ssim", "batchcam-l1", "batchcam-l2", "batchcam-ssim"),
    *("zero-ssim", "permuted-ssim", "rrr"),
)
LEAST_PX = 12


def project(folder: Path, count: int) -> Params:
    """A project of so many cells, ten losses at as many resolutions as needed, as the current directory."""
    for name in ("batchcam", "bench"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "data/dvc.yaml", "data/.gitignore", ".dvc/config", ".dvc/.gitignore", ".dvcignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    os.chdir(folder)
    prepare("digits", Path("data"))
    resolutions = list(range(LEAST_PX, LEAST_PX + count // len(LOSSES)))
    grid = {"dataset": ["digits"], "backbone": ["simple_cnn"], "loss": list(LOSSES), "resolution": resolutions}
    settings = {"train_images": 64, "test_images": 60, "epochs": 1, "batch_size": 16}
    settings |= {"learning_rate": 3e-3, "weight_decay": 0.05}  # type: ignore[dict-item]
    content = tiny({}).model_dump(mode="json")
    content["training"]["simple_cnn"] = {f"px{px}": settings for px in resolutions}
    content["grid"] = grid | {"seeds": {"digits": {"simple_cnn": 1}}}
    Path("params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], check=True)
    return load(Path("params.yaml"))


def leave(params: Params, task: Task, note: Path | None = None) -> float:
    """What a cell leaves, without training it."""
    path = task.output(params)
    path.mkdir(parents=True)
    (path / "metrics.json").write_text(json.dumps([{"seed": 0, "of": task.name}]))
    (path / "provenance.json").write_text(json.dumps(task.present(params)))
    return 0.0


@contextmanager
def threads(jobs: int) -> Iterator[Executor]:
    """In place of processes."""
    with ThreadPoolExecutor(jobs) as executor:
        yield executor


def at_home(params: Params, tasks: Sequence[Task]) -> None:
    """The local runner's loop and display."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "here", threads)
        patch.setattr(runner, "work", leave)
        runner.train(params, dict.fromkeys(tasks, 1.0), jobs=2)


def on_slurm(params: Params, tasks: Sequence[Task]) -> None:
    """The cluster's loop and display, with a Slurm that has done everything at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm, "submit", lambda params, notes, *_: [f"1_{index}" for index in range(len(notes))])
        patch.setattr(slurm, "ended", lambda folder: {f"1_{index}" for index in range(len(tasks))})
        patch.setattr(slurm, "result", lambda folder, job: slurm.Ended(1.0, None))
        cluster.train(params, dict.fromkeys(tasks, 1.0), jobs=None)


def measure(count: int) -> dict[str, float]:
    """Seconds of each part, of the processor: what else runs on the machine is not counted."""
    found = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        start = time.process_time()
        with contextlib.redirect_stderr(io.StringIO()):
            yield
        found[name] = time.process_time() - start

    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "ROOT", Path(name))
        params = project(Path(name), count)
        with timed("plan"):
            tasks = list(pipeline.states(params))
        with timed("restore"):
            restore(params, tasks)
        patch.setattr(estimate, "measure", lambda *_: estimate.Pace(1.0, 2.0, 0.01, 1e9))
        with timed("cost"), ThreadPoolExecutor(1) as executor:
            cost(params, tasks, executor, by_earlier=True)
        with timed("display at home"):
            at_home(params, tasks)
        with timed("display on Slurm"):
            on_slurm(params, tasks)
        with timed("record"):
            pipeline.record(params, tasks)
        with timed("plan again"):
            assert set(pipeline.states(params).values()) == {pipeline.OK}
        os.chdir(ROOT)
    return found


if __name__ == "__main__":
    for count in map(int, sys.argv[1:]):
        seconds = measure(count)
        parts = ", ".join(f"{name} {took:.1f}" for name, took in seconds.items())
        print(f"{count} cells: {sum(seconds.values()):.1f} s: {parts}", flush=True)

"""The pipeline: what dvc.yaml says is what the code does, and a tiny profile runs through from end to end."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from dvc.cli import main
from dvc.exceptions import ReproductionError
from dvc.repo import Repo
from typer.testing import CliRunner

from bench.__main__ import app
from bench.names import DATASETS
from bench.params import load
from bench.run.pipeline import link
from bench.run.provenance import CODE
from tests.tiny import NO_CELLS, OTHERS, seeds, write_notebook

ROOT = Path(__file__).parents[1]
PROFILES = {"dvc.yaml": "params.yaml"} | {
    f"profiles/{name}/dvc.yaml": f"profiles/{name}/params.yaml" for name in ("evidence", "reduced", "paper")
}
TIME = "time@cpu"
CE, SSIM = "cell@digits-simple_cnn-ce-12", "cell@digits-simple_cnn-prototype-ssim-12"
RRR, SWEEP = "decoy@decoy_digits-simple_cnn-rrr-12", "sweep@digits-simple_cnn-prototype-ssim-12"
BOUNDS = "bounds@digits"
TRAINED = {CE, SSIM, RRR, SWEEP}
PREPARE = {f"data/dvc.yaml:prepare@{name}" for name in ("digits", "decoy_digits")}
GATHER = ("collect", "report", "notebooks")
UNUSED = {f"data/dvc.yaml:prepare@{name}" for name in DATASETS} - PREPARE

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # inside DVC


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """All stages by the file that holds them and by name, with every profile linked to the pipeline as its run does."""
    folder = tmp_path_factory.mktemp("stages")
    for path in ("dvc.yaml", "data/dvc.yaml", ".dvc/config", *PROFILES.values()):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / path)
    found: dict[str, dict[str, Any]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for path in PROFILES.values():
            link(load(Path(path)))
        subprocess.run(["git", "init", "--quiet"], check=True)
        with Repo() as repo:
            for stage in repo.index.stages:
                found.setdefault(stage.path_in_repo, {})[stage.name] = stage
    return found


def relative(stage: Any) -> list[str]:
    """What a stage depends on, as dvc.yaml writes it."""
    return sorted(dep.def_path for dep in stage.deps if not hasattr(dep, "params"))


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_whose_cells_are_all_recorded_has_its_pipeline_in_git(name: str) -> None:
    """Without it `dvc pull` passes the profile over; with it, it fails where there are no cells yet."""
    params = load(ROOT / PROFILES[name])
    recorded = yaml.safe_load((ROOT / name).with_suffix(".lock").read_text(encoding="utf-8"))["stages"]
    complete = {params.address(cell).rpartition(":")[2] for cell in params.cells()} <= recorded.keys()
    assert bool(git("ls-files", name)) == complete


@pytest.mark.parametrize("name", PROFILES)
def test_a_profiles_stages_are_its_cells_its_bounds_and_what_gathers_them(
    name: str, stages: dict[str, dict[str, Any]]
) -> None:
    params = load(ROOT / PROFILES[name])
    expected = [params.address(cell).rpartition(":")[2] for cell in params.cells()]
    expected += [params.sweep_address(cell).rpartition(":")[2] for cell in params.swept()]
    expected += [f"bounds@{dataset}" for dataset in params.grid.dataset]
    expected += [*(f"time@{device}" for device in params.timing.devices), *GATHER]
    assert sorted(stages[name]) == sorted(expected)
    for stage in stages[name].values():
        check, command = stage.cmd
        assert check == "python -m bench check"  # nothing of the parameters, and before they reach a shell
        assert f"--params {PROFILES[name]}" in command


@pytest.mark.parametrize("name", PROFILES)
def test_a_cells_stage_depends_on_what_makes_its_numbers_and_on_nothing_else(
    name: str, stages: dict[str, dict[str, Any]]
) -> None:
    params = load(ROOT / PROFILES[name])
    for cell in params.cells():
        stage = stages[name][params.address(cell).rpartition(":")[2]]
        settings = stage.deps[-1]
        assert relative(stage) == sorted([f"data/{cell.dataset}.safetensors", *CODE])
        section = next(key for key, one in params.sections().items() if cell in one.cells())
        keys = {"training": f"training.{cell.backbone}.px{cell.resolution}", "road": f"road.{cell.backbone}"}
        keys |= {"weight": f"weights.{cell.dataset}.{cell.loss}"}
        keys |= {"seeds": f"{section}.seeds.{cell.dataset}.{cell.backbone}"}
        assert settings.def_path == PROFILES[name]
        assert set(settings.params) == {keys.get(key, key) for key in params.settings(cell)} - {"cell"}
        assert stage.cmd[1].startswith(f"python -m bench cell {' '.join(map(str, cell))} --")
        assert [out.def_path for out in stage.outs] == [str(params.runs / cell.name)]
        assert all(out.use_cache for out in stage.outs)


def test_a_sweeps_stage_depends_on_what_makes_its_numbers_and_on_nothing_else(
    stages: dict[str, dict[str, Any]],
) -> None:
    name = "profiles/evidence/dvc.yaml"
    params = load(ROOT / PROFILES[name])
    assert params.sweep.cells()
    assert params.control_sweep.cells()
    for cell in params.swept():
        section, _, _ = params.sweep_address(cell).rpartition(":")[2].partition("@")
        stage = stages[name][f"{section}@{cell.name}"]
        settings = stage.deps[-1]
        assert relative(stage) == sorted([f"data/{cell.dataset}.safetensors", *CODE, "bench/run/sweep.py"])
        keys = {"training": f"training.{cell.backbone}.px{cell.resolution}"}
        keys |= {key: f"{section}.{key}" for key in ("weights", "seeds", "epochs")}
        assert set(settings.params) == {keys.get(key, key) for key in params.sweep_settings(cell)} - {"cell"}
        assert stage.cmd[1].startswith(f"python -m bench sweep {' '.join(map(str, cell))} --")
        assert [out.def_path for out in stage.outs] == [str(params.sweep_file(cell))]


@pytest.mark.parametrize("name", PROFILES)
def test_a_timings_stage_has_the_parameters_that_can_change_it(name: str, stages: dict[str, dict[str, Any]]) -> None:
    params = load(ROOT / PROFILES[name])
    for device in params.timing.devices:
        settings = stages[name][f"time@{device}"].deps[-1]
        keys = {"batch": f"batch.{device}"}
        assert set(settings.params) == {f"timing.{keys.get(k, k)}" for k in params.timing.settings(device)}


@pytest.mark.parametrize("name", PROFILES)
def test_what_a_clone_pulls_is_in_the_store(name: str) -> None:
    """Other outputs are in Git, or made again: what lacks an object stops `dvc pull`.

    Judged is what Git has, or is about to: `make repro` times anew, and its lock names objects of this machine alone.
    """
    lock = yaml.safe_load(git("show", f":{Path(name).with_suffix('.lock')}"))
    kept = set(git("ls-files", "store").splitlines())
    lacking = []
    for stage, entry in lock["stages"].items():
        if stage in GATHER:
            continue
        for output in entry["outs"]:
            found = in_store(output["md5"])
            content = json.loads((ROOT / found).read_text("utf-8")) if found.endswith(".dir") and found in kept else []
            wanted = [found, *(in_store(file["md5"]) for file in content)]
            lacking += [f"{stage}: {output['path']}" for path in wanted if path not in kept]
    assert not lacking, f"dvc push {name}"


def git(*arguments: str) -> str:
    return subprocess.run(("git", *arguments), cwd=ROOT, check=True, capture_output=True, text=True).stdout


def in_store(md5: str) -> str:
    return f"store/files/md5/{md5[:2]}/{md5[2:]}"


IMPORTED = """
import sys
import bench.__main__
assert not {"torch", "pandas", "pydantic", "rich"} & set(sys.modules)  # --help answers at once
import bench.params, bench.run.run
assert not {"torch", "pandas", "dvc"} & set(sys.modules)  # nor does `plan` wait for what it does not need
import bench.report.collect, bench.run.cells
print(*({"timm", "torchvision", "matplotlib", "sklearn"} & set(sys.modules)))
"""


def test_the_command_line_and_the_parameters_import_no_more_than_they_need() -> None:
    run = subprocess.run([sys.executable, "-c", IMPORTED], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.stderr, run.stdout.split()) == ("", [])


def test_help_says_what_each_command_reads_and_writes() -> None:
    runner = CliRunner(env={"COLUMNS": "200"})
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = {"prepare", "check", "plan", "run", "repro", "cell", "sweep", "bounds", "time", "collect", "report"}
    assert named | {"regress", "ledger"} <= set(commands)
    overview = runner.invoke(app, ["--help"])
    assert overview.exit_code == 0
    for name in commands:
        assert f"  {name} " in overview.output
        result = runner.invoke(app, [name, "--help"])
        assert result.exit_code == 0
        assert "Reads:" in result.output
        assert "Writes:" in result.output


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What DVC and its stages run with: this Python, one thread, and nothing of the user's settings."""
    private = tmp_path_factory.mktemp("dvc")
    names = ("DVC_SITE_CACHE_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_GLOBAL_CONFIG_DIR")
    return {name: str(private / name) for name in names} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "",
        "OMP_NUM_THREADS": "1",
        "DVC_NO_ANALYTICS": "1",
    }


@pytest.fixture(scope="module")
def finished(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with a profile of two cells, one with decoys and a sweep, after both commands."""
    folder = tmp_path_factory.mktemp("finished") / "repository"
    for name in ("batchcam", "bench", ".dvc/plots"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "data/dvc.yaml", "data/.gitignore", ".dvc/config", ".dvc/.gitignore", ".dvcignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copyfile(ROOT / ".gitignore", folder / ".gitignore")
    write_notebook(folder)
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["threads"] = 1
    one = {"dataset": ["digits"], "backbone": ["simple_cnn"], "resolution": [12]}
    content |= dict.fromkeys(OTHERS, NO_CELLS) | {"road": {"simple_cnn": []}}
    content["grid"] = one | {"loss": ["ce", "prototype-ssim"], "seeds": seeds(2)}
    content["sweep"] = one | {"loss": ["prototype-ssim"], "weights": [1], "seeds": 1, "epochs": 1}
    content["decoys"] = one | {"dataset": ["decoy_digits"], "loss": ["rrr"], "seeds": seeds(2)}
    few = {"train_images": 64, "test_images": 60, "epochs": 1}
    content["training"]["simple_cnn"]["px12"] = content["training"]["simple_cnn"]["px23"] | few
    content["timing"] |= {"seconds": 0.01, "backbone": ["simple_cnn"], "resolution": [12], "batch": {"cpu": [2]}}
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        subprocess.run([sys.executable, "-m", "bench", "run", "--jobs", "1"], check=True)  # as `make repro` does
        ran = repro()
    assert sorted(ran[:-3]) == sorted([BOUNDS, TIME])  # DVC alone trains a cell in a test below
    assert ran[-3:] == [*GATHER]
    return folder


@pytest.fixture
def project(finished: Path, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished project, as the current directory."""
    folder = tmp_path / "repository"
    shutil.copytree(finished, folder)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    return folder


def repro(*targets: str) -> list[str]:
    """`dvc repro`; the stages that ran, in their order."""
    with Repo() as repo:
        return [stage.addressing for stage in repo.reproduce(targets or None)]


def changed() -> set[str]:
    """The stages that `dvc status` finds changed by themselves, not by what runs before them."""
    with Repo() as repo:
        return set(repo.status()) - UNUSED


def cells() -> dict[str, list[str]]:
    """The lines of cells.csv of each loss."""
    lines = Path("results/quick/cells.csv").read_text().splitlines()[1:]
    return {loss: [line for line in lines if f",{loss}," in line] for loss in ("ce", "prototype-ssim")}


def set_parameter(path: str, value: object) -> None:
    content = section = yaml.safe_load(Path("params.yaml").read_text())
    *sections, key = path.split("/")
    for name in sections:
        section = section[name]
    section[key] = value
    Path("params.yaml").write_text(yaml.safe_dump(content))


def test_one_command_makes_every_result_and_repeating_it_runs_nothing(project: Path) -> None:
    assert [line.split(",")[4:6] for lines in cells().values() for line in lines] == [["0", "ok"], ["1", "ok"]] * 2
    results = project / "results/quick"
    made = {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    expected = {f"{name}.csv" for name in ("cells", "trainings", "bounds", "timing", "sweep", "claims")}
    expected |= {"claims.md", "timing-cpu.json", "README.md"}
    expected |= {"notebooks/maps.ipynb"}
    expected |= {f"metrics/digits-simple_cnn-12/{loss}.json" for loss in ("ce", "prototype-ssim")}
    tables = ("losses", "reconstruction", "saliency", "methods", "sweep", "timing")
    expected |= {f"tables/{name}.{form}" for name in tables for form in ("csv", "md", "tex")}
    expected |= {f"figures/timing-{kind}-cpu.png" for kind in ("maps", "step")}
    expected |= {f"figures/mean-maps-digits-simple_cnn-12.{form}" for form in ("png", "pdf")}
    expected |= {f"figures/{name}-simple_cnn-12.png" for name in ("saliency-decoy_digits", "path-digits")}
    assert expected <= made
    for name in ("README.md", "tables/losses.md", "tables/reconstruction.md"):
        text = (results / name).read_text()
        assert "ssim" in text.lower() or name == "tables/losses.md"
        for word in ("missing", "failed", "stale", "unreadable"):
            assert word not in text, name
    assert changed() == set()
    assert repro() == []


@pytest.mark.parametrize(
    ("path", "value", "stages"),
    [
        ("bench/report/tables.py", "# a comment", {"collect", "report", "notebooks"}),
        ("bench/statistics.py", "# a comment", {"collect", "report", "notebooks"}),
        ("bench/paper.py", "# a comment", {"report", "notebooks"}),
        ("bench/names.py", "# a comment", {"collect", "report", "notebooks"}),
        ("bench/results/maps.py", "# a comment", {"notebooks"}),
        ("notebooks/maps.py", "# a comment", {"notebooks"}),
        ("bench/params.py", "# a comment", set()),
        ("bench/__main__.py", "# a comment", set()),
        ("bench/run/cells.py", "# a comment", set()),
        ("bench/run/sweep.py", "# a comment", {SWEEP}),
        ("bench/bounds.py", "# a comment", {BOUNDS}),
        ("bench/timing/inference.py", "# a comment", {TIME}),
        ("bench/prepare/datasets.py", "# a comment", PREPARE),
        ("bench/cell/saliency.py", "# a comment", {*TRAINED, BOUNDS, "report", "notebooks"}),
        ("bench/cell/objective.py", "# a comment", {*TRAINED, BOUNDS, TIME, "report", "notebooks"}),
        ("bench/cell/decoys.py", "# a comment", {*TRAINED, *PREPARE, BOUNDS, "report", "notebooks"}),
        ("batchcam/maps.py", "# a comment", {*TRAINED, BOUNDS, TIME, "report", "notebooks"}),
        ("timing/batch/cuda", [3], {"collect", "notebooks"}),
        ("timing/seconds", 0.02, {TIME, "collect", "notebooks"}),
        ("weights/digits/prototype-ssim", 2, {SSIM, "collect", "notebooks"}),
        ("weights/digits/batchcam-l1", 2, {"collect", "notebooks"}),
        ("training/simple_cnn/px12/epochs", 2, {CE, SSIM, RRR, SWEEP, "collect", "notebooks"}),
        ("training/simple_cnn/px23/epochs", 3, {"collect", "notebooks"}),
        ("training/resnet18/px23/epochs", 2, {"collect", "notebooks"}),
        ("grid/seeds/digits/simple_cnn", 1, {CE, SSIM, "collect", "report", "notebooks"}),
        ("sweep/epochs", 2, {SWEEP, "collect", "notebooks"}),
        ("save_weights", True, {CE, SSIM, RRR, "collect", "notebooks"}),
        ("weights/decoy_digits/rrr", 2, {RRR, "collect", "notebooks"}),
        ("road/simple_cnn", [12], {CE, SSIM, RRR, "collect", "notebooks"}),
        ("sweep/weights", [2], {SWEEP, "collect", "notebooks"}),
    ],
    ids=lambda value: "" if isinstance(value, set) else str(value),  # sets have another order in every process
)
def test_a_change_costs_the_stages_that_it_concerns(path: str, value: Any, stages: set[str], project: Path) -> None:
    if path.endswith(".py"):
        Path(path).write_text(f"{Path(path).read_text()}{value}\n")
    else:
        set_parameter(path, value)
    assert changed() == stages


def test_the_lock_says_of_each_cell_what_it_was_made_with(project: Path) -> None:
    """In full: a reference to another cell's settings would move with every cell that is recorded."""
    stages = re.split(r"^  (?=\w)", (project / "dvc.lock").read_text(), flags=re.MULTILINE)
    cells = [stage for stage in stages if stage.startswith("cell@")]
    assert len(cells) == 2
    assert not [stage for stage in cells if re.search(r"[&*]id\d", stage)]


def test_an_unknown_key_stops_the_pipeline_and_the_plan_with_the_sentence(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sentence = "error: params.yaml: thread: unknown key; allowed are "
    set_parameter("thread", 1)
    plan = CliRunner().invoke(app, ["plan"])
    assert plan.exit_code == 1
    assert plan.stderr.startswith(sentence)
    with pytest.raises(ReproductionError):
        repro("collect")
    stderr = capfd.readouterr().err
    assert sentence in stderr
    assert "did you mean 'threads'?" in stderr
    assert "Traceback" not in stderr


@pytest.fixture
def committed(project: Path) -> Path:
    """The finished project with everything that DVC does not keep in one commit."""
    for key, value in (("user.name", "A"), ("user.email", "a@example.org"), ("commit.gpgsign", "false")):
        subprocess.run(["git", "config", key, value], check=True)
    subprocess.run(["git", "add", "."], check=True)
    subprocess.run(["git", "commit", "--quiet", "-m", "one"], check=True)
    return project


def dvc(*arguments: str) -> Any:
    """What a DVC command prints, as JSON."""
    command = [sys.executable, "-m", "dvc", *arguments, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def test_dvc_shows_metrics_and_plots_and_an_experiment_with_another_weight_trains_its_cell_alone(
    committed: Path,
) -> None:
    path = "results/quick/metrics/digits-simple_cnn-12/{}.json"
    rows = dvc("metrics", "show")[""]["data"]
    assert set(rows) == {
        path.format("ce"),
        path.format("prototype-ssim"),
        "results/quick/metrics/decoy_digits-simple_cnn-12/rrr.json",
    }
    assert {"accuracy", "ssim", "epg_ink", "status", "seeds"} <= set(rows[path.format("ce")]["data"])

    before, times = cells(), {path: path.stat().st_mtime_ns for path in committed.glob("runs/quick/*/metrics.json")}
    name = "weights.digits.prototype-ssim"
    assert main(["exp", "run", "--quiet", "-S", f"{name}=5", "collect"]) == 0
    touched = {path.parent.name for path, mtime in times.items() if path.stat().st_mtime_ns != mtime}
    assert touched == {SSIM.removeprefix("cell@")}
    after = cells()
    assert after["ce"] == before["ce"]
    assert all(",ok," in line for line in after["prototype-ssim"])
    assert not set(after["prototype-ssim"]) & set(before["prototype-ssim"])
    (changed,) = dvc("params", "diff").values()
    assert changed == {name: {"old": 1, "new": 5, "diff": 4}}
    (of_cell,) = dvc("metrics", "diff").items()
    assert of_cell[0] == path.format("prototype-ssim")
    assert {"accuracy", "ssim"} & set(of_cell[1])

    assert main(["plots", "diff", "--out", "shown", "HEAD"]) == 0
    page = Path("shown/index.html").read_text("utf-8")
    for part in ("Accuracy on test images", "SSIM of single maps", "prototype-ssim", "workspace"):
        assert part in page

"""`python -m bench time`, and what `collect` makes of what it leaves."""

import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from typer.testing import CliRunner

from bench.__main__ import app
from bench.errors import BenchError
from bench.params import load
from bench.report.collect import collect
from bench.report.results import read_timing
from bench.report.timing_rows import read
from bench.timing import measure, run
from bench.timing.conftest import Measurements
from bench.timing.groups import Group
from bench.timing.measure import Measured
from tests.report.timings import content, written

ROOT = Path(__file__).parents[2]
#: Of a measurement by hand, and of its part that makes the map.
ROUNDS, ALONE = [3.0, 1, 2, 6, 4, 5], [0.5, 0.25, 0.5, 0.5, 0.5, 0.5]


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    return written(content(), tmp_path)


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The smallest profile that times something, as the current directory."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["timing"] |= {"seconds": 0.01, "backbone": ["simple_cnn"], "resolution": [12], "threads": 1}
    content["timing"] |= {"batch": {"cpu": [2], "cuda": [2]}, "step_batch": 2}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_leaves_json_and_table_and_resumes_where_it_stopped(
    profile: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    measured: list[str] = []
    real = measure.measure

    def counted(group: Any, *args: Any) -> Any:
        measured.append(group.name)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return real(group, *args)

    monkeypatch.setattr("bench.timing.conftest.measure", counted)
    runner = CliRunner()
    interrupted = runner.invoke(app, ["time", "cpu"])
    assert interrupted.exit_code == 130
    assert not list(Path("results").rglob("*.json"))
    assert not list(Path("runs/quick").iterdir())
    torch.set_num_threads(2)
    torch.backends.cudnn.allow_tf32 = True
    try:
        result = runner.invoke(app, ["time", "cpu"])
        assert (torch.get_num_threads(), torch.backends.cudnn.allow_tf32) == (1, False)
    finally:
        torch.set_num_threads(1)
    assert (result.exit_code, result.stdout.splitlines()[-2:]) == (
        0,
        ["runs/quick/timing-cpu.json", "results/quick/timing-cpu.json"],
    )
    assert len(measured) == 3  # the first group was not measured twice
    assert len(set(measured)) == 2
    assert not list(Path("runs/.partial").iterdir())
    about = json.loads(Path("results/quick/timing-cpu.json").read_text())
    assert "node" not in about["machine_info"]
    assert about["machine_info"]["versions"]["torch"] == version("torch")
    assert about["machine_info"]["threads"] == 1
    assert len(about["benchmarks"]) == 11 + 8
    made_with, found = read(Path("runs/quick/timing-cpu.json"))
    assert made_with == load(Path("params.yaml")).timing.settings("cpu")
    assert set(found["status"]) == {"ok"}
    assert (found["floor_ratio"] > 0).all()


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("cuda", "error: time cuda: torch finds no GPU here; leave cuda out of timing.devices"),
        ("tpu", "error: unknown device 'tpu': choose one of cpu, cuda"),
    ],
)
def test_a_device_that_is_not_there_is_one_sentence(
    device: str, sentence: str, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(app, ["time", device])
    assert result.exit_code != 0
    assert sentence in result.stderr
    assert not Path("results").exists()


def test_a_suite_that_fails_leaves_nothing_and_says_so(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def broken(self: Measurements, group: Any) -> Any:
        asked.append(group)
        raise RuntimeError(f"no more than {len(asked)}")

    monkeypatch.setattr(Measurements, "_measure", broken)
    with pytest.raises(BenchError, match=r"the timing suite stopped: RuntimeError: no more than 1$"):
        run.run(load(Path("params.yaml")), Path("params.yaml"), "cpu")
    assert len(asked) == 1
    assert not list(Path("results").rglob("*.json"))


def by_hand(group: Group, *_: Any) -> list[Measured]:
    """What `measure` gives, but for the last contender, which is not there."""
    *ok, last = measure.names(group)
    found = [Measured(group, name, "layer", "ok", 1e-6, 100, ROUNDS, ALONE) for name in ok]
    return [*found, Measured(group, last, "layer", "not measured: no")]


def test_the_json_holds_every_round_in_its_order_and_who_was_not_measured(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.timing.conftest.measure", by_hand)
    run.run(load(Path("params.yaml")), Path("params.yaml"), "cpu")
    content = json.loads(Path("results/quick/timing-cpu.json").read_text())
    assert {tuple(b["stats"]["data"]) for b in content["benchmarks"]} == {tuple(ROUNDS)}
    assert {tuple(b["extra_info"]["map_seconds"]) for b in content["benchmarks"]} == {tuple(ALONE)}
    absent = {(row["contender"], row["status"]) for row in content["not_measured"]}
    assert absent == {("pytorch-grad-cam", "not measured: no"), ("batchcam-ssim", "not measured: no")}


@pytest.mark.parametrize(("lacking", "times"), [(1, 2), (0, 1)])
def test_a_group_is_measured_again_by_the_next_run_where_someone_was_lacking(
    lacking: int, times: int, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"--timing-params": Path("params.yaml"), "--timing-device": "cpu", "--timing-kept": Path("kept")}
    config: Any = SimpleNamespace(getoption=options.__getitem__)
    display: Any = SimpleNamespace(done=lambda name, seconds: None)
    group = Group("maps", "simple_cnn", 12, 2)
    found = by_hand(group)
    seen: list[Group] = []

    def measured(group: Group, *_: Any) -> list[Measured]:
        seen.append(group)
        return found[: len(found) - 1 + lacking]

    monkeypatch.setattr("bench.timing.conftest.measure", measured)
    first, second = (Measurements(config, display).of(group) for _ in range(2))
    assert first == second
    assert len(seen) == times


def test_an_interrupted_run_is_resumed_only_by_the_same_code_parameters_and_machine(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("bench", "batchcam"):
        shutil.copytree(ROOT / package, profile / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(run, "SUITE", profile / "bench/timing")
    params = load(Path("params.yaml"))
    longer = params.model_copy(update={"timing": params.timing.model_copy(update={"seconds": 9.0})})
    found = [run._identity(params, "cpu"), run._identity(longer, "cpu")]
    assert run._identity(params, "cpu") == found[0]
    for path in ("bench/timing/memory.py", "batchcam/ssim.py"):
        with Path(path).open("a") as file:
            file.write("# another line\n")
        found.append(run._identity(params, "cpu"))
    for module, name in ((platform, "node"), (run, "versions")):
        monkeypatch.setattr(module, name, lambda: "another")
        found.append(run._identity(params, "cpu"))
    assert len(set(found)) == len(found)


def test_collect_has_a_row_for_every_contender_or_for_the_device_that_is_missing(
    profile: Path, table: pd.DataFrame
) -> None:
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["timing"]["devices"] = ["cpu", "cuda"]
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    params = load(Path("params.yaml"))
    params.runs.mkdir(parents=True)
    params.bounds_file("digits").write_text("dataset\n")
    made = content()
    made["machine_info"]["parameters"] = params.timing.settings("cpu")
    params.timing_file("cpu").write_text(json.dumps(made))
    collect(params)
    found = read_timing(params.results / "timing.csv")
    assert len(found) == len(table) + 1
    assert found.iloc[-1][["device", "status"]].tolist() == ["cuda", "missing"]
    pd.testing.assert_frame_equal(found.iloc[:-1][["floor_ratio"]], table[["floor_ratio"]].reset_index(drop=True))
    made["machine_info"]["parameters"]["threads"] = 99
    params.timing_file("cpu").write_text(json.dumps(made))
    collect(params)
    assert read_timing(params.results / "timing.csv")["status"].tolist() == ["stale", "missing"]

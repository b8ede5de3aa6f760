"""A small part of `make test-faults`: docs/faults.md says what it holds."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from bench.__main__ import app
from bench.errors import BenchError
from bench.params import Params, check_all, load
from bench.run import pipeline
from tests.faults import commands, parameters
from tests.faults.rows import ROWS

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", parameters.NAMED)
def test_a_broken_file_is_refused_with_its_sentence(name: str, folder: Path) -> None:
    assert parameters.named(name, folder).wrong == ""


@pytest.mark.parametrize("name", parameters.DRAWN)
def test_whatever_a_file_holds_it_is_refused_readably_or_means_to_dvc_what_it_means_to_us(
    name: str, folder: Path
) -> None:
    tries = parameters.drawn(parameters.DRAWN[name], 60, folder)
    assert [one.wrong for one in tries if one.wrong] == []
    assert len(tries) >= 50


def test_small_aliases_and_merges_are_as_good_as_their_content(folder: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    expected = load_in(folder, text)
    changed = text.replace("    px23: {<<: *resnet18}\n", "    px23:\n      <<: *resnet18\n      epochs: 7\n", 1)
    assert changed != text
    found = load_in(folder, changed)
    assert found.trained("resnet18", 23) == expected.trained("resnet18", 20).model_copy(update={"epochs": 7})
    assert load_in(folder, text.replace("3.0e-3", "3e-3")) == expected  # as DVC reads it


def load_in(folder: Path, text: str) -> Params:
    (folder / "params.yaml").write_text(text)
    return load(Path("params.yaml"))


def test_of_many_mistakes_the_first_are_told_and_the_others_counted(folder: Path) -> None:
    text = (ROOT / "params.yaml").read_text() + "".join(f"key_{i}: 1\n" for i in range(50))
    with pytest.raises(BenchError) as caught:
        load_in(folder, text)
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "params.yaml: and 30 more"


def test_a_profile_must_name_its_own_place(folder: Path) -> None:
    path = Path("profiles/other/params.yaml")
    path.parent.mkdir(parents=True)
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    for change, sentence in (
        ({}, "root must be '../..', as the file is there, got '.'"),
        ({"root": "../.."}, "params_file must be 'profiles/other/params.yaml'"),
        ({"params_file": str(path)}, "profile must be 'other', as the file is there, got 'quick'"),
    ):
        content |= change
        path.write_text(yaml.safe_dump(content))
        with pytest.raises(BenchError, match=re.escape(sentence)):
            load(path)
    path.write_text(yaml.safe_dump(content | {"profile": "other"}))
    assert load(path).profile == "other"
    with pytest.raises(BenchError, match=r"a profile is params.yaml or profiles/NAME/params.yaml, seen from"):
        load(path.rename("elsewhere.yaml"))
    assert check_all() == []


def test_dvc_is_not_called_while_any_profile_is_wrong(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("DVC was called"))
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("DVC was called"))
    text = (ROOT / "params.yaml").read_text()
    params = load_in(folder, text)
    broken = Path("profiles/broken/params.yaml")
    broken.parent.mkdir(parents=True)
    broken.write_text("profile: [\n")
    for call in (pipeline.states, pipeline.prepare_data, pipeline.repro):
        with pytest.raises(BenchError, match=r"profiles/broken/params\.yaml is not YAML"):
            call(params)
    result = CliRunner().invoke(app, ["check"])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith("error: profiles/broken/params.yaml is not YAML: line ")


def test_repro_becomes_dvc_while_it_holds_the_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []

    def execv(path: str, arguments: list[str]) -> None:
        called.append(arguments)
        lock = str(folder / "runs" / ".lock")
        held = [int(path.name) for path in Path("/proc/self/fd").iterdir() if os.path.realpath(path) == lock]
        assert [os.get_inheritable(fd) for fd in held] == [True]

    monkeypatch.setattr(os, "execv", execv)
    pipeline.repro(load_in(folder, (ROOT / "params.yaml").read_text()))
    assert [arguments[1:] for arguments in called] == [["-m", "dvc", "--wait-for-lock", "repro", "dvc.yaml"]]


def test_a_list_of_locks_that_was_cut_off_keeps_nobody_out(folder: Path) -> None:
    path = folder / ".dvc/tmp/rwlock"
    path.parent.mkdir(parents=True)
    for content, stays in (("{}", True), ('{"read": {"a', False), ("", False)):
        path.write_text(content)
        with pipeline.only_runner():
            assert path.exists() == stays
    with pipeline.only_runner():  # none at all
        pass


def test_dvc_alone_runs_no_shell_command_that_is_a_name(tmp_path: Path) -> None:
    """With all that DVC looks for in place: the first command of the stage refuses the parameters."""
    assert commands.injection(tmp_path / "private", commands.injections()["loss"]).wrong == ""


def test_every_stage_is_tried_with_a_full_disk() -> None:
    tried = {row.fault for row in ROWS if row.group == "Full disk"}
    stages = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]) | {"prepare", "run", "repro", "ledger"}
    same_code = {"control", "decoy", "dose", "network", "control_sweep"}
    assert {f"`bench {stage}`" for stage in stages - same_code} == tried

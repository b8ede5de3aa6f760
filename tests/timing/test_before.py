"""The code before, measured on this machine, decides where the committed expectation does not fit."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.errors import BenchError
from bench.timing import before, regress
from bench.timing.regress import EXPECTATION, Checked

AS_EXPECTED = Checked("all is well", [], [])
SLOWER = Checked("one is slower", ["a row: 2, 100 % above the 1 expected"], [])
UNCLEAR = Checked("one is unclear", [], ["a row: 1.1 [0.9, 1.3]"])


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    ran = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return ran.stdout.strip()


def commit(folder: Path, **files: str) -> str:
    """Commit files, path by path, and return the commit."""
    for path, content in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(content)
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "one")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty clone, from which `regress_from` takes the code before."""
    git(tmp_path, "init", "--quiet")
    monkeypatch.setattr(before, "ROOT", tmp_path)
    return tmp_path


def code(script: str) -> dict[str, str]:
    """The files of a clone whose `python -m bench` runs a script."""
    return {"batchcam/__init__.py": "", "bench/__init__.py": "", "bench/__main__.py": script}


def test_the_commit_is_the_last_that_changed_the_expectation(clone: Path) -> None:
    commit(clone, **{"expected.json": "1"})
    second = commit(clone, **{"expected.json": "2"})
    commit(clone, other="")
    assert before.commit_of(clone / "expected.json") == second
    (clone / "expected.json").write_text("3")
    with pytest.raises(BenchError, match=r"^expected.json has changes that are not committed$"):
        before.commit_of(clone / "expected.json")
    with pytest.raises(BenchError, match=r"no commit of this clone has .*another.json"):
        before.commit_of(clone / "another.json")


def test_a_shallow_clone_tells_only_what_it_can(clone: Path) -> None:
    commit(clone, **{"expected.json": "1"})
    second = commit(clone, **{"expected.json": "2"})
    commit(clone, other="")
    commit(clone, other="more")
    for depth in (1, 2, 3):
        git(clone, "clone", "--quiet", "--depth", str(depth), clone.as_uri(), f"depth-{depth}")
        with pytest.raises(BenchError, match=r"^this clone is too shallow to tell which commit wrote expected.json$"):
            before.commit_of(clone / f"depth-{depth}" / "expected.json")
    git(clone, "clone", "--quiet", "--depth", "4", clone.as_uri(), "depth-4")
    assert before.commit_of(clone / "depth-4" / "expected.json") == second


def test_without_a_clone_or_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BenchError, match=r"^git log: .*not a git repository"):
        before.commit_of(tmp_path / "expected.json")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match=r"^git is not installed$"):
        before.commit_of(tmp_path / "expected.json")


def test_the_code_before_writes_what_the_present_code_is_compared_with(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "import json, sys, bench; json.dump([sys.argv[1:3], bench.__file__], open(sys.argv[-1], 'w'))"
    first = commit(clone, **code(script))
    commit(clone, **code("raise SystemExit('not the code before')"))
    read: list[Any] = []
    monkeypatch.setattr(before, "regress", lambda path: read.append(json.loads(path.read_text())) or SLOWER)
    assert before.regress_from(first) == SLOWER
    [[arguments, where]] = read
    assert arguments == ["regress", "--update"]
    assert not where.startswith(str(clone))
    assert not Path(where).exists()


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("raise SystemExit('error: no torch')", "^the code of {} could not be measured: error: no torch$"),
        ("raise SystemExit(9)", "^the code of {} could not be measured: exit status 9$"),
    ],
)
def test_code_that_cannot_be_measured_is_one_sentence(script: str, sentence: str, clone: Path) -> None:
    first = commit(clone, **code(script))
    with pytest.raises(BenchError, match=sentence.format(first[:8])):
        before.regress_from(first)


def test_a_commit_that_the_clone_lacks_is_one_sentence(clone: Path) -> None:
    with pytest.raises(BenchError, match=r"^git archive: fatal: .*0{40}"):
        before.regress_from("0" * 40)


def test_a_machine_too_busy_for_the_code_before_is_unclear(clone: Path) -> None:
    first = commit(clone, **code("raise SystemExit(3)"))
    assert before.regress_from(first) == Checked("", [], [f"what to expect of the code of {first[:8]}"])


@pytest.mark.parametrize(
    ("first", "here", "status", "said"),
    [
        (AS_EXPECTED, SLOWER, 0, ""),  # is not asked
        (SLOWER, AS_EXPECTED, 0, ""),
        (UNCLEAR, AS_EXPECTED, 0, ""),
        (SLOWER, SLOWER, 1, "error: slower than expected, or wrong:\na row: 2, 100 % above"),
        (UNCLEAR, SLOWER, 1, "error: slower than expected, or wrong:\na row: 2, 100 % above"),
        (SLOWER, UNCLEAR, 3, "could not tell, the machine was too busy:\na row: 1.1 [0.9, 1.3]"),
        (
            SLOWER,
            BenchError("git is not installed"),
            1,
            "expectation decides, since git is not installed\nerror: slower",
        ),
        (UNCLEAR, BenchError("git is not installed"), 3, "expectation decides, since git is not installed\ncould not"),
    ],
)
def test_the_code_before_decides(
    first: Checked, here: Checked | BenchError, status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def regress_from(commit: str) -> Checked:
        asked.append(commit)
        if isinstance(here, BenchError):
            raise here
        return here

    monkeypatch.setattr(regress, "regress", lambda path, update: first)
    monkeypatch.setattr(before, "commit_of", lambda path: "c0ffee" * 7 if path == EXPECTATION else "")
    monkeypatch.setattr(before, "regress_from", regress_from)
    result = CliRunner().invoke(app, ["regress"])
    assert result.exit_code == status
    assert said in result.stderr
    assert asked == ([] if first == AS_EXPECTED else ["c0ffee" * 7])
    assert (AS_EXPECTED.table in result.stdout) == (AS_EXPECTED in (first, here))


def test_an_expectation_of_ones_own_decides_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(regress, "regress", lambda path, update: SLOWER)
    monkeypatch.setattr(before, "commit_of", asked.append)
    assert CliRunner().invoke(app, ["regress", "--expectation", str(tmp_path / "x.json")]).exit_code == 1
    assert CliRunner().invoke(app, ["regress", "--update"]).exit_code == 1
    assert asked == []

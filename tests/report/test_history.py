"""Which came first, by Git."""

import subprocess
from pathlib import Path

import pandas as pd
import pytest

from bench.report.history import RULES_FILE, TESTS_FILES, history


def git(*arguments: str) -> str:
    """What Git says."""
    names = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *names, *arguments], capture_output=True, text=True, check=True).stdout.strip()


def committed() -> str:
    """The hash of a new commit of all that lies there."""
    git("add", ".")
    git("commit", "--quiet", "--allow-empty", "-m", "one")
    return git("rev-parse", "HEAD")


def test_it_counts_the_commits_before_and_after_the_rules_and_what_was_not_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    before = committed()
    Path(RULES_FILE).parent.mkdir(parents=True)
    Path(RULES_FILE).write_text("margin = 1")
    rules = committed()
    Path(TESTS_FILES[0]).write_text("t = 1")
    tests = committed()
    after = committed()
    trainings = pd.DataFrame({"commit": [before, before, after, f"{after}-dirty", None]})
    text = history({"quick": trainings, "empty": trainings.iloc[:0]})
    assert f"({RULES_FILE}) were last changed in {rules[:7]}" in text
    assert f"choice of weights was last changed in {tests[:7]}" in text
    assert "trained at 2 commits, 1 of them after the margins, 1 of 4 trainings with uncommitted" in text
    assert "empty" not in text


def test_without_a_repository_it_says_that_git_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert history({}).startswith("Git does not know")

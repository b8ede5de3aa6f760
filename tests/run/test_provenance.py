"""What a cell was made from, by Git."""

import subprocess
from pathlib import Path

import pytest

from bench.run.provenance import commit


def git(*arguments: str) -> str:
    """What Git says."""
    names = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *names, *arguments], capture_output=True, text=True, check=True).stdout.strip()


def test_a_commit_is_dirty_where_the_code_of_cells_differs_from_it_and_only_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert commit() is None
    git("init", "--quiet")
    assert commit() is None
    for name in ("batchcam/maps.py", "bench/cell/training.py", "dvc.lock"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("1")
    git("add", ".")
    git("commit", "--quiet", "-m", "one")
    head = git("rev-parse", "HEAD")
    assert commit() == head
    Path("dvc.lock").write_text("2")
    assert commit() == head
    Path("bench/cell/training.py").write_text("2")
    assert commit() == f"{head}-dirty"
    git("checkout", "--quiet", "bench")
    Path("batchcam/new.py").write_text("")
    assert commit() == f"{head}-dirty"

"""Broken parameters at the command line, and at DVC's own."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from . import project
from .child import bench
from .parameters import NAMED
from .tries import Try, refusal

#: What a name says that a shell would run.
SHELL = "x; touch y #"
_SENTENCES = "(unknown name|valid integer|params_file must be|root must be|profile: string should match)"


def refused_by_commands() -> list[Try]:
    """Each broken file by name, before each of two commands."""
    found = []
    for make, words in NAMED.values():
        for command in ("check", "plan"):
            with tempfile.TemporaryDirectory() as folder:
                for name in ("evidence", "paper", "reduced"):
                    Path(folder, "profiles", name).mkdir(parents=True)
                Path(folder, "params.yaml").write_bytes(make())
                tried = refusal(bench(command, cwd=Path(folder), seconds=20), words)
                left = [path.name for path in Path(folder).iterdir() if path.name not in ("params.yaml", "profiles")]
                found.append(tried._replace(wrong=tried.wrong or (f"left behind: {left}" if left else "")))
    return found


def injections() -> dict[str, dict[str, object]]:
    """Parameters that DVC takes, each with a shell command in another place; all else that DVC looks for is there."""
    found = {}
    for place in ("dataset", "backbone", "loss", "resolution", "device", "params_file", "profile", "root"):
        content = yaml.safe_load(yaml.safe_dump(project.parameters()))
        grid = content["grid"]
        if place == "device":
            content["timing"] = yaml.safe_load((project.ROOT / "params.yaml").read_text())["timing"]
            content["timing"] |= {"devices": [SHELL], "batch": {SHELL: [1]}}
        elif place in content:
            content[place] = SHELL
        else:
            grid[place] = [SHELL]
        for section in (content["weights"], grid["seeds"]):
            section[SHELL] = dict(section["digits"])
        for section in (*content["weights"].values(), *grid["seeds"].values(), content["training"], content["road"]):
            section[SHELL] = section.get("simple_cnn", section.get("ce"))
        for sizes in content["training"].values():
            sizes[f"px{SHELL}"] = sizes[next(iter(sizes))]
        found[place] = content
    return found


def injected(states: Path) -> list[Try]:
    """`dvc repro` without a check before: no stage runs what a name says."""
    return [injection(states / "private", content) for content in injections().values()]


def injection(private: Path, content: dict[str, object]) -> Try:
    """One of `injections`, in a project of its own with every file that DVC looks for."""
    with tempfile.TemporaryDirectory() as folder:
        place = project.create(Path(folder, "project"))
        text = yaml.safe_dump(content)
        (place / "params.yaml").write_text(text, encoding="utf-8")
        if content["root"] == SHELL:
            (place / SHELL).symlink_to(place)
        else:
            (place / SHELL).write_text(text, encoding="utf-8")
        for name in ("digits", SHELL):
            (place / "data" / f"{name}.safetensors").write_bytes(b"")
        (place / "data" / "dvc.yaml").unlink()
        ran = subprocess.run(
            [sys.executable, "-m", "dvc", "repro", "--keep-going"],
            cwd=place,
            env=project.environment(private),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        said = ran.stdout + ran.stderr
        wrong = "" if ran.returncode else "DVC was content"
        if list(place.rglob("y")):
            wrong = "the shell command was run"
        elif not re.search(rf"^error: params.yaml: .*{_SENTENCES}", said, re.M):
            wrong = wrong or f"no sentence: {said[-400:]}"
        return Try("refused", wrong)

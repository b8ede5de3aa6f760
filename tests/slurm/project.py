"""A project of eight cells, and what is asked of it: runs at home and on Slurm, and the bytes that they leave."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.tiny import NO_CELLS, OTHERS, seeds

ROOT = Path(__file__).parents[2]
LOSSES = ("ce", "prototype-l1", "prototype-l2", "prototype-ssim", "batchcam-l1", "batchcam-l2", "batchcam-ssim", "rrr")
RUNS = Path("runs", "quick")


def parameters(count: int = 2, epochs: int = 1, **slurm: Any) -> dict[str, Any]:
    """Eight cells, each with so many seeds of so many epochs."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    one = {"dataset": ["digits"], "backbone": ["simple_cnn"], "resolution": [12]}
    content |= dict.fromkeys(OTHERS, NO_CELLS) | {"road": {"simple_cnn": []}, "timing": {"devices": []}}
    content["grid"] = one | {"loss": list(LOSSES), "seeds": seeds(count)}
    few = {"train_images": 256, "test_images": 60, "epochs": epochs}
    content["training"]["simple_cnn"] = {"px12": content["training"]["simple_cnn"]["px23"] | few}
    return content | {"slurm": {"time": 10, "partition": "test"} | slurm}


def create(folder: Path, content: dict[str, Any]) -> Path:
    """The project with these parameters, and without data; its folder."""
    for name in ("batchcam", "bench"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "data/dvc.yaml", "data/.gitignore", ".dvc/config", ".dvc/.gitignore", ".dvcignore"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copyfile(ROOT / ".gitignore", folder / ".gitignore")
    (folder / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def environment(private: Path) -> dict[str, str]:
    """What commands run with: this Python, one thread, and nothing of the user's settings."""
    names = ("DVC_SITE_CACHE_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_GLOBAL_CONFIG_DIR")
    own = {name: str(private / name) for name in names} | {"OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **own, "PATH": path, "PYTHONPATH": ""}


def metrics(folder: Path) -> dict[str, bytes]:
    """Of every cell that is there."""
    return {path.parent.name: path.read_bytes() for path in sorted((folder / RUNS).glob("*/metrics.json"))}


def trainings(folder: Path) -> dict[str, int]:
    """How many seeds each cell's record names."""
    found = (folder / RUNS).glob("*/provenance.json")
    return {path.parent.name: len(json.loads(path.read_text())["seconds"]) for path in found}

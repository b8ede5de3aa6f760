"""CONTRIBUTING.md's word is kept: a loss and a backbone are added to a copy of the tree, two files each, and run.

The loss is that of docs/your-own-loss.md.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.tiny import NO_CELLS, OTHERS

ROOT = Path(__file__).parents[1]


def insert(path: Path, before: str, text: str) -> None:
    """Add lines to a file, in front of a line that it has once."""
    content = path.read_text(encoding="utf-8")
    assert content.count(before) == 1, f"{before!r} in {path}"
    path.write_text(content.replace(before, text + before), encoding="utf-8")


def test_a_loss_and_a_backbone_are_added_in_two_files_and_run(tmp_path: Path) -> None:
    for name in ("batchcam", "bench"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "data/dvc.yaml", "data/.gitignore", ".dvc/config", ".dvcignore", ".gitignore"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)

    page = (ROOT / "docs/your-own-loss.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE))
    names = tmp_path / "bench/names.py"
    insert(names, '        Loss("rrr",', f"        {blocks['bench/names.py'].strip()},\n")
    insert(names, '        Backbone("resnet18", ', '        Backbone("wide_cnn", "WideCNN", "paper", 12),\n')
    losses = tmp_path / "bench/cell/losses.py"
    insert(losses, '    "noise": _noise,\n', f"    {blocks['bench/cell/losses.py']}")
    insert(tmp_path / "bench/cell/backbones.py", '    "resnet18": _resnet18,\n', '    "wide_cnn": _simple_cnn,\n')

    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    shown = yaml.safe_load(blocks["params.yaml"])
    content["grid"] = {"dataset": ["digits"], "backbone": ["wide_cnn"], "resolution": [12]} | shown["grid"]
    content["grid"]["seeds"] = {"digits": {"wide_cnn": 2}}
    content |= dict.fromkeys(OTHERS, NO_CELLS) | {"timing": {"devices": []}}
    content["weights"]["digits"] |= shown["weights"]["digits"]
    content["road"]["wide_cnn"] = []
    few = {"train_images": 64, "test_images": 60, "epochs": 1}
    content["training"]["wide_cnn"] = {"px12": content["training"]["simple_cnn"]["px23"] | few}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")

    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": "", "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}
    for command in (("bench", "run", "--jobs", "1"), ("dvc", "repro", "report")):
        ran = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
    cells = (tmp_path / "results/quick/cells.csv").read_text().splitlines()
    assert [line.split(",")[:6] for line in cells[1:]] == [
        ["digits", "wide_cnn", "edge-l2", "12", seed, "ok"] for seed in ("0", "1")
    ]
    assert "WideCNN" in (tmp_path / "results/quick/tables/saliency.md").read_text()
    made = json.loads((tmp_path / "runs/quick/digits-wide_cnn-edge-l2-12/metrics.json").read_text())
    assert [row["seed"] for row in made] == [0, 1]

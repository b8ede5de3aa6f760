"""A small project of two cells and a sweep, for what happens to the machine while it runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from tests.tiny import NO_CELLS, OTHERS, seeds, write_notebook

ROOT = Path(__file__).parents[2]
RUNS, RESULTS = "runs/quick", "results/quick"
CELL = ("cell", "digits", "simple_cnn", "prototype-ssim", "12")
SWEEP = ("sweep", "digits", "simple_cnn", "prototype-ssim", "12")
TIME = ("time", "cpu")
#: What `make repro` does.
REPRO = (("run",), ("repro",), ("ledger",))


def parameters() -> dict[str, object]:
    """Two cells with two seeds each, and a sweep. Nothing is timed in the pipeline, so that two runs give the same
    bytes; `bench time` is quick.
    """
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    one = {"dataset": ["digits"], "backbone": ["simple_cnn"], "resolution": [12]}
    content |= dict.fromkeys(OTHERS, NO_CELLS) | {"road": {"simple_cnn": []}}
    content["timing"] |= {"devices": [], "seconds": 0.01, "backbone": ["simple_cnn"], "resolution": [12]}
    content["timing"] |= {"batch": {"cpu": [2]}, "step_batch": 2}
    content["grid"] = one | {"loss": ["ce", "prototype-ssim"], "seeds": seeds(2)}
    content["sweep"] = one | {"loss": ["prototype-ssim"], "weights": [1], "seeds": 1, "epochs": 1}
    settings = next(iter(content["training"]["simple_cnn"].values()))
    settings |= {"train_images": 256, "test_images": 60, "epochs": 2}
    content["training"]["simple_cnn"] = {"px12": settings}
    return dict(content)


def create(folder: Path) -> Path:
    """The project, without data and results; its folder."""
    for name in ("batchcam", "bench"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    pipeline = ("dvc.yaml", "data/dvc.yaml", "data/.gitignore", ".dvc/config", ".dvc/.gitignore", ".dvcignore")
    for name in (*pipeline, ".gitignore", "docs/choices.md"):  # the last is a part of report.html
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    write_notebook(folder)
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters()), encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def environment(private: Path) -> dict[str, str]:
    """What commands run with: this Python, one thread, and nothing of the user's settings."""
    names = ("DVC_SITE_CACHE_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_GLOBAL_CONFIG_DIR")
    own = {name: str(private / name) for name in names}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **own, "PATH": path, "PYTHONPATH": "", "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}


def start(folder: Path, private: Path, *arguments: str) -> "subprocess.Popen[str]":
    """`python -m bench …`, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments],
        cwd=folder,
        env=environment(private),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(folder: Path, private: Path, *commands: tuple[str, ...]) -> None:
    """Commands that have to succeed, one after the other."""
    for arguments in commands:
        process = start(folder, private, *arguments)
        _, err = process.communicate(timeout=300)
        if process.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: exit {process.returncode}: {err[-400:]}")


#: Files that tell seconds, or what else differs from run to run.
_OWN = re.compile(r"/provenance\.json$|/trainings\.csv$|^results/times\.md$|/timing-cpu\.json$")


def results(folder: Path) -> dict[str, bytes]:
    """Every file under a final name, by its path; of those that differ from run to run, whether they are whole."""
    found = {name: folder / name for place in ("data", RUNS, "results") for name in matching(folder, f"{place}/**/*")}
    return {name: _whole(path) if _OWN.search(name) else path.read_bytes() for name, path in found.items()}


def matching(folder: Path, pattern: str) -> list[str]:
    """The paths of the files that a pattern means, as seen from the folder; without those that are being written."""
    paths = [path.relative_to(folder) for path in sorted(folder.glob(pattern)) if path.is_file()]
    aside = [path for path in paths if any(part.startswith(".") for part in path.parts)]
    return [str(path) for path in paths if path not in aside and path.suffix != ".dvc" and path.name != "dvc.yaml"]


def _whole(path: Path) -> bytes:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        try:
            json.loads(text)
        except ValueError:
            return text.encode()
    return b"whole" if text.endswith(("\n", "}", "]")) else text.encode()


def differences(found: Mapping[str, bytes], whole: Mapping[str, bytes], needed: Iterable[str] = ()) -> str:
    """What is there and is not the whole file, and what is needed and not there. Nothing: all is well."""
    wrong = [f"{name} differs" for name, content in found.items() if whole.get(name) != content]
    return ", ".join([*wrong, *(f"{name} is missing" for name in needed if name not in found)])

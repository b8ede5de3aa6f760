"""Generate docs/architectures.md: `python -m tests.architectures`, or `make architectures`.

Each row runs in a process of its own, with bounds on its time and memory. What is finished is kept in build/ and not
repeated, as long as neither `batchcam`, this folder nor a library has changed.
"""

import hashlib
import importlib.metadata
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from .compare import bounded, wrong
from .rows import ROWS
from .table import page

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architectures.md"
LIBRARIES = ("torch", "torchvision", "timm", "captum", "grad-cam", "torchcam")


def main(jobs: Annotated[int, typer.Option(help="Rows side by side, one thread each.")] = 2) -> None:
    """Compare every row, and write docs/architectures.md."""
    finished = ROOT / "build" / "architectures" / fingerprint()
    finished.mkdir(parents=True, exist_ok=True)
    paths = [finished / f"{hashlib.sha256(repr(row).encode()).hexdigest()[:16]}.json" for row in ROWS]
    missing = [i for i, path in enumerate(paths) if not path.exists()]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([f"{__package__}.compare"])  # the imports, 5 s, once for all
    with ProcessPoolExecutor(jobs, context, max_tasks_per_child=1) as pool:
        running = {pool.submit(bounded, ROWS[i].name): i for i in missing}
        for future in tqdm(as_completed(running), total=len(ROWS), initial=len(ROWS) - len(missing), unit="row"):
            i = running[future]
            found = future.result()
            if "error" in found:
                tqdm.write(f"{ROWS[i].name}: {found['error']}")
                continue
            for fault in wrong(ROWS[i], found):
                tqdm.write(f"{ROWS[i].name}: {fault}")
            unfinished = paths[i].with_suffix(".part")
            unfinished.write_text(json.dumps(found), encoding="utf-8")
            unfinished.replace(paths[i])
    lost = [row.name for row, path in zip(ROWS, paths, strict=True) if not path.exists()]
    if lost:
        raise SystemExit(f"{PAGE.name} is not written, since {len(lost)} of {len(ROWS)} rows failed: {'; '.join(lost)}")
    results = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    PAGE.write_text(page(results, versions), encoding="utf-8")
    bad = [row.name for row, found in zip(ROWS, results, strict=True) if wrong(row, found)]
    if bad:
        raise SystemExit(f"{len(bad)} of {len(ROWS)} rows are wrong: {'; '.join(bad)}")


def fingerprint() -> str:
    """Of everything that a row's result depends on."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "batchcam").glob("*.py"), Path(__file__).with_name("compare.py")]):
        digest.update(path.read_bytes())
    digest.update(repr([importlib.metadata.version(name) for name in LIBRARIES]).encode())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    # One thread for each row, and huge pages: else the gradients of a large model are mapped page by page.
    os.environ |= {"OMP_NUM_THREADS": "1", "THP_MEM_ALLOC_ENABLE": "1"}
    typer.run(main)

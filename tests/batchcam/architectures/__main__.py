"""Generate docs/architectures.md: `python -m tests.batchcam.architectures`, or `make architectures`.

Each row runs in a process of its own, with bounds on its time and memory. What is finished is kept in build/ and not
repeated, as long as neither `batchcam`, what compares, nor a library has changed.
"""

import hashlib
import importlib.metadata
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from .compare import bounded
from .judge import wrong
from .rows import ROWS, Row
from .table import page

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "architectures.md"
LIBRARIES = ("torch", "torchvision", "timm", "captum", "grad-cam", "torchcam")


def main(jobs: Annotated[int, typer.Option(help="Rows side by side, one thread each.")] = 2) -> None:
    """Compare every row, and write docs/architectures.md."""
    finished = ROOT / "build" / "architectures" / fingerprint()
    finished.mkdir(parents=True, exist_ok=True)
    paths = [finished / f"{key(row)}.json" for row in ROWS]
    missing = [i for i, path in enumerate(paths) if not path.exists()]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([f"{__package__}.compare"])  # the imports, 5 s, once for all
    with ProcessPoolExecutor(jobs, context, max_tasks_per_child=1) as pool:
        running = {pool.submit(bounded, ROWS[i].name): i for i in missing}
        for future in tqdm(as_completed(running), total=len(ROWS), initial=len(ROWS) - len(missing), unit="row"):
            i = running[future]
            try:
                found = future.result()
            except BrokenProcessPool:
                found = {"error": "a process ended without a word, maybe killed for its memory; start again"}
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
    PAGE.write_text(page(ROWS, results, versions), encoding="utf-8")
    bad = [row.name for row, found in zip(ROWS, results, strict=True) if wrong(row, found)]
    if bad:
        raise SystemExit(f"{len(bad)} of {len(ROWS)} rows are wrong: {'; '.join(bad)}")


def key(row: Row) -> str:
    """Of all that the row says to compare, the same in every process."""
    layout: Any = row.layout and row.layout.name
    said = row._replace(layout=layout, fast=False)
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def fingerprint() -> str:
    """Of everything else that a row's result depends on."""
    digest = hashlib.sha256()
    ours = [Path(__file__).with_name(f"{name}.py") for name in ("compare", "definition", "models", "ours", "peers")]
    for path in [*sorted((ROOT / "batchcam").glob("*.py")), *ours]:
        digest.update(path.read_bytes())
    digest.update(repr([importlib.metadata.version(name) for name in LIBRARIES]).encode())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    # One thread for each row, and huge pages: else the gradients of a large model are mapped page by page.
    os.environ |= {"OMP_NUM_THREADS": "1", "THP_MEM_ALLOC_ENABLE": "1"}
    typer.run(main)

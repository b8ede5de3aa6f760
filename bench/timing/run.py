"""Run the timing suite on one device, and leave its JSON and its tidy table."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from bench.errors import BenchError
from bench.files import written_aside
from bench.params import Params
from bench.timing.rows import rows

SUITE = Path(__file__).parent


def run(params: Params, params_path: Path, device: str) -> list[Path]:
    """Time everything on a device; write results/<profile>/timing-<device>.json and runs/<profile>/timing-<device>.csv.

    Finished groups of an interrupted run wait in runs/.partial and are not repeated.

    Raises:
        BenchError: no such device; a batch size is missing for it; the suite failed.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise BenchError("time cuda: torch finds no GPU here; leave cuda out of timing.devices")
    if device not in params.timing.batch:
        raise BenchError(f"{params.params_file}: timing.batch.{device} is missing: which batch sizes are timed there")
    kept = Path("runs", ".partial", f"timing-{device}-{_identity(params)}")
    output = params.results / f"timing-{device}.json"
    with written_aside(output) as aside:
        options = [f"--timing-params={params_path}", f"--timing-device={device}", f"--timing-kept={kept}"]
        quiet = ["-qq", "--no-summary", "--capture=no", "--benchmark-quiet", "-p", "no:cacheprovider"]
        status = pytest.main([str(SUITE), *options, *quiet, f"--benchmark-json={aside}"])
        if status == pytest.ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
        if status != pytest.ExitCode.OK:
            raise BenchError(f"the timing suite failed: {status!r}; what it printed is above")
    table = params.timing_file(device)
    with written_aside(table) as aside:
        rows(output).to_csv(aside, index=False)
    shutil.rmtree(kept)
    return [output, table]


def _identity(params: Params) -> str:
    """Hash of what the timings depend on: parameters, versions and code."""
    digest = hashlib.sha256(json.dumps([params.timing.model_dump(), torch.__version__], sort_keys=True).encode())
    root = SUITE.parents[1]
    code = [root / "bench" / "backbones.py", root / "bench" / "train.py", *SUITE.glob("*.py")]
    for path in sorted([*code, *(root / "batchcam").glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]

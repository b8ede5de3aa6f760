"""Run the timing suite on one device, and leave pytest-benchmark's JSON."""

import hashlib
import json
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch

from batchcam.checks import check_choice
from bench.errors import BenchError
from bench.files import written_aside
from bench.names import DEVICES, DeviceName
from bench.params import Params
from bench.run.provenance import code_hash

SUITE = Path(__file__).parent
#: All that can change a timing. dvc.yaml names the same.
CODE = (
    "batchcam",
    "bench/timing",
    *(f"bench/cell/{module}.py" for module in ("backbones", "convnext", "losses", "objective")),
)
PACKAGES = ("torch", "torchvision", "timm", "pytorch-msssim", "captum", "torchcam", "grad-cam")


class _FirstFailure:
    """pytest's plugin that keeps the sentence of the first test that fails."""

    sentence = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.sentence:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.sentence = " ".join((crash.message if crash else report.longreprtext).split())


def run(params: Params, params_path: Path, device: DeviceName) -> list[Path]:
    """Time everything on a device; write results/<profile>/timing-<device>.json, and the same into runs/<profile>.

    The one is for Git and for readers, the other for DVC, whose `collect` waits for all of runs/<profile>. Finished
    groups of an interrupted run wait in runs/.partial and are not repeated.

    Raises:
        BenchError: no such device; batch sizes are missing for it; the suite failed.
    """
    try:
        check_choice("device", device, DEVICES)
    except ValueError as error:
        raise BenchError(str(error)) from None
    if device == "cuda" and not torch.cuda.is_available():
        raise BenchError("time cuda: torch finds no GPU here; leave cuda out of timing.devices")
    if device not in params.timing.batch:
        raise BenchError(f"{params.params_file}: timing.batch.{device} is missing: which batch sizes are timed there")
    kept = Path("runs", ".partial", f"timing-{device}-{_identity(params, device)}")
    output = params.timing_file(device)
    with written_aside(output) as aside:
        options = [f"--timing-params={params_path}", f"--timing-device={device}", f"--timing-kept={kept}"]
        quiet = ["-qq", "--no-summary", "--capture=no", "--benchmark-quiet", "-p", "no:cacheprovider"]
        failure = _FirstFailure()
        status = pytest.main([str(SUITE), "-x", *options, *quiet, f"--benchmark-json={aside}"], plugins=[failure])
        if status == pytest.ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
        if status != pytest.ExitCode.OK:
            raise BenchError(f"the timing suite stopped: {failure.sentence or repr(status)}")
    published = params.results / output.name
    with written_aside(published) as aside:
        shutil.copyfile(output, aside)
    shutil.rmtree(kept, ignore_errors=True)
    return [output, published]


def versions() -> dict[str, str | None]:
    """What is installed of those that are timed; None for what is not."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _identity(params: Params, device: DeviceName) -> str:
    """Hash of what the timings depend on: parameters, versions, machine and code."""
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    code = code_hash(CODE, SUITE.parents[1])
    about = [params.timing.settings(device), versions(), platform.node(), gpu, code]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]

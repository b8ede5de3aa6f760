"""pytest's side of the timing suite: which groups there are, and what the JSON says of machine and versions."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.display import Display
from bench.files import written_aside
from bench.params import load
from bench.timing.groups import Group, groups
from bench.timing.measure import LEAST_ROUNDS, Measured, measure, names
from bench.timing.run import versions


def pytest_addoption(parser: pytest.Parser) -> None:
    options = parser.getgroup("timing")
    options.addoption("--timing-params", type=Path, default=Path("params.yaml"), help="The profile's parameters")
    options.addoption("--timing-device", choices=("cpu", "cuda"), default="cpu", help="What is timed")
    options.addoption("--timing-kept", type=Path, help="A folder in which finished groups wait, to resume from")


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(load(config.getoption("--timing-params")).timing.threads)
    torch.backends.cudnn.allow_tf32 = False  # as in training


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for every contender of every group."""
    if "contender" in metafunc.fixturenames:
        found = _groups(metafunc.config)
        pairs = [pytest.param(group, name, id=f"{group.name}-{name}") for group in found for name in names(group)]
        metafunc.parametrize(("group", "contender"), pairs)


def _groups(config: pytest.Config) -> list[Group]:
    return groups(load(config.getoption("--timing-params")).timing, config.getoption("--timing-device"))


class Measurements:
    """The measurements of each group, made when the first of its tests asks."""

    def __init__(self, config: pytest.Config, display: Display) -> None:
        self.seconds = load(config.getoption("--timing-params")).timing.seconds
        self.device = torch.device(config.getoption("--timing-device"))
        self.kept: Path | None = config.getoption("--timing-kept")
        self.found: dict[Group, dict[str, Measured]] = {}
        self.absent: list[dict[str, Any]] = []
        self.display = display

    def of(self, group: Group) -> dict[str, Measured]:
        """By the contender's name."""
        if group not in self.found:
            start = time.monotonic()
            self.found[group] = {m.contender: m for m in self._measure(group)}
            self.display.done(group.name, time.monotonic() - start)
        return self.found[group]

    def _measure(self, group: Group) -> list[Measured]:
        if self.kept is None:
            return measure(group, self.device, self.seconds)
        path = self.kept / f"{group.name}.json"
        if path.is_file():
            return [Measured(**row | {"group": Group(*row["group"])}) for row in json.loads(path.read_text())]
        results = measure(group, self.device, self.seconds)
        if all(m.status == "ok" for m in results):  # else it may be mended when the run resumes
            with written_aside(path) as aside:
                aside.write_text(json.dumps([m._asdict() for m in results]))
        return results


@pytest.fixture(scope="session")
def measurements(pytestconfig: pytest.Config) -> Iterator[Measurements]:
    seconds = load(pytestconfig.getoption("--timing-params")).timing.seconds
    # A group goes on for so long, or for the least of rounds and the first run.
    expected_s = {group.name: max(seconds, (LEAST_ROUNDS + 1) * group.work) for group in _groups(pytestconfig)}
    with Display(expected_s, 1) as display:
        pytestconfig.stash[_KEY] = Measurements(pytestconfig, display)
        yield pytestconfig.stash[_KEY]


_KEY = pytest.StashKey[Measurements]()


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """What the figures depend on; not the name of the machine."""
    machine_info.pop("node", None)
    device = config.getoption("--timing-device")
    machine_info["parameters"] = load(config.getoption("--timing-params")).timing.settings(device)
    machine_info["device"] = device
    machine_info["threads"] = torch.get_num_threads()
    machine_info["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
    machine_info["gpu"] = torch.cuda.get_device_name() if device == "cuda" else None
    machine_info["memory_format"] = "channels_last"
    machine_info["versions"] = versions()


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]) -> None:
    """Who was not measured, and why."""
    output_json["not_measured"] = config.stash[_KEY].absent

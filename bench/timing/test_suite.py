"""The pytest-benchmark suite: one test for each contender of each group.

pytest-benchmark times one test to its end before the next begins, and what is compared would run minutes apart. So a
group is measured in turns first (`measure`), and each test hands the seconds of its contender to pytest-benchmark,
whose clock here is one that moves by those.
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.timing.conftest import Measurements
from bench.timing.groups import Group


class ReplayClock:
    """A clock that stands still but for what it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


clock = ReplayClock()


@pytest.mark.benchmark(timer=clock)
def test_contender(benchmark: BenchmarkFixture, measurements: Measurements, group: Group, contender: str) -> None:
    measured = measurements.of(group)[contender]
    about = {
        "kind": group.kind,
        "backbone": group.backbone,
        "layer": measured.layer,
        "resolution": group.resolution,
        "batch": group.batch,
        "classes": group.num_classes,
        "contender": contender,
        "status": measured.status,
    }
    if measured.seconds is None:
        measurements.absent.append(about)
        pytest.skip(measured.status)
    benchmark.group = group.name
    benchmark.extra_info.update(
        about, error=measured.error, peak_bytes=measured.peak_bytes, map_seconds=measured.map_seconds
    )
    rounds = iter(measured.seconds)
    benchmark.pedantic(lambda: clock.advance(next(rounds)), rounds=len(measured.seconds), iterations=1)

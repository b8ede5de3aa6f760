import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# pytest-benchmark times nothing in a worker of pytest-xdist. What tests start is none.
os.environ.pop("PYTEST_XDIST_WORKER", None)


BATCHCAM = Path(__file__).parent / "batchcam"
#: Files of few tests that take long. They come first: at the end, one process would be busy with them alone.
LONG = ("test_pipeline.py", "test_extending.py", "batchcam/test_recipes.py", "batchcam/test_leaks.py")
#: Files of tests/batchcam that add nothing to the coverage of the others.
UNTRACED = ("test_architectures.py", "test_leaks.py", "test_recipes.py")


def pytest_configure(config: pytest.Config) -> None:
    """pytest-cov's marker, which has to be known without that plugin as well."""
    config.addinivalue_line("markers", "no_cover: not traced for coverage")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first, all others in their order; `make test` keeps that order.

    Coverage is that of tests/batchcam, without what runs the same lines many times: traced, that takes half as long
    again.
    """
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONG))
    for item in items:
        if not item.path.is_relative_to(BATCHCAM) or item.path.name in UNTRACED:
            item.add_marker("no_cover")


def pytest_collection_finish() -> None:
    """What was imported stays: the garbage collector need not walk through it, which was half of some tests' time."""
    gc.freeze()


def pytest_unconfigure() -> None:
    """At exit all goes."""
    gc.unfreeze()


@pytest.hookimpl(tryfirst=True)  # before fixtures of a module
def pytest_runtest_setup() -> None:
    """One thread: tests' tensors are small, and beside other work a second one costs many times the test.

    For each test, since Lightning's trainer takes all cores for its process: what followed it took 215 s, not 60.
    """
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_test() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with digits and decoy_digits."""
    from bench.prepare import datasets

    folder = tmp_path_factory.mktemp("prepared")
    for name in ("digits", "decoy_digits"):
        datasets.prepare(name, folder)
    return folder


@pytest.fixture
def place(tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with both datasets where a cell looks for them."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(prepared, "data")
    yield tmp_path
    torch.use_deterministic_algorithms(False)

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# The tests' tensors are small: a second thread brings little, and beside other work it costs many times the test.
torch.set_num_threads(1)

# pytest-benchmark times nothing in a worker of pytest-xdist. What tests start is none.
os.environ.pop("PYTEST_XDIST_WORKER", None)


BATCHCAM = Path(__file__).parent / "batchcam"
#: Files of few tests that take long. They come first: at the end, one process would be busy with them alone.
LONG = ("test_pipeline.py", "test_extending.py", "batchcam/test_recipes.py", "batchcam/test_leaks.py")


def pytest_configure(config: pytest.Config) -> None:
    """pytest-cov's marker, which has to be known without that plugin as well."""
    config.addinivalue_line("markers", "no_cover: not traced for coverage")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first, all others in their order; `make test` keeps that order.

    Coverage is that of tests/batchcam: traced as well, the figures' tests took 39 s of a core in place of 24.
    """
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONG))
    for item in items:
        if not item.path.is_relative_to(BATCHCAM):
            item.add_marker("no_cover")


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

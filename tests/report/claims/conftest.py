import pytest

from bench.names import DATASETS, Dataset

#: Datasets of the tests, named by what is made there.
MADE = ("up", "down", "flat", "all", "one down", "one flat", "two", "other")


@pytest.fixture(autouse=True)
def _datasets_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue of names knows them while these tests run."""
    for name in MADE:
        monkeypatch.setitem(DATASETS, name, Dataset(name, name))
        monkeypatch.setitem(DATASETS, f"decoy_{name}", Dataset(f"decoy_{name}", f"decoy {name}", name, "decoy"))

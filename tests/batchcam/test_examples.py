"""Every public name has an example in its docstring or in a neighbour's, and every example does what it says."""

import doctest
import inspect
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from torch import nn

import batchcam
from tests.toys import Apply


class Model(nn.Sequential):
    """Ten classes from 32 × 32 pixels, with a layer4 that puts out (N,4,4,4), as the examples have it."""

    layer4: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.layer4 = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Sequential(Apply(lambda x: x.mean((2, 3))), nn.Linear(4, 10))


def documented() -> Iterator[tuple[str, object]]:
    """The public names, and those in the modules that are public."""
    for name in batchcam.__all__:
        thing = getattr(batchcam, name)
        yield name, thing
        if isinstance(thing, ModuleType):
            functions = [f for f in vars(thing).values() if inspect.isfunction(f) and f.__module__ == thing.__name__]
            yield from ((f"{name}.{f.__name__}", f) for f in functions if not f.__name__.startswith("_"))


def examples() -> list[doctest.DocTest]:
    torch.manual_seed(0)
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8) % 4
    known = {
        "torch": torch,
        "batchcam": batchcam,
        "model": Model().eval(),
        "images": images,
        "labels": labels,
        "prototypes": batchcam.class_prototypes(images, labels, 4),
        "maps": torch.rand(8, 32, 32),
    }
    find = doctest.DocTestFinder(recurse=False).find
    return [test for name, thing in documented() for test in find(thing, name, globs=known) if test.examples]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_an_example_does_what_it_says(example: doctest.DocTest) -> None:
    report: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize("name", batchcam.__all__)
def test_a_public_name_has_an_example(name: str) -> None:
    assert any(f"batchcam.{name}" in line.source for test in examples() for line in test.examples)


def test_the_public_names_are_fewer_than_twenty() -> None:
    assert len(batchcam.__all__) < 20

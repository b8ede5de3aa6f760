"""docs/scores.md: what is scored need not be a class logit. Each way shown there is right, for maps and in training."""

import re
from pathlib import Path

import pytest
import torch

import batchcam
from tests.toys import NUM_CLASSES, batch, parameter_gradients, relative_error, toy

PAGE = (Path(__file__).parents[2] / "docs" / "scores.md").read_text(encoding="utf-8")
TARGETS = torch.tensor([[3, 0], [1, 1], [2, 4], [0, 3]])
LABELS = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1], [0, 1, 1, 0, 0]])
REFERENCE = torch.linspace(-1, 2, 4 * NUM_CLASSES).reshape(4, NUM_CLASSES).double().cos()
REGION = (torch.arange(4 * 35) % 3 == 0).reshape(4, 1, 7, 5).double()


def classifier():
    return toy("gelu_norms")


def regressor():
    model = toy("gelu_norms")
    model.fc = torch.nn.Linear(6, 1).double()
    return model


def segmenter():
    """Images → (N,5,7,5)."""
    model = toy("gelu_norms")[:-3]
    model.classes = torch.nn.Conv2d(6, NUM_CLASSES, 1).double()
    return model


def similarity(i, y):
    return (y @ REFERENCE[i] / (y.norm() * REFERENCE[i].norm()))[None]


#: What the page shows, in its order: the model, and the scores of image i from what the model puts out for it alone.
SHOWN = {
    "several targets": (classifier, lambda i, y: y[TARGETS[i]]),
    "several labels": (classifier, lambda i, y: y[LABELS[i] == 1].sum()[None]),
    "regression": (regressor, lambda i, y: y),
    "similarity": (classifier, similarity),
    "segmentation": (segmenter, lambda i, y: y[:, REGION[i, 0] == 1].mean(1)),
    "explain": (segmenter, lambda i, y: y.mean((1, 2))),
}
SNIPPETS = dict(zip(SHOWN, re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL), strict=True))


def by_definition(model, images, score, relu):
    """One image and one score at a time."""
    split, maps = [name for name, _ in model.named_children()].index("layer") + 1, []
    for i, image in enumerate(images):
        A = model[:split](image[None])
        scores = score(i, model[split:](A)[0])
        g = [torch.autograd.grad(s, A, create_graph=True)[0] for s in scores]
        maps.append(torch.stack([(each.mean((2, 3), keepdim=True) * A).sum((0, 1)) for each in g]))
    return torch.stack(maps).relu() if relu else torch.stack(maps)


def run(snippet, model):
    images, _ = batch()
    names = {"model": model, "images": images, "targets": TARGETS, "labels": LABELS, "reference": REFERENCE}
    exec(snippet, {"torch": torch, "batchcam": batchcam, "region": REGION} | names, names)
    return images, names["maps"]


@pytest.mark.parametrize("shown", SHOWN)
def test_the_maps_are_those_of_the_definition(shown):
    make, score = SHOWN[shown]
    model = make()
    images, maps = run(SNIPPETS[shown], model)
    expected = by_definition(model, images, score, relu=shown != "regression")
    assert relative_error(maps, expected) < 1e-10
    assert not maps.requires_grad


@pytest.mark.parametrize("shown", [name for name in SHOWN if name != "explain"])
def test_and_so_are_the_gradients_of_the_parameters(shown):
    make, score = SHOWN[shown]
    model = make()
    images, maps = run(SNIPPETS[shown].replace('"all"', '"all", create_graph=True'), model)
    expected = by_definition(model, images, score, relu=shown != "regression")
    ours, theirs = (parameter_gradients(m, model.parameters()) for m in (maps, expected))
    assert relative_error(ours, theirs) < 1e-10


def test_each_takes_three_lines():
    assert all(len(snippet.strip().splitlines()) == 3 for name, snippet in SNIPPETS.items() if name != "explain")


def test_a_reference_from_the_same_batch_must_be_detached():
    """Then image i's score has a gradient for the other's activations, and maps are mixed."""
    model, (images, _) = classifier(), batch()
    maps = []
    for detached in (True, False):
        with batchcam.capture(model.layer) as captured:
            embeddings = model(images)
            other = embeddings.roll(1, 0)
            scores = torch.cosine_similarity(embeddings, other.detach() if detached else other).unsqueeze(1)
        maps.append(batchcam.grad_cam(captured.activations, scores, "all", relu=False))
    assert relative_error(*maps) > 0.05

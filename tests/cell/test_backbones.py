"""The backbones run at every resolution, and the map is read where the rule says."""

import pytest
import torch

from batchcam import explain
from bench.cell.backbones import build, grid_size
from bench.errors import BenchError
from bench.names import BACKBONES

#: Side of the map at 23, 28, 32, 56, 112 and 224 px, worked out by hand from strides and paddings.
RESOLUTIONS = (23, 28, 32, 56, 112, 224)
GRIDS = {
    "simple_cnn": (5, 7, 8, 14, 28, 56),
    "resnet18": (3, 4, 4, 4, 4, 7),
    "convnextv2_tiny": (3, 3, 4, 3, 7, 7),
    "resnet18_earlier": (6, 7, 8, 7, 7, 14),
    "convnextv2_tiny_earlier": (6, 6, 8, 7, 14, 14),
    "perceptron": (23, 28, 32, 56, 112, 224),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_every_resolution_gives_logits_and_a_map_of_the_expected_grid(name: str) -> None:
    for resolution, side, in_channels in zip(RESOLUTIONS, GRIDS[name], (1, 3) * 3, strict=True):
        torch.manual_seed(0)
        backbone = build(name, resolution, num_classes=4, in_channels=in_channels)
        assert backbone.model.training
        images = torch.rand(1, in_channels, resolution, resolution)
        logits, maps = explain(backbone.model.eval(), backbone.layer, images, targets="all", relu=False)
        assert logits.shape == (1, 4)
        assert maps.shape == (1, 4, side, side), resolution
        assert maps.std() > 0  # neither zero nor constant


@pytest.mark.parametrize(
    ("name", "resolution", "stage"),
    [
        ("resnet18", 23, "layer4"),
        ("resnet18", 28, "layer4"),
        ("resnet18", 32, "layer2"),
        ("resnet18", 56, "layer3"),
        ("resnet18", 112, "layer4"),
        ("convnextv2_tiny", 23, "1.stages.2"),
        ("convnextv2_tiny", 32, "stages.1"),
        ("convnextv2_tiny", 56, "stages.2"),
        ("convnextv2_tiny", 112, "stages.2"),
        ("convnextv2_tiny", 224, "stages.3"),
        ("simple_cnn", 23, "features.7"),
        ("resnet18_earlier", 23, "layer3"),
        ("resnet18_earlier", 32, "layer1"),
        ("convnextv2_tiny_earlier", 23, "1.stages.1"),
        ("convnextv2_tiny_earlier", 112, "stages.1"),
        ("convnextv2_tiny_earlier", 224, "stages.2"),
    ],
)
def test_the_map_is_read_at_the_deepest_stage_of_3x3(name: str, resolution: int, stage: str) -> None:
    backbone = build(name, resolution)
    assert backbone.model.get_submodule(stage) is backbone.layer


@pytest.mark.parametrize("name", BACKBONES)
def test_the_seed_fixes_the_weights_and_nothing_else_is_drawn(name: str) -> None:
    weights, after = [], []
    for _ in range(2):
        torch.manual_seed(7)
        weights.append(build(name, 23).model.state_dict())
        after.append(torch.rand(3))
    assert all(torch.equal(a, b) for a, b in zip(*(w.values() for w in weights), strict=True))
    assert torch.equal(*after)
    torch.manual_seed(8)
    other = build(name, 23).model.state_dict()
    assert any(not torch.equal(a, b) for a, b in zip(weights[0].values(), other.values(), strict=True))


@pytest.mark.parametrize("name", ["resnet18", "convnextv2_tiny"])
def test_the_place_of_the_map_leaves_the_network_as_it_is(name: str) -> None:
    found = []
    for suffix in ("", "_earlier"):
        torch.manual_seed(7)
        found.append(build(f"{name}{suffix}", 23).model.state_dict())
    assert list(found[0]) == list(found[1])
    assert all(torch.equal(a, b) for a, b in zip(*(weights.values() for weights in found), strict=True))


@pytest.mark.parametrize("name", BACKBONES)
def test_a_resolution_too_small_names_the_least(name: str) -> None:
    least = BACKBONES[name].least_resolution
    assert min(grid_size(build(name, least), least)) >= 3
    with pytest.raises(BenchError, match=f"{name} needs images of at least {least} px, got {least - 1} px"):
        build(name, least - 1)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(BenchError, match=f"{', '.join(BACKBONES)}; did you mean 'resnet18'"):
        build("resnet", 23)

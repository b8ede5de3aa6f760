"""What `import batchcam` brings along, and the names and defaults that code elsewhere relies on."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import batchcam

NEW_MODULES = """
import sys
import torch, pytorch_msssim
before = set(sys.modules)
import batchcam
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def test_import_brings_torch_and_pytorch_msssim_and_nothing_else():
    package = Path(batchcam.__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", NEW_MODULES], cwd=package, capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) - sys.stdlib_module_names == {"batchcam"}


def test_no_module_imports_anything_else():
    """Also not what torch happens to bring along, or what is imported only when a function runs."""
    imported = set()
    for path in Path(batchcam.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                assert node.module is not None
                imported.add(node.module.partition(".")[0])
    assert imported - sys.stdlib_module_names == {"batchcam", "torch", "pytorch_msssim"}


@pytest.mark.parametrize(
    ("function", "signature"),
    [
        (batchcam.capture, "layer, layout=None"),
        (
            batchcam.grad_cam,
            "activations, logits, targets, create_graph=False, relu=True, method='grad_cam', layout=None",
        ),
        (batchcam.explain, "model, layer, images, targets=None, relu=True, method='grad_cam', layout=None"),
        (
            batchcam.grad_cam_loop,
            "model, layer, images, targets, create_graph=False, method='grad_cam', layout=None",
        ),
        (batchcam.layouts.channels_last, "output"),
        (batchcam.layouts.tokens, "height, width, skip=1"),
        (batchcam.resize_maps, "maps, size"),
        (batchcam.normalize_maps, "maps"),
        (batchcam.overlay, "images, maps"),
        (batchcam.class_prototypes, "images, labels, num_classes"),
        (batchcam.PrototypeLoss, "prototypes, distance='ssim'"),
        (batchcam.PrototypeLoss.forward, "self, maps, labels"),
        (batchcam.BatchCAMLoss, "prototypes=None, distance='l1', reading='class_mean'"),
        (batchcam.BatchCAMLoss.forward, "self, maps, labels, images=None"),
        (batchcam.distances.l1, "a, b"),
        (batchcam.distances.l2, "a, b"),
        (batchcam.distances.ssim, "a, b"),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_public_signatures(function, signature):
    parameters = inspect.signature(function).parameters.values()
    assert ", ".join(str(p.replace(annotation=p.empty)) for p in parameters) == signature


def test_every_public_name_is_there():
    assert sorted(batchcam.__all__) == batchcam.__all__
    assert all(hasattr(batchcam, name) for name in batchcam.__all__)

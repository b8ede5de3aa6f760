# %% [markdown]
# # Your own model
#
# Batch-CAM on a network of torchvision and colour images of our own making: coloured shapes before photographs. Nothing
# is downloaded; the weights start at random. The same lines take any network of torchvision or timm: [which layer to
# read](../../../docs/architectures.md), [trainers and mixed precision](../../../docs/your-own-loop.md).

# %%
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from sklearn.datasets import load_sample_images

# `batchcam` is installed, or it is in the repository's root, here or in a folder above.
sys.path.insert(0, str(next((p for p in [Path.cwd(), *Path.cwd().parents] if (p / "batchcam").is_dir()), "")))

import batchcam

plt.rcParams.update({"figure.dpi": 100, "font.size": 8})
torch.manual_seed(0)
torch.set_num_threads(1)

# %% [markdown]
# ## Images
#
# Four shapes in random colours, somewhere near the centre, before random pieces of the two photographs that come with
# scikit-learn. Yours are any (N,3,H,W) in [0, 1], before the normalisation that your network wants.

# %%
CLASSES, PX = ["disc", "square", "triangle", "cross"], 32


def picture(kind, random):
    """A shape of a class on a piece of a photograph, (3,px,px) in [0, 1]."""
    photo = PHOTOS[random.integers(len(PHOTOS))]
    top, left = (random.integers(side - PX) for side in photo.shape[:2])
    y, x = np.mgrid[:PX, :PX] - (PX - 1) / 2 - random.uniform(-3, 3, (2, 1, 1))
    r = random.uniform(7, 9)
    inside = {
        "disc": x**2 + y**2 < r**2,
        "square": np.maximum(abs(x), abs(y)) < 0.85 * r,
        "triangle": (y < 0.8 * r) & (y > 2 * abs(x) - r),
        "cross": (np.minimum(abs(x), abs(y)) < 0.3 * r) & (np.maximum(abs(x), abs(y)) < r),
    }[kind]
    return np.where(
        inside, random.uniform(0.6, 1, (3, 1, 1)), 0.5 * photo[top : top + PX, left : left + PX].transpose(2, 0, 1)
    )


PHOTOS = [image / 255 for image in load_sample_images().images]
random = np.random.default_rng(0)
labels = torch.arange(600) % len(CLASSES)
images = torch.tensor(np.stack([picture(CLASSES[y], random) for y in labels]), dtype=torch.float32)
test_images, test_labels = images[400:], labels[400:]
images, labels = images[:400], labels[:400]

# %% [markdown]
# ## Twenty lines
#
# A network, the layer whose map is read, and a training loop. Everything that is Batch-CAM's has `batchcam` in it; with
# `weight=0` it is an ordinary training.

# %%
model = torchvision.models.resnet18(weights=None, num_classes=len(CLASSES))
layer = model.layer1  # 8×8 at 32 px; at 224 px it would be layer4, 7×7
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
prototypes = batchcam.class_prototypes(images, labels, num_classes=len(CLASSES))
regularizer = batchcam.PrototypeLoss(prototypes, distance="ssim")


def train(steps, weight):
    model.train()
    for _ in range(steps):
        picked = torch.randint(len(images), (16,))
        x, y = images[picked], labels[picked]
        with batchcam.capture(layer) as captured:
            logits = model((x - 0.5) / 0.25)
        loss = F.cross_entropy(logits, y)
        if weight:
            maps = batchcam.grad_cam(captured.activations, logits, y, create_graph=True)
            maps = batchcam.normalize_maps(batchcam.resize_maps(maps, PX))
            loss = loss + weight * regularizer(maps, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


# %% [markdown]
# ## Before and after
#
# First an ordinary training; then a few more steps with the maps guided. A map is zero where nothing in the layer
# speaks for the class, and no regulariser can move it from there: so they are counted.


# %%
def look(steps, weight):
    """Train, and look at the test images: accuracy, maps, and their SSIM to the class's prototype."""
    train(steps, weight)
    model.eval()
    logits, maps = batchcam.explain(model, layer, (test_images - 0.5) / 0.25, targets=test_labels)
    normalized = batchcam.normalize_maps(batchcam.resize_maps(maps, PX))
    ssim = 1 - batchcam.distances.ssim(normalized, prototypes[test_labels]).mean()
    accuracy = (logits.argmax(1) == test_labels).float().mean()
    zero = (normalized.amax((1, 2)) == 0).float().mean()
    print(f"{steps} steps, weight {weight}: accuracy {accuracy:.0%}, SSIM {ssim:.2f}, zero maps {zero:.0%}")
    return batchcam.overlay(test_images, maps)


before = look(40, weight=0)
after = look(20, weight=1)

# %%
columns = range(8)  # two of each class
rows = {"prototype": prototypes[test_labels], "test image": test_images.movedim(1, -1)}
rows |= {"before": before.movedim(1, -1), "after": after.movedim(1, -1)}
figure, axes = plt.subplots(len(rows), len(columns), figsize=(9, 4.6))
for line, (label, pictures) in zip(axes, rows.items(), strict=True):
    for axis, column in zip(line, columns, strict=True):
        axis.imshow(pictures[column], cmap="magma", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
    line[0].set_ylabel(label)
for axis, column in zip(axes[0], columns, strict=True):
    axis.set_title(CLASSES[test_labels[column]])
figure.suptitle("Maps of the true label over their images: dark is the least of each map, bright its most")
figure.tight_layout(pad=0.4, rect=(0, 0, 1, 0.98))
plt.show()

# %% [markdown]
# # Maps
#
# What each loss makes the maps look like: the prototype that a map is pulled towards, the mean map of each class,
# single maps, and single images with decoys. Maps are of the true label, normalised to [0, 1] and enlarged to the
# image.

# %% tags=["parameters"]
profile = "quick"  # quick, evidence, reduced or paper

# %%
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

# `bench` is not installed: it is in the repository's root, here or in a folder above.
sys.path.insert(0, str(next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "bench/results").is_dir())))

import bench.results
from bench.names import DATASETS, shown

plt.style.use("default")
plt.rcParams.update({"figure.dpi": 100, "font.size": 8, "image.interpolation": "nearest"})

results = bench.results.load(profile)
lacks = results.lacks()
display(*(Markdown(f"*{lacks[what]}*") for what in ("cells", "cues") if what in lacks))
settings = results.settings()
settings

# %% [markdown]
# ## Choose
#
# A dataset, a backbone and a resolution of the table above, and losses of it. The default is the setting with the most
# trainings, and for the decoys below the one with the most among those that have any.

# %%
plain = next((setting for setting in settings.index if not DATASETS[setting[0]].cue), None)
decoyed = next((setting for setting in settings.index if DATASETS[setting[0]].cue == "decoy"), None)
losses = ["ce", "prototype-l1", "prototype-ssim", "batchcam-ssim", "permuted-ssim", "blob-ssim", "rrr", "hint"]
seed = 0  # of the single maps


def maps_of(setting):
    """The maps of each chosen loss that has results."""
    dataset, backbone, resolution = setting
    cells = results.cells.set_index(["dataset", "backbone", "resolution"]).loc[[setting]]
    finished = set(cells.loc[cells["status"] == "ok", "loss"])
    return {loss: results.maps(dataset, backbone, loss, resolution) for loss in losses if loss in finished}


def mosaic(rows, columns, title, size=0.72):
    """Pictures (columns,px,px) or (columns,px,px,3) by the label of their row; colours from 0, dark, to 1."""
    figure, axes = plt.subplots(len(rows), len(columns), figsize=(1.3 + size * len(columns), 0.6 + size * len(rows)))
    for line, (label, pictures) in zip(axes, rows.items(), strict=True):
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture, cmap="magma", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title(column, fontsize=8)
    figure.suptitle(title, y=1.0)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=0.92, wspace=0.06, hspace=0.06)
    return figure, axes


def named(setting):
    """A setting in words."""
    return f"{shown(setting[0])}, {shown(setting[1])}, {setting[2]} px"


# %% [markdown]
# ## Mean map of each class
#
# Above, the prototype: the mean training image of each class. A loss of the prototype family pulls every map of the
# class towards it; `permuted-ssim` pulls towards the next class's, and `blob-ssim` towards a blob for every class. What
# a map can show is bounded by its grid: 5×5 values for SimpleCNN at 23 px.

# %%
if plain:
    found = maps_of(plain)
    one = next(iter(found.values()))
    rows = {"prototype": one.prototypes} | {loss: maps.class_means.mean(axis=0) for loss, maps in found.items()}
    mosaic(rows, one.classes, f"{named(plain)}: mean map of each class, over test images and seeds")
    plt.show()

# %% [markdown]
# ## Single images
#
# The first test image of each class, and its map under each loss. A mean of maps may look like a digit where no single
# map does.

# %%
if plain:
    rows = {"test image": one.images} | {loss: maps.examples[seed] for loss, maps in found.items()}
    mosaic(rows, one.classes, f"{named(plain)}: single maps of seed {seed}")
    plt.show()

# %% [markdown]
# ## From seed to seed
#
# The same image, one column for each seed: how much of a map is the loss, and how much the initialisation?

# %%
digit = 3  # a class

if plain:
    seeds = max(len(maps.examples) for maps in found.values())
    blank = np.full((seeds, *one.images.shape[1:3]), np.nan)
    rows = {
        loss: np.concatenate([maps.examples[:, digit], blank[len(maps.examples) :]]) for loss, maps in found.items()
    }
    mosaic(
        rows,
        [f"seed {k}" for k in range(seeds)],
        f"{named(plain)}: the map of one test image of class {one.classes[digit]}",
    )
    plt.show()

# %% [markdown]
# ## Single images with decoys
#
# A grey patch in a corner names the class in training and misleads in the test. The title has the true class and, in
# quotes, the one that the patch names; the patch is outlined. A model that follows the decoy looks into the corner.


# %%
def outlined(axes, patches):
    """The patch of each column, on all of its pictures."""
    for line in axes:
        for axis, (left, top, side) in zip(line, patches, strict=True):
            axis.add_patch(
                plt.Rectangle((left - 0.5, top - 0.5), side, side, fill=False, edgecolor="#00E5FF", linewidth=0.9)
            )


if decoyed:
    found = maps_of(decoyed)
    one = next(iter(found.values()))
    titles = [f"{own}, “{cue}”" for own, cue in zip(one.classes, one.cues, strict=True)]
    rows = {"test image": one.images} | {loss: maps.examples[seed] for loss, maps in found.items()}
    figure, axes = mosaic(rows, titles, f"{named(decoyed)}: single images and their maps, seed {seed}")
    outlined(axes, one.patches)
    plt.show()

# %% [markdown]
# How much of each map lies in the patch, over all test images and seeds: the share of images, from the left, whose map
# has at least that much of its energy there. By chance it is 2 %, the patch's share of the image.

# %%
if decoyed:
    figure, axis = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
    for loss in found:
        mass = results.by_image(*decoyed[:2], loss, decoyed[2])["decoy_mass"]
        mass = np.sort(mass[~np.isnan(mass)])[::-1]
        axis.plot(np.linspace(0, 100, len(mass)), 100 * mass, label=loss)
    axis.axhline(2.04, color="0.4", linestyle=":", linewidth=1)
    axis.set(
        xlabel="share of the test images, %", ylabel="energy in the patch, %", yscale="symlog", title=named(decoyed)
    )
    axis.set_ylim(0)
    axis.legend(frameon=False, loc="upper right", ncols=2)
    plt.show()

# %% [markdown]
# # Timing
#
# What a map costs in plain forward passes, against the loop over images and other libraries; how the cost grows with
# batch, resolution and number of classes; and what a guided training step costs in plain ones. How it is measured:
# [docs/timing.md](../../../docs/timing.md). Ratios compare contenders that took turns on one machine; seconds are those
# of the machine named below.

# %% tags=["parameters"]
profile = "quick"  # quick, evidence, reduced or paper

# %%
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.ticker import LogLocator

# `bench` is not installed: it is in the repository's root, here or in a folder above.
sys.path.insert(0, str(next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "bench/results").is_dir())))

import bench.results
from bench.names import CE_STEP, EXPLAIN, EXPLAIN_ALL, FORWARD, LOOP, PEERS, shown

plt.style.use(["default", "seaborn-v0_8-whitegrid"])
plt.rcParams.update({"figure.dpi": 100, "font.size": 9, "figure.constrained_layout.use": True})
pd.set_option("display.precision", 2, "display.max_rows", 200)

results = bench.results.load(profile)
lacks = results.lacks()
display(*(Markdown(f"*{lacks[what]}*") for what in ("timing", "growth") if what in lacks))
timing = results.timing[results.timing["status"] == "ok"]
timing = timing.assign(ms_per_image=1e3 * timing["seconds"] / timing["batch"], network=timing["backbone"].map(shown))
display(
    *(Markdown(f"**{device}**: {machine}") for device, machine in timing.groupby("device")["machine"].first().items())
)

# %% [markdown]
# ## Cost of a map against the batch
#
# Milliseconds per image of a whole call, forward pass included. The grey line is the forward pass alone: no map can
# cost less. The loop runs image by image and gains nothing from a larger batch.

# %%
COLOURS = {
    FORWARD: "#8A8A8A",
    LOOP: "#D55E00",
    EXPLAIN: "#0B3C5D",
    **dict(zip(PEERS, ["#009E73", "#56B4E9", "#CC79A7"], strict=True)),
}


def panels(rows, draw, size):
    """A panel for each network, resolution, place of the map and device."""
    here = list(rows.groupby(["backbone", "resolution", "layer", "device"], sort=False))
    columns = min(3, len(here))
    lines = -(-len(here) // columns)
    figure, axes = plt.subplots(lines, columns, squeeze=False, figsize=(size[0] * columns, size[1] * lines + 0.6))
    for axis in axes.flat[len(here) :]:
        axis.set_visible(False)
    for axis, (key, group) in zip(axes.flat, here, strict=False):
        axis.set_title(f"{shown(key[0])}, {key[1]} px, {key[3]}\nread at {key[2]}", fontsize=9)
        draw(axis, group)
    return figure


def plain(axis):
    """Plain numbers on a logarithmic scale, and a line for each of them."""
    axis.minorticks_off()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")


def against_batch(axis, rows):
    for contender, colour in COLOURS.items():
        line = rows[rows["contender"] == contender].sort_values("batch")
        axis.plot(line["batch"], line["ms_per_image"], "o-", color=colour, markersize=4, label=contender)
    axis.set(xscale="log", yscale="log", xlabel="batch", ylabel="ms per image")
    axis.set_xticks(sorted(rows["batch"].unique()), sorted(rows["batch"].unique()))
    plain(axis)


maps = timing[timing["kind"] == "maps"]
if len(maps):
    figure = panels(maps, against_batch, (3.2, 2.9))
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    plt.show()

# %% [markdown]
# ## The loop against the vectorised map
#
# How many times as long the loop over images takes as `explain`, with the interval of the median; above 1 the
# vectorised map is faster. Captum, torch-cam and pytorch-grad-cam are the libraries' own calls, in `explain`'s time.

# %%
KEYS = ["device", "network", "resolution", "layer", "batch"]


def with_interval(rows, ratio):
    """The ratio of each contender with its interval, as text."""
    text = rows.apply(lambda r: f"{r[ratio]:.2f} [{r[ratio + '_low']:.2f}, {r[ratio + '_high']:.2f}]", axis=1)
    return rows.assign(text=text).pivot_table(
        index=KEYS, columns="contender", values="text", aggfunc="first", sort=False
    )


if len(maps):
    others = maps[maps["contender"].isin([LOOP, *PEERS])]
    display(with_interval(others, "ours_ratio")[[LOOP, *(peer for peer in PEERS if peer in set(others["contender"]))]])

# %% [markdown]
# The same calls in forward passes: what is above 1 is the price of the map, or of the maps of all classes at once.

# %%
if len(maps):
    ours = maps[maps["contender"].isin([EXPLAIN, EXPLAIN_ALL])]
    display(with_interval(ours, "floor_ratio"))

# %% [markdown]
# ## Growth with batch, resolution and classes
#
# One of the three is varied, the others are held. The layer whose map is read is chosen for the map and changes with
# the resolution.

# %%
growth = timing[timing["kind"] == "growth"]
if len(growth):
    held = {name: growth[name].mode()[0] for name in ("batch", "resolution", "classes")}
    figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.2), sharey=True)
    for axis, varied in zip(axes, held, strict=True):
        others = [name for name in held if name != varied]
        here = growth[(growth[others] == pd.Series(held)[others]).all(axis=1)].sort_values(varied)
        for contender, colour in {FORWARD: "#8A8A8A", EXPLAIN: "#0B3C5D", EXPLAIN_ALL: "#7A5195"}.items():
            line = here[here["contender"] == contender]
            axis.plot(line[varied], 1e3 * line["seconds"], "o-", color=colour, markersize=4, label=contender)
        axis.set(xscale="log", yscale="log", xlabel=varied, title=", ".join(f"{name} {held[name]}" for name in others))
        axis.set_xticks(here[varied].unique(), here[varied].unique())
        plain(axis)
    axes[0].set_ylabel("ms per call")
    figure.suptitle(shown(growth["backbone"].iloc[0]))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    plt.show()
else:
    display(Markdown(f"*{lacks['growth']}*"))

# %% [markdown]
# ## What a guided training step costs
#
# Time of a whole step, forward, backward and optimiser, over that of the cross-entropy step in the same rounds, with
# the interval of the median. `ce, maps watched` makes the maps of every batch without guiding them.


# %%
def in_plain_steps(axis, rows):
    rows = rows[rows["contender"] != CE_STEP]
    for y, row in enumerate(rows.itertuples()):
        axis.plot([row.floor_ratio_low, row.floor_ratio_high], [y, y], color="#56B4E9", linewidth=2)
        axis.plot(row.floor_ratio, y, "o", color="#0B3C5D", markersize=4)
    axis.axvline(1, color="#8A8A8A", linewidth=2, zorder=1)
    axis.set_yticks(range(len(rows)), rows["contender"])
    axis.invert_yaxis()
    axis.set_xlim(min(0.9, axis.get_xlim()[0]), max(1.5, axis.get_xlim()[1]))
    axis.set_xlabel("time of a step ÷ ce step")


steps = timing[timing["kind"] == "step"]
if len(steps):
    panels(steps, in_plain_steps, (3.3, 2.5))
    plt.show()

# %% [markdown]
# ## Memory
#
# The most bytes that a call holds beyond those at its start, in MiB.

# %%
if len(maps):
    memory = maps.assign(mib=maps["peak_bytes"].astype(float) / 2**20)
    columns = [contender for contender in COLOURS if contender in set(memory["contender"])]
    display(memory.pivot_table(index=KEYS, columns="contender", values="mib", sort=False)[columns])

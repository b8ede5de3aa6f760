# %% [markdown]
# # Results
#
# What a profile measured: an answer to each question, the tables, differences to cross-entropy seed by seed, every
# claim with its evidence, and any two losses against each other. The words are those of [the
# glossary](../../../docs/glossary.md); how all of it is judged stands in [evidence](../../../docs/evidence.md).

# %% tags=["parameters"]
profile = "quick"  # quick, evidence, reduced or paper

# %%
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display

# `bench` is not installed: it is in the repository's root, here or in a folder above.
sys.path.insert(0, str(next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "bench/results").is_dir())))

import bench.results
from bench.names import METRICS
from bench.statistics import paired_difference

plt.style.use(["default", "seaborn-v0_8-whitegrid"])
plt.rcParams.update({"figure.dpi": 100, "font.size": 9, "figure.constrained_layout.use": True})
pd.set_option("display.float_format", "{:.3f}".format, "display.max_rows", 200, "display.max_colwidth", 120)

results = bench.results.load(profile)
display(*(Markdown(f"*{sentence}*") for sentence in results.lacks().values()))
results.settings()

# %% [markdown]
# ## One answer for each question
#
# Yes and no: all tests that can tell agree, and they are more than half. Mixed: tests disagree, or half or more cannot
# tell. Open: none can tell. The effect is a loss's metric − that of cross-entropy, or a ratio of times, in the first
# setting; the control effect is the largest gain of a target without the class. Accuracies are shares, not points.
# [The ledger](../../README.md) has these answers over all profiles.

# %%
ledger = results.ledger().set_index("question")
ledger = ledger.assign(settings=ledger["where"].map(lambda where: len(where.split("; ")) if where else 0)).drop(
    columns="where"
)
with pd.option_context("display.float_format", "{:.4f}".format):
    display(ledger.astype(object).fillna("–"))

# %% [markdown]
# ## Seed by seed against cross-entropy
#
# A seed fixes the initialisation and the order of the images, the same for every loss. So losses are compared by their
# differences, a point for each seed; the bar is the 95 % t interval of their mean. What lies right of the line is
# better than cross-entropy in accuracy and energy on ink, and closer to the class's prototype in SSIM.

# %%
metrics = ["accuracy", "ssim", "epg_ink"]  # any columns of results.cells
setting = next(iter(results.settings().index), None)  # the one with the most trainings; any other of the first table


def seed_by_seed(differences, title):
    """A panel for each metric, a line for each loss: the differences, and the interval of their mean."""
    losses = differences.index.unique("loss")
    figure, panels = plt.subplots(1, len(metrics), sharey=True, figsize=(9, 0.8 + 0.25 * len(losses)))
    for panel, metric in zip(panels, metrics, strict=True):
        for y, loss in enumerate(losses):
            values = differences[metric].xs(loss, level="loss").dropna()
            found = paired_difference(values)
            panel.plot(values, [y] * len(values), "o", color="#56B4E9", markersize=4, alpha=0.7)
            panel.plot([found.low, found.high], [y, y], color="#0B3C5D", linewidth=2)
            panel.plot(found.mean, y, "D", color="#0B3C5D", markersize=5)
        panel.axvline(0, color="0.3", linewidth=1)
        panel.set_xlabel(f"{METRICS[metric].label.removesuffix(', %')} − that of ce")
    panels[0].set_yticks(range(len(losses)), losses)
    panels[0].invert_yaxis()
    figure.suptitle(title)
    plt.show()


if setting:
    differences = results.against("ce")
    here = differences[[key[:3] == setting for key in differences.index]]
    seed_by_seed(here, f"{', '.join(map(str, setting))} px: each seed's difference to ce")

# %% [markdown]
# The same for every setting, as numbers: the mean difference in accuracy, its interval, p of a paired t test (not
# corrected for the number of losses) and the number of pairs.


# %%
def compared(differences):
    """Mean, interval, p and n of the differences of each setting and loss."""
    keys = ["dataset", "backbone", "resolution", "loss"]
    found = {key: paired_difference(here) for key, here in differences.groupby(keys, sort=False)}
    return pd.DataFrame(
        list(found.values()), index=pd.MultiIndex.from_tuples(list(found), names=keys) if found else None
    )


compared(results.against("ce")["accuracy"])

# %% [markdown]
# ## Any two losses
#
# Does the class in the target matter? `blob-ssim` guides every map to the same blob in the centre of the image, and
# `prototype-ssim` to its class's prototype. A difference whose interval holds zero cannot be told from none. That does
# not make two losses equal, which takes the equivalence test among the claims.

# %%
first, second = "prototype-ssim", "blob-ssim"  # any two of results.cells["loss"]

if second in set(results.cells["loss"]):
    both = results.against(second)
    both = both[both.index.get_level_values("loss") == first]
    shown = ["accuracy", "ssim", "epg_ink", "specificity", "coherence", "reliance", "decoy_mass"]
    table = pd.concat({metric: compared(both[metric]) for metric in shown}, names=["metric"]) if len(both) else both
    display(
        Markdown(f"`{first}` − `{second}`, paired by seed: {len(both)} pairs"),
        table[table["n"] > 0] if len(both) else table,
    )
else:
    display(Markdown(f"*The profile {profile} has no `{second}`.*"))

# %% [markdown]
# ## Every claim with its evidence
#
# The verdict on each claim over all settings, and what it rests on. A setting is a dataset × backbone × resolution;
# fewer than three seeds are shown and not judged.

# %%
overall = results.claims[results.claims["dataset"] == "overall"].set_index("claim")
overall[["source", "verdict", "reason"]]

# %% [markdown]
# Behind each verdict: the row that decides in each setting that was measured.

# %%
measured = results.claims[results.claims["decides"] & (results.claims["verdict"] != "not measured")]
for claim, rows in measured.groupby("claim", sort=False):
    columns = ["backbone", "resolution", "loss", "estimate", "low", "high", "n", "p_holm", "verdict", "reason"]
    kept = [column for column in columns if rows[column].notna().any()]
    display(Markdown(f"**{claim}**: {overall.loc[claim, 'verdict']}"), rows.set_index("dataset")[kept])

# %% [markdown]
# ## Tables
#
# Mean ± half-width of the 95 % Student t interval over n seeds; without ± where only one seed has a value.

# %%
for name, table in results.tables().items():
    if name != "timing":  # the notebook on timing has it
        display(Markdown(table))

"""Every claim that is judged, in the order of the tables. To add one of a known kind, add its line here."""

from bench.names import COMPARISONS, FORWARD, LOOP, METRICS
from bench.report.claims.everywhere import Everywhere
from bench.report.claims.evidence import Where
from bench.report.claims.kinds import Claim, Control, Floors, Gain, NonInferiority, Specificity
from bench.report.claims.rules import Rules
from bench.report.claims.times import Calls, Steps

#: What a control is held against, and where.
CONTRASTED = (
    ("accuracy", "accuracy", Where.CLEAN),
    ("decoy accuracy", "decoy_accuracy", Where.DECOYED),
    ("reliance on the decoy", "reliance", Where.DECOYED),
    ("flip rate", "decoy_flip_rate", Where.DECOYED),
    ("decoy mass", "decoy_mass", Where.DECOYED),
    ("coherence", "coherence", Where.EITHER),
)


def catalogue(rules: Rules) -> list[Claim]:
    """Every claim: its sentence, its source, and what its kind asks for."""
    accuracy = METRICS["accuracy"]
    compared = [METRICS[name] for name in COMPARISONS]
    means = [METRICS[f"class_mean_{name}"] for name in COMPARISONS]
    improves = Gain("accuracy improves", "v1", accuracy, Where.CLEAN)
    # On clean data alone: where the prototypes hold decoys, to reproduce those would count as a gain.
    reconstructs = [Gain(f"reconstruction improves in {m.label}", "v1", m, Where.CLEAN) for m in compared]
    gains = (improves, *reconstructs)  # that v1 claims at once
    suppressed, robust = "spurious activation is suppressed", "robustness to spurious correlations improves"
    return [
        improves,
        NonInferiority("accuracy is competitive", "v2", accuracy, Where.CLEAN),
        *reconstructs,
        *(Floors(f"reconstruction beats the floors in {m.label}", "figures 2–5", m, Where.CLEAN) for m in compared),
        *(Floors(f"reconstruction beats the floors in {m.label}", "figures 2–5", m, Where.CLEAN) for m in means),
        Everywhere("gains hold for all three backbones", "v1", gains, "backbone"),
        Everywhere("gains hold at both resolutions", "v1", gains, "resolution"),
        Gain("maps are more coherent", "v2", METRICS["coherence"], Where.EITHER),
        Gain("maps lie on the object: energy on ink", "v2", METRICS["epg_ink"], Where.EITHER),
        Gain("maps lie on what the model needs: ROAD", "v2", METRICS["road"], Where.EITHER),
        Gain(f"{suppressed}: decoy mass", "v2", METRICS["decoy_mass"], Where.DECOYED),
        Gain(f"{suppressed}: flip rate", "v2", METRICS["decoy_flip_rate"], Where.DECOYED),
        Gain(f"{robust}: decoy accuracy", "v2", METRICS["decoy_accuracy"], Where.DECOYED),
        Gain(f"{robust}: reliance on the decoy", "v2", METRICS["reliance"], Where.DECOYED),
        NonInferiority("accuracy with the true decoy is competitive", "v2", METRICS["true_accuracy"], Where.DECOYED),
        Steps("overhead is minimal", "v2", rules.overhead, closed=True),
        Steps("training time falls", "v1", 1),
        Calls("inference time falls: below a plain forward pass", "v1", 1, against=FORWARD),
        Calls("inference time falls: below the old loop over images", "v1", 1, against=LOOP),
        *(
            Control(f"{guided} gains more than {control}: {gain}", "ours", METRICS[metric], where, control)
            for control, guided in rules.controls.items()
            for gain, metric, where in CONTRASTED
        ),
        Gain("a colour, which no map can name, is relied on less", "ours", METRICS["reliance"], Where.COLORED),
        Specificity("maps stay specific to the instance", "ours", METRICS["specificity"], Where.EITHER),
    ]

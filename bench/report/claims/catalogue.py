"""Every claim that is judged, in the order of the tables. To add one of a known kind, add its line here."""

from bench.names import COMPARISONS, FORWARD, LOOP, METRICS
from bench.report.claims.everywhere import Everywhere
from bench.report.claims.evidence import Where
from bench.report.claims.kinds import Claim, Control, Floors, Gain, NonInferiority, Specificity
from bench.report.claims.rules import Rules
from bench.report.claims.times import Calls, Steps


def catalogue(rules: Rules) -> list[Claim]:
    """Every claim: its sentence, its source, and what its kind asks for."""
    accuracy, decoy_accuracy, coherence, decoy_mass, flips = (
        METRICS[name] for name in ("accuracy", "decoy_accuracy", "coherence", "decoy_mass", "decoy_flip_rate")
    )
    compared = [METRICS[name] for name in COMPARISONS]
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
        Everywhere("gains hold for all three backbones", "v1", gains, "backbone"),
        Everywhere("gains hold at both resolutions", "v1", gains, "resolution"),
        Gain("maps are more coherent", "v2", coherence, Where.EITHER),
        Gain(f"{suppressed}: decoy mass", "v2", decoy_mass, Where.DECOYED),
        Gain(f"{suppressed}: flip rate", "v2", flips, Where.DECOYED),
        Gain(f"{robust}: decoy accuracy", "v2", decoy_accuracy, Where.DECOYED),
        Gain(f"{robust}: reliance on the decoy", "v2", METRICS["reliance"], Where.DECOYED),
        Steps("overhead is minimal", "v2", rules.overhead, closed=True),
        Steps("training time falls", "v1", 1),
        Calls("inference time falls: below a plain forward pass", "v1", 1, against=FORWARD),
        Calls("inference time falls: below the old loop over images", "v1", 1, against=LOOP),
        *(
            Control(f"{rules.controlled} gains more than {control}: {gain}", "ours", metric, where, control)
            for control in rules.controls
            for gain, metric, where in (
                ("accuracy", accuracy, Where.CLEAN),
                ("decoy accuracy", decoy_accuracy, Where.DECOYED),
                ("coherence", coherence, Where.EITHER),
                ("decoy mass", decoy_mass, Where.DECOYED),
                ("flip rate", flips, Where.DECOYED),
            )
        ),
        Specificity("maps stay specific to the instance", "ours", METRICS["specificity"], Where.EITHER),
    ]

"""One answer for each question that a reader has, over all profiles: results/ledger.csv and results/README.md.

Made of the committed tables of the profiles alone, claims.csv, cells.csv and trainings.csv: no training and no
`dvc pull` is needed.
"""

import functools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bench.errors import BenchError
from bench.files import written_aside
from bench.names import LOSSES, METRICS, shown
from bench.params import Params, load
from bench.report import alternatives, sentences
from bench.report.claims.catalogue import catalogue
from bench.report.claims.evidence import Setting
from bench.report.claims.kinds import OfMetric
from bench.report.claims.rules import RULES
from bench.report.claims.verdict import ALL, DECIDED, SILENT, Verdict
from bench.report.frames import Record, groups, having, records
from bench.report.history import history
from bench.report.questions import QUESTIONS, Question
from bench.report.rendering import NONE, amount, markdown_table
from bench.report.results import SETTING, finished, read_cells, read_trainings

COLUMNS = [
    *("question", "answer", "metric", "loss", "reference", "loss_level", "level", "effect", "low", "high", "n"),
    *("control", "control_effect", "control_seeds", "worst", "worst_where"),
    *("where", "for", "against", "undecided", "would_change"),
]
HOW_TO_READ = (
    "Yes and no: all tests that can tell agree, and they are more than half. Mixed: tests disagree, or half or more"
    " cannot tell. Open: none can tell. Whether it is the class is asked of every target but the class's own mean"
    " image: one that does as well, within the margin of equivalence, or better is a no, and stands first; a yes needs"
    " all of them. The effect is a loss's metric against that of what it is held against, means over seeds, and their"
    " difference, of metrics of maps over the images that have both, in the first setting named: of the loss that"
    " validation picked, there or in `evidence`, or that stands beside the control, with its 95 % interval (two"
    " one-sided bounds where accuracy is kept), or where none was picked the mean of the six losses with the least and"
    " the greatest end of theirs; ↑ and ↓ say which way is better. Of times it is the ratio, the median over the"
    " settings and losses of the first profile with the least and the greatest. Best control: the other target, or the"
    " regulariser without a map, that gains most there, with its seeds where they are fewer. Least gain: the effect by"
    " the same metric in the setting where it is worst, those of `quick` aside where a larger profile has some. Losses"
    " have the weight that validation chose, each its own, or where none kept the accuracy the least, in `reduced`"
    " those of `evidence`; `quick` tried none. It is too small to judge a loss by, and is asked only where no other"
    " can tell."
)
#: The words of the table and of the plots; docs/glossary.md has more.
WORDS = {
    "ce": "cross-entropy alone, without a regulariser",
    "prototype-…, batchcam-…": "the paper's losses, which compare each map, or the mean map of each class in the batch,"
    " with the class's mean image, by L1, L2 or SSIM",
    "…permuted, …global_mean, …blob": "controls: the same with the next class's mean image, the mean of all images, or"
    " a blob in the centre as the target",
    "noise-ssim, corner-ssim, inverted-ssim": "controls whose target is noise, each class its own, a blob in the"
    " corner, or the class's mean image inverted",
    "weight_decay, input_gradient": "regularisers that know no map: stronger weight decay, a penalty on the gradient of"
    " the loss by the image",
    "floor": "the best map that was found of those that are the same whatever the image shows, by each distance",
    "reliance": "accuracy with a decoy that names the true class, as in training, − accuracy with a random one",
    "flips": "predictions that change with the decoy",
    "decoy mass, energy on ink": "the share of a map that lies on the decoy, or on the object",
    "ROAD": "accuracy without the pixels that a map calls least relevant − accuracy without the most relevant ones",
    "specificity": "how much more of a map lies on its own object than on others of the class; from 0.02 on it counts",
    "coherence": "how alike the maps of a class are, beyond those of other classes",
    "supported, contradicted, equivalent, inconclusive": "what a single test says, in the plots and claims.md: for,"
    " against, as good as the control, or none of these; yes, no, mixed and open are what the tests come to",
}
AGAINST = (Verdict.CONTRADICTED, Verdict.EQUIVALENT)
#: The profiles in the order of what they are worth; the effect is that of the first that answers.
ORDER = ("paper", "reduced", "evidence", "quick")
#: Trained on 1,437 digits for at most two epochs: enough to see that every part works.
TOO_SMALL = "quick"


class Profile(NamedTuple):
    """What a profile's committed tables hold."""

    params: Params
    claims: pd.DataFrame
    cells: pd.DataFrame
    trainings: pd.DataFrame


def read(root: Path = Path()) -> list[Profile]:
    """The profiles that have results, by their parameters at the root and in profiles/."""
    found = []
    for path in [root / "params.yaml", *sorted(root.glob("profiles/*/params.yaml"))]:
        params = load(path, root)
        claims = root / params.results / "claims.csv"
        if claims.is_file():
            tables = root / params.results
            verdicts, cells = read_claims(claims), read_cells(tables / "cells.csv")
            found.append(Profile(params, verdicts, cells, read_trainings(tables / "trainings.csv")))
    if not found:
        raise BenchError("no profile has results/PROFILE/claims.csv: python -m bench report makes it")
    return found


def read_claims(path: Path) -> pd.DataFrame:
    """claims.csv; raise `BenchError` if it is of an older version."""
    verdicts = pd.read_csv(path, dtype={"resolution": "Int64", "n": "Int64", "picked": "string"})
    if not {"decides", "picked", "reference", "level"} <= set(verdicts):
        raise BenchError(f"{path} is of an older version: python -m bench report makes it again")
    return verdicts.fillna({"picked": ""})


def ledger(profiles: Iterable[Profile]) -> pd.DataFrame:
    """The columns `COLUMNS`, a row for each of `QUESTIONS`; the effect is a loss's metric − that of the reference."""
    known = sorted(profiles, key=lambda p: _worth(p.params.profile))
    rows = [_row(question, known) for question in QUESTIONS]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"n": "Int64", "control_seeds": "Int64"})


def write(profiles: Sequence[Profile], directory: Path) -> list[Path]:
    """ledger.csv, unrounded, ledger.md, the table alone, README.md, and beside it paper.md and alternatives.md."""
    frame = ledger(profiles)
    known = sorted(profiles, key=lambda p: _worth(p.params.profile))
    pages = {p.params.profile: (directory / p.params.profile / "README.md").read_text("utf-8") for p in known}
    texts = {
        "ledger.csv": frame.to_csv(index=False, lineterminator="\n"),
        "ledger.md": table(frame) + "\n",
        "README.md": markdown(frame, profiles),
        "paper.md": sentences.page(functools.partial(_answer_to, profiles), pages),
        "alternatives.md": alternatives.page([(p.params.profile, p.cells) for p in known]),
    }
    for name, text in texts.items():
        with written_aside(directory / name) as aside:
            aside.write_text(text, "utf-8", newline="\n")
    return [directory / name for name in texts]


def markdown(frame: pd.DataFrame, profiles: Sequence[Profile]) -> str:
    """The ledger for readers, with what it is made of."""
    names = ", ".join(f"[{p.params.profile}]({p.params.profile}/README.md)" for p in profiles)
    parts = [
        "# What the claims come to",
        f"One answer for each question, over the profiles {names}. {HOW_TO_READ}",
        table(frame),
        "In these words:",
        words(),
        *_paragraph(disagreements(profiles)),
        "Each profile's page has every setting, its `claims.csv` every test. [paper.md](paper.md) goes the other way,"
        " from what the paper says to its answers; [alternatives.md](alternatives.md) says how much choices matter.",
        history(trainings_of(profiles)),
    ]
    return "\n\n".join(parts) + "\n"


def words() -> str:
    """What the words of the table mean, as a list."""
    return "\n".join(f"* **{word}**: {meaning}" for word, meaning in WORDS.items())


def trainings_of(profiles: Iterable[Profile]) -> dict[str, pd.DataFrame]:
    """trainings.csv of each profile, those that are worth most last."""
    return {p.params.profile: p.trainings for p in sorted(profiles, key=lambda p: -_worth(p.params.profile))}


def table(frame: pd.DataFrame) -> str:
    """The ledger as a table for readers."""
    return markdown_table(pd.DataFrame([_shown(row) for row in records(frame)]))


def disagreements(profiles: Sequence[Profile]) -> list[str]:
    """A sentence for each question that some profiles answer with yes and others with no."""
    found = []
    for question in QUESTIONS:
        by_answer: dict[str, list[str]] = {"yes": [], "no": []}
        for profile in sorted(profiles, key=lambda p: _worth(p.params.profile)):
            verdicts = [Verdict(row["verdict"]) for row in _deciding(profile.claims, question)]
            decided = answer(
                [verdict for verdict in verdicts if verdict is not Verdict.INCONCLUSIVE], of_all=question.of_all
            )
            if decided in by_answer:
                by_answer[decided].append(f"`{profile.params.profile}`")
        if all(by_answer.values()):
            yes, no = (", ".join(names) for names in by_answer.values())
            found.append(f"{question.question} Yes in {yes}, no in {no}.")
    return found


def _paragraph(sentences: Sequence[str]) -> list[str]:
    return [f"**Profiles contradict each other.** {' '.join(sentences)}"] if sentences else []


def _answer_to(profiles: Sequence[Profile], claim: str, settings: Collection[Setting]) -> str:
    """What the verdicts on a claim come to, in these settings, or without any in all."""
    decides = [(p, row) for p in profiles for row in records(having(p.claims, claim=claim, decides=True))]
    here = [(p, row) for p, row in decides if not settings or Setting(*(row[name] for name in SETTING)) in settings]
    return answer([Verdict(row["verdict"]) for _, row in _heard(here)])


def _worth(profile: str) -> int:
    """A place in `ORDER`; a profile that is not ours comes last."""
    return ORDER.index(profile) if profile in ORDER else len(ORDER)


def _row(question: Question, profiles: Sequence[Profile]) -> Record:
    settings = _heard([(p, row) for p in profiles for row in _deciding(p.claims, question)])
    verdicts = [Verdict(row["verdict"]) for _, row in settings]
    found: Record = {"question": question.question, "answer": answer(verdicts, of_all=question.of_all)}
    found |= dict.fromkeys(("metric", "loss", "reference", "control", "worst_where"), "")
    numbers = ("loss_level", "level", "effect", "low", "high", "n", "control_effect", "control_seeds", "worst")
    found |= dict.fromkeys(numbers, math.nan)
    spoken = [(p, row) for p, row in settings if Verdict(row["verdict"]) not in SILENT]
    if question.of_all and found["answer"] == "no":  # what makes it one stands first, in the first dataset if it can
        datasets = [row["dataset"] for _, row in spoken]
        spoken.sort(key=lambda one: (Verdict(one[1]["verdict"]) not in AGAINST, datasets.index(one[1]["dataset"])))
    found["where"] = "; ".join(dict.fromkeys(_where(p, row) for p, row in spoken))
    sides = {"for": (Verdict.SUPPORTED,), "against": AGAINST}
    for name, side in (sides | {"undecided": (Verdict.INCONCLUSIVE,)}).items():
        found[name] = sum(verdict in side for verdict in verdicts)
    found["would_change"] = question.would_change
    if spoken:
        first, claim = spoken[0][0], spoken[0][1]["claim"]
        found |= _effect([row for p, row in spoken if p is first and row["claim"] == claim], first)
        if not question.of_all:
            same = [(p, row) for p, row in spoken if row["claim"] == claim]
            larger = [row for p, row in same if p.params.profile != TOO_SMALL]
            found |= _worst(larger or [row for _, row in same])
    return found


def _heard(rows: Sequence[tuple[Profile, Record]]) -> list[tuple[Profile, Record]]:
    """What counts for an answer: the smallest profile only where no other has a verdict."""
    larger = [(p, row) for p, row in rows if p.params.profile != TOO_SMALL]
    return larger if any(Verdict(row["verdict"]) in DECIDED for _, row in larger) else list(rows)


def answer(verdicts: Sequence[Verdict], *, of_all: bool = False) -> str:
    """In a word, what the verdicts on a question come to; see `HOW_TO_READ` and `Question.of_all`."""
    spoken = [verdict for verdict in verdicts if verdict not in SILENT]
    if not spoken:
        return Verdict.NOT_MEASURED if Verdict.NOT_JUDGED not in verdicts else "open"
    decided = [verdict for verdict in spoken if verdict in DECIDED]
    if not decided:
        return "open"
    supported = decided.count(Verdict.SUPPORTED)
    if of_all and supported < len(decided):
        return "no"
    most = len(decided) == len(spoken) if of_all else 2 * len(decided) > len(spoken)
    if not most or 0 < supported < len(decided):
        return "mixed"
    return "yes" if supported else "no"


def _deciding(claims: pd.DataFrame, question: Question) -> list[Record]:
    """The rows that decide in their settings, in the order of the question's claims."""
    return [row for claim in question.claims for row in records(claims[claims["claim"].eq(claim) & claims["decides"]])]


@functools.cache
def _metrics() -> dict[str, str]:
    """What each claim is measured by, where that is a metric of cells.csv."""
    return {claim.sentence: claim.metric.name for claim in catalogue(RULES) if isinstance(claim, OfMetric)}


def _effect(rows: Sequence[Record], profile: Profile) -> Record:
    """The effect in the first setting, with the least and greatest of the six losses, or the picked one's interval.

    Of ratios of times, the median over losses and settings, with the least and the greatest.

    Args:
        rows: those of one claim.
        profile: where they are from.
    """
    metric = _metrics().get(rows[0]["claim"])
    if metric is None:
        timed = having(profile.claims, claim=rows[0]["claim"])
        ratios = timed.loc[timed["loss"].ne(ALL), "estimate"]
        return {"effect": ratios.median(), "low": ratios.min(), "high": ratios.max(), "control_effect": math.nan}
    found = {"metric": metric, "loss": _loss(rows[0]), "reference": rows[0]["reference"]}
    found |= {"effect": rows[0]["estimate"], "low": rows[0]["low"], "high": rows[0]["high"], "n": rows[0]["n"]}
    return found | _beside(profile.cells, rows[0], metric)


def _worst(rows: Sequence[Record]) -> Record:
    """The setting in which a loss gains least, where there are several; none of times, whose range is shown."""
    metric = _metrics().get(rows[0]["claim"])
    known = [row for row in rows if not math.isnan(row["estimate"])]
    if metric is None or len(known) < 2:
        return {}
    side = 1 if METRICS[metric].better == "more" else -1
    least = min(known, key=lambda row: side * row["estimate"])
    return {"worst": least["estimate"], "worst_where": _place(least)}


def _loss(row: Record) -> str:
    """Whose effect it is: the loss that validation picked, all six, or the loss beside a control."""
    return row["picked"] or row["loss"].split(" − ")[0]


def _beside(cells: pd.DataFrame, row: Record, metric: str) -> Record:
    """The levels of a loss and of what it is held against, and the control that gains most over that, by seeds.

    No control where a row is held against one.
    """
    here = finished(having(cells, **{name: row[name] for name in SETTING}))
    by_loss = {loss: cell.set_index("seed")[metric] for (loss,), cell in groups(here, ["loss"])}
    of_loss = _of_loss(by_loss, _loss(row))
    reference = row["level"] if math.isfinite(row["level"]) else by_loss.get(row["reference"])
    if reference is None:
        return {}
    found: Record = {}
    if of_loss is not None:  # over the seeds that are compared
        found = dict(pd.DataFrame({"loss_level": of_loss, "level": reference}).dropna().mean())
    gains = {
        loss: (values - reference).dropna()
        for loss, values in by_loss.items()
        if LOSSES[loss].group == "control" and LOSSES[loss].weighted and loss != "oracle-ssim"
    }
    known = {loss: float(gain.mean()) for loss, gain in gains.items() if len(gain)}
    if not known or row["reference"] in RULES.controls:
        return found
    best = max if METRICS[metric].better == "more" else min
    control = best(known, key=lambda loss: known[loss])
    return found | {"control": control, "control_effect": known[control], "control_seeds": len(gains[control])}


def _of_loss(by_loss: Mapping[str, pd.Series], loss: str) -> pd.Series | None:
    """A loss's metric by seed; of all six their mean, where each has it."""
    if loss != ALL:
        return by_loss.get(loss)
    family = [by_loss[one] for one in RULES.family if one in by_loss]
    return pd.concat(family, axis=1).mean(axis=1, skipna=False) if len(family) == len(RULES.family) else None


def _place(row: Record) -> str:
    """data × net × px, as far as they are fixed."""
    parts = [shown(row[name]) for name in ("dataset", "backbone") if isinstance(row[name], str)]
    parts += [] if pd.isna(row["resolution"]) else [f"{row['resolution']} px"]
    return " × ".join(part for part in parts if part)


def _where(profile: Profile, row: Record) -> str:
    """data × net × px × epochs × seeds, as far as they are fixed."""
    training = profile.params.training.get(row["backbone"], {}).get(f"px{row['resolution']}")
    parts = [_place(row)]
    if isinstance(row["dataset"], str) and training is not None:
        parts += [*amount(training), "" if pd.isna(row["n"]) else f"{row['n']} seeds"]
    return f"{profile.params.profile}: {' × '.join(part for part in parts if part)}"


def _shown(row: Record) -> Mapping[str, str]:
    """A row for readers."""
    effect, control, worst = _effects(row)
    places = row["where"].split("; ") if row["where"] else []
    where = f"{places[0]}{f' and {len(places) - 1} more' if len(places) > 1 else ''}" if places else NONE
    return {
        "question": row["question"],
        "answer": row["answer"],
        "effect": effect,
        "best control": control,
        "where": where,
        "least gain": worst,
        "tests: yes, no, open": f"{row['for']}, {row['against']}, {row['undecided']}",
        "what would change it": row["would_change"],
    }


def _effects(row: Record) -> tuple[str, str, str]:
    """The effect with its interval, that of the best control, and the least gain of all settings.

    They are in the unit of the metric; without one, they are ratios.
    """
    if math.isnan(row["effect"]):
        return NONE, NONE, NONE
    if not row["metric"]:
        return f"median × {row['effect']:.2f} ({row['low']:.2f} to {row['high']:.2f})", NONE, NONE
    known = METRICS[row["metric"]]
    arrow, (name, _, unit) = known.heading[-1], known.label.partition(", ")
    points = " points" if unit else ""
    numbers = {
        key: f"{known.factor * row[key]:+.{known.decimals}f}".replace("-", "−")
        for key in ("effect", "low", "high", "control_effect", "worst")
    }
    levels = ""
    if not math.isnan(row["level"]):
        there, here = (f"{known.factor * row[name]:.{known.decimals}f}" for name in ("level", "loss_level"))
        levels = f" {here} vs {there}:".replace("-", "−")
    fewer = f", {row['control_seeds']} seeds" if row["control"] and row["control_seeds"] < row["n"] else ""
    effect = f"{name} {arrow}{levels} {numbers['effect']} [{numbers['low']}, {numbers['high']}]{points}"
    return (
        f"{effect}; {row['loss']} vs {row['reference']}",
        f"{numbers['control_effect']}{points}; {row['control']}{fewer}" if row["control"] else NONE,
        f"{numbers['worst']}{points}; {row['worst_where']}" if row["worst_where"] else NONE,
    )

"""The questions of the ledger, each with its answer, its tests and its figures."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from bench.html.figures import Figure, Kind, by_kind
from bench.html.forest import Panel, panels, unmeasured
from bench.html.markup import slug
from bench.report.ledger import Profile
from bench.report.questions import QUESTIONS


class Part(NamedTuple):
    """A question, and all that is shown under it."""

    question: str
    slug: str
    answer: str
    would_change: str
    panels: list[Panel]
    unmeasured: list[str]
    kinds: list[Kind]
    elsewhere: list[Kind]  # shown under another question


def others(figures: Sequence[Figure]) -> list[Kind]:
    """The figures that no question asks for."""
    asked = {kind for question in QUESTIONS for kind in question.figures}
    return by_kind([figure for figure in figures if figure.kind not in asked])


def parts(profiles: Sequence[Profile], ledger: pd.DataFrame, figures: Sequence[Figure]) -> list[Part]:
    """A part for each question; a figure is shown under the first that asks for its kind."""
    found, taken = list[Part](), set[Figure]()
    answers = dict(zip(ledger["question"], ledger["answer"], strict=True))
    for question in QUESTIONS:
        mine = [figure for figure in figures if figure.kind in question.figures]
        found.append(
            Part(
                question.question,
                slug(question.question),
                answers.get(question.question, ""),
                question.would_change,
                panels(question, profiles),
                unmeasured(question, profiles),
                by_kind([figure for figure in mine if figure not in taken]),
                by_kind([figure for figure in mine if figure in taken]),
            )
        )
        taken.update(mine)
    return found

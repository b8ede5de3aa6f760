"""What one try of a fault came to, and when it counts as held."""

import re
from typing import NamedTuple

#: A line of an error is for people: no page of it, and nothing that a terminal would obey.
MAX_LINE = 1_200


class Try(NamedTuple):
    """One fault, tried once."""

    end: str  # in a word or two: "refused", "accepted", "as without"
    wrong: str = ""  # what did not hold
    seconds: float = 0.0


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float


def refusal(ended: Ended, words: str = "") -> Try:
    """A command that had to refuse: exit 1, and one sentence for each thing that is wrong; `words` is a pattern."""
    lines = [line for line in ended.err.splitlines() if line]
    wrong = ""
    if "Traceback" in ended.err:
        wrong = f"a traceback: {lines[-1]}"
    elif ended.code != 1:
        wrong = f"exit {ended.code}: {ended.err[-200:]}"
    elif not any(line.startswith("error: ") for line in lines):
        wrong = f"no sentence: {ended.err[-200:]}"
    else:
        wrong = unreadable(ended.err) or ("" if re.search(words, ended.err) else f"not {words!r} but {ended.err[:200]}")
    return Try("refused", wrong, ended.seconds)


def unreadable(sentence: str) -> str:
    """Why a message is none for people; nothing if it is."""
    for line in sentence.splitlines():
        if len(line) > MAX_LINE:
            return f"a line of {len(line)} characters: {line[:100]}"
        if not line.isprintable():
            return f"characters that a terminal would obey: {line[:100]!r}"
    return ""

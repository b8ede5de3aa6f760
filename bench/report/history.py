"""Which came first, the rules of judging or the results: what Git can show of it."""

import subprocess
from collections.abc import Mapping

import pandas as pd

from bench.report.rendering import count

RULES_FILE = "bench/report/claims/rules.py"


DIRTY = "-dirty"


def history(by_profile: Mapping[str, pd.DataFrame]) -> str:
    """A sentence on the commit that changed the rules last and on those that the cells were trained at.

    Args:
        by_profile: trainings.csv of each profile.
    """
    rules = _git("log", "-1", "--format=%h of %cs", "--", RULES_FILE)
    if not rules:
        return "Git does not know when the rules of judging changed last."
    sentences = [f"The rules of judging ({RULES_FILE}) were last changed in {rules}."]
    for name, trainings in by_profile.items():
        known = trainings["commit"].dropna()
        commits = {commit.removesuffix(DIRTY) for commit in known}
        if commits:
            after = sum(_is_ancestor(rules.split()[0], commit) for commit in commits)
            dirty = known.str.endswith(DIRTY).sum()
            beside = f", {dirty} of {len(known)} trainings beside changes that were not committed yet" if dirty else ""
            sentences.append(
                f"The cells of `{name}` were trained at {count(len(commits), 'commit')}, {after} of them after"
                f" that{beside}."
            )
    return " ".join(sentences)


def _is_ancestor(first: str, second: str) -> bool:
    command = ["git", "merge-base", "--is-ancestor", first, second]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _git(*arguments: str) -> str:
    try:
        ran = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""

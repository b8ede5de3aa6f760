"""Which came first, the rules of judging or the results: what Git can show of it."""

import subprocess
from collections.abc import Mapping

import pandas as pd

from bench.report.rendering import count

RULES_FILE = "bench/report/claims/rules.py"
#: The code that applies them, and that which picks weights; a change of words there counts as well.
TESTS_FILES = (
    *(f"bench/report/claims/{name}.py" for name in ("everywhere", "kinds", "paired", "times", "verdict")),
    "bench/report/choice.py",
)
DIRTY = "-dirty"


def history(by_profile: Mapping[str, pd.DataFrame]) -> str:
    """Sentences on the commits that changed the rules and tests last and on those that the cells were trained at.

    Args:
        by_profile: trainings.csv of each profile.
    """
    rules = _git("log", "-1", "--format=%h of %cs", "--", RULES_FILE)
    if not rules:
        return "Git does not know when the rules of judging changed last."
    sentences = [f"The margins and levels ({RULES_FILE}) were last changed in {rules}."]
    if tests := _git("log", "-1", "--format=%h of %cs", "--", *TESTS_FILES):
        sentences.append(f"The code of the tests and of the choice of weights was last changed in {tests}.")
    for name, trainings in by_profile.items():
        known = trainings["commit"].dropna()
        commits = {commit.removesuffix(DIRTY) for commit in known}
        if commits:
            after = sum(_is_ancestor(rules.split()[0], commit) for commit in commits)
            dirty = known.str.endswith(DIRTY).sum()
            beside = f", {dirty} of {len(known)} trainings with uncommitted changes" if dirty else ""
            sentences.append(
                f"The cells of `{name}` were trained at {count(len(commits), 'commit')}, {after} of them after"
                f" the margins{beside}."
            )
    sentences.append(
        "Whatever the commit, the code, data and parameters behind a cell are those whose hashes dvc.lock has."
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

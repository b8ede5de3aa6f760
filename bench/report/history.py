"""Which came first, the rules of judging or the results: what Git can show of it."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

RULES_FILE = "bench/report/claims/rules.py"


def history(profiles: Sequence[tuple[str, Path]]) -> str:
    """A sentence on the commit that changed the rules last and on those that the cells were trained at.

    Args:
        profiles: each profile's name, and where its cells are; cells that are not pulled say nothing.
    """
    rules = _git("log", "-1", "--format=%h of %cs", "--", RULES_FILE)
    if not rules:
        return "Git does not know when the rules of judging changed last."
    sentences = [f"The rules of judging ({RULES_FILE}) were last changed in {rules}."]
    for name, runs in profiles:
        commits = {_commit(path) for path in runs.glob("*/provenance.json")} - {""}
        if commits:
            after = sum(_is_ancestor(rules.split()[0], commit) for commit in commits)
            sentences.append(
                f"The cells of `{name}` were trained at {len(commits)} commit{'s' if len(commits) > 1 else ''},"
                f" {after} of them after that."
            )
    return " ".join(sentences)


def _commit(path: Path) -> str:
    return str(json.loads(path.read_text(encoding="utf-8")).get("commit") or "").removesuffix("-dirty")


def _is_ancestor(first: str, second: str) -> bool:
    command = ["git", "merge-base", "--is-ancestor", first, second]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _git(*arguments: str) -> str:
    try:
        ran = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""

"""What is missing: cells that failed or were not run, and profiles without results."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.names import shown
from bench.params import load
from bench.report.frames import groups
from bench.report.ledger import Profile
from bench.report.rendering import count


class Gap(NamedTuple):
    """Seeds of a cell that have no results, for one reason."""

    profile: str
    data: str
    network: str
    px: int
    loss: str
    seeds: str
    status: str


def lacking(profiles: Sequence[Profile]) -> dict[str, list[Gap]]:
    """By profile, every cell of cells.csv that lacks some of its seeds."""
    found: dict[str, list[Gap]] = {}
    for profile in profiles:
        cells = profile.cells[profile.cells["status"] != "ok"]
        gaps = [
            Gap(profile.params.profile, shown(dataset), shown(backbone), px, loss, _seeds(rows["seed"].tolist()), why)
            for (dataset, backbone, px, loss, why), rows in groups(
                cells, ["dataset", "backbone", "resolution", "loss", "status"]
            )
        ]
        if gaps:
            found[profile.params.profile] = gaps
    return found


def unrun(profiles: Sequence[Profile], root: Path) -> list[str]:
    """A phrase for each profile that has no results at all."""
    have = {profile.params.profile for profile in profiles}
    declared = [load(path, root) for path in sorted(root.glob("profiles/*/params.yaml"))]
    return [f"{p.profile}: {count(len(p.cells()), 'cell')} to run" for p in declared if p.profile not in have]


def _seeds(seeds: Sequence[int]) -> str:
    """0–9, or 0, 3."""
    whole = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]}–{seeds[-1]}" if whole else ", ".join(map(str, seeds))

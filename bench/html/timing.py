"""Where and with what the timings of a profile were measured."""

import json
from pathlib import Path
from typing import NamedTuple

from bench.names import DEVICES
from bench.params import Params


class Environment(NamedTuple):
    """A device of a profile, and what it was."""

    profile: str
    device: str
    facts: list[tuple[str, str]]


def timings(params: Params, root: Path) -> list[Environment]:
    """The devices that a profile was timed on, by their timing-DEVICE.json."""
    paths = [root / params.results / f"timing-{device}.json" for device in DEVICES]
    return [_environment(params.profile, path) for path in paths if path.is_file()]


def _environment(profile: str, path: Path) -> Environment:
    made = json.loads(path.read_text("utf-8"))
    machine, commit = made["machine_info"], made["commit_info"]
    cpu = machine.get("cpu", {})
    facts = {
        "processor": " ".join(cpu.get("brand_raw", "unknown").split()),
        "cores": cpu.get("count"),
        "instructions": machine.get("cpu_capability"),
        "GPU": machine.get("gpu"),
        "threads": machine.get("threads"),
        "memory format": str(machine.get("memory_format", "")).replace("_", " "),
        "system": f"{machine.get('system', '')} {machine.get('release', '')}".strip(),
        "libraries": ", ".join(f"{name} {version}" for name, version in machine.get("versions", {}).items()),
        "commit": f"{str(commit.get('id') or 'unknown')[:10]}{' with changes' if commit.get('dirty') else ''}",
        "measured": str(made.get("datetime", ""))[:10],
    }
    shown = [(name, str(value)) for name, value in facts.items() if value]
    return Environment(profile, "GPU" if machine.get("device") == "cuda" else "CPU", shown)

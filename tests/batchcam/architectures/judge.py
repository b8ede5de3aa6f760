"""Whether what a row found is right."""

from .compare import Found
from .definition import EQUAL, ROUGHLY_EQUAL
from .ours import NOT_REFUSED
from .rows import Row


def wrong(row: Row, found: Found) -> list[str]:
    """What is silently wrong in what a row found: nothing may be."""
    if row.refused is not None:
        return [] if row.refused in found["refused"] and NOT_REFUSED not in found["refused"] else [found["refused"]]
    limits = {"maps": EQUAL, "loop": EQUAL, "gradients": EQUAL, "finite differences": ROUGHLY_EQUAL}
    if isinstance(found["gradients"], str):
        del limits["gradients"]
    faults = [f"{what}: off by {found[what]:.2g}" for what, limit in limits.items() if not found[what] < limit]
    if NOT_REFUSED in found.get("without layout", ""):
        faults.append("without the layout it is not refused")
    return faults + [f"{name}: {what}" for name, what in found.get("elsewhere", {"wrong": {}})["wrong"].items()]

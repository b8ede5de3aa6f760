"""What the page says of each figure."""

import re

from bench.report.captions import KINDS, section


def test_each_kind_has_its_caption_once_above_its_figures_in_the_order_of_the_page() -> None:
    names = ["timing-maps-cpu", "conditions-b", "conditions-a", "mean-maps-a", "overview-digits-23", "mean-mapsa"]
    parts = section(names)
    assert [part for part in parts if part.startswith("#")] == [
        "## Figures",
        "### Accuracy by what the cue says",
        "### Time",
        "### Mean map of each class beside its prototype, for every loss",
    ]
    text = "\n\n".join(parts)
    assert [text.count(kind.caption) for kind in KINDS if kind.stem == "conditions"] == [1]
    shown = ["conditions-b", "conditions-a", "timing-maps-cpu"]  # in their own order
    assert re.findall(r"!\[(.*?)\]\(figures/.*?\.png\)", text) == shown
    assert re.findall(r"^\* \[(.*?)\]", text, re.M) == ["mean-maps-a"]  # large: a link
    assert section(["overview-digits-23"]) == []

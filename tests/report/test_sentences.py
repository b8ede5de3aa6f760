"""From the paper to its answers: every sentence leads somewhere, and no claim of the paper is left out."""

import importlib
import re
from collections.abc import Collection
from pathlib import Path

from bench.paper import FIGURES
from bench.report.claims.catalogue import catalogue
from bench.report.claims.evidence import Setting
from bench.report.claims.rules import RULES
from bench.report.claims.verdict import Verdict
from bench.report.sentences import SENTENCES, page

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / f"results/{name}/README.md").read_text(encoding="utf-8") for name in ("paper", "quick")}


def test_every_claim_of_the_paper_has_its_sentence_and_no_other_is_named() -> None:
    ours = {"gains hold for all three backbones", "gains hold at both resolutions"}  # what v1 says, for each setting
    asked = {claim.sentence for claim in catalogue(RULES) if claim.source in ("v1", "v2")} - ours
    named = {claim for sentence in SENTENCES for claim in sentence.claims}
    beyond = {claim for claim in asked if claim.startswith(("robustness", "accuracy with the true decoy"))}
    assert asked - beyond <= named
    assert named <= {claim.sentence for claim in catalogue(RULES)}


def test_the_code_that_a_sentence_names_is_there() -> None:
    named = [place for sentence in SENTENCES for place in sentence.code.split("; ") if place]
    assert len(named) >= 5
    for place in named:
        path, _, rest = place.partition(": ")
        assert (ROOT / path).is_file()
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        for name in re.findall(r"`(\w+)`", rest):
            assert hasattr(module, name), place


def test_a_section_is_linked_on_the_first_page_that_has_it() -> None:
    text = page(lambda claim, settings: "open" if claim == "accuracy improves" else Verdict.NOT_MEASURED, PAGES)
    assert "accuracy improves: **open**" in text
    assert "accuracy is competitive: **not measured**" in text
    links = re.findall(r"\]\((\w+)/README.md#([^)]+)\)", text)
    assert ("quick", "losses") in links
    assert not [anchor for _, anchor in links if "saliency" in anchor or "time" in anchor]  # nothing there to see
    links = re.findall(r"\]\((\w+)/README.md#([^)]+)\)", page(lambda claim, settings: "open", PAGES))
    assert ("paper", "timing") in links
    assert ("quick", "saliency") in links
    for name, anchor in links:
        headings = re.findall(r"^#+ (.*)$", PAGES[name], flags=re.MULTILINE)
        assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_a_figure_is_answered_over_the_settings_that_it_shows() -> None:
    asked: dict[str, Collection[Setting]] = {}

    def answer(claim: str, settings: Collection[Setting]) -> str:
        asked.setdefault(claim, settings)
        return "yes" if Setting("mnist", "simple_cnn", 23) in settings else Verdict.NOT_MEASURED

    lines = {cells[2].strip(): cells for cells in (line.split("|") for line in page(answer, PAGES).splitlines()[4:])}
    assert "**not measured**" in lines["figure 2"][3]
    assert lines["figure 2"][4].strip() == lines["figure 5"][4].strip() == "–"
    assert "**yes**" in lines["figures 3 and 4"][3]
    assert asked["accuracy improves"] == ()
    drawn = {(s.backbone, s.resolution) for one in SENTENCES for s in one.settings}
    assert drawn == set(FIGURES)


def test_what_is_known_of_the_paper_is_counted() -> None:
    """Five captions and two algorithms are known; the rest is said to be unknown."""
    where = "; ".join(sentence.where for sentence in SENTENCES)
    assert {"1", "2", "3", "5"} <= set(re.findall(r"figures? (\d)", where))
    assert {"1", "2"} == set(re.findall(r"algorithm (\d)", where))
    assert "not known" in where

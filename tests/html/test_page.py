"""The page over all profiles: whole in itself, the same each time, and honest about what is missing."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from bench.errors import BenchError
from bench.html import figures, page
from bench.html.markup import slug
from bench.report.captions import KINDS
from bench.report.ledger import read
from bench.report.questions import QUESTIONS

ROOT = Path(__file__).parents[2]
#: What HTML5 has no end tag for.
_VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """What a page consists of; raises AssertionError where tags do not fit into each other."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    def having(self, name: str) -> list[str]:
        """The values of an attribute."""
        return [attrs[name] for _, attrs in self.tags if name in attrs]

    @property
    def text(self) -> str:
        """What is read."""
        return " ".join("".join(self.words).split())


def decoded(url: str) -> Image.Image:
    """The picture of a data URL."""
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def rendered(root: Path) -> Page:
    return Page(page.render(read(root), root))


def test_it_needs_nothing_beside_itself(text: str) -> None:
    found = Page(text)
    assert all(source.startswith("data:") for source in found.having("src"))
    assert [attrs["href"] for tag, attrs in found.tags if tag == "link"] == ["data:,"]
    style = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)[0]
    assert not re.search(r"@import|url\((?!data:)", style)
    imports = re.findall(r"^import .*? from \"(.{5})", text, flags=re.MULTILINE)
    assert imports == ["data:"]


def test_every_link_leads_somewhere_and_every_name_is_there_once(text: str) -> None:
    found = Page(text)
    names = found.having("id")
    assert len(names) == len(set(names)) > 20
    inside = [link for link in found.having("href") if link.startswith("#")]
    assert {link[1:] for link in inside} <= set(names)
    assert all(link.startswith(("#", "data:", "https://")) for link in found.having("href"))
    assert all(f"#{part}" in inside for part in ("ledger", "tables", "environment", "paper", "missing"))
    assert {attrs["href"] for tag, attrs in found.tags if tag == "a"} >= {
        f"#{slug(question.question)}" for question in QUESTIONS
    }


def test_no_backticks_are_left_where_names_are_code(text: str) -> None:
    found = Page(text)
    assert "`" not in found.text
    assert "`" not in "".join(found.having("aria-label"))


def test_every_figure_is_there_once_with_words_for_those_who_cannot_see_it(text: str) -> None:
    found = Page(text)
    pictures = [attrs for tag, attrs in found.tags if tag == "img"]
    assert len(pictures) == len({attrs["src"] for attrs in pictures}) == 4
    alternatives = [attrs["alt"] for attrs in pictures]
    of = "digits, SimpleCNN, 20 px, profile quick"
    assert f"Forest plot. What each loss changes: {of}. The tables hold its numbers." in alternatives
    assert all(alternatives)
    assert (pictures[0]["width"], pictures[0]["height"]) == ("300", "200")
    assert found.text.count("python -m bench report --params params.yaml") == 4
    assert "More figures" in found.text  # of a kind that no question asks for
    assert next(kind.caption for kind in KINDS if kind.stem == "effects").partition("?")[0] in found.text


def test_it_says_what_is_missing(small: Path) -> None:
    cells = pd.read_csv(small / "results/quick/cells.csv", dtype={"status": str})
    seeds = (cells["loss"] == "ce") & (cells["backbone"] == "resnet18") & (cells["resolution"] == 20)
    cells.loc[seeds, "status"] = "failed: out of memory"
    cells.to_csv(small / "results/quick/cells.csv", index=False)
    for name in ("tables/losses.md", "timing-cpu.json"):
        (small / "results/quick" / name).unlink()
    text = rendered(small).text
    assert re.search(r"Profiles without results: evidence: \d+ cells to run", text)
    assert "failed: out of memory" in text
    assert re.search(r"Settings without a verdict: quick: \d+ not judged of \d+", text)
    assert "quick has no tables" in text
    assert "No profile has timings" in text


def test_nothing_from_data_is_html(small: Path) -> None:
    bad = "<script>alert(1)</script>"
    claims = pd.read_csv(small / "results/quick/claims.csv", dtype={"resolution": "Int64", "n": "Int64"})
    claims.loc[claims["estimate"].notna(), ["loss", "test", "reason", "backbone"]] = bad
    claims.to_csv(small / "results/quick/claims.csv", index=False)
    cells = pd.read_csv(small / "results/quick/cells.csv", dtype={"status": str})
    cells.loc[:2, "status"] = f"failed: {bad}"
    cells.to_csv(small / "results/quick/cells.csv", index=False)
    for name in ("results/quick/tables/losses.md", "docs/choices.md"):
        path = small / name
        path.write_text(
            path.read_text() + f"\n\n**{bad}**\n\n| {bad} |\n|---|\n| 1 {bad} |\n\n[{bad}](javascript:alert)\n"
        )
    timing = small / "results/quick/timing-cpu.json"
    timing.write_text(timing.read_text().replace("A processor", bad))
    found = rendered(small)
    assert [attrs for tag, attrs in found.tags if tag == "script"] == [{"type": "module"}]
    assert not any("script" in value and not value.startswith("<script>") for value in found.having("aria-label"))
    assert not [link for link in found.having("href") if link.startswith("javascript")]
    assert found.text.count(bad) > 100


def test_it_is_the_same_each_time(small: Path) -> None:
    first, second = (page.write(read(small), small / f"results/{name}.html", small) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_what_cannot_be_read_is_one_sentence_and_leaves_no_page(small: Path) -> None:
    (small / "results/quick/figures/novel.png").write_bytes(b"no picture")
    with pytest.raises(BenchError, match=r"report\.html cannot be made: cannot identify image file .*novel\.png"):
        page.write(read(small), small / "results/report.html", small)
    assert not list((small / "results").glob("*report*"))


def test_figures_that_are_too_large_lose_colors_first(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (profile,) = read(small)
    found = figures.found(profile.params, small)
    Image.merge("RGB", [Image.effect_noise((200, 200), 90) for _ in "RGB"]).save(found[0].path)
    levels, sizes = figures.LEVELS, list[int]()
    for level in levels:
        monkeypatch.setattr(figures, "LEVELS", [level])
        made = figures.embedded(found)
        assert made.keys() == set(found)
        colors = decoded(made[found[0]]).getcolors(maxcolors=300)
        assert (colors is None) if level is None else (colors is not None and len(colors) <= level)
        sizes.append(sum(map(len, made.values())))
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    monkeypatch.setattr(figures, "LEVELS", levels)
    for size in sizes:  # the first that fits is taken
        monkeypatch.setattr(figures, "BUDGET", size)
        assert sum(map(len, figures.embedded(found).values())) == size
    monkeypatch.setattr(figures, "BUDGET", 1000)
    with pytest.raises(BenchError, match=r"report\.html cannot be made: its 4 figures take more than 1,000 bytes"):
        page.write([profile], small / "results/report.html", small)


def test_of_the_profile_that_the_ledger_rarely_hears_figures_are_shown_that_no_other_has(small: Path) -> None:
    (profile,) = read(small)
    quick = figures.found(profile.params, small)
    assert figures.chosen(quick) == quick
    one, times = quick[0]._replace(profile="evidence"), quick[0]._replace(profile="paper", kind="timing-maps")
    assert figures.chosen([one, *quick]) == [one, *(figure for figure in quick if figure.kind != one.kind)]
    mine = times._replace(profile="quick")
    assert figures.chosen([times, mine]) == [times, mine]  # of another version, or on another machine


@pytest.mark.parametrize("kinds", [1, 3])  # all but two of its kinds are elsewhere, or all
def test_the_page_says_where_the_figures_are_that_it_leaves_out(
    kinds: int, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (profile,) = read(small)
    quick = figures.found(profile.params, small)
    sentence = "More figures of quick, of kinds that others have here, are in results/quick/README.md."
    assert sentence not in rendered(small).text
    names = list(dict.fromkeys(figure.kind for figure in quick))[:kinds]
    others = [next(f for f in quick if f.kind == kind)._replace(profile="evidence") for kind in names]
    monkeypatch.setattr(figures, "found", lambda params, root: [*others, *quick])
    assert sentence in rendered(small).text


def test_every_question_has_its_figures_and_every_kind_its_question() -> None:
    assert all(question.figures for question in QUESTIONS)
    asked = {kind for question in QUESTIONS for kind in question.figures}
    assert {kind.stem for kind in KINDS} - {"timing"} <= asked


def test_the_committed_page_is_that_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    made = (ROOT / "results/report.html").read_text("utf-8")
    assert len(made.encode()) < 10_000_000
    monkeypatch.setattr(figures, "embedded", lambda drawn: dict.fromkeys(drawn, ""))
    now = page.render(read(ROOT), ROOT)

    def words(text: str) -> str:
        """Without pictures and scripts, and without what depends on the cells that are pulled."""
        text = re.sub(r'src="[^"]*"|from "data:[^"]*"', "", text)
        return re.sub(r"<p>The rules of judging .*?</p>", "", text)

    assert words(made) == words(now), "python -m bench ledger makes it again"

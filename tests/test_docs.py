"""The documentation: what it takes from elsewhere is as it is there, its examples run, and it needs no network."""

import re
import socket
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from mkdocs.commands.build import build
from mkdocs.config import load_config
from torch import nn

import batchcam
from docs import hooks

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
#: Pages whose blocks of Python other tests run, each of them: test_recipes.py, test_scores.py and the ones named.
ELSEWHERE = {"your-own-loop.md", "scores.md", "notebooks.md"}
#: What a page takes from the source, it takes between marks.
_TAKEN = re.compile(r"<!-- \S+\.py .*?<!-- end -->", re.DOTALL)
_BLOCK = re.compile(r"^```python(?: (\S+))?\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: str) -> dict[str, str]:
    """The blocks of Python that a page has of its own, by name."""
    return dict(_BLOCK.findall(_TAKEN.sub("", PAGES[page])))


@pytest.fixture
def names() -> dict[str, Any]:
    """What the examples are run with: a network of ten classes with a layer, and colour images."""
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU())
    model = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    images, labels = torch.rand(20, 3, 16, 16), torch.arange(20) % 10
    loader = [(images[:10], labels[:10]), (images[10:], labels[10:])]
    return {"model": model, "layer": layer, "images": images, "labels": labels, "loader": loader}


def test_the_first_page_shows_maps_and_trains(names: dict[str, Any]) -> None:
    found = blocks("index.md")
    assert list(found) == ["look", "train"]
    exec(found["look"], names)
    assert names["maps"].shape == (20, 8, 8)
    assert names["pictures"].shape == (20, 3, 16, 16)
    exec(found["train"], names)
    assert names["loss"].isfinite()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in names["model"].parameters())


def test_a_loss_of_ones_own_reaches_the_weights_and_is_not_lowered_by_dimmer_maps(names: dict[str, Any]) -> None:
    found = blocks("your-own-loss.md")
    assert set(found) == {"outside", "bench/names.py", "bench/cell/losses.py"}  # test_extending.py runs the others
    names["masks"] = torch.zeros(20, 16, 16)
    names["masks"][:, 4:12, 4:12] = 1
    exec(found["outside"], names)
    first = names["layer"][0].weight.grad
    assert first is not None
    assert first.abs().sum() > 0
    regularizer, maps, masks = names["regularizer"], torch.rand(20, 16, 16), names["masks"]
    assert regularizer(maps, masks) == pytest.approx(regularizer(maps / 2, masks).item(), abs=1e-6)
    assert regularizer(torch.zeros_like(maps), masks) == 0  # a map may be all zero
    assert 0 < regularizer(maps, masks) < 1


def test_every_example_is_run_by_a_test() -> None:
    assert {page for page in PAGES if blocks(page)} == {"index.md", "your-own-loss.md", *ELSEWHERE}


def test_the_api_has_every_public_name() -> None:
    shown = set(re.findall(r"^::: batchcam\.(\w+)$", PAGES["api.md"], flags=re.MULTILINE))
    assert shown == set(batchcam.__all__)


def committed(path: str) -> str:
    """A file; of results, as it was committed: it may have been made anew, on another machine."""
    if not path.startswith("results/"):
        return hooks.read(path)
    return subprocess.run(["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, check=True).stdout.decode()


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_takes_from_elsewhere_is_as_it_is_there(page: str) -> None:
    assert hooks.filled(PAGES[page], committed) == PAGES[page], "python docs/hooks.py takes it anew"


def test_lines_that_are_gone_are_told_by_name() -> None:
    source = "def f():\n    a = 1\n    # why\n    if a:\n        b = (\n            2\n        )\n    return b\n"
    assert hooks.lines(source, "f a … a") == "a = 1"
    assert hooks.lines(source, "f if … b") == "# why\nif a:\n    b = (\n        2\n    )"
    with pytest.raises(ValueError, match="no statement of f begins with 'c ='"):
        hooks.lines(source, "f c = … b")
    with pytest.raises(ValueError, match="no statement of f after 'return' begins with 'a'"):
        hooks.lines(source, "f return … a")
    with pytest.raises(ValueError, match="there is no g"):
        hooks.lines(source, "g")


class Resources(HTMLParser):
    """What a page fetches as it is opened, and how many formulas it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.formulas = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.formulas += tag == "math"
        fetches = tag != "link" or known.get("rel") in ("stylesheet", "icon", "preload", "preconnect", "modulepreload")
        source = known.get("src") or (known.get("href") if tag == "link" and fetches else None)
        self.fetched += [source] if source else []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a link that leads nowhere, or a page out of the navigation, is an error."""

    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    where = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        patch.chdir(ROOT)
        patch.syspath_prepend(ROOT)
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(where), strict=True))
    return where


def test_the_site_is_whole_and_fetches_nothing_from_elsewhere(site: Path) -> None:
    assert {f"{Path(page).stem}.html" for page in PAGES} <= {path.name for path in site.glob("*.html")}
    for path in site.glob("*.html"):
        found = Resources(path.read_text("utf-8"))
        assert [source for source in found.fetched if re.match(r"(https?:)?//", source)] == [], path.name
        if path.name == "method.html":
            assert found.formulas == PAGES["method.md"].count("```math") > 5
    for path in site.rglob("*.css"):
        assert not re.search(r"url\((https?:)?//", path.read_text("utf-8")), path.name
    assert (site / "report.html").read_bytes() == (ROOT / "results/report.html").read_bytes()


def test_the_site_shows_lines_examples_and_links_as_they_are_meant(site: Path) -> None:
    api, loop = ((site / f"{name}.html").read_text("utf-8") for name in ("api", "your-own-loop"))
    assert "Examples:" in api
    assert "<blockquote>" not in api  # what >>> becomes where nobody knows it for an example
    assert "```" not in loop
    assert 'href="report.html"' in (site / "index.html").read_text("utf-8")
    assert not [path.name for path in site.glob("*.html") if 'href="../' in path.read_text("utf-8")]

"""The page in a browser: it asks for nothing, its tables sort and filter, and everybody can use it.

Where there is no Chromium these are skipped, and say so; continuous integration installs one.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # As root, as in containers, Chromium has no sandbox of its own.
    without = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=without)
        yield started
        started.close()


@pytest.fixture(scope="module")
def page(browser: Browser, text: str, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of a small repository."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(text)
    return opened(browser, path)


def opened(browser: Browser, path: Path, width: int = 1366) -> Page:
    """A page once its tables are those of DataTables; what it asked for and complained of stands in `noticed`."""
    page = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce").new_page()
    page.set_default_timeout(120_000)  # ms; what fails does so by then on any machine
    noticed: list[str] = []
    page.on("request", lambda request: None if request.url.startswith("data:") else noticed.append(request.url))
    page.on("console", lambda message: noticed.append(message.text))
    page.on("pageerror", lambda error: noticed.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_function("document.querySelectorAll('table.sortable:not(.dataTable)').length === 0")
    assert noticed == [path.as_uri()]
    return page


def column(table: Locator, number: int) -> list[str]:
    return table.locator(f"tbody td:nth-child({number})").all_inner_texts()


def test_the_committed_page_asks_for_nothing_and_fits_a_phone(browser: Browser) -> None:
    page = opened(browser, ROOT / "results/report.html", width=390)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    broken = "Array.from(document.images).filter(image => image.complete && image.naturalWidth === 0).length"
    assert page.evaluate(broken) == 0


def test_a_table_sorts_by_its_numbers_with_keys_alone(page: Page) -> None:
    table = page.locator("table.forest").first
    before = column(table, 6)
    table.locator("th").nth(5).get_by_role("button", name="Toggle ordering").focus()
    page.keyboard.press("Enter")
    expect(table.locator("th").nth(5)).to_have_attribute("aria-sort", "ascending")  # waits for it
    numbers = [float(text.split()[0].replace("−", "-")) for text in column(table, 6)]
    assert numbers == sorted(numbers)
    assert column(table, 6) != before


def test_a_table_filters_by_words_and_by_a_list_of_values(page: Page) -> None:
    table = page.locator("table.forest").nth(1)
    search = page.get_by_role("searchbox").nth(1)
    search.fill("resnet")
    assert set(column(table, 3)) == {"ResNet-18"}
    search.fill("")
    table.locator("th").nth(4).get_by_role("button").last.click()
    page.locator(".dtcc-list-buttons button", has_text="all six").click()
    assert set(column(table, 5)) == {"all six"}
    page.keyboard.press("Escape")


def test_a_question_of_the_ledger_leads_to_its_part(page: Page) -> None:
    page.get_by_role("link", name="Is accuracy kept?").first.click()
    assert page.url.endswith("#is-accuracy-kept")
    assert page.evaluate("document.querySelector('#is-accuracy-kept').getBoundingClientRect().top") < 100


def test_axe_finds_nothing_serious(page: Page) -> None:
    assert serious(page) == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.className === 'dark'")  # its listener may come after this
    assert serious(page, rules=["color-contrast"]) == []


def serious(page: Page, rules: list[str] | None = None) -> list[tuple[str, list[str]]]:
    """The rules of axe-core that the page breaks, and where."""
    found = Axe().run(page, options={"runOnly": rules} if rules else None)
    broken = [rule for rule in found.response["violations"] if rule["impact"] in ("serious", "critical")]
    return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in broken]

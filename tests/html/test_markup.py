"""Markdown that comes from data or from other pages."""

import pytest

from bench.html.markup import html, inline, number_in, slug


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.374 [0.037, 0.610]", 0.374),
        ("−2.1 ± 0.4", -2.1),
        ("2,860 ms", 2860),
        (".05", 0.05),
        ("–", None),
        ("ce", None),
    ],
)
def test_a_cell_is_sorted_by_the_number_that_it_begins_with(text: str, number: float | None) -> None:
    assert number_in(text) == number


def test_columns_of_numbers_are_sorted_as_numbers_and_words_as_words() -> None:
    made = html("| a | b |\n|---:|:--|\n| −1 ± 2 | 9 lives |\n| – | one |\n| 3 | two |")
    assert made.count("data-order") == 3
    assert '<td data-label="a" data-order="-1">−1 ± 2</td>' in made
    assert '<td data-label="a" data-order="">–</td>' in made
    assert '<td data-label="b">9 lives</td>' in made
    assert '<th scope="col">a</th>' in made


def test_a_table_is_named_by_the_title_above_it() -> None:
    made = html('**A "title"**\n\n| a |\n|---|\n| 1 |', label="other")
    assert 'aria-label="A &#34;title&#34;"' in made
    assert 'class="sortable"' in made
    assert 'class="plain"' in html("| a |\n|---|\n| 1 |", sortable=False)


def test_links_to_other_files_leave_their_words() -> None:
    made = html("[here](#there) [page](other.md) [paper](https://arxiv.org/abs/2510.00664)")
    assert '<a href="#there">here</a> page <a href="https://arxiv.org' in made
    assert html("# One", depth=1) == "<h2>One</h2>\n"


def test_html_is_shown_and_not_obeyed() -> None:
    assert "<b>" not in html("<b>bold</b>") + inline("<b>bold</b>")
    assert inline("`ce` & <i>") == "<code>ce</code> &amp; &lt;i&gt;"


def test_a_heading_as_a_name() -> None:
    assert slug("Is accuracy kept?") == "is-accuracy-kept"

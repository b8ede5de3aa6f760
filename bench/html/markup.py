"""Markdown as HTML: what the profiles' pages, captions and notes are written in.

HTML in the text is escaped, as it can come from data. Every table can be sorted and filtered, and scrolled by keyboard
where it is wider than the screen.
"""

import re
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

#: A number at the beginning of a cell, by which a column is sorted: "0.374 [0.037, 0.610]", "−2.1 ± 0.4", "2,860 ms".
_NUMBER = re.compile(r"[−-]?\d[\d,]*(\.\d+)?|[−-]?\.\d+")
#: A link to another file, which a page that stands alone does not have.
_RELATIVE = re.compile(r"\[([^\]]+)\]\((?!https?:|#)[^)]*\)")
_TITLE = re.compile(r"\*\*(.+)\*\*")


def html(text: str, *, label: str = "", depth: int = 0, sortable: bool = True) -> Markup:
    """Markdown with GitHub's tables as HTML.

    Args:
        text: Markdown; HTML in it is shown, not obeyed, and of links to other files the words are left.
        label: names tables that have no title in bold before them, for those who cannot see.
        depth: how many levels its headings are lowered.
        sortable: whether its tables can be sorted and filtered.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = parser.parse(_RELATIVE.sub(r"\1", text))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + depth)}"
        elif token.type == "inline" and (title := _TITLE.fullmatch(token.content)):
            label = title[1]
        elif token.type == "table_open":
            token.meta |= {"label": label, "class": "sortable" if sortable else "plain"}
        elif token.type == "th_open":
            token.attrs = {"scope": "col"}  # without GitHub's alignment
    for start, token in enumerate(tokens):
        if token.type == "table_open":
            _describe(tokens[start : next(i for i in range(start, len(tokens)) if tokens[i].type == "table_close")])
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def inline(text: str) -> Markup:
    """A phrase of Markdown as HTML, without a paragraph around it."""
    return Markup(MarkdownIt("commonmark", {"html": False}).renderInline(text))


def slug(text: str) -> str:
    """A heading as the name of a link: "Is accuracy kept?" is `is-accuracy-kept`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def number_in(text: str) -> float | None:
    """The number that a cell begins with, if it does."""
    found = _NUMBER.match(text)
    return float(found[0].replace("−", "-").replace(",", "")) if found else None


def _describe(table: list[Token]) -> None:
    """Let each cell know its heading, and each column in which most cells begin with a number be sorted by these."""
    headings = [content.content for token, content in pairwise(table) if token.type == "th_open"]
    cells = [(token, content.content) for token, content in pairwise(table) if token.type == "td_open"]
    for place, heading in enumerate(headings):
        column = cells[place :: len(headings)]
        numbers = [number_in(content) for _, content in column]
        numeric = 2 * numbers.count(None) < len(numbers)
        for (cell, _), number in zip(column, numbers, strict=True):
            cell.attrs = {"data-label": heading}
            if numeric:
                cell.attrSet("data-order", "" if number is None else f"{number:g}")


def _table_open(_: object, tokens: list[Token], index: int, *_rest: object) -> str:
    label, kind = escape(tokens[index].meta["label"]), tokens[index].meta["class"]
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table class="{kind}">'

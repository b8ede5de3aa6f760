"""Tables as CSV, Markdown and LaTeX.

The CSV files are tidy and unrounded, with the names of the parameters; Markdown and LaTeX are for readers.
"""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bench.params import Training

#: Where a table has no number.
NONE = "–"
#: Columns of words; all others are of numbers.
_WORDS = (
    *("dataset", "backbone", "loss", "read at", "trained on"),
    *("claim", "source", "settings", "tested", "by loss", "verdict", "reason"),
    *("question", "answer", "where", "what would change it", "the paper says", "artefact", "instead"),
)
_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "±": "$\\pm$",
    "×": "$\\times$",
    "÷": "$\\div$",
    "−": "$-$",
    "↑": "$\\uparrow$",
    "↓": "$\\downarrow$",
    "–": "--",
    "—": "---",
    "…": "\\ldots{}",
}


class Block(NamedTuple):
    """What is printed as one table: a title, the cells as text, and the row that a rule goes above, if any."""

    title: str
    cells: pd.DataFrame
    rule_above: int | None = None


class Table(NamedTuple):
    """One table: the stem of its files, its tidy numbers, what readers see, and the notes below it."""

    name: str
    tidy: pd.DataFrame
    blocks: list[Block]
    notes: list[str]


def write(table: Table, directory: Path) -> None:
    """<name>.csv, <name>.md and <name>.tex."""
    table.tidy.to_csv(directory / f"{table.name}.csv", index=False, lineterminator="\n")
    (directory / f"{table.name}.md").write_text(markdown(table), "utf-8", newline="\n")
    (directory / f"{table.name}.tex").write_text(latex(table), "utf-8", newline="\n")


def markdown(table: Table) -> str:
    """Titles, tables and notes in GitHub's Markdown."""
    parts = [part for block in table.blocks for part in (f"**{block.title}**", markdown_table(block.cells))]
    return "\n\n".join([*parts, "\n".join(f"* {note}" for note in table.notes)]) + "\n"


def markdown_table(cells: pd.DataFrame) -> str:
    """Text as a table in GitHub's Markdown: words to the left, numbers to the right."""
    escaped = cells.map(lambda text: " ".join(text.split()).replace("|", "\\|"))
    return escaped.to_markdown(index=False, disable_numparse=True, colalign=_sides(cells))


def latex(table: Table) -> str:
    r"""One floating table per block, the notes under the last; to be `\input`."""
    parts = ["% \\usepackage{booktabs,graphicx}"]
    for number, block in enumerate(table.blocks, 1):
        notes = [_escape(note) for note in table.notes] if number == len(table.blocks) else []
        label = f"tab:{table.name}" + (f"-{number}" if len(table.blocks) > 1 else "")
        below = "".join(f"\\par\\smallskip{{\\footnotesize\\raggedright {note}\\par}}\n" for note in notes)
        parts.append(
            f"\\begin{{table}}[htbp]\n\\centering\n\\caption{{{_escape(block.title)}}}\n\\label{{{label}}}\n"
            f"\\resizebox{{\\textwidth}}{{!}}{{%\n{_tabular(block)}}}\n{below}\\end{{table}}"
        )
    return "\n\n".join(parts) + "\n"


def _sides(cells: pd.DataFrame) -> list[str]:
    return ["left" if column in _WORDS else "right" for column in cells]


def _tabular(block: Block) -> str:
    """The block as a tabular with booktabs' rules."""
    escaped = block.cells.map(_escape).rename(columns=_escape)
    letters = "".join(side[0] for side in _sides(block.cells))
    lines = escaped.style.hide(axis="index").to_latex(hrules=True, column_format=letters).splitlines(keepends=True)
    if block.rule_above is not None:
        # \begin, \toprule, the headings and \midrule come before the first row.
        lines.insert(4 + block.rule_above, "\\midrule\n")
    return "".join(lines)


def _escape(text: str) -> str:
    """Text as LaTeX prints it with its plain fonts; a character that they lack becomes a question mark."""
    return "".join(_LATEX.get(character, character if character.isascii() else "?") for character in text)


def count(n: int, noun: str) -> str:
    """1 seed, 2 seeds."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def decimals(value: float, digits: int) -> str:
    """−0.02, with a minus sign."""
    return f"{value:.{digits}f}".replace("-", "−")


def amount(training: Training) -> tuple[str, str]:
    """How much a setting is trained: 4,000 images, 1 epoch."""
    images = "all" if training.train_images is None else f"{training.train_images:,}"
    return f"{images} images", count(training.epochs, "epoch")

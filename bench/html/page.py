"""results/report.html: everything that the profiles found, on one page that needs nothing beside itself.

Made of committed files alone: claims.csv, cells.csv, tables/, figures/ and timings of each profile, and
docs/choices.md. It measures and judges nothing of its own, and says of each profile what it lacks.
"""

from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from bench.errors import BenchError
from bench.files import written_aside
from bench.html import datatables, figures, gaps
from bench.html.markup import html, inline
from bench.html.parts import others, parts
from bench.html.timing import timings
from bench.params import Params
from bench.report import captions, ledger
from bench.report.history import history
from bench.report.ledger import ORDER, Profile

#: What the paper leaves open, and what was chosen; a page of the documentation.
CHOICES = Path("docs", "choices.md")
#: The tables of a profile in the order of the page; others come after them.
_TABLES = ("headline", "losses", "reconstruction", "saliency", "methods", "sweep", "timing")
_HERE = Path(__file__).parent


def write(profiles: Sequence[Profile], path: Path, root: Path = Path()) -> Path:
    """Write the page.

    Args:
        profiles: those that have results, as `bench.report.ledger.read` finds them.
        path: of the page.
        root: the repository's root, where profiles/, results/ and docs/ are.

    Raises:
        BenchError: a file that the page is made of is missing or damaged.
    """
    try:
        text = render(profiles, root)
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} cannot be made: {' '.join(str(error).split())}") from error
    with written_aside(path) as aside:
        aside.write_text(text, "utf-8", newline="\n")
    return path


def render(profiles: Sequence[Profile], root: Path = Path()) -> str:
    """The page's text; see `write`."""
    known = sorted(profiles, key=lambda p: ORDER.index(p.params.profile) if p.params.profile in ORDER else len(ORDER))
    frame = ledger.ledger(known)
    made = [figure for profile in known for figure in figures.found(profile.params, root)]
    drawn = figures.chosen(made)
    asked = parts(known, frame, drawn)
    table = ledger.table(frame)
    for part in asked:
        table = table.replace(part.question, f"[{part.question}](#{part.slug})")
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(_HERE),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["inline"] = inline
    return environment.get_template("page.jinja").render(
        choices=html(_body((root / CHOICES).read_text("utf-8")), label="Choices", depth=1, sortable=False),
        history=inline(history(ledger.trainings_of(known))),
        how_to_read=html("\n\n".join(captions.section([figure.name for figure in drawn])[1:2])),
        elsewhere=sorted({figure.profile for figure in made if figure not in drawn}),
        lacking=gaps.lacking(known),
        ledger=html(table, label="The ledger", sortable=False),
        others=others(drawn),
        parts=asked,
        profiles=[p.params.profile for p in known],
        reading=inline(ledger.HOW_TO_READ),
        script=datatables.script(),
        style=Markup(datatables.style() + (_HERE / "style.css").read_text("utf-8")),
        tables=[(p.params.profile, _tables(p.params, root)) for p in known],
        timings=[timing for p in known for timing in timings(p.params, root)],
        unrun=gaps.unrun(known, root),
        urls=figures.embedded(drawn),
        words=html(ledger.words()),
    )


def _body(text: str) -> str:
    """A page of Markdown without its first heading."""
    return text.partition("\n")[2] if text.startswith("# ") else text


def _tables(params: Params, root: Path) -> list[tuple[str, Markup]]:
    """The tables of a profile by their name; what was not measured has none."""
    paths = {path.stem: path for path in sorted((root / params.results / "tables").glob("*.md"))}
    names = [*(name for name in _TABLES if name in paths), *(name for name in paths if name not in _TABLES)]
    return [(name, html(paths[name].read_text("utf-8"))) for name in names]

"""What the documentation takes from elsewhere: lines of the source, tables of the results, and formulas as MathML.

mkdocs.yml names this file. `python docs/hooks.py` writes what the pages take into them, so that they read the same
where nothing is built; a test compares them.
"""

import ast
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import griffe
import latex2mathml.converter
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
#: <!-- path what --> … <!-- end -->
_TAKEN = re.compile(r"(<!-- (\S+\.(?:py|md))(?: (.+?))? -->\n)(.*?)(<!-- end -->)", re.DOTALL)
#: A link that leaves docs/: its words and where it leads.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)\)")
#: A name that a test knows a block by, behind its language.
_NAMED = re.compile(r"^(```\w+) \S+$", re.MULTILINE)
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
#: The results on one page, which the site takes along.
REPORT = "report.html"


class Examples(griffe.Extension):
    """Docstrings say "Example:", which mkdocstrings knows in the plural alone."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change it, in memory."""
        if obj.docstring:
            obj.docstring.value = _EXAMPLE.sub("Examples:", obj.docstring.value)


def on_files(files: Files, *, config: Any) -> Files:
    """Take the page of the results along."""
    files.append(File.generated(config, REPORT, abs_src_path=str(ROOT / "results" / REPORT)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page with what it takes from elsewhere; links into results/ lead to the page of the results."""
    return _NAMED.sub(r"\1", _OUTSIDE.sub(_inside, filled(markdown)))


def read(path: str) -> str:
    """A file of the repository."""
    return (ROOT / path).read_text("utf-8")


def filled(markdown: str, read: Callable[[str], str] = read) -> str:
    """A page of Markdown, with what stands between its marks taken anew from the files that `read` reads.

    `<!-- file.md -->` takes a file; `<!-- file.py name -->` a function or method without its docstring, and
    `<!-- file.py name first … last -->` the statements from the one that begins with `first` to the next that begins
    with `last`.
    """

    def taken(found: re.Match[str]) -> str:
        opening, path, what, _, closing = found.groups()
        text = read(path)
        if path.endswith(".py"):
            return f"{opening}```python\n{lines(text, what)}\n```\n{closing}"
        return f"{opening}{text.strip()}\n{closing}"

    return _TAKEN.sub(taken, markdown)


def lines(source: str, what: str) -> str:
    """The lines of a function, or some of its statements; see `filled`."""
    name, _, part = what.partition(" ")
    function = _function(ast.parse(source), name)
    text = source.splitlines()
    body = function.body[1:] if ast.get_docstring(function) else function.body
    if not part:
        header = "\n".join(text[function.lineno - 1 : function.body[0].lineno - 1]).rstrip()
        rest = "\n".join(text[_start(body[0], text) : body[-1].end_lineno])
        return textwrap.dedent(f"{header}\n{rest}")
    first, last = part.split(" … ")
    statements = [node for statement in body for node in ast.walk(statement) if isinstance(node, ast.stmt)]
    opening = next((node for node in statements if _text(node, text).startswith(first)), None)
    if opening is None:
        raise ValueError(f"no statement of {name} begins with {first!r}")
    closing = next((n for n in statements if n.lineno >= opening.lineno and _text(n, text).startswith(last)), None)
    if closing is None:
        raise ValueError(f"no statement of {name} after {first!r} begins with {last!r}")
    return textwrap.dedent("\n".join(text[_start(opening, text) : closing.end_lineno]))


def mathml(source: str, *_: Any, **__: Any) -> str:
    """A block of LaTeX as MathML, which browsers show without any script."""
    return f'<div class="formula">{latex2mathml.converter.convert(source, display="block")}</div>'


def _function(tree: ast.Module, name: str) -> ast.FunctionDef:
    """A function or Class.method."""
    node: ast.AST = tree
    for part in name.split("."):
        children = [child for child in ast.iter_child_nodes(node) if getattr(child, "name", "") == part]
        if not children:
            raise ValueError(f"there is no {name}")
        node = children[0]
    assert isinstance(node, ast.FunctionDef), f"{name} is no function"
    return node


def _start(statement: ast.stmt, text: list[str]) -> int:
    """The index of a statement's first line, with the comment above it."""
    start = statement.lineno - 1
    while text[start - 1].lstrip().startswith("#"):
        start -= 1
    return start


def _text(statement: ast.stmt, text: list[str]) -> str:
    return text[statement.lineno - 1].strip()


def _inside(link: re.Match[str]) -> str:
    """Where a link that leaves docs/ leads on the site: to the results, or, for the code, nowhere."""
    words, path = link.groups()
    return f"[{words}]({REPORT})" if path.startswith("results/") else words


def main() -> None:
    """Write into every page what it takes from elsewhere."""
    for path in sorted((ROOT / "docs").glob("*.md")):
        text = path.read_text("utf-8")
        if (new := filled(text)) != text:
            path.write_text(new, "utf-8", newline="\n")


if __name__ == "__main__":
    main()

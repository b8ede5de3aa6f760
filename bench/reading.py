"""A YAML file that anyone may have written, as Python's values: one reading of it, or one sentence.

The parser and its rules are DVC's (`dvc.utils.serialize.parse_yaml`), so that the schema judges what DVC will read.
Size, depth and aliases are bounded before anything is built: nine lines of aliases to aliases stand for 10⁹ values.
"""

import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, ScalarEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from bench.errors import BenchError

#: Thirteen times the longest profile.
MAX_BYTES = 2**16
#: A profile has four levels.
MAX_DEPTH = 16
#: Values, each alias counted as what it stands for; the largest profile has 700.
MAX_VALUES = 20_000


def read_mapping(path: Path) -> dict[Any, Any]:
    """What a YAML file says; raise `BenchError` where it is too large, says nothing, or not one thing alone."""
    text = _text(path)
    try:
        _check_bounds(YAML(typ="safe").parse(text))
        loader = YAML(typ="safe")
        loader.Constructor = _Constructor
        content = loader.load(text)
    except _RefusedError as error:
        raise BenchError(f"{path}: {error}") from None
    except MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        problem = " ".join(str(error.problem or error.context).split())
        raise BenchError(f"{path} is not YAML: {line}{problem}") from None
    except YAMLError as error:
        raise BenchError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise BenchError(f"{path} must hold a mapping, with a key and a colon on each line")
    return content


def _text(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():  # a pipe would be waited for
            raise BenchError(f"cannot read {path}: not a file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise BenchError(f"cannot read {str(path)!r}: no file can have this name") from None
    if len(content) > MAX_BYTES:
        raise BenchError(f"{path} has more than {MAX_BYTES >> 10} KiB: a profile has a few")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BenchError(f"{path} is not UTF-8: byte {error.start + 1} is {content[error.start]:#04x}") from None


class _RefusedError(Exception):
    """YAML that no profile needs."""


def _check_bounds(events: Iterable[Event]) -> None:
    """Follow the parser without building anything, and raise `_RefusedError` where a bound is passed."""
    around: list[tuple[str | None, int]] = []  # anchors of what is open, and how many values had come before each
    sizes: dict[str | None, int] = {}  # values in what has an anchor
    values = 0
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, CollectionEndEvent):
            anchor, before = around.pop()
            sizes[anchor] = values - before
        elif isinstance(event, AliasEvent):
            if event.anchor in (anchor for anchor, _ in around):
                raise _RefusedError(f"line {line}: *{event.anchor} stands inside what it stands for")
            values += sizes.get(event.anchor, 1)
        elif isinstance(event, CollectionStartEvent):
            around.append((event.anchor, values))
        values += isinstance(event, ScalarEvent | CollectionStartEvent)
        if len(around) > MAX_DEPTH:
            raise _RefusedError(f"line {line}: more than {MAX_DEPTH} levels; a profile has four")
        if values > MAX_VALUES:
            raise _RefusedError(f"line {line}: more than {MAX_VALUES:,} values; aliases count as what they stand for")


class _Constructor(SafeConstructor):
    """Safe values, each with its line in the sentence if it cannot be read; no key twice."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._flat: set[int] = set()

    def construct_object(self, node: Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 – as in SafeConstructor
        try:
            return super().construct_object(node, deep=deep)
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:  # 2020-13-45, `!!int foo`
            what = str(node.tag).rpartition(":")[2]
            raise ConstructorError(None, None, f"not a valid {what} ({error})", node.start_mark) from None

    def flatten_mapping(self, node: MappingNode) -> None:
        """Merge what `<<` names; before, look for keys given twice, which SafeConstructor does not where it merges."""
        if id(node) not in self._flat:
            self._flat.add(id(node))
            keys = set()
            for key, _ in node.value:
                if isinstance(key, ScalarNode):
                    if (key.tag, key.value) in keys:
                        raise ConstructorError(None, None, f"the key {key.value!r} is given twice", key.start_mark)
                    keys.add((key.tag, key.value))
        super().flatten_mapping(node)

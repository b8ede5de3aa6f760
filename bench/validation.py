"""From what a file says to a checked model; each mistake is a line: where, what is wrong, what is allowed."""

import difflib
import re
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin

import pydantic
from pydantic import BaseModel

from bench.errors import BenchError

#: More mistakes are counted.
MAX_LINES = 20
#: Longer values are cut in the sentence.
MAX_SHOWN = 60

M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], content: Mapping[Any, Any], source: str) -> M:
    """The content as this model; raise `BenchError` with a line for each thing that is wrong."""
    try:
        return model.model_validate(content)
    except pydantic.ValidationError as error:
        lines = [f"{source}: {_sentence(model, one)}" for one in error.errors(include_url=False)[:MAX_LINES]]
        if error.error_count() > MAX_LINES:
            lines.append(f"{source}: and {error.error_count() - MAX_LINES} more")
        raise BenchError("\n".join(lines)) from None


def _sentence(model: type[BaseModel], error: Any) -> str:
    """One of pydantic's errors as "path: what is wrong; what is allowed"."""
    location = [part for part in error["loc"] if part != "[key]"]
    where = ".".join(_word(part) for part in location)
    match error["type"]:
        case "extra_forbidden":
            allowed = list(_section(model, location[:-1]).model_fields)
            return f"{where}: unknown key; allowed are {', '.join(allowed)}{_nearest(location[-1], allowed)}"
        case "literal_error":
            allowed = [name.strip().strip("'") for name in error["ctx"]["expected"].replace(" or ", ", ").split(",")]
            value = error["input"]
            return f"{where}: unknown name {_shown(value)}; allowed are {', '.join(allowed)}{_nearest(value, allowed)}"
        case "missing":
            return f"{where}: this key is missing"
        case "value_error":
            return f"{where}: {error['ctx']['error']}" if where else str(error["ctx"]["error"])
        case _:
            return f"{where}: {error['msg'][0].lower()}{error['msg'][1:]}, got {_shown(error['input'])}"


def _section(model: type[BaseModel], location: list[Any]) -> type[BaseModel]:
    """The model that is found at this path: a field is followed by its name, a dictionary by any key."""
    found: Any = model
    for part in location:
        found = get_args(found)[1] if get_origin(found) is dict else found.model_fields[part].annotation
        if get_origin(found) is not dict:  # a section that may be null: the one of its types that is a model
            found = next((one for one in get_args(found) if one is not type(None)), found)
    return found


def _word(part: object) -> str:
    """A step of a path as it is, unless it is long or holds what a terminal would obey."""
    return str(part) if isinstance(part, int) or re.fullmatch(r"[\w.-]{1,60}", str(part)) else _shown(part)


def _shown(value: object) -> str:
    """A value of any type and size in a few characters."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of more than 4,300 digits"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _nearest(value: object, names: list[str]) -> str:
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.4) if len(_shown(value)) <= MAX_SHOWN else []
    return f"; did you mean {near[0]!r}?" if near else ""

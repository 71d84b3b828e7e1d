"""Facts as rows of plain values, for one process to say and for another to understand.

A row is a list of a dataclass's fields in their order. Nothing is understood that is not of the
field's own type and within its bounds, whoever says it.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import fields, is_dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

MOST_ITEMS = 100_000  # of any list
TEXT_CHARACTERS = 300
COLORS_BYTES = 768
# the words of strangers; all other text is a name of ffmpeg's
TEXTS = frozenset({"title", "file_name", "mime_type", "timecode", "tags"})
_NAME = re.compile(r"[A-Za-z0-9_.+() -]{0,64}")

Value = TypeVar("Value")


def rows_of(value: object) -> object:
    """Return a dataclass as its row, with all that stands in it."""
    if is_dataclass(value):
        return [rows_of(getattr(value, one.name)) for one in fields(value)]
    if isinstance(value, tuple):
        return [*map(rows_of, value)]
    return value.hex() if isinstance(value, bytes) else value


def understand(row: object, kind: type[Value], name: str = "") -> Value:
    """Return a row as what it should be; raise ValueError where it is not. ``name``: a field's."""
    found = _understand(row, kind, name)
    assert isinstance(found, get_origin(kind) or kind)
    return found


def _understand(row: object, kind: Any, name: str) -> Any:  # noqa: PLR0912 (a row for each type)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        if row is None and NoneType in inner:
            return None
        return _understand(row, next(one for one in inner if one is not NoneType), name)
    if origin is tuple:
        if not isinstance(row, list) or len(row) > MOST_ITEMS:
            raise ValueError(name)
        if inner[1:] == (...,):
            return tuple([_understand(one, inner[0], name) for one in row])
        if len(row) != len(inner):
            raise ValueError(name)
        return tuple([_understand(*pair, name) for pair in zip(row, inner, strict=True)])
    if isinstance(kind, type) and is_dataclass(kind):
        wanted = hints(kind)
        if not isinstance(row, list) or len(row) != len(wanted):
            raise ValueError(name)
        return kind(
            *[_understand(one, wanted[key], key) for key, one in zip(wanted, row, strict=True)]
        )
    if kind is float and type(row) is int:
        row = float(row) if abs(row) < 1 << 63 else math.inf
    wanted_type = str if kind is bytes or issubclass(kind, StrEnum) else kind
    if type(row) is not wanted_type:  # True is an int, but not here
        raise ValueError(name)
    is_sound = True
    if isinstance(row, float):
        is_sound = math.isfinite(row)
    elif isinstance(row, int):
        is_sound = 0 <= row < 1 << 63
    elif isinstance(row, str) and kind is bytes:
        is_sound, row = len(row) == 2 * COLORS_BYTES, bytes.fromhex(row)
    elif isinstance(row, str) and kind is str:
        is_text = name in TEXTS and row.isprintable() and len(row) <= TEXT_CHARACTERS
        is_sound = is_text or bool(_NAME.fullmatch(row))
    if not is_sound:
        raise ValueError(name)
    return kind(row) if issubclass(kind, StrEnum) else row


@functools.cache
def hints(kind: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields, in their order."""
    found = get_type_hints(kind)
    return {one.name: found[one.name] for one in fields(kind)}

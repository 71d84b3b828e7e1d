"""What is wrong with a configuration, and how that is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from watchconv.errors import ConfigError
from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Path = tuple[str | int, ...]


class Problem(NamedTuple):
    """One thing that is wrong: where (a path of keys and indexes), what, and what to write."""

    path: Path
    text: str
    line: int | None = None


def refuse(
    where: str,
    problems: Iterable[Problem],
    line_of: Callable[[Path], int | None] = lambda _: None,
) -> ConfigError:
    """Return the error that lists the problems, one for each key, in the order of the file.

    line_of finds the line of a path; problems without a line come last.
    """
    rows: dict[tuple[float, Path], str] = {}
    for path, text, known in problems:
        line = known or line_of(path)
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        key = "".join(steps).removeprefix(".")  # as people write it: profiles.phone.args[3]
        parts = [f"{where}:{line}" if line else where, key, text]
        rows.setdefault((line or float("inf"), path), printable(": ".join(filter(None, parts))))
    return ConfigError("\n".join(rows[at] for at in sorted(rows, key=lambda at: at[0])))


def near_miss(word: str, names: Iterable[str]) -> str | None:
    """Return the name that was probably meant by a word."""
    from difflib import get_close_matches

    known = list(names)
    plain = word.lower().replace("-", "_")
    longer = [name for name in known if name.startswith(f"{plain}_")]
    near = longer or get_close_matches(word, known, 1) or get_close_matches(plain, known, 1)
    return near[0] if near else None


def show(value: object) -> str:
    """Return a short form of a value for a message."""
    match value:
        case dict():
            return "a group of keys"
        case list() | tuple():
            return "a list"
        case str() if len(value) > 60:
            return f"'{value[:57]}...'"
        case str():
            return f"'{value}'"
    return repr(value)[:60]

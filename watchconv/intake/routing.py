"""Which profile converts a file, and what its output is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watchconv.names import with_suffix

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterator


def profile_for(source: str, profiles: Container[str], default: str) -> str:
    """Return the profile named like the first folder of the path, else the default."""
    first, slash, _ = source.partition("/")
    return first if slash and first in profiles else default


def names_in_error(source: str, profiles: Collection[str]) -> Iterator[str]:
    """Yield the names that a file may have in error/: any profile's folder may have held it."""
    first, slash, rest = source.partition("/")
    plain = rest if slash and first in profiles else source
    yield plain
    yield from (f"{profile}/{plain}" for profile in profiles)


def output_for(source: str, suffix: str) -> str:
    """Return the output's name, relative to the outbox: the same path with the profile's suffix.

    Where that is taken, the delivery numbers it.
    """
    return with_suffix(source, suffix)

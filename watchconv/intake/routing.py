"""Which profile converts a file, and what its output is called. Pure.

Guarantees: total: every path has a profile and an output name; the output keeps the folders.
Does not know whether the output's name is taken: ``deliver`` numbers it then.
Errors: none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from watchconv.names import with_suffix

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterator


def profile_for(source: str, profiles: Container[str], default: str) -> str:
    """Pick the profile: the first-level sub-folder's name where it is one, else the default."""
    first, slash, _ = source.partition("/")
    return first if slash and first in profiles else default


def names_in_error(source: str, profiles: Collection[str]) -> Iterator[str]:
    """Give the names that a file may have in error/: it may have failed in any profile's folder."""
    first, slash, rest = source.partition("/")
    plain = rest if slash and first in profiles else source
    yield plain
    yield from (f"{profile}/{plain}" for profile in profiles)


def output_for(source: str, suffix: str) -> str:
    """Name the output, relative to the outbox: the same path with the profile's suffix."""
    return with_suffix(source, suffix)

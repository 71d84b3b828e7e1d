"""What is wrong only between keys: folders inside one another, a profile that nobody wrote.

Guarantees: folders are compared by their resolved paths, by device and inode of every folder
above them, and through the mount table: a bind mount of ``inbox/out`` as outbox is found (it is
how containers are usually given their volumes).

Does not create or need the folders; one that is missing is compared by its path alone.

Errors: none; a list of problems.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from watchconv.config.document import Problem
from watchconv.config.values import show
from watchconv.host.mounts import is_below, mount_of, table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from watchconv.config.keys import Config

FOLDERS = ("inbox", "outbox", "done", "error")


def find_conflicts(
    config: Config, broken: Collection[str] = (), written: Iterable[str] = ()
) -> list[Problem]:
    """List what does not go together; keys in broken hold no value worth comparing.

    written: names of profiles that are known to be meant, whether they are sound or not.
    """
    problems = list(_nested(config, broken))
    known = list(dict.fromkeys([*config.all_profiles, *written]))
    if "profile" not in broken and config.profile not in known:
        problems.append(Problem(("profile",), _unknown_profile(config.profile, known)))
    return problems


def _unknown_profile(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"write one of {', '.join(known)}"
    return f"there is no profile {show(name)}; {hint}"


def _nested(config: Config, broken: Collection[str]) -> Iterator[Problem]:
    mounts = table()
    places = {
        key: Place.of(getattr(config, key), mounts)
        for key in (*FOLDERS, "state")
        if key not in broken
    }
    for one, other in combinations(places, 2):
        if text := _relation(places, one, other):
            yield Problem((other,), text)


def _relation(places: dict[str, Place], one: str, other: str) -> str | None:
    """Say how two folders are in each other's way; ``other`` is the one that is blamed."""
    here, there = places[one], places[other]
    inside, around = here.holds(there), there.holds(here)
    shown = f"{there.path}, {one} is {here.path}"
    if inside and around:
        return f"is the same folder as {one} ({shown}); write another one"
    if inside:
        return f"lies inside {one} ({shown}); write a folder outside of it"
    # The state beside its folders, as --root has it, may well be in a folder above them.
    if around and other != "state":
        return f"contains {one} ({shown}); write a folder beside it"
    return None


_Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Place:
    """One folder and everything by which it can be known again under another name."""

    path: str
    identity: _Identity | None  # None while it does not exist
    above: frozenset[_Identity]  # of itself and of the folders above it
    device: str  # as the mount table writes it; "" when unknown
    inner: str  # its path inside that file system

    @classmethod
    def of(cls, path: str, mountinfo: str) -> Place:
        """Look at a resolved path."""
        seen = [_identify(above) for above in _upwards(path)]
        mount = mount_of(path, mountinfo)
        inner = _under(mount.root, path[len(mount.point) :])
        above = frozenset(identity for identity in seen if identity)
        return cls(path, seen[0], above, mount.device, inner)

    def holds(self, other: Place) -> bool:
        """Tell whether other is this folder or lies inside it."""
        if is_below(other.path, self.path) or self.identity in other.above:
            return True
        if not self.device or self.device != other.device or not is_below(other.inner, self.inner):
            return False
        # The table alone is not believed: every NFS mount of one server calls its root "/".
        below = _under(self.path, other.inner[len(self.inner) :])
        return other.identity is not None and _identify(below) == other.identity


def _upwards(path: str) -> Iterator[str]:
    while True:
        yield path
        parent = os.path.dirname(path)
        if parent == path:
            return
        path = parent


def _under(folder: str, rest: str) -> str:
    return os.path.join(folder, rest.strip("/")).rstrip("/") or "/"


def _identify(path: str) -> _Identity | None:
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    return stat.st_dev, stat.st_ino

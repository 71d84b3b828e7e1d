"""What is wrong only with a whole configuration: folders inside one another, an unknown profile.

Folders are compared by their resolved paths, by device and inode of every folder above them, and
through the mount table: a bind mount of ``inbox/out`` as outbox is found (it is how containers are
usually given their volumes). One that is missing is compared by its path alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import combinations
from pathlib import PurePath
from typing import TYPE_CHECKING

from watchconv.config.contradictions import contradictions
from watchconv.config.problems import Problem, near_miss, show
from watchconv.config.wish import Wish
from watchconv.host.mounts import is_below, mount_of, table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from watchconv.config.keys import Config

FOLDERS = ("inbox", "outbox", "done", "error")
STATE_BYTES_MAX = 470  # SQLite takes 504, its files' names included


def find_conflicts(
    config: Config, broken: Collection[str] = (), written: Iterable[str] = ()
) -> list[Problem]:
    """List what does not go together; keys in broken hold no value worth comparing.

    written: names of profiles that are known to be meant, whether they are sound or not.
    """
    mounts, problems = table(), []
    sound = [key for key in (*FOLDERS, "state") if key not in broken]
    places = {key: Place.of(getattr(config, key), mounts) for key in sound}
    for one, other in combinations(sound, 2):
        here, there = places[one], places[other]
        inside, around = here.holds(there), there.holds(here)
        shown = f"{one} ({there.path}, {one} is {here.path})"
        if inside and around:
            problems.append(Problem((other,), f"is the same folder as {shown}; write another one"))
        elif inside:
            text = f"lies inside {shown}; write a folder outside of it"
            problems.append(Problem((other,), text))
        # The state beside its folders, as --root has it, may well be in a folder above them.
        elif around and other != "state":
            problems.append(Problem((other,), f"contains {shown}; write a folder beside it"))
    if "state" in sound and len(os.fsencode(config.state)) > STATE_BYTES_MAX:
        text = f"is too long for SQLite; write a path of at most {STATE_BYTES_MAX} bytes"
        problems.append(Problem(("state",), text))
    known = list(dict.fromkeys([*config.all_profiles, *written]))
    if "profile" not in broken and config.profile not in known:
        near = near_miss(config.profile, known)
        hint = f"did you mean {near}?" if near else f"write one of {', '.join(known)}"
        text = f"there is no profile {show(config.profile)}; {hint}"
        problems.append(Problem(("profile",), text))
    for name, profile in config.profiles.items():
        if isinstance(profile, Wish):
            problems += contradictions(name, profile)
    return problems


_Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Place:
    """One folder and everything by which it can be known again under another name."""

    path: str
    identity: _Identity | None  # None while it does not exist
    above: frozenset[_Identity | None]  # of itself and of the folders above it
    device: str  # as the mount table writes it; "" when unknown
    inner: str  # its path inside that file system

    @classmethod
    def of(cls, path: str, mountinfo: str) -> Place:
        """Look at a resolved path."""
        seen = [_identify(above) for above in (path, *map(str, PurePath(path).parents))]
        mount = mount_of(path, mountinfo)
        inner = _under(mount.root, path[len(mount.point) :])
        return cls(path, seen[0], frozenset(seen), mount.device, inner)

    def holds(self, other: Place) -> bool:
        """Return whether other is this folder or lies inside it."""
        if is_below(other.path, self.path) or (self.identity and self.identity in other.above):
            return True
        if not self.device or self.device != other.device or not is_below(other.inner, self.inner):
            return False
        # The table alone is not believed: every NFS mount of one server calls its root "/".
        below = _under(self.path, other.inner[len(self.inner) :])
        return other.identity is not None and _identify(below) == other.identity


def _under(folder: str, rest: str) -> str:
    return os.path.join(folder, rest.strip("/")).rstrip("/") or "/"


def _identify(path: str) -> _Identity | None:
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    return stat.st_dev, stat.st_ino

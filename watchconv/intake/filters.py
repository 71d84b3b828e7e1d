"""What names decide: which files count as videos, and which profile converts a file.

What does not count is ignored, counted, and logged once. Whether a file is a video is for the
probe to find out. Patterns are the shell's, matched without regard to case: with a / inside
against the path below the inbox, else against the name alone; with one at the end for folders only.
"""

from __future__ import annotations

import fnmatch
import logging
import os
import re
import stat as st
from array import array
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

from watchconv.deliver.sidecars import SUFFIXES as SIDECARS
from watchconv.media.dvd import is_menu_or_table
from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

log = logging.getLogger(__name__)

LOGGED_LIMIT = 1000  # lines about one scan; what is more is counted

# what systems and sync programs leave in shared folders, and partial uploads (FIELD-NOTES row 10)
BUILTIN_IGNORE = (
    ".*", "~$*", "Thumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information",
    "@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot", "lost+found", "__MACOSX",
    "_UNPACK_*", "_FAILED_*", "*.part", "*.partial", "*.filepart", "*.crdownload", "*.download",
    "*.opdownload", "*.tmp", "*.temp", "*.!qB", "*.!ut", "*.aria2",
)  # fmt: skip
_matches_builtin = re.compile("|".join(map(fnmatch.translate, BUILTIN_IGNORE)), re.IGNORECASE).match


def profile_for(source: str, profiles: Iterable[str], default: str) -> str:
    """Return the profile named like the first folder of the path, else the default.

    The folder's name may be in any case of letters: file servers and phones make capitals.
    """
    first, slash, _ = source.partition("/")
    named = [name for name in profiles if slash and name.casefold() == first.casefold()]
    return first if first in named else next(iter(named), default)


def names_in_error(source: str, profiles: Collection[str]) -> list[str]:
    """Return the names that a file may have in error/: any profile's folder may have held it."""
    first, _, rest = source.partition("/")
    if not profile_for(source, profiles, ""):
        return [source, *map(os.path.join, profiles, repeat(source))]
    return [rest, *map(os.path.join, dict.fromkeys([*profiles, first]), repeat(rest))]


def kind_of(mode: int) -> str:
    """Return why something is ignored that is neither a regular file nor a folder to scan."""
    if st.S_ISDIR(mode):
        return "a folder that is passed over with all that is in it"
    return "a link" if st.S_ISLNK(mode) else "no regular file"


class _Pattern(NamedTuple):
    """A pattern of the configuration."""

    written: str
    match: Callable[[str], object]
    of_path: bool  # it has a slash inside
    for_folders: bool  # it has one at its end

    def fits(self, name: str, folder: str) -> bool:
        """Return whether a name, in a folder below the inbox, is like it."""
        return bool(self.match(os.path.join(folder, name) if self.of_path else name))


class NameFilter:
    """The configured choice of names. Quick: a folder may hold hundreds of thousands."""

    def __init__(self, extensions: Iterable[str] | None, ignore: Iterable[str]) -> None:
        """Compile a choice of extensions, in lower case without dot, or None; and patterns."""
        self._extensions = None if extensions is None else frozenset(extensions)
        self._own: list[_Pattern] = []
        for written in ignore:
            shape = written.removeprefix("/").removesuffix("/")
            match = re.compile(fnmatch.translate(shape), re.IGNORECASE).match
            of_path = "/" in written.removesuffix("/")
            self._own.append(_Pattern(written, match, of_path, written.endswith("/")))

    def reason(self, name: str, folder: str = "") -> str | None:
        """Return why a file of this name, in a folder below the inbox, is ignored; None: it counts.

        Whether the folder itself is skipped is for ``skips`` to answer.
        """
        if _matches_builtin(name):
            return "its name is that of a partial or system file"
        for pattern in self._own:
            if not pattern.for_folders and pattern.fits(name, folder):
                return f"it is like {pattern.written} in ignore"
        if is_menu_or_table(name):
            return "a menu or a table of a DVD, and no film"
        stem, dot, suffix = name.rpartition(".")
        if self._extensions and stem and suffix.lower() in self._extensions:
            return None
        if f"{dot}{suffix.lower()}" in SIDECARS:
            return "subtitles, which go where the film of their name goes"
        return "no video by name" if self._extensions else None

    def skips_folder(self, path: str) -> bool:
        """Return whether a folder is skipped with all that is in it, those above it aside."""
        above, name = os.path.split(path)
        return bool(_matches_builtin(name)) or any(own.fits(name, above) for own in self._own)

    def skips(self, path: str) -> bool:
        """Return whether a folder or one that it lies in is skipped; "" is the inbox."""
        while path:
            if self.skips_folder(path):
                return True
            path = path.rpartition("/")[0]
        return False


class Ignored:
    """Counts the ignored files, and logs each once; remembers a number of each, not the name."""

    def __init__(self) -> None:
        self._names: dict[str, array[int]] = {}
        self._logged = 0  # in this scan

    def end_scan(self) -> int:
        """Return how many are ignored; log how many were not logged, and begin to count anew."""
        if self._logged > LOGGED_LIMIT:
            log.info("ignored %d more files", self._logged - LOGGED_LIMIT)
        self._logged = 0
        return sum(map(len, self._names.values()))

    def renew(self, folder: str, found: Iterable[tuple[str, str]]) -> None:
        """Replace what a folder holds by what a scan found: names with their reasons."""
        before = frozenset(self._names.pop(folder, ()))
        keys: array[int] = array("q")
        for name, reason in found:
            keys.append(hash(name))
            if keys[-1] not in before:
                self._log(folder, name, reason)
        if keys:
            self._names[folder] = keys

    def add(self, folder: str, name: str, reason: str) -> None:
        """Add one name, if it is new."""
        keys = self._names.setdefault(folder, array("q"))
        if hash(name) not in keys:
            keys.append(hash(name))
            self._log(folder, name, reason)

    def discard(self, folder: str, name: str) -> None:
        """Forget one name: it is gone."""
        keys = self._names.get(folder)
        if keys and hash(name) in keys:
            keys.remove(hash(name))

    def keep_only(self, folders: set[str]) -> None:
        """Forget the folders that are gone."""
        for gone in self._names.keys() - folders:
            del self._names[gone]

    def _log(self, folder: str, name: str, reason: str) -> None:
        self._logged += 1
        if self._logged <= LOGGED_LIMIT:
            log.info("ignored %s: %s", printable(os.path.join(folder, name)), reason)

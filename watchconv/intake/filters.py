"""Which names count as videos; the others are ignored, counted, and logged once.

Only names are judged; whether a file is a video is for the probe to find out. Patterns are the
shell's, matched without regard to case: with a / inside against the path below the inbox, else
against the name alone; one that ends with / is for folders only.
"""

from __future__ import annotations

import fnmatch
import logging
import os
import re
import stat as st
from array import array
from typing import TYPE_CHECKING, NamedTuple

from watchconv.names import printable, split_suffix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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


def kind_of(mode: int) -> str:
    """Return why something is ignored that is neither a regular file nor a folder to scan."""
    if st.S_ISDIR(mode):
        return "a folder that is passed over with all that is in it"
    return "a link" if st.S_ISLNK(mode) else "no regular file"


class _Pattern(NamedTuple):
    """A pattern of the configuration."""

    written: str
    match: Callable[[str], object]
    of_path: bool
    for_folders: bool

    @classmethod
    def of(cls, written: str) -> _Pattern:
        """Read a pattern: with a slash inside it is of paths, with one at its end of folders."""
        shape = written.removeprefix("/").removesuffix("/")
        match = re.compile(fnmatch.translate(shape), re.IGNORECASE).match
        of_path = "/" in written.removesuffix("/")
        return cls(written, match, of_path, written.endswith("/"))

    def fits(self, name: str, folder: str) -> bool:
        """Return whether a name, in a folder below the inbox, is like it."""
        return bool(self.match(os.path.join(folder, name) if self.of_path else name))


class NameFilter:
    """The configured choice of names. Quick: a folder may hold hundreds of thousands."""

    def __init__(self, extensions: Iterable[str] | None, ignore: Iterable[str]) -> None:
        """Take the extensions that count, in lower case without dot (None: every name does)."""
        self._extensions = None if extensions is None else frozenset(extensions)
        self._own = [_Pattern.of(written) for written in ignore]

    def reason(self, name: str, folder: str = "") -> str | None:
        """Return why a file of this name, in a folder below the inbox, is ignored; None: it counts.

        Whether the folder itself is skipped is for ``skips`` to answer.
        """
        if _matches_builtin(name):
            return "its name is that of a partial or system file"
        for pattern in self._own:
            if not pattern.for_folders and pattern.fits(name, folder):
                return f"it is like {pattern.written} in ignore"
        if self._extensions is None or split_suffix(name)[1][1:].lower() in self._extensions:
            return None
        return "no video by name"

    def skips_folder(self, path: str) -> bool:
        """Return whether a folder is skipped with all that is in it, those above it aside."""
        above, name = os.path.split(path)
        return bool(_matches_builtin(name)) or any(own.fits(name, above) for own in self._own)

    def skips(self, path: str) -> bool:
        """Return whether a folder or one that it lies in is skipped; "" is the inbox."""
        parts = path.split("/") if path else []
        return any(self.skips_folder("/".join(parts[: n + 1])) for n in range(len(parts)))


class Ignored:
    """Counts the ignored files, and logs each once.

    A number is remembered of each, not the name: there may be hundreds of thousands.
    """

    def __init__(self) -> None:
        self._names: dict[str, array[int]] = {}
        self._logged = 0  # in this scan

    def end_scan(self) -> None:
        """Log how many more there were, and allow the next scan its lines."""
        if self._logged > LOGGED_LIMIT:
            log.info("ignored %d more files", self._logged - LOGGED_LIMIT)
        self._logged = 0

    def __len__(self) -> int:
        return sum(map(len, self._names.values()))

    def renew(self, folder: str, found: Iterable[tuple[str, str]]) -> None:
        """Replace what a folder holds by what a scan found: names with their reasons."""
        before = frozenset(self._names.get(folder, ()))
        keys: array[int] = array("q")
        for name, reason in found:
            keys.append(hash(name))
            if keys[-1] not in before:
                self._log(folder, name, reason)
        if keys:
            self._names[folder] = keys
        else:
            self._names.pop(folder, None)

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

"""What lies beside a file and says that more is to come of it: a download's part, parts to join.

A browser makes an empty file under the final name and writes into ``NAME.xyz.part`` beside it. A
program that loads picture and sound apart writes ``film.f137.mp4`` and ``film.f140.m4a``, joins
them as ``film.mp4`` and deletes both: each part is whole, and none is the film.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from watchconv.host.files import closing, open_folder
from watchconv.media.dvd import first_part, further_parts
from watchconv.names import split_suffix

if TYPE_CHECKING:
    from collections.abc import Iterable

LONE_SECONDS = 30.0  # for the next part to begin
JOIN_SECONDS = 120.0  # for parts of which none is written any more to be joined
LISTED_SECONDS = 1.0  # many files of one folder are asked about in a row

_UNDER_WAY = (
    ".part", ".partial", ".filepart", ".crdownload", ".download", ".opdownload", ".aria2", ".ytdl",
    ".!qb", ".!ut", ".tmp", ".temp",
)  # fmt: skip
# what stands before the suffix: f137, f248-1, fhls-audio-128; temp is the file they are joined in
_CODE = re.compile(r"\.(?:f[\w+=~-]*\d[\w+=~-]*|temp)", re.IGNORECASE)


def is_part(name: str) -> bool:
    """Return whether a name is that of one part of a film, going by the format's code in it."""
    stem, suffix = split_suffix(name)
    return bool(suffix and _CODE.fullmatch(os.path.splitext(stem)[1]))


def download_of(name: str, beside: Iterable[str]) -> str | None:
    """Return what a file is downloaded into, to take its name when it is whole."""
    stem = split_suffix(name)[0]
    for other in beside:
        if other.lower().endswith(_UNDER_WAY) and other.startswith((name, f"{stem}.")):
            return other
    return None


class Neighbours:
    """The names in the folders of an inbox, listed when they are asked for."""

    def __init__(self, inbox: str) -> None:
        self._inbox = inbox
        self._listed: tuple[str, float, list[str]] = ("", 0.0, [])

    def download_of(self, source: str) -> str | None:
        """Return the name of the download that is to become a file of the inbox."""
        folder, name = os.path.split(source)
        return download_of(name, self._names(folder))

    def is_loaded_in_place(self, source: str) -> bool:
        """Return whether a program says, in a file beside it, that it has not loaded all of it."""
        return os.path.lexists(os.path.join(self._inbox, f"{source}.aria2"))

    def join_seconds(self, source: str, alone_seconds: float, wall_now: float) -> float:
        """Return how long a part is still to be left alone; 0: nobody will join it any more.

        alone_seconds: for how long the part itself has been as it is.
        """
        folder, name = os.path.split(source)
        film = os.path.splitext(split_suffix(name)[0])[0]
        parts = [
            other
            for other in self._names(folder)
            if other.startswith(f"{film}.")
            and (is_part(other) or other.lower().endswith(_UNDER_WAY))
        ]
        quiet = self.quiet_seconds(folder, parts, wall_now)
        quiet = alone_seconds if quiet is None else quiet
        return max(0.0, (JOIN_SECONDS if len(parts) > 1 else LONE_SECONDS) - quiet)

    def set_of(self, source: str) -> tuple[str, list[str]] | None:
        """Return where the film of a DVD's part begins, and all of its parts; None: it is no part.

        A part whose beginning is not there stands for itself.
        """
        folder, name = os.path.split(source)
        first = first_part(name)
        if first is None:
            return None
        names = frozenset(self._names(folder))
        parts = [first, *further_parts(first, names)]
        return (first, parts) if first in names and name in parts else (name, [name])

    def quiet_seconds(self, folder: str, names: Iterable[str], wall_now: float) -> float | None:
        """Return for how long nothing has happened to files; None: a clock was set."""
        newest = 0.0
        for name in names:
            try:
                stat = os.lstat(os.path.join(self._inbox, folder, name))
            except OSError:
                continue
            newest = max(newest, stat.st_ctime)
        return wall_now - newest if 0 < newest <= wall_now else None

    def _names(self, folder: str) -> list[str]:
        known, at, names = self._listed
        now = time.monotonic()
        if known != folder or not 0 <= now - at < LISTED_SECONDS:
            try:
                with closing(open_folder(os.path.join(self._inbox, folder).rstrip("/"))) as opened:
                    names = os.listdir(opened)
            except OSError:  # what cannot be listed holds nothing that is known of
                names = []
            self._listed = folder, now, names
        return names

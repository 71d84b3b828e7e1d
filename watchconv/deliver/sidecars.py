"""Subtitles that lie beside a film go where the film goes: ``film.srt``, ``film.en.forced.srt``.

They are found anew at each try: a sidecar is moved before its film is, so that after a crash those
that are left are still found by it, and a copy that is there already is not made again.
"""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress
from stat import S_ISREG
from typing import TYPE_CHECKING, NamedTuple

from watchconv.deliver.move import MOST_NAMES, TAKEN, all_taken, copy_to, move
from watchconv.deliver.ownership import make_folder
from watchconv.media.dvd import further_parts
from watchconv.names import fit, numbered, printable, split_suffix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from watchconv.deliver.ownership import Ownership
    from watchconv.host.files import OpenFolder, Place

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".srt", ".ass", ".ssa", ".vtt", ".sub", ".idx", ".sup", ".smi"})
_TAIL = re.compile(r"(?:\.[\w-]{1,24}){0,3}\.\w+")  # .srt, .en.srt, .pt-BR.forced.srt


class Sidecar(NamedTuple):
    """A file that goes where a film goes."""

    name: str
    tail: str  # what follows on the film's stem in its name
    is_shared: bool  # another film of the same stem lies there


def sidecars_of(film: str, names: Iterable[str], is_film: Callable[[str], bool]) -> list[Sidecar]:
    """Return which of the names in a film's folder are its sidecars.

    One that fits the longer stem of another film there is that one's.
    """
    stem = split_suffix(film)[0]
    found, stems = [], []
    for name in names:
        if not name.startswith(f"{stem}.") or name == film:
            continue
        tail = name[len(stem) :]
        if split_suffix(name)[1].lower() in SUFFIXES:
            if _TAIL.fullmatch(tail):
                found.append((name, tail))
        elif is_film(name):
            stems.append(split_suffix(name)[0])
    is_shared = stem in stems
    longer = tuple(f"{other}." for other in stems if other != stem)
    return [Sidecar(name, tail, is_shared) for name, tail in found if not name.startswith(longer)]


class Sidecars:
    """The sidecars of one film, found in its folder, which is given again while it is open."""

    def __init__(
        self, home: OpenFolder, film: str, job_id: int, is_film: Callable[[str], bool]
    ) -> None:
        self._job_id = job_id
        names = os.listdir(home.descriptor)
        self._found = [
            sidecar
            for sidecar in sidecars_of(film, names, is_film)
            if _is_regular(home.at(sidecar.name))
        ]
        self.parts = further_parts(film, frozenset(names))

    def copy(self, home: OpenFolder, root: OpenFolder, stem: str, ownership: Ownership) -> None:
        """Copy each to a film's new stem, a path below root. Repeatable."""

        def place(source: Place, target: Place) -> None:
            """Copy one; what cannot be read holds up no film."""
            try:
                copy_to(source, target, self._job_id, ownership)
            except PermissionError as error:
                words = "%s is not copied beside the output of its film: %s"
                log.warning(words, printable(source.path), error.strerror)

        for sidecar in self._found:
            _at_a_free_name(home.at(sidecar.name), root, stem + sidecar.tail, ownership, place)

    def move(self, home: OpenFolder, root: OpenFolder, stem: str, ownership: Ownership) -> None:
        """Move each to a film's new stem, a path below root, but those that are shared."""
        for sidecar in self._found:
            if not sidecar.is_shared:
                _at_a_free_name(
                    home.at(sidecar.name), root, stem + sidecar.tail, ownership, self._move
                )

    def move_parts(
        self, home: OpenFolder, root: OpenFolder, folder: str, ownership: Ownership
    ) -> None:
        """Move the further parts of the film into a folder below root."""
        for part in self.parts:
            _at_a_free_name(home.at(part), root, os.path.join(folder, part), ownership, self._move)

    def _move(self, source: Place, target: Place) -> None:
        move(source, target, self._job_id, ours=False)


def _is_regular(place: Place) -> bool:
    try:
        return S_ISREG(place.stat().st_mode)
    except OSError:
        return False


def _at_a_free_name(
    source: Place,
    root: OpenFolder,
    wish: str,
    ownership: Ownership,
    place: Callable[[Place, Place], None],
) -> None:
    """Have a file placed under the first form of a wish, a path below root, that is free."""
    above, name = os.path.split(wish)
    stem, suffix = split_suffix(name)
    for number in range(1, MOST_NAMES):
        if not source.exists():  # somebody has taken it
            return
        with suppress(*TAKEN), make_folder(root, above, ownership) as folder:
            place(source, folder.at(numbered(fit(stem, suffix), number)))
            return
    raise all_taken(wish)

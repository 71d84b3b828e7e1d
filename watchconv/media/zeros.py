"""Runs of zeros that a file shows to whoever reads it: holes, and what was never written.

Told apart from padding that a container announces. The probe worker's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from watchconv.media.container import parts_of, read_box, read_chunk

if TYPE_CHECKING:
    from watchconv.media.container import Pread, ReadPart

LEAST_BYTES = 64 * 1024
RUNS = 10
_PADDING_BOXES = (b"free", b"skip", b"wide", b"uuid", b"\0\0\0\0")
_VOID = 0xEC  # Matroska's id for padding; its length follows in up to 8 bytes


class Zeros:
    """The runs of zeros in what is read, piece by piece."""

    def __init__(self) -> None:
        self._runs: dict[int, int] = {}  # where they end, by where they begin
        self._begun = self._over = -1

    def see(self, part: bytes, at: int) -> None:
        """Take in a piece of the file."""
        if part[:1] != b"\0" and part[-1:] != b"\0":
            self._end()
            return
        lead = len(part) - len(part.lstrip(b"\0"))
        if lead:
            if self._over != at:
                self._end()
                self._begun = at
            self._over = at + lead
        if lead < len(part):
            self._end()
            if trail := len(part) - len(part.rstrip(b"\0")):
                self._begun, self._over = at + len(part) - trail, at + len(part)

    def _end(self) -> None:
        if self._over - self._begun >= LEAST_BYTES:
            self._runs[self._begun] = max(self._over, self._runs.get(self._begun, 0))
        self._begun = self._over = -1

    def runs(self, pread: Pread, size: int, demuxer: str) -> tuple[tuple[int, int], ...]:
        """Return where runs begin and their bytes, in the file's order; padding is no run."""
        self._end()
        padding = padding_of(pread, size, demuxer)
        found: list[tuple[int, int]] = []
        for begin, over in sorted(self._runs.items()):
            covered = sum(max(0, min(over, b) - max(begin, a)) for a, b in padding)
            is_padding = over - begin - covered < LEAST_BYTES
            is_void = demuxer == "matroska" and _VOID in pread(9, max(0, begin - 9))
            if not is_padding and not is_void:
                found.append((begin, over - begin))
        return tuple(found[:RUNS])


def padding_of(pread: Pread, size: int, demuxer: str) -> list[tuple[int, int]]:
    """Return the parts of a file that its container sets apart as padding, and its rest."""
    walks: dict[str, tuple[ReadPart, int, tuple[bytes, ...]]] = {
        "mov": (read_box, 0, _PADDING_BOXES),
        "avi": (read_chunk, 12, (b"JUNK", b"\0\0\0\0")),
    }
    if demuxer not in walks:
        return []
    read_part, at, names = walks[demuxer]
    return [
        (begin, min(size, end or size) if any(name) else size)
        for name, begin, end in parts_of(pread, size, read_part, at)
        if name in names
    ]

"""Ask a file's own container whether the file is whole.

Steps from top-level part to top-level part of an mp4, Matroska or AVI file, found by content, and
compares their announced end with the file's. Quick whatever the file holds: a few bytes are read
from each of at most 4,096 parts, with pread, so the descriptor's offset stays; no bytes make the
walk raise, but a failing disk, a mount that went away or a closed descriptor do (OSError).

INCOMPLETE is said only where the format itself says so; where it is silent the answer is NO_WORD,
and quiet time decides. What stands inside the parts is not looked at: a WHOLE file may still be
damaged.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Pread = Callable[[int, int], bytes]  # so many bytes, from this offset on

MOST_PARTS = 4096
FEW_ZEROS, MANY_ZEROS = 512, 4096
SECTORS_BYTES = 128 * 1024
_ASF = bytes.fromhex("3026b2758e66cf11")


class Ending(StrEnum):
    """The container's word on its own end."""

    WHOLE = "whole"  # its end is the file's end, and all that it needs is there
    INCOMPLETE = "incomplete"  # more must come, or the file is truncated
    UNSURE = "unsure"  # it looks as if more must come, but a whole file may look like this too
    NO_WORD = "no word"  # unknown format, or one that does not say where it ends


@dataclass(frozen=True, slots=True)
class ContainerEnd:
    """What the container says; ``detail`` tells a person why more must come, else it is empty."""

    ending: Ending
    detail: str = ""


_WHOLE = ContainerEnd(Ending.WHOLE)
_NO_WORD = ContainerEnd(Ending.NO_WORD)


def container_end(fd: int, size: int) -> ContainerEnd:
    """Compare where the container ends with where the file ends.

    size is the file's, from fstat of the same descriptor. The format is told by the first
    bytes, never by a name. A file whose last bytes are all zero is never WHOLE: so looks one that
    was given its final size before its content. Many zeros are more than chance.
    """
    if size == 0:
        return ContainerEnd(Ending.INCOMPLETE, "the file is empty")

    def pread(count: int, at: int) -> bytes:
        """Read somewhere in the file."""
        return os.pread(fd, count, at)

    head = pread(512, 0)
    end = _NO_WORD
    if head[4:8] in _FIRST_BOXES:
        end = _mp4_end(pread, size)
    elif head[:4] == _EBML:
        end = _matroska_end(pread, size)
    elif _is_avi(head):
        end = _avi_end(pread, size)
    if end.ending is Ending.INCOMPLETE or not _ends_in_zeros(pread, size, FEW_ZEROS):
        return end
    many = size >= MANY_ZEROS and _ends_in_zeros(pread, size, MANY_ZEROS)
    if many and (zeros := _meaning_of_zeros(pread, size, head)):
        return ContainerEnd(zeros, "it ends in zeros, for it got its size before its content")
    return _NO_WORD


def _ends_in_zeros(pread: Pread, size: int, count: int) -> bool:
    return not any(pread(count, max(0, size - count)))


def _is_avi(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"AVI "


def _meaning_of_zeros(pread: Pread, size: int, head: bytes) -> Ending | None:
    """Return what many zeros at the end mean: these formats end in something else, or may not.

    An mp4 may end in silence that is not compressed, a Video CD in a few empty sectors; of a
    file that begins in zeros too, nothing is known.
    """
    if head[4:8] in _FIRST_BOXES:
        names = [part.name for part in walk(pread, size, read_box)]
        content = names[-1:] == [b"mdat"] or not {b"mdat", b"moof"}.intersection(names)
        return Ending.UNSURE if content else None
    if _is_avi(head):
        chunks = takewhile(lambda part: any(part.name), walk(pread, size, read_chunk, 12))
        return None if [part.name for part in chunks][-1:] == [b"JUNK"] else Ending.INCOMPLETE
    if head[:4] == b"\0\0\1\xba":
        sectors = _ends_in_zeros(pread, size, SECTORS_BYTES)
        return Ending.INCOMPLETE if sectors else Ending.UNSURE
    if not any(head):
        return Ending.UNSURE
    transport = b"GGG" in (head[0:377:188], head[4:389:192])
    known = head.startswith((_EBML, b"FLV\1", b"OggS", _ASF))
    return Ending.INCOMPLETE if known or transport else None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a container: an mp4 box, an EBML element, a RIFF, a chunk in a RIFF."""

    name: bytes
    end: int | None  # its offset in the file; None: the part is open, the format does not say


def walk(
    pread: Pread, size: int, read_part: Callable[[Pread, int], Part | None], at: int = 0
) -> Iterator[Part]:
    """Step from part to part, up to and including the first that is open or too long."""
    for _ in range(MOST_PARTS):
        part = read_part(pread, at) if at < size else None
        if part is None:
            return
        yield part
        if part.end is None or part.end > size:
            return
        at = part.end


def _reach(parts: list[Part], size: int) -> int:
    """Return the offset up to which the parts lie whole in the file."""
    return max((part.end for part in parts if part.end and part.end <= size), default=0)


def _overrun(parts: list[Part], size: int, labels: Mapping[bytes, str]) -> ContainerEnd | None:
    """Return INCOMPLETE where the last part is of a known type and ends beyond the file."""
    last = parts[-1] if parts else None
    if last is None or last.end is None or last.end <= size or last.name not in labels:
        return None
    missing = last.end - size
    bytes_more = "1 byte more" if missing == 1 else f"{missing:,} bytes more"
    return ContainerEnd(
        Ending.INCOMPLETE, f"the {labels[last.name]} needs {bytes_more} than the file has"
    )


_FIRST_BOXES = frozenset(
    b"ftyp styp moov moof mdat free skip wide pnot sidx".split()  # what files really begin with
)
_BOXES = {
    name: f"mp4 box {name.decode()}"
    for name in _FIRST_BOXES.union(b"PICT emsg imda junk meta mfra pdin prft ssix uuid".split())
}
_ZEROS = bytes(4)


def read_box(pread: Pread, at: int) -> Part | None:
    """Read the head of an mp4 box; None where there is none."""
    header = pread(16, at)
    if len(header) < 8:
        return None
    length, name = int.from_bytes(header[:4], "big"), header[4:8]
    if length == 0:
        return Part(name, None)
    least = 8
    if length == 1:
        least = 16
        # a 64-bit size that is cut off itself: the box needs at least its own header
        length = int.from_bytes(header[8:], "big") if len(header) == 16 else least
    return Part(name, at + length) if length >= least else None


def _mp4_end(pread: Pread, size: int) -> ContainerEnd:
    """Judge an mp4 or mov.

    Without an index (moov, or moof in fragments) nothing can be read: INCOMPLETE, also where an
    open box or the zeros of a preallocated file stand in its place. A fragmented file may always
    get another fragment, so only a closing mfra makes it WHOLE.
    """
    parts = list(walk(pread, size, read_box))
    if overrun := _overrun(parts, size, _BOXES):
        return overrun
    names = [part.name for part in parts]
    if not parts or not {*_BOXES, _ZEROS}.issuperset(names):
        return _NO_WORD
    last = parts[-1]
    if b"moov" not in names and b"moof" not in names:
        if last.end is None and last.name == _ZEROS:
            zeros = "only zeros stand where the mp4 box moov should be"
            return ContainerEnd(Ending.INCOMPLETE, zeros)
        if last.end is None or size - _reach(parts, size) < 8:
            return ContainerEnd(Ending.INCOMPLETE, "the mp4 box moov is missing")
        return _NO_WORD
    closed = names[-1] == b"mfra" if b"moof" in names else b"mdat" in names
    return _WHOLE if closed and _reach(parts, size) == size else _NO_WORD


_EBML = bytes.fromhex("1a45dfa3")
_SEGMENT = bytes.fromhex("18538067")
_VOID, _CRC32 = b"\xec", b"\xbf"
# the short ids are no proof: one byte in 128 of any garbage looks like them
_ELEMENTS = {_EBML: "Matroska header", _SEGMENT: "Matroska segment"}


def _width(number: bytes) -> int:
    """Return the length that the first byte of an EBML number announces; 9: not a number."""
    return 9 - number[0].bit_length() if number else 1


def _read_element(pread: Pread, at: int) -> Part | None:
    header = pread(12, at)
    name = header[: _width(header)]
    number = header[len(name) :]
    width = _width(number)
    if not name or len(name) > 4 or width > 8:
        return None
    begin = at + len(name) + width
    if len(number) < width:  # cut off: the element needs at least its own header
        return Part(name, begin)
    most = (1 << 7 * width) - 1
    length = int.from_bytes(number[:width], "big") & most
    return Part(name, None if length == most else begin + length)


def _matroska_end(pread: Pread, size: int) -> ContainerEnd:
    """Judge a Matroska or WebM by its segment; live recordings leave its size open."""
    parts = list(walk(pread, size, _read_element))
    if overrun := _overrun(parts, size, _ELEMENTS):
        return overrun
    names = {part.name for part in parts}
    known = _SEGMENT in names and names <= {*_ELEMENTS, _VOID, _CRC32}
    return _WHOLE if known and _reach(parts, size) == size else _NO_WORD


_RIFFS = {b"AVI ": "AVI file", b"AVIX": "AVI continuation"}


def _read_riff(pread: Pread, at: int) -> Part | None:
    header = pread(12, at)
    if len(header) < 12 or header[:4] != b"RIFF":
        return None
    length = int.from_bytes(header[4:8], "little")
    # recorders write one of these first and the true size at the end; pipes and crashes keep it
    return Part(header[8:], None if length in {0, 0xFFFFFFFF} else at + 8 + length)


def read_chunk(pread: Pread, at: int) -> Part | None:
    """Read the head of a chunk inside a RIFF, where they begin at even offsets."""
    header = pread(8, at)
    length = int.from_bytes(header[4:], "little")
    return Part(header[:4], at + 8 + length + length % 2) if header else None


def _avi_end(pread: Pread, size: int) -> ContainerEnd:
    """Judge an AVI; those above 1 GB are a row of RIFFs (OpenDML)."""
    parts = list(walk(pread, size, _read_riff))
    if overrun := _overrun(parts, size, _RIFFS):
        return overrun
    known = _RIFFS.keys() >= {part.name for part in parts}
    return _WHOLE if known and _reach(parts, size) == size else _NO_WORD

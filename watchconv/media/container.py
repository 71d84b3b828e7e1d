"""Ask a file's own container whether the file is whole.

Steps from top-level part to top-level part of an mp4, Matroska or AVI file and compares their
announced end with the file's; a Windows Media file's header announces its size. Quick whatever the
file holds: a few bytes are read from each of at most 4,096 parts, and the descriptor's offset
stays. Only a failing disk, a mount that went away or a closed descriptor raise (OSError).

INCOMPLETE is said only where the format itself says so; where it is silent quiet time decides. What
stands inside the parts is not looked at: a WHOLE file may still be damaged.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Pread = Callable[[int, int], bytes]  # so many bytes, from this offset on
    # one part's name and the offset of its end (None: it is open); None where there is no part
    ReadPart = Callable[[Pread, int], tuple[bytes, int | None] | None]

MOST_PARTS = 4096
FEW_ZEROS, MANY_ZEROS = 512, 4096
SECTORS_BYTES = 128 * 1024
ASF = bytes.fromhex("3026b2758e66cf11")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_AVI = b"RIFFAVI "  # what stands before and behind the length

_FIRST_BOXES = frozenset(
    b"ftyp styp moov moof mdat free skip wide pnot sidx".split()  # what files really begin with
)
_BOXES = {
    name: f"mp4 box {name.decode()}"
    for name in _FIRST_BOXES.union(b"PICT emsg imda junk meta mfra pdin prft ssix uuid".split())
}
EBML = bytes.fromhex("1a45dfa3")
SEGMENT = bytes.fromhex("18538067")
# the short ids are no proof: one byte in 128 of any garbage looks like them
_ELEMENTS = {EBML: "Matroska header", SEGMENT: "Matroska segment"}
_KNOWN_ELEMENTS = {*_ELEMENTS, b"\xec", b"\xbf"}  # Void, CRC-32
_RIFFS = {b"AVI ": "AVI file", b"AVIX": "AVI continuation"}


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


class Parts(NamedTuple):
    """The top-level parts of a container: mp4 boxes, EBML elements, RIFFs, chunks in a RIFF."""

    names: list[bytes]
    whole_until: int  # the offset up to which they lie whole in the file
    end: int | None  # where the last one ends, perhaps beyond the file; None: it is open


_WHOLE = ContainerEnd(Ending.WHOLE)
_NO_WORD = ContainerEnd(Ending.NO_WORD)


def container_end(fd: int, size: int) -> ContainerEnd:
    """Compare where the container ends with where the file ends.

    The format is told by the first bytes, never by a name. A file whose last bytes are all zero is
    never WHOLE: so looks one that got its final size before its content. Many are no chance.
    """
    if size == 0:
        return ContainerEnd(Ending.INCOMPLETE, "the file is empty")
    pread = partial(os.pread, fd)
    head = pread(512, 0)
    end = _NO_WORD
    if is_mp4(head):
        end = _mp4_end(walk(pread, size, read_box), size)
    elif head[:4] == EBML:  # live recordings leave the segment's size open
        parts = walk(pread, size, read_element)
        known = SEGMENT in parts.names and _KNOWN_ELEMENTS.issuperset(parts.names)
        is_whole = known and parts.whole_until == size
        end = _overrun(parts, size, _ELEMENTS) or (_WHOLE if is_whole else _NO_WORD)
    elif is_avi(head):  # those above 1 GB are a row of RIFFs (OpenDML)
        parts = walk(pread, size, _read_riff)
        is_whole = parts.whole_until == size and _RIFFS.keys() >= set(parts.names)
        end = _overrun(parts, size, _RIFFS) or (_WHOLE if is_whole else _NO_WORD)
    elif head.startswith(ASF):
        end = asf_end(head, size)
    if end.ending is Ending.INCOMPLETE or any(pread(FEW_ZEROS, max(0, size - FEW_ZEROS))):
        return end
    many = size >= MANY_ZEROS and not any(pread(MANY_ZEROS, size - MANY_ZEROS))
    if many and (zeros := _meaning_of_zeros(pread, size, head)):
        return ContainerEnd(zeros, "it ends in zeros, for it got its size before its content")
    return _NO_WORD


def has_no_index(fd: int) -> bool:
    """Return whether nothing can be had of an mp4: what tells of its contents is not there."""
    pread, size = partial(os.pread, fd), os.fstat(fd).st_size
    if not is_mp4(pread(512, 0)):
        return False
    parts = walk(pread, size, read_box)
    whole = parts.names[:-1] if (parts.end or 0) > size else parts.names
    return b"moov" not in whole


def is_fragmented(fd: int) -> bool:
    """Return whether an mp4 was recorded in fragments, which are whole one by one."""
    pread = partial(os.pread, fd)
    if not is_mp4(pread(512, 0)):
        return False
    return b"moof" in walk(pread, os.fstat(fd).st_size, read_box).names[:-1]


def _meaning_of_zeros(pread: Pread, size: int, head: bytes) -> Ending | None:
    """Return what many zeros at the end mean; None: nothing.

    An mp4 may end in silence that is not compressed, a Video CD in a few empty sectors.
    """
    if is_mp4(head):
        names = walk(pread, size, read_box).names
        content = names[-1:] == [b"mdat"] or not {b"mdat", b"moof"}.intersection(names)
        return Ending.UNSURE if content else None
    if is_avi(head):
        chunks = [*takewhile(any, walk(pread, size, read_chunk, 12).names)]
        shell = _ends_before(pread, size, _read_riff)
        return None if shell or chunks[-1:] == [b"JUNK"] else Ending.INCOMPLETE
    if head[:4] == EBML and _ends_before(pread, size, read_element):
        return None
    if head[:4] == b"\0\0\1\xba":
        sectors = any(pread(SECTORS_BYTES, max(0, size - SECTORS_BYTES)))
        return Ending.UNSURE if sectors else Ending.INCOMPLETE
    if not any(head):
        return Ending.UNSURE
    known = head.startswith((EBML, b"FLV\1", b"OggS", ASF))
    return Ending.INCOMPLETE if known or is_transport(head) else None


def _ends_before(pread: Pread, size: int, read_part: ReadPart) -> bool:
    """Return whether zeros only follow on a whole container: a recorder's preallocated shell.

    Not where the end of the container itself is missing.
    """
    parts = walk(pread, size, read_part)
    end = parts.whole_until
    written = end >= FEW_ZEROS and any(pread(FEW_ZEROS, end - FEW_ZEROS))
    return written and end == parts.end and not any(pread(FEW_ZEROS, end))


def is_mp4(head: bytes) -> bool:
    """Return whether a file that begins so is an mp4 or mov."""
    return head[4:8] in _FIRST_BOXES


def is_avi(head: bytes) -> bool:
    """Return whether a file that begins so is an AVI."""
    return head[:4] + head[8:12] == _AVI


def is_transport(head: bytes) -> bool:
    """Return whether a file that begins so is a transport stream."""
    return b"GGG" in (head[0:377:188], head[4:389:192])


def walk(pread: Pread, size: int, read_part: ReadPart, at: int = 0) -> Parts:
    """Step from part to part, up to and including the first that is open or too long."""
    names: list[bytes] = []
    end: int | None = at
    for name, begin, end in parts_of(pread, size, read_part, at):
        names.append(name)
        at = begin if end is None or end > size else end
    return Parts(names, at, end)


def parts_of(
    pread: Pread, size: int, read_part: ReadPart, at: int = 0
) -> Iterator[tuple[bytes, int, int | None]]:
    """Yield the name of each part and where it begins and ends, to the first that is not whole."""
    for _ in range(MOST_PARTS):
        part = read_part(pread, at) if at < size else None
        if part is None:
            return
        name, end = part
        yield name, at, end
        if end is None or end > size:
            return
        at = end


def _overrun(parts: Parts, size: int, labels: Mapping[bytes, str]) -> ContainerEnd | None:
    """Return INCOMPLETE where the last part is of a known type and ends beyond the file."""
    missing = (parts.end or 0) - size
    if missing <= 0 or parts.names[-1] not in labels:
        return None
    bytes_more = "1 byte more" if missing == 1 else f"{missing:,} bytes more"
    return ContainerEnd(
        Ending.INCOMPLETE, f"the {labels[parts.names[-1]]} needs {bytes_more} than the file has"
    )


def asf_end(head: bytes, size: int) -> ContainerEnd:
    """Judge a Windows Media file by the size in its header, which a live one leaves open."""
    at = head.find(_ASF_PROPERTIES)
    properties = head[at : at + 92] if at > 0 else b""
    if len(properties) < 92 or properties[88] & 1:
        return _NO_WORD
    end = int.from_bytes(properties[40:48], "little")
    return _overrun(Parts([ASF], size, end), size, {ASF: "Windows Media file"}) or _NO_WORD


def read_box(pread: Pread, at: int) -> tuple[bytes, int | None] | None:
    """Read the head of an mp4 box; None where there is none."""
    header = pread(16, at)
    if len(header) < 8:
        return None
    length, name = int.from_bytes(header[:4], "big"), header[4:8]
    if length == 0:
        return name, None
    least = 8
    if length == 1:
        least = 16
        # a 64-bit size that is cut off itself: the box needs at least its own header
        length = int.from_bytes(header[8:], "big") if len(header) == 16 else least
    return (name, at + length) if length >= least else None


def _mp4_end(parts: Parts, size: int) -> ContainerEnd:
    """Judge an mp4 or mov: INCOMPLETE without an index (moov, or moof in fragments).

    So, too, where an open box or the zeros of a preallocated file stand in its place. A fragmented
    file may always get another fragment, so only a closing mfra makes it WHOLE.
    """
    if overrun := _overrun(parts, size, _BOXES):
        return overrun
    names, zeros = parts.names, bytes(4)
    if not names or not {*_BOXES, zeros}.issuperset(names):
        return _NO_WORD
    if b"moov" not in names and b"moof" not in names:
        if parts.end is None and names[-1] == zeros:
            only = "only zeros stand where the mp4 box moov should be"
            return ContainerEnd(Ending.INCOMPLETE, only)
        if parts.end is None or size - parts.whole_until < 8:
            return ContainerEnd(Ending.INCOMPLETE, "the mp4 box moov is missing")
        return _NO_WORD
    closed = names[-1] == b"mfra" if b"moof" in names else b"mdat" in names
    return _WHOLE if closed and parts.whole_until == size else _NO_WORD


def read_element(pread: Pread, at: int) -> tuple[bytes, int | None] | None:
    """Read the head of an EBML element; None where there is none."""
    header = pread(12, at)
    name = header[: number_width(header)]
    number = header[len(name) :]
    width = number_width(number)
    if not name or len(name) > 4 or width > 8:
        return None
    begin = at + len(name) + width
    if len(number) < width:  # cut off: the element needs at least its own header
        return name, begin
    most = (1 << 7 * width) - 1
    length = int.from_bytes(number[:width], "big") & most
    return name, None if length == most else begin + length


def number_width(number: bytes) -> int:
    """Return the length that the first byte of an EBML number announces; 9: not a number."""
    return 9 - number[0].bit_length() if number else 1


def _read_riff(pread: Pread, at: int) -> tuple[bytes, int | None] | None:
    header = pread(12, at)
    if len(header) < 12 or header[:4] != b"RIFF":
        return None
    length = int.from_bytes(header[4:8], "little")
    # recorders write one of these first and the true size at the end; pipes and crashes keep it
    return header[8:], None if length in {0, 0xFFFFFFFF} else at + 8 + length


def read_chunk(pread: Pread, at: int) -> tuple[bytes, int | None] | None:
    """Read the head of a chunk inside a RIFF, where they begin at even offsets."""
    header = pread(8, at)
    length = int.from_bytes(header[4:], "little")
    return (header[:4], at + 8 + length + length % 2) if header else None

"""Ask a file with holes whether its container expects data where they are.

A half-loaded file of its final size has holes; so has a whole one that was copied sparsely, where
long zeros are its own: black raw pictures, silence, padding. The container tells them apart: no
head of a part and no packet that is listed begins in zeros. What lies inside one part is not looked
at. Only heads are read, and only of files that have holes.
"""

from __future__ import annotations

import errno
import os
import sys
from array import array
from bisect import bisect_right
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from watchconv.media.container import (
    ASF,
    EBML,
    SEGMENT,
    ContainerEnd,
    Ending,
    container_end,
    is_avi,
    is_mp4,
    is_transport,
    number_width,
    read_box,
    read_chunk,
    read_element,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from watchconv.media.container import Pread

MOST_HOLES = 1000
MOST_HEADS = 200_000
LONGEST_INDEX = 64 << 20
# in these, no packet is as long: a longer hole has swallowed the head of one
LONGEST_PACKET = 128 << 10
_PACKS, _OGG = b"\0\0\1\xba", b"OggS"
_CLUSTER, _GROUP = bytes.fromhex("1f43b675"), b"\xa0"
# tracks, information, cues, seek heads
_NEEDED = frozenset(map(bytes.fromhex, ("1654ae6b", "1549a966", "1c53bb6b", "114d9b74")))
# samples that are zeros where nothing is to be seen or heard
_BARE = frozenset(
    b"raw ,yuv2,2vuy,v210,v308,v408,v410,r210,b64a,b48r,b16g,twos,sowt,lpcm,ipcm,fpcm,in24,in32,"
    b"fl32,fl64,NONE,ulaw,alaw".split(b",")
)
_ABOVE_SAMPLES = frozenset({b"moov", b"mdia", b"minf", b"stbl"})
# how a file system says that it does not tell of holes
_UNTOLD = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY})


class Hole(NamedTuple):
    """A range that nobody has written."""

    begin: int
    end: int


class Holes:
    """The holes of a file, in order."""

    def __init__(self, holes: Iterable[Hole]) -> None:
        self.all = list(holes)
        self._begins = [hole.begin for hole in self.all]

    def within(self, begin: int, end: int) -> Hole | None:
        """Return the last hole that has a byte in common with a range."""
        at = bisect_right(self._begins, end - 1) - 1
        return self.all[at] if at >= 0 and self.all[at].end > begin else None

    def at(self, offset: int) -> Hole | None:
        """Return the hole that an offset lies in."""
        return self.within(offset, offset + 1)


def file_end(fd: int, size: int) -> ContainerEnd:
    """Say what ``container_end`` does, and INCOMPLETE where a hole is in what is needed."""
    end = container_end(fd, size)
    if end.ending is Ending.INCOMPLETE or not (holes := holes_of(fd, size)).all:
        return end
    hole = needed_hole(partial(os.pread, fd), size, holes)
    if hole is None:
        return end
    missing = f"nothing was ever written from byte {hole.begin:,} to byte {hole.end:,}"
    return ContainerEnd(Ending.INCOMPLETE, missing)


def holes_of(fd: int, size: int) -> Holes:
    """Return where nothing was ever written, as far as the file system tells.

    The descriptor's offset stays.
    """
    before = os.lseek(fd, 0, os.SEEK_CUR)
    try:
        return Holes(islice(_each_hole(fd, size), MOST_HOLES))
    except OSError as error:
        if error.errno in _UNTOLD:
            return Holes(())
        raise
    finally:
        os.lseek(fd, before, os.SEEK_SET)


def _each_hole(fd: int, size: int) -> Iterator[Hole]:
    at = 0
    while at < size and (begin := os.lseek(fd, at, os.SEEK_HOLE)) < size:
        try:
            at = min(size, os.lseek(fd, begin, os.SEEK_DATA))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            at = size  # no data behind it
        yield Hole(begin, at)


def needed_hole(pread: Pread, size: int, holes: Holes) -> Hole | None:
    """Return a hole where the container expects data; None: none, or the format does not tell."""
    head = pread(512, 0)
    if is_mp4(head):
        return in_mp4(pread, size, holes)
    if head[:4] == EBML:
        return in_matroska(pread, size, holes)
    if is_avi(head):
        return in_avi(pread, size, holes)
    if head.startswith(b"FLV\1"):
        return in_flv(pread, size, holes)
    if is_transport(head):
        return holes.all[0]
    if head.startswith((_PACKS, _OGG, ASF)):
        return next((hole for hole in holes.all if hole.end - hole.begin > LONGEST_PACKET), None)
    return None


def in_matroska(pread: Pread, size: int, holes: Holes) -> Hole | None:
    """Step from element to element, into the segment and into clusters with holes."""
    at, end = 0, size
    for _ in range(MOST_HEADS):
        element = read_element(pread, at) if at < end else None
        if element is None:
            # zeros behind a segment that says where it ends are none of its own
            return holes.at(at) if at < end else None
        name, after = element
        if name in _NEEDED and after and (hole := holes.within(at, after)):
            return hole
        into = name in (SEGMENT, _GROUP) or (
            name == _CLUSTER and (after is None or holes.within(at, after) is not None)
        )
        if name == SEGMENT and after:
            end = min(size, after)
        if not into and after is None:
            return None
        number = at + len(name)
        at = number + number_width(pread(1, number)) if into or after is None else after
    return None


def in_mp4(pread: Pread, size: int, holes: Holes) -> Hole | None:
    """Look at the heads of boxes, and at where the index says that samples begin."""
    at, has_index = 0, False
    for _ in range(MOST_HEADS):
        box = read_box(pread, at) if at < size else None
        if box is None:
            break
        name, after = box
        if not any(name):
            hole = holes.at(at)  # zeros to the end, behind an index, are a preallocated shell
            return hole if hole and (hole.end < size or not has_index) else None
        if name == b"moof" and after and (hole := holes.within(at, after)):
            return hole
        if name == b"moov" and after and after - at <= LONGEST_INDEX:
            has_index = True
            for begin in sample_places(pread(after - at, at)):
                if begin < size and (hole := holes.at(begin)):
                    return hole
        if after is None:
            break
        at = after
    return None


def sample_places(index: bytes, at: int = 0) -> Iterator[int]:
    """Yield where runs of samples begin, of those tracks whose samples are never zeros."""

    def pread(count: int, at: int) -> bytes:
        """Read from the index."""
        return index[at : at + count]

    codec, size = b"", len(index)
    while at < size and (box := read_box(pread, at)):
        name, after = box
        if name == b"stsd":
            codec = index[at + 20 : at + 24]
        if name in (b"stco", b"co64") and after and codec not in _BARE:
            places = array("I" if name == b"stco" else "Q")
            body = index[at + 16 : min(after, size)]
            places.frombytes(body[: len(body) - len(body) % places.itemsize])
            if sys.byteorder == "little":
                places.byteswap()
            yield from places
        if name == b"trak":
            codec = b""
        into = name in _ABOVE_SAMPLES or name == b"trak"
        at = at + 8 if into else (after or size)


def in_avi(pread: Pread, size: int, holes: Holes) -> Hole | None:
    """Step from chunk to chunk, into lists with holes; RIFFs behind one another are lists, too."""
    at = end = 0
    for _ in range(MOST_HEADS):
        chunk = read_chunk(pread, at) if at < size else None
        if chunk is None:
            return None
        name, after = chunk
        if not any(name):
            return holes.at(at) if at < end else None
        if name == b"idx1" and after and (hole := holes.within(at, after)):
            return hole
        if name == b"RIFF" and after:
            end = after if after > at + 8 else size
        if name in (b"RIFF", b"LIST") and (not after or holes.within(at, after)):
            at += 12
        else:
            at = after or size
    return None


def in_flv(pread: Pread, size: int, holes: Holes) -> Hole | None:
    """Step from tag to tag; before each stands the length of the one before it."""
    at = 9
    for _ in range(MOST_HEADS):
        tag = pread(15, at)
        if len(tag) < 15:
            return None
        if not any(tag[4:]):
            return holes.at(at + 4)
        at += 15 + int.from_bytes(tag[5:8], "big")
    return None

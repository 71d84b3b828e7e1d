"""Copies of files: made whole, and known again by their content.

A copy is on disk when ``copy`` returns. That a file is a copy is never believed of its size and
times alone. Links are not followed.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from io import FileIO
from stat import S_ISREG
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watchconv.host.files import Place

_COPY_BYTES = 16 << 20
_COMPARE_BYTES = 1 << 20
_READ = os.O_RDONLY | os.O_NONBLOCK
_COARSEST_SECONDS = 2  # what FAT makes of a time


def copy(source: Place, writer: FileIO) -> None:
    """Copy content, and mode, owner and times where allowed, into a new file; sync it.

    Holes stay holes: a file may announce a terabyte and hold a few bytes.
    """
    with FileIO(source.open(_READ)) as reader:
        stat = os.fstat(reader.fileno())
        for start, end in _extents(reader.fileno(), stat.st_size):
            at = os.lseek(writer.fileno(), start, os.SEEK_SET)
            while at < end:
                room = min(end - at, _COPY_BYTES)
                sent = os.sendfile(writer.fileno(), reader.fileno(), at, room)
                if sent == 0:
                    break  # it was cut short meanwhile: the caller compares it
                at += sent
        os.ftruncate(writer.fileno(), stat.st_size)
        with suppress(OSError):  # what people have noted on it, where that is kept
            for name in os.listxattr(reader.fileno()):
                if name.startswith("user."):
                    os.setxattr(writer.fileno(), name, os.getxattr(reader.fileno(), name))
        with suppress(OSError):
            os.fchown(writer.fileno(), stat.st_uid, stat.st_gid)
        with suppress(OSError):  # never setuid bits: the copy may be somebody else's
            os.fchmod(writer.fileno(), stat.st_mode & 0o777)
        with suppress(OSError):
            os.utime(writer.fileno(), ns=(stat.st_atime_ns, stat.st_mtime_ns))
        os.fsync(writer.fileno())


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the parts of a file that hold data."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # nothing but a hole from here on
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def is_copy(place: Place, source: Place, original: os.stat_result) -> bool:
    """Return whether a file is the copy that was made: by its content, for times prove nothing."""
    try:
        stat = place.stat()
    except FileNotFoundError:
        return False
    if stat.st_size != original.st_size or not S_ISREG(stat.st_mode):
        return False
    with FileIO(place.open(_READ)) as first, FileIO(source.open(_READ)) as second:
        while block := first.read(_COMPARE_BYTES):
            if block != second.read(_COMPARE_BYTES):
                return False
        return not second.read(1)


def is_twin(place: Place, source: Place) -> bool:
    """Return whether a file is a copy with the original's times, as far as these are kept."""
    original = source.stat()
    age = place.stat().st_mtime - original.st_mtime
    return abs(age) <= _COARSEST_SECONDS and is_copy(place, source, original)

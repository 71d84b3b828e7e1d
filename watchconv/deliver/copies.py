"""Copies of files: made whole, and known again by their content.

Guarantees: a copy is on disk when ``copy`` returns; that a file is a copy is never believed of its
size and times alone. Links are not followed.
Does not give a copy its name: ``files`` does. Errors: every ``OSError`` as it comes.
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

_COPY_BYTES = 16 << 20
_COMPARE_BYTES = 1 << 20
_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_COARSEST_SECONDS = 2  # what FAT makes of a time


def copy(source: str, writer: FileIO) -> None:
    """Copy content, and mode, owner and times where allowed, into a new file; sync it.

    Holes stay holes: a file may announce a terabyte and hold a few bytes.
    """
    with FileIO(os.open(source, _PLAIN)) as reader:
        size = os.fstat(reader.fileno()).st_size
        for start, end in _extents(reader.fileno(), size):
            at = os.lseek(writer.fileno(), start, os.SEEK_SET)
            while at < end:
                room = min(end - at, _COPY_BYTES)
                sent = os.sendfile(writer.fileno(), reader.fileno(), at, room)
                if sent == 0:
                    break  # it was cut short meanwhile: the caller compares it
                at += sent
        os.ftruncate(writer.fileno(), size)
        _copy_labels(reader.fileno(), writer.fileno())
        _copy_stat(os.fstat(reader.fileno()), writer.fileno())
        os.fsync(writer.fileno())


def _copy_labels(source: int, target: int) -> None:
    """Give a copy what people have noted on a file, where its file system keeps such."""
    with suppress(OSError):
        for name in os.listxattr(source):
            if name.startswith("user."):
                os.setxattr(target, name, os.getxattr(source, name))


def _copy_stat(stat: os.stat_result, descriptor: int) -> None:
    """Give a copy its owner, mode and times. Never setuid bits: the copy may be somebody else's."""
    with suppress(OSError):
        os.fchown(descriptor, stat.st_uid, stat.st_gid)
    with suppress(OSError):
        os.fchmod(descriptor, stat.st_mode & 0o777)
    with suppress(OSError):
        os.utime(descriptor, ns=(stat.st_atime_ns, stat.st_mtime_ns))


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


def is_copy(path: str, source: str, original: os.stat_result) -> bool:
    """Tell by its content whether a file is the copy that was made; times prove nothing."""
    try:
        stat = os.lstat(path)
    except FileNotFoundError:
        return False
    if stat.st_size != original.st_size or not S_ISREG(stat.st_mode):
        return False
    return _same_content(path, source)


def is_twin(path: str, source: str) -> bool:
    """Tell a copy with the original's times, as far as a file system keeps them."""
    original = os.lstat(source)
    age = os.lstat(path).st_mtime - original.st_mtime
    return abs(age) <= _COARSEST_SECONDS and is_copy(path, source, original)


def _same_content(one: str, other: str) -> bool:
    with FileIO(os.open(one, _PLAIN)) as first, FileIO(os.open(other, _PLAIN)) as second:
        while block := first.read(_COMPARE_BYTES):
            if block != second.read(_COMPARE_BYTES):
                return False
        return not second.read(1)

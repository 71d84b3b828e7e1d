"""The durable steps that delivery is made of: move without replacing, delete, publish a text.

``move`` never replaces anything, shows the whole file or nothing under its final name, is on disk
when it returns, and can be repeated after a crash at any point. The ways to give a file a name
that is free, tried in this order: RENAME_NOREPLACE; a hard link, for files of our own making; an
empty file of our own that reserves the name. That a file is a copy is never believed of its size
and times alone. Links are not followed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from contextlib import suppress
from io import FileIO
from stat import S_IFREG, S_ISREG
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from watchconv.deliver.ownership import own
from watchconv.host.files import Place, closing, sync_folder, whole_paths
from watchconv.model import mtime_ns
from watchconv.names import numbered

if TYPE_CHECKING:
    from watchconv.deliver.ownership import Ownership

MOST_NAMES = 1000  # that are tried for one file, each refused by a file system that calls it free
TAKEN = (FileExistsError, NotADirectoryError)  # how a move says that a name is not free

_RENAME_NOREPLACE = 1
# how file systems and kernels say that they know no RENAME_NOREPLACE
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
# … and that they make no hard links, or not this one
_NO_LINKS = _UNSUPPORTED | {errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTTY}
_RESERVED = 0o200  # who else makes an empty file that nobody may read?
_READ = os.O_RDONLY | os.O_NONBLOCK
_COPY_BYTES = 16 << 20
_COMPARE_BYTES = 1 << 20
_COARSEST_SECONDS = 2  # what FAT makes of a time

_libc = ctypes.CDLL(None, use_errno=True)
_reserving = threading.Lock()


class Expected(NamedTuple):
    """A regular file as it was when it was last looked at."""

    size: int
    mtime_ns: int

    def lies_at(self, place: Place) -> bool:
        """Return whether this very file lies at a place, unchanged."""
        try:
            stat = place.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (stat.st_size, mtime_ns(stat)) == self and S_ISREG(stat.st_mode)


def scratch_of(place: Place, job_id: int) -> Place:
    """Return the hidden name in a place's folder that only this job writes."""
    name = f".watchconv-{job_id}.part"
    return Place(place.folder, name, os.path.join(os.path.dirname(place.path), name))


def move(
    source: Place, target: Place, job_id: int, *, ours: bool, expected: Expected | None = None
) -> None:
    """Move a file to a name that is free, across devices if need be.

    ours: the file is of our own making, so that a hard link to it does no harm. Another file than
    the expected one, that was put in its place in the last moment, goes back.
    Raises FileExistsError when the target is there; the source is untouched then.
    """
    with whole_paths(source, target):
        try:
            _rename(source, target, ours=ours)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy_over(source, target, job_id, expected)
            return
        if expected and not expected.lies_at(target):
            _rename(target, source, ours=False)
            raise OSError(errno.EBUSY, "another file was put in its place meanwhile")
        sync_folder(target.folder)
        sync_folder(source.folder)


def _copy_over(source: Place, target: Place, job_id: int, expected: Expected | None) -> None:
    """Copy, sync, publish, then remove the source, in this order.

    After a crash before the last step the target is there already, with the source's content: it
    is the copy that was made, and only the source is left to remove.
    """
    before = source.stat()
    if expected and not expected.lies_at(source):
        raise OSError(errno.EBUSY, "another file was put in its place meanwhile")
    copy_to(source, target, job_id)
    _check_unchanged(source, before)
    os.unlink(source.name, dir_fd=source.folder)
    sync_folder(source.folder)


def copy_to(source: Place, target: Place, job_id: int, ownership: Ownership | None = None) -> None:
    """Copy a file to a name that is free, or has the copy already: whole or not at all.

    ownership: whose the copy is to be, if not whose the file is. Raises FileExistsError when the
    name is taken.
    """
    before, scratch = source.stat(), scratch_of(target, job_id)
    if not is_copy(target, source, before):
        try:
            with scratch.create() as writer:
                copy(source, writer)
                if ownership:
                    own(writer.fileno(), ownership, target.folder)
                    os.fsync(writer.fileno())
            _check_unchanged(source, before)
            _rename(scratch, target, ours=True)
        except OSError:
            scratch.remove()
            raise
    scratch.remove()
    sync_folder(target.folder)


def _check_unchanged(place: Place, before: os.stat_result) -> None:
    now = place.stat()
    of_before = (before.st_ino, before.st_size, before.st_mtime_ns)
    if (now.st_ino, now.st_size, now.st_mtime_ns) != of_before:
        raise OSError(errno.EBUSY, "it was changed while it was copied")


def copy(source: Place, writer: BinaryIO) -> None:
    """Copy content, and mode, owner and times where allowed, into a new file; sync it.

    Holes stay holes: a file may announce a terabyte and hold a few bytes.
    """
    with FileIO(source.open(_READ)) as reader:
        old, new = reader.fileno(), writer.fileno()
        stat, end = os.fstat(old), 0
        while end < stat.st_size:
            try:
                at = os.lseek(old, end, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break  # nothing but a hole from here on
            end = os.lseek(old, at, os.SEEK_HOLE)
            os.lseek(new, at, os.SEEK_SET)
            while at < end and (sent := os.sendfile(new, old, at, min(end - at, _COPY_BYTES))):
                at += sent  # when it was cut short meanwhile, nothing is sent: the caller compares
        os.ftruncate(new, stat.st_size)
        with suppress(OSError):  # what people have noted on it, where that is kept
            for name in os.listxattr(old):
                if name.startswith("user."):
                    os.setxattr(new, name, os.getxattr(old, name))
        with suppress(OSError):
            os.fchown(new, stat.st_uid, stat.st_gid)
        with suppress(OSError):  # never setuid bits: the copy may be somebody else's
            os.fchmod(new, stat.st_mode & 0o777)
        with suppress(OSError):
            os.utime(new, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        os.fsync(new)


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


def _rename(source: Place, target: Place, *, ours: bool) -> None:
    """Give a file a name that is free, on the same device. Raises FileExistsError."""
    names = (os.fsencode(source.name), os.fsencode(target.name))
    if not _libc.renameat2(source.folder, names[0], target.folder, names[1], _RENAME_NOREPLACE):
        return
    code = ctypes.get_errno()
    if code not in _UNSUPPORTED:
        raise OSError(code, os.strerror(code), source.path, None, target.path)
    if ours and _rename_by_link(source, target):
        return
    try:
        _rename_by_reservation(source, target)
    except FileExistsError:
        if ours:
            raise
        original = source.stat()
        age = abs(target.stat().st_mtime - original.st_mtime)
        if age > _COARSEST_SECONDS or not is_copy(target, source, original):
            raise
        # here EXDEV comes too late to tell a taken name from a copy that a crash interrupted
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV)) from None


def _rename_by_link(source: Place, target: Place) -> bool:
    """Link, then unlink; False where that cannot be. Repeatable after a crash."""
    both = {"src_dir_fd": source.folder, "dst_dir_fd": target.folder}
    try:
        os.link(source.name, target.name, **both, follow_symlinks=False)
    except FileExistsError:
        if is_reservation(target):
            return False  # a try that did not come to its end has taken the name for us
        if not os.path.samestat(source.stat(), target.stat()):
            raise
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    os.unlink(source.name, dir_fd=source.folder)
    return True


def _rename_by_reservation(source: Place, target: Place) -> None:
    """Take the name with an empty file of our own, then replace that one."""
    with _reserving:  # so that a reservation that is there is always a crash's
        try:
            with closing(target.open(os.O_CREAT | os.O_EXCL | os.O_WRONLY, _RESERVED)) as made:
                reserved = os.fstat(made)  # neither mode nor owner may be ours on a file server
        except FileExistsError:
            if not is_reservation(target):
                raise
            reserved = target.stat()
        try:
            os.rename(source.name, target.name, src_dir_fd=source.folder, dst_dir_fd=target.folder)
        except OSError:
            now = target.stat()  # the rename may have been done all the same
            if os.path.samestat(reserved, now) and now.st_size == 0:
                os.unlink(target.name, dir_fd=target.folder)
            raise


def is_reservation(place: Place) -> bool:
    """Return whether a file only holds a name for a move that did not come to its end."""
    stat = place.stat()
    return (stat.st_mode, stat.st_size, stat.st_uid) == (S_IFREG | _RESERVED, 0, os.geteuid())


def delete(place: Place, original: Expected, job_id: int, *, wanted: bool) -> None:
    """Delete an original by way of a hidden name, where nobody puts another file meanwhile.

    Another file that came to lie under its name in the last moment is put back under a free form
    of that name; so is, where deleting is not wanted, one that an earlier try has hidden.
    """
    hidden = scratch_of(place, job_id)
    while True:  # first what an earlier try has hidden, then what this one does
        if wanted and original.lies_at(hidden):
            hidden.remove()
        number = 1
        while hidden.exists():  # it is to stay, or it is another file
            if number == MOST_NAMES:
                raise all_taken(place.path)
            name, path = numbered(place.name, number), numbered(place.path, number)
            with suppress(*TAKEN):
                move(hidden, Place(place.folder, name, path), job_id, ours=False)
            number += 1
        if not wanted or not original.lies_at(place):
            break
        with whole_paths(place, hidden):
            os.rename(place.name, hidden.name, src_dir_fd=place.folder, dst_dir_fd=hidden.folder)
    sync_folder(place.folder)


def all_taken(wish: str) -> FileExistsError:
    """Return the error for a file each of whose names is refused, also where it looks free."""
    return FileExistsError(errno.EEXIST, "every form of its name is taken", wish)


def publish_text(place: Place, text: str, job_id: int, ownership: Ownership) -> None:
    """Write a small file under a name that is free: whole or not at all.

    Raises FileExistsError when the name is taken.
    """
    scratch = scratch_of(place, job_id)
    with scratch.create() as writer:
        writer.write(text.encode("utf-8", "backslashreplace"))
        writer.flush()
        own(writer.fileno(), ownership, place.folder)
        os.fsync(writer.fileno())
    try:
        with whole_paths(place):
            _rename(scratch, place, ours=True)
    except OSError:
        scratch.remove()
        raise
    sync_folder(place.folder)

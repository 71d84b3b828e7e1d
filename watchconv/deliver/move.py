"""The durable steps that delivery is made of: move without replacing, publish a text.

``move`` never replaces anything, shows the whole file or nothing under its final name, is on disk
when it returns, and can be repeated after a crash at any point. The ways to give a file a name
that is free, tried in this order: RENAME_NOREPLACE; a hard link, for files of our own making; an
empty file of our own that reserves the name.
"""

from __future__ import annotations

import errno
import os
import threading
from io import FileIO
from stat import S_IFREG, S_ISREG
from typing import TYPE_CHECKING, NamedTuple

from watchconv.deliver.copies import copy, is_copy, is_twin
from watchconv.deliver.ownership import own
from watchconv.host.files import closing, sync_folder
from watchconv.model import mtime_ns

if TYPE_CHECKING:
    from watchconv.deliver.ownership import Ownership
    from watchconv.host.files import Place

# how file systems and kernels say that they know no RENAME_NOREPLACE
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
# … and that they make no hard links, or not this one
_NO_LINKS = _UNSUPPORTED | {errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTTY}
_RESERVED = 0o200  # who else makes an empty file that nobody may read?

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
    return place.folder.at(f".watchconv-{job_id}.part")


def move(
    source: Place, target: Place, job_id: int, *, ours: bool, expected: Expected | None = None
) -> None:
    """Move a file to a name that is free, across devices if need be.

    ours: the file is of our own making, so that a hard link to it does no harm. Another file than
    the expected one, that was put in its place in the last moment, goes back.
    Raises FileExistsError when the target is there; the source is untouched then.
    """
    try:
        _rename(source, target, ours=ours)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_over(source, target, scratch_of(target, job_id), expected)
        return
    if expected and not expected.lies_at(target):
        _rename(target, source, ours=False)
        raise _replaced(source)
    sync_folder(target.folder.descriptor)
    sync_folder(source.folder.descriptor)


def _replaced(place: Place) -> OSError:
    return OSError(errno.EBUSY, "another file was put in its place meanwhile", place.path)


def _copy_over(source: Place, target: Place, scratch: Place, expected: Expected | None) -> None:
    """Copy, sync, publish, then remove the source, in this order.

    After a crash before the last step the target is there already, with the source's content: it
    is the copy that was made, and only the source is left to remove.
    """
    before = source.stat()
    if expected and not expected.lies_at(source):
        raise _replaced(source)
    if not is_copy(target, source, before):
        try:
            with create(scratch) as writer:
                copy(source, writer)
            _check_unchanged(source, before)
            _rename(scratch, target, ours=True)
        except OSError:
            scratch.remove()
            raise
    scratch.remove()
    sync_folder(target.folder.descriptor)
    _check_unchanged(source, before)
    source.unlink()
    sync_folder(source.folder.descriptor)


def _check_unchanged(place: Place, before: os.stat_result) -> None:
    now = place.stat()
    if (now.st_ino, now.st_size, now.st_mtime_ns) != (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    ):
        raise OSError(errno.EBUSY, "it was changed while it was copied", place.path)


def create(place: Place) -> FileIO:
    """Create a file of our own anew; what lies under its name, a link too, is removed."""
    place.remove()
    return FileIO(place.open(os.O_CREAT | os.O_EXCL | os.O_WRONLY), "w")


def _rename(source: Place, target: Place, *, ours: bool) -> None:
    """Give a file a name that is free, on the same device. Raises FileExistsError."""
    try:
        source.rename(target, replace=False)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    else:
        return
    if ours and _rename_by_link(source, target):
        return
    try:
        _rename_by_reservation(source, target)
    except FileExistsError:
        if ours or not is_twin(target, source):
            raise
        # here EXDEV comes too late to tell a taken name from a copy that a crash interrupted
        code = errno.EXDEV
        raise OSError(code, os.strerror(code), source.path, None, target.path) from None


def _rename_by_link(source: Place, target: Place) -> bool:
    """Link, then unlink; False where that cannot be. Repeatable after a crash."""
    try:
        source.link(target)
    except FileExistsError:
        if is_reservation(target):
            return False  # a try that did not come to its end has taken the name for us
        if not os.path.samestat(source.stat(), target.stat()):
            raise
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    source.unlink()
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
            source.rename(target, replace=True)
        except OSError:
            now = target.stat()  # the rename may have been done all the same
            if os.path.samestat(reserved, now) and now.st_size == 0:
                target.unlink()
            raise


def is_reservation(place: Place) -> bool:
    """Return whether a file only holds a name for a move that did not come to its end."""
    stat = place.stat()
    return (stat.st_mode, stat.st_size, stat.st_uid) == (S_IFREG | _RESERVED, 0, os.geteuid())


def publish_text(place: Place, text: str, job_id: int, ownership: Ownership) -> None:
    """Write a small file under a name that is free: whole or not at all.

    Raises FileExistsError when the name is taken.
    """
    scratch = scratch_of(place, job_id)
    with create(scratch) as writer:
        content = memoryview(text.encode("utf-8", "backslashreplace"))
        while content:
            content = content[writer.write(content) or 0 :]
        own(writer.fileno(), ownership, place.folder)
        os.fsync(writer.fileno())
    try:
        _rename(scratch, place, ours=True)
    except OSError:
        scratch.remove()
        raise
    sync_folder(place.folder.descriptor)

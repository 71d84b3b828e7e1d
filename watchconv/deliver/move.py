"""The few durable steps that delivery is made of: move without replacing, make, publish, sync.

Guarantees: ``move`` never replaces anything, shows the whole file or nothing under its final
name, is on disk when it returns, and can be repeated after a crash at any point.
Does not choose names and does not know jobs.
Errors: ``FileExistsError`` when the name is taken; every other ``OSError`` as it comes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from contextlib import suppress
from io import FileIO
from stat import S_IFREG
from typing import TYPE_CHECKING

from watchconv.deliver.copies import copy, is_copy, is_twin
from watchconv.deliver.ownership import make_one_folder, own

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchconv.deliver.ownership import Ownership

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
# how file systems and kernels say that they know no RENAME_NOREPLACE
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
# … and that they make no hard links, or not this one
_NO_LINKS = _UNSUPPORTED | {errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTTY}
_RESERVED = 0o200  # who else makes an empty file that nobody may read?

_reserving = threading.Lock()

_libc = ctypes.CDLL(None, use_errno=True)


def scratch(folder: str, job_id: int) -> str:
    """Name a hidden file in a folder that only this job writes."""
    return os.path.join(folder, f".watchconv-{job_id}.part")


def move(
    source: str,
    target: str,
    scratch: str,
    *,
    ours: bool,
    is_it: Callable[[str], bool] = lambda path: True,
) -> None:
    """Move a file to a name that is free, across devices if need be.

    scratch is a hidden name in the target's folder that belongs to this job alone. ours tells
    that the file is of our own making, so that a hard link to it does no harm. is_it tells of a
    path whether the file that is meant lies there: another, that was put in its place in the last
    moment, goes back.
    Raises FileExistsError when the target is there; the source is untouched then.
    """
    try:
        _rename_no_replace(source, target, ours=ours)
    except OSError as error:
        if error.errno == errno.EXDEV:
            _copy_over(source, target, scratch, is_it)
            return
        raise
    if not is_it(target):
        _rename_no_replace(target, source, ours=False)
        raise _replaced(source)
    sync_folder(os.path.dirname(target))
    sync_folder(os.path.dirname(source))


def _replaced(path: str) -> OSError:
    return OSError(errno.EBUSY, "another file was put in its place meanwhile", path)


def _copy_over(source: str, target: str, scratch: str, is_it: Callable[[str], bool]) -> None:
    """Copy, sync, publish, then remove the source, in this order.

    After a crash before the last step the target is there already, with the source's content: it
    is the copy that was made, and only the source is left to remove.
    """
    before = os.lstat(source)
    if not is_it(source):
        raise _replaced(source)
    if not is_copy(target, source, before):
        try:
            with create(scratch) as writer:
                copy(source, writer)
            _check_unchanged(source, before)
            _rename_no_replace(scratch, target, ours=True)
        except OSError:
            remove(scratch)
            raise
    remove(scratch)
    sync_folder(os.path.dirname(target))
    _check_unchanged(source, before)
    os.unlink(source)
    sync_folder(os.path.dirname(source))


def _check_unchanged(path: str, before: os.stat_result) -> None:
    now = os.lstat(path)
    if (now.st_ino, now.st_size, now.st_mtime_ns) != (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    ):
        raise OSError(errno.EBUSY, "it was changed while it was copied", path)


def create(path: str) -> FileIO:
    """Create a file of our own anew; what lies under its name, a link too, is removed."""
    remove(path)
    flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
    return FileIO(os.open(path, flags, 0o600), "w")


def remove(path: str) -> None:
    """Remove a file. Idempotent."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def _rename_no_replace(source: str, target: str, *, ours: bool) -> None:
    done = _libc.renameat2(
        _AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE
    )
    if done == 0:
        return
    code = ctypes.get_errno()
    if code not in _UNSUPPORTED:
        raise OSError(code, os.strerror(code), source, None, target)
    if ours and _rename_by_link(source, target):
        return
    try:
        _rename_by_reservation(source, target)
    except FileExistsError:
        if ours or not is_twin(target, source):
            raise
        # here EXDEV comes too late to tell a taken name from a copy that a crash interrupted
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source, None, target) from None


def _rename_by_link(source: str, target: str) -> bool:
    """Link, then unlink; False where that cannot be. Repeatable after a crash."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        if is_reservation(target):
            return False  # a try that did not come to its end has taken the name for us
        if not os.path.samestat(os.lstat(source), os.lstat(target)):
            raise
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    os.unlink(source)
    return True


def _rename_by_reservation(source: str, target: str) -> None:
    """Take the name with an empty file of our own, then replace that one."""
    with _reserving:  # so that a reservation that is there is always a crash's
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            descriptor = os.open(target, flags, _RESERVED)
        except FileExistsError:
            if not is_reservation(target):
                raise
            made = os.lstat(target)
        else:
            made = os.fstat(descriptor)  # neither mode nor owner may be ours on a file server
            os.close(descriptor)
        try:
            os.rename(source, target)
        except OSError:
            now = os.lstat(target)  # the rename may have been done all the same
            if os.path.samestat(made, now) and now.st_size == 0:
                os.unlink(target)
            raise


def is_reservation(path: str) -> bool:
    """Tell whether a file only holds a name for a move that did not come to its end."""
    stat = os.lstat(path)
    return (stat.st_mode, stat.st_size, stat.st_uid) == (S_IFREG | _RESERVED, 0, os.geteuid())


def publish_text(path: str, text: str, scratch: str, ownership: Ownership) -> None:
    """Write a small file under a name that is free: whole or not at all.

    Raises FileExistsError when the name is taken.
    """
    with create(scratch) as writer:
        content = memoryview(text.encode("utf-8", "backslashreplace"))
        while content:
            content = content[writer.write(content) or 0 :]
        os.fsync(writer.fileno())
    own(scratch, ownership)
    try:
        _rename_no_replace(scratch, path, ours=True)
    except OSError:
        remove(scratch)
        raise
    sync_folder(os.path.dirname(path))


def make_folder(root: str, folder: str, ownership: Ownership) -> str:
    """Make the folders below root that are missing and return the path. Never makes root.

    Raises NotADirectoryError where a file has the name of one.
    """
    path = root
    for part in folder.split("/") if folder else ():
        parent, path = path, os.path.join(path, part)
        try:
            make_one_folder(path, ownership)
        except FileExistsError:
            if os.path.isdir(path):
                continue
            raise NotADirectoryError(errno.ENOTDIR, "a file is in the place", path) from None
        sync_folder(parent)
    return path


def sync_file(path: str) -> None:
    """Put a file's content on disk."""
    _sync(path, os.O_RDONLY | os.O_CLOEXEC)


def sync_folder(path: str) -> None:
    """Put a folder's names on disk; a file system that cannot is left at that."""
    try:
        _sync(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF, errno.EROFS):
            raise


def _sync(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

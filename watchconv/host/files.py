"""Files by an open folder and a name, so that a path that changes meanwhile leads nowhere else.

A path is read by the kernel anew at each call: by then a link may stand in it, or the disk may be
gone and the bare mount point be there instead. An open folder stays the folder that was opened.
Errors carry the whole path all the same, for a person to read.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat as st
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_RENAME_NOREPLACE = 1
# how a file system says that it cannot sync a folder
_NO_SYNC = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF, errno.EROFS})

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class OpenFolder:
    """An open folder, and the path by which people know it. ``with`` closes it in the end."""

    descriptor: int
    path: str

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def at(self, name: str) -> Place:
        """Return the place of a name in this folder, or of a path below it."""
        return Place(self, name)

    def open(self, relative: str, *, links: bool = True) -> OpenFolder:
        """Open a folder below this one. links: whether those on the way to it are followed."""
        flags = FOLDER if links else FOLDER | os.O_NOFOLLOW
        with _told(place := self.at(relative)):
            descriptor = os.open(relative or ".", flags, dir_fd=self.descriptor)
            if not links:
                here = os.path.join(_path_of(self.descriptor), relative).rstrip("/")
                _refuse_links(descriptor, here)
        return OpenFolder(descriptor, place.path)


@dataclass(frozen=True, slots=True)
class Place:
    """A name in an open folder, whether or not anything lies there. Links are not followed."""

    folder: OpenFolder
    name: str

    @property
    def path(self) -> str:
        """The whole path, for people."""
        return os.path.join(self.folder.path, self.name).rstrip("/")

    def stat(self) -> os.stat_result:
        """Return what lies here."""
        with _told(self):
            return os.stat(self.name, dir_fd=self.folder.descriptor, follow_symlinks=False)

    def exists(self) -> bool:
        """Return whether anything is seen to lie here."""
        try:
            self.stat()
        except (OSError, ValueError):
            return False
        return True

    def is_folder(self) -> bool:
        """Return whether a folder lies here, or a link to one."""
        try:
            return st.S_ISDIR(os.stat(self.name, dir_fd=self.folder.descriptor).st_mode)
        except (OSError, ValueError):
            return False

    def open(self, flags: int, mode: int = 0o600) -> int:
        """Open the file that lies here, or make it."""
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC
        with _told(self):
            return os.open(self.name, flags, mode, dir_fd=self.folder.descriptor)

    def unlink(self) -> None:
        """Remove the file that lies here."""
        with _told(self):
            os.unlink(self.name, dir_fd=self.folder.descriptor)

    def remove(self) -> None:
        """Remove the file that lies here, if there is one."""
        with suppress(FileNotFoundError):
            self.unlink()

    def link(self, target: Place) -> None:
        """Give the file that lies here a second name."""
        ours, theirs = self.folder.descriptor, target.folder.descriptor
        with _told(self, target):
            os.link(
                self.name, target.name, src_dir_fd=ours, dst_dir_fd=theirs, follow_symlinks=False
            )

    def rename(self, target: Place, *, replace: bool) -> None:
        """Give the file that lies here another name. Raises FileExistsError if not to replace."""
        ours, theirs = self.folder.descriptor, target.folder.descriptor
        with _told(self, target):
            if replace:
                os.rename(self.name, target.name, src_dir_fd=ours, dst_dir_fd=theirs)
            else:
                rename_no_replace(ours, self.name, theirs, target.name)


@contextmanager
def _told(*places: Place) -> Iterator[None]:
    """Put the whole paths into an error that knows names only."""
    try:
        yield
    except OSError as error:
        error.filename = places[0].path
        if len(places) > 1:
            error.filename2 = places[1].path
        raise


def rename_no_replace(source_folder: int, source: str, target_folder: int, target: str) -> None:
    """Rename a file from one open folder into another, to a name that is free, in one step."""
    names = (os.fsencode(source), os.fsencode(target))
    if _libc.renameat2(source_folder, names[0], target_folder, names[1], _RENAME_NOREPLACE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), source, None, target)


def open_folder(path: str) -> int:
    """Open a folder, or raise OSError: also where a link stands on the way to it."""
    descriptor = os.open(path, FOLDER | os.O_NOFOLLOW)
    _refuse_links(descriptor, path)
    return descriptor


def open_regular(root: str, relative: str) -> int:
    """Open a regular file below a folder for reading, or raise OSError.

    No link is followed, not even in a folder on the way. What is no regular file is not opened at
    all, for that alone wakes a pipe's writer and starts a device.
    """
    path = os.path.join(root, relative)
    with closing(os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)) as handle:
        if not st.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.ELOOP, "it is no regular file")
        if _path_of(handle) != path:
            raise OSError(errno.ELOOP, "a folder on the way to it is a link")
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _path_of(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


def _refuse_links(descriptor: int, path: str) -> None:
    """Close what was opened by a path and raise NotADirectoryError if it lies elsewhere."""
    if _path_of(descriptor) != path:
        os.close(descriptor)
        raise NotADirectoryError(errno.ENOTDIR, "a folder on the way to it is a link", path)


@contextmanager
def closing(descriptor: int) -> Iterator[int]:
    """Give a descriptor, and close it in the end."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sync_file(path: str) -> None:
    """Put a file's content on disk."""
    with closing(os.open(path, os.O_RDONLY | os.O_CLOEXEC)) as descriptor:
        os.fsync(descriptor)


def sync_folder(folder: int | str) -> None:
    """Put a folder's names on disk; a file system that cannot is left at that."""
    if isinstance(folder, str):
        with closing(os.open(folder, FOLDER)) as descriptor:
            sync_folder(descriptor)
        return
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise

"""Files by an open folder and a name, so that a path that changes meanwhile leads nowhere else.

A path is read by the kernel anew at each call: by then a link may stand in it, or the disk may be
gone and the bare mount point be there instead. An open folder stays the folder that was opened.
Errors carry the whole path all the same, for a person to read.
"""

from __future__ import annotations

import errno
import os
import stat as st
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# how a file system says that it cannot sync a folder
_NO_SYNC = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF, errno.EROFS})


@dataclass(frozen=True)
class OpenFolder(AbstractContextManager["OpenFolder"]):
    """An open folder, and the path by which people know it. ``with`` closes it in the end."""

    descriptor: int
    path: str

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def open(self, relative: str, *, links: bool = True) -> OpenFolder:
        """Open a folder below this one. links: whether those on the way to it are followed."""
        path = os.path.join(self.path, relative).rstrip("/")
        try:
            if links:
                descriptor = os.open(relative or ".", FOLDER, dir_fd=self.descriptor)
            else:
                descriptor = open_folder(relative, self.descriptor)
        except OSError as error:
            error.filename = path
            raise
        return OpenFolder(descriptor, path)

    def at(self, name: str) -> Place:
        """Return the place of a name in this folder, or of a path below it."""
        return Place(self.descriptor, name, os.path.join(self.path, name))

    def is_folder(self, name: str) -> bool:
        """Return whether a folder lies under a name, or a link to one."""
        try:
            return st.S_ISDIR(os.stat(name, dir_fd=self.descriptor).st_mode)
        except (OSError, ValueError):
            return False


class Place(NamedTuple):
    """A name in an open folder, whether or not anything lies there. Links are not followed."""

    folder: int  # its descriptor
    name: str
    path: str  # for people

    def stat(self) -> os.stat_result:
        """Return what lies here."""
        with whole_paths(self):
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)

    def exists(self) -> bool:
        """Return whether anything is seen to lie here, a dangling link too."""
        try:
            os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except (OSError, ValueError):
            return False
        return True

    def open(self, flags: int, mode: int = 0o600) -> int:
        """Open the file that lies here, or make it."""
        with whole_paths(self):
            flags |= os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(self.name, flags, mode, dir_fd=self.folder)

    def remove(self) -> None:
        """Remove the file that lies here, if there is one."""
        with suppress(FileNotFoundError), whole_paths(self):
            os.unlink(self.name, dir_fd=self.folder)

    def create(self) -> BinaryIO:
        """Create a file of our own anew; what lies here, a link too, is removed."""
        self.remove()
        return open(self.open(os.O_CREAT | os.O_EXCL | os.O_WRONLY), "wb")


@contextmanager
def whole_paths(place: Place, target: Place | None = None) -> Iterator[None]:
    """Put whole paths into an error of the kernel, which was given names alone."""
    try:
        yield
    except OSError as error:
        error.filename = place.path
        if target:
            error.filename2 = target.path
        raise


def open_folder(path: str, below: int | None = None) -> int:
    """Open a folder, or raise OSError: also where a link stands on the way to it.

    below: an open folder that the path is relative to.
    """
    descriptor = os.open(path or ".", FOLDER | os.O_NOFOLLOW, dir_fd=below)
    if below is not None:
        path = os.path.join(os.readlink(f"/proc/self/fd/{below}"), path).rstrip("/")
    if os.readlink(f"/proc/self/fd/{descriptor}") != path:
        os.close(descriptor)
        raise NotADirectoryError(errno.ENOTDIR, "a folder on the way to it is a link", path)
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
        if os.readlink(f"/proc/self/fd/{handle}") != path:
            raise OSError(errno.ELOOP, "a folder on the way to it is a link")
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


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
    descriptor = os.open(folder, FOLDER) if isinstance(folder, str) else folder
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        if descriptor != folder:
            os.close(descriptor)

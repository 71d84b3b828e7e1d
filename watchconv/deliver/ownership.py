"""Whose the files and folders are that a delivery makes, and who may do what with them.

By default all is taken from the folder that it lands in, so that whoever shares that folder can
rename and delete what appears there. What may not be given away stays ours and fails no delivery:
``lacks`` says so beforehand. A folder has its mode from the moment it is there, and setgid from
the folder it is in, without a chmod of such bits, which a unit with ``RestrictSUIDSGID=`` may not
make.
"""

from __future__ import annotations

import errno
import os
import stat as st
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from watchconv.host.files import OpenFolder, sync_folder

if TYPE_CHECKING:
    from watchconv.config import Config

_CAP_CHOWN = 1 << 0
_SET_IDS = 0o6000

_umask = threading.Lock()


@dataclass(frozen=True, slots=True)
class Ownership:
    """Whose a delivered file is to be; None: as the folder it lands in has it."""

    user: int | None = None
    group: int | None = None
    mode: int | None = None
    folder_mode: int | None = None

    @classmethod
    def of(cls, config: Config) -> Ownership:
        """Return what is configured."""
        return cls(config.owner, config.group, config.mode, config.directory_mode)

    @property
    def is_set(self) -> bool:
        """Whether any of it was asked for."""
        return (self.user, self.group, self.mode) != (None, None, None)

    def lacks(self) -> list[str]:
        """Return what was asked for that this process may not do, a sentence each."""
        said = []
        us = os.geteuid()
        if self.user not in (None, us) and not _may_chown():
            said.append(
                f"owner: what is delivered cannot be given to user {self.user}, that needs root or"
                f" CAP_CHOWN; it stays user {us}'s"
            )
        if self.group not in (None, os.getegid(), *os.getgroups()) and not _may_chown():
            said.append(
                f"group: what is delivered cannot be given to group {self.group}, of which user"
                f" {us} is no member; add it to the group and start anew"
            )
        return said


def _may_chown() -> bool:
    """Return whether this process may give files to anybody."""
    with suppress(OSError, ValueError), open("/proc/self/status", "rb") as lines:
        for line in lines:
            if line.startswith(b"CapEff:"):
                return bool(int(line.split()[1], 16) & _CAP_CHOWN)
    return os.geteuid() == 0


def make_folder(root: OpenFolder, relative: str, ownership: Ownership) -> OpenFolder:
    """Open a folder below root; the folders that are missing are made. Never makes root.

    Raises NotADirectoryError where a file has the name of one.
    """
    with suppress(FileNotFoundError):
        return root.open(relative)
    path = ""
    for part in relative.split("/"):
        above, path = path, os.path.join(path, part)
        if _make_one(root, above, path, ownership):
            with root.open(above) as parent, root.open(path) as folder:
                _own_folder(folder.descriptor, os.fstat(parent.descriptor), ownership)
                sync_folder(parent.descriptor)
    return root.open(relative)


def _make_one(root: OpenFolder, above: str, path: str, ownership: Ownership) -> bool:
    """Make a folder; False where there is one."""
    mode = ownership.folder_mode
    if mode is None:
        mode = os.stat(above or ".", dir_fd=root.descriptor).st_mode
    with _umask:  # it is the whole process's
        before = os.umask(0)
        try:
            os.mkdir(path, mode & 0o1777, dir_fd=root.descriptor)
        except FileExistsError:
            if root.at(path).is_folder():
                return False
            there = root.at(path).path
            raise NotADirectoryError(errno.ENOTDIR, "a file is in the place", there) from None
        finally:
            os.umask(before)
    return True


def _own_folder(folder: int, above: os.stat_result, ownership: Ownership) -> None:
    asked = ownership.folder_mode
    wanted = above.st_mode & 0o2777 if asked is None else asked
    has = os.fstat(folder).st_mode & 0o7777
    if wanted & ~has:  # setgid was asked for and not inherited, or an ACL took something away
        _chmod(folder, has | wanted)
    _chown(folder, above, ownership)


def own(descriptor: int, ownership: Ownership, like: OpenFolder) -> None:
    """Give a new file, opened in any way, its owner, group and mode; by default those of a folder.

    A link was not to be opened: what it points to may be anybody's.
    """
    above = os.fstat(like.descriptor)
    shared = above.st_mode & (0o644 if above.st_mode & st.S_ISVTX else 0o666)  # /tmp is nobody's
    mode = shared if ownership.mode is None else ownership.mode
    if os.fstat(descriptor).st_mode & 0o7777 != mode:
        _chmod(descriptor, mode)  # while it is ours
    _chown(descriptor, above, ownership)


def _chown(descriptor: int, above: os.stat_result, ownership: Ownership) -> None:
    now, path = os.fstat(descriptor), f"/proc/self/fd/{descriptor}"
    user = above.st_uid if ownership.user is None else ownership.user
    group = above.st_gid if ownership.group is None else ownership.group
    if (now.st_uid, now.st_gid) == (user, group):
        return
    try:
        os.chown(path, user, group)
    except OSError:  # EPERM, or EINVAL for an id that this user namespace does not have
        with suppress(OSError):
            os.chown(path, -1, group)


def _chmod(descriptor: int, mode: int) -> None:
    """Change a mode as far as may be: a file may be somebody else's, or on FAT."""
    path = f"/proc/self/fd/{descriptor}"
    try:
        os.chmod(path, mode)
    except OSError:
        # of a folder, this would take setgid away
        if mode & _SET_IDS and not st.S_ISDIR(os.fstat(descriptor).st_mode):
            with suppress(OSError):
                os.chmod(path, mode & ~_SET_IDS)

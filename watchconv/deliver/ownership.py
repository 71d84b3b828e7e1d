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

from watchconv.host.files import OpenFolder, sync_folder

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

    def lacks(self) -> list[str]:
        """Return what was asked for that this process may not do, a sentence each."""
        said, us = [], os.geteuid()
        may_chown = us == 0
        with suppress(OSError, ValueError, IndexError), open("/proc/self/status", "rb") as status:
            capabilities = status.read().partition(b"CapEff:")[2].split()[0]
            may_chown = bool(int(capabilities, 16) & _CAP_CHOWN)
        if self.user not in (None, us) and not may_chown:
            said.append(
                f"owner: what is delivered cannot be given to user {self.user}, that needs root or"
                f" CAP_CHOWN; it stays user {us}'s"
            )
        if self.group not in (None, os.getegid(), *os.getgroups()) and not may_chown:
            said.append(
                f"group: what is delivered cannot be given to group {self.group}, of which user"
                f" {us} is no member; add it to the group and start anew"
            )
        return said


def make_folder(root: OpenFolder, relative: str, ownership: Ownership) -> OpenFolder:
    """Open a folder below root; the folders that are missing are made. Never makes root.

    Raises NotADirectoryError where a file has the name of one.
    """
    try:
        return root.open(relative)
    except FileNotFoundError:
        if not relative:
            raise
    above, name = os.path.split(relative)
    with make_folder(root, above, ownership) as parent:
        mode = ownership.folder_mode
        if mode is None:
            mode = os.fstat(parent.descriptor).st_mode
        try:
            with _umask:  # it is the whole process's
                before = os.umask(0)
                try:
                    os.mkdir(name, mode & 0o1777, dir_fd=parent.descriptor)
                finally:
                    os.umask(before)
        except OSError as error:
            error.filename = os.path.join(parent.path, name)
            if not isinstance(error, FileExistsError):
                raise
            if not parent.is_folder(name):  # a dangling link, perhaps: opening that says less
                code, why = errno.ENOTDIR, "a file is in the place"
                raise NotADirectoryError(code, why, error.filename) from None
        else:
            with parent.open(name) as folder:
                own(folder.descriptor, ownership, parent.descriptor)
            sync_folder(parent.descriptor)
    return root.open(relative)


def own(descriptor: int, ownership: Ownership, like: int) -> None:
    """Give a new file or folder, opened in any way, its owner, group and mode.

    By default these are taken from an open folder. A link was not to be opened: what it points to
    may be anybody's.
    """
    new, above = os.fstat(descriptor), os.fstat(like)
    path, has = f"/proc/self/fd/{descriptor}", new.st_mode & 0o7777
    if is_folder := st.S_ISDIR(new.st_mode):
        # setgid was asked for and not inherited, or an ACL took something away
        mode = ownership.folder_mode
        mode = has | (above.st_mode & 0o2777 if mode is None else mode)
    elif (mode := ownership.mode) is None:  # a sticky folder, as /tmp, is nobody's
        mode = above.st_mode & (0o644 if above.st_mode & st.S_ISVTX else 0o666)
    if mode != has:
        try:
            os.chmod(path, mode)  # while it is ours
        except OSError:  # it is somebody else's, or on FAT
            if mode & _SET_IDS and not is_folder:  # of a folder, this would take setgid away
                with suppress(OSError):
                    os.chmod(path, mode & ~_SET_IDS)
    user = above.st_uid if ownership.user is None else ownership.user
    group = above.st_gid if ownership.group is None else ownership.group
    if (new.st_uid, new.st_gid) != (user, group):
        try:
            os.chown(path, user, group)
        except OSError:  # EPERM, or EINVAL for an id that this user namespace does not have
            with suppress(OSError):
                os.chown(path, -1, group)

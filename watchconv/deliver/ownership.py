"""Whose the files and folders are that a delivery makes, and who may do what with them.

By default all is taken from the folder that it lands in, so that whoever shares that folder can
rename and delete what appears there.

Guarantees: a folder has its mode from the moment it is there, and setgid from the folder it is
in, without a chmod of such bits, which a unit with ``RestrictSUIDSGID=`` may not make.
Does not fail a delivery: what may not be given away stays ours, and ``lacks`` says so beforehand.
Errors: ``OSError`` where a folder cannot be made or nothing is there.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from stat import S_ISVTX
from typing import TYPE_CHECKING

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
        """Take what is configured."""
        return cls(config.owner, config.group, config.mode, config.directory_mode)

    @property
    def is_set(self) -> bool:
        """Tell whether any of it was asked for."""
        return (self.user, self.group, self.mode) != (None, None, None)

    def lacks(self) -> list[str]:
        """Say, a sentence each, what was asked for that this process may not do."""
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
    """Tell whether this process may give files to anybody."""
    with suppress(OSError, ValueError), open("/proc/self/status", "rb") as lines:
        for line in lines:
            if line.startswith(b"CapEff:"):
                return bool(int(line.split()[1], 16) & _CAP_CHOWN)
    return os.geteuid() == 0


def make_one_folder(path: str, ownership: Ownership) -> None:
    """Make a folder. Raises FileExistsError."""
    above = os.stat(os.path.dirname(path))
    mode = above.st_mode if ownership.folder_mode is None else ownership.folder_mode
    with _umask:  # it is the whole process's
        before = os.umask(0)
        try:
            os.mkdir(path, mode & 0o1777)
        finally:
            os.umask(before)
    _own_folder(path, above, ownership)


def _own_folder(path: str, above: os.stat_result, ownership: Ownership) -> None:
    asked = ownership.folder_mode
    wanted = above.st_mode & 0o2777 if asked is None else asked
    has = os.stat(path).st_mode & 0o7777
    if wanted & ~has:  # setgid was asked for and not inherited, or an ACL took something away
        _chmod(path, has | wanted)
    _chown(path, above, ownership)


def own(path: str, ownership: Ownership, *, like: str | None = None) -> None:
    """Give a new file its owner, group and mode; by default those of the folder like.

    like is the folder that the path is in, if not told otherwise.
    """
    above = os.stat(like or os.path.dirname(path))
    shared = above.st_mode & (0o644 if above.st_mode & S_ISVTX else 0o666)  # /tmp is nobody's
    mode = shared if ownership.mode is None else ownership.mode
    if os.stat(path).st_mode & 0o7777 != mode:
        _chmod(path, mode)  # while it is ours
    _chown(path, above, ownership)


def _chown(path: str, above: os.stat_result, ownership: Ownership) -> None:
    now = os.stat(path)
    user = above.st_uid if ownership.user is None else ownership.user
    group = above.st_gid if ownership.group is None else ownership.group
    if (now.st_uid, now.st_gid) == (user, group):
        return
    try:
        os.chown(path, user, group)
    except OSError:  # EPERM, or EINVAL for an id that this user namespace does not have
        with suppress(OSError):
            os.chown(path, -1, group)


def _chmod(path: str, mode: int) -> None:
    """Change a mode as far as may be: a file may be somebody else's, or on FAT."""
    try:
        os.chmod(path, mode)
    except OSError:
        if mode & _SET_IDS and not os.path.isdir(path):  # of a folder, this would take setgid away
            with suppress(OSError):
                os.chmod(path, mode & ~_SET_IDS)

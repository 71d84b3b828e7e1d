"""Which mount holds a folder, which lie below it, and what the kernel promises there.

A mount that another one covers counts for nothing, nor does one that shows what would be there
without it. What cannot be read is an unknown file system, of which nothing is expected.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass, field
from typing import NamedTuple

# only here does a granted lease mean that nobody writes, and only here is every change an event
_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs"})
_ESCAPED = re.compile(r"\\([0-7]{3})")
_EXPORTS = "/var/lib/nfs/etab"
_LOOK = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
# local, with events, but no word on leases
_EVENTS = _LOCAL | {"overlay", "bcachefs", "jfs", "reiserfs", "vfat", "exfat", "ntfs3", "nilfs2"}

Identity = tuple[str, int, int]  # of a folder: the kernel's number of its mount, device, inode


@dataclass(frozen=True, slots=True)
class Mount:
    """The mount that holds a folder."""

    point: str
    fs_type: str
    device: str = field(default="", compare=False)  # as the table writes it; "" when unknown
    root: str = field(default="/", compare=False)  # the part of the file system that it shows

    @property
    def proves_writers(self) -> bool:
        """Whether a read lease proves that nobody writes a file here."""
        return self.fs_type in _LOCAL

    @property
    def is_network(self) -> bool:
        """Whether SQLite's locks and fsyncs are not to be trusted here."""
        return self.fs_type.startswith(("nfs", "cifs", "smb", "fuse", "9p", "ceph", "gluster"))

    @property
    def has_events(self) -> bool:
        """Whether every change here makes an event on this machine."""
        return self.fs_type in _EVENTS


class _Table(NamedTuple):
    """The table of mounts, read once, so that no question needs to go through all of it."""

    mounts: tuple[Mount, ...]  # in the table's order
    by_point: dict[str, Mount]  # the last one of each
    by_id: dict[str, Mount]


@functools.lru_cache(maxsize=1)  # asked at each scan, and hardly ever different
def _parsed(mountinfo: str) -> _Table:
    mounts: list[Mount] = []
    by_id: dict[str, Mount] = {}
    seen: dict[str, tuple[str, str, str]] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = [unescape(field) for field in left.split(" ")[:5]]
        if len(fields) < 5 or not right:
            continue
        number, parent, device, root, point = fields
        seen[number] = (device, root, point)
        if parent != number and _shows_the_same(seen[number], seen.get(parent)):
            by_id[number] = by_id[parent]
        else:
            by_id[number] = mount = Mount(point, right.split(" ")[0], device, root)
            mounts.append(mount)
    return _Table(tuple(mounts), {mount.point: mount for mount in mounts}, by_id)


def _shows_the_same(mount: tuple[str, str, str], under: tuple[str, str, str] | None) -> bool:
    """Return whether a mount shows what lies under it anyway: (device, root, point) of each."""
    if under is None or mount[0] != under[0]:
        return False
    inner = os.path.relpath(mount[2], under[2])
    return os.path.normpath(os.path.join(under[1], inner)) == mount[1]


def mount_of(path: str, mountinfo: str | None = None) -> Mount:
    """Return the mount that holds a path: the longest mount point, the last one where two match.

    A mount that shows what would be there without it is passed over: systemd makes one of each
    entry of ReadWritePaths=, which only the service sees.
    """
    points = _parsed(table() if mountinfo is None else mountinfo).by_point
    while path not in points and path not in ("/", ""):
        path = os.path.dirname(path)
    return points.get(path, Mount("/", "unknown"))


def mount_of_identity(folder: Identity, mountinfo: str) -> Mount | None:
    """Return the mount that a folder is on, whatever covers it; None where the table has none."""
    return _parsed(mountinfo).by_id.get(folder[0])


def mounts_below(path: str, mountinfo: str | None = None) -> list[Mount]:
    """Return the mounts that can be seen below a path: one of each point, the last."""
    seen: dict[str, Mount] = {}
    for mount in _parsed(table() if mountinfo is None else mountinfo).mounts:
        if is_below(mount.point, path) or is_below(path, mount.point):  # what it covers is hidden
            seen = {point: m for point, m in seen.items() if not is_below(point, mount.point)}
            seen[mount.point] = mount
    return [mount for point, mount in seen.items() if point != path and is_below(point, path)]


def identity(folder: str | int) -> Identity | None:
    """Return which folder lies at a path, or was opened; None where that cannot be told.

    The same disk mounted again has another number, as long as the mount of before is held open.
    """
    try:
        descriptor = os.open(folder, _LOOK) if isinstance(folder, str) else folder
        try:
            stat = os.fstat(descriptor)
            with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as lines:
                number = lines.read().partition("mnt_id:")[2].partition("\n")[0].strip()
        finally:
            if descriptor != folder:
                os.close(descriptor)
    except OSError:
        return None
    return number, stat.st_dev, stat.st_ino


def is_below(path: str, point: str) -> bool:
    """Return whether a path is that of a folder or lies in it."""
    return path == point or path.startswith(point.rstrip("/") + "/")


def table() -> str:
    """Return the kernel's table of mounts; empty where there is none."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            return lines.read()
    except OSError:
        return ""


def exported_by_nfs(path: str) -> bool:
    """Return whether this machine serves any of a folder by NFS: such clients take no leases."""
    try:
        with open(_EXPORTS, encoding="utf-8", errors="surrogateescape") as lines:
            exports = [unescape(line.split("\t")[0]) for line in lines]
    except OSError:
        return False
    return any(is_below(path, export) or is_below(export, path) for export in exports)


def unescape(text: str) -> str:
    """Return a path as it is: the kernel writes spaces, tabs and line ends in octal."""
    return _ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), text)

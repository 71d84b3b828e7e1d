"""The four folders: are they there, writable, the ones we know, and ours alone?

Guarantees: a folder whose mount has gone is told apart from an empty folder, so that nothing is
taken for deleted and nothing is written under a bare mount point; one daemon per inbox and
outbox, by locks on the folders' descriptors that leave no file behind.
Does not look at what is in the folders.
Errors: what is wrong with a folder is returned as sentences (``troubles``), because it may heal;
``AlreadyRunning`` when somebody holds a lock; ``EnvironmentTrouble`` for a state directory that
cannot be used, without which nothing can be remembered.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat as st
import threading
from typing import TYPE_CHECKING

from watchconv.errors import AlreadyRunning, EnvironmentTrouble
from watchconv.host import mounts
from watchconv.host.mounts import Mount, is_below, mount_of, mounts_below

if TYPE_CHECKING:
    from collections.abc import Iterator

WORK_DIR = ".watchconv"
UNMOUNTED = "the file system that holds it, or the outbox, is not mounted"  # why a job waits


class Folders:
    """Inbox, outbox, done and error as one daemon knows them.

    Safe to ask from any thread; ``lock`` and ``unlock`` are for one at a time.
    """

    def __init__(self, inbox: str, outbox: str, done: str, error: str) -> None:
        self.inbox, self.outbox, self.done, self.error = inbox, outbox, done, error
        self.work = os.path.join(outbox, WORK_DIR)
        # both are replaced, never changed, so that whoever reads one may go on with it
        self._known: dict[str, Mount] = {}
        self._below: dict[str, Mount] = {}  # the mounts that were seen below the inbox, by point
        self._locks: dict[str, int] = {}
        self._learning = threading.Lock()

    @property
    def by_name(self) -> dict[str, str]:
        """Map the configuration's names to the paths."""
        return {"inbox": self.inbox, "outbox": self.outbox, "done": self.done, "error": self.error}

    def make(self) -> None:
        """Make the folders that are missing; what cannot be made shows up in ``troubles``."""
        for path in self.by_name.values():
            try:
                os.makedirs(path, exist_ok=True)
            except OSError:
                continue

    def troubles(self) -> list[str]:
        """Say what is wrong with the folders now, a sentence each; empty when all is well.

        The first time a folder is well, the mount that holds it is remembered: from then on,
        without that mount the folder is not the one we know.
        """
        mountinfo = mounts.table()
        said = []
        for name, path in self.by_name.items():
            mount = mount_of(path, mountinfo)
            if trouble := self._trouble(name, path, mount):
                said.append(trouble)
                continue
            with self._learning:
                known = self._known.get(path)
                if known is None or len(mount.point) > len(known.point):
                    self._known = {**self._known, path: mount}
        return said

    def inbox_mounts(self) -> list[Mount]:
        """List the mount that holds the inbox and those below it; they are remembered too."""
        mountinfo = mounts.table()
        below = mounts_below(self.inbox, mountinfo)
        with self._learning:
            self._below = self._below | {mount.point: mount for mount in below}
        return [mount_of(self.inbox, mountinfo), *below]

    def missing_below(self) -> list[str]:
        """List the mount points below the inbox whose mounts were there and are gone."""
        return sorted(self._below.keys() - {m.point for m in mounts_below(self.inbox)})

    def remembered(self) -> dict[str, str]:
        """Give the mount points of what was well, for the journal to keep."""
        known = {path: mount.point for path, mount in self._known.items()}
        return known | {point: point for point in self._below}

    def remember(self, points: dict[str, str]) -> None:
        """Take over what an earlier run knew of the same folders."""
        mounts = {path: Mount(point, "unknown") for path, point in points.items()}
        ours = mounts.keys() & set(self.by_name.values())
        # the rest is of folders that were ours once
        below = {path for path in mounts.keys() - ours if is_below(path, self.inbox)}
        with self._learning:
            self._known = self._known | {path: mounts[path] for path in ours}
            self._below = self._below | {path: mounts[path] for path in below}

    def forget(self) -> None:
        """Forget which mounts there were: what is there now is right."""
        with self._learning:
            self._known, self._below = {}, {}

    def vouches_for(self, source: str) -> bool:
        """Tell whether what is not there under a name of the inbox is really gone.

        It is not where the inbox is no longer the folder that was locked before the look, nor
        where a mount that held the name is not there.
        """
        return self.has_mount_of(source) and self.holds(self.inbox)

    def has_mount_of(self, source: str) -> bool:
        """Tell whether the mount below the inbox that holds a name, if one does, is there."""
        path = os.path.join(self.inbox, source)
        if not any(is_below(path, point) for point in self._below):
            return True  # quickly, for nearly every one
        return not any(is_below(path, point) for point in self.missing_below())

    def holds(self, path: str) -> bool:
        """Tell whether a folder is, mount and all, the very one that was locked under its name."""
        if (held := self._locks.get(path)) is None:
            return False
        try:
            descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            with closing(descriptor):
                same_mount = _mount_id(held) == _mount_id(descriptor)
                return same_mount and os.path.sameopenfile(held, descriptor)
        except OSError:
            return False

    def _missed(self, path: str, mount: Mount) -> str | None:
        """Name the mount point that held a folder when it was well and does not now."""
        known = self._known.get(path)
        return known.point if known and len(mount.point) < len(known.point) else None

    def _trouble(self, name: str, path: str, mount: Mount) -> str | None:
        if point := self._missed(path, mount):
            return (
                f"the {name} {path} is not mounted: {point} is gone; mount it again, or,"
                " if it is to be without from now on, watchconv check --forget-mounts"
            )
        return _fault(name, path)

    def lock(self, state_dir: str) -> bool:
        """Hold the state directory, and the inbox and outbox as far as they are there.

        Idempotent: called again when a folder has appeared, was made anew or mounted again: then
        it returns True. What is not there any more is let go of, lest it could not be unmounted.
        Raises AlreadyRunning.
        """
        anew = False
        for path in (state_dir, self.inbox, self.outbox):
            if self.holds(path):
                continue
            if path in self._locks:
                self._let_go(self._locks.pop(path))
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                if self._missed(path, mount_of(path)):  # asked of what is open already
                    os.close(descriptor)
                else:
                    self._lock_one(path, descriptor)
                    anew = True
        return anew

    def _lock_one(self, path: str, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise AlreadyRunning(
                f"another watchconv is at work here: it holds {path}; stop it first,"
                " or give this one folders and a state of its own"
            ) from None
        except OSError:
            pass  # a file system without locks: the state directory's lock must do
        self._locks[path] = descriptor

    def unlock(self) -> None:
        """Let go of every lock."""
        while self._locks:
            self._let_go(self._locks.popitem()[1])

    def _let_go(self, held: int) -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_UN)  # a child that has not begun yet may have a copy
        os.close(held)

    def mount_ids(self) -> list[str]:
        """Tell on which mounts the inbox and the outbox were locked: to be compared, no more."""
        paths = (self.inbox, self.outbox)
        ids = []
        for held in filter(None, map(self._locks.get, paths)):
            with contextlib.suppress(OSError):  # let go of just now, or no descriptor is left
                ids.append(_mount_id(held))
        return ids

    def free_bytes(self) -> int:
        """Say how much may still be written to the outbox. Raises OSError."""
        stat = os.statvfs(self.outbox)
        return stat.f_bavail * stat.f_frsize


def find_state(path: str) -> bool:
    """Tell whether the state directory is there; False where it is still to be made.

    Raises EnvironmentTrouble where something is there that cannot be used.
    """
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except OSError:
        pass  # said below
    if fault := _fault("state", path):
        raise EnvironmentTrouble(f"{fault}; be the user of the daemon, or name another state")
    return True


def make_state(path: str, *inside: str) -> None:
    """Make the state directory and folders inside it. Raises EnvironmentTrouble."""
    find_state(path)
    try:
        for folder in (path, *(os.path.join(path, name) for name in inside)):
            os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise EnvironmentTrouble(
            f"the state {path} cannot be made: {error.strerror} ({error.filename});"
            f" make it for user {os.geteuid()}, or name another state"
        ) from error


def _fault(name: str, path: str) -> str | None:
    """Say what keeps a folder from being used, whatever it is for."""
    try:  # it may go between any two questions
        stat = os.stat(path)
        if not st.S_ISDIR(stat.st_mode):
            return f"the {name} {path} is not a folder: something else has its name"
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            why = _access_trouble(path)
            return f"the {name} {path} cannot be written by user {os.geteuid()}: {why}"
    except FileNotFoundError:
        return f"the {name} {path} does not exist: make it, or mount what holds it"
    except OSError as error:
        return f"the {name} {path} cannot be reached: {error.strerror}"
    if stat.st_nlink == 0:
        return f"the {name} {path} was deleted: make it again"
    return None


def _mount_id(descriptor: int) -> str:
    """Read which mount a descriptor was opened on: the same disk mounted again is another."""
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as lines:
        return next(line for line in lines if line.startswith("mnt_id:"))


def _access_trouble(path: str) -> str:
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        late = "; if it was made after the service was started, restart the service"
        return (
            f"its file system is mounted read-only{late if 'INVOCATION_ID' in os.environ else ''}"
        )
    return "permission denied; change its owner or mode"


def open_folder(path: str) -> int:
    """Open a folder, or raise OSError: also where a link stands on the way to it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if os.readlink(f"/proc/self/fd/{descriptor}") == path:
        return descriptor
    os.close(descriptor)
    raise NotADirectoryError(errno.ENOTDIR, "a folder on the way to it is a link", path)


@contextlib.contextmanager
def closing(descriptor: int) -> Iterator[None]:
    """Close a descriptor in the end."""
    try:
        yield
    finally:
        os.close(descriptor)

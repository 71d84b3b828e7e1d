"""The four folders: are they there, writable, the ones that we know, and ours alone?

A folder whose mount has gone is told apart from an empty folder: nothing is taken for deleted, and
nothing is written under a bare mount point, for everything is made, renamed and removed through
descriptors that ``Folders.open`` gives, and it gives none of another folder than the one we know.
Only one daemon can have an inbox or an outbox: it locks their descriptors, which leaves no file
behind. What is wrong with a folder is returned, not raised, because it may pass.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat as st
import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from watchconv.errors import AlreadyRunning, EnvironmentTrouble
from watchconv.host import mounts
from watchconv.host.files import FOLDER, OpenFolder
from watchconv.host.mounts import Mount, is_below, mount_of, mounts_below

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = ("inbox", "outbox", "done", "error")
WORK_DIR = ".watchconv"
_USABLE = os.R_OK | os.W_OK | os.X_OK


class Missing(StrEnum):
    """What it means that nothing lies under a name of the inbox."""

    GONE = "gone"  # somebody took it away
    UNMOUNTED = "unmounted"  # a mount below the inbox that held it is away
    FOLDERS = "folders"  # the inbox is not the folder that we know


@dataclass(frozen=True, slots=True)
class FolderState:
    """How the folders were found."""

    generation: int  # it grows when the inbox or the outbox is another folder, or was away
    problems: tuple[str, ...]  # sentences for a person; none when all is well


class Folders:
    """Inbox, outbox, done and error as one daemon knows them.

    May be used from any thread, but for ``check``, ``remember`` and ``unlock``: one at a time.
    """

    def __init__(self, inbox: str, outbox: str, done: str, error: str) -> None:
        self.inbox, self.outbox, self.done, self.error = inbox, outbox, done, error
        self.work = os.path.join(outbox, WORK_DIR)
        paths = (inbox, outbox, done, error)
        self.by_name: Mapping[str, str] = dict(zip(NAMES, paths, strict=True))
        self.state = FolderState(0, ())  # what the last check found
        self._mountinfo: str | None = None  # the table of mounts that it went by
        self._generation = 0
        # inbox, outbox and state are held open under a lock, and nothing else gets their identity;
        # done and error are only known, so that they can be unmounted while nothing is delivered
        self._descriptors: dict[str, int] = {}
        self._identities: dict[str, mounts.Identity] = {}
        # these are replaced, never changed, so that whoever reads one may go on with it
        self._known: dict[str, Mount] = {}  # the mounts on which the folders were well
        self._below: dict[str, Mount] = {}  # the mounts that were seen below the inbox, by point
        self._inbox_mounts: list[Mount] = []
        self._learning = threading.Lock()

    def make(self) -> None:
        """Make the folders that are missing; ``check`` tells what cannot be made."""
        for path in self.by_name.values():
            with contextlib.suppress(OSError):
                os.makedirs(path, exist_ok=True)

    def check(self, state_dir: str) -> FolderState:
        """Lock the folders as far as they are there, and return how they are.

        A folder that is another one than before, or mounted again, is opened and locked anew; one
        that is not there any more is let go of, so that its disk can be unmounted. Where all was
        well and nothing has changed, mounts below the inbox included, the very object of the last
        check is returned. Raises AlreadyRunning when another daemon has a lock.
        """
        changed = self._mountinfo != mounts.table() or bool(self.state.problems)
        for path in (state_dir, self.inbox, self.outbox):
            if mounts.identity(path) != self._identities.get(path, ()):
                changed = True
                self._let_go(path)
                with contextlib.suppress(OSError):
                    self._lock(path)
        for path in self.by_name.values():
            changed = changed or not os.path.isdir(path) or not os.access(path, _USABLE)
        if not changed:
            return self.state
        # asked after the locks: what is well now and still held was well in between
        mountinfo = mounts.table()
        problems = tuple(self.problems(mountinfo))
        below = mounts_below(self.inbox, mountinfo)
        self._inbox_mounts = [mount_of(self.inbox, mountinfo), *below]
        with self._learning:
            self._below = self._below | {mount.point: mount for mount in below}
        self._mountinfo = mountinfo
        self.state = FolderState(self._generation, problems)
        return self.state

    def problems(self, mountinfo: str | None = None) -> list[str]:
        """Return what is wrong with the folders now, a sentence each, without locking any.

        The first time that a folder is well, the mount that holds it is remembered: from then on,
        without that mount the folder is not the one we know.
        """
        mountinfo = mounts.table() if mountinfo is None else mountinfo
        found = []
        for name, path in self.by_name.items():
            mount = mount_of(path, mountinfo)
            if problem := self._problem(name, path, mount):
                found.append(problem)
                if path not in (self.inbox, self.outbox):
                    self._identities.pop(path, None)
                continue
            with self._learning:
                known = self._known.get(path)
                if known is None or len(mount.point) > len(known.point):
                    self._known = {**self._known, path: mount}
            if path not in (self.inbox, self.outbox):  # not if it is bare, or new, by now
                identity = mounts.identity(path)
                if identity and mounts.mount_of_identity(identity, mountinfo) == mount:
                    self._identities[path] = identity
        return found

    def is_current(self, generation: int) -> bool:
        """Return whether inbox and outbox are still the folders of a generation."""
        for path in (self.inbox, self.outbox):
            if mounts.identity(path) != self._identities.get(path, ()):
                return False
        return generation == self._generation  # asked last: see ``_lock``

    def open(self, name: str) -> OpenFolder:
        """Open a folder, if it is the one we know: inbox, outbox, done or error.

        Inbox and outbox must be the very folders that ``check`` locked; done and error must lie on
        the mount where they were well. Raises EnvironmentTrouble where that is not so.
        """
        path = self.by_name[name]
        try:
            descriptor = os.open(path, FOLDER)
        except OSError as error:
            problem = self._problem(name, path, mount_of(path))
            raise EnvironmentTrouble(problem or f"the {name} {path}: {error.strerror}") from error
        identity = mounts.identity(descriptor)
        if identity != self._identities.get(path, ()):
            mountinfo = mounts.table()
            mount = identity and mounts.mount_of_identity(identity, mountinfo)
            problem = self._problem(name, path, mount or mount_of(path, mountinfo))
            if path in (self.inbox, self.outbox) and not problem:
                problem = f"the {name} {path} is no longer the folder it was: is it mounted?"
            if problem:
                os.close(descriptor)
                raise EnvironmentTrouble(problem)
        return OpenFolder(descriptor, path)

    def why_missing(self, source: str) -> Missing:
        """Return what it means that nothing lies under a name of the inbox."""
        path = os.path.join(self.inbox, source)
        points = {point for point in self._below if is_below(path, point)}
        # nearly no name lies below a mount, and the table need not be read for it
        if points and points - {mount.point for mount in mounts_below(self.inbox)}:
            return Missing.UNMOUNTED
        is_held = mounts.identity(self.inbox) == self._identities.get(self.inbox, ())
        return Missing.GONE if is_held else Missing.FOLDERS

    def inbox_mounts(self) -> list[Mount]:
        """Return the mount that holds the inbox and those below it, as the last check saw them."""
        return self._inbox_mounts

    def missing_below(self) -> list[str]:
        """Return the mount points below the inbox that the last check found without a mount."""
        return sorted(self._below.keys() - {mount.point for mount in self._inbox_mounts})

    def remembered(self) -> dict[str, str]:
        """Return the mount points of what was well, for the journal to keep."""
        known = {path: mount.point for path, mount in self._known.items()}
        return known | {point: point for point in self._below}

    def remember(self, points: dict[str, str]) -> None:
        """Take over what an earlier run knew of the same folders."""
        known = {path: Mount(point, "unknown") for path, point in points.items()}
        ours = known.keys() & set(self.by_name.values())
        # the rest is of folders that were ours once
        below = {path for path in known.keys() - ours if is_below(path, self.inbox)}
        with self._learning:
            self._known = self._known | {path: known[path] for path in ours}
            self._below = self._below | {path: known[path] for path in below}
        self._mountinfo = None  # the next check looks at all anew
        for path in ours:
            if self._missed(path, mount_of(path)):  # a bare mount point was taken, unknowing
                self._let_go(path)

    def forget(self) -> None:
        """Forget which mounts there were: what is there now is right."""
        with self._learning:
            self._known, self._below = {}, {}
        self._mountinfo = None

    def unlock(self) -> None:
        """Let go of every lock."""
        for path in list(self._descriptors):
            self._let_go(path)

    def free_bytes(self) -> int:
        """Return how much may still be written to the outbox. Raises OSError."""
        stat = os.statvfs(self.outbox)
        return stat.f_bavail * stat.f_frsize

    def _lock(self, path: str) -> None:
        """Open a folder and lock it, if it is the one we know."""
        descriptor = os.open(path, FOLDER)
        identity, mountinfo = mounts.identity(descriptor), mounts.table()
        mount = identity and mounts.mount_of_identity(identity, mountinfo)
        if not identity or self._missed(path, mount or mount_of(path, mountinfo)):
            os.close(descriptor)
            return
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
        # first the number: who finds the new folder held finds that its generation is over, too
        self._generation += path in self.by_name.values()
        self._descriptors[path], self._identities[path] = descriptor, identity

    def _let_go(self, path: str) -> None:
        self._identities.pop(path, None)
        if (descriptor := self._descriptors.pop(path, None)) is None:
            return
        self._generation += path in self.by_name.values()
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that only begins may have a copy
        os.close(descriptor)

    def _missed(self, path: str, mount: Mount) -> str | None:
        """Return the mount point that held a folder when it was well and does not now."""
        known = self._known.get(path)
        return known.point if known and len(mount.point) < len(known.point) else None

    def _problem(self, name: str, path: str, mount: Mount) -> str | None:
        if point := self._missed(path, mount):
            return (
                f"the {name} {path} is not mounted: {point} is gone; mount it again, or,"
                " if it is to be without from now on, watchconv check --forget-mounts"
            )
        return _fault(name, path)


def find_state(path: str) -> bool:
    """Return whether the state directory is there; False where it is still to be made.

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
    """Return what keeps a folder from being used, whatever it is for."""
    try:  # it may go between any two questions
        stat = os.stat(path)
        if not st.S_ISDIR(stat.st_mode):
            return f"the {name} {path} is not a folder: something else has its name"
        if not os.access(path, _USABLE):
            why = "permission denied; change its owner or mode"
            if os.statvfs(path).f_flag & os.ST_RDONLY:
                why = "its file system is mounted read-only"
                if "INVOCATION_ID" in os.environ:
                    why += "; if it was made after the service was started, restart the service"
            return f"the {name} {path} cannot be written by user {os.geteuid()}: {why}"
    except FileNotFoundError:
        return f"the {name} {path} does not exist: make it, or mount what holds it"
    except OSError as error:
        return f"the {name} {path} cannot be reached: {error.strerror}"
    if stat.st_nlink == 0:
        return f"the {name} {path} was deleted: make it again"
    return None

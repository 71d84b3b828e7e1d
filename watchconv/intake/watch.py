"""Hints where to scan, gathered from the kernel's events.

An event only wakes a scan and narrows it; it never decides. Losing events costs speed, no more:
the kernel's queue may overflow, the thread that reads them die, a limit of inotify be reached.
"""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from watchconv.intake.inotify import InboxEvents

NAMES_PER_FOLDER = 256  # with more hints than this for one folder the whole folder is scanned
CLOSE_SECONDS = 5.0  # a start that a dead disk holds up is not waited for any longer
_NO_EVENTS = "no events from the inbox"
_LIMITS = {
    errno.ENOSPC: ("watches", "max_user_watches=524288"),
    errno.EMFILE: ("instances", "max_user_instances=1024"),
}
# events, as inotify(7) numbers them
_CLOSE_WRITE, _OPEN, _MOVED_FROM, _MOVED_TO = 0x8, 0x20, 0x40, 0x80
_CREATE, _DELETE, _DELETE_SELF = 0x100, 0x200, 0x400
_LOST, _IS_FOLDER = 0x4000, 0x4000_0000
_WATCHED = _CLOSE_WRITE | _OPEN | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF


@dataclass(slots=True)
class Hints:
    """Where to scan: trees with all that is in them, single folders, or names of a folder.

    ``names[folder][name]`` is True when the name appeared by move or link.
    """

    trees: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)  # those of the trees that came by a move
    folders: set[str] = field(default_factory=set)
    names: dict[str, dict[str, bool]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.trees or self.folders or self.names)

    def add_name(self, source: str, *, appeared: bool = False) -> None:
        """Add one name; too many of one folder become a scan of that folder."""
        folder, name = os.path.split(source)
        if folder in self.folders:
            return
        names = self.names.setdefault(folder, {})
        names[name] = appeared or names.get(name, False)
        if len(names) > NAMES_PER_FOLDER:
            del self.names[folder]
            self.folders.add(folder)


class Watcher:
    """Watches the inbox, and wakes whoever scans it."""

    def __init__(self, inbox: str, wake: Callable[[], None]) -> None:
        """Take what to watch; wake is called on a foreign thread and must only wake the loop."""
        self._inbox, self._wake = inbox, wake
        self._prefix = len(os.fsencode(inbox.rstrip("/"))) + 1
        self._lock = threading.Lock()
        self._hints = Hints()
        self._events: InboxEvents | None = None
        self._watched: tuple[int, int] | None = None  # device and inode of the watched inbox
        self._starting = threading.Lock()
        self._closed = False
        self.overflowed = threading.Event()  # events were lost: whoever scans everything clears it
        self.limited: str | None = None  # why not every folder of the inbox is watched

    def start(self) -> str | None:
        """Begin to watch, or begin anew; return what is wrong, if anything is."""
        with self._starting:
            if self._closed:
                return None
            try:
                from watchconv.intake.inotify import InboxEvents
            except ImportError:  # it uses inner modules of watchdog, which may move
                reason = "the watchdog that is installed is not known here"
                return f"{_NO_EVENTS}: {reason}; pip install 'watchdog~=7.1'"
            self._stop()
            self.limited = None
            try:
                stat = os.stat(self._inbox)
                self._watched = (stat.st_dev, stat.st_ino)
                self._events = InboxEvents(self._inbox, _WATCHED, self._on_event, self._on_refused)
                self._events.begin()
            except OSError as error:
                self._stop()
                return _why_no_events(error)
            return None

    def _on_event(self, path: bytes, mask: int) -> None:
        """Turn one event into a hint; a file that was only opened wakes nobody."""
        source = os.fsdecode(path[self._prefix :])
        with self._lock:
            if mask & _OPEN:
                folder, name = os.path.split(source)
                names = self._hints.names.get(folder)
                if names and name in names:
                    names[name] = False  # it was created to be written, not linked
                return
            if mask & _LOST:
                self.overflowed.set()
            elif not source:  # the inbox itself: the next one may get its very inode number
                self._watched = None
            elif mask & _IS_FOLDER:
                self._hints.trees.add(source)
                if mask & _MOVED_TO:
                    self._hints.moved.add(source)
            elif not mask & _DELETE_SELF:
                # created without a following open is how link(2) looks
                self._hints.add_name(source, appeared=bool(mask & (_MOVED_TO | _CREATE)))
        self._wake()

    def _on_refused(self, error: OSError) -> None:
        self.limited = _why_no_events(error)
        self._wake()

    @property
    def watched(self) -> int:
        """How many folders are watched; it grows while the watch of a large tree begins."""
        events = self._events
        return events.watched if events else 0

    def died(self) -> bool:
        """Return whether the thread that reads events has ended by itself; asks memory alone."""
        events = self._events
        return events is not None and not events.is_alive()

    def alive(self) -> bool:
        """Return whether events still come: the thread lives and the inbox is the watched one."""
        try:
            stat = os.stat(self._inbox)
        except OSError:
            return False
        events = self._events
        watched = (stat.st_dev, stat.st_ino) == self._watched
        return watched and events is not None and events.is_alive()

    def add_hint(self, source: str) -> None:
        """Have one name scanned next time."""
        with self._lock:
            self._hints.add_name(source)

    def add_trees(self, folders: Iterable[str]) -> None:
        """Have folders scanned next time, with all that is below them."""
        with self._lock:
            self._hints.trees.update(folders)

    @property
    def has_hints(self) -> bool:
        """Whether there is anything to scan."""
        return bool(self._hints)

    def take(self) -> Hints:
        """Return the hints gathered so far, and forget them."""
        with self._lock:
            hints, self._hints = self._hints, Hints()
        return hints

    def _stop(self) -> None:
        events, self._events, self._watched = self._events, None, None
        if events:
            events.end()

    def close(self) -> None:
        """Stop for good, also while ``start`` runs on another thread. Idempotent."""
        self._closed = True
        ours = self._starting.acquire(timeout=CLOSE_SECONDS)
        try:
            self._stop()
        finally:
            if ours:
                self._starting.release()


def _why_no_events(error: OSError) -> str:
    if error.errno not in _LIMITS:
        return f"{_NO_EVENTS}: {error.strerror or error}"
    what, setting = _LIMITS[error.errno]
    remedy = f"raise it: sysctl fs.inotify.{setting}"
    return f"{_NO_EVENTS}: the limit of inotify {what} is reached; {remedy}"

"""The inbox's listing, and the events that say where to look.

Guarantees: a listing streams, folder by folder, whatever its size; no link is followed; an event
only wakes a look and narrows it, it never decides. The death of an emitter, an overflow of the
kernel's queue or a limit of inotify costs speed, nothing more.
Does not know the journal, and remembers no file.
Errors: a folder that cannot be read is told to the caller's ``trouble`` and passed over; no
OSError ends a walk.
"""

from __future__ import annotations

import errno
import os
import threading
import warnings
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileOpenedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)

from watchconv.host.files import closing, open_folder
from watchconv.intake.wakeup import Turn, end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from watchdog.observers.api import BaseObserver

_UNKNOWN_WATCHDOG = (
    "no events from the inbox: the watchdog that is installed is not known here;"
    " pip install 'watchdog~=7.1'"
)
NAMES_PER_FOLDER = 256  # more hints than this for one folder, and the whole folder is looked at


def walk(
    root: str,
    folder: str,
    skips: Callable[[str], bool],
    trouble: Callable[[str, OSError], None],
    *,
    deep: bool = True,
) -> Iterator[tuple[str, Iterator[os.DirEntry[str]]]]:
    """Yield (folder, its entries but for folders) from one folder down; all relative to root.

    Each stream of entries must be used up before the next folder is asked for. Folders that are
    links, or are passed over, are entries, not folders.
    """

    def enters(here: str, entry: os.DirEntry[str]) -> bool:
        """Tell whether an entry is a folder to be listed too."""
        is_folder = entry.is_dir(follow_symlinks=False)
        return is_folder and not skips(os.path.join(here, entry.name))

    pending = deque([folder])
    while pending:
        here = pending.popleft()
        path = os.path.join(root, here) if here else root
        found: list[str] = []
        try:
            with closing(descriptor := open_folder(path)), os.scandir(descriptor) as entries:
                yield here, _files(entries, found, partial(enters, here), partial(trouble, here))
        except OSError as error:
            trouble(here, error)
        if deep:
            pending.extend(os.path.join(here, name) for name in found)


def _files(
    entries: Iterator[os.DirEntry[str]],
    folders: list[str],
    enters: Callable[[os.DirEntry[str]], bool],
    trouble: Callable[[OSError], None],
) -> Iterator[os.DirEntry[str]]:
    try:
        for entry in entries:
            if enters(entry):
                folders.append(entry.name)
            else:
                yield entry
    except OSError as error:
        trouble(error)


@dataclass(slots=True)
class Hints:
    """Where to look, gathered from events: whole trees, or names of one folder.

    ``names[folder][name]`` tells whether the name appeared by move or link.
    """

    trees: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)  # those of the trees that came by a move
    folders: set[str] = field(default_factory=set)
    names: dict[str, dict[str, bool]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.trees or self.folders or self.names)

    def add_tree(self, folder: str) -> None:
        """Look at a folder and all below it."""
        self.trees.add(folder)

    def add_name(self, folder: str, name: str, *, appeared: bool = False) -> None:
        """Look at one name; too many of them become a look at their folder."""
        if folder in self.folders:
            return
        names = self.names.setdefault(folder, {})
        names[name] = appeared or names.get(name, False)
        if len(names) > NAMES_PER_FOLDER:
            del self.names[folder]
            self.folders.add(folder)

    def was_opened(self, folder: str, name: str) -> None:
        """Note that a name was opened: so it was created to be written, not linked."""
        if self.names.get(folder, {}).get(name):
            self.names[folder][name] = False


class _Bridge(FileSystemEventHandler):
    """Turns watchdog's events into hints, on watchdog's thread."""

    def __init__(self, root: str, watcher: Watcher) -> None:
        self._root = root.rstrip("/")
        self._watcher = watcher

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Note where to look, and wake; a file that was only opened wakes nobody."""
        if isinstance(event, FileOpenedEvent):
            with self._watcher.lock:
                self._watcher.hints.was_opened(*self._split(event.src_path))
            return
        with self._watcher.lock:
            for path in (event.src_path, event.dest_path):
                if path:
                    self._note(event, path)
        self._watcher.wake()

    def _note(self, event: FileSystemEvent, path: str | bytes) -> None:
        hints = self._watcher.hints
        folder, name = self._split(path)
        if isinstance(event, (DirCreatedEvent, DirMovedEvent)):
            hints.add_tree(os.path.join(folder, name))
            if isinstance(event, DirMovedEvent) and path == event.dest_path:
                hints.moved.add(os.path.join(folder, name))
        elif isinstance(event, DirDeletedEvent):
            hints.add_tree(folder)
            if not name:  # the inbox itself: the next one may get its very inode number
                self._watcher.root_is_gone(self)
        else:
            # created without a following open is how link(2) looks; see was_opened
            by_move = isinstance(event, FileMovedEvent) and path == event.dest_path
            hints.add_name(folder, name, appeared=by_move or isinstance(event, FileCreatedEvent))

    def _split(self, path: str | bytes) -> tuple[str, str]:
        text = os.fsdecode(path)
        return os.path.split(text[len(self._root) + 1 :])


class _Door(FileSystemEventHandler):
    """Wakes a look when the inbox itself is moved, removed or made."""

    def __init__(self, root: str, wake: Callable[[], None]) -> None:
        self._root, self._wake = root, wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Wake for the inbox itself, not for what else its parent folder holds."""
        if self._root in (os.fsdecode(event.src_path), os.fsdecode(event.dest_path)):
            self._wake()


class Watcher:
    """Watches the inbox; all of it only wakes."""

    _events: ClassVar[list[type[FileSystemEvent]]] = [
        FileCreatedEvent,
        FileMovedEvent,
        FileClosedEvent,
        FileDeletedEvent,
        FileOpenedEvent,
        DirCreatedEvent,
        DirMovedEvent,
        DirDeletedEvent,
    ]

    def __init__(self, inbox: str, wake: Callable[[], None]) -> None:
        """Take what to watch; wake is called on foreign threads and must only wake the loop."""
        self._inbox, self.wake = inbox, wake
        self.lock = threading.Lock()
        self.hints = Hints()
        self._observer: BaseObserver | None = None
        self._root: tuple[int, int] | None = None
        self._bridge: _Bridge | None = None
        self._turn = Turn()
        self.overflowed = threading.Event()  # events were lost: whoever looks at all clears it
        self.limited: str | None = None  # why not every folder of the inbox is watched

    def start(self) -> str | None:
        """Begin to watch; call it again after ``alive`` said no. Returns what is amiss, if so."""
        with self._turn.beginning() as wanted:
            return self._start() if wanted else None

    def _start(self) -> str | None:
        try:
            from watchconv.intake.inotify import KernelObserver
        except ImportError:  # what it uses of watchdog is watchdog's own, and may move
            return _UNKNOWN_WATCHDOG
        # a folder that is made while watches are added may be added twice, which does no harm
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        self.stop()
        self.limited = None
        try:
            stat = os.stat(self._inbox)
            self._root = (stat.st_dev, stat.st_ino)
            self._observer = KernelObserver(self._take_overflow, self._take_refusal)
            self._bridge = _Bridge(self._inbox, self)
            self._observer.schedule(
                self._bridge, self._inbox, recursive=True, event_filter=self._events
            )
            self._observer.schedule(
                _Door(self._inbox, self.wake),
                os.path.dirname(self._inbox),
                event_filter=[DirCreatedEvent, DirMovedEvent, DirDeletedEvent],
            )
            self._observer.start()
        except OSError as error:
            self.stop()
            return _limit(error)
        return None

    @property
    def watched(self) -> int:
        """Count the folders that are watched; it grows while a large tree is begun to be."""
        reader = getattr(self._observer, "_inotify_fd", None)
        return len(getattr(reader, "_watch_for_wd", ()))

    def root_is_gone(self, bridge: _Bridge) -> None:
        """Hear that what a bridge watched was deleted, whatever has its name now."""
        if bridge is self._bridge:  # and no earlier one, that has been late
            self._root = None

    def _take_overflow(self) -> None:
        self.overflowed.set()
        self.wake()

    def _take_refusal(self, error: OSError) -> None:
        self.limited = _limit(error)
        self.wake()

    def died(self) -> bool:
        """Tell whether a thread that watched has ended by itself; asks memory alone."""
        return self._observer is not None and not self._lives(self._observer)

    def _lives(self, observer: BaseObserver) -> bool:
        reader = getattr(observer, "_inotify_fd", observer)  # the thread that reads the events
        threads = (observer, reader, *observer.emitters)
        return all(thread.is_alive() for thread in threads)

    def alive(self) -> bool:
        """Tell whether events still come: every thread lives and the inbox is the one watched."""
        if self._observer is None:
            return False
        try:
            stat = os.stat(self._inbox)
        except OSError:
            return False
        return (stat.st_dev, stat.st_ino) == self._root and self._lives(self._observer)

    def take(self) -> Hints:
        """Take the hints gathered so far."""
        with self.lock:
            hints, self.hints = self.hints, Hints()
        return hints

    def stop(self) -> None:
        """Stop watching. Idempotent."""
        observer, self._observer, self._root = self._observer, None, None
        end(observer)

    def close(self) -> None:
        """Stop for good, also while it begins on another thread."""
        with self._turn.closing():
            self.stop()


def _limit(error: OSError) -> str:
    """Say in a sentence why there are no events."""
    if error.errno == errno.ENOSPC:
        return (
            "no events from the inbox: the limit of inotify watches is reached; raise it:"
            " sysctl fs.inotify.max_user_watches=524288"
        )
    if error.errno == errno.EMFILE:
        return (
            "no events from the inbox: the limit of inotify instances is reached; raise it:"
            " sysctl fs.inotify.max_user_instances=1024"
        )
    return f"no events from the inbox: {error.strerror or error}"

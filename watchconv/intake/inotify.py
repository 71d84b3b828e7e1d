"""The kernel's events below the inbox, read by one thread with watchdog's inotify classes.

``InotifyFD`` reads the events; ``InotifyWatchGroup`` watches every folder of the tree, follows
folders that are renamed, and watches anew after events were lost. watchdog's observer and emitters
are left out: they are further threads that every event crosses, they report neither lost events
nor a folder that could not be watched, and they make an event of each file below a folder that was
moved in, which for a tree of 100,000 files are tens of megabytes (FIELD-NOTES rows 13, 20 and 23).
"""

from __future__ import annotations

import errno
import os
import warnings
from collections import deque
from typing import TYPE_CHECKING

from watchdog.observers.inotify import InotifyWatchGroup
from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyFD, Mask
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchdog.observers.inotify_c import InotifyEvent, WatchCallback, WatchDescriptor
    from watchdog.observers.inotify_move_event_grouper import PathedInotifyEvent

END_SECONDS = 5.0  # a thread that a dead disk holds is not waited for any longer
# folders that were moved away and may arrive elsewhere in the tree: the two events follow closely
MOVED_AWAY = 64
_OF_NAMES = InotifyConstants.IN_CREATE | InotifyConstants.IN_DELETE | InotifyConstants.IN_MOVE


class InboxEvents(InotifyFD):
    """The thread that reads the events of one folder and of all below it."""

    def __init__(
        self,
        folder: str,
        mask: int,
        report: Callable[[bytes, int], None],
        on_refused: Callable[[OSError], None],
    ) -> None:
        """Take the folder, the events to ask the kernel for, and whom to call, on this thread.

        report is given a path and inotify's mask: the path of the folder itself when that was
        deleted, moved or made, or when the kernel has dropped events (IN_Q_OVERFLOW). on_refused
        is called when it watches no further folder.
        """
        self._inotify_fd = -1
        try:
            super().__init__()
        except OSError:
            if self._inotify_fd >= 0:
                os.close(self._inotify_fd)  # no descriptor was left for watchdog's pipe
            raise
        self.folder, self.mask = os.fsencode(folder), Mask(mask)
        self.report, self._on_refused = report, on_refused

    def begin(self) -> None:
        """Start to read, then add the watches. Raises OSError; ``end`` is to be called even then.

        The parent folder is watched too: of a folder that is held open the kernel reports no
        deletion, but of its name it does.
        """
        # a folder that is made while watches are added may be added twice, which does no harm
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        self.start()
        parent = os.path.dirname(self.folder)
        self.add_callback(parent, Mask(_OF_NAMES), self, CallbackId(id(self)))
        _FolderTree(self)

    @property
    def watched(self) -> int:
        """How many folders are watched; it grows while watches are added to a large tree."""
        return len(self._watch_for_wd)

    def add_callback(
        self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
    ) -> WatchDescriptor:
        """Watch a folder; report where the kernel has no room for one more."""
        try:
            return super().add_callback(path, mask, callback, id_)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._on_refused(error)
            raise

    def end(self) -> None:
        """Stop reading and remove the watches."""
        self.stop()
        if self.is_alive():
            self.join(END_SECONDS)

    def on_event(self, event: InotifyEvent) -> None:
        """Report an event of the parent folder that is about the name of the watched one."""
        if event.name == os.path.basename(self.folder):
            self.report(self.folder, event.mask)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """Ignore it: without its parent the folder is gone too."""

    def on_queue_overflow(self) -> None:
        """Ignore it: the watches on the folder report it."""


class _FolderTree(InotifyWatchGroup):
    """The watches on a folder and on all below it. Adds them when it is made."""

    def __init__(self, reader: InboxEvents) -> None:
        self._reader = reader
        super().__init__(reader, reader.folder, event_mask=reader.mask, is_recursive=True)

    def __post_init__(self) -> None:
        # before the first watch is added
        self._move_event_grouper = _PassedOn(self._reader.report)
        super().__post_init__()

    def on_queue_overflow(self) -> None:
        """Watch anew, and report that events were lost."""
        super().on_queue_overflow()
        self._reader.report(self.path, InotifyConstants.IN_Q_OVERFLOW)


class _PassedOn(InotifyMoveEventGrouper):
    """Passes every event on at once, where watchdog holds moves back until their pair arrives."""

    def __init__(self, report: Callable[[bytes, int], None]) -> None:
        super().__init__()
        self._report = report
        self._moved_away: deque[PathedInotifyEvent] = deque(maxlen=MOVED_AWAY)

    def put_event(self, event: PathedInotifyEvent) -> None:
        """Pass an event on; remember a folder that was moved away."""
        if event.ev.is_moved_from and event.ev.is_directory:
            self._moved_away.append(event)
        self._report(event.path, event.ev.mask)

    def get_queued_moved_from_event(self, cookie: int) -> PathedInotifyEvent | None:
        """Return where a folder comes from that is moved within the tree."""
        for event in self._moved_away:
            if event.ev.cookie == cookie:
                return event
        return None

"""watchdog's inotify observer, with what it keeps to itself: lost events and missing watches.

Guarantees: the owner hears of an overflow of the kernel's queue and of a folder that could not be
watched; a folder that is moved in is one event, however much is in it.
Does not decide anything. Errors: none of its own; a root that cannot be watched raises OSError.

Why a subclass: watchdog watches anew after an overflow but tells nobody, passes silently over a
sub-folder for which no watch is left, and makes an event of each file below a folder that moved,
which for a tree of 100,000 files are tens of megabytes. FIELD-NOTES rows 13, 20 and 23.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from watchdog.events import DirMovedEvent
from watchdog.observers.api import DEFAULT_OBSERVER_TIMEOUT, BaseObserver
from watchdog.observers.inotify import InotifyFullEmitter
from watchdog.observers.inotify_c import InotifyFD
from watchdog.observers.inotify_move_event_grouper import (
    InotifyMoveEventGrouper,
    PathedInotifyEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchdog.observers.inotify_c import (
        CallbackId,
        InotifyEvent,
        Mask,
        WatchCallback,
        WatchDescriptor,
    )
    from watchdog.observers.inotify_move_event_grouper import GroupedInotifyEvent

# watchdog holds a lone "moved away" back for half a second, and all that follows with it
InotifyMoveEventGrouper.delay = 0.01


class _Descriptor(InotifyFD):
    """The thread that reads the kernel's events."""

    def __init__(self, overflowed: Callable[[], None], refused: Callable[[OSError], None]) -> None:
        self._inotify_fd = -1
        try:
            super().__init__()
        except OSError:
            if self._inotify_fd >= 0:
                os.close(self._inotify_fd)  # no descriptor was left for its pipe
            raise
        self._overflowed, self._refused = overflowed, refused

    def handle_event(self, event: InotifyEvent) -> None:
        """Pass an event on; tell where some were lost."""
        super().handle_event(event)
        if event.is_queue_overflow:
            self._overflowed()

    def add_callback(
        self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
    ) -> WatchDescriptor:
        """Watch a folder; tell where the kernel has no room for one more."""
        try:
            return super().add_callback(path, mask, callback, id_)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._refused(error)
            raise


class _Emitter(InotifyFullEmitter):
    """Tells of a moved folder as of one thing: who hears of it looks at all that is in it."""

    def build_and_queue_event(
        self, event: GroupedInotifyEvent, *, full_events: bool = True
    ) -> None:
        """Queue a folder that came as one event, where watchdog queues all that is in it."""
        halves = (event,) if isinstance(event, PathedInotifyEvent) else event
        came = halves[-1].ev.is_moved_to and halves[-1].ev.is_directory
        if not came:
            super().build_and_queue_event(event, full_events=full_events)
            return
        source = self._decode_path(halves[0].path) if len(halves) > 1 else ""
        self.queue_event(DirMovedEvent(source, self._decode_path(halves[-1].path)))


class KernelObserver(BaseObserver):
    """An observer on an inotify instance of its own."""

    def __init__(self, overflowed: Callable[[], None], refused: Callable[[OSError], None]) -> None:
        """Take whom to call, on foreign threads, when events were lost or a watch was refused."""
        self._inotify_fd = _Descriptor(overflowed, refused)
        self._inotify_fd.start()
        super().__init__(_Emitter, timeout=DEFAULT_OBSERVER_TIMEOUT, inotify_fd=self._inotify_fd)

    def on_thread_stop(self) -> None:
        """End the reading thread too."""
        super().on_thread_stop()
        self._inotify_fd.stop()
        self._inotify_fd.join()

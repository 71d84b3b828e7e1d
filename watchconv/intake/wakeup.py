"""What wakes the daemon beside the inbox itself: a person's wake file, and the mounts.

Guarantees: all of it only wakes; an idle watch costs nothing; it may be closed on one thread while
it begins on another, and nothing is left then.
Does not look at anything. Errors: none; where something cannot be watched, ``start`` says so.
"""

from __future__ import annotations

import os
import select
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from watchdog.events import FileClosedEvent, FileSystemEvent, FileSystemEventHandler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from watchdog.observers.api import BaseObserver

CLOSE_SECONDS = 5.0  # a beginning that a dead disk holds up is not waited for any longer


class Turn:
    """Lets a beginning and a close, on different threads, come one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def beginning(self) -> Iterator[bool]:
        """Begin in here, if told that it is still wanted."""
        with self._lock:
            yield not self._closed

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Close in here; nothing begins afterwards."""
        self._closed = True
        ours = self._lock.acquire(timeout=CLOSE_SECONDS)
        try:
            yield
        finally:
            if ours:
                self._lock.release()


class _Bell(FileSystemEventHandler):
    """Rings when a person touches the wake file."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Ring, whatever happened there."""
        self._ring()


class WakeFileWatcher:
    """Watches the folder of the wake file."""

    def __init__(self, folder: str, ring: Callable[[], None]) -> None:
        """Take the folder; ring is called on a foreign thread."""
        self._folder, self._bell = folder, _Bell(ring)
        self._observer: BaseObserver | None = None
        self._turn = Turn()

    def start(self) -> bool:
        """Begin to watch; tell whether that is possible."""
        with self._turn.beginning() as wanted:
            return wanted and self._start()

    def _start(self) -> bool:
        from watchdog.observers.inotify import InotifyObserver

        try:
            self._observer = InotifyObserver()
            self._observer.schedule(self._bell, self._folder, event_filter=[FileClosedEvent])
            self._observer.start()
        except OSError:
            end(self._observer)
            self._observer = None
            return False
        return True

    def stop(self) -> None:
        """Stop for good, also while it begins on another thread. Idempotent."""
        with self._turn.closing():
            observer, self._observer = self._observer, None
            end(observer)


def end(observer: BaseObserver | None) -> None:
    """End an observer, whatever it has begun."""
    if observer is None:
        return
    if observer.is_alive():
        observer.stop()
        observer.join(5)
    else:
        observer.on_thread_stop()


class MountWatcher:
    """Calls back whenever something is mounted or unmounted: the kernel tells, no tick."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._thread: threading.Thread | None = None
        self._end = -1

    def start(self) -> None:
        """Begin to wait. Idempotent; does nothing where there is no mountinfo to wait for."""
        if self._thread is not None:
            return
        try:
            mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            end, self._end = os.pipe()
        except OSError:
            os.close(mounts)
            return
        self._thread = threading.Thread(
            target=self._wait, args=(mounts, end), name="mounts", daemon=True
        )
        self._thread.start()

    def _wait(self, mounts: int, end: int) -> None:
        poll = select.poll()
        poll.register(mounts, select.POLLPRI)
        poll.register(end, select.POLLIN)
        while not any(descriptor == end for descriptor, _ in poll.poll()):
            self._changed()
        os.close(end)
        os.close(mounts)

    def stop(self) -> None:
        """End the thread. Idempotent."""
        if self._thread is not None:
            os.close(self._end)
            self._thread.join(5)
            self._thread = None

"""What wakes the daemon from outside the inbox: a person's command, and the kernel's mounts.

Both are file descriptors in the event loop: no thread, and nothing happens while nothing happens.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from watchconv.host.status_file import WAKE_FIFO, WAKE_FILE

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_SECONDS = 1.0


class WakeFifo:
    """The FIFO that a command writes a byte to when it has left a request in the journal."""

    def __init__(self, state_dir: str, wake: Callable[[], None]) -> None:
        """Make the FIFO and call wake in the loop for each write.

        Where no FIFO can be made (some network file systems), the wake file is looked at every
        ``POLL_SECONDS`` instead.
        """
        self._state_dir, self._wake = state_dir, wake
        self._loop = asyncio.get_running_loop()
        self._descriptor = self._open()
        self._timer: asyncio.TimerHandle | None = None
        if self._descriptor is None:
            self._touched = self._last_touch()
            self._timer = self._loop.call_later(POLL_SECONDS, self._poll)
        else:
            self._loop.add_reader(self._descriptor, self._read)

    def _open(self) -> int | None:
        path = os.path.join(self._state_dir, WAKE_FIFO)
        with suppress(OSError):
            if not stat.S_ISFIFO(os.stat(path, follow_symlinks=False).st_mode):
                os.unlink(path)
        try:
            with suppress(FileExistsError):
                os.mkfifo(path, 0o600)
            # open for writing too, or each command that closes it would be an end of file
            return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None

    def _read(self) -> None:
        assert self._descriptor is not None
        with suppress(BlockingIOError):
            os.read(self._descriptor, 4096)
        self._wake()

    def _last_touch(self) -> int:
        try:
            return os.stat(os.path.join(self._state_dir, WAKE_FILE)).st_mtime_ns
        except OSError:
            return 0

    def _poll(self) -> None:
        before, self._touched = self._touched, self._last_touch()
        if before != self._touched:
            self._wake()
        self._timer = self._loop.call_later(POLL_SECONDS, self._poll)

    def close(self) -> None:
        """Stop listening. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
            with suppress(OSError):
                os.unlink(os.path.join(self._state_dir, WAKE_FIFO))


class MountWatcher:
    """Calls back whenever something is mounted or unmounted in this mount namespace."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """Watch from now on; nothing is called where there is no mountinfo to watch."""
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._epoll: select.epoll | None = None
        try:
            self._mountinfo = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        # mountinfo is always readable, and a change is an exceptional condition: the loop cannot
        # wait for that, but for an epoll that does
        self._epoll = select.epoll()
        self._epoll.register(self._mountinfo, select.EPOLLPRI | select.EPOLLERR)
        self._loop.add_reader(self._epoll.fileno(), self._take)

    def _take(self) -> None:
        assert self._epoll
        # empty the ready list; it may say nothing: the kernel tells of each change once, and has
        # told the loop already, whose epoll asked ours
        self._epoll.poll(0)
        self._changed()

    def close(self) -> None:
        """Stop watching. Idempotent."""
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            os.close(self._mountinfo)
            self._epoll = None

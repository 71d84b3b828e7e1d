"""What rings in the loop: a person's touch of the wake file, and the time.

Guarantees: a touch (a request is waiting in the journal) is heard within ``POLL_SECONDS`` whatever
the state of the inbox and of inotify; where there are events it costs nothing while nobody rings.
However often an alarm is set, it has one timer.
Does not read the request. Errors: none.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from watchconv.host.status_file import WAKE_DIR, WAKE_FILE
from watchconv.intake.wakeup import WakeFileWatcher

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_SECONDS = 1.0


class Bell:
    """Sets ``rung`` at each touch, and once at the start."""

    def __init__(self, state_dir: str) -> None:
        self._folder = os.path.join(state_dir, WAKE_DIR)
        self.rung = asyncio.Event()
        self._alarm = EarliestTimer(self.rung.set)
        loop = asyncio.get_running_loop()
        self._watch = WakeFileWatcher(self._folder, lambda: call(loop, self.rung.set))

    async def run(self) -> None:
        """Listen, for ever: by events, or by looking where there are none."""
        if not await asyncio.to_thread(self._watch.start):
            before = self._touched()
            while True:
                await asyncio.sleep(POLL_SECONDS)
                before, last = self._touched(), before
                if before != last:
                    self.rung.set()
        self.rung.set()  # for what was asked before we listened

    def ring_in(self, seconds: float) -> None:
        """Ring by itself, for what could not be done now."""
        self._alarm.set(seconds)

    def _touched(self) -> int:
        try:
            return os.stat(os.path.join(self._folder, WAKE_FILE)).st_mtime_ns
        except OSError:
            return 0

    async def close(self) -> None:
        """Stop listening."""
        await asyncio.to_thread(self._watch.stop)


class EarliestTimer:
    """Rings once, at the earliest of the times that it was set to since it last rang."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Ring in so many seconds, unless it rings before that anyway."""
        loop = asyncio.get_running_loop()
        at = loop.time() + max(0.0, seconds)
        if self._timer is None or at < self._timer.when():
            self.cancel()
            self._timer = loop.call_at(at, self._go_off)

    def cancel(self) -> None:
        """Do not ring until it is set again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_off(self) -> None:
        self._timer = None
        self._ring()


def call(loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
    """Call into the loop from a foreign thread; after its end nothing happens."""
    try:
        loop.call_soon_threadsafe(ring)
    except RuntimeError:
        return

"""When to look at the inbox: events, due files, the regular look; and what must be well first.

Guarantees: at most one look per ``SPACING_SECONDS`` unless new jobs come of it; no look while a
folder is in trouble, so that a bare mount point is not taken for an empty inbox; after a trouble,
a look at everything.
Does not look itself: ``intake.look`` does, on a thread.
Errors: none leave this room but bugs and ``AlreadyRunning``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING

from watchconv.daemon.bell import call
from watchconv.errors import JournalError
from watchconv.folders import exported_by_nfs, mount_of
from watchconv.intake.watch import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchconv.config import Config
    from watchconv.daemon.trouble import Troubles
    from watchconv.folders import Folders
    from watchconv.intake.look import Intake, Looked

log = logging.getLogger(__name__)

SPACING_SECONDS = 0.25  # while uploads run
BURST_SECONDS = 0.02  # after a look that found new jobs: more of the same drop are on their way
ANSWER_SECONDS = 0.5  # how often a look under way is asked whether it gets on
TROUBLE_SECONDS = 2.0  # how often folders in trouble are looked after
UNREAD_SECONDS = 30.0  # when a folder is looked at again that could not be read
SCAN_LIVE_SECONDS = 900.0
SCAN_POLLING_SECONDS = 30.0


class Looking:
    """The task that looks."""

    def __init__(
        self,
        config: Callable[[], Config],
        folders: Folders,
        intake: Intake,
        troubles: Troubles,
        looked: Callable[[Looked | None], None],
    ) -> None:
        """Take what to look with, and whom to tell what each look did; None: it could not be."""
        self._config, self._folders, self._intake = config, folders, intake
        self._troubles, self._looked = troubles, looked
        loop = asyncio.get_running_loop()
        self._due = asyncio.Event()
        self._watcher = Watcher(config().inbox, lambda: call(loop, self._due.set))
        self._polling = False
        self.healed: Callable[[], None] = lambda: None
        self._all_at = 0.0  # monotonic: when everything is looked at next
        self.first_done = asyncio.Event()
        self.busy = False  # a look, or what comes before it, is under way
        self._turns = 0

    @property
    def steps(self) -> int:
        """Give a number that changes as looks, and what comes before them, get on."""
        return self._turns + self._intake.steps + self._watcher.watched

    async def answer(self) -> None:
        """Return once no look is under way or it has come a step further: none hangs."""
        before = self.steps
        while self.busy and self.steps == before:  # noqa: ASYNC110 (threads count the steps)
            await asyncio.sleep(ANSWER_SECONDS)
        if self._watcher.died():
            self._due.set()

    def look_at_all(self) -> None:
        """Look at everything soon."""
        self._all_at = 0.0
        self._due.set()

    def look_again(self, source: str) -> None:
        """Look at one name soon."""
        with self._watcher.lock:
            self._watcher.hints.add_name(*os.path.split(source))
        self._due.set()

    def _look_below(self, folders: set[str]) -> None:
        with self._watcher.lock:
            self._watcher.hints.trees |= folders
        self._due.set()

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            self._due.clear()
            self.busy = True
            self._turns += 1
            if await self._check_folders():
                await self._check_watcher()
                added = await self._look()
                self.first_done.set()
                await asyncio.sleep(BURST_SECONDS if added else SPACING_SECONDS)
                timeout = self._seconds_to_next()
            else:
                self.busy = False
                self.first_done.set()
                self._looked(None)
                timeout = TROUBLE_SECONDS
            try:
                await asyncio.wait_for(self._due.wait(), timeout)
            except TimeoutError:
                continue

    async def _check_folders(self) -> bool:
        troubles = await asyncio.to_thread(self._folders.troubles)
        if troubles:
            self._troubles.tell("folders", "; ".join(troubles))
            self._all_at = 0.0
            return False
        await asyncio.to_thread(self._folders.lock, self._config().state)
        if self._troubles.end("folders"):
            self.healed()
        return True

    async def _check_watcher(self) -> None:
        """Begin to watch, or begin anew when watching has died."""
        if await asyncio.to_thread(self._watcher.alive):
            return
        problem = await asyncio.to_thread(self._watcher.start)
        mount = mount_of(self._config().inbox)
        self._intake.waiting.local = mount.proves_writers and not exported_by_nfs(
            self._config().inbox
        )
        if problem:
            sentence = f"{problem}; it is looked at from time to time instead"
            self._troubles.tell("events", sentence, blocking=False)
        else:
            self._troubles.end("events")
        if not problem and not mount.has_events:
            log.info(
                "the inbox is on %s (%s), where not every change makes an event: it is looked at"
                " every %.0f s",
                mount.fs_type,
                mount.point,
                self._scan_seconds(polling=True),
            )
        self._polling = bool(problem) or not mount.has_events
        self._all_at = 0.0  # what happened meanwhile was not seen

    async def _look(self) -> int:
        """Look once; return how many jobs that made."""
        everything = time.monotonic() >= self._all_at
        hints = self._watcher.take()
        try:
            looked = await asyncio.to_thread(self._intake.look, None if everything else hints)
        except JournalError as error:
            self._troubles.tell("look", str(error), blocking=False)
            self._all_at = time.monotonic() + TROUBLE_SECONDS
            return 0
        finally:
            self.busy = False
        self._troubles.end("look")
        if everything:
            self._all_at = time.monotonic() + self._scan_seconds(polling=self._polling)
        if self._intake.waiting.overflow:
            soon = time.monotonic() + max(1.0, self._config().settle_seconds)
            self._all_at = min(self._all_at, soon)
        if looked.unread:
            loop = asyncio.get_running_loop()
            loop.call_later(UNREAD_SECONDS, self._look_below, looked.unread)
        self._looked(looked)
        return looked.added

    def _scan_seconds(self, *, polling: bool) -> float:
        if (seconds := self._config().scan_seconds) is not None:
            return seconds
        return SCAN_POLLING_SECONDS if polling else SCAN_LIVE_SECONDS

    def _seconds_to_next(self) -> float:
        due = self._intake.waiting.next_due()
        at = self._all_at if due is None else min(due, self._all_at)
        return max(0.0, at - time.monotonic())

    @property
    def pending(self) -> bool:
        """Tell whether there is something to look at now."""
        return self.busy or self._due.is_set() or bool(self._watcher.hints)

    async def close(self) -> None:
        """Stop watching."""
        await asyncio.to_thread(self._watcher.close)

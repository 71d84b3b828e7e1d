"""When to look at the inbox: events, due files, the regular look; and what must be well first.

Guarantees: at most one look per ``SPACING_SECONDS`` unless new jobs come of it; no look while a
folder is in trouble, so that a bare mount point is not taken for an empty inbox; after a trouble,
a look at everything.
Does not look itself: ``intake.scan`` does, on a thread.
Errors: none leave this room but bugs and ``AlreadyRunning``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import os
import time
from typing import TYPE_CHECKING

from watchconv.daemon.wakeup import EarliestTimer, call
from watchconv.errors import JournalError
from watchconv.host.mounts import exported_by_nfs
from watchconv.intake.filters import NameFilter
from watchconv.intake.scan import ScanResult, ScanRules
from watchconv.intake.settling import SettleSettings
from watchconv.intake.wakeup import MountWatcher
from watchconv.intake.watch import Watcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from watchconv.config import Config
    from watchconv.daemon.trouble import Troubles
    from watchconv.host.folders import Folders
    from watchconv.host.mounts import Mount
    from watchconv.intake.scan import InboxScanner

log = logging.getLogger(__name__)

SPACING_SECONDS = 0.25  # while uploads run
BURST_SECONDS = 0.02  # after a look that found new jobs: more of the same drop are on their way
ANSWER_SECONDS = 0.5  # how often a look under way is asked whether it gets on
TROUBLE_SECONDS = 2.0  # how often folders in trouble are looked after
UNREAD_SECONDS = 30.0  # when a folder is looked at again that could not be read
SCAN_LIVE_SECONDS = 900.0
SCAN_POLLING_SECONDS = 30.0
OVERFLOWED = (
    "events from the inbox were lost, for more came than the kernel keeps: all of it is looked at;"
    " more are kept with sysctl fs.inotify.max_queued_events=131072"
)
_NOT_MOUNTED = (
    "below the inbox, {} is not mounted: what was ordered there waits for it; mount it again, or,"
    " if it is to be without from now on, watchconv check --forget-mounts"
)


class ScanLoop:
    """The task that looks."""

    def __init__(
        self,
        config: Callable[[], Config],
        folders: Folders,
        intake: InboxScanner,
        troubles: Troubles,
        looked: Callable[[ScanResult | None], None],
        on_added: Callable[[], None],
    ) -> None:
        """Take what to look with, and whom to tell what each look did; None: it could not be.

        on_added is called when a look that is under way has queued jobs.
        """
        self._config, self._folders, self._intake = config, folders, intake
        self._troubles, self._looked = troubles, looked
        loop = asyncio.get_running_loop()
        self._on_added = functools.partial(call, loop, on_added)
        self._leases_prove = True  # whether a read lease proves anything on the inbox's mounts
        self.last = ScanResult()
        self._due = asyncio.Event()
        wake = functools.partial(call, loop, self._due.set)
        self._watcher, self._mount_watch = Watcher(config().inbox, wake), MountWatcher(wake)
        self._mounts: list[Mount] = []  # of the inbox, and below it
        self._points: dict[str, str] = {}  # what is remembered of mounts
        self._problem: str | None = None  # why there are no events, or not all
        self.learnt = asyncio.Event()  # set when there are other mounts to be remembered
        self.healed: Callable[[], Awaitable[None]] = _take_note
        self._all_at = 0.0  # monotonic: when everything is looked at next
        self._unread: set[str] = set()  # folders that could not be read
        self._reread = EarliestTimer(self._look_at_unread)
        self.checked = asyncio.Event()  # what is wrong with the folders, if anything, is known
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

    def rescan(self, source: str) -> None:
        """Look at one name soon."""
        self._watcher.add_hint(source)
        self._due.set()

    def _look_at_unread(self) -> None:
        self._watcher.add_trees(self._unread)
        self._unread = set()
        self._due.set()

    async def run(self) -> None:
        """Look, for ever."""
        self._mount_watch.start()  # before the folders are asked about: nothing comes in between
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
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._due.wait()

    async def _check_folders(self) -> bool:
        before = self._folders.state.generation
        state = await asyncio.to_thread(self._folders.check, self._config().state)
        changed = self._troubles.tell_all("folders", list(state.problems))
        if (changed or state.generation != before) and not state.problems:
            await self._welcome()  # it may have been away without anybody having seen it
        if state.problems:
            self._all_at = 0.0
        self.checked.set()
        return not state.problems

    async def _welcome(self) -> None:
        """Let go on what waited for a folder or a mount."""
        with contextlib.suppress(JournalError):
            await self.healed()

    async def _check_watcher(self) -> None:
        """Begin to watch, or anew where watching has died or other mounts are to be watched."""
        mounts = await self._check_mounts()
        alive = await asyncio.to_thread(self._watcher.alive)
        problem = self._watcher.limited
        if not alive or mounts != self._mounts or (problem and time.monotonic() >= self._all_at):
            problem = await asyncio.to_thread(self._watcher.start) or self._watcher.limited
        elif problem == self._problem:
            return
        if mounts != self._mounts:
            self._mounts = mounts
            await asyncio.to_thread(self._examine_mounts)
        self._problem = problem
        if problem and not await asyncio.to_thread(os.path.isdir, self._config().inbox):
            self._due.set()  # it has gone just now, and nobody watches who would say so
        sentences = [f"{problem}; it is looked at from time to time instead"] if problem else []
        self._troubles.tell_all("events", sentences, blocking=False)
        self._all_at = 0.0  # what happened meanwhile was not seen

    async def _check_mounts(self) -> list[Mount]:
        """Ask what is mounted at and below the inbox; tell of what is no longer."""
        mounts = self._folders.inbox_mounts()
        sentences = [_NOT_MOUNTED.format(point) for point in self._folders.missing_below()]
        if self._troubles.tell_all("below", sentences, blocking=False):
            await self._welcome()
        if (points := self._folders.remembered()) != self._points:
            self._points = points
            self.learnt.set()
        return mounts

    def _examine_mounts(self) -> None:
        """Find out what the present mounts can do, and say it."""
        mounts = self._mounts
        roots = [self._config().inbox, *(mount.point for mount in mounts[1:])]
        self._leases_prove = all(mount.proves_writers for mount in mounts) and not any(
            map(exported_by_nfs, roots)
        )
        for mount in mounts:
            if not mount.has_events:
                log.info(
                    "the inbox is on %s (%s), where not every change makes an event: it is looked"
                    " at every %.0f s",
                    mount.fs_type,
                    mount.point,
                    self._scan_seconds(polling=True),
                )

    @property
    def _polling(self) -> bool:
        return bool(self._problem) or not all(mount.has_events for mount in self._mounts)

    async def _look(self) -> int:
        """Look once; return how many jobs that made."""
        everything = time.monotonic() >= self._all_at
        if everything:
            self._all_at = math.inf  # whoever asks for another one from now on is to have it
        hints = self._watcher.take()
        try:
            looked = await asyncio.to_thread(
                self._intake.scan, None if everything else hints, self._rules(), self._on_added
            )
        except JournalError as error:
            self._troubles.tell("look", str(error), blocking=False)
            self._all_at = time.monotonic() + TROUBLE_SECONDS
            return 0
        finally:
            self.busy = False
        self.last = looked
        self._troubles.end("look")
        self._tell_of_lost_events(everything=everything)
        if everything:
            regular = time.monotonic() + self._scan_seconds(polling=self._polling)
            self._all_at = min(self._all_at, regular)
        if looked.overflow:
            soon = time.monotonic() + max(1.0, self._config().settle_seconds)
            self._all_at = min(self._all_at, soon)
        if looked.unread:
            self._unread |= looked.unread
            self._reread.set(UNREAD_SECONDS)
        self._looked(looked)
        return looked.added

    def _tell_of_lost_events(self, *, everything: bool) -> None:
        """Say once that there was more than the kernel's queue holds, and once that it is over."""
        if self._watcher.overflowed.is_set():
            self._watcher.overflowed.clear()
            self._troubles.tell("overflow", OVERFLOWED, blocking=False)
            self.look_at_all()
        elif everything:
            self._troubles.end("overflow")

    def _rules(self) -> ScanRules:
        config = self._config()
        return ScanRules(
            NameFilter(config.extensions, config.ignore),
            SettleSettings(
                config.settle_seconds,
                config.settle_network_seconds,
                config.incomplete_after_seconds,
            ),
            self._leases_prove,
            config.all_profiles,
            config.profile,
        )

    def _scan_seconds(self, *, polling: bool) -> float:
        if (seconds := self._config().scan_seconds) is not None:
            return seconds
        return SCAN_POLLING_SECONDS if polling else SCAN_LIVE_SECONDS

    def _seconds_to_next(self) -> float:
        due = self.last.next_due
        at = self._all_at if due is None else min(due, self._all_at)
        return max(0.0, at - time.monotonic())

    @property
    def pending(self) -> bool:
        """Tell whether there is something to look at now."""
        return self.busy or self._due.is_set() or self._watcher.has_hints

    async def close(self) -> None:
        """Stop watching."""
        self._mount_watch.stop()
        await asyncio.to_thread(self._watcher.close)


async def _take_note() -> None:
    """Do nothing about it."""

"""When the inbox is scanned: on events, for files that are due, regularly; and what comes first.

At most one scan per ``SPACING_SECONDS`` unless new jobs come of it. None while a folder is in
trouble, so that a bare mount point is not taken for an empty inbox; after a trouble everything is
scanned. The folders' check, the watcher's and the scan are one call on one thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from watchconv.daemon.context import call_soon_from_thread, wait_at_most
from watchconv.errors import EnvironmentTrouble, JournalError
from watchconv.host.mounts import exported_by_nfs
from watchconv.host.threads import in_thread
from watchconv.intake.filters import NameFilter
from watchconv.intake.scan import ScanResult, ScanRules
from watchconv.intake.settling import SettleSettings
from watchconv.journal.jobs import Journal
from watchconv.model import Trouble, WaitReason

if TYPE_CHECKING:
    from watchconv.config import Config
    from watchconv.daemon.context import Context
    from watchconv.daemon.dispatcher import Dispatcher
    from watchconv.host.folders import FolderState
    from watchconv.host.mounts import Mount
    from watchconv.intake.scan import InboxScanner

log = logging.getLogger(__name__)

SPACING_SECONDS = 0.25  # while uploads run
BURST_SECONDS = 0.02  # after a scan that found new jobs: more of the same drop are on their way
ANSWER_SECONDS = 0.5  # how often a scan under way is asked whether it gets on
TROUBLE_SECONDS = 2.0  # how often folders in trouble are checked
UNREAD_SECONDS = 30.0  # when a folder is scanned again that could not be read
SCAN_LIVE_SECONDS = 900.0
SCAN_POLLING_SECONDS = 30.0
_OVERFLOWED = (
    "events from the inbox were lost, for more came than the kernel keeps: all of it is scanned;"
    " more are kept with sysctl fs.inotify.max_queued_events=131072"
)
_NOT_MOUNTED = (
    "below the inbox, {} is not mounted: what was ordered there waits for it; mount it again, or,"
    " if it is to be without from now on, watchconv check --forget-mounts"
)


@dataclass(frozen=True, slots=True)
class _Round:
    """What one round on the thread found."""

    state: FolderState
    mounts: tuple[Mount, ...] = ()  # of the inbox, and below it
    leases_prove: bool = True
    missing: tuple[str, ...] = ()  # mount points below the inbox whose mounts are gone
    no_events: str | None = None  # why there are no events, or not all
    everything: bool = False  # all of the inbox was scanned
    result: ScanResult | None = None  # None: a folder is in trouble

    @property
    def folders(self) -> tuple[object, ...]:
        """What is known of folders and mounts, to be compared."""
        return self.state, self.mounts, self.missing


class ScanLoop:
    """The task that scans."""

    def __init__(self, context: Context, scanner: InboxScanner, dispatcher: Dispatcher) -> None:
        self._context, self._request = context, context.request
        self._folders, self._troubles = context.folders, context.troubles
        self._scanner, self._dispatcher = scanner, dispatcher
        self._announce_added = functools.partial(
            call_soon_from_thread,
            asyncio.get_running_loop(),
            functools.partial(context.signals.changed, work=True),
        )
        self._last = _Round(context.folders.state)
        self._everything_at = 0.0  # monotonic: when all of the inbox is scanned next
        self._unread: set[str] = set()  # folders that could not be read …
        self._unread_at = math.inf  # … and when they are scanned again
        self._turns = 0
        self.busy = False  # a round is under way
        self.checked = asyncio.Event()  # what is wrong with the folders, if anything, is known
        self.first_done = asyncio.Event()
        self.result = ScanResult()  # of the last scan

    @property
    def steps(self) -> int:
        """A number that changes as rounds get on."""
        return self._turns + self._scanner.steps + self._request.watcher.watched

    async def answer(self) -> None:
        """Return once no round is under way or it has come a step further: none hangs."""
        before = self.steps
        while self.busy and self.steps == before:  # noqa: ASYNC110 (threads count the steps)
            await asyncio.sleep(ANSWER_SECONDS)
        if self._request.watcher.died():
            self._request.due.set()

    @property
    def pending(self) -> bool:
        """Whether there is something to scan now."""
        request = self._request
        return self.busy or request.due.is_set() or request.watcher.has_hints

    async def run(self) -> None:
        """Scan, for ever."""
        request, config = self._request, self._context.config
        await self._take_folders(_Round(await in_thread(self._folders.check, config.now.state)))
        self.checked.set()
        while True:
            request.due.clear()
            self.busy = True
            self._turns += 1
            everything = request.everything.is_set() or time.monotonic() >= self._everything_at
            request.everything.clear()
            pause = SPACING_SECONDS
            try:
                found = await in_thread(self._scan_round, config.now, everything)
            except (EnvironmentTrouble, JournalError) as error:
                self._troubles.report(Trouble.SCAN, str(error), blocks=False)
                self._everything_at = time.monotonic() + TROUBLE_SECONDS
            else:
                if found.folders != self._last.folders:
                    await self._take_folders(found)
                self._last = found
                if found.result is None:
                    self._everything_at = time.monotonic() + TROUBLE_SECONDS
                else:
                    self._take_scan(found, found.result)
                    if found.result.added:
                        pause = BURST_SECONDS
            self.busy = False
            self.first_done.set()
            self._context.signals.changed()
            await asyncio.sleep(pause)
            now = time.monotonic()
            if now >= self._unread_at:
                request.watcher.add_trees(self._unread)
                self._unread, self._unread_at = set(), math.inf
            else:
                due = min(self.result.next_due or math.inf, self._everything_at, self._unread_at)
                await wait_at_most(request.due, max(0.0, due - now))

    def _scan_round(self, config: Config, everything: bool) -> _Round:
        """Check the folders and the watcher, then scan; on a thread."""
        last, watcher = self._last, self._request.watcher
        state = self._folders.check(config.state)
        if state.problems:
            return _Round(state)
        mounts, missing = last.mounts, last.missing
        leases_prove, no_events = last.leases_prove, watcher.limited
        if state is not last.state:
            mounts = tuple(self._folders.inbox_mounts())
            missing = tuple(self._folders.missing_below())
        if mounts != last.mounts:
            leases_prove = _examine_mounts(config, mounts)
        begin = not watcher.alive() or mounts != last.mounts or (everything and bool(no_events))
        if begin:
            no_events = watcher.start() or watcher.limited
            if no_events and (state := self._folders.check(config.state)).problems:
                return _Round(state)  # it has gone just now, and nobody watches who would say so
        before = (last.no_events, last.missing, last.state)
        # what happened while that was different was not seen
        everything |= begin or (no_events, missing, state) != before
        rules = ScanRules(
            _name_filter(config.extensions, config.ignore),
            SettleSettings(
                config.settle_seconds,
                config.settle_network_seconds,
                config.incomplete_after_seconds,
                leases_prove,
            ),
            profiles=config.all_profiles,
            profile=config.profile,
        )
        hints = watcher.take()
        result = self._scanner.scan(None if everything else hints, rules, self._announce_added)
        return _Round(state, mounts, leases_prove, missing, no_events, everything, result)

    async def _take_folders(self, found: _Round) -> None:
        """Report what is wrong with the folders and mounts; let go on what waited for one."""
        journal, signals = self._context.journal, self._context.signals
        over = self._troubles.report_all(Trouble.FOLDERS, found.state.problems, blocks=True)
        if found.state.problems:
            return
        sentences = [_NOT_MOUNTED.format(point) for point in found.missing]
        over |= self._troubles.report_all(Trouble.MOUNT_BELOW, sentences, blocks=False)
        if over or found.state.generation != self._last.state.generation:
            with contextlib.suppress(JournalError):  # else it goes on when its time has come
                await journal.ask(Journal.release_delayed, WaitReason.UNMOUNTED)
            signals.retry_deliveries.set()
            signals.changed(work=True)
        signals.mounts_learnt.set()

    def _take_scan(self, found: _Round, result: ScanResult) -> None:
        """Take what a scan found."""
        config, now = self._context.config.now, time.monotonic()
        self._troubles.clear(Trouble.SCAN)
        if found.no_events or self._troubles.has(Trouble.EVENTS):
            words = f"{found.no_events}; it is scanned from time to time instead"
            sentences = [words] if found.no_events else []
            self._troubles.report_all(Trouble.EVENTS, sentences, blocks=False)
        overflowed = self._request.watcher.overflowed
        if overflowed.is_set():
            overflowed.clear()
            self._troubles.report(Trouble.OVERFLOW, _OVERFLOWED, blocks=False)
            self._request.scan_everything()
        elif found.everything:
            self._troubles.clear(Trouble.OVERFLOW)
        if found.everything:
            polls = found.no_events or not all(mount.has_events for mount in found.mounts)
            regular = SCAN_POLLING_SECONDS if polls else SCAN_LIVE_SECONDS
            self._everything_at = now + (config.scan_seconds or regular)
        if result.overflow:
            soon = now + max(1.0, config.settle_seconds)
            self._everything_at = min(self._everything_at, soon)
        if result.unread:
            self._unread |= result.unread
            self._unread_at = min(self._unread_at, now + UNREAD_SECONDS)
        self.result = result
        if result.taken_away or result.first_seen:
            self._dispatcher.take_scan(result)

    async def close(self) -> None:
        """Stop watching."""
        await in_thread(self._request.watcher.close)


_name_filter = functools.lru_cache(maxsize=1)(NameFilter)  # its patterns are compiled once


def _examine_mounts(config: Config, mounts: tuple[Mount, ...]) -> bool:
    """Say where the inbox must be polled; return whether a read lease proves that nobody writes."""
    for mount in mounts:
        if not mount.has_events:
            log.info(
                "the inbox is on %s (%s), where not every change makes an event: it is scanned"
                " every %.0f s",
                mount.fs_type,
                mount.point,
                config.scan_seconds or SCAN_POLLING_SECONDS,
            )
    roots = (config.inbox, *(mount.point for mount in mounts[1:]))
    return all(mount.proves_writers for mount in mounts) and not any(map(exported_by_nfs, roots))

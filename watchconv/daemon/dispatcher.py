"""The dispatcher: acquire a slot, claim a job, start a worker.

A slot is the right to have an encode alive; a worker gives it back when its encode has ended, and
proves and delivers without one. The journal is the queue: no list of jobs is kept here. While
nothing may be claimed the dispatcher sleeps, woken by one event and at most one timer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, NamedTuple

from watchconv.config.keys import usable_cpus
from watchconv.daemon.context import all_ended, wait_at_most
from watchconv.daemon.worker import Attempt
from watchconv.errors import EnvironmentTrouble, JournalError
from watchconv.host.machine import processor_pressure
from watchconv.host.threads import in_thread
from watchconv.intake.filters import names_in_error
from watchconv.journal import requests
from watchconv.logs.format import log_job
from watchconv.model import JobState, Trouble
from watchconv.views import show_bytes

if TYPE_CHECKING:
    from collections.abc import Collection

    from watchconv.daemon.context import Context
    from watchconv.daemon.worker import Worker
    from watchconv.encode.engine import Running
    from watchconv.intake.scan import ScanResult
    from watchconv.journal.jobs import Journal
    from watchconv.model import Job

log = logging.getLogger(__name__)

SPACE_SECONDS = 5.0  # how often a full disk is looked at again
ENOUGH_SECONDS = 1.0  # how long it counts that there was enough space
JOURNAL_SECONDS = 5.0
BUSY_PRESSURE = 0.5  # below it VP8's threads, which spin, hold each other up little
CLOCK_SECONDS = 60.0  # the clock may be set while the next job waits for its time
STOP_SECONDS = 10.0  # what is left to a child that was told to end, before we go without it


class Dispatcher:
    """Claims jobs and starts their workers."""

    def __init__(self, context: Context, worker: Worker) -> None:
        self._context, self._worker = context, worker
        self._troubles, self._signals = context.troubles, context.signals
        self._slots = self._taken = 0
        self._slot_changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._enough_until = 0.0  # monotonic
        self._closing = self._sleeps = False
        self._turns = 0  # grows each time that it looks for a job
        self.attempts: dict[int, Attempt] = {}  # under way, by job
        self.paused = False

    def resize(self, jobs: int) -> None:
        """Let so many encodes run at once, from now on; none that runs is ended for it."""
        capacity = self._worker.engine.capacity()
        self._slots = jobs if capacity is None else min(jobs, capacity)
        self._slot_changed.set()

    def set_paused(self, paused: bool) -> None:
        """Claim no more jobs, or go on."""
        if self.paused != paused:
            log.info("paused: no new job is claimed" if paused else "resumed")
        self.paused = paused
        self._signals.changed(work=True)

    def take_scan(self, result: ScanResult) -> None:
        """End the attempts whose originals are gone, and have the probe ready for a new file."""
        for job_id in result.taken_away:
            if attempt := self.attempts.get(job_id):
                attempt.stop(kill=True)
        if result.first_seen and not self.paused:
            self._worker.probe.warm()

    async def run(self) -> None:
        """Acquire, claim, start, for ever."""
        while True:
            while self._taken >= self._slots:
                self._slot_changed.clear()
                await self._slot_changed.wait()
            claimed = await self._claim()
            self._taken += 1
            config = self._context.config.now
            parallel = max(1, min(round(1 + claimed.company), config.jobs))
            if parallel == 1 and processor_pressure() > BUSY_PRESSURE:
                parallel = usable_cpus()  # others have the processors: one thread is the fastest
            self._start(Attempt(claimed.job, config, self._release, parallel, claimed.old_reports))

    def adopt(self, job: Job, running: Running) -> None:
        """Take over an attempt that lives on from before a restart."""
        self._taken += 1
        self._start(Attempt(job, self._context.config.now, self._release, running=running))

    def _release(self) -> None:
        self._taken -= 1
        self._slot_changed.set()

    def _start(self, attempt: Attempt) -> None:
        job = attempt.job
        self.attempts[job.id] = attempt
        task = asyncio.create_task(self._worker.run(attempt), name=f"job {job.id}")
        self._tasks.add(task)

        def end(task: asyncio.Task[None]) -> None:
            """Forget the attempt, and give its slot back if it has it still."""
            self._tasks.discard(task)
            del self.attempts[job.id]
            attempt.release_slot()
            self._signals.changed()
            error = None if task.cancelled() else task.exception()
            if isinstance(error, JournalError):
                words = "stays running: the next start takes it up"
                log_job(log, job, words, level=logging.WARNING)
            elif error:
                self._signals.report_bug(error)

        task.add_done_callback(end)
        self._signals.changed()

    async def _claim(self) -> _Claimed:
        """Wait until a job may be claimed, and claim it."""
        config, troubles = self._context.config, self._troubles
        while True:
            self._signals.work.clear()
            self._turns += 1
            seconds = troubles.blocked_seconds()
            if self.paused or self._closing:
                seconds = None
            elif seconds == 0 and not await self._has_space():
                seconds = SPACE_SECONDS
            elif seconds == 0:
                try:
                    profiles = config.now.all_profiles
                    found = await self._context.journal.ask(_claim_now, time.time(), profiles)
                except JournalError as error:
                    seconds = JOURNAL_SECONDS
                    troubles.report(Trouble.JOURNAL, str(error), retry_seconds=seconds)
                else:
                    troubles.clear(Trouble.JOURNAL)
                    if isinstance(found, _Claimed):
                        return found
                    if found is None:
                        seconds = None
                    else:
                        seconds = max(0.0, min(found - time.time(), CLOCK_SECONDS))
            self._sleeps = True
            await wait_at_most(self._signals.work, seconds)
            self._sleeps = False

    async def _has_space(self) -> bool:
        least, outbox = self._context.config.now.min_free, self._context.folders.outbox
        if least and time.monotonic() >= self._enough_until:
            try:
                free = await in_thread(self._context.folders.free_bytes)
            except (OSError, EnvironmentTrouble):
                return True  # the folders' own check says it better
            if free < least:
                sentence = (
                    f"less than min_free ({show_bytes(least)}) is free in the outbox {outbox}:"
                    " no new job starts until there is room"
                )
                self._troubles.report(Trouble.SPACE, sentence, blocks=False)
                return False
            self._enough_until = time.monotonic() + ENOUGH_SECONDS
        self._troubles.clear(Trouble.SPACE)
        return True

    async def answer(self) -> None:
        """Return once it has looked for a job again; at once where every slot is taken."""
        before = self._turns
        self._signals.work.set()
        while self._sleeps and self._turns == before:  # noqa: ASYNC110 (it is a turn or two)
            await asyncio.sleep(0)

    async def close(self, grace_seconds: float) -> bool:
        """Stop claiming, and end the attempts: the grace, then TERM, then KILL.

        With ``force_exit`` they are killed at once. Bounded: what even then does not end, such as
        a read from a dead disk, is left to the next start. Returns whether all have ended.
        """
        self._closing = True
        force_exit = self._signals.force_exit
        if await all_ended(self._encoding(), grace_seconds, force_exit):
            return True
        self._stop_all(kill=force_exit.is_set())
        if not await all_ended(self._encoding(), STOP_SECONDS, force_exit):
            self._stop_all(kill=True)
            if left := self._encoding():
                await asyncio.wait(left, timeout=STOP_SECONDS)
        return not self._encoding()

    def _encoding(self) -> set[asyncio.Task[None]]:
        """Return the tasks that do not deliver yet; deliveries are waited for apart."""
        return self._tasks - set(self._worker.deliveries.tasks.values())

    def _stop_all(self, *, kill: bool) -> None:
        for attempt in self.attempts.values():
            attempt.stop(kill=kill)


class _Claimed(NamedTuple):
    """A claimed job, and what was asked in the same go."""

    job: Job
    company: float  # how many others are encoded beside it, on an average over its own encode
    old_reports: list[str]  # names in error/ that earlier files of this name failed under


def _claim_now(journal: Journal, now: float, profiles: Collection[str]) -> _Claimed | float | None:
    """Claim on the journal's thread, or return when the next job may be; None: none is queued."""
    job = journal.claim(now)
    if job is None:
        return journal.next_ready_at()
    old_reports = []
    if journal.counts()[JobState.FAILED]:
        old_reports = requests.failed_as(journal, names_in_error(job.source, profiles))
    return _Claimed(job, journal.company(job), old_reports)

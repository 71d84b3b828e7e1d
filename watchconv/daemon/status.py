"""What the daemon does now, for those who look: the status file, systemd's line, a display.

Published when something changes and, while jobs run, as they move, once a second at most. What is
published already is not written again, so an idle daemon writes nothing.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Protocol

from watchconv.daemon.context import wait_at_most
from watchconv.daemon.systemd import is_wanted, notify
from watchconv.errors import EnvironmentTrouble, JournalError
from watchconv.host import status_file
from watchconv.host.threads import in_thread
from watchconv.journal.jobs import Journal
from watchconv.model import JobState, Trouble
from watchconv.names import printable
from watchconv.views import RunningJob, Status, WaitingFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from watchconv.daemon.context import Context
    from watchconv.daemon.dispatcher import Dispatcher
    from watchconv.daemon.scan_loop import ScanLoop
    from watchconv.daemon.worker import Attempt

PUBLISH_SECONDS = 1.0
GATHER_SECONDS = 0.25
CHECK_SECONDS = 3.0
STATUS_LENGTH = 1000  # systemd drops what is longer than 4096 bytes altogether


class Display(Protocol):
    """Who shows the present on a terminal."""

    def present(self, now: Status) -> None:
        """Show what is running and how far it is; called about once a second while jobs run."""
        ...


class StatusPublisher:
    """Publishes what the daemon does now."""

    def __init__(
        self,
        context: Context,
        dispatcher: Dispatcher,
        scan_loop: ScanLoop,
        display: Display | None,
    ) -> None:
        self._context, self._dispatcher, self._scan_loop = context, dispatcher, scan_loop
        self._display = display
        self._state_dir = context.config.now.state
        self._written: Status | None = None
        self._line = ""

    async def run(self) -> None:
        """Publish, for ever."""
        changed = self._context.signals.status
        # until the folders are checked it would say "running"; a dead mount may hold that up
        await wait_at_most(self._scan_loop.checked, CHECK_SECONDS)
        changed.set()  # that we are there is news
        while True:
            if not self._dispatcher.attempts:
                await changed.wait()
                await asyncio.sleep(GATHER_SECONDS)  # more changes come with the first
            changed.clear()
            now = self._now()
            if now != self._written:
                await self._write(now)
            if self._display:
                self._display.present(now)
            if is_wanted():
                await self._notify(now)
            await asyncio.sleep(PUBLISH_SECONDS)

    async def _write(self, now: Status) -> None:
        troubles = self._context.troubles
        try:
            await in_thread(status_file.write, self._state_dir, now)
        except (OSError, EnvironmentTrouble) as error:
            why = getattr(error, "strerror", None) or error
            sentence = f"the status cannot be written to {self._state_dir}: {why}"
            troubles.report(Trouble.STATUS, sentence, blocks=False)
        else:
            self._written = now
            troubles.clear(Trouble.STATUS)

    async def _notify(self, now: Status) -> None:
        try:
            line = status_line(now, await self._context.journal.ask(Journal.counts))
        except JournalError as error:
            line = f"trouble: {error}"
        if line != self._line:
            self._line = line
            notify(f"STATUS={printable(line)[:STATUS_LENGTH]}")

    def _now(self) -> Status:
        troubles, scanned = self._context.troubles, self._scan_loop.result
        state = "paused" if self._dispatcher.paused else "running"
        return Status(
            pid=os.getpid(),
            started=status_file.start_of(os.getpid()) or 0,
            state="trouble" if troubles.degraded or troubles.has(Trouble.SPACE) else state,
            waiting=scanned.pending,
            ignored=scanned.ignored,
            waiting_files=[
                WaitingFile(file.source, file.reason, file.why, file.since)
                for file in scanned.longest
            ],
            running=[_row(attempt) for attempt in self._dispatcher.attempts.values()],
            trouble=troubles.sentences,
        )


def _row(attempt: Attempt) -> RunningJob:
    row = RunningJob(attempt.job.id, attempt.job.source, attempt.job.profile)
    progress = attempt.running.progress() if attempt.running else None
    if progress:
        row.progress, row.speed, row.fps = progress.fraction, progress.speed, progress.fps
        row.eta_seconds, row.out_seconds = progress.eta_seconds, progress.out_seconds
    return row


def status_line(now: Status, counts: Mapping[JobState, int]) -> str:
    """Return the present in one line, as ``systemctl status`` shows it."""
    known = [row.progress for row in now.running if row.progress is not None]
    shares = [f"{100 * progress:.0f} %" for progress in known]
    shown = f" ({', '.join(shares)})" if shares else ""
    words = [f"{len(now.running)} running{shown}", f"{counts[JobState.QUEUED]} queued"]
    for number, word in (
        (now.waiting, "waiting"),
        (counts[JobState.DELIVERING], "delivering"),
        (counts[JobState.FAILED], "failed"),
    ):
        if number:
            words.append(f"{number} {word}")
    line = ", ".join(words)
    if now.state == "trouble" and now.trouble:
        return f"trouble: {'; '.join(now.trouble)} ({line})"
    return f"paused: {line}" if now.state == "paused" else line

"""The present, for those who look: the live file, systemd's status line, a listener.

Guarantees: shown when something changes and, while jobs run, as they move, once a second at
most; what is shown already is not written again, so an idle daemon writes nothing.
Does not know the history: the journal does. Errors: a live file that cannot be written is trouble.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Protocol

from watchconv.daemon.systemd import is_wanted, notify
from watchconv.errors import JournalError
from watchconv.host import status_file as live
from watchconv.journal.jobs import Journal
from watchconv.model import JobState
from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from watchconv.daemon.scan_loop import ScanLoop
    from watchconv.daemon.trouble import Troubles
    from watchconv.daemon.worker import Pool
    from watchconv.encode.engine import Engine
    from watchconv.journal.thread import JournalThread
    from watchconv.model import Job, Progress

SHOW_SECONDS = 1.0
STATUS_LENGTH = 1000  # systemd drops what is longer than 4096 bytes altogether


class Listener(Protocol):
    """Who hears of state changes and of the present."""

    def job_changed(self, job: Job) -> None:
        """Hear of a job whose state has changed: of each change, in their order."""
        ...

    def present(self, now: live.Status) -> None:
        """Hear what is running and how far it is; about once a second while jobs run."""
        ...


class StatusPublisher:
    """Shows what the daemon does now."""

    def __init__(
        self,
        state_dir: str,
        engine: Engine,
        pool: Pool,
        looking: ScanLoop,
        troubles: Troubles,
        journal: JournalThread,
        listener: Listener | None,
    ) -> None:
        """Take where the present is to be read from, and who else wants to hear it."""
        self._state_dir, self._engine, self._pool = state_dir, engine, pool
        self._looking, self._troubles, self._listener = looking, troubles, listener
        self._journal = journal
        self._written: live.Status | None = None
        self._told = ""
        self.changed = asyncio.Event()
        self.changed.set()  # that we are there is news

    async def run(self) -> None:
        """Show it, for ever."""
        while True:
            if not self._pool.running:
                await self.changed.wait()
            self.changed.clear()
            now = self._now()
            if now != self._written:
                await self._write(now)
            if self._listener:
                self._listener.present(now)
            if is_wanted():
                await self._tell_status(now)
            await asyncio.sleep(SHOW_SECONDS)

    async def _write(self, now: live.Status) -> None:
        try:
            await asyncio.to_thread(live.write, self._state_dir, now)
        except OSError as error:
            sentence = f"the status cannot be written to {self._state_dir}: {error.strerror}"
            self._troubles.tell("live", sentence, blocking=False)
        else:
            self._written = now
            self._troubles.end("live")

    async def _tell_status(self, now: live.Status) -> None:
        try:
            line = status_line(now, await self._journal.ask(Journal.counts))
        except JournalError as error:
            line = f"trouble: {error}"
        if line != self._told:
            self._told = line
            notify(f"STATUS={printable(line)[:STATUS_LENGTH]}")

    def _now(self) -> live.Status:
        progress = self._engine.progress()
        state = "paused" if self._pool.claims.paused else "running"
        return live.Status(
            pid=os.getpid(),
            started=live.start_of(os.getpid()) or 0,
            state="trouble" if self._troubles.serious or self._troubles.tells("space") else state,
            waiting=self._looking.last.pending,
            ignored=self._looking.last.ignored,
            running=[_running(job, progress.get(job.id)) for job in self._pool.running.values()],
            trouble=self._troubles.sentences,
        )


def _running(job: Job, progress: Progress | None) -> live.Running:
    row = live.Running(job.id, job.source, job.profile)
    if progress:
        row.progress, row.speed, row.fps = progress.fraction, progress.speed, progress.fps
        row.eta_seconds, row.out_seconds = progress.eta_seconds, progress.out_seconds
    return row


def status_line(now: live.Status, counts: Mapping[JobState, int]) -> str:
    """Say the present in one line, as ``systemctl status`` shows it."""
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

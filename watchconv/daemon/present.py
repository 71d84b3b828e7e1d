"""The present, for those who look: the live file, systemd's status line, a listener.

Guarantees: shown when something changes and, while jobs run, as they move, once a second at
most; an idle daemon writes nothing.
Does not know the history: the journal does. Errors: a live file that cannot be written is trouble.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from watchconv import live
from watchconv.notify import notify

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchconv.convert.engine import Engine
    from watchconv.daemon.pool import Pool
    from watchconv.daemon.trouble import Troubles
    from watchconv.intake.look import Intake
    from watchconv.model import Job, Progress

SHOW_SECONDS = 1.0


class Present:
    """Shows what the daemon does now."""

    def __init__(
        self,
        state_dir: str,
        engine: Engine,
        pool: Pool,
        intake: Intake,
        troubles: Troubles,
        hear: Callable[[live.Live], None] | None,
    ) -> None:
        """Take where the present is to be read from, and who else wants to hear it."""
        self._state_dir, self._engine, self._pool = state_dir, engine, pool
        self._intake, self._troubles, self._hear = intake, troubles, hear
        self.changed = asyncio.Event()
        self.changed.set()  # that we are there is news

    async def run(self) -> None:
        """Show it, for ever."""
        while True:
            if not self._pool.running:
                await self.changed.wait()
            self.changed.clear()
            now = self._now()
            try:
                await asyncio.to_thread(live.write, self._state_dir, now)
            except OSError as error:
                sentence = f"the status cannot be written to {self._state_dir}: {error.strerror}"
                self._troubles.tell("live", sentence, blocking=False)
            else:
                self._troubles.end("live")
            if self._hear:
                self._hear(now)
            notify(f"STATUS={_status_line(now)}")
            await asyncio.sleep(SHOW_SECONDS)

    def _now(self) -> live.Live:
        progress = self._engine.progress()
        state = "paused" if self._pool.paused else "running"
        return live.Live(
            pid=os.getpid(),
            started=live.start_of(os.getpid()) or 0,
            state="trouble" if self._troubles.serious or self._troubles.tells("space") else state,
            waiting=len(self._intake.waiting),
            ignored=len(self._intake.ignored),
            running=[_running(job, progress.get(job.id)) for job in self._pool.running.values()],
            trouble=self._troubles.sentences,
        )


def _running(job: Job, progress: Progress | None) -> live.Running:
    row = live.Running(job.id, job.source, job.profile)
    if progress:
        row.progress, row.speed, row.fps = progress.fraction, progress.speed, progress.fps
        row.eta_seconds, row.out_seconds = progress.eta_seconds, progress.out_seconds
    return row


def _status_line(now: live.Live) -> str:
    """Say the present in one line, as ``systemctl status`` shows it."""
    if now.trouble and now.state == "trouble":
        return now.trouble[0]
    shares = [f"{row.progress:.0%}" for row in now.running if row.progress is not None]
    shown = f" ({', '.join(shares)})" if shares else ""
    return f"{now.state}: {len(now.running)} running{shown}, {now.waiting} waiting"

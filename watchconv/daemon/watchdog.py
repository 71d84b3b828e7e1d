"""Tell systemd that we are ready, and from time to time that nothing hangs.

Guarantees: READY only after recovery and the first look, however long that takes while it gets
on; a ping only when watcher, journal and workers have each answered since the last one. A look
that a dead mount holds, or a loop that is stuck, stops the pings; a long encode, copy or look does
not, and a trouble that is known is an answer.
Does not heal: systemd ends a daemon that no longer pings, and the next start takes it all up.
Errors: none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from watchconv.daemon.systemd import notify, watchdog_seconds
from watchconv.errors import JournalError
from watchconv.journal.jobs import PAUSED, Journal

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from watchconv.daemon.scan_loop import ScanLoop
    from watchconv.daemon.worker import Pool
    from watchconv.journal.thread import JournalThread

log = logging.getLogger(__name__)

START_SECONDS = 10.0  # how often a long first look says that it gets on


class Watchdog:
    """The daemon's word to systemd."""

    def __init__(self, looking: ScanLoop, journal: JournalThread, pool: Pool) -> None:
        self._looking, self._journal, self._pool = looking, journal, pool

    async def run(self) -> None:
        """Tell that we are ready, then ping for ever, where pings are wanted."""
        await self._start()
        notify("READY=1")
        period = watchdog_seconds()
        while period:
            if await self._all_answer(period / 2):
                notify("WATCHDOG=1")
                await asyncio.sleep(period / 2)

    async def _start(self) -> None:
        """Wait for the first look; have the start take longer while it gets on."""
        while not self._looking.first_done.is_set():
            before = self._looking.steps
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(START_SECONDS):
                    await self._looking.first_done.wait()
            if self._looking.steps != before:
                notify(f"EXTEND_TIMEOUT_USEC={int(3 * START_SECONDS * 1e6)}")

    async def _all_answer(self, seconds: float) -> bool:
        parts: dict[str, Awaitable[None]] = {
            "the look at the inbox": self._looking.answer(),
            "the journal": self._ask_journal(),
            "the pool of workers": self._pool.answer(),
        }
        asked = {name: asyncio.ensure_future(part) for name, part in parts.items()}
        try:
            await asyncio.wait(asked.values(), timeout=seconds)
            hung = [name for name, answer in asked.items() if not answer.done()]
        finally:
            for answer in asked.values():
                answer.cancel()
        if hung:
            log.error("%s: no answer for %g s; systemd is not pinged", ", ".join(hung), seconds)
        return not hung

    async def _ask_journal(self) -> None:
        with contextlib.suppress(JournalError):
            await self._journal.ask(Journal.setting, PAUSED)

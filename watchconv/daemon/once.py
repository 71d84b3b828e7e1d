"""``run --once``: is the inbox worked off, or can nothing more be done?

Does not end the daemon: who awaits ``finished`` does. Errors: ``JournalError``.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from watchconv.journal.jobs import Journal
from watchconv.model import JobState
from watchconv.names import printable

if TYPE_CHECKING:
    from watchconv.daemon.deliveries import Deliveries
    from watchconv.daemon.scan_loop import ScanLoop
    from watchconv.daemon.trouble import Troubles
    from watchconv.daemon.worker import Pool
    from watchconv.journal.thread import JournalThread

log = logging.getLogger(__name__)


class Once:
    """Watches for the end of a ``run --once``."""

    def __init__(
        self,
        looking: ScanLoop,
        pool: Pool,
        deliveries: Deliveries,
        troubles: Troubles,
        journal: JournalThread,
    ) -> None:
        self._looking, self._pool = looking, pool
        self._deliveries, self._troubles, self._journal = deliveries, troubles, journal
        self.moved = asyncio.Event()  # to be set when anything has changed
        self.failed = 0
        self.stuck = False  # jobs were left that could not be done, or not in time

    async def finished(self) -> None:
        """Wait for the end, and name what is left in the inbox."""
        await self._looking.first_done.wait()
        while not await self._is_done():
            await self.moved.wait()
            self.moved.clear()
        for source, lacks in self._looking.last.incomplete.items():
            log.warning("left in the inbox, for it is not whole: %s: %s", printable(source), lacks)

    async def _is_done(self) -> bool:
        if self._looking.pending or self._pool.running or self._deliveries.under_way:
            return False
        if self._troubles.tells("folders"):
            return True
        counts = await self._journal.ask(Journal.counts)
        queued = counts[JobState.QUEUED]
        if queued and not self._pool.running and self._troubles.tells("space"):
            return True
        if queued and not self._pool.running and self._pool.claims.paused:
            log.warning("paused with %d jobs queued; watchconv resume lets them go on", queued)
            self.stuck = True
            return True
        left = queued + counts[JobState.RUNNING] + counts[JobState.DELIVERING]
        last = self._looking.last
        return left <= self._deliveries.stuck and last.pending <= len(last.incomplete)

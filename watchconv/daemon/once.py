"""``run --once``: is the inbox worked off, or can nothing more be done?"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from watchconv.journal.jobs import Journal
from watchconv.model import JobState, Trouble
from watchconv.names import printable

if TYPE_CHECKING:
    from watchconv.daemon.context import Context
    from watchconv.daemon.deliveries import Deliveries
    from watchconv.daemon.dispatcher import Dispatcher
    from watchconv.daemon.scan_loop import ScanLoop

log = logging.getLogger(__name__)


class Once:
    """Finds the end of a ``run --once``."""

    def __init__(
        self,
        context: Context,
        scan_loop: ScanLoop,
        dispatcher: Dispatcher,
        deliveries: Deliveries,
    ) -> None:
        self._context, self._scan_loop = context, scan_loop
        self._dispatcher, self._deliveries = dispatcher, deliveries
        self._left = False

    async def run(self) -> None:
        """Wait for the end, name what is left in the inbox, and have the daemon stop."""
        signals = self._context.signals
        await self._scan_loop.first_done.wait()
        while not await self._is_done():
            await signals.once.wait()
            signals.once.clear()
        for source, lacks in self._scan_loop.result.incomplete.items():
            log.warning("left in the inbox, for it is not whole: %s: %s", printable(source), lacks)
        signals.stop.set()

    @property
    def exit_code(self) -> int:
        """0 where all is well; 1 where anything failed, or was left that could not be done."""
        troubles = self._context.troubles.sentences
        return int(self._deliveries.failed > 0 or self._left or bool(troubles))

    async def _is_done(self) -> bool:
        troubles = self._context.troubles
        if self._scan_loop.pending or self._dispatcher.attempts or self._deliveries.tasks:
            return False
        if troubles.has(Trouble.FOLDERS):
            return True
        counts = await self._context.journal.ask(Journal.counts)
        queued = counts[JobState.QUEUED]
        if queued and not self._dispatcher.attempts:
            if troubles.has(Trouble.SPACE):
                return True
            if self._dispatcher.paused:
                log.warning("paused with %d jobs queued; watchconv resume lets them go on", queued)
                self._left = True
                return True
        left = queued + counts[JobState.RUNNING] + counts[JobState.DELIVERING]
        result = self._scan_loop.result
        return left <= self._deliveries.stuck and result.pending <= len(result.incomplete)

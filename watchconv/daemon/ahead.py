"""Look ahead: while every slot is taken, find out what the next originals are.

Guarantees: it takes no job, costs no attempt and holds up nobody; what it finds out is only time
saved: an attempt looks for itself where nothing is known or the file is another one by now.
Errors: none but bugs, which ``begin`` raises the next time.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from watchconv.errors import EnvironmentTrouble, JournalError
from watchconv.intake.admit import Admitted, admit
from watchconv.journal.jobs import Journal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from watchconv.journal.thread import JournalThread
    from watchconv.model import Identity


class Ahead:
    """Foresees the next few jobs, one look at a time."""

    def __init__(
        self,
        inbox: str,
        journal: JournalThread,
        foresee: Callable[[int, Identity], Awaitable[None]],
        count: Callable[[], int],
    ) -> None:
        self._inbox, self._journal, self._foresee, self._count = inbox, journal, foresee, count
        self._look: asyncio.Task[None] | None = None
        self._seen: set[tuple[int, int]] = set()  # by job and run

    def begin(self) -> None:
        """Look ahead in the background, unless that is under way."""
        if self._look is None or self._look.done():
            if self._look and not self._look.cancelled():
                self._look.result()
            self._look = asyncio.create_task(self._look_ahead())

    async def _look_ahead(self) -> None:
        try:
            jobs = await self._journal.ask(Journal.next_ready, time.time(), self._count())
            self._seen &= {(job.id, job.run) for job in jobs}
            for job in jobs:
                if (job.id, job.run) in self._seen:
                    continue
                self._seen.add((job.id, job.run))
                admitted = await asyncio.to_thread(admit, self._inbox, job)
                if isinstance(admitted, Admitted):
                    try:
                        await self._foresee(admitted.descriptor, admitted.identity)
                    finally:
                        admitted.close()
        except (EnvironmentTrouble, JournalError, OSError):
            return  # the jobs' own attempts will say so

    def close(self) -> None:
        """Look no further."""
        if self._look:
            self._look.cancel()

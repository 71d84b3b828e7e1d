"""Take up what an earlier daemon left: a clean stop and a crash leave the same rows.

Guarantees: idempotent; nothing is swept while a folder is in trouble. Deliveries that were under
way are not begun here: they are the first act of ``Deliveries.run``, and hold nobody up.
Errors: ``JournalError``.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

from watchconv.journal import MOUNTS, Journal
from watchconv.logs import tell_step
from watchconv.model import JobState, Verdict

if TYPE_CHECKING:
    from watchconv.daemon.journal_thread import JournalThread
    from watchconv.daemon.pool import Pool
    from watchconv.deliver.outbox import Outbox
    from watchconv.folders import Folders

log = logging.getLogger(__name__)

RECOVERED = "watchconv or the machine went down each time while this was converted"


async def recover(
    journal: JournalThread, folders: Folders, outbox: Outbox, pool: Pool, max_attempts: int
) -> None:
    """Remember the mounts, sweep leftovers of work, and queue what was running."""
    points = await journal.asked(Journal.setting, MOUNTS)
    folders.remember(json.loads(points) if points else {})
    running = await journal.asked(Journal.in_state, JobState.RUNNING)
    delivering = await journal.asked(Journal.in_state, JobState.DELIVERING)
    if not folders.troubles():
        await asyncio.to_thread(outbox.sweep, delivering)
    for job in running:
        if job.attempt >= max_attempts:
            await pool.deliver(job, Verdict.FAILED, RECOVERED)
        else:
            await journal.asked(Journal.requeue, job.id, refund=False, not_before=0.0, reason=None)
            tell_step(log, job, JobState.RUNNING, JobState.QUEUED, "it was interrupted")

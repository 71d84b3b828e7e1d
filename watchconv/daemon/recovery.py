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

from watchconv.journal.jobs import MOUNTS, Journal
from watchconv.logs.format import log_transition
from watchconv.model import Job, JobState, Verdict

if TYPE_CHECKING:
    from watchconv.daemon.worker import Pool
    from watchconv.host.folders import Folders
    from watchconv.host.workdir import WorkDirectories
    from watchconv.journal.thread import JournalThread

log = logging.getLogger(__name__)

RECOVERED = "watchconv or the machine went down each time while this was converted"


async def recover(
    journal: JournalThread, folders: Folders, work: WorkDirectories, pool: Pool, max_attempts: int
) -> None:
    """Remember the mounts, queue what was running, and sweep leftovers of work."""
    points = await journal.ask(Journal.setting, MOUNTS)
    folders.remember(json.loads(points) if points else {})
    for job in await journal.ask(Journal.in_state, JobState.RUNNING):
        if job.attempt >= max_attempts:
            await pool.deliver(job, Verdict.FAILED, RECOVERED)
        else:
            await journal.ask(Journal.requeue, job.id, refund=False, not_before=0.0, reason=None)
            log_transition(log, job, JobState.RUNNING, JobState.QUEUED, "it was interrupted")
    await sweep(journal, work)


async def sweep(journal: JournalThread, work: WorkDirectories) -> None:
    """Remove work directories that no open attempt has: at each start, and when folders are back.

    The outbox may have been away when an attempt ended, or when the daemon began.
    """
    await asyncio.to_thread(work.sweep, lambda: journal.ask_blocking(_with_work))


def _with_work(journal: Journal) -> list[Job]:
    return [*journal.in_state(JobState.RUNNING), *journal.in_state(JobState.DELIVERING)]

"""What is not about the next file: taking up what an earlier daemon left, and forgetting history.

A clean stop and a crash leave the same rows, and recovery is the normal start. Deliveries that were
under way are not begun here: they are the first act of ``Deliveries.run``, and hold nobody up.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING

from watchconv.daemon.context import wait_at_most
from watchconv.errors import JournalError
from watchconv.journal.jobs import MOUNTS, Journal
from watchconv.logs.format import log_transition
from watchconv.model import (
    AttemptEnd,
    AttemptOutcome,
    Cause,
    JobState,
    Trouble,
    Verdict,
    WaitReason,
)
from watchconv.policy import Deliver

if TYPE_CHECKING:
    from watchconv.daemon.context import Context
    from watchconv.daemon.deliveries import Deliveries
    from watchconv.daemon.dispatcher import Dispatcher
    from watchconv.encode.engine import Engine

log = logging.getLogger(__name__)

DAY_SECONDS = 86400.0
RETRY_SECONDS = 60.0
CRASHED = "watchconv or the machine went down each time while this was converted"


async def recover(
    context: Context, engine: Engine, dispatcher: Dispatcher, deliveries: Deliveries
) -> None:
    """Remember the mounts, take over the attempts that live on, and queue the others again."""
    journal = context.journal
    points = await journal.ask(Journal.setting, MOUNTS)
    context.folders.remember(json.loads(points) if points else {})
    await journal.ask(Journal.release_delayed, WaitReason.UNMOUNTED)  # it may be there again
    most = context.config.now.max_attempts
    end = AttemptEnd(AttemptOutcome.CRASHED, cause=Cause.CRASHED)
    for job in await journal.ask(Journal.in_state, JobState.RUNNING):
        if running := engine.adopt(job):
            dispatcher.adopt(job, running)
        elif job.attempt >= most:
            decision = Deliver(Verdict.FAILED, cause=Cause.CRASHED, reason=CRASHED)
            await deliveries.conclude(job, decision, end)
        else:
            await journal.ask(
                Journal.requeue,
                job.id,
                end,
                refund=False,
                not_before=0.0,
                wait_reason=None,
                reason=None,
            )
            log_transition(log, job, JobState.RUNNING, JobState.QUEUED, "it was interrupted")


async def maintain(context: Context) -> None:
    """Trim the history once a day, and remember the mounts when there may be other ones.

    For ever; writes nothing where nothing has changed.
    """
    journal, folders = context.journal, context.folders
    written = False
    while True:
        context.signals.mounts_learnt.clear()
        try:
            kept = await journal.ask(Journal.setting, MOUNTS)
            if written and kept is None:  # a person had the journal forget them
                folders.forget()
                context.request.scan_everything()
                written = False  # what the scan finds is
            else:
                if kept != (points := json.dumps(folders.remembered())):
                    await journal.ask(Journal.remember, MOUNTS, points)
                written = True
            days, now, trimmed = context.config.now.keep_history_days, time.time(), 0
            while some := await journal.ask(Journal.trim, days, now):
                trimmed += some
            if trimmed:
                log.info("forgot %d jobs that ended more than %g days ago", trimmed, days)
        except JournalError as error:
            context.troubles.report(Trouble.MAINTENANCE, str(error), blocks=False)
            await asyncio.sleep(RETRY_SECONDS)
            continue
        context.troubles.clear(Trouble.MAINTENANCE)
        await wait_at_most(context.signals.mounts_learnt, DAY_SECONDS)

"""What an earlier daemon left is taken up: a clean stop and a crash leave the same rows.

Idempotent. Deliveries that were under way are not begun here: they are the first act of
``Deliveries.run``, and hold nobody up.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from watchconv.journal.jobs import MOUNTS, Journal
from watchconv.logs.format import log_transition
from watchconv.model import AttemptEnd, AttemptOutcome, Cause, JobState, Verdict
from watchconv.policy import Deliver

if TYPE_CHECKING:
    from watchconv.daemon.context import Context
    from watchconv.daemon.deliveries import Deliveries
    from watchconv.daemon.dispatcher import Dispatcher
    from watchconv.encode.engine import Engine

log = logging.getLogger(__name__)

CRASHED = "watchconv or the machine went down each time while this was converted"


async def recover(
    context: Context, engine: Engine, dispatcher: Dispatcher, deliveries: Deliveries
) -> None:
    """Remember the mounts, take over the attempts that live on, and queue the others again."""
    journal = context.journal
    points = await journal.ask(Journal.setting, MOUNTS)
    context.folders.remember(json.loads(points) if points else {})
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

"""The worker: one attempt at one job, from its claim to the decision about it.

Prepare the attempt, have an engine encode it and prove the output, decide what follows, carry that
out. What the machine does wrong costs no attempt.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from watchconv.encode.attempt import Assignment, AttemptResult
from watchconv.errors import EnvironmentTrouble
from watchconv.host.folders import Missing
from watchconv.host.threads import in_thread
from watchconv.journal.jobs import Journal
from watchconv.logs.format import log_transition
from watchconv.model import (
    AttemptEnd,
    AttemptOutcome,
    Gone,
    Interrupted,
    JobState,
    Request,
    Trouble,
    WaitReason,
)
from watchconv.names import printable
from watchconv.policy import Close, Deliver, Requeue, attempt_outcome, decide

if TYPE_CHECKING:
    from watchconv.daemon.context import Context
    from watchconv.daemon.deliveries import Deliveries
    from watchconv.daemon.prepare import Attempt, Preparation
    from watchconv.daemon.scan_request import ScanRequest
    from watchconv.encode.engine import Engine
    from watchconv.model import Job, Outcome
    from watchconv.policy import Decision

log = logging.getLogger(__name__)

TROUBLE_SECONDS = 30.0  # how long nothing is claimed after the machine failed an attempt
UNMOUNTED_SECONDS = 300.0  # when a job is tried again whose part of the inbox is not mounted


class Worker:
    """Makes attempts. One for the whole daemon: what belongs to one attempt is in ``Attempt``."""

    def __init__(
        self,
        context: Context,
        preparation: Preparation,
        engine: Engine,
        deliveries: Deliveries,
        request: ScanRequest,
    ) -> None:
        self._folders, self._troubles = context.folders, context.troubles
        self._signals = context.signals
        self._preparation, self.engine = preparation, engine
        self._deliveries, self._request = deliveries, request

    def warm(self) -> None:
        """Start the probe, so that it is ready when the first file is settled."""
        self._preparation.warm()

    async def run(self, attempt: Attempt) -> None:
        """Make an attempt and carry out what follows.

        Raises JournalError where the journal cannot be written and the daemon ends.
        """
        job = attempt.job
        before = self._folders.state
        try:
            result = await self._make(attempt)
            attempt.release_slot()  # also where there was nothing to encode
            outcome = await in_thread(self._check, job, result.outcome, before.generation)
        except (EnvironmentTrouble, OSError) as error:
            attempt.release_slot()
            end = AttemptEnd(AttemptOutcome.INTERRUPTED)
            decision = await self._put_off(job, printable(str(error)), before.generation)
        else:
            self._troubles.clear(Trouble.ATTEMPT)
            end = replace(
                result.end,
                outcome=attempt_outcome(outcome),
                cause=getattr(outcome, "cause", None),
            )
            decision = decide(job, outcome, attempt.config.max_attempts)
        match decision:
            case Requeue():
                await self._requeue(job, decision, end)
                if decision.wait_reason is WaitReason.UNMOUNTED and self._folders.state != before:
                    # it came back before it was known that this job waits for it
                    await self._deliveries.insist(
                        Journal.release_delayed, WaitReason.UNMOUNTED
                    )
                    self._signals.work_changed()
            case Deliver():
                await self._deliveries.conclude(job, decision, end)
            case Close(state):
                await self._close(job, state, end)

    async def _make(self, attempt: Attempt) -> AttemptResult:
        if attempt.running is None:
            log_transition(log, attempt.job, JobState.QUEUED, JobState.RUNNING)
            prepared = await in_thread(self._preparation.prepare, attempt)
            if not isinstance(prepared, Assignment):
                return AttemptResult(prepared, AttemptEnd(attempt_outcome(prepared)))
            attempt.begin(self.engine, prepared)
        assert attempt.running is not None
        await attempt.running.encoded.wait()
        attempt.release_slot()
        return await attempt.running.result

    def _check(self, job: Job, outcome: Outcome, generation: int) -> Outcome:
        """Return what an outcome is worth where a folder or mount has gone meanwhile."""
        if isinstance(outcome, Interrupted):
            return outcome
        if not self._folders.is_current(generation):
            return Interrupted(
                "its folder was mounted anew meanwhile",
                2 * TROUBLE_SECONDS,
                wait_reason=WaitReason.UNMOUNTED,
            )
        if isinstance(outcome, Gone):
            match self._folders.why_missing(job.source):
                case Missing.UNMOUNTED:
                    reason = "the file system that holds it is not mounted"
                    return Interrupted(
                        reason, UNMOUNTED_SECONDS, wait_reason=WaitReason.UNMOUNTED
                    )
                case Missing.FOLDERS:
                    raise EnvironmentTrouble("the inbox is no longer the folder it was")
        return outcome

    async def _put_off(self, job: Job, sentence: str, generation: int) -> Decision:
        """Decide what becomes of a job that the machine failed."""
        if not await in_thread(self._folders.is_current, generation):
            # the check before a scan says so, blocks, and lets it go on when they are there again
            self._request.name(job.source)
            return Requeue(
                refund=True,
                wait_seconds=2 * TROUBLE_SECONDS,
                wait_reason=WaitReason.UNMOUNTED,
                reason="the file system that holds it, or the outbox, is not mounted",
            )
        self._troubles.report(Trouble.ATTEMPT, sentence, retry_seconds=TROUBLE_SECONDS)
        # the others go first then, lest one job alone is what fills the disk
        return Requeue(
            refund=True,
            wait_seconds=2 * TROUBLE_SECONDS,
            wait_reason=WaitReason.TROUBLE,
            reason=sentence,
        )

    async def _requeue(self, job: Job, decision: Requeue, end: AttemptEnd) -> None:
        not_before = time.time() + decision.wait_seconds if decision.wait_seconds else 0.0
        await self._deliveries.discard(job)
        after = await self._deliveries.insist(
            Journal.requeue,
            job.id,
            end,
            refund=decision.refund,
            not_before=not_before,
            wait_reason=decision.wait_reason,
            reason=decision.reason,
        )
        if after and after.request is Request.CANCEL:
            await self._deliveries.cancel(after, decision.report)
            return
        log_transition(log, job, JobState.RUNNING, JobState.QUEUED, decision.reason)
        self._signals.work_changed()

    async def _close(self, job: Job, state: JobState, end: AttemptEnd) -> None:
        await self._deliveries.discard(job)
        now = time.time()
        if state is JobState.WITHDRAWN:
            await self._deliveries.insist(
                Journal.withdraw, job.id, JobState.RUNNING, now, ended=end
            )
        else:
            await self._deliveries.insist(
                Journal.supersede, job.id, JobState.RUNNING, now, stale=True, ended=end
            )
        log_transition(log, job, JobState.RUNNING, state)
        self._request.name(job.source)

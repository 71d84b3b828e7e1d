"""The pool: workers that take one job after the other, and as many slots as ffmpeg may live.

A worker holds a slot from the claim until its ffmpeg has ended; while it proves and delivers what
was made, another worker has the slot and the machine.

Guarantees: the surroundings' failure costs no attempt; a verdict is in the journal before any file
is moved.
Does not decide when a job is claimed: ``claims`` does.
Errors: none leave a worker but bugs, which end the daemon.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from watchconv.daemon.ahead import Ahead
from watchconv.daemon.claims import JOURNAL_SECONDS, Claims
from watchconv.daemon.workers import Workers
from watchconv.encode.engine import Assignment
from watchconv.encode.report import compose
from watchconv.errors import EnvironmentTrouble, JournalError
from watchconv.host.folders import UNMOUNTED
from watchconv.intake.admit import Admitted, admit, compare
from watchconv.intake.routing import names_in_error, output_for
from watchconv.journal.jobs import Journal
from watchconv.logs.format import log_job, log_transition
from watchconv.model import (
    AttemptEnd,
    AttemptOutcome,
    Cause,
    Encoded,
    Gone,
    Interrupted,
    Job,
    JobState,
    Outcome,
    Request,
    Verdict,
    WaitReason,
)
from watchconv.names import printable
from watchconv.policy import (
    Close,
    Decision,
    Deliver,
    Requeue,
    attempt_end,
    changed_too_often,
    decide,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchconv.config import Config
    from watchconv.daemon.deliveries import Deliveries
    from watchconv.daemon.slots import Slot
    from watchconv.daemon.trouble import Troubles
    from watchconv.deliver.outbox import Outbox
    from watchconv.encode.engine import Engine
    from watchconv.host.folders import Folders
    from watchconv.journal.thread import JournalThread, Question

log = logging.getLogger(__name__)

TROUBLE_SECONDS = 30.0  # how long nothing is claimed after the surroundings failed an attempt
UNMOUNTED_SECONDS = 300.0  # when a job is tried again whose part of the inbox is not mounted

T = TypeVar("T")
P = ParamSpec("P")


class Pool:
    """The workers and what they work on."""

    def __init__(
        self,
        config: Callable[[], Config],
        folders: Folders,
        journal: JournalThread,
        troubles: Troubles,
        engine: Engine,
        deliveries: Deliveries,
        outbox: Outbox,
    ) -> None:
        self._config, self._folders, self._journal = config, folders, journal
        self._troubles, self._engine = troubles, engine
        self._deliveries, self._outbox = deliveries, outbox
        self.claims = Claims(config, folders, journal, troubles)
        self.workers = Workers(self.claims.claim, self._work_on, self._wait_in_line)
        self.running: dict[int, Job] = {}
        self._ahead = Ahead(config().inbox, journal, engine.foresee, lambda: config().jobs)
        self.moved: Callable[[], None] = lambda: None  # called when an attempt begins or is over
        self.rescan: Callable[[str], None] = lambda source: None

    def wake(self) -> None:
        """Let idle workers look for a job."""
        self.claims.wake()

    def resize(self, jobs: int) -> None:
        """Let so many ffmpeg live at once, from the start or from now on."""
        self.workers.resize(jobs)
        self.wake()

    def _wait_in_line(self) -> None:
        if not self.claims.paused:
            self._ahead.begin()

    async def answer(self) -> None:
        """Return once a worker without a job has come round: none hangs."""
        await self.workers.answer(self.wake)

    async def _work_on(self, claimed: tuple[Job, int], slot: Slot) -> None:
        job, crowd = claimed
        self.running[job.id] = job
        try:
            await self._attempt(job, crowd, slot)
        except JournalError:
            words = "stays running: the next start takes it up"
            log_job(log, job, words, level=logging.WARNING)
        finally:
            del self.running[job.id]
            self.moved()

    # one attempt

    async def _attempt(self, job: Job, crowd: int, slot: Slot) -> None:
        log_transition(log, job, JobState.QUEUED, JobState.RUNNING)
        self.moved()
        decision: Decision
        began = time.monotonic()
        ended = AttemptEnd(AttemptOutcome.INTERRUPTED)
        try:
            outcome = await self._outcome(job, crowd, slot)
        except (EnvironmentTrouble, OSError) as trouble:
            decision = await self._put_off(job, printable(str(trouble)))
        else:
            slot.free()  # also where there was nothing to encode
            self._troubles.end("attempt")
            ended = attempt_end(outcome, seconds=time.monotonic() - began)
            decision = decide(job, outcome, self._config().max_attempts)
        await self._carry_out(job, decision, ended)

    async def _put_off(self, job: Job, sentence: str) -> Decision:
        """Decide what becomes of a job whose surroundings failed it."""
        folders = (self._folders.inbox, self._folders.outbox)
        if not all([await asyncio.to_thread(self._folders.holds, path) for path in folders]):
            # the check before a look says so, blocks, and calls it back when they are there again
            self.rescan(job.source)
            return Requeue(
                refund=True,
                wait_seconds=2 * TROUBLE_SECONDS,
                wait_reason=WaitReason.UNMOUNTED,
                reason=UNMOUNTED,
            )
        self.claims.block_for("attempt", sentence, TROUBLE_SECONDS)
        # the others go first then, lest one job alone is what fills the disk
        return Requeue(
            refund=True,
            wait_seconds=2 * TROUBLE_SECONDS,
            wait_reason=WaitReason.TROUBLE,
            reason=sentence,
        )

    async def _outcome(self, job: Job, crowd: int, slot: Slot) -> Outcome:
        mounted, admitted = await asyncio.to_thread(self._admit, job)
        if not isinstance(admitted, Admitted):
            return admitted
        try:
            if rejected := changed_too_often(job, self._config().max_attempts):
                return rejected
            work = self._outbox.work_dir(job)
            given = Assignment(
                job,
                admitted.descriptor,
                admitted.identity,
                work,
                crowd,
                free_slot=slot.free,
                insist_on_outbox=self._insist_on_outbox,
            )
            outcome = await self._engine.run(given)
            # what was made of a file that changed counts for nothing, whatever it was
            other = await asyncio.to_thread(self._compare, job, admitted)
            if (
                not other
                and not isinstance(outcome, Encoded)
                and await asyncio.to_thread(self._is_mounted_anew, mounted)
            ):
                return Interrupted("its folder was mounted anew meanwhile")
            return other or outcome
        finally:
            admitted.close()

    def _admit(self, job: Job) -> tuple[list[str], Admitted | Outcome]:
        """Open the original, and say on which mounts the folders were before that."""
        mounted = self._folders.mount_ids()
        for name in names_in_error(job.source, self._config().all_profiles):
            self._outbox.drop_stale_report(name)
        admitted = admit(self._config().inbox, job)
        if isinstance(admitted, Gone):
            return mounted, self._unless_unmounted(job)
        return mounted, admitted

    def _insist_on_outbox(self) -> None:
        if not self._folders.holds(self._folders.outbox):
            raise EnvironmentTrouble("the outbox is no longer the folder it was: is it mounted?")

    def _compare(self, job: Job, admitted: Admitted) -> Outcome | None:
        """Tell what to say of an attempt instead of its outcome, if anything."""
        self._insist_on_outbox()
        changed = compare(self._config().inbox, admitted)
        return self._unless_unmounted(job) if isinstance(changed, Gone) else changed

    def _is_mounted_anew(self, mounted: list[str]) -> bool:
        """Tell whether the folders were away, whether or not a look has found that out by now."""
        return self._folders.mount_ids() != mounted or not self._folders.holds(self._folders.inbox)

    def _unless_unmounted(self, job: Job) -> Gone | Interrupted:
        """Tell an original that was taken away from one whose file system was."""
        if self._folders.vouches_for(job.source):
            return Gone()
        if self._folders.has_mount_of(job.source):
            raise EnvironmentTrouble("the inbox is no longer the folder it was: is it mounted?")
        return Interrupted(UNMOUNTED, UNMOUNTED_SECONDS, wait_reason=WaitReason.UNMOUNTED)

    async def _carry_out(
        self, job: Job, decision: Decision, ended: AttemptEnd | None = None
    ) -> None:
        ended = ended or AttemptEnd(AttemptOutcome.INTERRUPTED)
        match decision:
            case Requeue():
                wait_seconds = decision.wait_seconds
                await asyncio.to_thread(self._outbox.clear, job)
                after = await self._insist(
                    Journal.requeue,
                    job.id,
                    ended,
                    refund=decision.refund,
                    not_before=time.time() + wait_seconds if wait_seconds else 0.0,
                    wait_reason=decision.wait_reason,
                    reason=decision.reason,
                )
                if after and after.request is Request.CANCEL:
                    await self.cancel(after, decision.report)
                    return
                log_transition(log, job, JobState.RUNNING, JobState.QUEUED, decision.reason)
                self.claims.wake_in(wait_seconds)
                if decision.wait_reason is WaitReason.UNMOUNTED:
                    await self._hurry_if_back(job)
            case Deliver():
                await self.deliver(job, decision, ended)
            case Close(state):
                await asyncio.to_thread(self._outbox.clear, job)
                await self._close(job, state, ended)
                log_transition(log, job, JobState.RUNNING, state)
                self.rescan(job.source)

    async def _hurry_if_back(self, job: Job) -> None:
        """Let a job go on whose mount came back before it was known that it waits for that."""
        roots = (self._folders.inbox, self._folders.outbox)
        back = [await asyncio.to_thread(self._folders.holds, root) for root in roots]
        if all(back) and await asyncio.to_thread(self._folders.has_mount_of, job.source):
            await self._insist(Journal.release_delayed, WaitReason.UNMOUNTED)
            self.wake()

    async def _close(self, job: Job, state: JobState, ended: AttemptEnd) -> None:
        running, now = JobState.RUNNING, time.time()
        if state is JobState.WITHDRAWN:
            await self._insist(Journal.withdraw, job.id, running, now, ended)
        else:
            await self._insist(Journal.supersede, job.id, running, now, stale=True, ended=ended)

    async def deliver(self, job: Job, what: Deliver, ended: AttemptEnd | None = None) -> Job | None:
        """Commit what is to be delivered, then begin it; None when the job has moved on.

        A cancel that nobody has answered yet comes before any other verdict. An output's suffix
        is that of the profile that it was begun with, whatever the profile has become.
        """
        wishes = [replace(o, name=output_for(job.source, o.suffix)) for o in what.outputs]
        intent = await asyncio.to_thread(self._outbox.plan, job, what.verdict, wishes)
        report = what.report
        if what.verdict is not Verdict.ENCODED:
            report = report or compose(job, (), None, "")
        intent = intent._replace(
            cause=what.cause, reason=what.reason, report=report, warnings=what.warnings
        )
        if after := await self._insist(Journal.intend, job, intent, ended):
            log_transition(log, after, job.state, JobState.DELIVERING, what.reason)
            await self._deliveries.begin(after)
            return after
        if what.verdict is not Verdict.CANCELLED:
            fresh = await self._insist(Journal.get, job.id)
            if fresh and fresh.request is Request.CANCEL:
                return await self.cancel(fresh, report, ended)
        return None

    async def cancel(
        self, job: Job, report: str | None = None, ended: AttemptEnd | None = None
    ) -> Job | None:
        """Deliver a job that is not wanted any more; report is what its attempt wrote."""
        cancelled = Deliver(
            Verdict.CANCELLED, cause=Cause.CANCELLED, reason="cancelled", report=report
        )
        return await self.deliver(job, cancelled, ended)

    async def _insist(self, question: Question[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask the journal until it can be written: a finished encode is not to be lost to it."""
        while True:
            try:
                answer = await self._journal.ask(question, *args, **kwargs)
            except JournalError as error:
                self._troubles.tell("journal", str(error))
                if self.claims.closing:
                    raise
                await asyncio.sleep(JOURNAL_SECONDS)
            else:
                self._troubles.end("journal")
                return answer

    async def close(self, grace_seconds: float, hurry: asyncio.Event) -> bool:
        """Go down the stop ladder, see ``Workers``; the jobs go back to the queue."""
        self.claims.closing = True
        self._ahead.close()
        self.wake()
        return await self.workers.close(grace_seconds, hurry, self._stop_all)

    def _stop_all(self, kill: bool) -> None:
        """End every attempt."""
        for job in self.running.values():
            self._engine.stop(job, kill=kill)

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
import functools
import logging
import os
import time
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from watchconv.daemon.ahead import Ahead
from watchconv.daemon.claims import JOURNAL_SECONDS, Claims
from watchconv.daemon.workers import Workers
from watchconv.deliver.destination import DeliverySettings
from watchconv.encode.engine import Assignment
from watchconv.encode.report import compose
from watchconv.errors import EnvironmentTrouble, JournalError
from watchconv.host.folders import UNMOUNTED, Missing
from watchconv.host.workdir import WorkDirectories
from watchconv.intake.admit import Admitted, admit, compare
from watchconv.intake.routing import names_in_error
from watchconv.journal import requests
from watchconv.journal.jobs import Journal
from watchconv.logs.format import log_transition, tell
from watchconv.model import (
    Encoded,
    Gone,
    Interrupted,
    Job,
    JobState,
    Outcome,
    OutputFile,
    Request,
    Verdict,
)
from watchconv.names import printable
from watchconv.policy import Close, Decision, Deliver, Requeue, decide, too_restless

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchconv.config import Config
    from watchconv.daemon.deliveries import Deliveries
    from watchconv.daemon.slots import Slot
    from watchconv.daemon.trouble import Troubles
    from watchconv.deliver.outbox import LocalFolders
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
        outbox: LocalFolders,
    ) -> None:
        self._config, self._folders, self._journal = config, folders, journal
        self._troubles, self._engine = troubles, engine
        self._deliveries, self._outbox = deliveries, outbox
        self._work = WorkDirectories(folders)
        self.claims = Claims(config, folders, journal, troubles)
        self.workers = Workers(self.claims.claim, self._work_on, self._wait_in_line)
        self.running: dict[int, Job] = {}
        self._generations: dict[int, int] = {}  # of the folders, when each attempt began
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
        self._generations[job.id] = self._folders.state.generation
        try:
            await self._attempt(job, crowd, slot)
        except JournalError:
            words = "stays running: the next start takes it up"
            tell(log, job, words, level=logging.WARNING)
        finally:
            del self.running[job.id], self._generations[job.id]
            self.moved()

    # one attempt

    async def _attempt(self, job: Job, crowd: int, slot: Slot) -> None:
        log_transition(log, job, JobState.QUEUED, JobState.RUNNING)
        self.moved()
        decision: Decision
        try:
            outcome = await self._outcome(job, crowd, slot)
        except (EnvironmentTrouble, OSError) as trouble:
            decision = await self._put_off(job, printable(str(trouble)))
        else:
            slot.free()  # also where there was nothing to encode
            self._troubles.end("attempt")
            decision = decide(job, outcome, self._config().max_attempts)
        await self._carry_out(job, decision)

    async def _put_off(self, job: Job, sentence: str) -> Decision:
        """Decide what becomes of a job whose surroundings failed it."""
        if not await asyncio.to_thread(self._folders.is_current, self._generations[job.id]):
            # the check before a look says so, blocks, and calls it back when they are there again
            self.rescan(job.source)
            return Requeue(True, 2 * TROUBLE_SECONDS, UNMOUNTED)
        self.claims.block_for("attempt", sentence, TROUBLE_SECONDS)
        # the others go first then, lest one job alone is what fills the disk
        return Requeue(True, 2 * TROUBLE_SECONDS, sentence)

    async def _outcome(self, job: Job, crowd: int, slot: Slot) -> Outcome:
        admitted = await asyncio.to_thread(self._admit, job)
        if not isinstance(admitted, Admitted):
            return admitted
        try:
            if rejected := too_restless(job, self._config().max_attempts):
                return rejected
            source = os.path.join(self._folders.inbox, job.source)
            given = Assignment(
                job,
                admitted.descriptor,
                admitted.identity,
                self._work.path(job.id, job.run),
                crowd,
                free_slot=slot.free,
                make_work=functools.partial(self._work.make, job.id, job.run, source),
            )
            outcome = await self._engine.run(given)
            # what was made of a file that changed counts for nothing, whatever it was
            return await asyncio.to_thread(self._compare, job, admitted, outcome)
        finally:
            admitted.close()

    def _admit(self, job: Job) -> Admitted | Outcome:
        """Open the original; the attempt is of the folders' generation before that."""
        names = list(names_in_error(job.source, self._config().all_profiles))
        for name in self._journal.ask_blocking(requests.failed_as, names):
            self._outbox.remove_stale_report(name)
        admitted = admit(self._config().inbox, job)
        return self._unless_unmounted(job) if isinstance(admitted, Gone) else admitted

    def _compare(self, job: Job, admitted: Admitted, outcome: Outcome) -> Outcome:
        """Return what an attempt's outcome counts for, now that it is over."""
        current = self._folders.is_current(self._generations[job.id])
        if not current or isinstance(outcome, Encoded):
            with self._folders.open("outbox"):  # raises EnvironmentTrouble where it is away
                pass
        changed = compare(self._config().inbox, admitted)
        if isinstance(changed, Gone):
            return self._unless_unmounted(job)
        if changed or current:
            return changed or outcome
        if isinstance(outcome, Encoded):
            with self._work.open(job.id, job.run):  # it is there, whatever went and came meanwhile
                return outcome
        return Interrupted("its folder was mounted anew meanwhile")

    def _unless_unmounted(self, job: Job) -> Gone | Interrupted:
        """Tell an original that was taken away from one whose file system was."""
        match self._folders.why_missing(job.source):
            case Missing.GONE:
                return Gone()
            case Missing.UNMOUNTED:
                return Interrupted(UNMOUNTED, UNMOUNTED_SECONDS)
            case Missing.FOLDERS:
                raise EnvironmentTrouble("the inbox is no longer the folder it was: is it mounted?")

    async def _carry_out(self, job: Job, decision: Decision) -> None:
        match decision:
            case Requeue(refund, wait_seconds, reason, report):
                not_before = time.time() + wait_seconds if wait_seconds else 0.0
                await asyncio.to_thread(self._work.remove_attempt, job.id, job.run)
                after = await self._insist(
                    Journal.requeue, job.id, refund=refund, not_before=not_before, reason=reason
                )
                if after and after.request is Request.CANCEL:
                    await self.cancel(after, report)
                    return
                log_transition(log, job, JobState.RUNNING, JobState.QUEUED, reason)
                self.claims.wake_in(wait_seconds)
                if reason == UNMOUNTED:
                    await self._hurry_if_back(job)
            case Deliver(verdict, reason, report, made):
                await self.deliver(job, verdict, reason, report, made)
            case Close(state):
                await asyncio.to_thread(self._work.remove, job.id)
                await self._close(job, state)
                log_transition(log, job, JobState.RUNNING, state)
                self.rescan(job.source)

    async def _hurry_if_back(self, job: Job) -> None:
        """Let a job go on whose mount came back before it was known that it waits for that."""

        def is_back() -> bool:
            """Return whether nothing is missing any more."""
            missing = self._folders.why_missing(job.source)
            return missing is Missing.GONE and self._folders.is_current(
                self._folders.state.generation
            )

        if await asyncio.to_thread(is_back):
            await self._insist(Journal.hurry, UNMOUNTED)
            self.wake()

    async def _close(self, job: Job, state: JobState) -> None:
        now = time.time()
        if state is JobState.WITHDRAWN:
            await self._insist(Journal.withdraw, job.id, JobState.RUNNING, now)
        else:
            await self._insist(Journal.supersede, job.id, JobState.RUNNING, now, stale=True)

    async def deliver(
        self,
        job: Job,
        verdict: Verdict,
        reason: str | None,
        report: str | None = None,
        made: str | None = None,
    ) -> Job | None:
        """Commit what is to be delivered, then begin it; None when the job has moved on.

        A cancel that nobody has answered yet comes before any other verdict.
        made is the name of an encode's output in its work directory: its suffix is that of the
        profile that it was begun with, whatever the profile has become.
        """
        outputs = [OutputFile(made, made.removeprefix("output"), 0)] if made else []
        settings = DeliverySettings.of(self._config())
        intent = await asyncio.to_thread(self._outbox.plan, job, verdict, outputs, settings)
        if verdict is not Verdict.ENCODED:
            report = report or compose(job, (), None, "")
        intent = intent._replace(reason=reason, report=report)
        if after := await self._insist(Journal.intend, job, intent):
            log_transition(log, job, job.state, JobState.DELIVERING, reason)
            await self._deliveries.begin(after)
            return after
        if verdict is not Verdict.CANCELLED:
            fresh = await self._insist(Journal.get, job.id)
            if fresh and fresh.request is Request.CANCEL:
                return await self.cancel(fresh, report)
        return None

    async def cancel(self, job: Job, report: str | None = None) -> Job | None:
        """Deliver a job that is not wanted any more; report is what its attempt wrote."""
        return await self.deliver(job, Verdict.CANCELLED, "cancelled", report)

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

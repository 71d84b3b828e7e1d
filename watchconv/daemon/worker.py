"""The worker: one attempt at one job, from its claim to the decision about it.

Prepare the attempt, have an engine encode it and prove the output, decide what follows, carry that
out. What the machine does wrong costs no attempt.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from watchconv.config import Examining
from watchconv.config.keys import usable_cpus
from watchconv.daemon.memory import MemoryRoom
from watchconv.encode.classify import unread
from watchconv.encode.engine import Assignment, AttemptLimits, AttemptResult
from watchconv.encode.health import plan_health
from watchconv.encode.plan import plan_encode, refusal
from watchconv.encode.words import decision_lines
from watchconv.errors import EnvironmentTrouble
from watchconv.host.folders import Missing
from watchconv.host.machine import usable_memory
from watchconv.host.threads import in_thread
from watchconv.host.workdir import output_name, readable_name
from watchconv.intake.admit import Admitted, admit
from watchconv.intake.joining import join_parts
from watchconv.journal.jobs import Journal
from watchconv.logs.format import log_job, log_transition
from watchconv.media.probe_protocol import ProbeFailed
from watchconv.model import (
    AttemptEnd,
    AttemptOutcome,
    Cause,
    Gone,
    Interrupted,
    JobState,
    Rejected,
    Request,
    Trouble,
    WaitReason,
)
from watchconv.names import printable
from watchconv.policy import Close, Deliver, Requeue, attempt_end, changed_too_often, decide
from watchconv.process.stop import Stopped, StopSignal, StopStage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from watchconv.config import Config
    from watchconv.daemon.context import Context
    from watchconv.daemon.deliveries import Deliveries
    from watchconv.encode.engine import Engine, Running
    from watchconv.encode.plan import EncodePlan
    from watchconv.encode.program import Program
    from watchconv.host.workdir import WorkDirectories
    from watchconv.media.facts import Facts
    from watchconv.media.probe import ProbeWorker
    from watchconv.model import Job, Outcome, Profile
    from watchconv.policy import Decision

log = logging.getLogger(__name__)

TROUBLE_SECONDS = 30.0  # how long nothing is claimed after the machine failed an attempt
UNMOUNTED_SECONDS = 300.0  # when a job is tried again whose part of the inbox is not mounted


class Attempt:
    """One attempt under way, as the daemon sees it. Belongs to the event loop."""

    def __init__(
        self,
        job: Job,
        config: Config,
        release: Callable[[], None],
        parallel: int = 1,
        old_reports: Collection[str] = (),
        *,
        running: Running | None = None,
    ) -> None:
        """Keep the configuration that it begins with, and call release once for its slot.

        parallel encodes share the machine. old_reports are to go: the file was taken out of error/
        by hand. running: it was begun before a restart, and an engine has it still.
        """
        self.job, self.config, self.running = job, config, running
        self.parallel, self.old_reports = parallel, old_reports
        self.stop_signal = StopSignal()  # for the probe
        self.stopped = asyncio.Event()
        self._release: Callable[[], None] | None = release
        self._kill = False

    def release_slot(self) -> None:
        """Let another encode begin. Idempotent."""
        if self._release:
            self._release()
            self._release = None

    def begin(self, engine: Engine, assignment: Assignment) -> Running:
        """Have an engine begin it; a stop that was asked for meanwhile reaches it."""
        for line in decision_lines(assignment.media, assignment.plan.decisions):
            log_job(log, self.job, line)
        self.running = engine.begin(assignment)
        if self.stop_signal.wanted:
            self.running.stop(kill=self._kill)
        return self.running

    def stop(self, *, kill: bool) -> None:
        """End it, wherever it is. Idempotent."""
        self._kill |= kill
        self.stop_signal.request(StopStage.KILLED)
        self.stopped.set()
        if self.running:
            self.running.stop(kill=kill)


class Worker:
    """Makes attempts. One for the whole daemon: what belongs to one attempt is in ``Attempt``."""

    def __init__(
        self,
        context: Context,
        program: Program,
        probe: ProbeWorker,
        work: WorkDirectories,
        engine: Engine,
        deliveries: Deliveries,
    ) -> None:
        self._context, self._folders = context, context.folders
        self._program, self.probe, self._work = program, probe, work
        self.engine, self.deliveries = engine, deliveries
        self.room = MemoryRoom(usable_memory())

    async def run(self, attempt: Attempt) -> None:
        """Make an attempt and carry out what follows.

        Raises JournalError where the journal cannot be written and the daemon ends.
        """
        job, folders = attempt.job, self._folders.state
        running = attempt.running
        try:
            if running is None:
                log_transition(log, job, JobState.QUEUED, JobState.RUNNING)
                result = await self._make(attempt)
            else:
                result = await self._follow(attempt, running)
            attempt.release_slot()  # also where there was nothing to encode
            outcome, end = result.outcome, result.end
            decision = decide(job, outcome, attempt.config.max_attempts)
            if not isinstance(decision, Deliver) and not isinstance(outcome, Interrupted):
                checked = await in_thread(self._check, job, outcome, folders.generation)
                if checked is not outcome:
                    decision, end = decide(job, checked, 0), attempt_end(checked)
        except (EnvironmentTrouble, OSError) as error:
            end = AttemptEnd(AttemptOutcome.INTERRUPTED)
            decision = await self._put_off(job, printable(str(error)), folders.generation)
            attempt.release_slot()  # only now: the trouble keeps the next job from being claimed
        else:
            self._context.troubles.clear(Trouble.ATTEMPT)
        if isinstance(decision, Deliver) and not await self.deliveries.conclude(
            job, decision, end, folders.generation
        ):
            outcome = _mounted_anew()
            decision, end = decide(job, outcome, 0), attempt_end(outcome)
        match decision:
            case Requeue():
                await self._requeue(job, decision, end)
                if decision.wait_reason is WaitReason.UNMOUNTED and self._folders.state != folders:
                    # it came back before it was known that this job waits for it
                    await self.deliveries.ask_until_written(
                        Journal.release_delayed, WaitReason.UNMOUNTED
                    )
                    self._context.signals.changed(work=True)
            case Close(state):
                await self._close(job, state, end)

    async def _make(self, attempt: Attempt) -> AttemptResult:
        """Have an engine make an attempt; and once more by what was only learnt on the way."""
        prepared = await in_thread(self._prepare, attempt)
        if not isinstance(prepared, Assignment):
            return AttemptResult(prepared, attempt_end(prepared))
        result = await self._encode(attempt, prepared)
        media = result.proof.anew if result.proof else None
        if result.proof is None or media is None or attempt.stop_signal.wanted:
            return result
        profile = attempt.config.all_profiles[attempt.job.profile]
        plan = await in_thread(self._plan, attempt, profile, media, prepared.original)
        if isinstance(plan, Rejected):
            return result
        log_job(log, attempt.job, f"it is converted once more: {result.proof.why}")
        return await self._encode(attempt, replace(prepared, media=media, plan=plan))

    async def _encode(self, attempt: Attempt, assignment: Assignment) -> AttemptResult:
        """Have an engine make an attempt as soon as there is memory for it."""
        job, cores = attempt.job, usable_cpus()
        admitted = await self.room.admit(assignment, attempt.config, cores, attempt.stopped)
        try:
            running = attempt.begin(self.engine, admitted)
            await running.encoded.wait()
        finally:
            self.room.leave(job.id)
        return await self._follow(attempt, running)

    async def _follow(self, attempt: Attempt, running: Running) -> AttemptResult:
        """Wait for what an engine makes; the slot is free when the encode is over."""
        await running.encoded.wait()
        attempt.release_slot()
        return await running.result

    def _prepare(self, attempt: Attempt) -> Assignment | Outcome:
        """Return what an engine is to do, or the outcome where there is nothing to encode."""
        job, config = attempt.job, attempt.config
        for original in attempt.old_reports:
            self.deliveries.destination.remove_stale_report(original)
        profile = config.all_profiles.get(job.profile)
        if profile is None:
            reason = f"there is no profile named {job.profile} any more"
            return Rejected(reason, cause=Cause.PROFILE)
        admitted = admit(config.inbox, job, profile.incomplete)
        if isinstance(admitted, Admitted):
            admitted = join_parts(config.inbox, job, admitted, self._work, attempt.stop_signal)
        if not isinstance(admitted, Admitted):
            return admitted
        try:
            if refused := changed_too_often(job, config.max_attempts):
                return refused
            media = self.probe.probe(
                admitted.descriptor,
                sandbox=config.sandbox,
                stop=attempt.stop_signal,
                salvage=admitted.salvage,
            )
        except (Stopped, ProbeFailed) as failed:
            return unread(failed)
        finally:
            os.close(admitted.descriptor)
        plan = self._plan(attempt, profile, media, admitted.path)
        if isinstance(plan, Rejected):
            return plan
        return Assignment(
            job,
            admitted.path,
            admitted.identity,
            media,
            plan,
            AttemptLimits.of(config),
            salvage=admitted.salvage,
            lacks=admitted.lacks,
        )

    def _plan(
        self, attempt: Attempt, profile: Profile, media: Facts, original: str
    ) -> EncodePlan | Rejected:
        """Return how to encode an original by what is known of it, or why that cannot be."""
        job, config = attempt.job, attempt.config
        if refused := refusal(media, config.max_pixels):
            return refused
        work = self._work.path(job.id, job.run)
        if isinstance(profile, Examining):
            return plan_health(
                media,
                program=self._program.path,
                source=readable_name(work, original),
                max_pixels=config.max_pixels,
            )
        return plan_encode(
            profile,
            media,
            program=self._program.path,
            ability=self._program.ability,
            source=readable_name(work, original),
            output=os.path.join(work, output_name(profile.suffix)),
            cores=usable_cpus(),
            parallel=attempt.parallel,
            max_pixels=config.max_pixels,
            turn=job.attempt - 1,
        )

    def _check(self, job: Job, outcome: Outcome, generation: int) -> Outcome:
        """Return what an outcome is worth where a folder or mount has gone meanwhile."""
        if not self._folders.is_current(generation):
            return _mounted_anew()
        if isinstance(outcome, Gone):
            match self._folders.why_missing(job.source):
                case Missing.UNMOUNTED:
                    reason = "the file system that holds it is not mounted"
                    return Interrupted(reason, UNMOUNTED_SECONDS, wait_reason=WaitReason.UNMOUNTED)
                case Missing.FOLDERS:
                    raise EnvironmentTrouble("the inbox is no longer the folder it was")
        return outcome

    async def _put_off(self, job: Job, sentence: str, generation: int) -> Decision:
        """Decide what becomes of a job that the machine failed."""
        wait_reason = WaitReason.TROUBLE
        if await in_thread(self._folders.is_current, generation):
            troubles = self._context.troubles
            troubles.report(Trouble.ATTEMPT, sentence, retry_seconds=TROUBLE_SECONDS)
        else:
            # the check before a scan says so, blocks, and lets it go on when they are there again
            self._context.request.scan_name(job.source)
            wait_reason = WaitReason.UNMOUNTED
            sentence = "the file system that holds it, or the outbox, is not mounted"
        # the others go first then, lest one job alone is what fills the disk
        return Requeue(
            refund=True,
            wait_seconds=2 * TROUBLE_SECONDS,
            wait_reason=wait_reason,
            reason=sentence,
        )

    async def _requeue(self, job: Job, decision: Requeue, end: AttemptEnd) -> None:
        not_before = time.time() + decision.wait_seconds if decision.wait_seconds else 0.0
        await in_thread(self._work.remove_attempt, job.id, job.run)
        after = await self.deliveries.ask_until_written(
            Journal.requeue,
            job.id,
            end,
            refund=decision.refund,
            not_before=not_before,
            wait_reason=decision.wait_reason,
            reason=decision.reason,
        )
        if after and after.request is Request.CANCEL:
            await self.deliveries.cancel(after, decision.report)
            return
        log_transition(log, job, JobState.RUNNING, JobState.QUEUED, decision.reason)
        self._context.signals.changed(work=True)

    async def _close(self, job: Job, state: JobState, end: AttemptEnd) -> None:
        await in_thread(self._work.remove, job.id)
        now, running = time.time(), JobState.RUNNING
        if state is JobState.WITHDRAWN:
            await self.deliveries.ask_until_written(
                Journal.withdraw, job.id, running, now, ended=end
            )
        else:
            await self.deliveries.ask_until_written(
                Journal.supersede, job.id, running, now, stale=True, ended=end
            )
        log_transition(log, job, running, state)
        self._context.request.scan_name(job.source)


def _mounted_anew() -> Interrupted:
    reason = "its folder was mounted anew meanwhile"
    return Interrupted(reason, 2 * TROUBLE_SECONDS, wait_reason=WaitReason.UNMOUNTED)

"""Deliveries: a decision is committed to the journal, then carried out until it is done.

At most ``AT_ONCE`` at a time, each on a thread, so that a slow copy holds up nobody. One that
cannot be done now is reported as trouble and tried again every ``RETRY_SECONDS``, when a folder is
back, and at each start; it is never encoded again for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from watchconv.config import Receipts
from watchconv.daemon.context import all_ended, wait_at_most
from watchconv.deliver.destination import DeliverySettings, order_of
from watchconv.encode.classify import compose_report
from watchconv.encode.receipt import of_job
from watchconv.errors import EnvironmentTrouble, JournalError
from watchconv.host.threads import in_thread
from watchconv.journal.jobs import Journal
from watchconv.logs.format import log_job, log_transition
from watchconv.model import (
    Cause,
    Job,
    JobState,
    OutputFile,
    OutputRole,
    Request,
    Trouble,
    Verdict,
)
from watchconv.names import printable
from watchconv.policy import Deliver, spare_original

if TYPE_CHECKING:
    from collections.abc import Collection

    from watchconv.daemon.context import Context
    from watchconv.deliver.destination import DeliveryOrder, Destination
    from watchconv.host.workdir import WorkDirectories
    from watchconv.journal.thread import Question
    from watchconv.model import AttemptEnd, OnSuccess

log = logging.getLogger(__name__)

AT_ONCE = 4
RETRY_SECONDS = 60.0
JOURNAL_SECONDS = 5.0
RECEIPT_NAME = "receipt.json"  # in the work directory

T = TypeVar("T")
P = ParamSpec("P")


class _Step(NamedTuple):
    """What came of a commit: the job as it stands (None: it has moved on), and of its delivery."""

    job: Job | None
    tried: bool = False
    ended: Job | None = None
    error: Exception | None = None


class Deliveries:
    """Commits decisions and carries DELIVERING jobs to their end."""

    def __init__(self, context: Context, destination: Destination, work: WorkDirectories) -> None:
        self._context, self._journal = context, context.journal
        self._troubles, self._signals = context.troubles, context.signals
        self.destination, self._work = destination, work
        self._free = threading.Semaphore(AT_ONCE)
        self.tasks: dict[int, asyncio.Task[None]] = {}  # that deliver, by job
        self._stuck: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.failed = 0  # jobs that have ended in error/

    @property
    def stuck(self) -> int:
        """How many deliveries cannot be done now."""
        return len(self._stuck)

    async def conclude(
        self,
        job: Job,
        decision: Deliver,
        end: AttemptEnd | None = None,
        generation: int | None = None,
    ) -> bool:
        """Commit what is to be delivered, and deliver it: now, or in the background.

        A cancel that is not answered yet comes before any other verdict. Returns False, and does
        nothing, where the folders are no longer those of the generation.
        """
        task = asyncio.current_task()
        assert task
        self.tasks[job.id] = task  # a stop waits for it as for a delivery
        try:
            while True:
                try:
                    step = await in_thread(self._deliver_new, job, decision, end, generation)
                except JournalError as error:
                    await self._wait_for_journal(error)
                else:
                    break
        finally:
            self.tasks.pop(job.id, None)  # two may conclude one job: the journal takes one
        if step is None:
            return False
        self._troubles.clear(Trouble.JOURNAL)
        if step.job is None:
            if decision.verdict is not Verdict.CANCELLED:
                fresh = await self.ask_until_written(Journal.get, job.id)
                if fresh and fresh.request is Request.CANCEL:
                    await self.cancel(fresh, decision.report, end)
        elif step.tried:
            self._take_end(step.job, step.ended, step.error)
        else:
            await self.begin(step.job)
        return True

    def _deliver_new(
        self, job: Job, decision: Deliver, end: AttemptEnd | None, generation: int | None
    ) -> _Step | None:
        """Choose names, commit the intent and, unless many others are delivered, deliver."""
        if generation is not None and not self._context.folders.is_current(generation):
            return None
        config = self._context.config.now
        settings = DeliverySettings.of(config)
        on_success, decision = spare_original(decision, settings.on_success)
        settings = replace(settings, on_success=on_success)
        outputs = decision.outputs
        if outputs and config.receipts is Receipts.BESIDE:
            outputs += self._write_receipt(job, decision, end, on_success)
        intent = self.destination.plan(job, decision.verdict, outputs, settings)
        report = decision.report
        if decision.verdict is not Verdict.ENCODED and not report:
            report = compose_report(job, (), None, "")
        intent = intent._replace(
            cause=decision.cause,
            reason=decision.reason,
            report=report,
            warnings=decision.warnings,
            receipt=decision.receipt,
        )
        after = self._journal.ask_blocking(Journal.intend, job, intent, end)
        if after is None:
            return _Step(None)
        for warning in decision.warnings:
            log_job(log, after, warning.text, level=logging.WARNING)
        log_transition(log, after, job.state, JobState.DELIVERING, decision.reason)
        if not self._free.acquire(blocking=False):
            return _Step(after)
        try:
            return _Step(after, tried=True, ended=self._roll_forward(after))
        except (OSError, EnvironmentTrouble, JournalError) as error:
            return _Step(after, tried=True, error=error)
        finally:
            self._free.release()

    def _write_receipt(
        self, job: Job, decision: Deliver, end: AttemptEnd | None, on_success: OnSuccess
    ) -> tuple[OutputFile, ...]:
        """Write what is delivered beside the outputs, into the work directory.

        It names no file: the set may get another name until all are in their places. Where it
        cannot be written, the outputs go without it: the journal has the same.
        """
        done = replace(
            job,
            state=JobState.DONE,
            ended_at=time.time(),
            warnings=decision.warnings,
            outputs=decision.outputs,
            on_success=on_success,
        )
        if end:
            seconds = job.encode_seconds + end.seconds
            media_seconds = end.media_seconds or job.media_seconds
            done = replace(done, encode_seconds=seconds, media_seconds=media_seconds)
        attempts = self._journal.ask_blocking(Journal.attempts, job.id)
        told = of_job(done, attempts, decision.receipt, ends=end)
        content = json.dumps(told, indent=2).encode() + b"\n"
        try:
            self._work.write(job.id, job.run, RECEIPT_NAME, content)
        except (OSError, EnvironmentTrouble) as error:
            why = getattr(error, "strerror", None) or error
            words = f"its receipt is not written beside the output: {why}"
            log_job(log, job, words, level=logging.WARNING)
            return ()
        return (OutputFile(RECEIPT_NAME, ".json", len(content), OutputRole.RECEIPT),)

    async def cancel(
        self, job: Job, report: str | None = None, end: AttemptEnd | None = None
    ) -> None:
        """Deliver a job that is not wanted any more; report is what its attempt wrote."""
        decision = Deliver(
            Verdict.CANCELLED, cause=Cause.CANCELLED, reason="cancelled", report=report
        )
        await self.conclude(job, decision, end)

    async def ask_until_written(
        self, question: Question[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Ask the journal until it can be written: a finished encode is not to be lost to it."""
        while True:
            try:
                answer = await self._journal.ask(question, *args, **kwargs)
            except JournalError as error:
                await self._wait_for_journal(error)
            else:
                self._troubles.clear(Trouble.JOURNAL)
                return answer

    async def _wait_for_journal(self, error: JournalError) -> None:
        """Report it and wait a while; raise it where the daemon ends."""
        self._troubles.report(Trouble.JOURNAL, str(error), retry_seconds=JOURNAL_SECONDS)
        if self._signals.stop.is_set():
            raise error
        await wait_at_most(self._signals.stop, JOURNAL_SECONDS)

    # carry out

    async def begin(self, job: Job, *, again: bool = False) -> None:
        """Deliver a job in the background; waits while too many wait for it. Idempotent.

        again: the row was read a while ago, and an earlier try may have ended it since.
        """
        if job.id in self.tasks:
            return
        task = self.tasks[job.id] = asyncio.create_task(self._deliver(job, again))

        def end(task: asyncio.Task[None]) -> None:
            """Forget the task."""
            self.tasks.pop(job.id, None)
            if not task.cancelled() and (bug := task.exception()):
                self._signals.report_bug(bug)
            self._signals.changed()

        task.add_done_callback(end)
        while len(self.tasks) > 2 * AT_ONCE:
            await asyncio.wait(self.tasks.values(), return_when=asyncio.FIRST_COMPLETED)

    async def _deliver(self, job: Job, again: bool) -> None:
        ended, failure = None, None
        try:
            ended = await in_thread(self._deliver_again, job, again)
        except (OSError, EnvironmentTrouble, JournalError) as error:
            failure = error
        self._take_end(job, ended, failure)

    def _take_end(self, job: Job, ended: Job | None, error: Exception | None) -> None:
        """Take the end of a try to deliver."""
        if error:
            self._stuck.add(job.id)
            self._retry_later()
            name = printable(job.source)
            sentence = f"job {job.id} ({name}) cannot be delivered yet: {_why(error)}"
            self._troubles.report(Trouble.DELIVERY, sentence, blocks=False, job=job)
            return
        self._stuck.discard(job.id)
        self._troubles.clear(Trouble.DELIVERY, job)
        if ended:
            self.failed += ended.state is JobState.FAILED
            reason = ended.reason if ended.state is JobState.FAILED else None
            log_transition(log, ended, JobState.DELIVERING, ended.state, reason)
            # something new may lie under its name by now
            self._context.request.scan_name(ended.source)

    def _deliver_again(self, job: Job, again: bool) -> Job | None:
        with self._free:
            if again:
                fresh = self._journal.ask_blocking(Journal.get, job.id)
                if fresh is None or fresh.state is not JobState.DELIVERING:
                    return None
                job = fresh
            return self._roll_forward(job)

    def _roll_forward(self, job: Job) -> Job | None:
        """Deliver one job, remember its end, and only then remove its work; on a thread."""
        order = order_of(job, DeliverySettings.of(self._context.config.now))
        state, held = self.destination.deliver(order, self._retarget)
        now = time.time()
        if state is JobState.SUPERSEDED:
            ended = self._journal.ask_blocking(
                Journal.supersede, job.id, JobState.DELIVERING, now, stale=False
            )
        else:
            ended = self._journal.ask_blocking(Journal.finish, job.id, state, now, held=held)
        self.destination.clear(job)
        return ended

    def _retarget(self, order: DeliveryOrder) -> None:
        self._journal.ask_blocking(
            Journal.retarget, order.job_id, outputs=order.names, original=order.original
        )

    async def run(self) -> None:
        """Take up what was under way; then try again what is stuck, for ever.

        Leftover work is removed first: an outbox may have been away when an attempt ended.
        """
        begun = False
        while True:
            self._signals.retry_deliveries.clear()
            with contextlib.suppress(EnvironmentTrouble, JournalError):
                await in_thread(self._work.sweep, self._open_among)
            if self._stuck or not begun:
                try:
                    for job in await self._journal.ask(Journal.in_state, JobState.DELIVERING):
                        await self.begin(job, again=True)
                    begun = True
                except JournalError as error:
                    log.warning("%s", error)
                    self._retry_later()
            await self._signals.retry_deliveries.wait()

    def _open_among(self, job_ids: Collection[int]) -> list[Job]:
        return self._journal.ask_blocking(Journal.open_among, job_ids)

    def _retry_later(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        self._timer = None
        self._signals.retry_deliveries.set()

    async def finish(self, seconds: float) -> bool:
        """Wait for those under way; return whether all came to an end."""
        return await all_ended(self.tasks.values(), seconds, self._signals.force_exit)


def _why(error: Exception) -> str:
    """Return what keeps a delivery from being done, and what to do where that is known."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    names = [printable(os.fsdecode(n)) for n in (error.filename, error.filename2) if n is not None]
    said = f"{error.strerror} ({' → '.join(names)})" if names else error.strerror
    if error.errno in (errno.EACCES, errno.EPERM):
        said += f"; user {os.geteuid()} must be able to write the folders of both"
    return said

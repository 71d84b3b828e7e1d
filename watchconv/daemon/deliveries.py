"""Deliveries: a decision is committed to the journal, then carried out until it is done.

At most ``AT_ONCE`` at a time, each on a thread, so that a slow copy holds up nobody. One that
cannot be done now is reported as trouble and tried again every ``RETRY_SECONDS``, when a folder is
back, and at each start; it is never encoded again for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import time
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from watchconv.daemon.context import all_ended, wait_at_most
from watchconv.deliver.destination import DeliverySettings, order_of
from watchconv.encode.classify import compose_report
from watchconv.errors import EnvironmentTrouble, JournalError
from watchconv.host.threads import in_thread
from watchconv.journal.jobs import Journal
from watchconv.logs.format import log_transition
from watchconv.model import Cause, Job, JobState, Request, Trouble, Verdict
from watchconv.names import printable
from watchconv.policy import Deliver

if TYPE_CHECKING:
    from collections.abc import Collection

    from watchconv.daemon.context import Context
    from watchconv.deliver.destination import DeliveryOrder, Destination
    from watchconv.host.workdir import WorkDirectories
    from watchconv.journal.thread import Question
    from watchconv.model import AttemptEnd

log = logging.getLogger(__name__)

AT_ONCE = 4
RETRY_SECONDS = 60.0
JOURNAL_SECONDS = 5.0

T = TypeVar("T")
P = ParamSpec("P")


class Deliveries:
    """Commits decisions and carries DELIVERING jobs to their end."""

    def __init__(self, context: Context, destination: Destination, work: WorkDirectories) -> None:
        self._config, self._journal = context.config, context.journal
        self._troubles, self._signals = context.troubles, context.signals
        self._destination, self._work = destination, work
        self._request = context.request
        self._free = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._stuck: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.failed = 0  # jobs that have ended in error/
        self.bug: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def under_way(self) -> int:
        """How many deliveries are being tried now."""
        return len(self._tasks)

    @property
    def stuck(self) -> int:
        """How many deliveries cannot be done now."""
        return len(self._stuck)

    # commit

    async def conclude(self, job: Job, decision: Deliver, end: AttemptEnd | None) -> Job | None:
        """Commit what is to be delivered, then begin it; None when the job has moved on.

        A cancel that is not answered yet comes before any other verdict.
        """
        intent = await in_thread(
            self._destination.plan, job, decision.verdict, decision.outputs, self._settings
        )
        report = decision.report
        if decision.verdict is not Verdict.ENCODED and not report:
            report = compose_report(job, (), None, "")
        intent = intent._replace(
            cause=decision.cause,
            reason=decision.reason,
            report=report,
            warnings=decision.warnings,
        )
        if after := await self.insist(Journal.intend, job, intent, end):
            log_transition(log, job, job.state, JobState.DELIVERING, decision.reason)
            await self.begin(after)
            return after
        if decision.verdict is not Verdict.CANCELLED:
            fresh = await self.insist(Journal.get, job.id)
            if fresh and fresh.request is Request.CANCEL:
                return await self.cancel(fresh, report, end)
        return None

    async def cancel(
        self, job: Job, report: str | None = None, end: AttemptEnd | None = None
    ) -> Job | None:
        """Deliver a job that is not wanted any more; report is what its attempt wrote."""
        decision = Deliver(
            Verdict.CANCELLED, cause=Cause.CANCELLED, reason="cancelled", report=report
        )
        return await self.conclude(job, decision, end)

    async def insist(self, question: Question[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask the journal until it can be written: a finished encode is not to be lost to it."""
        while True:
            try:
                answer = await self._journal.ask(question, *args, **kwargs)
            except JournalError as error:
                self._troubles.report(Trouble.JOURNAL, str(error), retry_seconds=JOURNAL_SECONDS)
                if self._signals.stop.is_set():
                    raise
                await wait_at_most(self._signals.stop, JOURNAL_SECONDS)
            else:
                self._troubles.clear(Trouble.JOURNAL)
                return answer

    async def discard(self, job: Job) -> None:
        """Remove the work of a job's attempt."""
        await in_thread(self._work.remove_attempt, job.id, job.run)

    # carry out

    async def begin(self, job: Job, *, again: bool = False) -> None:
        """Deliver a job in the background; waits while too many wait for it. Idempotent.

        again: the row was read a while ago, and an earlier try may have ended it since.
        """
        if job.id in self._tasks:
            return
        task = self._tasks[job.id] = asyncio.create_task(self._deliver(job, again))
        task.add_done_callback(lambda _: self._take_end(job.id, task))
        while len(self._tasks) > 2 * AT_ONCE:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)

    def _take_end(self, job_id: int, task: asyncio.Task[None]) -> None:
        del self._tasks[job_id]
        if not task.cancelled() and (bug := task.exception()) and not self.bug.done():
            self.bug.set_exception(bug)
        self._signals.changed()

    async def _deliver(self, job: Job, again: bool) -> None:
        try:
            async with self._free:
                ended = await in_thread(self._roll_forward, job, again)
        except (OSError, EnvironmentTrouble, JournalError) as error:
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
            self._request.name(ended.source)  # something new may lie under its name by now

    def _roll_forward(self, job: Job, again: bool) -> Job | None:
        """Deliver one job, remember its end, and only then remove its work; on a thread."""
        if again:
            fresh = self._journal.ask_blocking(Journal.get, job.id)
            if fresh is None or fresh.state is not JobState.DELIVERING:
                return None
            job = fresh
        order = order_of(job, self._settings)
        state, held = self._destination.deliver(order, self._retarget)
        now = time.time()
        if state is JobState.SUPERSEDED:
            ended = self._journal.ask_blocking(
                Journal.supersede, job.id, JobState.DELIVERING, now, stale=False
            )
        else:
            ended = self._journal.ask_blocking(Journal.finish, job.id, state, now, held=held)
        self._destination.clear(job)
        return ended

    def _retarget(self, order: DeliveryOrder) -> None:
        self._journal.ask_blocking(
            Journal.retarget, order.job_id, outputs=order.names, original=order.original
        )

    @property
    def _settings(self) -> DeliverySettings:
        return DeliverySettings.of(self._config.now)

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
        return await all_ended(self._tasks.values(), seconds, self._signals.force_exit)


def _why(error: Exception) -> str:
    """Return what keeps a delivery from being done, and what to do where that is known."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    names = [printable(os.fsdecode(n)) for n in (error.filename, error.filename2) if n is not None]
    said = f"{error.strerror} ({' → '.join(names)})" if names else error.strerror
    if error.errno in (errno.EACCES, errno.EPERM):
        said += f"; user {os.geteuid()} must be able to write the folders of both"
    return said

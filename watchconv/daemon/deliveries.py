"""Deliveries under way: each DELIVERING job is rolled forward until it is done.

Guarantees: at most ``AT_ONCE`` at a time, each on a thread, so that a slow copy holds up nobody;
a delivery that cannot be done now is told as trouble and tried again every ``RETRY_SECONDS``,
when a trouble ends, and at each start; it is never encoded again for that.
Does not know how files are moved: ``deliver.outbox`` does.
Errors: none leave this room but bugs.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from watchconv.daemon.wakeup import EarliestTimer
from watchconv.daemon.workers import all_ended
from watchconv.deliver.destination import order_of
from watchconv.errors import EnvironmentTrouble, JournalError
from watchconv.journal.jobs import Journal
from watchconv.model import Job, JobState
from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchconv.daemon.trouble import Troubles
    from watchconv.deliver.destination import DeliveryOrder, DeliverySettings, Destination
    from watchconv.journal.thread import JournalThread

log = logging.getLogger(__name__)

AT_ONCE = 4
RETRY_SECONDS = 60.0


class Deliveries:
    """Carries DELIVERING jobs to their end."""

    def __init__(
        self,
        destination: Destination,
        journal: JournalThread,
        troubles: Troubles,
        settings: Callable[[], DeliverySettings],
        ended: Callable[[Job], None],
    ) -> None:
        """Take what does the work, and whom to tell of each job that has ended."""
        self._destination, self._journal, self._troubles = destination, journal, troubles
        self._settings = settings
        self._ended = ended
        self._threads = ThreadPoolExecutor(AT_ONCE, "deliver")
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._stuck: set[int] = set()
        self.moved: Callable[[], None] = lambda: None  # called when a try has ended, well or not
        self.retry = asyncio.Event()
        self._later = EarliestTimer(self.retry.set)
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # by a bug

    @property
    def under_way(self) -> int:
        """Count the deliveries that are being tried now."""
        return len(self._tasks)

    @property
    def stuck(self) -> int:
        """Count the deliveries that cannot be done now."""
        return len(self._stuck)

    async def begin(self, job: Job, *, again: bool = False) -> None:
        """Deliver a job in the background; waits while too many are under way. Idempotent.

        again: it was read a while ago, and an earlier try may have ended it since.
        """
        if job.id in self._tasks:
            return
        task = self._tasks[job.id] = asyncio.create_task(self._deliver(job, again))
        task.add_done_callback(lambda _: self._take_end(job.id, task))
        while len(self._tasks) > 2 * AT_ONCE:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)

    def _take_end(self, job_id: int, task: asyncio.Task[None]) -> None:
        del self._tasks[job_id]
        if not task.cancelled() and (bug := task.exception()) and not self.broken.done():
            self.broken.set_exception(bug)
        self.moved()

    async def _deliver(self, job: Job, again: bool) -> None:
        cause = f"job {job.id}"
        try:
            loop = asyncio.get_running_loop()
            ended = await loop.run_in_executor(self._threads, self._roll_forward, job, again)
        except (OSError, EnvironmentTrouble, JournalError) as error:
            name = printable(job.source)
            self._stuck.add(job.id)
            self._later.set(RETRY_SECONDS)
            sentence = f"job {job.id} ({name}) cannot be delivered yet: {_why(error)}"
            self._troubles.tell(cause, sentence, blocking=False, job=job)
        else:
            self._stuck.discard(job.id)
            self._troubles.end(cause)
            if ended:
                self._ended(ended)

    def _roll_forward(self, job: Job, again: bool) -> Job | None:
        """Deliver one job, remember its end, and only then remove its work; on a thread."""
        if again:
            fresh = self._journal.ask_blocking(Journal.get, job.id)
            if fresh is None or fresh.state is not JobState.DELIVERING:
                return None
            job = fresh
        state, held = self._destination.deliver(order_of(job, self._settings()), self._retarget)
        now = time.time()
        if state is JobState.SUPERSEDED:
            expected = JobState.DELIVERING
            ended = self._journal.ask_blocking(
                Journal.supersede, job.id, expected, now, stale=False
            )
        else:
            ended = self._journal.ask_blocking(Journal.finish, job.id, state, now, held=held)
        self._destination.clear(job)
        return ended

    def _retarget(self, order: DeliveryOrder) -> None:
        output = order.names[0] if order.names else None
        self._journal.ask_blocking(
            Journal.retarget, order.job_id, output=output, original=order.original
        )

    async def resume(self) -> None:
        """Begin every delivery that the journal knows of and that is not under way."""
        for job in await self._journal.ask(Journal.in_state, JobState.DELIVERING):
            await self.begin(job, again=True)

    async def run(self) -> None:
        """Take up what was under way; then try the stuck ones again, for ever.

        They are tried when somebody tells to, and from time to time.
        """
        taken_up = False
        while True:
            if self._stuck or not taken_up:
                try:
                    await self.resume()
                    taken_up = True
                except JournalError as error:
                    log.warning("%s", error)
                    self._later.set(RETRY_SECONDS)
            await self.retry.wait()
            self.retry.clear()

    async def finish(self, seconds: float, hurry: asyncio.Event) -> bool:
        """Wait for those under way, as ``all_ended`` does; tell whether all came to an end."""
        await all_ended(self._tasks.values(), seconds, hurry)
        self._threads.shutdown(wait=not self._tasks)
        return not self._tasks


def _why(error: Exception) -> str:
    """Say what keeps a delivery from being done, and what to do where that is known."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    names = [printable(os.fsdecode(n)) for n in (error.filename, error.filename2) if n is not None]
    said = f"{error.strerror} ({' → '.join(names)})" if names else error.strerror
    if error.errno in (errno.EACCES, errno.EPERM):
        said += f"; user {os.geteuid()} must be able to write the folders of both"
    return said

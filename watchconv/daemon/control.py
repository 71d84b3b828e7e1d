"""What people asked for by commands: pause, resume, retry, cancel.

A request is in the journal before it is acted on, and acting on it can be repeated after a crash;
a retried original never replaces anything in the inbox. A request that cannot be carried out now
is kept and reported as trouble; one that never can be is logged and dropped.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from typing import TYPE_CHECKING

from watchconv.daemon.context import wait_at_most
from watchconv.errors import EnvironmentTrouble, JournalError
from watchconv.host.threads import in_thread
from watchconv.intake.filters import profile_for
from watchconv.journal import requests
from watchconv.journal.jobs import PAUSED, Journal
from watchconv.logs.format import log_job, log_transition
from watchconv.model import Job, JobState, Request, Trouble, mtime_ns
from watchconv.names import printable

if TYPE_CHECKING:
    from watchconv.daemon.context import Context
    from watchconv.daemon.deliveries import Deliveries
    from watchconv.daemon.dispatcher import Dispatcher
    from watchconv.deliver.outbox import LocalFolders

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0


class Control:
    """Carries requests out."""

    def __init__(
        self,
        context: Context,
        dispatcher: Dispatcher,
        deliveries: Deliveries,
        destination: LocalFolders,
    ) -> None:
        self._context, self._journal = context, context.journal
        self._dispatcher, self._deliveries = dispatcher, deliveries
        self._destination = destination
        self._put_off = False

    async def run(self) -> None:
        """Serve at each wake-up, for ever, and try again what was put off."""
        signals = self._context.signals
        while True:
            signals.mounts_learnt.set()  # perhaps mounts are to be forgotten
            signals.changed()
            await wait_at_most(signals.requests, RETRY_SECONDS if self._put_off else None)
            signals.requests.clear()
            await self.serve()

    async def serve(self) -> None:
        """Do all that was asked for and not yet done; report what cannot be done now. Idempotent.

        Called once before ``run``: a pause and a cancel come before the first claim.
        """
        journal, troubles = self._journal, self._context.troubles
        put_off: EnvironmentTrouble | JournalError | None = None
        try:
            self._dispatcher.set_paused(await journal.ask(Journal.setting, PAUSED) is not None)
            for job in await journal.ask(requests.noted):
                try:
                    if job.request is Request.RETRY:
                        await self._retry(job)
                    elif attempt := self._dispatcher.attempts.get(job.id):
                        attempt.stop(kill=True)  # its worker sees the request
                    elif job.state is JobState.QUEUED:
                        await self._deliveries.cancel(job)
                    elif job.state is not JobState.RUNNING:
                        await journal.ask(requests.drop, job.id)
                except EnvironmentTrouble as trouble:  # the others may be possible
                    put_off = trouble
        except JournalError as error:
            put_off = error
        if put_off:
            troubles.report(Trouble.REQUESTS, str(put_off), blocks=False)
        else:
            troubles.clear(Trouble.REQUESTS)
        self._put_off = put_off is not None

    async def _retry(self, job: Job) -> None:
        name = printable(job.original or job.source)
        try:
            after = await in_thread(self._bring_back, job)
        except (FileNotFoundError, FileExistsError) as error:
            words = f"cannot be retried: {error.strerror} ({name})"
            log_job(log, job, words, level=logging.WARNING)
            await self._journal.ask(requests.drop, job.id)
            return
        except OSError as error:
            sentence = f"job {job.id} cannot be retried yet: {error.strerror} ({name})"
            raise EnvironmentTrouble(sentence) from error
        if after:
            log_transition(log, after, JobState.FAILED, JobState.QUEUED)
            self._context.signals.changed(work=True)

    def _bring_back(self, job: Job) -> Job | None:
        """Move a failed original back into the inbox, then queue its job; on a thread."""
        config, destination = self._context.config.now, self._destination
        original = job.original or job.source
        if problems := self._context.folders.problems():
            raise EnvironmentTrouble(f"job {job.id} cannot be retried yet: {problems[0]}")
        failed = os.path.join(config.error, original)
        if not os.path.lexists(failed) and self._journal.ask_blocking(requests.has_begun, job.id):
            back = job.source  # an earlier try moved it
        else:
            self._demand_original(job, original, os.lstat(failed))

            def reserve(name: str) -> bool:
                """Have the journal hold a name in the inbox."""
                return self._journal.ask_blocking(requests.begin_retry, job.id, name)

            back = destination.bring_back(job.id, original, job.source, reserve)
        found = os.stat(os.path.join(config.inbox, back))
        destination.remove_report(job.id, original)
        profile = profile_for(back, config.all_profiles, config.profile)
        return self._journal.ask_blocking(
            Journal.retry, job.id, found.st_size, mtime_ns(found), profile, time.time()
        )

    def _demand_original(self, job: Job, original: str, found: os.stat_result) -> None:
        """Raise FileNotFoundError unless what lies under an original's name may count as it.

        It may have been repaired since; but another job's original may have come in its place.
        """
        if not stat.S_ISREG(found.st_mode):
            raise FileNotFoundError(errno.ENOENT, "what has its original's name is no file")
        if (found.st_size, mtime_ns(found)) == (job.size, job.mtime_ns):
            return
        newer = self._journal.ask_blocking(requests.newest_failed, original)
        if newer != job.id:
            words = f"under its original's name lies that of job {newer} now; retry that one"
            raise FileNotFoundError(errno.ENOENT, words)

"""What people asked for on the command line: pause, resume, retry, cancel.

Guarantees: a request is in the journal before it is acted on, and acting on it can be repeated
after a crash; a retried original never replaces anything in the inbox.
Does not decide whether a request is allowed: ``requests.note`` did.
Errors: ``JournalError``; ``EnvironmentTrouble`` when something cannot be done now: the request is
kept. One that never can be carried out is logged and dropped.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
import time
from typing import TYPE_CHECKING

from watchconv.errors import EnvironmentTrouble
from watchconv.intake.routing import profile_for
from watchconv.journal import requests
from watchconv.journal.jobs import PAUSED, Journal
from watchconv.logs.format import log_transition, tell
from watchconv.model import Job, JobState, Request, mtime_ns
from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchconv.config import Config
    from watchconv.daemon.worker import Pool
    from watchconv.deliver.outbox import LocalFolders
    from watchconv.encode.engine import Engine
    from watchconv.host.folders import Folders
    from watchconv.journal.thread import JournalThread

log = logging.getLogger(__name__)


class Requests:
    """Carries requests out."""

    def __init__(
        self,
        config: Callable[[], Config],
        folders: Folders,
        journal: JournalThread,
        pool: Pool,
        engine: Engine,
        outbox: LocalFolders,
    ) -> None:
        self._outbox = outbox
        self._config, self._folders, self._journal = config, folders, journal
        self._pool, self._engine = pool, engine

    async def carry_out(self) -> None:
        """Do all that was asked for and not yet done. Idempotent."""
        self._set_paused(await self._journal.ask(Journal.setting, PAUSED) is not None)
        put_off = None
        for job in await self._journal.ask(requests.noted):
            try:
                await (self._retry(job) if job.request is Request.RETRY else self._cancel(job))
            except EnvironmentTrouble as trouble:
                put_off = trouble
        if put_off:
            raise put_off

    def _set_paused(self, paused: bool) -> None:
        if self._pool.claims.paused != paused:
            log.info("paused: no new job is claimed" if paused else "resumed")
        self._pool.claims.paused = paused
        if not paused:
            self._pool.wake()

    async def _cancel(self, job: Job) -> None:
        match job.state:
            case JobState.RUNNING:
                self._engine.stop(job, kill=True)  # its worker sees the request
            case JobState.QUEUED:
                await self._pool.cancel(job)
            case _:
                await self._journal.ask(requests.drop, job.id)

    async def _retry(self, job: Job) -> None:
        name = printable(job.original or job.source)
        try:
            after = await asyncio.to_thread(self._bring_back, job)
        except (FileNotFoundError, FileExistsError) as error:
            words = f"cannot be retried: {error.strerror} ({name})"
            tell(log, job, words, level=logging.WARNING)
            await self._journal.ask(requests.drop, job.id)
            return
        except OSError as error:
            sentence = f"job {job.id} cannot be retried yet: {error.strerror} ({name})"
            raise EnvironmentTrouble(sentence) from error
        if after:
            log_transition(log, after, JobState.FAILED, JobState.QUEUED)
            self._pool.moved()

    def _bring_back(self, job: Job) -> Job | None:
        """Move a failed original back into the inbox, then queue its job; on a thread."""
        assert job.original is not None
        if problems := self._folders.problems():
            raise EnvironmentTrouble(f"job {job.id} cannot be retried yet: {problems[0]}")
        failed = os.path.join(self._config().error, job.original)
        if not os.path.lexists(failed) and self._journal.ask_blocking(requests.has_begun, job.id):
            back = job.source  # an earlier try moved it
        else:
            self._demand_original(job, os.lstat(failed))

            def reserve(name: str) -> bool:
                """Have the journal hold a name in the inbox."""
                return self._journal.ask_blocking(requests.begin_retry, job.id, name)

            back = self._outbox.bring_back(job.id, job.original, job.source, reserve)
        path = os.path.join(self._config().inbox, back)
        found = os.stat(path)
        self._outbox.remove_report(job.id, job.original)
        profile = profile_for(back, self._config().all_profiles, self._config().profile)
        return self._journal.ask_blocking(
            Journal.retry, job.id, found.st_size, mtime_ns(found), profile, time.time()
        )

    def _demand_original(self, job: Job, found: os.stat_result) -> None:
        """Raise FileNotFoundError unless what lies under an original's name may count as it.

        It may have been repaired since; but another job's original may have come in its place.
        """
        if not stat.S_ISREG(found.st_mode):
            raise FileNotFoundError(errno.ENOENT, "what has its original's name is no file")
        if (found.st_size, mtime_ns(found)) == (job.size, job.mtime_ns):
            return
        newer = self._journal.ask_blocking(requests.newest_failed, str(job.original))
        if newer != job.id:
            words = f"under its original's name lies that of job {newer} now; retry that one"
            raise FileNotFoundError(errno.ENOENT, words)

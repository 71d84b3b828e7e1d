"""What a daemon is made of, put together: who asks whom, and who hears of what.

Guarantees: whatever changes wakes all who may have something to do now.
Does not begin or end anything that runs, but for ``close``. Errors: none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from watchconv.daemon.control import Requests
from watchconv.daemon.deliveries import Deliveries
from watchconv.daemon.once import Once
from watchconv.daemon.recovery import sweep
from watchconv.daemon.scan_loop import ScanLoop
from watchconv.daemon.status import StatusPublisher
from watchconv.daemon.wakeup import Bell, call
from watchconv.daemon.worker import Pool
from watchconv.deliver.destination import DeliverySettings
from watchconv.deliver.outbox import LocalFolders
from watchconv.encode.engine import LocalEngine
from watchconv.errors import JournalError
from watchconv.host.folders import UNMOUNTED
from watchconv.host.workdir import WorkDirectories
from watchconv.intake.scan import InboxScanner, ScanResult
from watchconv.journal.jobs import Journal
from watchconv.logs.format import log_transition
from watchconv.media.probe import ProbeWorker
from watchconv.model import Job, JobState

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchconv.config import Config
    from watchconv.daemon.status import Listener
    from watchconv.daemon.trouble import Troubles
    from watchconv.host.folders import Folders
    from watchconv.journal.thread import JournalThread

log = logging.getLogger(__name__)


class Components:
    """The parts of one daemon. Belongs to one event loop."""

    def __init__(
        self,
        config: Callable[[], Config],
        program: str,
        journal: JournalThread,
        folders: Folders,
        troubles: Troubles,
        listener: Listener | None,
        *,
        mark: str,
    ) -> None:
        """Take what gives the configuration, the ffmpeg, and the children's mark."""
        self._config, self._journal = config, journal
        if listener:
            loop = asyncio.get_running_loop()
            journal.tell(lambda job: call(loop, lambda: listener.job_changed(job)))
        self.probe, self._reader = (
            ProbeWorker(mark, sandbox=lambda: config().sandbox) for _ in range(2)
        )
        self.engine = LocalEngine(config, program, self.probe, self._reader, mark=mark)
        self.work = WorkDirectories(folders)
        self.outbox = LocalFolders(folders, self.work)
        self.deliveries = Deliveries(
            self.outbox,
            journal,
            troubles,
            lambda: DeliverySettings.of(config()),
            ended=self._take_end,
        )
        self.pool = Pool(
            config, folders, journal, troubles, self.engine, self.deliveries, self.outbox
        )
        self._scan_journal = Journal(config().state)
        scanner = InboxScanner(config().inbox, self._scan_journal, folders)
        self.looking = ScanLoop(config, folders, scanner, troubles, self._take_look, self.announce)
        self.present = StatusPublisher(
            config().state, self.engine, self.pool, self.looking, troubles, journal, listener
        )
        self.requests = Requests(config, folders, journal, self.pool, self.engine, self.outbox)
        self.once = Once(self.looking, self.pool, self.deliveries, troubles, journal)
        self.pool.rescan = self.looking.rescan
        self.looking.healed = self._take_folders_back
        self.pool.moved = self.deliveries.moved = self.announce
        self.bell = Bell(config().state)

    def renew(self, config: Config) -> None:
        """Make anew what was made of the configuration; the rest asks for it each time."""
        self.pool.resize(config.jobs)
        self.looking.look_at_all()

    def announce(self) -> None:
        """Wake whoever may have something to do now."""
        self.pool.wake()
        self.present.changed.set()
        self.once.moved.set()

    def _take_look(self, looked: ScanResult | None) -> None:
        """Hear what a look did; None: it could not be."""
        if looked:
            if looked.first_seen and self.probe.pid is None and not self.pool.claims.paused:
                self.probe.warm()  # while the first file still settles
            for job in map(self.pool.running.get, looked.taken_away):
                if job:
                    self.engine.stop(job, kill=True)
        self.announce()

    async def _take_folders_back(self) -> None:
        """Hear that the folders are well again."""
        self.deliveries.retry.set()
        with contextlib.suppress(JournalError):  # else the jobs go on when their time has come
            await self._journal.ask(Journal.hurry, UNMOUNTED)
            self.announce()
        await sweep(self._journal, self.work)

    def _take_end(self, job: Job) -> None:
        """Hear of a job's end."""
        self.once.failed += job.state is JobState.FAILED
        reason = job.reason if job.state is JobState.FAILED else None
        log_transition(log, job, JobState.DELIVERING, job.state, reason)
        self.looking.rescan(job.source)  # something new may lie under its name by now
        self.announce()

    async def close(self) -> None:
        """End what holds threads and children."""
        await asyncio.gather(
            self.bell.close(), self.looking.close(), self.probe.close(), self._reader.close()
        )
        self._scan_journal.close()

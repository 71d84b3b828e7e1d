"""The daemon's life: begin, run, end. Its concerns are listed in the package's own words."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Any, Protocol

from watchconv import live
from watchconv.convert.engine import LocalEngine
from watchconv.convert.leftovers import end_leftovers
from watchconv.convert.probe import ProbeWorker
from watchconv.convert.program import examine_program, find_program, missing_encoders
from watchconv.convert.sandbox.support import ready
from watchconv.daemon.bell import Bell
from watchconv.daemon.deliveries import Deliveries
from watchconv.daemon.journal_thread import JournalThread
from watchconv.daemon.looking import Looking
from watchconv.daemon.pool import Pool
from watchconv.daemon.present import Present
from watchconv.daemon.requests import Requests
from watchconv.daemon.trouble import Troubles
from watchconv.deliver.files import Ownership
from watchconv.deliver.outbox import Disposal, Outbox
from watchconv.errors import ConfigError, EnvironmentTrouble, JournalError
from watchconv.folders import Folders, mount_of
from watchconv.intake.look import Intake, Looked
from watchconv.intake.plan import profile_for
from watchconv.intake.sieve import Sieve
from watchconv.intake.waiting import Patience, Waiting
from watchconv.journal import MOUNTS, PAUSED, Journal
from watchconv.model import Job, JobState, Verdict
from watchconv.names import printable
from watchconv.notify import notify, watchdog_seconds

if TYPE_CHECKING:
    from watchconv.config import Config
    from watchconv.convert.program import Program

log = logging.getLogger(__name__)

DAY_SECONDS = 86400.0
RETRY_SECONDS = 5.0
MAY_END = ("ready", "bell")  # the tasks that do not live as long as the daemon
RECOVERED = "watchconv or the machine went down each time while this was converted"


class Listener(Protocol):
    """Who hears of state changes and of the present."""

    def job_changed(self, job: Job) -> None:
        """Hear of a job's new state."""
        ...

    def present(self, now: live.Live) -> None:
        """Hear what is running and how far it is; about once a second while jobs run."""
        ...


class Daemon:
    """One daemon on one configuration. ``run`` lives it from start to end, once."""

    def __init__(
        self,
        config: Config,
        *,
        once: bool = False,
        make_folders: bool = False,
        listener: Listener | None = None,
    ) -> None:
        """Take the configuration; once ends when the inbox is worked off.

        make_folders makes the four folders that are missing, as --root promises.
        """
        self._config, self._once, self._make_folders = config, once, make_folders
        self._listener = listener
        self._failed = 0
        self.unfinished = False  # a delivery was still under way at the end
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._moved = asyncio.Event()  # for the end of a run --once
        self._folders = Folders(config.inbox, config.outbox, config.done, config.error)
        self._troubles = Troubles()

    async def run(self) -> int:
        """Live from start to end; return the exit code.

        Raises AlreadyRunning, JournalError, ConfigError or MissingExtra at the start.
        """
        program = await asyncio.to_thread(self._begin)
        self._assemble(program)
        try:
            await self._recover()
            return await self._live()
        finally:
            await self._end()

    # beginning

    def _begin(self) -> Program:
        """Check what must be well before anything starts, and take the locks."""
        os.makedirs(self._config.state, mode=0o700, exist_ok=True)
        os.makedirs(os.path.join(self._config.state, live.WAKE_DIR), exist_ok=True)
        if self._make_folders:
            self._folders.make()
        self._folders.lock(self._config.state)
        program = examine_program(find_program(self._config.ffmpeg), self._config.state)
        needed = {*self._config.profiles, self._config.profile}
        profiles = {name: self._config.all_profiles[name] for name in needed}
        if missing := missing_encoders(program, profiles):
            raise ConfigError("\n".join(missing))
        for sentence in ready(self._config.sandbox):
            log.warning("%s", sentence)
        if mount_of(self._config.state).is_network:
            log.warning("the state %s is on a network file system", self._config.state)
        self._mark = os.path.realpath(self._config.state)
        if ended := end_leftovers(self._mark):
            log.warning("ended %d processes that an earlier watchconv left", ended)
        self._journal = JournalThread(self._config.state)
        return program

    def _assemble(self, program: Program) -> None:
        config = self._config
        self._probe, self._reader = ProbeWorker(self._mark), ProbeWorker(self._mark)
        self._engine = LocalEngine(config, program.path, self._probe, self._reader, mark=self._mark)
        ownership = Ownership(config.owner, config.group, config.mode, config.directory_mode)
        disposal = Disposal(config.on_success, config.preserve_mtime, ownership)
        self._outbox = Outbox(
            self._folders,
            disposal,
            lambda job_id, output, original: self._journal.ask(
                Journal.retarget, job_id, output=output, original=original
            ),
        )
        keep = config.on_success == "keep"
        self._deliveries = Deliveries(
            self._outbox, self._journal, self._troubles, keep_originals=keep, ended=self._ended
        )
        self._pool = Pool(
            config,
            self._folders,
            self._journal,
            self._troubles,
            self._engine,
            self._deliveries,
            self._outbox,
        )
        self._intake = self._make_intake()
        self._looking = Looking(
            config, self._folders, self._intake, self._troubles, self._take_look
        )
        self._present = Present(
            config.state,
            self._engine,
            self._pool,
            self._intake,
            self._troubles,
            self._listener.present if self._listener else None,
        )
        self._requests = Requests(config, self._journal, self._pool, self._engine)
        self._pool.changed = self._changed
        self._pool.look_again = self._looking.look_again
        self._looking.healed = self._deliveries.retry.set
        self._pool.moved = self._deliveries.moved = self._announce
        self._bell = Bell(config.state)

    def _make_intake(self) -> Intake:
        config = self._config
        patience = Patience(
            config.settle_seconds, config.settle_network_seconds, config.incomplete_after_seconds
        )
        loop = asyncio.get_running_loop()

        def announce() -> None:
            loop.call_soon_threadsafe(self._announce)

        def expect() -> None:
            if self._probe.pid is None and not self._pool.paused:
                loop.call_soon_threadsafe(self._probe.warm)

        return Intake(
            config.inbox,
            Sieve(config.extensions, config.ignore),
            Waiting(config.inbox, patience),
            self._journal.ask,
            profile_of=lambda source: profile_for(source, config.all_profiles, config.profile),
            expect=expect,
            wake_workers=announce,
        )

    async def _recover(self) -> None:
        """Take up what an earlier daemon left; a clean stop and a crash leave the same rows."""
        points = await self._journal.asked(Journal.setting, MOUNTS)
        self._folders.remember(json.loads(points) if points else {})
        running = await self._journal.asked(Journal.in_state, JobState.RUNNING)
        delivering = await self._journal.asked(Journal.in_state, JobState.DELIVERING)
        if not self._folders.troubles():
            await asyncio.to_thread(self._outbox.sweep, delivering)
        for job in running:
            if job.attempt >= self._config.max_attempts:
                await self._pool.deliver(job, Verdict.FAILED, job.reason or RECOVERED)
            else:
                await self._journal.asked(
                    Journal.requeue,
                    job.id,
                    refund=False,
                    not_before=0.0,
                    reason=job.reason,
                )
                log.info("job=%d running→queued: it was interrupted", job.id)
        await self._deliveries.resume()
        await self._requests.carry_out()

    # living

    async def _live(self) -> int:
        loop = asyncio.get_running_loop()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would lose exit statuses
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._take_signal)
        workers = {asyncio.create_task(worker) for worker in self._pool.workers()}
        tasks: set[asyncio.Task[None]] = {
            asyncio.create_task(work, name=name)
            for name, work in {
                "look": self._looking.run(),
                "bell": self._bell.run(),
                "requests": self._serve_requests(),
                "deliveries": self._deliveries.retry_stuck(),
                "present": self._present.run(),
                "ready": self._tell_ready(),
                "house": self._keep_house(),
            }.items()
        }
        if self._once:
            tasks.add(asyncio.create_task(self._end_when_done(), name="once"))
        stopped = asyncio.ensure_future(self._stop.wait())
        ends: set[asyncio.Future[Any]] = {t for t in tasks if t.get_name() not in MAY_END}
        ends |= {stopped, self._deliveries.broken, *workers}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        notify("STOPPING=1")
        for task in tasks:
            if task.get_name() == "look":
                task.cancel()
        await self._pool.close(workers, self._config.stop_grace_seconds, self._hurry)
        for end in (*tasks, stopped):
            end.cancel()
        ended = [worker for worker in workers if worker.done()]
        results = await asyncio.gather(*ended, *tasks, return_exceptions=True)
        if self._deliveries.broken.done():
            results.append(self._deliveries.broken.exception())
        for result in results:
            if isinstance(result, Exception):
                raise result
        delivered = await self._deliveries.finish(self._config.stop_grace_seconds)
        self.unfinished = not delivered or not all(worker.done() for worker in workers)
        if self.unfinished:
            log.warning("something is still under way: the next start takes it up")
        return int(self._once and (self._failed > 0 or bool(self._troubles.sentences)))

    def _take_signal(self) -> None:
        if self._stop.is_set():
            log.warning("stopping at once")
            self._hurry.set()
        else:
            log.info("stopping: running jobs are given %g s", self._config.stop_grace_seconds)
            self._stop.set()

    async def _serve_requests(self) -> None:
        while True:
            await self._bell.rung.wait()
            self._bell.rung.clear()
            try:
                await self._requests.carry_out()
            except (JournalError, EnvironmentTrouble) as error:
                log.warning("%s", error)
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self._bell.rung.set)
            self._announce()

    async def _tell_ready(self) -> None:
        await self._looking.first_done.wait()
        notify("READY=1")
        period = watchdog_seconds()
        while period:
            with contextlib.suppress(JournalError):
                await self._journal.asked(Journal.setting, PAUSED)
                notify("WATCHDOG=1")
            await asyncio.sleep(period / 2)

    # hearing

    def _take_look(self, looked: Looked | None) -> None:
        """Hear what a look did."""
        if looked:
            for job in map(self._pool.running.get, looked.taken_away):
                if job:
                    self._engine.stop(job, kill=True)
        self._announce()

    def _changed(self, job: Job) -> None:
        """Hear of a job's new state."""
        if self._listener:
            self._listener.job_changed(job)
        self._announce()

    def _ended(self, job: Job) -> None:
        """Hear of a job's end."""
        self._failed += job.state is JobState.FAILED
        self._pool.say(job, f"delivering→{job.state}")
        self._looking.look_again(job.source)  # something new may lie under its name by now
        self._changed(job)

    def _announce(self) -> None:
        """Wake whoever may have something to do now."""
        self._pool.wake()
        self._present.changed.set()
        self._moved.set()

    async def _keep_house(self) -> None:
        """Trim the history, and remember the mounts that hold the folders; once a day."""
        await self._looking.first_done.wait()
        while True:
            try:
                await self._tidy()
            except JournalError as error:
                log.warning("%s", error)
            await asyncio.sleep(DAY_SECONDS)

    async def _tidy(self) -> None:
        points = json.dumps(self._folders.remembered())
        if await self._journal.asked(Journal.setting, MOUNTS) != points:
            await self._journal.asked(Journal.remember, MOUNTS, points)
        days = self._config.keep_history_days
        if trimmed := await self._journal.asked(Journal.trim, days, time.time()):
            log.info("forgot %d jobs that ended more than %g days ago", trimmed, days)

    # ending

    async def _end_when_done(self) -> None:
        """End a ``run --once`` when the inbox is worked off, or nothing more can be done."""
        await self._looking.first_done.wait()
        while not await self._is_done():
            await self._moved.wait()
            self._moved.clear()
        for source, lacks in self._intake.waiting.lacking().items():
            log.warning("left in the inbox, for it is not whole: %s: %s", printable(source), lacks)
        self._stop.set()

    async def _is_done(self) -> bool:
        if self._looking.pending or self._pool.running or len(self._deliveries):
            return False
        if self._troubles.tells("folders"):
            return True
        counts = await self._journal.asked(Journal.counts)
        queued = counts[JobState.QUEUED]
        if queued and not self._pool.running and self._troubles.tells("space"):
            return True
        if queued and not self._pool.running and self._pool.paused:
            log.warning("paused with %d jobs queued; watchconv resume lets them go on", queued)
            self._failed += 1
            return True
        left = queued + counts[JobState.RUNNING] + counts[JobState.DELIVERING]
        waiting = self._intake.waiting
        return left <= self._deliveries.stuck and len(waiting) <= len(waiting.lacking())

    async def _end(self) -> None:
        await self._bell.close()
        await self._looking.close()
        await self._probe.close()
        await self._reader.close()
        self._journal.close()
        live.remove(self._config.state)
        self._folders.unlock()

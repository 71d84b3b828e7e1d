"""The daemon's life: begin, run, end. The package's docstring lists its concerns.

Guarantees: whatever hangs (a dead mount, a copy, a child), a stop comes to its end.
Does not do any of the work: the parts do, each in a module of its own.
Errors: those that the package lists; each ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from watchconv.daemon.app import Components
from watchconv.daemon.maintenance import maintain
from watchconv.daemon.recovery import recover
from watchconv.daemon.reload import Settings
from watchconv.daemon.systemd import notify
from watchconv.daemon.trouble import Troubles
from watchconv.daemon.wakeup import call
from watchconv.daemon.watchdog import Watchdog
from watchconv.errors import ConfigError, EnvironmentTrouble, JournalError, MissingExtra
from watchconv.host import status_file as live
from watchconv.host.folders import Folders, make_state
from watchconv.host.mounts import mount_of
from watchconv.journal.thread import CLOSE_SECONDS, JournalThread
from watchconv.names import printable
from watchconv.process.orphans import end_orphans

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchconv.config import Config
    from watchconv.daemon.scan_loop import ScanLoop
    from watchconv.daemon.status import Listener

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
# the longest that a stop takes, beside twice the grace (to finish, and for copies under way):
# twice what is left to a child that was told to end, then threads and probes that do not answer
LADDER_SECONDS = 45.0
# the first job would hold the first look up, and waits for it, as the first word of how we are
# waits for the folders' check: so long, at most
FIRST_LOOK_SECONDS = 3.0
MAY_END = ("pulse", "bell", "ready", "work")  # the tasks that do not live as long as the daemon


class Daemon:
    """One daemon on one configuration. ``run`` lives it from start to end, once."""

    def __init__(
        self,
        config: Config,
        *,
        once: bool = False,
        make_folders: bool = False,
        listener: Listener | None = None,
        reread: Callable[[], Config] | None = None,
    ) -> None:
        """Take the configuration; once ends when the inbox is worked off.

        make_folders makes the four folders that are missing, as --root promises. reread gives
        what the configuration's file holds by now, for SIGHUP.
        """
        self._settings = Settings(config, reread)
        self._config = self._settings.now
        self._once, self._make_folders, self._listener = once, make_folders, listener
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._reload = asyncio.Event()
        self._folders = Folders(config.inbox, config.outbox, config.done, config.error)
        self._troubles = Troubles()

    async def run(self) -> int:
        """Live from start to end; return the exit code.

        Raises AlreadyRunning, JournalError, ConfigError, EnvironmentTrouble or MissingExtra at the
        start.
        """
        parts = self._parts = await self._begin()
        try:
            most = self._config().max_attempts
            await recover(self._journal, self._folders, parts.work, parts.pool, most)
            await self._carry_out_requests()
            return await self._live()
        finally:
            await self._end()

    # beginning

    async def _begin(self) -> Components:
        program, mark = await asyncio.to_thread(self._prepare)
        return Components(
            self._config,
            program,
            self._journal,
            self._folders,
            self._troubles,
            self._listener,
            mark=mark,
        )

    def _prepare(self) -> tuple[str, str]:
        """Check what must be well before anything starts, and take the locks.

        Returns the ffmpeg to use, and the mark of our children.
        """
        state = self._config().state
        make_state(state, live.WAKE_DIR)
        if self._make_folders:
            self._folders.make()
        self._folders.check(state)
        program = self._settings.examine()
        if mount_of(state).is_network:
            log.warning("the state %s is on a network file system", state)
        mark = os.path.realpath(state)
        if ended := end_orphans(mark):
            log.warning("ended %d processes that an earlier watchconv left", ended)
        self._journal = JournalThread(state)
        return program.path, mark

    # living

    async def _live(self) -> int:
        parts = self._parts
        self._take_signals()
        tasks: set[asyncio.Task[None]] = {
            asyncio.create_task(work, name=name)
            for name, work in {
                "look": parts.looking.run(),
                "work": self._begin_work(),
                "bell": parts.bell.run(),
                "requests": self._serve_requests(),
                "reloads": self._serve_reloads(),
                "deliveries": parts.deliveries.run(),
                "present": self._show(),
                "pulse": Watchdog(parts.looking, self._journal, parts.pool).run(),
                "house": self._keep_house(),
                "ready": self._tell_ready(),
            }.items()
        }
        if self._once:
            tasks.add(asyncio.create_task(self._end_when_done(), name="once"))
        stopped = asyncio.ensure_future(self._stop.wait())
        ends: set[asyncio.Future[Any]] = {t for t in tasks if t.get_name() not in MAY_END}
        bugs = (parts.deliveries.broken, parts.pool.workers.broken)
        await asyncio.wait({*ends, *bugs, stopped}, return_when=asyncio.FIRST_COMPLETED)
        longest = 2 * self._config().stop_grace_seconds + LADDER_SECONDS
        notify("STOPPING=1", "STATUS=stopping", f"EXTEND_TIMEOUT_USEC={longest * 1e6:.0f}")
        await self._stop_all({*tasks, stopped})
        for bug in bugs:
            if bug.done():
                bug.result()
        log.info("stopped")
        once = parts.once
        left = once.failed > 0 or once.stuck or bool(self._troubles.sentences)
        return int(self._once and left)

    async def _stop_all(self, tasks: set[asyncio.Future[Any]]) -> None:
        """Go down the stop ladder: the grace for jobs to finish, TERM, a moment, KILL.

        Raises the bug that ended a task, if one did.
        """
        for task in tasks:
            if isinstance(task, asyncio.Task) and task.get_name() == "look":
                task.cancel()
        grace = self._config().stop_grace_seconds
        closed = await self._parts.pool.close(grace, self._hurry)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        delivered = await self._parts.deliveries.finish(grace, self._hurry)
        if not delivered or not closed:
            log.warning("something is still under way: the next start takes it up")

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        threading.excepthook = functools.partial(_tell_of_dead_thread, loop, self._parts.looking)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would lose exit statuses
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._take_stop)
        loop.add_signal_handler(signal.SIGHUP, self._take_hangup, sys.stderr.isatty())

    def _take_stop(self) -> None:
        if self._stop.is_set():
            log.warning("stopping at once")
            self._hurry.set()
        else:
            grace = f": running jobs are given {self._config().stop_grace_seconds:g} s"
            log.info("stopping%s", grace if self._parts.pool.running else "")
            self._parts.once.stuck = True
            self._stop.set()

    def _take_hangup(self, on_terminal: bool) -> None:
        if on_terminal and not sys.stderr.isatty():
            # it was closed, which is no wish for another configuration; and nobody reads us now
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
            self._take_stop()
        else:
            self._reload.set()

    async def _serve_requests(self) -> None:
        rung = self._parts.bell.rung
        while True:
            await rung.wait()
            rung.clear()
            self._parts.looking.learnt.set()  # perhaps that mounts are to be forgotten
            try:
                await self._carry_out_requests()
            except JournalError as error:
                self._put_requests_off(error)
            self._parts.announce()

    async def _carry_out_requests(self) -> None:
        try:
            await self._parts.requests.carry_out()
        except EnvironmentTrouble as trouble:
            self._put_requests_off(trouble)
        else:
            self._troubles.end("requests")

    def _put_requests_off(self, error: Exception) -> None:
        self._troubles.tell("requests", str(error), blocking=False)
        self._parts.bell.ring_in(RETRY_SECONDS)

    async def _serve_reloads(self) -> None:
        await self._parts.looking.first_done.wait()  # systemd takes the READY after a reload for it
        while True:
            await self._reload.wait()
            self._reload.clear()
            notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                config = await asyncio.to_thread(self._settings.read_again)
            except (ConfigError, MissingExtra) as error:
                self._refuse(str(error))
            else:
                self._troubles.end("reload")
                if config:
                    self._parts.renew(config)
            notify("READY=1")
            self._parts.announce()

    def _refuse(self, problems: str) -> None:
        """Say why the old configuration stays."""
        first, *others = problems.splitlines()
        for line in (first, *others):
            log.error("%s", line)
        more = f" (and {len(others)} more, see the log)" if others else ""
        sentence = f"the new configuration is not used, the old one stays: {first}{more}"
        self._troubles.tell("reload", sentence, blocking=False)

    async def _begin_work(self) -> None:
        await _wait_a_little(self._parts.looking.first_done)
        self._parts.pool.resize(self._config().jobs)

    async def _show(self) -> None:
        await _wait_a_little(self._parts.looking.checked)  # until then it would say "running"
        await self._parts.present.run()

    async def _tell_ready(self) -> None:
        await self._parts.looking.first_done.wait()
        if not self._once and not self._troubles.tells("folders"):
            folders = (printable(self._folders.inbox), printable(self._folders.outbox))
            log.info("watching %s; outputs go to %s", *folders)

    async def _keep_house(self) -> None:
        await self._parts.looking.first_done.wait()
        await maintain(
            self._config, self._journal, self._folders, self._troubles, self._parts.looking
        )

    # ending

    async def _end_when_done(self) -> None:
        await self._parts.once.finished()
        self._stop.set()

    async def _end(self) -> None:
        with contextlib.suppress(TimeoutError):  # a dead mount holds a thread
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._parts.close()
        self._journal.close()
        live.remove(self._config().state)
        self._folders.unlock()


async def _wait_a_little(event: asyncio.Event) -> None:
    """Wait for an event at the start, which a dead mount may hold up for ever."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_LOOK_SECONDS):
            await event.wait()


def _tell_of_dead_thread(
    loop: asyncio.AbstractEventLoop, looking: ScanLoop, end: threading.ExceptHookArgs
) -> None:
    """Log the bug that ended a thread, and have the watch begun anew where it was one of its."""
    why = end.exc_value or end.exc_type()
    log.error("a thread died of a bug", exc_info=(end.exc_type, why, end.exc_traceback))
    call(loop, looking.look_at_all)

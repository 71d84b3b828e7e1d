"""The daemon's life: begin, run, end. The package's docstring lists its concerns.

Whatever hangs (a dead mount, a copy, a child), a stop comes to its end.
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

from watchconv.daemon import reload
from watchconv.daemon.app import App, build
from watchconv.daemon.context import call_soon_from_thread, wait_at_most
from watchconv.daemon.maintenance import maintain, recover
from watchconv.daemon.systemd import Watchdog, notify
from watchconv.errors import ConfigError, MissingExtra
from watchconv.host import status_file
from watchconv.host.folders import Folders, make_state
from watchconv.host.mounts import mount_of
from watchconv.host.threads import in_thread
from watchconv.journal.thread import CLOSE_SECONDS, JournalThread
from watchconv.model import Trouble
from watchconv.names import printable
from watchconv.process.spawn import end_orphans

if TYPE_CHECKING:
    from watchconv.config import Config
    from watchconv.daemon.context import ScanRequest
    from watchconv.daemon.status import Display
    from watchconv.encode.program import Program

log = logging.getLogger(__name__)

# the longest that a stop takes, beside twice the grace (to finish, and for copies under way):
# twice what is left to a child that was told to end, then threads and probes that do not answer
STOP_SECONDS = 45.0
FIRST_SCAN_SECONDS = 3.0  # for how long the first job waits for the first scan, at most
SHORT_TASKS = ("watchdog", "ready")  # those that do not live as long as the daemon


class Daemon:
    """One daemon on one configuration. ``run`` lives it from start to end, once."""

    def __init__(
        self,
        config: Config,
        *,
        once: bool = False,
        make_folders: bool = False,
        display: Display | None = None,
        config_file: str | None = None,
    ) -> None:
        """Use a configuration; once ends when the inbox is worked off.

        make_folders makes the four folders that are missing, as --root promises. config_file is
        what SIGHUP reads again; None: there is none.
        """
        self._config, self._config_file = config, config_file
        self._once, self._make_folders, self._display = once, make_folders, display
        self._folders = Folders(config.inbox, config.outbox, config.done, config.error)
        self._stopped_early = False  # by a signal

    async def run(self) -> int:
        """Live from start to end; return the exit code.

        Raises AlreadyRunning, JournalError, ConfigError, EnvironmentTrouble or MissingExtra at the
        start.
        """
        program, journal = await in_thread(self._prepare)
        app = build(self._config, program, self._folders, journal, self._display)
        try:
            await recover(app.context, app.engine, app.dispatcher, app.deliveries)
            await app.control.serve()
            return await self._live(app, program)
        finally:
            with contextlib.suppress(TimeoutError):  # a dead mount holds a thread
                async with asyncio.timeout(CLOSE_SECONDS):
                    await app.close()
            journal.close()
            status_file.remove(self._config.state)
            self._folders.unlock()

    def _prepare(self) -> tuple[Program, JournalThread]:
        """Check what must be well before anything starts, and take the locks."""
        state = self._config.state
        make_state(state, status_file.WAKE_DIR)
        if self._make_folders:
            self._folders.make()
        self._folders.check(state)
        program = reload.examine_start(self._config)
        if mount_of(state).is_network:
            log.warning("the state %s is on a network file system", state)
        if ended := end_orphans(os.path.realpath(state)):
            log.warning("ended %d processes that an earlier watchconv left", ended)
        return program, JournalThread(state)

    async def _live(self, app: App, program: Program) -> int:
        signals = app.context.signals
        self._take_signals(app)
        tasks = {
            asyncio.create_task(work, name=name)
            for name, work in {
                "scan": app.scan_loop.run(),
                "dispatcher": app.dispatcher.run(),
                "control": app.control.run(),
                "deliveries": app.deliveries.run(),
                "status": app.status.run(),
                "maintenance": self._maintain(app),
                "reloads": self._serve_reloads(app, program),
                "watchdog": Watchdog(app.scan_loop, app.context.journal, app.dispatcher).run(),
                "ready": self._say_ready(app),
            }.items()
        }
        if self._once:
            tasks.add(asyncio.create_task(app.once.run(), name="ready"))
        stopped = asyncio.create_task(signals.stop.wait(), name="stop")
        ends: set[asyncio.Future[Any]] = {t for t in tasks if t.get_name() not in SHORT_TASKS}
        await asyncio.wait({*ends, signals.bug, stopped}, return_when=asyncio.FIRST_COMPLETED)
        longest = 2 * app.context.config.now.stop_grace_seconds + STOP_SECONDS
        notify("STOPPING=1", "STATUS=stopping", f"EXTEND_TIMEOUT_USEC={longest * 1e6:.0f}")
        signals.stop.set()
        await self._stop_all(app, {*tasks, stopped})
        if signals.bug.done():
            signals.bug.result()
        log.info("stopped")
        return int(self._stopped_early or app.once.exit_code) if self._once else 0

    async def _stop_all(self, app: App, tasks: set[asyncio.Task[Any]]) -> None:
        """End attempts (the grace, TERM, KILL), then tasks, then deliveries.

        Raises the bug that ended a task, if one did.
        """
        grace = app.context.config.now.stop_grace_seconds
        for task in tasks:
            if task.get_name() in ("scan", "dispatcher"):
                task.cancel()
        closed = await app.dispatcher.close(grace)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        delivered = await app.deliveries.finish(grace)
        if not delivered or not closed:
            log.warning("something is still under way: the next start takes it up")

    # signals

    def _take_signals(self, app: App) -> None:
        loop = asyncio.get_running_loop()
        threading.excepthook = functools.partial(_log_dead_thread, loop, app.context.request)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would lose exit statuses
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._take_stop, app)
        loop.add_signal_handler(signal.SIGHUP, self._take_hangup, app, sys.stderr.isatty())

    def _take_stop(self, app: App) -> None:
        signals = app.context.signals
        if signals.stop.is_set():
            log.warning("stopping at once")
            signals.force_exit.set()
        else:
            seconds = app.context.config.now.stop_grace_seconds
            grace = f": running jobs are given {seconds:g} s" if app.dispatcher.attempts else ""
            log.info("stopping%s", grace)
            self._stopped_early = True
            signals.stop.set()

    def _take_hangup(self, app: App, on_terminal: bool) -> None:
        if on_terminal and not sys.stderr.isatty():
            # it was closed, which is no wish for another configuration; and nobody reads us now
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
            self._take_stop(app)
        else:
            app.context.signals.reload.set()

    # tasks

    async def _maintain(self, app: App) -> None:
        await app.scan_loop.first_done.wait()
        await maintain(app.context)

    async def _say_ready(self, app: App) -> None:
        """Let jobs be claimed, and say that the inbox is watched."""
        # the first job would hold the first scan up
        await wait_at_most(app.scan_loop.first_done, FIRST_SCAN_SECONDS)
        app.dispatcher.resize(app.context.config.now.jobs)
        await app.scan_loop.first_done.wait()
        if not self._once and not app.context.troubles.has(Trouble.FOLDERS):
            folders = (printable(self._folders.inbox), printable(self._folders.outbox))
            log.info("watching %s; outputs go to %s", *folders)

    async def _serve_reloads(self, app: App, program: Program) -> None:
        context = app.context
        await app.scan_loop.first_done.wait()  # systemd takes the READY after a reload for it
        while True:
            await context.signals.reload.wait()
            context.signals.reload.clear()
            if self._config_file is None:
                log.warning("there is no configuration to read again: with --root there is no file")
                continue
            notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                config = await in_thread(
                    reload.read_again, context.config.now, program, self._config_file
                )
            except (ConfigError, MissingExtra) as error:
                self._refuse(app, str(error))
            else:
                context.troubles.clear(Trouble.RELOAD)
                context.config.replace(config)
                app.dispatcher.resize(config.jobs)
                context.request.scan_everything()
            notify("READY=1")
            context.signals.changed(work=True)

    def _refuse(self, app: App, problems: str) -> None:
        """Say why the old configuration stays."""
        first, *others = problems.splitlines()
        for line in (first, *others):
            log.error("%s", line)
        more = f" (and {len(others)} more, see the log)" if others else ""
        sentence = f"the new configuration is not used, the old one stays: {first}{more}"
        app.context.troubles.report(Trouble.RELOAD, sentence, blocks=False)


def _log_dead_thread(
    loop: asyncio.AbstractEventLoop, request: ScanRequest, end: threading.ExceptHookArgs
) -> None:
    """Log the bug that ended a thread, and have the watch begun anew where it was one of its."""
    why = end.exc_value or end.exc_type()
    log.error("a thread died of a bug", exc_info=(end.exc_type, why, end.exc_traceback))
    call_soon_from_thread(loop, request.scan_everything)

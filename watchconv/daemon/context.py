"""What the parts of one daemon share, and how they wait for each other.

Made before the parts, so that no part needs to refer to one that is made later: what happens is
announced by ``Signals``, scans are asked for by ``ScanRequest``. Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from watchconv.config import Config
    from watchconv.daemon.trouble import Troubles
    from watchconv.host.folders import Folders
    from watchconv.intake.watch import Watcher
    from watchconv.journal.thread import JournalThread


class Signals:
    """The events that the parts of one daemon wait for."""

    def __init__(self) -> None:
        self.work = asyncio.Event()  # a job may be ready to be claimed: the dispatcher
        self.retry_deliveries = asyncio.Event()  # what could not be delivered may be possible now
        self.requests = asyncio.Event()  # a person asked for something: control
        self.reload = asyncio.Event()  # the configuration is to be read again
        self.stop = asyncio.Event()  # the daemon is to end
        self.force_exit = asyncio.Event()  # … without waiting for anything
        self.mounts_learnt = asyncio.Event()  # other mounts are to be remembered: maintenance
        self.status = asyncio.Event()  # status may show something else
        self.once = asyncio.Event()  # run --once may be over
        # what ended a task that nobody waits for: the daemon ends, and raises it
        self.bug: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def report_bug(self, error: BaseException) -> None:
        """Have the daemon end with the error of a task; the first one counts."""
        if not self.bug.done():
            self.bug.set_exception(error)

    def changed(self, *, work: bool = False) -> None:
        """Announce that something has changed that is shown, or that an end may depend on.

        work: a job may be ready, or what kept jobs from being claimed is over.
        """
        self.status.set()
        self.once.set()
        if work:
            self.work.set()


class ScanRequest:
    """What is to be scanned soon: what events told the watcher, and what parts ask for."""

    def __init__(self, watcher: Watcher, due: asyncio.Event) -> None:
        self.watcher = watcher
        self.due = due  # wakes the scan loop
        self.everything = asyncio.Event()  # all of the inbox was asked for

    def scan_name(self, source: str) -> None:
        """Ask for one name."""
        self.watcher.add_hint(source)
        self.due.set()

    def scan_everything(self) -> None:
        """Ask for the whole inbox."""
        self.everything.set()
        self.due.set()


class CurrentConfig:
    """The configuration in effect, ``now``: frozen, so keep it for what must not change midway."""

    def __init__(self, config: Config) -> None:
        self.now = config

    def replace(self, config: Config) -> None:
        """Let another configuration be in effect from now on."""
        self.now = config


@dataclass(frozen=True, slots=True)
class Context:
    """What the parts of a daemon share."""

    config: CurrentConfig
    folders: Folders
    journal: JournalThread
    troubles: Troubles
    signals: Signals
    request: ScanRequest


async def wait_at_most(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for an event, or until the time is up; None waits as long as it takes."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def call_soon_from_thread(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """Have the loop call something, from a foreign thread; after its end nothing happens."""
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        return


async def all_ended(
    tasks: Collection[asyncio.Task[None]], seconds: float, force_exit: asyncio.Event
) -> bool:
    """Wait until tasks have ended, force_exit is set or the time is up; return whether all have."""
    tasks = list(tasks)
    if not tasks:
        return True
    forced = asyncio.create_task(force_exit.wait())
    everything = asyncio.ensure_future(asyncio.wait(tasks))
    await asyncio.wait({forced, everything}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    forced.cancel()
    everything.cancel()
    return all(task.done() for task in tasks)

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
        self.status_changed = asyncio.Event()  # status may show something else
        self.once_changed = asyncio.Event()  # run --once may be over

    def work_changed(self) -> None:
        """Announce that a job may be ready, or that what kept jobs from being claimed is over."""
        self.work.set()
        self.changed()

    def changed(self) -> None:
        """Announce that something has changed that is shown, or that an end may depend on."""
        self.status_changed.set()
        self.once_changed.set()


class ScanRequest:
    """What is to be scanned soon: what events told the watcher, and what parts ask for.

    Belongs to the event loop; ``due`` wakes the scan loop.
    """

    def __init__(self, watcher: Watcher, due: asyncio.Event) -> None:
        self.watcher, self.due = watcher, due
        self._everything = False

    def name(self, source: str) -> None:
        """Ask for one name."""
        self.watcher.add_hint(source)
        self.due.set()

    def everything(self) -> None:
        """Ask for the whole inbox."""
        self._everything = True
        self.due.set()

    def take_everything(self) -> bool:
        """Return whether the whole inbox was asked for, and forget it."""
        asked, self._everything = self._everything, False
        return asked


class CurrentConfig:
    """The configuration in effect; a reload puts another frozen value in its place."""

    def __init__(self, config: Config) -> None:
        self._now = config

    @property
    def now(self) -> Config:
        """The whole configuration; keep it for as long as one thing must not change."""
        return self._now

    def replace(self, config: Config) -> None:
        """Let another configuration be in effect from now on."""
        self._now = config


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

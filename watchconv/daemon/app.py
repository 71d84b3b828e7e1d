"""The parts of one daemon, built in the order in which they use each other.

Nothing is set on a part after it is made, and no part refers to one that is made later: what
happens is announced by ``Signals``, and scans are asked for by ``ScanRequest``.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from watchconv.daemon.context import (
    Context,
    CurrentConfig,
    ScanRequest,
    Signals,
    call_soon_from_thread,
)
from watchconv.daemon.control import Control
from watchconv.daemon.deliveries import Deliveries
from watchconv.daemon.dispatcher import Dispatcher
from watchconv.daemon.once import Once
from watchconv.daemon.scan_loop import ScanLoop
from watchconv.daemon.status import StatusPublisher
from watchconv.daemon.trouble import Troubles
from watchconv.daemon.wakeup import MountWatcher, WakeFifo
from watchconv.daemon.worker import Worker
from watchconv.deliver.outbox import LocalFolders
from watchconv.encode.engine import LocalEngine
from watchconv.host.threads import in_thread
from watchconv.host.workdir import WorkDirectories
from watchconv.intake.scan import InboxScanner
from watchconv.intake.watch import Watcher
from watchconv.journal.jobs import Journal
from watchconv.media.probe import ProbeWorker

if TYPE_CHECKING:
    from watchconv.config import Config
    from watchconv.daemon.status import Display
    from watchconv.encode.engine import Engine
    from watchconv.encode.program import Program
    from watchconv.host.folders import Folders
    from watchconv.journal.thread import JournalThread
    from watchconv.model import Trouble


@dataclass(frozen=True, slots=True)
class App:
    """One daemon, put together. Belongs to one event loop."""

    context: Context
    engine: Engine
    deliveries: Deliveries
    dispatcher: Dispatcher
    scan_loop: ScanLoop
    control: Control
    status: StatusPublisher
    once: Once
    wake: WakeFifo
    mounts: MountWatcher
    probes: tuple[ProbeWorker, ...]
    scan_journal: Journal

    async def close(self) -> None:
        """End what holds threads, children and descriptors."""
        self.wake.close()
        self.mounts.close()
        closes = [in_thread(probe.close) for probe in self.probes]
        await asyncio.gather(self.scan_loop.close(), *closes)
        self.scan_journal.close()


def build(
    config: Config,
    program: Program,
    folders: Folders,
    journal: JournalThread,
    display: Display | None,
) -> App:
    """Build a daemon on an open journal and locked folders."""
    loop = asyncio.get_running_loop()
    owner_tag = os.path.realpath(config.state)

    def record(trouble: Trouble, sentence: str, over: bool) -> None:
        """Remember a trouble, where the journal can be written."""
        journal.post(Journal.record_trouble, trouble, sentence, time.time(), cleared=over)

    due, signals = asyncio.Event(), Signals()
    watcher = Watcher(config.inbox, partial(call_soon_from_thread, loop, due.set))
    request = ScanRequest(watcher, due)
    context = Context(CurrentConfig(config), folders, journal, Troubles(record), signals, request)
    # large outputs are read back by a worker of their own, so that the next probe does not wait
    probe, reader = ProbeWorker(owner_tag), ProbeWorker(owner_tag)
    work = WorkDirectories(folders)
    engine = LocalEngine(program, reader, work, owner_tag=owner_tag)
    destination = LocalFolders(folders, work)
    deliveries = Deliveries(context, destination, work)
    worker = Worker(context, program, probe, work, engine, deliveries)
    dispatcher = Dispatcher(context, worker)
    scan_journal = Journal(config.state, create=False)
    scanner = InboxScanner(config.inbox, scan_journal, folders)
    scan_loop = ScanLoop(context, scanner, dispatcher)
    return App(
        context,
        engine,
        deliveries,
        dispatcher,
        scan_loop,
        Control(context, dispatcher, deliveries, destination),
        StatusPublisher(context, dispatcher, scan_loop, display),
        Once(context, scan_loop, dispatcher, deliveries),
        WakeFifo(config.state, signals.requests.set),
        MountWatcher(due.set),
        (probe, reader),
        scan_journal,
    )

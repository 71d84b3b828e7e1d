"""Trim the history once a day, and remember the mounts that hold the folders.

Guarantees: writes nothing where nothing has changed. Errors: none; a journal that cannot be
written is trouble, and tried again after ``RETRY_SECONDS``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from typing import TYPE_CHECKING

from watchconv.errors import JournalError
from watchconv.journal.jobs import MOUNTS, Journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchconv.config import Config
    from watchconv.daemon.scan_loop import ScanLoop
    from watchconv.daemon.trouble import Troubles
    from watchconv.host.folders import Folders
    from watchconv.journal.thread import JournalThread

log = logging.getLogger(__name__)

DAY_SECONDS = 86400.0
RETRY_SECONDS = 60.0


async def maintain(
    config: Callable[[], Config],
    journal: JournalThread,
    folders: Folders,
    troubles: Troubles,
    looking: ScanLoop,
) -> None:
    """Tidy, for ever: when there may be news of the mounts, and once a day."""
    written = False
    while True:
        looking.learnt.clear()
        try:
            kept = await journal.ask(Journal.setting, MOUNTS)
            if written and kept is None:  # a person had the journal forget them
                folders.forget()
                looking.look_at_all()
                written = False  # what the look finds is
            else:
                if kept != (points := json.dumps(folders.remembered())):
                    await journal.ask(Journal.remember, MOUNTS, points)
                written = True
            await _trim(config().keep_history_days, journal)
        except JournalError as error:
            troubles.tell("house", str(error), blocking=False)
            await asyncio.sleep(RETRY_SECONDS)
            continue
        troubles.end("house")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DAY_SECONDS):
                await looking.learnt.wait()


async def _trim(days: float, journal: JournalThread) -> None:
    now, trimmed = time.time(), 0
    while some := await journal.ask(Journal.trim, days, now):
        trimmed += some
    if trimmed:
        log.info("forgot %d jobs that ended more than %g days ago", trimmed, days)

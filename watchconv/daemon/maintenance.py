"""The history is trimmed once a day, and the mounts that hold the folders are remembered.

Writes nothing where nothing has changed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING

from watchconv.daemon.signals import wait_at_most
from watchconv.errors import JournalError
from watchconv.journal.jobs import MOUNTS, Journal
from watchconv.model import Trouble

if TYPE_CHECKING:
    from watchconv.daemon.context import Context
    from watchconv.daemon.scan_request import ScanRequest

log = logging.getLogger(__name__)

DAY_SECONDS = 86400.0
RETRY_SECONDS = 60.0


async def maintain(context: Context, request: ScanRequest) -> None:
    """Maintain, for ever: when there may be other mounts to remember, and once a day."""
    journal, folders = context.journal, context.folders
    written = False
    while True:
        context.signals.mounts_learnt.clear()
        try:
            kept = await journal.ask(Journal.setting, MOUNTS)
            if written and kept is None:  # a person had the journal forget them
                folders.forget()
                request.everything()
                written = False  # what the scan finds is
            else:
                if kept != (points := json.dumps(folders.remembered())):
                    await journal.ask(Journal.remember, MOUNTS, points)
                written = True
            days, now, trimmed = context.config.now.keep_history_days, time.time(), 0
            while some := await journal.ask(Journal.trim, days, now):
                trimmed += some
            if trimmed:
                log.info("forgot %d jobs that ended more than %g days ago", trimmed, days)
        except JournalError as error:
            context.troubles.report(Trouble.MAINTENANCE, str(error), blocks=False)
            await asyncio.sleep(RETRY_SECONDS)
            continue
        context.troubles.clear(Trouble.MAINTENANCE)
        await wait_at_most(context.signals.mounts_learnt, DAY_SECONDS)

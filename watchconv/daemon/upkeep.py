"""Once a day: trim the history, and remember the mounts that hold the folders.

Guarantees: writes nothing where nothing has changed. Errors: none; a journal that cannot be
written is trouble, and tried again after ``RETRY_SECONDS``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING

from watchconv.errors import JournalError
from watchconv.journal import MOUNTS, Journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchconv.config import Config
    from watchconv.daemon.journal_thread import JournalThread
    from watchconv.daemon.trouble import Troubles
    from watchconv.folders import Folders

log = logging.getLogger(__name__)

DAY_SECONDS = 86400.0
RETRY_SECONDS = 60.0


async def keep_house(
    config: Callable[[], Config], journal: JournalThread, folders: Folders, troubles: Troubles
) -> None:
    """Tidy, for ever."""
    while True:
        try:
            await _tidy(config().keep_history_days, journal, folders)
        except JournalError as error:
            troubles.tell("house", str(error), blocking=False)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            troubles.end("house")
            await asyncio.sleep(DAY_SECONDS)


async def _tidy(days: float, journal: JournalThread, folders: Folders) -> None:
    points = json.dumps(folders.remembered())
    if await journal.asked(Journal.setting, MOUNTS) != points:
        await journal.asked(Journal.remember, MOUNTS, points)
    now, trimmed = time.time(), 0
    while some := await journal.asked(Journal.trim, days, now):
        trimmed += some
    if trimmed:
        log.info("forgot %d jobs that ended more than %g days ago", trimmed, days)

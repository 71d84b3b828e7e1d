"""Claims: when a worker gets a job, and which; and what keeps all of them from getting one.

Guarantees: a job is claimed only while nothing blocks it (pause, trouble, a full disk); however
many workers wait and however often they are woken, there is one timer that wakes them again.
Does not keep a list of jobs: the journal is the queue.
Errors: none; a journal that cannot be written is trouble, and tried again.
"""

from __future__ import annotations

import asyncio
import functools
import time
from typing import TYPE_CHECKING

from watchconv.config.problems import show_bytes
from watchconv.daemon.wakeup import EarliestTimer
from watchconv.errors import JournalError
from watchconv.model import JobState

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchconv.config import Config
    from watchconv.daemon.trouble import Troubles
    from watchconv.host.folders import Folders
    from watchconv.journal.jobs import Journal
    from watchconv.journal.thread import JournalThread
    from watchconv.model import Job

SPACE_SECONDS = 5.0
ENOUGH_SECONDS = 1.0  # how long it counts that there was enough space
JOURNAL_SECONDS = 5.0
CLOCK_SECONDS = 60.0  # the clock may be set while the next job waits for its time


class Claims:
    """Gives jobs to those who ask, and has them wait while there is none for them."""

    def __init__(
        self,
        config: Callable[[], Config],
        folders: Folders,
        journal: JournalThread,
        troubles: Troubles,
    ) -> None:
        self._config, self._folders = config, folders
        self._journal, self._troubles = journal, troubles
        self._work = asyncio.Event()  # something may have become ready
        self._alarm = EarliestTimer(self.wake)
        self._trials: dict[str, EarliestTimer] = {}  # by cause of a trouble: when it is tried again
        self._enough_until = 0.0  # by the loop's clock
        self.paused = False
        self.closing = False

    def wake(self) -> None:
        """Let those who wait look for a job."""
        self._work.set()

    def wake_in(self, seconds: float) -> None:
        """Let those who wait look for a job later."""
        self._alarm.set(seconds)

    async def claim(self) -> tuple[Job, int] | None:
        """Claim a job and say how many share the machine; or wait until one may be there."""
        self._work.clear()
        if not (self.paused or self.closing or await self._is_blocked()):
            now = time.time()
            try:
                claimed = await self._journal.ask(self._claim_now, now)
            except JournalError as error:
                self.block_for("journal", str(error), JOURNAL_SECONDS)
                claimed = None
            else:
                self._troubles.end("journal")
            if isinstance(claimed, tuple):
                return claimed
            if claimed is not None:
                self.wake_in(min(claimed - now, CLOCK_SECONDS))
        await self._work.wait()
        return None

    def _claim_now(self, journal: Journal, now: float) -> tuple[Job, int] | float | None:
        """Claim on the journal's thread: the job, or when the next one is ready, or None."""
        job = journal.claim(now)
        if job is None:
            return journal.next_ready_at()
        counts = journal.counts()
        crowd = counts[JobState.RUNNING] + counts[JobState.QUEUED]
        return job, min(crowd, self._config().jobs)

    async def _is_blocked(self) -> bool:
        if self._troubles.blocked:
            return True
        least = self._config().min_free
        if not least:
            self._troubles.end("space")
            return False
        now = asyncio.get_running_loop().time()
        if now < self._enough_until:
            return False
        try:
            free = await asyncio.to_thread(self._folders.free_bytes)
        except OSError:
            return False  # the folders' own check says it better
        if free >= least:
            self._troubles.end("space")
            self._enough_until = now + ENOUGH_SECONDS
            return False
        self._troubles.tell(
            "space",
            f"less than min_free ({show_bytes(least)}) is free in the outbox"
            f" {self._config().outbox}: no new job starts until there is room",
            blocking=False,
        )
        self.wake_in(SPACE_SECONDS)
        return True

    def block_for(self, cause: str, sentence: str, seconds: float) -> None:
        """Tell of a trouble that only trying again, after so many seconds, can show to be over."""
        self._troubles.tell(cause, sentence)
        trial = self._trials.setdefault(
            cause, EarliestTimer(functools.partial(self._try_again, cause))
        )
        trial.cancel()  # it may have been told a moment ago: the time counts from now
        trial.set(seconds)

    def _try_again(self, cause: str) -> None:
        self._troubles.unblock(cause)
        self.wake()

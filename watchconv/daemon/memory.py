"""The memory that encodes share: one that needs much begins when it fits beside those that run.

What an encode will need is foretold (``encode.needs``), what it uses is watched
(``process.memory``): a wrong forecast ends at the limit that it got, not with the machine.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from watchconv.encode.needs import needed_memory
from watchconv.logs.format import log_job
from watchconv.views import show_bytes

if TYPE_CHECKING:
    from watchconv.config import Config
    from watchconv.encode.engine import Assignment

log = logging.getLogger(__name__)


class MemoryRoom:
    """Admits encodes in the order in which they ask; one alone is always admitted."""

    def __init__(self, total_bytes: int) -> None:
        """Share so much; 0: nobody knows how much there is, so that nothing is limited."""
        self._total_bytes = total_bytes
        self._held: dict[int, int] = {}  # bytes, by job
        self._line: list[int] = []  # jobs that wait, the first one first
        self._changed = asyncio.Event()

    async def admit(
        self, assignment: Assignment, config: Config, cores: int, stopped: asyncio.Event
    ) -> Assignment:
        """Wait until an encode fits, or is no longer wanted; return it with the limit it has."""
        job, limit = assignment.job, config.memory_limit
        if limit == 0 or not self._total_bytes:
            memory = limit or 0
            return replace(assignment, limits=replace(assignment.limits, memory=memory))
        need = needed_memory(assignment.plan.args, assignment.media, cores)
        if limit:
            need = min(need, limit)
        self._line.append(job.id)
        try:
            told = False
            while self._line[0] != job.id or (
                self._held and sum(self._held.values()) + need > self._total_bytes
            ):
                if not told:
                    held = show_bytes(sum(self._held.values()))
                    words = f"it needs about {show_bytes(need)} of memory, and others need {held}"
                    log_job(log, job, f"{words}: it begins when there is room for it")
                    told = True
                self._changed.clear()
                waits = [asyncio.ensure_future(e.wait()) for e in (self._changed, stopped)]
                try:
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for wait in waits:
                        wait.cancel()
                if stopped.is_set():
                    break
        finally:
            self._line.remove(job.id)
            self._changed.set()
        others_bytes = sum(self._held.values())
        self._held[job.id] = need
        share = max(self._total_bytes // config.jobs, self._total_bytes - others_bytes)
        limits = replace(
            assignment.limits,
            memory=limit or share,
            has_all_memory=bool(limit) or share == self._total_bytes,
        )
        return replace(assignment, limits=limits)

    def leave(self, job_id: int) -> None:
        """Give back what a job held. Idempotent."""
        if self._held.pop(job_id, None) is not None:
            self._changed.set()

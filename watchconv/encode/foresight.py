"""Probe files before their turn, so that an attempt need not wait for it.

Guarantees: what was foreseen counts for the very file in the very condition that it was seen in,
and once; no more of it is kept than asked.
Does not decide what comes next: ``daemon.ahead`` does. Errors: ``ProbeFailed`` from ``media``.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from watchconv.media.probe_protocol import ProbeFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchconv.media.probe import ProbeWorker
    from watchconv.model import Identity, MediaInfo
    from watchconv.process.stop import StopSignal


class Foresight:
    """The probe, and what it has found out beforehand."""

    def __init__(self, probe: ProbeWorker, keep: Callable[[], int]) -> None:
        """Take the probe, and how many files to remember."""
        self._probe, self._keep = probe, keep
        self._seen: dict[Identity, MediaInfo | None] = {}  # None: it failed

    async def foresee(self, fd: int, identity: Identity) -> None:
        """Probe an open file, once. What fails is left to the attempt itself."""
        if identity in self._seen:
            return
        found = None
        with suppress(ProbeFailed):
            found = await asyncio.to_thread(self._probe.probe, fd)
        self._seen[identity] = found
        while len(self._seen) > self._keep():
            del self._seen[next(iter(self._seen))]

    async def media(
        self, fd: int, identity: Identity, *, sandbox: str = "auto", stop: StopSignal | None = None
    ) -> MediaInfo:
        """Say what an open file is: what was foreseen, or what the probe says now."""
        if seen := self._seen.pop(identity, None):
            return seen
        return await asyncio.to_thread(self._probe.probe, fd, sandbox=sandbox, stop=stop)

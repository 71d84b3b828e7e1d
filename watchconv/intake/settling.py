"""The files that are seen but not settled: each with what was seen, and when to look again.

Guarantees: at most ``LIMIT`` files are remembered, whatever is dropped; the rest is met again at
a later look, by then old enough to be judged by its ctime. All files age side by side.
Does not read the listing and does not know the journal.
Errors: none; of a file that cannot be opened nothing is proven: when it is ready, its job will say
why it cannot be read.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass

from watchconv.host.files import open_regular
from watchconv.intake.lease import Writers, writers
from watchconv.intake.settle import (
    Observation,
    observe_again,
    quiet_seconds,
    wait_with_proof,
    wait_without_proof,
)
from watchconv.media.container import container_end
from watchconv.names import printable

log = logging.getLogger(__name__)

LIMIT = 10_000
# a writer's close and an upload's next byte are events; these are for when an event got lost
WRITER_CHECK_SECONDS = 15.0
INCOMPLETE_CHECK_SECONDS = 60.0
BEING_WRITTEN = "somebody is still writing it"


@dataclass(frozen=True, slots=True)
class SettleSettings:
    """How long to wait for what, in seconds, as configured."""

    settle_seconds: float
    settle_network_seconds: float
    incomplete_after_seconds: float


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A file that is not ready: when to look again (monotonic), and what it lacks if it does."""

    sight: Observation
    due: float
    lacks: str = ""


class PendingFiles:
    """The unsettled files of the inbox."""

    def __init__(self, inbox: str, patience: SettleSettings) -> None:
        self.inbox, self.patience = inbox, patience
        self._files: dict[str, PendingFile] = {}
        self.overflow = 0  # how many the last look at everything could not remember
        self.leases_prove = True  # whether a read lease proves anything on this file system

    def __len__(self) -> int:
        return len(self._files) + self.overflow

    def knows(self, source: str) -> bool:
        """Tell whether a file was seen before."""
        return source in self._files

    def lacking(self) -> dict[str, str]:
        """Name the files that are not whole, with what each lacks."""
        return {source: file.lacks for source, file in self._files.items() if file.lacks}

    def next_due(self) -> float | None:
        """Say when (monotonic) the next file is to be looked at."""
        return min((file.due for file in self._files.values()), default=None)

    def due(self) -> list[str]:
        """List the files to look at now."""
        now = time.monotonic()
        return [source for source, file in self._files.items() if file.due <= now]

    def forget(self, source: str) -> None:
        """Drop a file: it is a job by now, or gone. Idempotent."""
        self._files.pop(source, None)

    def forget_missing(self) -> None:
        """Drop every file that is gone."""
        for source in list(self._files):
            if not os.path.lexists(os.path.join(self.inbox, source)):
                del self._files[source]

    def is_ready(
        self, source: str, stat: os.stat_result, *, own_look: bool, appeared: bool = False
    ) -> bool:
        """Decide whether a file may become a job now; else remember when to look again.

        appeared: an event said that the name came by move or link.
        """
        now = time.monotonic()
        seen = Observation.of(stat, now, time.time(), appeared=appeared)
        before = self._files.get(source)
        sight = observe_again(before.sight if before else None, seen, own_look=own_look)
        wait, lacks = self._wait_seconds(source, sight, now)
        if wait <= 0:
            self.forget(source)
            return True
        if before is None and len(self._files) >= LIMIT:
            self.overflow += 1
            return False
        if lacks and not (before and before.lacks):
            log.info("waiting for %s: %s", printable(source), lacks)
        self._files[source] = PendingFile(sight, now + wait, lacks)
        return False

    def _wait_seconds(self, source: str, sight: Observation, now: float) -> tuple[float, str]:
        """Say how long to wait for a file and what it lacks; (0, "") when it may start."""
        patience = self.patience
        unproven = wait_without_proof(sight, now, patience.settle_network_seconds)
        wait = unproven
        if self.leases_prove:
            wait = wait_with_proof(sight, now, patience.settle_seconds)
        if wait > 0:
            return wait, ""
        try:
            descriptor = open_regular(self.inbox, source)
        except BlockingIOError:  # a write lease, such as Samba's oplocks
            return WRITER_CHECK_SECONDS, BEING_WRITTEN
        except OSError:
            return unproven, ""
        try:
            return self._ask_file(descriptor, sight, unproven, now)
        except OSError:
            return unproven, ""
        finally:
            os.close(descriptor)

    def _ask_file(
        self, descriptor: int, sight: Observation, unproven: float, now: float
    ) -> tuple[float, str]:
        writing = writers(descriptor) if self.leases_prove else Writers.UNKNOWN
        if writing is Writers.SOME:
            return WRITER_CHECK_SECONDS, BEING_WRITTEN
        # a file is often made first and written later: an empty one proves nothing either
        if unproven > 0 and (writing is Writers.UNKNOWN or sight.size == 0):
            return unproven, ""
        end = container_end(descriptor, sight.size)
        left = self.patience.incomplete_after_seconds - quiet_seconds(sight, now)
        if sight.size == 0 or not end.detail or left <= 0:
            return 0.0, ""
        return min(left, INCOMPLETE_CHECK_SECONDS), end.detail

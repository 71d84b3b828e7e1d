"""Which files of the inbox have settled, and for what the others wait.

The rules are pure. A file's age is measured by its ctime when it was first seen in its present
condition, and by the monotonic clock since then, so that a stepped wall clock ages nothing; never
by mtime, which is the client's to set. A ctime in the future counts for nothing. Where the kernel
cannot prove that nobody writes a file, three scans and a longer time are asked for.

``PendingFiles`` remembers at most ``LIMIT`` files, however many are dropped; the rest is met again
by a later scan, and is by then old enough to be judged by its ctime. All files age side by side.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from watchconv.host.files import closing, open_regular
from watchconv.intake.lease import Writers, writers
from watchconv.media.container import container_end
from watchconv.names import printable

log = logging.getLogger(__name__)

LIMIT = 10_000
SCANS_WITHOUT_PROOF = 3
# a writer's close and an upload's next byte are events; these are for when an event got lost
WRITER_CHECK_SECONDS = 15.0
INCOMPLETE_CHECK_SECONDS = 60.0
BEING_WRITTEN = "somebody is still writing it"


class PendingReason(StrEnum):
    """Why a file is not a job yet."""

    SETTLING = "settling"  # it has not been left alone for long enough
    BEING_WRITTEN = "being-written"
    EMPTY = "empty"  # a file is often made first and written later
    UNPROVEN = "unproven"  # it cannot be opened, or the kernel does not tell who writes it
    INCOMPLETE = "incomplete"  # its container says that more must come


@dataclass(frozen=True, slots=True)
class SettleSettings:
    """How long to wait for what, in seconds, as configured."""

    settle_seconds: float
    settle_network_seconds: float
    incomplete_after_seconds: float


@dataclass(frozen=True, slots=True)
class Observation:
    """A file as it was seen: its condition, since when (monotonic), in how many scans.

    age: for how many seconds, by its ctime, it had been in this condition when it was first seen.
    appeared: it came by move or link in this condition, so it was written elsewhere.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    since: float
    scans: int = 1
    appeared: bool = False
    age: float = 0.0

    @classmethod
    def of(
        cls, stat: os.stat_result, now: float, wall_now: float, *, appeared: bool
    ) -> Observation:
        """Return what is seen now; now is monotonic, wall_now since the epoch."""
        age = max(0.0, wall_now - stat.st_ctime_ns / 1e9)
        condition = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
        return cls(*condition, now, appeared=appeared, age=age)

    def after(self, before: Observation | None, *, own_scan: bool) -> Observation:
        """Add this observation to the one before; any change begins anew.

        own_scan is False for a scan that an event caused: several events of one moment are not
        several scans.
        """
        if before is None or (self.size, self.mtime_ns, self.ctime_ns) != (
            before.size,
            before.mtime_ns,
            before.ctime_ns,
        ):
            return self
        appeared = before.appeared or self.appeared
        return replace(before, scans=before.scans + own_scan, appeared=appeared)

    def quiet_seconds(self, now: float) -> float:
        """Return for how long the file has been left alone; now is monotonic."""
        return max(0.0, now - self.since) + self.age


def wait_with_proof(seen: Observation, now: float, settle_seconds: float) -> float:
    """Return how many seconds to wait where the kernel tells who writes a file; 0: settled."""
    if seen.appeared:
        return 0.0
    return max(0.0, settle_seconds - seen.quiet_seconds(now))


def wait_without_proof(seen: Observation, now: float, settle_seconds: float) -> float:
    """Return how many seconds to wait where nothing proves that nobody writes; 0: settled.

    ctime is another machine's here, so only what this one saw counts, in evenly spread scans.
    """
    quiet = now - seen.since
    if quiet >= settle_seconds and seen.scans >= SCANS_WITHOUT_PROOF:
        return 0.0
    step = settle_seconds / (SCANS_WITHOUT_PROOF - 1)
    next_scan = min(seen.scans, SCANS_WITHOUT_PROOF - 1) * step
    return max(next_scan - quiet, min(step / 2, 0.5), 0.01)


class Wait(NamedTuple):
    """For how long a file is to be left alone and why; lacks: what to say of it, if anything."""

    seconds: float
    reason: PendingReason
    lacks: str = ""


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A file that has not settled."""

    source: str
    seen: Observation
    due: float  # when to look at it again; monotonic
    reason: PendingReason
    since: float  # since when it has waited for that reason; wall clock
    lacks: str = ""


class PendingFiles:
    """The files of the inbox that have not settled."""

    def __init__(self, inbox: str) -> None:
        self._inbox = inbox
        self._files: dict[str, PendingFile] = {}
        self.overflow = 0  # how many the last scan of everything could not remember

    def __len__(self) -> int:
        return len(self._files) + self.overflow

    def __contains__(self, source: str) -> bool:
        return source in self._files

    def all(self) -> list[PendingFile]:
        """Return every file that is remembered; any thread may ask."""
        return list(self._files.values())

    def incomplete(self) -> dict[str, str]:
        """Return the files that are not whole, with what each lacks."""
        return {source: file.lacks for source, file in self._files.items() if file.lacks}

    def next_due(self) -> float | None:
        """Return when (monotonic) the next file is to be looked at."""
        return min((file.due for file in self._files.values()), default=None)

    def due(self) -> list[str]:
        """Return the files to look at now."""
        now = time.monotonic()
        return [source for source, file in self._files.items() if file.due <= now]

    def forget(self, source: str) -> None:
        """Drop a file: it is a job by now, or gone. Idempotent."""
        self._files.pop(source, None)

    def forget_missing(self) -> None:
        """Drop every file that is gone."""
        for source in list(self._files):
            if not os.path.lexists(os.path.join(self._inbox, source)):
                del self._files[source]

    def forget_overflow(self) -> None:
        """Count anew what cannot be remembered: everything is scanned now."""
        self.overflow = 0

    def has_settled(
        self,
        source: str,
        stat: os.stat_result,
        settings: SettleSettings,
        *,
        leases_prove: bool,
        own_scan: bool,
        appeared: bool = False,
    ) -> bool:
        """Return whether a file may become a job now; else remember when to look again.

        leases_prove: a read lease means something on the inbox's file systems. appeared: an event
        said that the name came by move or link.
        """
        now, wall_now = time.monotonic(), time.time()
        before = self._files.get(source)
        seen = Observation.of(stat, now, wall_now, appeared=appeared).after(
            before.seen if before else None, own_scan=own_scan
        )
        wait = self._wait(source, seen, now, settings, leases_prove=leases_prove)
        if wait is None or wait.seconds <= 0:
            self.forget(source)
            return True
        if before is None and len(self._files) >= LIMIT:
            self.overflow += 1
            return False
        if wait.lacks and not (before and before.lacks):
            log.info("waiting for %s: %s", printable(source), wait.lacks)
        since = before.since if before and before.reason is wait.reason else wall_now
        due = now + wait.seconds
        self._files[source] = PendingFile(source, seen, due, wait.reason, since, wait.lacks)
        return False

    def _wait(
        self,
        source: str,
        seen: Observation,
        now: float,
        settings: SettleSettings,
        *,
        leases_prove: bool,
    ) -> Wait | None:
        """Return for what a file waits, or None when it has settled."""
        unproven = wait_without_proof(seen, now, settings.settle_network_seconds)
        quiet = wait_with_proof(seen, now, settings.settle_seconds) if leases_prove else unproven
        if quiet > 0:
            return Wait(quiet, PendingReason.SETTLING)
        being_written = Wait(WRITER_CHECK_SECONDS, PendingReason.BEING_WRITTEN, BEING_WRITTEN)
        try:
            descriptor = open_regular(self._inbox, source)
            with closing(descriptor):
                writing = writers(descriptor) if leases_prove else Writers.UNKNOWN
                if writing is Writers.SOME:
                    return being_written
                if unproven > 0 and seen.size == 0:
                    return Wait(unproven, PendingReason.EMPTY)
                if unproven > 0 and writing is Writers.UNKNOWN:
                    return Wait(unproven, PendingReason.UNPROVEN)
                lacks = container_end(descriptor, seen.size).detail if seen.size else ""
        except BlockingIOError:  # a write lease, such as Samba's oplocks
            return being_written
        except OSError:  # when it has settled all the same, its job will say why it is not read
            return Wait(unproven, PendingReason.UNPROVEN)
        left = settings.incomplete_after_seconds - seen.quiet_seconds(now)
        if not lacks or left <= 0:
            return None
        return Wait(min(left, INCOMPLETE_CHECK_SECONDS), PendingReason.INCOMPLETE, lacks)

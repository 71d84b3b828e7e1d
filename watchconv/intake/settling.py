"""Which files of the inbox have settled, and for what the others wait.

A file's age is measured by its ctime when it was first seen in its present condition, and by the
monotonic clock since then, so that a stepped wall clock ages nothing; never by mtime, which is the
client's to set. Where the kernel cannot prove that nobody writes a file, three scans and a longer
time are asked for. ``PendingFiles`` remembers at most ``LIMIT`` files; the rest is met again by a
later scan, and is by then old enough to be judged by its ctime. All files age side by side.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from watchconv.host.files import closing, open_regular
from watchconv.intake.beside import Neighbours, is_part
from watchconv.intake.lease import Writers, writers
from watchconv.media.holes import file_end
from watchconv.names import printable

log = logging.getLogger(__name__)

LIMIT = 10_000
SCANS_WITHOUT_PROOF = 3
# a writer's close and an upload's next byte are events; these are for when an event got lost
WRITER_CHECK_SECONDS = 15.0
INCOMPLETE_CHECK_SECONDS = 60.0
PART_CHECK_SECONDS = 15.0  # whether a download or its parts are still beside it
BEING_WRITTEN = "somebody is still writing it"


class PendingReason(StrEnum):
    """Why a file is not a job yet."""

    SETTLING = "settling"  # it has not been left alone for long enough
    BEING_WRITTEN = "being-written"
    EMPTY = "empty"  # a file is often made first and written later
    UNPROVEN = "unproven"  # it cannot be opened, or the kernel does not tell who writes it
    INCOMPLETE = "incomplete"  # its container says that more must come
    DOWNLOADING = "downloading"  # what is to take its name lies beside it
    JOINING = "joining"  # a program may be about to join it with others

    @property
    def sentence(self) -> str:
        """Why, for a person."""
        return _SENTENCES[self]


_SENTENCES = {
    PendingReason.SETTLING: "it has not been left alone for long enough",
    PendingReason.BEING_WRITTEN: BEING_WRITTEN,
    PendingReason.EMPTY: "it is empty; a file is often made first and written later",
    PendingReason.UNPROVEN: "the kernel does not tell whether somebody writes it",
    PendingReason.INCOMPLETE: "it is not whole",
    PendingReason.DOWNLOADING: "it is still being downloaded",
    PendingReason.JOINING: "it is one of the parts that a program joins to a film",
}


@dataclass(frozen=True, slots=True)
class SettleSettings:
    """How long to wait for what, in seconds, and whether leases prove that nobody writes."""

    settle_seconds: float
    settle_network_seconds: float
    incomplete_after_seconds: float
    leases_prove: bool  # a read lease means something on the inbox's file systems


@dataclass(frozen=True, slots=True)
class Observation:
    """A file as it was last seen: its condition, since when (monotonic), in how many scans.

    watched: for how many seconds it has been seen in this condition. age: for how many more, by
    its ctime, it had been in it when it was first seen. appeared: it came by move or link in this
    condition, so it was written elsewhere.
    """

    condition: tuple[int, int, int]  # size, mtime and ctime
    since: float
    watched: float = 0.0
    age: float = 0.0
    scans: int = 1
    appeared: bool = False


def observe(
    last: Observation | None,
    stat: os.stat_result,
    now: float,
    wall_now: float,
    *,
    own_scan: bool,
    appeared: bool = False,
) -> Observation:
    """Return what is seen now, added to what was last seen; any change begins anew.

    now is monotonic, wall_now since the epoch. own_scan is False for a scan that an event caused:
    several events of one moment are not several scans.
    """
    condition = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
    if last is None or last.condition != condition:
        age = max(0.0, wall_now - stat.st_ctime_ns / 1e9)
        if last is not None and stat.st_ctime_ns >= last.condition[2]:  # else it is another file
            # it changed since it was last seen, whatever a stepped wall clock says
            age = min(age, now - last.since - last.watched)
        return Observation(condition, now, age=age, appeared=appeared)
    scans, appeared = last.scans + own_scan, last.appeared or appeared
    return replace(last, watched=now - last.since, scans=scans, appeared=appeared)


def wait_seconds(seen: Observation, settings: SettleSettings, *, proven: bool) -> float:
    """Return for how many seconds more a file is to be left alone; 0: it has settled.

    proven: the kernel tells who writes it. Where nothing does, ctime is another machine's, so only
    what this one saw counts, in evenly spread scans.
    """
    if proven:
        left = settings.settle_seconds - seen.watched - seen.age
        return 0.0 if seen.appeared else max(0.0, left)
    if seen.watched >= settings.settle_network_seconds and seen.scans >= SCANS_WITHOUT_PROOF:
        return 0.0
    step = settings.settle_network_seconds / (SCANS_WITHOUT_PROOF - 1)
    next_scan = min(seen.scans, SCANS_WITHOUT_PROOF - 1) * step
    return max(next_scan - seen.watched, min(step / 2, 0.5), 0.01)


class Wait(NamedTuple):
    """When to look at a file again, and why it waits; lacks: what to say of it, if anything."""

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

    @property
    def why(self) -> str:
        """Why it waits, for a person."""
        return self.lacks or self.reason.sentence


class PendingFiles:
    """The files of the inbox that have not settled."""

    def __init__(self, inbox: str) -> None:
        self._inbox, self._neighbours = inbox, Neighbours(inbox)
        self.files: dict[str, PendingFile] = {}
        self.overflow = 0  # how many the last scan of everything could not remember

    def begin_full_scan(self) -> None:
        """Count anew what cannot be remembered."""
        self.overflow = 0

    def forget_missing(self) -> None:
        """Drop every file that is gone."""
        for source in list(self.files):
            if not os.path.lexists(os.path.join(self._inbox, source)):
                del self.files[source]

    def has_settled(
        self,
        source: str,
        stat: os.stat_result,
        settings: SettleSettings,
        *,
        own_scan: bool,
        appeared: bool = False,
    ) -> bool:
        """Return whether a file may become a job now; else remember when to look again.

        appeared: an event said that the name came by move or link.
        """
        now, wall_now = time.monotonic(), time.time()
        last = self.files.get(source)
        before = last.seen if last else None
        seen = observe(before, stat, now, wall_now, own_scan=own_scan, appeared=appeared)
        wait = self._wait(source, seen, settings) or self._wait_for_others(source, seen, settings)
        if wait is None:
            self.files.pop(source, None)
            return True
        if last is None and len(self.files) >= LIMIT:
            self.overflow += 1
            return False
        if wait.lacks and not (last and last.lacks):
            log.info("waiting for %s: %s", printable(source), wait.lacks)
        since = last.since if last and last.reason is wait.reason else wall_now
        due = now + wait.seconds
        self.files[source] = PendingFile(source, seen, due, wait.reason, since, wait.lacks)
        return False

    def _wait(self, source: str, seen: Observation, settings: SettleSettings) -> Wait | None:
        """Return for what a file waits, or None when it has settled."""
        quiet = wait_seconds(seen, settings, proven=settings.leases_prove)
        if quiet > 0:
            return Wait(quiet, PendingReason.SETTLING)
        unproven = wait_seconds(seen, settings, proven=False)
        being_written = Wait(WRITER_CHECK_SECONDS, PendingReason.BEING_WRITTEN, BEING_WRITTEN)
        size = seen.condition[0]
        try:
            with closing(open_regular(self._inbox, source)) as descriptor:
                writing = writers(descriptor) if settings.leases_prove else Writers.UNKNOWN
                if writing is Writers.SOME:
                    return being_written
                if unproven > 0 and size == 0:
                    return Wait(unproven, PendingReason.EMPTY)
                if unproven > 0 and writing is Writers.UNKNOWN:
                    return Wait(unproven, PendingReason.UNPROVEN)
                lacks = file_end(descriptor, size).detail if size else ""
        except BlockingIOError:  # a write lease, such as Samba's oplocks
            return being_written
        except OSError:  # when it has settled all the same, its job will say why it is not read
            return Wait(unproven, PendingReason.UNPROVEN) if unproven > 0 else None
        left = settings.incomplete_after_seconds - seen.watched - seen.age
        if not lacks or left <= 0:
            return None
        return Wait(min(left, INCOMPLETE_CHECK_SECONDS), PendingReason.INCOMPLETE, lacks)

    def _wait_for_others(
        self, source: str, seen: Observation, settings: SettleSettings
    ) -> Wait | None:
        """Return for what a file waits that has settled itself, going by what lies beside it."""
        alone = seen.watched + seen.age
        left = settings.incomplete_after_seconds - alone
        loading = ""
        if seen.condition[0] == 0:
            loading = self._neighbours.download_of(source) or ""
        elif left > 0 and self._neighbours.is_loaded_in_place(source):
            loading = f"{os.path.basename(source)}.aria2"
        if loading:
            lacks = f"it is still being downloaded: {printable(loading)} lies beside it"
            return Wait(PART_CHECK_SECONDS, PendingReason.DOWNLOADING, lacks)
        if disc := self._neighbours.set_of(source):
            return self._wait_for_parts(source, *disc, alone, settings)
        if left > 0 and is_part(os.path.basename(source)):
            quiet = self._neighbours.join_seconds(source, alone, time.time())
            if (seconds := min(left, quiet, PART_CHECK_SECONDS)) > 0:
                return Wait(seconds, PendingReason.JOINING)
        return None

    def _wait_for_parts(
        self, source: str, first: str, parts: list[str], alone: float, settings: SettleSettings
    ) -> Wait | None:
        """Return for what a part of a DVD's film waits: the first for all, the others for it."""
        folder, name = os.path.split(source)
        if name != first:
            lacks = f"it is converted together with {printable(first)}"
            return Wait(PART_CHECK_SECONDS, PendingReason.JOINING, lacks)
        quiet = self._neighbours.quiet_seconds(folder, parts, time.time())
        left = settings.settle_network_seconds - (alone if quiet is None else quiet)
        return Wait(left, PendingReason.JOINING) if left > 0 else None

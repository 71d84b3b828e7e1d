"""Scans of the inbox: compare what is listed with the journal, and queue what is new and settled.

There is no other way in than ``InboxScanner.scan``. A file that is listed is known to the journal,
or waits until it has settled, or becomes a job; a name that is gone withdraws its job. No link is
followed. A folder that cannot be read is logged once and passed over. Memory does not grow with
the backlog: the listing streams, and is compared with the journal a batch of names at a time.
"""

from __future__ import annotations

import logging
import os
import stat as st
import time
from collections import deque
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from watchconv.host.files import closing, open_folder
from watchconv.host.folders import Missing
from watchconv.intake.filters import Ignored, NameFilter, kind_of, profile_for
from watchconv.intake.settling import PendingFile, PendingFiles, SettleSettings
from watchconv.logs.format import log_transition
from watchconv.model import Candidate, Job, JobState, mtime_ns
from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from watchconv.host.folders import Folders
    from watchconv.intake.watch import Hints
    from watchconv.journal.jobs import Journal

log = logging.getLogger(__name__)

BATCH = 400  # names that one query of the journal compares
LISTED = 100  # pending files that a status names


@dataclass(frozen=True, slots=True)
class ScanRules:
    """What a scan goes by."""

    filter: NameFilter
    settle: SettleSettings
    profiles: Collection[str]
    profile: str  # of what lies in no profile's folder


@dataclass(slots=True)
class ScanResult:
    """What a scan did, and what is left in the inbox after it."""

    added: int = 0
    taken_away: list[int] = field(default_factory=list)  # running jobs whose original is gone
    unread: set[str] = field(default_factory=set)  # folders that could not be read this time
    first_seen: int = 0  # files that no scan has met before
    next_due: float | None = None  # monotonic: when a pending file is to be looked at again
    pending: int = 0
    overflow: int = 0  # those of the pending files that are not remembered
    ignored: int = 0
    incomplete: dict[str, str] = field(default_factory=dict)  # what each lacks
    longest: list[PendingFile] = field(default_factory=list)  # that wait, at most LISTED


class _Seen(NamedTuple):
    """What lies under a name; stat is None when that is no regular file."""

    stat: os.stat_result | None
    appeared: bool = False
    ignored: bool = False


def _is_about(job: Job, stat: os.stat_result | None) -> bool:
    """Return whether a job is about what lies under its name now."""
    return stat is not None and (stat.st_size, mtime_ns(stat)) == (job.size, job.mtime_ns)


class InboxScanner:
    """Scans the inbox, and remembers what is pending and what is ignored. One scan at a time."""

    def __init__(self, inbox: str, journal: Journal, folders: Folders) -> None:
        """Take the inbox, a journal connection of its own, and who knows what is mounted."""
        self._inbox, self._journal, self._folders = inbox, journal, folders
        self._pending = PendingFiles(inbox)
        self._ignored = Ignored()
        self._logged: set[str] = set()  # folders of which something was logged, once
        self.steps = 0  # grows as a scan gets on
        self._rules: ScanRules  # of the scan under way, like the next two
        self._on_added: Callable[[], None]
        self._result = ScanResult()

    def pending_files(self) -> list[PendingFile]:
        """Return the files that wait, each with why and since when; any thread may ask."""
        return list(self._pending.files.values())

    def scan(
        self, hints: Hints | None, rules: ScanRules, on_added: Callable[[], None]
    ) -> ScanResult:
        """Scan what the hints name and the files that are due; without hints, everything.

        on_added is called after each batch of new jobs. Raises JournalError.
        """
        self._rules, self._on_added = rules, on_added
        result = self._result = ScanResult()
        pending = self._pending
        if hints is None:
            pending.begin_full_scan()
            self._ignored.keep_only(self._scan_tree("", self._journal.held_counts()))
            pending.forget_missing()
        else:
            held = self._journal.held_counts() if hints.trees else {}
            for folder in hints.trees:
                self._scan_tree(folder, held, appeared=folder in hints.moved)
            for folder in hints.folders - hints.trees:
                self._scan_tree(folder, self._journal.held_counts(folder), deep=False)
            for folder, names in hints.names.items():
                self._compare(self._list_names(folder, names), own_scan=False)
            now = time.monotonic()
            due: dict[str, dict[str, bool]] = {}
            for source, file in pending.files.items():
                if file.due <= now:
                    folder, name = os.path.split(source)
                    due.setdefault(folder, {})[name] = False
            for folder, names in due.items():
                self._compare(self._list_names(folder, names), own_scan=True)
        for source, file in pending.files.items():
            if result.next_due is None or file.due < result.next_due:
                result.next_due = file.due
            if file.lacks:
                result.incomplete[source] = file.lacks
        result.longest = nsmallest(LISTED, pending.files.values(), key=attrgetter("since"))
        result.pending = len(pending.files) + pending.overflow
        result.overflow, result.ignored = pending.overflow, self._ignored.end_scan()
        return result

    def _scan_tree(
        self, folder: str, held: Mapping[str, int], *, deep: bool = True, appeared: bool = False
    ) -> set[str]:
        """Compare a folder and, if deep, all below it with the journal; return what was scanned.

        held: how many jobs hold names in each folder. appeared: the folder came by a move.
        """
        if self._rules.filter.skips(folder):
            above, name = os.path.split(folder)
            self._compare(self._list_names(above, {name: False}), own_scan=False)
            return set()
        scanned = set()
        queue = deque([folder])
        while queue:
            here = queue.popleft()
            scanned.add(here)
            below: list[str] = []
            entries = self._list_folder(here, below, appeared=appeared)
            if self._compare(entries, own_scan=True) < held.get(here, 0):
                self._compare_missing(here)
            if deep:
                queue.extend(below)
        inside = f"{folder}/" if folder else ""
        for other in held:
            if other not in scanned and other.startswith(inside):
                self._compare_missing(other)
        return scanned

    def _list_folder(
        self, folder: str, below: list[str], *, appeared: bool
    ) -> Iterator[tuple[str, _Seen]]:
        """Yield the files of a folder that count; add to below the folders that are in it."""
        rules = self._rules.filter
        name = os.path.basename(folder)
        if "." in name and folder not in self._logged and rules.reason(name) is None:
            self._logged.add(folder)
            log.info("%s is a folder, not a video; what is in it is looked at", printable(folder))
        inside = f"{folder}/" if folder else ""
        ignored: list[tuple[str, str]] = []
        try:
            descriptor = open_folder(os.path.join(self._inbox, folder).rstrip("/"))
            with closing(descriptor), os.scandir(descriptor) as entries:
                for entry in entries:
                    self.steps += 1
                    source = inside + entry.name
                    try:
                        if entry.is_file(follow_symlinks=False):
                            reason = rules.reason(entry.name, folder)
                        elif entry.is_dir(follow_symlinks=False) and not rules.skips_folder(source):
                            below.append(source)
                            continue
                        else:
                            reason = kind_of(entry.stat(follow_symlinks=False).st_mode)
                        if reason:
                            ignored.append((entry.name, reason))
                        else:
                            yield source, _Seen(entry.stat(follow_symlinks=False), appeared)
                    except OSError:  # it has gone meanwhile
                        continue
        except OSError as error:
            self._note_unreadable(folder, error)
        else:
            self._ignored.renew(folder, ignored)

    def _list_names(self, folder: str, names: Mapping[str, bool]) -> Iterator[tuple[str, _Seen]]:
        """Yield single names of a folder; names tells of each whether it came by move or link."""
        rules = self._rules.filter
        if folder and rules.skips(folder):
            return
        try:
            descriptor = open_folder(os.path.join(self._inbox, folder).rstrip("/"))
        except (FileNotFoundError, NotADirectoryError):
            for name in names:
                yield os.path.join(folder, name), _Seen(None)
            return
        except OSError as error:
            self._note_unreadable(folder, error)
            return
        with closing(descriptor):
            for name, appeared in names.items():
                source = os.path.join(folder, name)
                try:
                    stat = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                except FileNotFoundError:
                    self._ignored.discard(folder, name)
                    yield source, _Seen(None)
                    continue
                except OSError:
                    continue
                is_file = st.S_ISREG(stat.st_mode)
                reason = rules.reason(name, folder) if is_file else kind_of(stat.st_mode)
                if reason and (not st.S_ISDIR(stat.st_mode) or rules.skips_folder(source)):
                    self._ignored.add(folder, name, reason)
                yield source, _Seen(stat if is_file else None, appeared, ignored=bool(reason))

    def _note_unreadable(self, folder: str, error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            return
        if not isinstance(error, (PermissionError, NotADirectoryError)):
            self._result.unread.add(folder)
        if folder not in self._logged:
            self._logged.add(folder)
            name = printable(folder) or "the inbox"
            log.warning("cannot look into %s: %s; what is in it waits", name, error.strerror)

    def _compare(self, entries: Iterator[tuple[str, _Seen]], *, own_scan: bool) -> int:
        """Compare names with the journal, batch by batch; return how many of them jobs hold.

        own_scan is False where an event named them.
        """
        rules, result, pending = self._rules, self._result, self._pending
        held = 0
        while batch := dict(islice(entries, BATCH)):
            self.steps += 1
            jobs = self._journal.held(list(batch))
            new = []
            for source, (stat, appeared, ignored) in batch.items():
                job = jobs.get(source)
                # a name may have come to be ignored after its job was queued, which stays
                found = None if ignored and not (job and _is_about(job, stat)) else stat
                kept = job is not None and not self._end_if_changed(job, found)
                held += kept
                if kept or found is None:
                    pending.files.pop(source, None)
                    continue
                result.first_seen += source not in pending.files
                if pending.has_settled(
                    source, found, rules.settle, own_scan=own_scan, appeared=appeared
                ):
                    profile = profile_for(source, rules.profiles, rules.profile)
                    new.append(Candidate(source, found.st_size, mtime_ns(found), profile))
            if new and (added := self._journal.add(new, time.time())):
                result.added += len(added)
                self._on_added()
                for job in added:
                    log_transition(log, job, None, job.state)
        return held

    def _end_if_changed(self, job: Job, stat: os.stat_result | None) -> bool:
        """End a job that is not about what lies under its name now; return whether it ended."""
        if _is_about(job, stat):
            return False
        if stat is None:
            if self._folders.why_missing(job.source) is not Missing.GONE:
                return False
            if job.state is JobState.RUNNING:
                self._result.taken_away.append(job.id)
        if job.state is JobState.DONE:
            self._journal.release(job.id)
            return True
        if job.state is not JobState.QUEUED:
            return False
        now = time.time()
        if stat is None:
            ended = self._journal.withdraw(job.id, JobState.QUEUED, now)
        else:
            ended = self._journal.supersede(job.id, JobState.QUEUED, now, stale=False)
        if ended is None:
            return False  # a worker has claimed it meanwhile, and will see for itself
        log_transition(log, job, JobState.QUEUED, ended.state)
        return True

    def _compare_missing(self, folder: str) -> None:
        """Find the jobs of a folder whose files are gone, page by page."""
        after = ""
        while page := self._journal.held_in(folder, after):
            after = page[-1]
            names = {os.path.basename(source): False for source in page}
            listed = self._list_names(folder, names)
            missing = (entry for entry in listed if entry[1].stat is None or entry[1].ignored)
            self._compare(missing, own_scan=True)

"""One look at the inbox: the listing is compared with the journal, what is new is settled.

Start-up, events, the timer and recovery all come through ``InboxScanner.look``; there is no
other way in. A file of the listing is known to the journal, or waits until it is settled, or
becomes a job.

Guarantees: memory does not grow with the backlog: the listing streams, and is compared with the
journal a batch of names at a time. A name that is gone withdraws its job.
Does not watch, and starts nothing: it is called, on one thread at a time.
Errors: ``JournalError``. A folder that cannot be read is said once and passed over.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat as st
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

from watchconv.host.files import closing, open_folder
from watchconv.host.folders import UNMOUNTED
from watchconv.intake.filters import Ignored, NameFilter, kind_of
from watchconv.intake.watch import Hints, walk
from watchconv.journal.jobs import Journal
from watchconv.logs.format import log_transition, tell
from watchconv.model import Candidate, Job, JobState, mtime_ns
from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from watchconv.intake.settling import PendingFiles

log = logging.getLogger(__name__)

BATCH = 400  # names that one query of the journal compares

T = TypeVar("T")
P = ParamSpec("P")


class AskJournal(Protocol):
    """A way to call the journal on the thread that owns it, and to wait for its answer."""

    def __call__(
        self, question: Callable[Concatenate[Journal, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a method of the journal there."""
        ...


class Seen(NamedTuple):
    """One name of a listing. stat is None when there is nothing under that name."""

    source: str
    stat: os.stat_result | None
    appeared: bool = False


@dataclass(slots=True)
class ScanResult:
    """What a look did."""

    added: int = 0
    taken_away: list[int] = field(default_factory=list)  # running jobs whose original is gone
    unread: set[str] = field(default_factory=set)  # folders that could not be read this time


class InboxScanner:
    """The inbox as the daemon knows it."""

    def __init__(
        self,
        sieve: NameFilter,
        waiting: PendingFiles,
        ask: AskJournal,
        *,
        profile_of: Callable[[str], str],
        vouches: Callable[[str], bool],
        expect: Callable[[], None],
        wake_workers: Callable[[], None],
    ) -> None:
        """Take the rules, who waits, a way to ask the journal, and whom to tell.

        vouches tells whether a name under which nothing is there is to be believed gone;
        expect hears of a file that was not seen before; wake_workers of new jobs.
        """
        self._expect = expect
        self._wake_workers = wake_workers
        self.sieve, self._ask = sieve, ask
        self._profile_of = profile_of
        self._inbox, self.waiting = waiting.inbox, waiting
        self.steps = 0  # grows as a look gets on
        self.ignored = Ignored()
        self._vouches = vouches
        self._said: set[str] = set()  # folders of which something was said, once
        self._unread: set[str] = set()

    def look(self, hints: Hints | None = None) -> ScanResult:
        """Look at what the hints name and at the files that are due; without hints, at all."""
        looked = ScanResult()
        if hints is None:
            self._look_at_all(looked)
        else:
            self._look_at(hints, looked)
        self.ignored.end_look()
        looked.unread, self._unread = self._unread, set()
        return looked

    def welcome_mounts(self) -> None:
        """Let the jobs go on that waited for a mount."""
        self._ask(Journal.hurry, UNMOUNTED)
        self._wake_workers()

    def _look_at(self, hints: Hints, looked: ScanResult) -> None:
        for folder in hints.trees | hints.folders:
            by_move = folder in hints.moved
            self._look_below(folder, looked, deep=folder in hints.trees, appeared=by_move)
        for folder, names in hints.names.items():
            self._compare(self._list_names(folder, names), looked, own_look=False)
        due: dict[str, dict[str, bool]] = {}
        for source in self.waiting.due():
            folder, name = os.path.split(source)
            due.setdefault(folder, {})[name] = False
        for folder, names in due.items():
            self._compare(self._list_names(folder, names), looked, own_look=True)

    def _look_at_all(self, looked: ScanResult) -> None:
        self.waiting.overflow = 0
        self.ignored.keep_only(self._look_below("", looked, deep=True))
        self.waiting.forget_missing()

    def _look_below(
        self, folder: str, looked: ScanResult, *, deep: bool, appeared: bool = False
    ) -> set[str]:
        if self.sieve.skips(folder):
            above, name = os.path.split(folder)
            self._compare(self._list_names(above, {name: False}), looked, own_look=False)
            return set()
        seen = set()
        held_before = self._ask(Journal.held_counts, folder if not deep else None)
        skips = self.sieve.skips_folder
        for here, entries in walk(self._inbox, folder, skips, self._tell_unreadable, deep=deep):
            seen.add(here)
            self._tell_video_folder(here)
            kept = self._look_at_folder(here, entries, looked, appeared=appeared)
            if kept < held_before.get(here, 0):
                self._compare_missing(here, looked)
        below = f"{folder}/" if folder else ""
        for held in held_before:
            if held not in seen and (held == folder or held.startswith(below)):
                self._compare_missing(held, looked)
        return seen

    def _look_at_folder(
        self,
        folder: str,
        entries: Iterator[os.DirEntry[str]],
        looked: ScanResult,
        *,
        appeared: bool,
    ) -> int:
        """Sift and compare one folder's entries. Returns how many jobs hold names there."""
        passed_over: list[tuple[str, str]] = []
        sifted = self._sift(folder, entries, passed_over)
        files = (seen._replace(appeared=True) for seen in sifted) if appeared else sifted
        kept = self._compare(files, looked, own_look=True)
        self.ignored.renew(folder, passed_over)
        return kept

    def _sift(
        self, folder: str, entries: Iterator[os.DirEntry[str]], passed_over: list[tuple[str, str]]
    ) -> Iterator[Seen]:
        for entry in entries:
            self.steps += 1
            reason = self.sieve.reason(entry.name, folder)
            with contextlib.suppress(OSError):
                if not entry.is_file(follow_symlinks=False):
                    reason = kind_of(entry.stat(follow_symlinks=False).st_mode)
                if reason:
                    passed_over.append((entry.name, reason))
                else:
                    yield Seen(os.path.join(folder, entry.name), entry.stat(follow_symlinks=False))

    def _list_names(self, folder: str, names: dict[str, bool]) -> Iterator[Seen]:
        """List single names of a folder, as events named them, in the manner of a listing."""
        if self.sieve.skips(folder):
            return
        try:
            descriptor = open_folder(os.path.join(self._inbox, folder).rstrip("/"))
        except (FileNotFoundError, NotADirectoryError):
            yield from (Seen(os.path.join(folder, name), None) for name in names)
            return
        except OSError as error:
            self._tell_unreadable(folder, error)
            return
        with closing(descriptor):
            for name, appeared in names.items():
                with contextlib.suppress(OSError):
                    yield self._list_name(folder, name, _stat_at(descriptor, name), appeared)

    def _list_name(
        self, folder: str, name: str, stat: os.stat_result | None, appeared: bool
    ) -> Seen:
        """Sift one name; what is no video by name or no regular file counts as nothing there."""
        source = os.path.join(folder, name)
        if stat is None:
            self.ignored.discard(folder, name)
            return Seen(source, None, appeared)
        reason = self.sieve.reason(name, folder)
        if not st.S_ISREG(stat.st_mode):
            reason = kind_of(stat.st_mode)
        if reason and (not st.S_ISDIR(stat.st_mode) or self.sieve.skips_folder(source)):
            self.ignored.add(folder, name, reason)
        return Seen(source, None if reason else stat, appeared)

    def _tell_video_folder(self, folder: str) -> None:
        name = os.path.basename(folder)
        if "." in name and folder not in self._said and self.sieve.reason(name) is None:
            self._said.add(folder)
            log.info("%s is a folder, not a video; what is in it is looked at", printable(folder))

    def _tell_unreadable(self, folder: str, error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            return
        if not isinstance(error, (PermissionError, NotADirectoryError)):
            self._unread.add(folder)
        if folder not in self._said:
            self._said.add(folder)
            name = printable(folder) or "the inbox"
            log.warning("cannot look into %s: %s; what is in it waits", name, error.strerror)

    def _compare(self, entries: Iterable[Seen], looked: ScanResult, *, own_look: bool) -> int:
        """Compare names with the journal, batch by batch. Returns how many jobs hold them."""
        stream = iter(entries)
        held = 0
        while batch := list(islice(stream, BATCH)):
            held += self._compare_batch(batch, looked, own_look=own_look)
        return held

    def _compare_batch(self, batch: list[Seen], looked: ScanResult, *, own_look: bool) -> int:
        self.steps += 1
        jobs = self._ask(Journal.held, [seen.source for seen in batch])
        held, new = 0, []
        for source, stat, appeared in batch:
            job = jobs.get(source)
            kept = job is not None and not self._let_go(job, stat, looked)
            held += kept
            if kept or stat is None:
                self.waiting.forget(source)
                continue
            if not self.waiting.knows(source):
                self._expect()
            if self.waiting.is_ready(source, stat, own_look=own_look, appeared=appeared):
                profile = self._profile_of(source)
                new.append(Candidate(source, stat.st_size, mtime_ns(stat), profile))
        if new:
            added = self._ask(Journal.add, new, time.time())
            looked.added += len(added)
            self._wake_workers()
            for job in added:
                tell(log, job, f"queued {printable(job.source)}", state=job.state)
        return held

    def _let_go(self, job: Job, stat: os.stat_result | None, looked: ScanResult) -> bool:
        """End a job that is not about what lies under its name now; tell whether it was ended."""
        if stat and (stat.st_size, mtime_ns(stat)) == (job.size, job.mtime_ns):
            return False
        if stat is None and (self._is_passed_over(job) or not self._vouches(job.source)):
            return False  # it was a video by name when it was ordered; or its mount has gone
        ended: Job | None = None
        now = time.time()
        match job.state:
            case JobState.QUEUED if stat is None:
                ended = self._ask(Journal.withdraw, job.id, JobState.QUEUED, now)
            case JobState.QUEUED:
                ended = self._ask(Journal.supersede, job.id, JobState.QUEUED, now, stale=False)
            case JobState.RUNNING if stat is None:
                looked.taken_away.append(job.id)
                return False
            case JobState.DONE:
                self._ask(Journal.release, job.id)
                return True
            case _:
                return False
        if ended is None:
            return False  # a worker has claimed it meanwhile, and will see for itself
        log_transition(log, job, JobState.QUEUED, ended.state)
        return True

    def _is_passed_over(self, job: Job) -> bool:
        """Tell whether a job's file is there all the same, its name being passed over by now."""
        folder, name = os.path.split(job.source)
        if not (self.sieve.reason(name, folder) or self.sieve.skips(folder)):
            return False
        try:
            stat = os.lstat(os.path.join(self._inbox, job.source))
        except OSError:
            return False
        same = (stat.st_size, mtime_ns(stat)) == (job.size, job.mtime_ns)
        return same and st.S_ISREG(stat.st_mode)

    def _compare_missing(self, folder: str, looked: ScanResult) -> None:
        """Find the jobs of a folder whose files are gone, page by page."""
        after = ""
        while page := self._ask(Journal.held_in, folder, after):
            after = page[-1]
            names = {os.path.basename(source): False for source in page}
            missing = (seen for seen in self._list_names(folder, names) if seen.stat is None)
            self._compare(missing, looked, own_look=True)


def _stat_at(folder: int, name: str) -> os.stat_result | None:
    """Look a name up in an open folder: None when there is none; raises OSError otherwise."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None

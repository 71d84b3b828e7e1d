"""One look at the inbox: the listing is compared with the journal, what is new is settled.

Start-up, events, the timer and recovery all come through ``Intake.look``; there is no other way
in. A file of the listing is known to the journal, or waits until it is settled, or becomes a job.

Guarantees: memory does not grow with the backlog: the listing streams, and is compared with the
journal a batch of names at a time. A name that is gone withdraws its job.
Does not watch, and starts nothing: it is called, on one thread at a time.
Errors: ``JournalError``. A folder that cannot be read is said once and passed over.
"""

from __future__ import annotations

import logging
import os
import stat as st
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

from watchconv.intake.sieve import Ignored, Sieve
from watchconv.intake.watch import Hints, walk
from watchconv.journal import Journal
from watchconv.model import Candidate, Job, JobState
from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from watchconv.intake.waiting import Waiting

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
class Looked:
    """What a look did."""

    added: int = 0
    taken_away: list[int] = field(default_factory=list)  # running jobs whose original is gone


class Intake:
    """The inbox as the daemon knows it."""

    def __init__(
        self,
        inbox: str,
        sieve: Sieve,
        waiting: Waiting,
        ask: AskJournal,
        *,
        profile_of: Callable[[str], str],
        expect: Callable[[], None],
        wake_workers: Callable[[], None],
    ) -> None:
        """Take the folder, the rules, a way to ask the journal, and whom to tell.

        expect hears of a file that was not seen before; wake_workers of new jobs.
        """
        self._expect = expect
        self._wake_workers = wake_workers
        self._inbox, self._sieve, self._ask = inbox, sieve, ask
        self._profile_of = profile_of
        self.waiting = waiting
        self.ignored = Ignored()
        self._said: set[str] = set()  # folders of which something was said, once

    def look(self, hints: Hints | None = None) -> Looked:
        """Look at what the hints name and at the files that are due; without hints, at all."""
        looked = Looked()
        if hints is None:
            self._look_at_all(looked)
            return looked
        for folder in hints.trees | hints.folders:
            self._look_below(folder, looked, deep=folder in hints.trees)
        for folder, names in hints.names.items():
            self._compare(self._list_names(folder, names), looked, own_look=False)
        due = [Seen(source, _lstat(self._inbox, source)) for source in self.waiting.due()]
        self._compare(due, looked, own_look=True)
        return looked

    def _look_at_all(self, looked: Looked) -> None:
        self.waiting.overflow = 0
        folders = self._look_below("", looked, deep=True)
        self.ignored.keep_only(folders)
        self.waiting.forget_missing()
        for folder in self._ask(Journal.held_folders):
            if folder not in folders:
                self._compare_missing(folder, looked)

    def _look_below(self, folder: str, looked: Looked, *, deep: bool) -> set[str]:
        if self._is_skipped(folder):
            return set()
        seen = set()
        skips = self._sieve.skips_folder
        for here, entries in walk(self._inbox, folder, skips, self._tell_unreadable, deep=deep):
            seen.add(here)
            self._tell_video_folder(here)
            self._look_at_folder(here, entries, looked)
        return seen

    def _look_at_folder(
        self, folder: str, entries: Iterator[os.DirEntry[str]], looked: Looked
    ) -> None:
        passed_over: list[tuple[str, str]] = []
        files = self._sift(folder, entries, passed_over)
        held = self._compare(files, looked, own_look=True)
        self.ignored.renew(folder, passed_over)
        if held < self._ask(Journal.held_count, folder):
            self._compare_missing(folder, looked)

    def _sift(
        self, folder: str, entries: Iterator[os.DirEntry[str]], passed_over: list[tuple[str, str]]
    ) -> Iterator[Seen]:
        for entry in entries:
            reason = self._sieve.reason(entry.name)
            if not entry.is_file(follow_symlinks=False):
                reason = "a link" if entry.is_symlink() else "no regular file"
            if reason:
                passed_over.append((entry.name, reason))
            else:
                source = os.path.join(folder, entry.name)
                yield Seen(source, _lstat(self._inbox, source))

    def _list_names(self, folder: str, names: dict[str, bool]) -> Iterator[Seen]:
        """List single names of a folder, as events named them, in the manner of a listing."""
        if self._is_skipped(folder):
            return
        for name, appeared in names.items():
            source = os.path.join(folder, name)
            stat = _lstat(self._inbox, source)
            reason = self._sieve.reason(name)
            if stat is None:
                self.ignored.discard(folder, name)
            elif st.S_ISDIR(stat.st_mode):
                continue
            elif not st.S_ISREG(stat.st_mode):
                reason = "a link" if st.S_ISLNK(stat.st_mode) else "no regular file"
            if reason is None:
                yield Seen(source, stat, appeared)
            elif stat:
                self.ignored.add(folder, name, reason)

    def _is_skipped(self, folder: str) -> bool:
        return any(self._sieve.skips_folder(part) for part in folder.split("/") if part)

    def _tell_video_folder(self, folder: str) -> None:
        name = os.path.basename(folder)
        if "." in name and folder not in self._said and self._sieve.reason(name) is None:
            self._said.add(folder)
            log.info("%s is a folder, not a video; what is in it is looked at", printable(folder))

    def _tell_unreadable(self, folder: str, error: OSError) -> None:
        if folder not in self._said and not isinstance(error, FileNotFoundError):
            self._said.add(folder)
            name = printable(folder) or "the inbox"
            log.warning("cannot look into %s: %s; what is in it waits", name, error.strerror)

    def _compare(self, entries: Iterable[Seen], looked: Looked, *, own_look: bool) -> int:
        """Compare names with the journal, batch by batch. Returns how many jobs hold them."""
        stream = iter(entries)
        held = 0
        while batch := list(islice(stream, BATCH)):
            held += self._compare_batch(batch, looked, own_look=own_look)
        return held

    def _compare_batch(self, batch: list[Seen], looked: Looked, *, own_look: bool) -> int:
        held = self._ask(Journal.held, [seen.source for seen in batch])
        new = []
        for source, stat, appeared in batch:
            job = held.get(source)
            if (job and not self._let_go(job, stat, looked)) or stat is None:
                self.waiting.forget(source)
                continue
            if not self.waiting.knows(source):
                self._expect()
            if self.waiting.is_ready(source, stat, own_look=own_look, appeared=appeared):
                profile = self._profile_of(source)
                new.append(Candidate(source, stat.st_size, stat.st_mtime_ns, profile))
        if new:
            added = self._ask(Journal.add, new, time.time())
            looked.added += len(added)
            self._wake_workers()
            for job in added:
                log.info("job=%d profile=%s queued %s", job.id, job.profile, printable(job.source))
        return len(held)

    def _let_go(self, job: Job, stat: os.stat_result | None, looked: Looked) -> bool:
        """End a job that is not about what lies under its name now; tell whether it was ended."""
        if stat and (stat.st_size, stat.st_mtime_ns) == (job.size, job.mtime_ns):
            return False
        now = time.time()
        match job.state:
            case JobState.QUEUED if stat is None:
                self._ask(Journal.withdraw, job.id, now)
            case JobState.QUEUED:
                self._ask(Journal.supersede, job.id, now, stale=False)
            case JobState.RUNNING if stat is None:
                looked.taken_away.append(job.id)
                return False
            case JobState.DONE:
                self._ask(Journal.release, job.id)
                return True
            case _:
                return False
        verdict = "withdrawn" if stat is None else "superseded"
        log.info(
            "job=%d profile=%s queued→%s %s", job.id, job.profile, verdict, printable(job.source)
        )
        return True

    def _compare_missing(self, folder: str, looked: Looked) -> None:
        """Find the jobs of a folder whose files are gone, page by page."""
        after = ""
        while page := self._ask(Journal.held_in, folder, after):
            after = page[-1]
            gone = [s for s in page if not os.path.lexists(os.path.join(self._inbox, s))]
            self._compare([Seen(source, None) for source in gone], looked, own_look=True)


def _lstat(inbox: str, source: str) -> os.stat_result | None:
    try:
        return os.lstat(os.path.join(inbox, source))
    except OSError:
        return None

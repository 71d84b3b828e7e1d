"""Roll a verdict forward: publish the output, file the original, write the report.

Guarantees: can be repeated from any point, before or after a crash, and does only what is
missing; nothing is overwritten; a name is committed to the journal before it is used; the
original is moved or deleted only while it is still the file that was converted.
Does not decide the verdict, and never encodes.
Errors: ``OSError`` and ``EnvironmentTrouble`` when a step cannot be done now: the job stays
DELIVERING, and is delivered again later. ``JournalError``.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from stat import S_ISREG
from typing import TYPE_CHECKING, NamedTuple, Protocol

from watchconv.deliver import files
from watchconv.deliver.ownership import own
from watchconv.errors import EnvironmentTrouble
from watchconv.folders import closing, open_folder
from watchconv.model import Intent, Job, JobState, OnSuccess, Verdict, mtime_ns
from watchconv.names import numbered, report_of, with_suffix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from watchconv.deliver.ownership import Ownership
    from watchconv.folders import Folders

REPORT_MARK = "watchconv report of: "
_MARK_BYTES = 32 << 10  # a path of 4 KiB, escaped
_TAKEN = (FileExistsError, NotADirectoryError)
# how a link, a socket, somebody else's file or none answers to being opened
_NOT_OURS = frozenset({errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM, errno.ENOENT})
OUTPUT_STEM = "output"  # what an attempt makes is output.SUFFIX in its work directory


class End(NamedTuple):
    """How a delivery ended."""

    state: JobState  # DONE, FAILED, or SUPERSEDED when the finished work is lost
    held: bool = False  # its original stays in the inbox


class Outlet(Protocol):
    """Where finished jobs go. The default is the outbox on disk."""

    def plan(self, job: Job, verdict: Verdict, output: str | None) -> Intent:
        """Choose what a delivery will intend: the names, and what becomes of the original."""
        ...

    def deliver(self, job: Job) -> End:
        """Carry out the intent of a DELIVERING job; repeatable."""
        ...


@dataclass(frozen=True, slots=True)
class Disposal:
    """What becomes of files, as configured."""

    on_success: OnSuccess
    preserve_mtime: bool
    ownership: Ownership


class Outbox:
    """The four folders as an outlet. A job may be delivered on any thread, one at a time."""

    def __init__(
        self,
        folders: Folders,
        disposal: Disposal,
        retarget: Callable[[int, str | None, str | None], Job],
    ) -> None:
        """Take the folders, the rules, and a way to commit new names to the journal."""
        self._folders, self.disposal, self._retarget = folders, disposal, retarget
        # while it is held, a report without its original is a crash's or a person's doing
        self._filing = threading.Lock()

    def work_dir(self, job: Job) -> str:
        """Name the folder that one attempt of one job writes into; never used for another."""
        return os.path.join(self._folders.work, f"{job.id}.{job.run}")

    def plan(self, job: Job, verdict: Verdict, output: str | None) -> Intent:
        """Choose names that are free now: the output's wish comes in, what to intend goes out."""
        if verdict is not Verdict.ENCODED:
            return Intent(verdict, original=self._free_in_error(job.source))
        assert output is not None
        original, on_success = None, self.disposal.on_success
        if on_success is OnSuccess.MOVE:
            original = _free(self._folders.done, job.source)
        return Intent(verdict, _free(self._folders.outbox, output), original, on_success)

    def deliver(self, job: Job) -> End:
        """Carry the intent out. See ``Outlet``."""
        self._must_be_mounted(job)
        if job.verdict is not Verdict.ENCODED:
            self._to_error(job)
            return End(JobState.FAILED)
        published = self._publish(job)
        if published is None:
            return End(JobState.SUPERSEDED)
        return End(JobState.DONE, held=not self._dispose(published))

    def _dispose(self, job: Job) -> bool:
        """Do with the original what was intended, whatever is configured by now; False: it stays.

        But none is deleted any more once that is not configured.
        """
        match job.on_success:
            case OnSuccess.MOVE:
                self._to_done(job)
            case OnSuccess.DELETE if self.disposal.on_success is OnSuccess.DELETE:
                self._delete_original(job)
            case _:
                return False
        return True

    def _must_be_mounted(self, job: Job) -> None:
        """Raise EnvironmentTrouble unless each folder is there, and what holds the original.

        Asked before anything is made below a folder, and before what is not there is taken for
        gone.
        """
        if troubles := self._folders.troubles():
            raise EnvironmentTrouble(troubles[0])
        if not self._folders.has_mount_of(job.source):
            raise EnvironmentTrouble("the file system that holds its original is not mounted")

    def clear(self, job: Job) -> None:
        """Remove the attempt's work directory. Idempotent."""
        shutil.rmtree(self.work_dir(job), ignore_errors=True)

    def sweep(self, delivering: Iterable[Job]) -> int:
        """Remove what crashed attempts left: work directories of no delivery. Returns how many."""
        keep = {os.path.basename(self.work_dir(job)) for job in delivering}
        try:
            leftovers = [name for name in os.listdir(self._folders.work) if name not in keep]
        except OSError:
            return 0  # there are none, or the next start sees to them
        for name in leftovers:
            path = os.path.join(self._folders.work, name)
            shutil.rmtree(path, ignore_errors=True)
        return len(leftovers)

    # the output

    def _publish(self, job: Job) -> Job | None:
        """Move the output to its name; return the job with its last name, None if it is lost."""
        assert job.output is not None
        work = self.work_dir(job)
        try:
            made = [name for name in os.listdir(work) if _is_output(name, job.output)]
        except FileNotFoundError:
            self._must_be_mounted(job)
            return job if self._was_published(job) else None
        if not made:
            self._sync_again(self._folders.outbox, job.output)
            return job
        source = os.path.join(work, made[0])
        wish = with_suffix(job.source, made[0].removeprefix(OUTPUT_STEM))
        self._preserve_mtime(source, job)
        while True:
            try:
                self._move(source, self._folders.outbox, str(job.output), job, ours=True)
            except _TAKEN:
                free = _free(self._folders.outbox, wish)
                job = self._retarget(job.id, free, job.original)
            else:
                return job

    def _sync_again(self, root: str, path: str) -> None:
        """Put a name on disk that an earlier try gave, and perhaps could not sync."""
        folder = os.path.dirname(os.path.join(root, path))
        if os.path.isdir(folder):
            files.sync_folder(folder)

    def _move(self, source: str, root: str, wish: str, job: Job, *, ours: bool) -> None:
        """Move a file to its name below root. Raises what ``_TAKEN`` lists when that is taken."""
        ownership = self.disposal.ownership
        folder, name = os.path.split(wish)
        self._must_be_mounted(job)
        path = files.make_folder(root, folder, ownership)
        if ours:
            own(source, ownership, like=path)
        files.move(source, os.path.join(path, name), _scratch(path, job), ours=ours)
        if ownership.is_set and not ours:
            own(os.path.join(path, name), ownership)

    def _was_published(self, job: Job) -> bool:
        """Judge a delivery whose work directory is gone: a crash after the end, or a person.

        The directory is removed last of all, so either the original has left the inbox, or the
        output is in its place; else the work is lost and the job is made anew.
        """
        return not self._is_original(job) or (
            job.output is not None
            and os.path.lexists(os.path.join(self._folders.outbox, job.output))
        )

    def _preserve_mtime(self, source: str, job: Job) -> None:
        """Give the output the original's time while nobody sees it yet."""
        if self.disposal.preserve_mtime:
            with suppress(OSError):
                os.utime(source, ns=(time.time_ns(), job.mtime_ns))

    # the original

    def _is_original(self, job: Job) -> bool:
        """Tell whether the file under the job's name is still the one that was converted."""
        try:
            descriptor = open_folder(os.path.dirname(self._original(job)))
            with closing(descriptor):
                name = os.path.basename(job.source)
                stat = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            self._must_be_mounted(job)
            return False
        return (stat.st_size, mtime_ns(stat)) == (job.size, job.mtime_ns) and S_ISREG(stat.st_mode)

    def _original(self, job: Job) -> str:
        return os.path.join(self._folders.inbox, job.source)

    def _delete_original(self, job: Job) -> None:
        if self._is_original(job):
            path = self._original(job)
            os.unlink(path)
            files.sync_folder(os.path.dirname(path))

    def _to_done(self, job: Job) -> None:
        if not self._is_original(job) and job.original is not None:
            self._sync_again(self._folders.done, job.original)
        while self._is_original(job):
            assert job.original is not None
            try:
                self._move(self._original(job), self._folders.done, job.original, job, ours=False)
            except _TAKEN:
                free = _free(self._folders.done, job.source)
                job = self._retarget(job.id, job.output, free)

    # the error folder

    def _to_error(self, job: Job) -> None:
        """Write the report, then move the original beside it: who sees the one finds the other."""
        if not self._is_original(job) and job.original is not None:
            self._sync_again(self._folders.error, job.original)
        while self._is_original(job):
            assert job.original is not None
            try:
                with self._filing:
                    self._write_report(job, job.original)
                    self._move(
                        self._original(job), self._folders.error, job.original, job, ours=False
                    )
            except _TAKEN:
                remove_report(self._folders.error, job)
                free = self._free_in_error(job.source)
                job = self._retarget(job.id, None, free)

    def _write_report(self, job: Job, original: str) -> None:
        """Write the report of an original. Raises FileExistsError when its name is taken."""
        if not self._can_report(original, job.id):
            raise FileExistsError(errno.EEXIST, "the report's name is taken", original)
        folder, name = os.path.split(original)
        self._must_be_mounted(job)
        path = files.make_folder(self._folders.error, folder, self.disposal.ownership)
        mark = f"{REPORT_MARK}{json.dumps([job.id, original])}"
        text = f"{job.reason}\n{mark}\n{job.report or ''}"
        report = os.path.join(path, report_of(name))
        files.remove(report)  # ours, or an orphan: anybody's else was refused above
        files.publish_text(report, text, _scratch(path, job), self.disposal.ownership)

    def drop_stale_report(self, source: str) -> None:
        """Remove the report of an original that somebody has taken out of error/ by hand."""
        report = self._report(source)
        if not os.path.lexists(report):
            return
        with self._filing, suppress(OSError):
            gone = not os.path.lexists(os.path.join(self._folders.error, source))
            if gone and _read_mark(report) and self._can_report(source, 0):
                files.remove(report)

    def _report(self, original: str) -> str:
        return os.path.join(self._folders.error, report_of(original))

    def _free_in_error(self, wish: str) -> str:
        """Find a name for which neither the original nor a report that still counts is there."""
        number = 1
        while True:
            choice = _free(self._folders.error, wish, number)
            with suppress(OSError):  # one that cannot be read is taken
                if self._can_report(choice, 0):
                    return choice
            number += 1

    def _can_report(self, original: str, job_id: int) -> bool:
        """Tell whether a report may be written: none is there, or one whose original is gone."""
        report = self._report(original)
        if not os.path.lexists(report) or files.is_reservation(report):
            return True
        mark = _read_mark(report)
        if mark is None:
            return False
        return mark[0] == job_id or not os.path.lexists(os.path.join(self._folders.error, mark[1]))


def remove_report(error: str, job: Job) -> None:
    """Remove the report of a job's original from the error folder, if there is one of this job."""
    assert job.original is not None
    report = os.path.join(error, report_of(job.original))
    mark = _read_mark(report)
    if mark and mark[0] == job.id:
        files.remove(report)


def _free(root: str, wish: str, number: int = 1) -> str:
    """Find the first of a name's numbered forms that is not taken, as the file system sees it.

    Where a file has the name of one of the folders, that folder is numbered too.
    """
    folder, name = os.path.split(wish)
    if folder:
        folder = _free_folder(root, folder)
    while os.path.lexists(os.path.join(root, folder, choice := numbered(name, number))):
        number += 1
    return os.path.join(folder, choice)


def _free_folder(root: str, folder: str) -> str:
    path = ""
    for part in folder.split("/"):
        number = 1
        while os.path.lexists(
            os.path.join(root, path, choice := numbered(part, number))
        ) and not os.path.isdir(os.path.join(root, path, choice)):
            number += 1
        path = os.path.join(path, choice)
    return path


def _is_output(name: str, output: str) -> bool:
    """Tell the output from what else ffmpeg may have left in the work directory."""
    return name.startswith(OUTPUT_STEM) and output.endswith(name.removeprefix(OUTPUT_STEM))


def _scratch(folder: str, job: Job) -> str:
    """Name a hidden file in a target folder that only this job writes."""
    return os.path.join(folder, f".watchconv-{job.id}.part")


def _read_mark(path: str) -> tuple[int, str] | None:
    """Read of a report whose it is, (job, original); None for a file that came to lie here.

    Raises OSError when that cannot be told now.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NOT_OURS:
            return None
        raise
    if not S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with open(descriptor, encoding="utf-8", errors="replace") as lines:
        lines.readline(_MARK_BYTES)
        line = lines.readline(_MARK_BYTES)
    if not line.startswith(REPORT_MARK):
        return None
    try:
        job_id, original = json.loads(line.removeprefix(REPORT_MARK))
        return int(job_id), str(original)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None  # whoever wrote it, we did not

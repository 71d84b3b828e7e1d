"""Roll a verdict forward: publish the output, file the original, write the report.

Guarantees: can be repeated from any point, before or after a crash, and does only what is
missing; nothing is overwritten; a name is committed to the journal before it is used; the
original is moved or deleted only while it is still the file that was converted.
Does not decide the verdict, and never encodes.
Errors: ``OSError`` and ``EnvironmentTrouble`` when a step cannot be done now: the job stays
DELIVERING, and is delivered again later. ``JournalError``.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from watchconv.deliver import files
from watchconv.errors import EnvironmentTrouble
from watchconv.model import Job, JobState, Verdict
from watchconv.names import numbered, report_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from watchconv.deliver.files import Ownership
    from watchconv.folders import Folders

REPORT_MARK = "watchconv report of job "
OUTPUT_STEM = "output"  # what an attempt makes is output.SUFFIX in its work directory


class Outlet(Protocol):
    """Where finished jobs go. The default is the outbox on disk."""

    def plan(self, job: Job, verdict: Verdict, output: str | None) -> tuple[str | None, str | None]:
        """Choose the names (output, original) that a delivery will intend."""
        ...

    def deliver(self, job: Job) -> JobState:
        """Carry out the intent of a DELIVERING job; repeatable.

        Returns DONE, FAILED, or SUPERSEDED when the finished work is lost.
        """
        ...


@dataclass(frozen=True, slots=True)
class Disposal:
    """What becomes of files, as configured."""

    on_success: str  # move, delete, keep
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
        self._folders, self._disposal, self._retarget = folders, disposal, retarget

    def work_dir(self, job: Job) -> str:
        """Name the folder that one attempt of one job writes into; never used for another."""
        return os.path.join(self._folders.work, f"{job.id}.{job.attempt}")

    def plan(self, job: Job, verdict: Verdict, output: str | None) -> tuple[str | None, str | None]:
        """Choose names that are free now: the output's wish comes in, what to intend goes out."""
        if verdict is not Verdict.ENCODED:
            return None, self._free_in_error(job.source)
        assert output is not None
        original = None
        if self._disposal.on_success == "move":
            original = _free(self._folders.done, job.source)
        return _free(self._folders.outbox, output), original

    def deliver(self, job: Job) -> JobState:
        """Carry the intent out. See ``Outlet``."""
        if troubles := self._folders.troubles():
            raise EnvironmentTrouble(troubles[0])
        if job.verdict is not Verdict.ENCODED:
            self._to_error(job)
            return JobState.FAILED
        if not self._publish(job):
            return JobState.SUPERSEDED
        if self._disposal.on_success == "delete":
            self._delete_original(job)
        elif job.original is not None:
            self._move_original(job, self._folders.done)
        return JobState.DONE

    def clear(self, job: Job) -> None:
        """Remove the attempt's work directory. Idempotent."""
        shutil.rmtree(self.work_dir(job), ignore_errors=True)

    def sweep(self, delivering: Iterable[Job]) -> int:
        """Remove what crashed attempts left: work directories of no delivery. Returns how many."""
        keep = {os.path.basename(self.work_dir(job)) for job in delivering}
        try:
            leftovers = [name for name in os.listdir(self._folders.work) if name not in keep]
        except FileNotFoundError:
            return 0
        for name in leftovers:
            path = os.path.join(self._folders.work, name)
            shutil.rmtree(path, ignore_errors=True)
        return len(leftovers)

    # the output

    def _publish(self, job: Job) -> bool:
        """Move the output to its name; tell whether it is there, now or since an earlier try."""
        work = self.work_dir(job)
        try:
            made = [name for name in os.listdir(work) if name.startswith(OUTPUT_STEM)]
        except FileNotFoundError:
            return self._was_published(job)
        if not made:
            return True
        source = os.path.join(work, made[0])
        self._dress(source, job)
        while True:
            assert job.output is not None
            folder, name = os.path.split(job.output)
            path = files.make_folder(self._folders.outbox, folder, self._disposal.ownership)
            try:
                files.move(source, os.path.join(path, name), _scratch(path, job))
            except FileExistsError:
                job = self._retarget(job.id, _free(self._folders.outbox, job.output), job.original)
            else:
                return True

    def _was_published(self, job: Job) -> bool:
        """Judge a delivery whose work directory is gone: a crash after the end, or a person.

        The directory is removed last of all, so either the original has left the inbox, or the
        output is in its place; else the work is lost and the job is made anew.
        """
        return not self._is_original(job) or (
            job.output is not None
            and os.path.lexists(os.path.join(self._folders.outbox, job.output))
        )

    def _dress(self, source: str, job: Job) -> None:
        """Give the output its owner, mode and time while nobody sees it yet."""
        ownership = self._disposal.ownership
        assert job.output is not None
        folder = os.path.dirname(job.output)
        files.own(
            source, ownership, like=files.make_folder(self._folders.outbox, folder, ownership)
        )
        if self._disposal.preserve_mtime:
            os.utime(source, ns=(time.time_ns(), job.mtime_ns))

    # the original

    def _is_original(self, job: Job) -> bool:
        """Tell whether the file under the job's name is still the one that was converted."""
        try:
            stat = os.lstat(os.path.join(self._folders.inbox, job.source))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (stat.st_size, stat.st_mtime_ns) == (job.size, job.mtime_ns)

    def _delete_original(self, job: Job) -> None:
        if self._is_original(job):
            path = os.path.join(self._folders.inbox, job.source)
            os.unlink(path)
            files.sync_folder(os.path.dirname(path))

    def _move_original(self, job: Job, root: str) -> Job:
        """Move the original below root if it is still there; return the job with its last name."""
        ownership = self._disposal.ownership
        while self._is_original(job):
            assert job.original is not None
            folder, name = os.path.split(job.original)
            path = files.make_folder(root, folder, ownership)
            target = os.path.join(path, name)
            try:
                files.move(
                    os.path.join(self._folders.inbox, job.source), target, _scratch(path, job)
                )
            except FileExistsError:
                choose = self._free_in_error if root == self._folders.error else None
                free = choose(job.original) if choose else _free(root, job.original)
                job = self._retarget(job.id, job.output, free)
            else:
                if ownership.is_set:
                    files.own(target, ownership)
                break
        return job

    # the error folder

    def _to_error(self, job: Job) -> None:
        """Write the report, then move the original beside it: who sees the one finds the other."""
        while self._is_original(job):
            original = job.original
            assert original is not None
            if not self._can_report(original):
                job = self._retarget(job.id, None, self._free_in_error(original))
                continue
            self._write_report(job)
            job = self._move_original(job, self._folders.error)
            if job.original == original:
                return
            os.unlink(os.path.join(self._folders.error, report_of(original)))

    def _write_report(self, job: Job) -> None:
        assert job.original is not None
        folder, name = os.path.split(job.original)
        path = files.make_folder(self._folders.error, folder, self._disposal.ownership)
        report = os.path.join(path, report_of(name))
        text = f"{job.reason}\n{REPORT_MARK}{job.id}\n{job.report or ''}"
        files.replace_text(report, text, _scratch(path, job), self._disposal.ownership)

    def _free_in_error(self, original: str) -> str:
        """Find a name for which neither the original nor a report that still counts is there."""
        number = 1
        while True:
            choice = numbered(original, number)
            path = os.path.join(self._folders.error, choice)
            if not os.path.lexists(path) and self._can_report(choice):
                return choice
            number += 1

    def _can_report(self, original: str) -> bool:
        report = os.path.join(self._folders.error, report_of(original))
        return not os.path.lexists(report) or _is_our_report(report)


def _free(root: str, wish: str) -> str:
    """Find the first of a name's numbered forms that is not taken, as the file system sees it."""
    number = 1
    while os.path.lexists(os.path.join(root, choice := numbered(wish, number))):
        number += 1
    return choice


def _scratch(folder: str, job: Job) -> str:
    """Name a hidden file in a target folder that only this job writes."""
    return os.path.join(folder, f".watchconv-{job.id}.part")


def _is_our_report(path: str) -> bool:
    """Tell a report, which may be replaced, from a file that came to lie here."""
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            return f"\n{REPORT_MARK}" in lines.read(8192)
    except OSError:
        return False

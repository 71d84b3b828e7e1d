"""Roll a verdict forward: publish the output, file the original, write the report.

Guarantees: can be repeated from any point, before or after a crash, and does only what is
missing; nothing is overwritten; a name is committed to the journal before it is used; the
original is moved or deleted only while it is still the file that was converted: another that
came to lie there in the last moment is put back.
Does not decide the verdict, and never encodes.
Errors: ``OSError`` and ``EnvironmentTrouble`` when a step cannot be done now: the job stays
DELIVERING, and is delivered again later. ``JournalError``.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from watchconv.deliver import move as files
from watchconv.deliver import originals
from watchconv.deliver.free_names import MOST_NAMES, all_taken, free_name
from watchconv.deliver.ownership import own
from watchconv.deliver.reports import Reports, remove_report
from watchconv.errors import EnvironmentTrouble
from watchconv.host import workdir as work
from watchconv.model import Intent, Job, JobState, OnSuccess, Verdict
from watchconv.names import with_suffix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from watchconv.deliver.ownership import Ownership
    from watchconv.host.folders import Folders
    from watchconv.model import OutputFile

_TAKEN = (FileExistsError, NotADirectoryError)


class DeliveryResult(NamedTuple):
    """How a delivery ended."""

    state: JobState  # DONE, FAILED, or SUPERSEDED when the finished work is lost
    held: bool = False  # its original stays in the inbox


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """What becomes of files, as configured."""

    on_success: OnSuccess
    preserve_mtime: bool
    ownership: Ownership


class Outbox:
    """The four folders as an outlet. A job may be delivered on any thread, one at a time."""

    def __init__(
        self,
        folders: Folders,
        disposal: DeliverySettings,
        retarget: Callable[[int, str | None, str | None], Job],
    ) -> None:
        """Take the folders, the rules, and a way to commit new names to the journal."""
        self._folders, self.disposal, self._retarget = folders, disposal, retarget
        self._reports = Reports(folders.error)

    def work_dir(self, job: Job) -> str:
        """Name the folder that one attempt of one job writes into; never used for another."""
        return work.work_dir(self._folders.work, job)

    def plan(self, job: Job, verdict: Verdict, wishes: Sequence[OutputFile] = ()) -> Intent:
        """Choose names that are free now: outputs with the names they wish for come in."""
        if verdict is not Verdict.ENCODED:
            return Intent(verdict, original=self._free_in_error(job.source))
        original, on_success = None, self.disposal.on_success
        if on_success is OnSuccess.MOVE:
            original = free_name(self._folders.done, job.source)
        outbox = self._folders.outbox
        outputs = tuple(replace(o, name=free_name(outbox, str(o.name))) for o in wishes)
        return Intent(verdict, outputs, original, on_success)

    def deliver(self, job: Job) -> DeliveryResult:
        """Carry out the intent of a DELIVERING job; repeatable."""
        self._must_be_mounted(job)
        if job.verdict is not Verdict.ENCODED:
            self._to_error(job)
            return DeliveryResult(JobState.FAILED)
        published = self._publish(job)
        if published is None:
            return DeliveryResult(JobState.SUPERSEDED)
        return DeliveryResult(JobState.DONE, held=not self._dispose(published))

    def _dispose(self, job: Job) -> bool:
        """Do with the original what was intended, whatever is configured; False: it stays."""
        match job.on_success:
            case OnSuccess.MOVE:
                self._to_done(job)
                return True
            case OnSuccess.DELETE:
                return self._delete_original(job)
            case _:
                return False

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
        work.clear(self._folders.work, job)

    def sweep(self, ask: Callable[[], Iterable[Job]]) -> int:
        """Remove leftovers of attempts, see ``work.sweep``; only while the folders are well."""
        return 0 if self._folders.troubles() else work.sweep(self._folders.work, ask)

    # the output

    def _publish(self, job: Job) -> Job | None:
        """Move the output to its name; return the job with its last name, None if it is lost."""
        assert job.output is not None
        folder = self.work_dir(job)
        try:
            made = [name for name in os.listdir(folder) if work.is_output(name, job.output)]
        except FileNotFoundError:
            self._must_be_mounted(job)
            return job if self._was_published(job) else None
        if not made:
            self._settle(self._folders.outbox, job.output, job)
            return job
        source = os.path.join(folder, made[0])
        wish = with_suffix(job.source, work.suffix_of(made[0]))
        self._preserve_mtime(source, job)
        for number in range(2, MOST_NAMES):
            try:
                self._move_output(source, str(job.output), job)
            except _TAKEN:
                free = free_name(self._folders.outbox, wish, number)
                job = self._retarget(job.id, free, job.original)
            else:
                return job
        raise all_taken(wish)

    def _move_output(self, source: str, wish: str, job: Job) -> None:
        """Move the output to its name. Raises what ``_TAKEN`` lists when that is taken."""
        target = self._make_place(self._folders.outbox, wish, job)
        own(source, self.disposal.ownership, like=os.path.dirname(target))
        files.sync_file(source)  # mode and times too, before anybody sees it
        files.move(source, target, _scratch(target, job), ours=True)

    def _make_place(self, root: str, wish: str, job: Job) -> str:
        """Make the folder of a name below root; return the whole path of the name."""
        folder, name = os.path.split(wish)
        self._must_be_mounted(job)
        return os.path.join(files.make_folder(root, folder, self.disposal.ownership), name)

    def _settle(self, root: str, wish: str, job: Job) -> None:
        """Finish what an earlier try began for a name below root, and perhaps could not finish."""
        target = os.path.join(root, wish)
        folder = os.path.dirname(target)
        if os.path.isdir(folder):
            files.remove(_scratch(target, job))  # a copy, and then the original went away
            if root != self._folders.outbox and originals.is_of(job, target):
                self._own_original(target)
            files.sync_folder(folder)

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
        with originals.held(self._folders.inbox, job) as path:
            if path and originals.is_of(job, path):
                return True
            self._must_be_mounted(job)
            return False

    def _delete_original(self, job: Job) -> bool:
        """Delete the original, unless that is not configured any more: False then."""
        wanted = self.disposal.on_success is OnSuccess.DELETE
        with originals.held(self._folders.inbox, job) as path:
            if path:
                originals.delete(path, job, wanted=wanted)
            else:
                self._must_be_mounted(job)
        return wanted

    def _to_done(self, job: Job) -> None:
        done = self._folders.done
        if not self._is_original(job):
            self._settle(done, str(job.original), job)
            return
        for number in range(2, MOST_NAMES):
            try:
                self._move_original(done, job)
            except _TAKEN:
                job = self._retarget(job.id, job.output, free_name(done, job.source, number))
            else:
                return
        raise all_taken(job.source)

    def _move_original(self, root: str, job: Job) -> None:
        """Move the original, if it still is it. Raises what ``_TAKEN`` lists if that is taken."""
        target = self._make_place(root, str(job.original), job)
        with originals.held(self._folders.inbox, job) as source:
            if not source or not originals.is_of(job, source):
                self._must_be_mounted(job)
                return
            is_it = partial(originals.is_of, job)
            files.move(source, target, _scratch(target, job), ours=False, is_it=is_it)
        self._own_original(target)

    def _own_original(self, path: str) -> None:
        if self.disposal.ownership.is_set:
            own(path, self.disposal.ownership)

    # the error folder

    def _to_error(self, job: Job) -> None:
        """Write the report, then move the original beside it: who sees the one finds the other."""
        error = self._folders.error
        if not self._is_original(job):
            self._settle(error, str(job.original), job)
            return
        for number in range(2, MOST_NAMES):
            self._must_be_mounted(job)
            try:
                with self._reports.written(job, str(job.original), self.disposal.ownership):
                    self._move_original(error, job)
            except _TAKEN:
                remove_report(error, job)
                free = self._free_in_error(job.source, number)
                job = self._retarget(job.id, None, free)
            else:
                return
        raise all_taken(job.source)

    def drop_stale_report(self, source: str) -> None:
        """Remove the report of an original that somebody has taken out of error/ by hand."""
        self._reports.drop_stale(source)

    def _free_in_error(self, wish: str, number: int = 1) -> str:
        """Find a name for which neither the original nor a report that still counts is there."""
        while True:
            choice = free_name(self._folders.error, wish, number)
            with suppress(OSError):  # one that cannot be read is taken
                if self._reports.is_free(choice):
                    return choice
            number += 1


def _scratch(target: str, job: Job) -> str:
    return files.scratch(os.path.dirname(target), job.id)

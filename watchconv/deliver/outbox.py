"""The four folders as a destination: publish the outputs, file the original, write the report.

Each step does only what is missing. A folder that is not the one we know, or whose disk is away,
raises ``EnvironmentTrouble`` before anything is done in it.
"""

from __future__ import annotations

import os
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from stat import S_ISREG
from typing import TYPE_CHECKING

from watchconv.deliver.destination import DeliveryResult, ToError
from watchconv.deliver.move import MOST_NAMES, TAKEN, all_taken, delete, move, scratch_of
from watchconv.deliver.ownership import Ownership, make_folder, own
from watchconv.deliver.reports import Reports
from watchconv.deliver.sidecars import Sidecars
from watchconv.errors import EnvironmentTrouble
from watchconv.host.files import closing, sync_folder
from watchconv.host.folders import Missing
from watchconv.model import Intent, JobState, OnSuccess, Verdict
from watchconv.names import numbered, stem_of, with_suffix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from watchconv.deliver.destination import DeliveryOrder, DeliverySettings, ToOutbox
    from watchconv.host.files import OpenFolder, Place
    from watchconv.host.folders import Folders
    from watchconv.host.workdir import WorkDirectories
    from watchconv.model import Job, OutputFile

    Retarget = Callable[[DeliveryOrder], object]


class LocalFolders:
    """The four folders. Several jobs may be delivered at once, each on a thread."""

    def __init__(self, folders: Folders, work: WorkDirectories) -> None:
        self._folders, self._work = folders, work
        self._reports = Reports()

    def plan(
        self, job: Job, verdict: Verdict, outputs: Sequence[OutputFile], settings: DeliverySettings
    ) -> Intent:
        """Return what to intend; names are free now, as far as their folders are there."""
        original = job.source
        if verdict is not Verdict.ENCODED:
            with suppress(EnvironmentTrouble), self._folders.open("error") as error:
                original = self._free_in_error(error, original)
            return Intent(verdict, original=original)
        names = [with_suffix(job.source, output.suffix) for output in outputs]
        with suppress(EnvironmentTrouble), self._folders.open("outbox") as outbox:
            names = free_names(outbox, names)
        named = [replace(output, name=name) for output, name in zip(outputs, names, strict=True)]
        if settings.on_success is not OnSuccess.MOVE:
            return Intent(verdict, tuple(named), None, settings.on_success)
        with suppress(EnvironmentTrouble), self._folders.open("done") as done:
            original = free_names(done, [original])[0]
        return Intent(verdict, tuple(named), original, settings.on_success)

    def deliver(self, order: DeliveryOrder, retarget: Retarget) -> DeliveryResult:
        """Carry out an order. See ``Destination``."""
        with self._folders.open("inbox") as inbox:
            if isinstance(order, ToError):
                self._file_original(order, order.original, inbox, retarget)
                return DeliveryResult(JobState.FAILED)
            published = self._publish(order, inbox, retarget)
            if published is None:
                return DeliveryResult(JobState.SUPERSEDED)
            self._place_sidecars(published, inbox)
            if published.original is not None:
                self._file_original(published, published.original, inbox, retarget)
                return DeliveryResult(JobState.DONE)
            if not published.delete:
                return DeliveryResult(JobState.DONE, held=True)
            wanted = order.settings.on_success is OnSuccess.DELETE  # it may be so no more
            folder, name = os.path.split(order.source)
            with (
                suppress(FileNotFoundError, NotADirectoryError),
                inbox.open(folder, links=False) as home,
            ):
                delete(home.at(name), order.expected, order.job_id, wanted=wanted)
            self._is_original(order, inbox)  # raises if its disk is away
            return DeliveryResult(JobState.DONE, held=not wanted)

    def _place_sidecars(self, order: ToOutbox, inbox: OpenFolder) -> None:
        """Have a film's sidecars beside its output; where it is to be deleted, they move there."""
        above, film = os.path.split(order.source)
        if not order.names or not self._is_original(order, inbox):
            return
        stem, owner = order.names[0].removesuffix(order.outputs[0].suffix), order.settings.ownership
        with self._folders.open("outbox") as outbox, inbox.open(above, links=False) as home:
            sidecars = Sidecars(home, film, order.job_id, order.settings.is_film)
            if order.delete and order.settings.on_success is OnSuccess.DELETE:
                sidecars.move(home, outbox, stem, owner)
                if sidecars.parts:  # only the original itself was compared before it is deleted
                    with self._folders.open("done") as done:
                        sidecars.move_parts(home, done, above, owner)
            sidecars.copy(home, outbox, stem, owner)

    def clear(self, job: Job) -> None:
        """Remove all work on a job."""
        self._work.remove(job.id)

    def bring_back(
        self, job_id: int, original: str, wish: str, reserve: Callable[[str], bool]
    ) -> str:
        """Move a failed original to the first free form of its name in the inbox; return that.

        reserve is asked for each form before it is used; it returns False where another job has it.
        """
        above, name = os.path.split(original)
        with (
            self._folders.open("error") as error,
            self._folders.open("inbox") as inbox,
            error.open(above) as folder,
        ):
            sidecars = Sidecars(folder, name, job_id, _is_no_report)
            for number in range(1, MOST_NAMES):
                back = numbered(wish, number)
                if not reserve(back):
                    continue
                into, new_name = os.path.split(back)
                with suppress(*TAKEN), make_folder(inbox, into, Ownership()) as target:
                    sidecars.move(folder, inbox, stem_of(back), Ownership())
                    sidecars.move_parts(folder, inbox, into, Ownership())
                    move(folder.at(name), target.at(new_name), job_id, ours=False)
                    return back
        raise all_taken(wish)

    def remove_report(self, job_id: int, original: str) -> None:
        """Remove the report beside a failed original, if there is one of this job."""
        with self._folders.open("error") as error:
            self._reports.remove(error, original, job_id)

    def remove_stale_report(self, original: str) -> None:
        """Remove the report of an original that somebody has taken out of error/ by hand."""
        with suppress(EnvironmentTrouble), self._folders.open("error") as error:
            self._reports.remove_stale(error, original)

    def _publish(self, order: ToOutbox, inbox: OpenFolder, retarget: Retarget) -> ToOutbox | None:
        """Move the outputs to their names, all or none; return the order with the last names.

        None when the work is lost.
        """
        with self._folders.open("outbox") as outbox:
            try:
                work = self._work.open(order.job_id, order.run)
            except FileNotFoundError:
                # It is removed last of all, so either the original has left the inbox, or the
                # outputs are in their places; else a person took it: the job is made anew.
                there = all(outbox.at(name).exists() for name in order.names)
                return order if there or not self._is_original(order, inbox) else None
            with work:
                for number in range(1, MOST_NAMES):
                    if number > 1:
                        _take_back(order, outbox, work)
                        wishes = [with_suffix(order.source, made.suffix) for made in order.outputs]
                        order = replace(order, names=tuple(free_names(outbox, wishes, number)))
                        retarget(order)
                    with suppress(*TAKEN):
                        for output, name in zip(order.outputs, order.names, strict=True):
                            if (made := work.at(output.file)).exists():
                                _publish_one(made, outbox, name, order)
                            else:
                                _settle(outbox, name, order, own_it=False)
                        return order
        raise all_taken(order.source)

    def _is_original(self, order: DeliveryOrder, inbox: OpenFolder) -> bool:
        """Return whether the original is there as it was.

        No link in the place of a folder leads elsewhere. Raises if its disk is away.
        """
        folder, name = os.path.split(order.source)
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            inbox.open(folder, links=False) as home,
        ):
            if order.expected.lies_at(home.at(name)):
                return True
        if self._folders.why_missing(order.source) is Missing.GONE:
            return False
        raise EnvironmentTrouble("the file system that holds its original is not mounted")

    def _file_original(
        self, order: DeliveryOrder, name: str, inbox: OpenFolder, retarget: Retarget
    ) -> None:
        """Move the original to done/, or to error/ with a report beside it.

        The report comes first: who sees the original finds it.
        """
        failed = isinstance(order, ToError)
        above, source_name = os.path.split(order.source)
        with self._folders.open("error" if failed else "done") as root:
            if not self._is_original(order, inbox):
                _settle(root, name, order, own_it=True)
                return
            with inbox.open(above, links=False) as home:
                sidecars = Sidecars(home, source_name, order.job_id, order.settings.is_film)
                for number in range(1, MOST_NAMES):
                    if number > 1:
                        if failed:
                            self._reports.remove(root, name, order.job_id)
                            name = self._free_in_error(root, order.source, number)
                        else:
                            name = free_names(root, [order.source], number)[0]
                        order = replace(order, original=name)
                        retarget(order)
                    sidecars.move(home, root, stem_of(name), order.settings.ownership)
                    sidecars.move_parts(home, root, os.path.dirname(name), order.settings.ownership)
                    with (
                        suppress(*TAKEN),
                        self._reports.written(root, order)
                        if isinstance(order, ToError)
                        else nullcontext(),
                        make_folder(root, os.path.dirname(name), order.settings.ownership) as into,
                    ):
                        source, target = home.at(source_name), into.at(os.path.basename(name))
                        move(source, target, order.job_id, ours=False, expected=order.expected)
                        _own_original(target, order)
                        return
        raise all_taken(order.source)

    def _free_in_error(self, error: OpenFolder, wish: str, number: int = 1) -> str:
        """Return a name for which neither the original nor a report that still counts is there."""
        while True:
            choice = free_names(error, [wish], number)[0]
            with suppress(OSError):  # a report that cannot be read is taken
                if self._reports.is_free(error, choice):
                    return choice
            number += 1


def free_names(root: OpenFolder, wishes: Sequence[str], number: int = 1) -> list[str]:
    """Return the first of the numbered forms of a set of names of which none is taken.

    That is how the file system shows them now: nothing is reserved. A folder that cannot be looked
    into is taken for empty. Where a file has the name of one of the folders, that folder is
    numbered too.
    """
    while True:
        free: list[str] = []
        for wish in wishes:
            *parts, name = wish.split("/")
            folder = ""
            for part in parts:
                below, form = os.path.join(folder, part), 1
                while root.at(below).exists() and not root.is_folder(below):
                    form += 1
                    below = os.path.join(folder, numbered(part, form))
                folder = below
            choice = os.path.join(folder, numbered(name, number))
            if root.at(choice).exists():
                break
            free.append(choice)
        else:
            return free
        number += 1


def _is_no_report(name: str) -> bool:
    return not name.endswith(".log")


def _publish_one(made: Place, outbox: OpenFolder, name: str, order: ToOutbox) -> None:
    settings = order.settings
    above, name = os.path.split(name)
    with make_folder(outbox, above, settings.ownership) as folder:
        with closing(made.open(os.O_RDONLY | os.O_NONBLOCK)) as descriptor:
            if settings.preserve_mtime:
                with suppress(OSError):
                    os.utime(descriptor, ns=(time.time_ns(), order.expected.mtime_ns))
            own(descriptor, settings.ownership, folder.descriptor)
            os.fsync(descriptor)  # mode and times too, before anybody sees it
        move(made, folder.at(name), order.job_id, ours=True)


def _take_back(order: ToOutbox, outbox: OpenFolder, work: OpenFolder) -> None:
    """Bring back the outputs that have their names already: the whole set is to have others."""
    for output, name in zip(order.outputs, order.names, strict=True):
        made = work.at(output.file)
        if made.exists():
            continue
        with suppress(FileNotFoundError), outbox.open(os.path.dirname(name)) as folder:
            place = folder.at(os.path.basename(name))
            stat = place.stat()
            if S_ISREG(stat.st_mode) and stat.st_size == output.size:  # else it is not ours
                move(place, made, order.job_id, ours=True)


def _settle(root: OpenFolder, name: str, order: DeliveryOrder, *, own_it: bool) -> None:
    """Finish what an earlier try began for a name below root, and perhaps could not finish."""
    above, name = os.path.split(name)
    with suppress(FileNotFoundError, NotADirectoryError), root.open(above) as folder:
        place = folder.at(name)
        scratch_of(place, order.job_id).remove()  # a copy, and then the original went away
        if own_it and order.expected.lies_at(place):
            _own_original(place, order)
        sync_folder(folder.descriptor)


def _own_original(place: Place, order: DeliveryOrder) -> None:
    """Give an original an owner, group and mode where any was asked for."""
    asked = order.settings.ownership
    if (asked.user, asked.group, asked.mode) != (None, None, None):
        with closing(place.open(os.O_PATH)) as handle:
            own(handle, asked, place.folder)

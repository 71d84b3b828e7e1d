"""Where outputs go: the orders that a delivery carries out, and what every destination promises.

A delivery can be repeated from any point, before or after a crash, and does only what is missing.
Nothing is overwritten. Of several outputs all are delivered, or none. A name is committed to the
journal before it is used. The original is moved or deleted only while it is still the file that
was encoded. ``tests/test_destination.py`` asks this of every destination.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from watchconv.deliver.move import Expected
from watchconv.deliver.ownership import Ownership
from watchconv.model import Intent, Job, JobState, OnSuccess, OutputFile, Verdict
from watchconv.names import split_suffix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from watchconv.config import Config


class DeliveryResult(NamedTuple):
    """How a delivery ended."""

    state: JobState  # DONE, FAILED, or SUPERSEDED when the finished work is lost
    held: bool = False  # its original stays in the inbox


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """What becomes of files, as configured now."""

    on_success: OnSuccess
    preserve_mtime: bool
    ownership: Ownership
    extensions: frozenset[str] | None = None  # of films; None: any that no sidecar has

    @classmethod
    def of(cls, config: Config) -> DeliverySettings:
        """Return what is configured."""
        owner = Ownership(config.owner, config.group, config.mode, config.directory_mode)
        extensions = None if config.extensions is None else frozenset(config.extensions)
        return cls(config.on_success, config.preserve_mtime, owner, extensions)

    def is_film(self, name: str) -> bool:
        """Return whether a file may be a film, by its name."""
        suffix = split_suffix(name)[1].removeprefix(".").lower()
        return bool(suffix) and (self.extensions is None or suffix in self.extensions)


@dataclass(frozen=True, slots=True)
class _Order:
    job_id: int
    run: int  # whose work is delivered
    source: str  # the original, relative to the inbox
    expected: Expected  # how the original was when it was encoded
    settings: DeliverySettings
    # of the outputs, in their order, relative to the outbox
    names: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class ToOutbox(_Order):
    """Deliver the outputs, and do with the original what was intended."""

    outputs: tuple[OutputFile, ...]
    original: str | None  # where the original goes, relative to done/; None: not there
    delete: bool  # the original was to be deleted


@dataclass(frozen=True, slots=True)
class ToError(_Order):
    """Move the original to error/, and write a report beside it."""

    original: str  # where the original goes, relative to error/
    reason: str  # one sentence for a person: the report's first line
    report: str


DeliveryOrder = ToOutbox | ToError


class Destination(Protocol):
    """A place for outputs. The default is the four folders: ``outbox.LocalFolders``."""

    def plan(
        self, job: Job, verdict: Verdict, outputs: Sequence[OutputFile], settings: DeliverySettings
    ) -> Intent:
        """Return what to intend, with names that are free now."""
        ...

    def deliver(
        self, order: DeliveryOrder, retarget: Callable[[DeliveryOrder], object]
    ) -> DeliveryResult:
        """Carry out an order on this thread; blocks. Repeatable.

        Where a name turns out to be taken, retarget is called with the same order under other
        names, which it commits to the journal. Raises OSError and EnvironmentTrouble when a step
        cannot be done now: the order is to be given again later.
        """
        ...

    def remove_stale_report(self, original: str) -> None:
        """Remove the report of an original that somebody took out of error/ by hand."""
        ...

    def clear(self, job: Job) -> None:
        """Remove a job's finished work; its end is in the journal. Repeatable."""
        ...


def order_of(job: Job, settings: DeliverySettings) -> DeliveryOrder:
    """Return what the row of a job that is being delivered orders."""
    what = (job.id, job.run, job.source, Expected(job.size, job.mtime_ns), settings)
    if job.verdict is not Verdict.ENCODED:
        return ToError(*what, job.original or job.source, job.reason or "", job.report or "")
    original = job.original if job.on_success is OnSuccess.MOVE else None
    names = tuple(output.name or "" for output in job.outputs)
    deletes = job.on_success is OnSuccess.DELETE
    return ToOutbox(*what, job.outputs, original, deletes, names=names)

"""Where attempts are made: what every engine does, and the engine of this machine.

An engine gets an ``Assignment``, which is plain data, and gives a ``Running``. A job's failure is
a value in its outcome, never an exception; every wait on a child has a limit.
``tests/test_engine.py`` is one suite for every engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from watchconv.encode.attempt import LocalAttempt

if TYPE_CHECKING:
    import asyncio

    from watchconv.encode.attempt import Assignment, AttemptResult
    from watchconv.encode.program import Program
    from watchconv.host.workdir import WorkDirectories
    from watchconv.media.probe import ProbeWorker
    from watchconv.model import Job, Progress


class Running(Protocol):
    """An attempt under way; it belongs to the event loop."""

    encoded: asyncio.Event  # the machine is free for the next encode; set at the latest at the end
    result: asyncio.Future[AttemptResult]  # raises EnvironmentTrouble where the machine is to blame

    def progress(self) -> Progress | None:
        """Return how far it is; None before the first word."""
        ...

    def stop(self, *, kill: bool = False) -> None:
        """End it with TERM and, after the grace, KILL; or with KILL at once. Idempotent."""
        ...

    def pause(self) -> None:
        """Hold the encode; no limit of time counts until ``resume``."""
        ...

    def resume(self) -> None:
        """Go on after ``pause``."""
        ...


class Engine(Protocol):
    """Where attempts are made."""

    def capacity(self) -> int | None:
        """Return how many encodes it can run at once; None: as many as are configured."""
        ...

    def begin(self, assignment: Assignment) -> Running:
        """Begin an attempt and return at once."""
        ...

    def adopt(self, job: Job) -> Running | None:
        """Return the attempt ``job.run`` of a job if it lives on from before a restart."""
        ...


class LocalEngine:
    """Attempts on this machine, each in an ffmpeg child of its own."""

    def __init__(
        self, program: Program, reader: ProbeWorker, work: WorkDirectories, *, owner_tag: str
    ) -> None:
        """Use an ffmpeg; reader reads outputs back; owner_tag marks the children as ours."""
        self._program, self._reader, self._work = program, reader, work
        self._owner_tag = owner_tag

    def capacity(self) -> int | None:
        """Return None: ``jobs`` in the configuration decides."""
        return None

    def begin(self, assignment: Assignment) -> Running:
        """Begin an attempt and return at once."""
        return LocalAttempt(
            assignment, self._program, self._reader, self._work, owner_tag=self._owner_tag
        )

    def adopt(self, job: Job) -> Running | None:
        """Return None: the kernel ends our children together with the daemon."""
        return None

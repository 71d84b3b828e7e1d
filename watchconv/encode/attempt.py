"""One attempt under way: what is known of it so far, and the folder it writes into.

Guarantees: a wait for its sake ends when it is no longer wanted.
Does not decide anything: ``engine`` does. Errors: ``Stopped``.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from watchconv.encode.progress import ProgressTracker
from watchconv.encode.report import compose
from watchconv.encode.stderr_stats import StderrReader
from watchconv.host.workdir import output_name

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from watchconv.config import Config
    from watchconv.model import Job, Profile
    from watchconv.process.child import Child
    from watchconv.process.command import ChildExit

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 (a state of affairs)
    """The attempt is no longer wanted."""


@dataclass(slots=True)
class Attempt:
    """One attempt; its fields are filled as it goes on."""

    job: Job
    config: Config  # the one it began with
    profile: Profile
    original: int  # an open descriptor
    work: str  # the folder it writes into
    argv: Sequence[str] = ()
    args: Sequence[str] = ()
    child: Child | None = None
    stderr: StderrReader = field(default_factory=StderrReader)
    ended: ChildExit | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    killed: bool = False
    tracker: ProgressTracker = field(default_factory=lambda: ProgressTracker(None))

    @property
    def source(self) -> str:
        """The path of the original."""
        return os.path.join(self.config.inbox, self.job.source)

    @property
    def output(self) -> str:
        """The path of what ffmpeg makes."""
        return os.path.join(self.work, output_name(self.profile.suffix))

    def report(self) -> str:
        """Write what is known of it so far, for the .log."""
        return compose(self.job, self.argv, self.ended, self.stderr.tail)

    async def unless_stopped(self, work: Coroutine[None, None, T]) -> T:
        """Wait for work, but give it up and raise Stopped when the attempt is stopped."""
        stopped = asyncio.ensure_future(self.stopped.wait())
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({stopped, task}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Stopped
        finally:
            stopped.cancel()
            task.cancel()


class Growth:
    """Tells whether a file was written to since it was last asked: +faststart moves it about."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._before: tuple[int, int] | None = None

    def is_new(self) -> bool:
        """Compare the file with how it was last time."""
        try:
            stat = os.stat(self._path)
        except OSError:
            return False
        before, self._before = self._before, (stat.st_size, stat.st_mtime_ns)
        return before != self._before

"""One attempt under way: what is known of it so far, and the folder it writes into.

Guarantees: a wait for its sake ends when it is no longer wanted.
Does not decide anything: ``engine`` does. Errors: ``Stopped``; ``EnvironmentTrouble`` from
``make_work``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from watchconv.encode.progress import ProgressTracker
from watchconv.encode.report import compose
from watchconv.encode.stderr_stats import StderrReader
from watchconv.errors import EnvironmentTrouble
from watchconv.host.workdir import output_name
from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from watchconv.config import Config
    from watchconv.model import Job, Profile
    from watchconv.process.child import Child
    from watchconv.process.command import ChildExit

T = TypeVar("T")

_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


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


def readable_name(work: str, source: str) -> str:
    """Give the name by which ffmpeg is to read source, once ``make_work`` was called.

    A name with line breaks would forge lines of what ffmpeg says: it gets a link to it.
    """
    return os.path.join(work, "input") if _BREAKS.search(source) else source


def make_work(path: str, source: str, ready: Callable[[], None]) -> None:
    """Make the attempt's work directory anew, with a link to source if it is to be read by one.

    ready is asked just before, and raises where nothing may be written.
    Raises EnvironmentTrouble.
    """
    try:
        parent = os.path.dirname(path)
        ready()
        with contextlib.suppress(FileExistsError):
            os.mkdir(parent, 0o700)
        shutil.rmtree(path, ignore_errors=True)
        os.mkdir(path, 0o700)
        if (name := readable_name(path, source)) != source:
            os.symlink(source, name)
    except OSError as error:
        raise EnvironmentTrouble(
            f"cannot make a work directory in the outbox: {error.strerror} ({printable(path)})"
        ) from error

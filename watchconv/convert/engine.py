"""Where one attempt at one job is made: original and profile go in, a proven outcome comes out.

Guarantees: an ``Encoded`` output is whole, verified and on disk in the attempt's own work
directory; a job's failure is a value, never an exception; every wait on a child has a limit.
Does not touch the original, the journal, or anything outside the work directory; whether the
original is still the same is for ``intake.admit`` to say.
Errors: ``EnvironmentTrouble`` when the machine is to blame: disk full, outbox gone, ffmpeg gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from watchconv.convert.account import StderrReader
from watchconv.convert.failures import failure_reason, is_disk_full, is_hopeless
from watchconv.convert.ffmpeg import encode_argv
from watchconv.convert.leftovers import environment
from watchconv.convert.process import Cause, Child, Command
from watchconv.convert.progress import ProgressReader, progress_of
from watchconv.convert.reply import NoWorker, ProbeFailed
from watchconv.convert.report import compose
from watchconv.convert.sandbox.child import Allowance, confine
from watchconv.convert.sandbox.programs import system_reads
from watchconv.convert.spawn import Limits, launcher
from watchconv.convert.streams import choose_streams
from watchconv.convert.threads import thread_args
from watchconv.convert.verify import Fault, verify
from watchconv.deliver.files import sync_file, sync_folder
from watchconv.deliver.outbox import OUTPUT_STEM
from watchconv.errors import EnvironmentTrouble
from watchconv.model import (
    Broke,
    Encoded,
    Interrupted,
    Job,
    Outcome,
    Profile,
    Progress,
    Rejected,
    Verify,
)
from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from watchconv.config import Config
    from watchconv.convert.account import Account
    from watchconv.convert.probe import ProbeWorker
    from watchconv.convert.process import Ended
    from watchconv.convert.progress import Beat
    from watchconv.model import MediaInfo

log = logging.getLogger(__name__)

T = TypeVar("T")

# what a filter may read: fontfile=/…, movie=/…, subtitles='/…'
_PATH = re.compile(r"(?:^|(?<=[=':]))/[^:,;'\\\[\]]+")
_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
SMALL_BYTES = 64 << 20  # an output that is read back in no time


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt to be made."""

    job: Job
    original: int  # an open descriptor
    work: str  # the folder to write into; it is made
    crowd: int  # so many attempts, this one included, share the machine
    encoded: Callable[[], None]  # called when the machine is free for the next encode


class Engine(Protocol):
    """Where attempts are made. The default is this machine."""

    async def run(self, task: Task) -> Outcome:
        """Make one attempt."""
        ...

    def stop(self, job: Job, *, kill: bool = False) -> None:
        """End a job's attempt, with TERM and after a grace KILL, or with KILL at once."""
        ...

    def progress(self) -> Mapping[int, Progress | None]:
        """Say how far the running attempts are, by job."""
        ...


class _Stopped(Exception):  # noqa: N818 (a state of affairs)
    """The attempt is no longer wanted."""


@dataclass(slots=True)
class _Attempt:
    """One attempt under way."""

    job: Job
    profile: Profile
    original: int
    work: str
    argv: Sequence[str] = ()
    args: Sequence[str] = ()
    child: Child | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    killed: bool = False
    beat: Beat | None = None
    progress: Progress | None = None

    @property
    def output(self) -> str:
        return os.path.join(self.work, OUTPUT_STEM + self.profile.suffix)

    async def unless_stopped(self, work: Coroutine[None, None, T]) -> T:
        """Wait for work, but give it up and raise _Stopped when the attempt is stopped."""
        stopped = asyncio.ensure_future(self.stopped.wait())
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({stopped, task}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise _Stopped
        finally:
            stopped.cancel()
            task.cancel()


class LocalEngine:
    """Attempts on this machine, each in an ffmpeg child of its own."""

    def __init__(
        self, config: Config, program: str, probe: ProbeWorker, reader: ProbeWorker, *, mark: str
    ) -> None:
        """Take the configuration, the ffmpeg to run, the probe workers, and the children's mark.

        reader reads large outputs back, so that the probe of the next file does not wait for it.
        """
        self._config, self._program, self._mark = config, program, mark
        self._probe, self._reader = probe, reader
        self._attempts: dict[int, _Attempt] = {}
        self._stopped_early: set[tuple[int, int]] = set()  # what was stopped before it got here

    def progress(self) -> Mapping[int, Progress | None]:
        """Say how far the running attempts are, by job."""
        return {job_id: attempt.progress for job_id, attempt in self._attempts.items()}

    def stop(self, job: Job, *, kill: bool = False) -> None:
        """End a job's attempt, or the one that is about to begin. Idempotent."""
        attempt = self._attempts.get(job.id)
        if attempt is None:
            self._stopped_early.add((job.id, job.run))
            return
        attempt.stopped.set()
        attempt.killed |= kill
        if attempt.child:
            attempt.child.stop(kill)

    async def run(self, task: Task) -> Outcome:
        """Make one attempt. See ``Engine``."""
        job = task.job
        if (job.id, job.run) in self._stopped_early:
            self._stopped_early.remove((job.id, job.run))
            return Interrupted()
        profile = self._config.all_profiles.get(job.profile)
        if profile is None:
            return Rejected(f"there is no profile named {job.profile} any more")
        attempt = self._attempts[job.id] = _Attempt(job, profile, task.original, task.work)
        try:
            return await self._attempt(attempt, task)
        except _Stopped:
            return Interrupted()
        except NoWorker as failed:
            raise EnvironmentTrouble(failed.reason) from failed
        except ProbeFailed as failed:
            kind = Rejected if failed.hopeless else Broke
            return kind(failed.reason, compose(job, (), None, ""))
        finally:
            del self._attempts[job.id]

    async def _attempt(self, attempt: _Attempt, task: Task) -> Outcome:
        media = await attempt.unless_stopped(self._probe.probe(attempt.original))
        if refusal := self._refusal(media):
            return Rejected(refusal, compose(attempt.job, (), None, ""))
        source = os.path.join(self._config.inbox, attempt.job.source)
        named = await asyncio.to_thread(_make_work, attempt.work, source)
        self._plan(attempt, media, task.crowd, named)
        reader = StderrReader()
        ended = await self._encode(attempt, media, reader)
        task.encoded()
        reader.close()
        if outcome := await asyncio.to_thread(self._end_of, attempt, ended, reader.tail):
            return outcome
        if attempt.profile.verify is not Verify.OFF:
            account = reader.account(attempt.beat)
            report = compose(attempt.job, attempt.argv, ended, reader.tail)
            if outcome := await self._verify(attempt, media, account, report):
                return outcome
        await asyncio.to_thread(self._seal, attempt)
        return Encoded(os.path.basename(attempt.output))

    def _refusal(self, media: MediaInfo) -> str | None:
        """Say why a file is no video that we convert, or None."""
        if not media.videos:
            kinds = sorted({stream.kind for stream in media.streams})
            return f"no video: it holds no video stream, only {' and '.join(kinds) or 'nothing'}"
        pixels = max(stream.width * stream.height for stream in media.videos)
        if pixels > self._config.max_pixels:
            most = self._config.max_pixels
            return f"its frames are too large: {pixels} pixels each; max_pixels allows {most}"
        return None

    def _plan(self, attempt: _Attempt, media: MediaInfo, crowd: int, source: str) -> None:
        profile = attempt.profile
        args, losses = choose_streams(profile.args, media, profile.suffix)
        for loss in losses:
            log.info("job=%d left out: %s", attempt.job.id, loss)
        attempt.args = [*args, *thread_args(args, len(os.sched_getaffinity(0)), crowd)]
        attempt.argv = encode_argv(
            self._program,
            source,
            media,
            attempt.args,
            attempt.output,
            progress_fd=1,
            max_pixels=self._config.max_pixels,
        )

    async def _encode(self, attempt: _Attempt, media: MediaInfo, reader: StderrReader) -> Ended:
        """Run ffmpeg to its end."""
        config = self._config
        progress = ProgressReader()
        furthest = [0.0, 0]

        def further(chunk: bytes) -> bool:
            advanced = False
            for beat in progress.feed(chunk):
                attempt.beat = beat
                attempt.progress = progress_of(beat, media.duration_seconds)
                reached = [beat.out_seconds or 0.0, beat.total_bytes or 0]
                advanced |= any(now > then for now, then in zip(reached, furthest, strict=True))
                furthest[:] = map(max, reached, furthest)
            return advanced

        def limit_seconds() -> float:
            seconds = max(media.duration_seconds or 0.0, furthest[0])
            return config.time_limit.seconds + config.time_limit.per_second * seconds

        command = Command(
            argv=tuple(attempt.argv),
            cwd=attempt.work,
            env=environment(self._mark, attempt.work),
            stall_seconds=config.stall_seconds,
            time_limit=limit_seconds,
            grace_seconds=config.stop_grace_seconds,
            limits=Limits(
                address_space_bytes=config.address_space,
                nice=config.nice,
                io_class=config.ionice,
            ),
            confine=lambda: self._confine(attempt),
            still_writes=_Growth(attempt.output).is_new,
        )
        child = attempt.child = Child(command, further, reader.feed)
        if attempt.stopped.is_set():
            child.stop(attempt.killed)
        return await asyncio.wrap_future(child.start())

    def _confine(self, attempt: _Attempt) -> None:
        """Confine the child's thread; runs on that thread."""
        config = self._config
        if config.sandbox == "off":
            return
        named = {
            path for arg in attempt.args for path in _PATH.findall(arg) if os.path.isfile(path)
        }
        programs = _programs(self._program, os.stat(self._program).st_mtime_ns)
        confine(
            Allowance(read=(attempt.original, *named), write=(attempt.work,), execute=programs),
            nice=0,
            io_class="none",
        )

    def _end_of(self, attempt: _Attempt, ended: Ended, tail: str) -> Outcome | None:
        """Say what a child's end means; None when it ended well and the output may be judged."""
        report = compose(attempt.job, attempt.argv, ended, tail)
        match ended.cause:
            case Cause.STOPPED:
                return Interrupted()
            case Cause.OVERTIME:
                return Rejected(f"it takes too long: {ended.detail}; see time_limit", report)
            case Cause.STALLED:
                return Broke(ended.detail, report)
            case Cause.UNSTARTED:
                raise EnvironmentTrouble(ended.detail)
        if is_disk_full(tail):
            raise EnvironmentTrouble(f"no space left in the outbox {self._config.outbox}")
        if ended.status == 0:
            if os.path.exists(attempt.output) and os.path.getsize(attempt.output) > 0:
                return None
            return Broke("ffmpeg ended well but made no output", report)
        status = ended.status if ended.status is not None else -(ended.signal or 0)
        reason = failure_reason(status, tail)
        return Rejected(reason, report) if is_hopeless(tail) else Broke(reason, report)

    async def _verify(
        self, attempt: _Attempt, media: MediaInfo, account: Account | None, report: str
    ) -> Outcome | None:
        """Read the output back and judge it; None when it is whole."""
        output = os.open(attempt.output, os.O_RDONLY | os.O_CLOEXEC)
        try:
            small = os.fstat(output).st_size < SMALL_BYTES
            reader = self._probe if small else self._reader
            outputs = await attempt.unless_stopped(reader.examine(output))
        except ProbeFailed as failed:
            return Broke(f"the output cannot be read back: {failed.reason}", report)
        finally:
            os.close(output)
        found = verify(account, media, outputs, attempt.args, attempt.profile.verify)
        for note in found.notes:
            log.info("job=%d %s", attempt.job.id, note)
        match found.fault:
            case Fault.INPUT:
                return Rejected(found.reason, report)
            case Fault.OUTPUT:
                return Broke(found.reason, report)
        return None

    def _seal(self, attempt: _Attempt) -> None:
        """Put the output on disk. Raises EnvironmentTrouble."""
        try:
            sync_file(attempt.output)
            sync_folder(attempt.work)
            sync_folder(os.path.dirname(attempt.work))
        except OSError as error:
            raise EnvironmentTrouble(
                f"cannot write to the outbox {self._config.outbox}: {error.strerror}"
            ) from error


@functools.lru_cache(maxsize=1)
def _programs(program: str, mtime_ns: int) -> tuple[str, ...]:
    """List what every child may execute: asked anew when the program changes."""
    return (*system_reads(program), *launcher()[:1])


class _Growth:
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


def _make_work(path: str, source: str) -> str:
    """Make the attempt's work directory anew; give the name by which ffmpeg is to read source.

    A name with line breaks would forge lines of what ffmpeg says: it gets a link to it.
    Raises EnvironmentTrouble.
    """
    try:
        parent = os.path.dirname(path)
        with contextlib.suppress(FileExistsError):
            os.mkdir(parent, 0o700)
        shutil.rmtree(path, ignore_errors=True)
        os.mkdir(path, 0o700)
        if not _BREAKS.search(source):
            return source
        link = os.path.join(path, "input")
        os.symlink(source, link)
        return link
    except OSError as error:
        raise EnvironmentTrouble(
            f"cannot make a work directory in the outbox: {error.strerror} ({printable(path)})"
        ) from error

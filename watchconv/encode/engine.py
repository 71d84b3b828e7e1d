"""Where one attempt at one job is made: original and profile go in, a proven outcome comes out.

Guarantees: an ``Encoded`` output is whole, verified and on disk in the attempt's own work
directory; a job's failure is a value, never an exception; every wait on a child has a limit.
Does not touch the original, the journal, or anything outside the work directory; whether the
original is still the same is for ``intake.admit`` to say.
Errors: ``EnvironmentTrouble`` when the machine is to blame: disk full, outbox gone, ffmpeg gone.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from watchconv.encode.attempt import Attempt, Growth, Stopped
from watchconv.encode.classify import EncodeFacts, classify, output_bytes
from watchconv.encode.foresight import Foresight
from watchconv.encode.plan import EncodePlan, plan_encode, refusal
from watchconv.encode.progress import ProgressTracker
from watchconv.encode.verify import verify
from watchconv.errors import EnvironmentTrouble
from watchconv.host.files import sync_file, sync_folder
from watchconv.host.workdir import readable_name
from watchconv.logs.format import tell
from watchconv.media.probe_protocol import NoWorker, ProbeFailed
from watchconv.model import (
    Broke,
    Cause,
    Encoded,
    Interrupted,
    Job,
    Outcome,
    OutputFile,
    Progress,
    Rejected,
    Verify,
)
from watchconv.process.child import Child
from watchconv.process.command import Command, Limits
from watchconv.process.sandbox.programs import system_reads
from watchconv.process.sandbox.rules import SandboxRules, confine
from watchconv.process.spawn import environment, launcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from watchconv.config import Config
    from watchconv.media.probe import ProbeWorker
    from watchconv.model import Identity, MediaInfo
    from watchconv.process.command import ChildExit

log = logging.getLogger(__name__)

# what a filter may read: fontfile=/…, movie=/…, subtitles='/…'
_PATH = re.compile(r"(?:^|(?<=[=':]))/[^:,;'\\\[\]]+")
SMALL_BYTES = 64 << 20  # an output that is read back in no time
TERM_SECONDS = 3.0  # from TERM to KILL: what is ended is thrown away, there is little to tidy up


@dataclass(frozen=True, slots=True)
class Assignment:
    """One attempt to be made."""

    job: Job
    original: int  # an open descriptor
    identity: Identity  # of the original, when it was opened
    work: str  # the folder to write into; it is made
    crowd: int  # so many attempts, this one included, share the machine
    free_slot: Callable[[], None]  # called when the machine is free for the next encode
    make_work: Callable[[], str]  # makes that folder; raises EnvironmentTrouble


class Made(NamedTuple):
    """What an ffmpeg that ended well has made: an open descriptor, to be closed."""

    descriptor: int
    size_bytes: int


class Engine(Protocol):
    """Where attempts are made. The default is this machine."""

    async def run(self, given: Assignment) -> Outcome:
        """Make one attempt."""
        ...

    async def foresee(self, original: int, identity: Identity) -> None:
        """Find out about an open file what can be known before its attempt."""
        ...

    def stop(self, job: Job, *, kill: bool = False) -> None:
        """End a job's attempt, with TERM and after a grace KILL, or with KILL at once."""
        ...

    def progress(self) -> Mapping[int, Progress | None]:
        """Say how far the running attempts are, by job."""
        ...


class LocalEngine:
    """Attempts on this machine, each in an ffmpeg child of its own."""

    def __init__(
        self,
        config: Callable[[], Config],
        program: str,
        probe: ProbeWorker,
        reader: ProbeWorker,
        *,
        mark: str,
    ) -> None:
        """Take what gives the configuration, the ffmpeg, the probe workers, the children's mark.

        reader reads large outputs back, so that the probe of the next file does not wait for it.
        """
        self._config, self._program, self._mark = config, program, mark
        self._probe, self._reader = probe, reader
        self._foresight = Foresight(probe, keep=lambda: 2 * config().jobs)
        self._attempts: dict[int, Attempt] = {}
        self._stopped_early: set[tuple[int, int]] = set()  # what was stopped before it got here

    async def foresee(self, original: int, identity: Identity) -> None:
        """Find out about an open file what can be known before its attempt."""
        await self._foresight.foresee(original, identity)

    def progress(self) -> Mapping[int, Progress | None]:
        """Say how far the running attempts are, by job."""
        return {job_id: attempt.tracker.progress for job_id, attempt in self._attempts.items()}

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

    async def run(self, given: Assignment) -> Outcome:
        """Make one attempt. See ``Engine``."""
        job = given.job
        if (job.id, job.run) in self._stopped_early:
            self._stopped_early.remove((job.id, job.run))
            return Interrupted()
        config = self._config()
        profile = config.all_profiles.get(job.profile)
        if profile is None:
            return Rejected(
                f"there is no profile named {job.profile} any more", cause=Cause.PROFILE
            )
        attempt = self._attempts[job.id] = Attempt(job, config, profile, given.original, given.work)
        try:
            outcome = await self._attempt(attempt, given)
            if isinstance(outcome, Rejected | Broke | Interrupted):
                return replace(outcome, report=attempt.report())
            return outcome
        except Stopped:
            return Interrupted()
        except NoWorker as failed:
            raise EnvironmentTrouble(failed.reason) from failed
        except ProbeFailed as failed:
            kind = Rejected if failed.hopeless else Broke
            return kind(failed.reason, attempt.report(), Cause.UNREADABLE)
        finally:
            del self._attempts[job.id]

    async def _attempt(self, attempt: Attempt, given: Assignment) -> Outcome:
        media = await attempt.unless_stopped(
            self._foresight.media(attempt.original, given.identity)
        )
        if refused := refusal(media, attempt.config.max_pixels):
            return refused
        plan = self._plan(attempt, media, given.crowd)
        attempt.ended = ended = await self._encode(attempt, plan, media, given.make_work)
        given.free_slot()
        attempt.stderr.close()
        made = await asyncio.to_thread(_made, attempt, ended)
        if not isinstance(made, Made):
            return made
        try:
            if plan.verify is not Verify.OFF and (
                outcome := await self._verify(attempt, plan, media, made)
            ):
                return outcome
        finally:
            os.close(made.descriptor)
        await asyncio.to_thread(self._seal, attempt)
        name = os.path.basename(attempt.output)
        return Encoded((OutputFile(name, attempt.profile.suffix, made.size_bytes),))

    def _plan(self, attempt: Attempt, media: MediaInfo, crowd: int) -> EncodePlan:
        plan = plan_encode(
            attempt.profile,
            media,
            program=self._program,
            source=readable_name(attempt.work, attempt.source),
            output=attempt.output,
            cores=len(os.sched_getaffinity(0)),
            parallel=crowd,
            max_pixels=attempt.config.max_pixels,
        )
        for loss in plan.losses:
            tell(log, attempt.job, f"left out: {loss}")
        attempt.args, attempt.argv = plan.args, plan.argv
        return plan

    async def _encode(
        self,
        attempt: Attempt,
        plan: EncodePlan,
        media: MediaInfo,
        make_work: Callable[[], str],
    ) -> ChildExit:
        """Run ffmpeg to its end."""
        config = attempt.config
        reach = attempt.tracker = ProgressTracker(media.duration_seconds)

        def limit_seconds() -> float:
            """Count the input's length or, where that is unknown or passed, what is encoded."""
            seconds = max(media.duration_seconds or 0.0, reach.seconds)
            return config.time_limit.seconds + config.time_limit.per_second * seconds

        command = Command(
            argv=plan.argv,
            cwd=attempt.work,
            env=environment(self._mark, attempt.work),
            stall_seconds=config.stall_seconds,
            time_limit=limit_seconds,
            grace_seconds=min(TERM_SECONDS, config.stop_grace_seconds),
            limits=Limits(
                address_space_bytes=0 if plan.uses_hardware else config.address_space,
                file_size_bytes=config.max_output,
                nice=config.nice,
                io_class=config.ionice,
            ),
            prepare=lambda: self._prepare(attempt, make_work),
            still_writes=Growth(attempt.output).is_new,
        )
        child = attempt.child = Child(command, reach.feed, attempt.stderr.feed)
        if attempt.stopped.is_set():
            child.stop(attempt.killed)
        return await asyncio.wrap_future(child.start())

    def _prepare(self, attempt: Attempt, make_work: Callable[[], str]) -> None:
        """Make the child's work directory and confine its thread; runs on that thread."""
        make_work()
        config = attempt.config
        if config.sandbox == "off":
            return
        named = {
            path for arg in attempt.args for path in _PATH.findall(arg) if os.path.isfile(path)
        }
        programs = _programs(self._program, os.stat(self._program).st_mtime_ns)
        confine(
            SandboxRules(read=(attempt.original, *named), write=(attempt.work,), execute=programs)
        )

    async def _verify(
        self, attempt: Attempt, plan: EncodePlan, media: MediaInfo, made: Made
    ) -> Outcome | None:
        """Read the output back and judge it; None when it is whole."""
        reader = self._probe if made.size_bytes < SMALL_BYTES else self._reader
        try:
            outputs = await attempt.unless_stopped(reader.examine(*made))
        except ProbeFailed as failed:
            return Broke(f"the output cannot be read back: {failed.reason}", cause=Cause.OUTPUT)
        counts = attempt.stderr.counts(
            duplicated=attempt.tracker.duplicated, dropped=attempt.tracker.dropped
        )
        found = verify(counts, media, outputs, level=plan.verify, time_changer=plan.time_changer)
        for note in found.notes:
            tell(log, attempt.job, note)
        return found.outcome

    def _seal(self, attempt: Attempt) -> None:
        """Put the output on disk. Raises EnvironmentTrouble."""
        try:
            sync_file(attempt.output)
            sync_folder(attempt.work)
            sync_folder(os.path.dirname(attempt.work))
        except OSError as error:
            raise EnvironmentTrouble(
                f"cannot write to the outbox {attempt.config.outbox}: {error.strerror}"
            ) from error


def _made(attempt: Attempt, ended: ChildExit) -> Outcome | Made:
    """Judge a child's end; open what it made where that was a good one."""
    job, config = attempt.job, attempt.config
    facts = EncodeFacts(
        tail=attempt.stderr.tail,
        output_bytes=output_bytes(attempt.output),
        had_progress=attempt.tracker.progress is not None,
        max_output=config.max_output,
        run=job.run,
        attempt=job.attempt,
        program=attempt.argv[0],
        work=attempt.work,
        outbox=config.outbox,
    )
    if outcome := classify(ended, facts):
        return outcome
    descriptor = os.open(attempt.output, os.O_RDONLY | os.O_CLOEXEC)
    return Made(descriptor, os.fstat(descriptor).st_size)


@functools.lru_cache(maxsize=1)
def _programs(program: str, mtime_ns: int) -> tuple[str, ...]:
    """List what every child may execute: asked anew when the program changes."""
    return (*system_reads(program), *launcher()[:1])

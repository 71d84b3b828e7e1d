"""Where attempts are made: what every engine does, and the engine of this machine.

An engine gets an ``Assignment``, which is plain data, and gives a ``Running``. A job's failure is a
value in its outcome, never an exception; every wait on a child has a limit. An ``Encoded`` output
is whole, verified and synced, in the attempt's own work directory, and nothing outside it was
touched. ``tests/test_engine.py`` is one suite for every engine.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from watchconv.encode import health, receipt
from watchconv.encode.classify import (
    EncodeFacts,
    classify,
    compose_report,
    output_bytes,
    unread,
)
from watchconv.encode.ffmpeg_output import ProgressTracker, StderrReader
from watchconv.encode.proof import Case, Proof, Readings
from watchconv.errors import EnvironmentTrouble
from watchconv.host.files import closing, open_regular, sync_folder
from watchconv.host.threads import in_thread
from watchconv.host.workdir import Manifest, output_name
from watchconv.logs.format import log_job
from watchconv.media.probe_protocol import NoWorker, ProbeFailed
from watchconv.model import (
    AttemptEnd,
    Broke,
    Encoded,
    Gone,
    Identity,
    Interrupted,
    Outcome,
    OutputFile,
    Rejected,
    Stale,
    WaitReason,
)
from watchconv.policy import attempt_end
from watchconv.process.child import Child, Command
from watchconv.process.sandbox.programs import system_reads
from watchconv.process.sandbox.rules import SandboxRules, confine
from watchconv.process.sandbox.support import SandboxMode
from watchconv.process.spawn import Limits, environment
from watchconv.process.stop import Stopped, StopSignal, StopStage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from watchconv.config import Config
    from watchconv.encode.plan import EncodePlan
    from watchconv.encode.program import Program
    from watchconv.host.workdir import WorkDirectories
    from watchconv.media.facts import Facts
    from watchconv.media.probe import ProbeWorker
    from watchconv.model import Job, Progress
    from watchconv.process.child import ChildExit

log = logging.getLogger(__name__)

# what a filter may read: fontfile=/…, movie=/…, subtitles='/…'
_PATH = re.compile(r"(?:^|(?<=[=':]))/[^:,;'\\\[\]]+")
# what is ended is thrown away: from TERM to KILL there is little to tidy up
TERM_SECONDS = 3.0
LATER_SECONDS = 15.0
MOST_PROOFS = 8  # at once; short encodes that are quicker than their proofs wait in their slots
# What may be mapped where what is used is limited: only against bombs that fill all memory between
# two looks. SVT-AV1 with 32 threads maps 27 GiB for an 8K film, and uses 11.
BACKSTOP_BYTES, BACKSTOP_FACTOR = 64 << 30, 4


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """What one attempt may take. Sizes are bytes; 0 is no limit."""

    stall_seconds: float
    time_limit_seconds: float  # for every file …
    time_limit_per_second: float  # … and this for each second of the input
    grace_seconds: float  # from TERM to KILL
    memory: int  # in use
    has_all_memory: bool  # another time it would have no more
    address_space: int  # mapped
    max_output: int
    nice: int
    ionice: str
    sandbox: str

    @classmethod
    def of(cls, config: Config) -> AttemptLimits:
        """Return what is configured."""
        return cls(
            stall_seconds=config.stall_seconds,
            time_limit_seconds=config.time_limit.seconds,
            time_limit_per_second=config.time_limit.per_second,
            grace_seconds=config.stop_grace_seconds,
            memory=0,  # it gets its share when there is room for it
            has_all_memory=True,
            address_space=config.address_space,
            max_output=config.max_output,
            nice=config.nice,
            ionice=config.ionice,
            sandbox=config.sandbox,
        )

    @property
    def mapped_bytes(self) -> int:
        """How much address space it gets."""
        backstop = max(BACKSTOP_BYTES, BACKSTOP_FACTOR * self.memory) if self.memory else 0
        return min(filter(None, (self.address_space, backstop)), default=0)


@dataclass(frozen=True, slots=True)
class Assignment:
    """One attempt at one job, as plain data. ``job.id`` and ``job.run`` together name it."""

    job: Job
    original: str  # its path
    identity: Identity  # the original as it was probed
    media: Facts
    plan: EncodePlan
    limits: AttemptLimits
    salvage: bool = False  # what is there of the original is wanted, be it not whole
    lacks: str = ""  # why it is known not to be, before the encode


class AttemptResult(NamedTuple):
    """How an attempt ended: for its job, and for the history."""

    outcome: Outcome
    end: AttemptEnd
    proof: Proof | None = None  # what was found, where it came to one


class Running(Protocol):
    """An attempt under way; it belongs to the event loop."""

    encoded: asyncio.Event  # the machine is free for the next encode; set at the latest at the end
    result: asyncio.Future[AttemptResult]  # raises EnvironmentTrouble where the machine is to blame

    def progress(self) -> Progress | None:
        """Return how far it is; None before the first word."""

    def stop(self, *, kill: bool = False) -> None:
        """End it with TERM and, after the grace, KILL; or with KILL at once. Idempotent."""

    def pause(self) -> None:
        """Hold the encode; no limit of time counts until ``resume``."""

    def resume(self) -> None:
        """Go on after ``pause``."""


class Engine(Protocol):
    """Where attempts are made."""

    def capacity(self) -> int | None:
        """Return how many encodes it can run at once; None: as many as are configured."""

    def begin(self, assignment: Assignment) -> Running:
        """Begin an attempt and return at once."""

    def adopt(self, job: Job) -> Running | None:
        """Return the attempt ``job.run`` of a job if it lives on from before a restart."""


class LocalEngine:
    """Attempts on this machine, each in an ffmpeg child of its own."""

    def __init__(
        self, program: Program, reader: ProbeWorker, work: WorkDirectories, *, owner_tag: str
    ) -> None:
        """Use an ffmpeg; reader reads outputs back; owner_tag marks the children as ours."""
        self.program, self.reader, self.work = program, reader, work
        self.owner_tag, self.proofs = owner_tag, asyncio.Semaphore(MOST_PROOFS)

    def capacity(self) -> int | None:
        """Return None: ``jobs`` in the configuration decides."""
        return None

    def begin(self, assignment: Assignment) -> Running:
        """Begin an attempt and return at once."""
        return _LocalAttempt(self, assignment)

    def adopt(self, job: Job) -> Running | None:
        """Return None: the kernel ends our children together with the daemon."""
        return None


class _LocalAttempt:
    """An attempt in an ffmpeg child; begins when it is made.

    The child's own thread makes the work directory, confines itself and starts ffmpeg; another
    thread then judges what it made.
    """

    def __init__(self, engine: LocalEngine, assignment: Assignment) -> None:
        job, plan, limits = assignment.job, assignment.plan, assignment.limits
        self._engine, self._assignment = engine, assignment
        self._path = engine.work.path(job.id, job.run)
        self._output = os.path.join(self._path, output_name(plan.suffix))
        self._written = (-1, 0)  # the output's size and time, when last seen
        self._stop_proof = StopSignal()
        self._stderr = StderrReader()
        self._tracker = ProgressTracker(assignment.media.duration_seconds)
        command = Command(
            argv=plan.argv,
            cwd=self._path,
            env=environment(engine.owner_tag, self._path),
            stall_seconds=limits.stall_seconds,
            time_limit=self._time_limit,
            grace_seconds=min(TERM_SECONDS, limits.grace_seconds),
            limits=Limits(
                # a GPU's driver maps far more than it uses
                address_space_bytes=0 if plan.uses_hardware else limits.mapped_bytes,
                memory_bytes=limits.memory,
                file_size_bytes=limits.max_output,
                nice=limits.nice,
                io_class=limits.ionice,
            ),
            prepare=self._prepare,
            still_writes=self._still_writes,
        )
        self._child = Child(command, self._tracker.feed, self._stderr.feed)
        self.pause, self.resume = self._child.pause, self._child.resume
        # What an earlier attempt has proven can be used if all of this is equal: another suffix is
        # another container, another level another proof.
        made_like = (*plan.args, plan.suffix, plan.verify)
        ffmpeg = f"{engine.program.path} {engine.program.ability.version}"
        self._proof = Manifest(job.source, job.size, job.mtime_ns, made_like, ffmpeg, job.run, ())
        self._found: Proof | None = None
        self.encoded = asyncio.Event()
        self.result: asyncio.Future[AttemptResult] = asyncio.ensure_future(self._run())

    def progress(self) -> Progress | None:
        """Return how far the encode is; None before ffmpeg's first word."""
        return self._tracker.progress

    def stop(self, *, kill: bool = False) -> None:
        """End it with TERM and, after the grace, KILL; or with KILL at once. Idempotent."""
        self._stop_proof.request(StopStage.KILLED)
        self._child.stop(kill=kill)

    async def _run(self) -> AttemptResult:
        media_seconds = self._assignment.media.duration_seconds
        try:
            if self._assignment.job.run > 1 and (kept := await in_thread(self._find_proven)):
                return AttemptResult(kept, attempt_end(kept, media_seconds=media_seconds))
            ended = await asyncio.wrap_future(self._child.start())
            async with self._engine.proofs:
                self.encoded.set()
                outcome = await in_thread(self._prove, ended)
        except OSError as error:
            outbox = self._engine.work.outbox
            raise EnvironmentTrouble(
                f"cannot write to the outbox {outbox}: {error.strerror}"
            ) from error
        finally:
            self.encoded.set()
        end = attempt_end(
            outcome,
            seconds=ended.seconds,
            cpu_seconds=ended.cpu_seconds,
            peak_memory_bytes=ended.peak_memory_bytes,
            media_seconds=media_seconds,
        )
        return AttemptResult(outcome, end, self._found)

    def _find_proven(self) -> Encoded | None:
        """Return what an earlier attempt has proven, if it was made of this, like this.

        A crash between the proof and the journal's intent leaves such.
        """
        job, work = self._assignment.job, self._engine.work
        kept = work.read_manifest(job.id)
        if kept is None:
            return None
        made_of = replace(kept, run=job.run, outputs=(), warnings=(), is_proven=True, receipt=None)
        if made_of != self._proof:
            return None
        if compare(self._assignment.original, self._assignment.identity):
            return None
        with suppress(FileNotFoundError):
            if work.take_over(job.id, kept, job.run):
                log_job(log, job, "what an earlier attempt has proven is used")
                return Encoded(kept.outputs, kept.warnings, kept.is_proven, kept.receipt)
        return None

    # on the child's thread

    def _time_limit(self) -> float:
        """Count the input's length or, where that is unknown or passed, what is encoded."""
        limits = self._assignment.limits
        seconds = max(self._assignment.media.duration_seconds or 0.0, self._tracker.seconds)
        return limits.time_limit_seconds + limits.time_limit_per_second * seconds

    def _still_writes(self) -> bool:
        """Return whether the output was written to since the last call: +faststart moves it."""
        before = self._written
        try:
            stat = os.stat(self._output)
        except OSError:
            return False
        self._written = stat.st_size, stat.st_mtime_ns
        return before != self._written

    def _prepare(self) -> None:
        """Make the work directory and confine the thread."""
        job, original = self._assignment.job, self._assignment.original
        self._engine.work.make(job.id, job.run, original)
        if self._assignment.limits.sandbox == SandboxMode.OFF:
            return
        named = filter(os.path.isfile, _PATH.findall(":".join(self._assignment.plan.args)))
        program = self._engine.program.path
        needed = _needed(program, os.stat(program).st_mtime_ns)
        with closing(open_regular(*os.path.split(original))) as opened:
            confine(SandboxRules(read=(opened, *named), write=(self._path,), execute=needed))

    # after ffmpeg's end, on a thread of its own

    def _prove(self, ended: ChildExit) -> Outcome:
        self._stderr.close()
        assignment, job = self._assignment, self._assignment.job
        # what was made of a file that changed counts for nothing, whatever it is
        if changed := compare(assignment.original, assignment.identity):
            return changed
        facts = EncodeFacts(
            tail=self._stderr.tail,
            output_bytes=None if assignment.plan.only_examines else output_bytes(self._output),
            had_progress=self._tracker.progress is not None,
            max_output=assignment.limits.max_output,
            has_all_memory=assignment.limits.has_all_memory,
            run=job.run,
            attempt=job.attempt,
            program=self._engine.program.path,
            work=self._path,
            outbox=self._engine.work.outbox,
        )
        outcome = classify(ended, facts) or self._examine()
        if isinstance(outcome, Rejected | Broke | Interrupted):
            told = self._found.told() if self._found else {}
            report = compose_report(job, assignment.plan.argv, ended, facts.tail)
            if isinstance(outcome, Interrupted):
                return replace(outcome, report=report)
            return replace(outcome, report=report, receipt=self._receipt(told))
        return outcome

    def _examine(self) -> Outcome:
        """Prove the output, and put it on disk."""
        assignment, engine, job = self._assignment, self._engine, self._assignment.job
        try:
            original = open_regular(*os.path.split(assignment.original))
        except OSError as error:
            return compare(assignment.original, assignment.identity) or read_error(error)
        if assignment.plan.only_examines:
            with closing(original):
                return self._judge_health(original)
        with (
            closing(original),
            closing(os.open(self._output, os.O_RDONLY | os.O_CLOEXEC)) as output,
        ):
            size = os.fstat(output).st_size
            duplicated, dropped = self._tracker.duplicated, self._tracker.dropped
            counts = self._stderr.counts(duplicated=duplicated, dropped=dropped)
            case = Case(
                assignment.plan,
                assignment.media,
                counts,
                is_salvaged=assignment.salvage,
                lacks=assignment.lacks,
                seconds=self._tracker.seconds,
            )
            readings = Readings(engine.reader, assignment.limits.sandbox, self._stop_proof)
            try:
                self._found = found = readings.prove(case, output, size, original)
            except (Stopped, NoWorker) as failed:
                return unread(failed)
            if found.fault:
                return found.fault
            os.fsync(output)
        if changed := compare(assignment.original, assignment.identity):
            return changed
        sync_folder(self._path)
        sync_folder(os.path.dirname(self._path))
        outputs = (OutputFile(os.path.basename(self._output), assignment.plan.suffix, size),)
        told = self._receipt(found.told())
        made = Encoded(outputs, found.warnings, found.is_proven, told)
        proof = replace(
            self._proof,
            outputs=made.outputs,
            warnings=made.warnings,
            is_proven=made.is_proven,
            receipt=made.receipt,
        )
        engine.work.write_manifest(job.id, proof)
        return made

    def _judge_health(self, original: int) -> Outcome:
        """Judge the original itself, of which nothing was made."""
        media, limits = self._assignment.media, self._assignment.limits
        try:
            there = self._engine.reader.examine(
                original,
                os.fstat(original).st_size,
                sandbox=limits.sandbox,
                stop=self._stop_proof,
            )
        except (Stopped, ProbeFailed) as failed:
            return unread(failed)
        found = health.judge(media, self._stderr.counts(), there)
        return found.fault or Encoded((), found.warnings, receipt=self._receipt({}))

    def _receipt(self, found: Mapping[str, Any]) -> str:
        program = self._engine.program
        media, plan = self._assignment.media, self._assignment.plan
        return receipt.of_attempt(media, plan, (program.path, program.ability.version), found)


def compare(path: str, identity: Identity) -> Stale | Gone | Interrupted | None:
    """Return what happened to an original since it had this identity; None: nothing."""
    try:
        if Identity.of(os.lstat(path)) == identity:
            return None
    except (FileNotFoundError, NotADirectoryError):
        return Gone()
    except OSError as error:
        return read_error(error)
    return Stale()


def read_error(error: OSError) -> Interrupted:
    """Return what an attempt comes to whose original cannot be read now: the disk may recover."""
    reason = f"it cannot be read now: {error.strerror}"
    return Interrupted(reason, LATER_SECONDS, wait_reason=WaitReason.READ_ERROR)


@functools.lru_cache(maxsize=1)
def _needed(program: str, mtime_ns: int) -> tuple[str, ...]:
    """Return what an ffmpeg may execute; asked anew when the program (by mtime_ns) changes."""
    return system_reads(program)

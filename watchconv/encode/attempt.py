"""One attempt on this machine: an ffmpeg child, and the proof of what it made.

The child's own thread makes the work directory, confines itself and starts ffmpeg; another thread
then classifies its end, reads the output back, compares the original with what it was, and puts
the output on disk. An ``Encoded`` output is whole, verified and synced, in the attempt's own work
directory, and nothing outside it was touched.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from watchconv.encode.classify import EncodeFacts, classify, output_bytes
from watchconv.encode.progress import ProgressTracker
from watchconv.encode.report import compose
from watchconv.encode.stderr_stats import StderrReader
from watchconv.encode.verify import verify
from watchconv.errors import EnvironmentTrouble
from watchconv.host.files import closing, open_regular, sync_folder
from watchconv.host.threads import in_thread
from watchconv.host.workdir import Manifest, output_name
from watchconv.logs.format import log_job
from watchconv.media.probe_protocol import NoWorker, ProbeFailed
from watchconv.model import (
    Broke,
    Cause,
    Encoded,
    Gone,
    Identity,
    Interrupted,
    OutputFile,
    Rejected,
    Stale,
    Verify,
    WaitReason,
)
from watchconv.policy import attempt_end
from watchconv.process.child import Child, Command
from watchconv.process.sandbox.programs import system_reads
from watchconv.process.sandbox.rules import SandboxRules, confine
from watchconv.process.sandbox.support import SandboxMode
from watchconv.process.spawn import Limits, environment, launcher
from watchconv.process.stop import Stopped, StopSignal, StopStage

if TYPE_CHECKING:
    from watchconv.encode.plan import EncodePlan
    from watchconv.encode.program import Program
    from watchconv.host.workdir import WorkDirectories
    from watchconv.media.probe import ProbeWorker
    from watchconv.model import AttemptEnd, Job, MediaInfo, Outcome, Progress
    from watchconv.process.child import ChildExit

log = logging.getLogger(__name__)

# what a filter may read: fontfile=/…, movie=/…, subtitles='/…'
_PATH = re.compile(r"(?:^|(?<=[=':]))/[^:,;'\\\[\]]+")
# what is ended is thrown away: from TERM to KILL there is little to tidy up
TERM_SECONDS = 3.0
LATER_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """What one attempt may take. Sizes are bytes; 0 is no limit."""

    stall_seconds: float
    time_limit_seconds: float  # for every file …
    time_limit_per_second: float  # … and this for each second of the input
    grace_seconds: float  # from TERM to KILL
    address_space: int
    max_output: int
    nice: int
    ionice: str
    sandbox: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """One attempt at one job, as plain data. ``job.id`` and ``job.run`` together name it."""

    job: Job
    original: str  # its path
    identity: Identity  # the original as it was probed
    media: MediaInfo
    plan: EncodePlan
    limits: AttemptLimits


class AttemptResult(NamedTuple):
    """How an attempt ended: for its job, and for the history."""

    outcome: Outcome
    end: AttemptEnd


class LocalAttempt:
    """An attempt in an ffmpeg child; begins when it is made. See ``engine.Running``."""

    def __init__(
        self,
        assignment: Assignment,
        program: Program,
        reader: ProbeWorker,
        work: WorkDirectories,
        *,
        owner_tag: str,
    ) -> None:
        self._assignment, self._program = assignment, program
        self._reader, self._work = reader, work
        self._path = work.path(assignment.job.id, assignment.job.run)
        self._output = os.path.join(self._path, output_name(assignment.plan.suffix))
        self._stop_proof = StopSignal()
        self._stderr = StderrReader()
        self._tracker = ProgressTracker(assignment.media.duration_seconds)
        self._child = Child(self._command(owner_tag), self._tracker.feed, self._stderr.feed)
        self.encoded = asyncio.Event()
        self.result: asyncio.Future[AttemptResult] = asyncio.ensure_future(self._run())

    def progress(self) -> Progress | None:
        """Return how far the encode is; None before ffmpeg's first word."""
        return self._tracker.progress

    def stop(self, *, kill: bool = False) -> None:
        """End it with TERM and, after the grace, KILL; or with KILL at once. Idempotent."""
        self._stop_proof.request(StopStage.KILLED)
        self._child.stop(kill=kill)

    def pause(self) -> None:
        """Hold ffmpeg."""
        self._child.pause()

    def resume(self) -> None:
        """Let ffmpeg go on."""
        self._child.resume()

    async def _run(self) -> AttemptResult:
        try:
            if self._assignment.job.run > 1 and (kept := await in_thread(self._find_proven)):
                media_seconds = self._assignment.media.duration_seconds
                return AttemptResult(kept, attempt_end(kept, media_seconds=media_seconds))
            ended = await asyncio.wrap_future(self._child.start())
        finally:
            self.encoded.set()
        outcome = await in_thread(self._prove, ended)
        return AttemptResult(outcome, self._end(outcome, ended))

    def _command(self, owner_tag: str) -> Command:
        limits, plan = self._assignment.limits, self._assignment.plan
        return Command(
            argv=plan.argv,
            cwd=self._path,
            env=environment(owner_tag, self._path),
            stall_seconds=limits.stall_seconds,
            time_limit=self._time_limit_seconds,
            grace_seconds=min(TERM_SECONDS, limits.grace_seconds),
            limits=Limits(
                # a GPU's driver maps far more than it uses
                address_space_bytes=0 if plan.uses_hardware else limits.address_space,
                file_size_bytes=limits.max_output,
                nice=limits.nice,
                io_class=limits.ionice,
            ),
            prepare=self._prepare,
            still_writes=_Growth(self._output).is_new,
        )

    def _time_limit_seconds(self) -> float:
        """Count the input's length or, where that is unknown or passed, what is encoded."""
        limits = self._assignment.limits
        seconds = max(self._assignment.media.duration_seconds or 0.0, self._tracker.seconds)
        return limits.time_limit_seconds + limits.time_limit_per_second * seconds

    def _prepare(self) -> None:
        """Make the work directory and confine the child's thread; runs on that thread."""
        job, args = self._assignment.job, self._assignment.plan.args
        self._work.make(job.id, job.run, self._assignment.original)
        if self._assignment.limits.sandbox == SandboxMode.OFF:
            return
        named = {path for arg in args for path in _PATH.findall(arg) if os.path.isfile(path)}
        programs = _programs(self._program.path, os.stat(self._program.path).st_mtime_ns)
        folder, name = os.path.split(self._assignment.original)
        with closing(open_regular(folder, name)) as original:
            confine(SandboxRules(read=(original, *named), write=(self._path,), execute=programs))

    # after ffmpeg's end, on a thread of its own

    def _prove(self, ended: ChildExit) -> Outcome:
        self._stderr.close()
        # what was made of a file that changed counts for nothing, whatever it is
        if changed := compare(self._assignment.original, self._assignment.identity):
            return changed
        outcome = self._classify(ended) or self._examine()
        if isinstance(outcome, Rejected | Broke | Interrupted):
            job, argv = self._assignment.job, self._assignment.plan.argv
            return replace(outcome, report=compose(job, argv, ended, self._stderr.tail))
        return outcome

    def _classify(self, ended: ChildExit) -> Outcome | None:
        assignment = self._assignment
        facts = EncodeFacts(
            tail=self._stderr.tail,
            output_bytes=output_bytes(self._output),
            had_progress=self._tracker.progress is not None,
            max_output=assignment.limits.max_output,
            run=assignment.job.run,
            attempt=assignment.job.attempt,
            program=self._program.path,
            work=self._path,
            outbox=self._work.outbox,
        )
        return classify(ended, facts)

    def _examine(self) -> Outcome:
        """Read the output back, judge it, and put it on disk."""
        plan, job = self._assignment.plan, self._assignment.job
        with closing(os.open(self._output, os.O_RDONLY | os.O_CLOEXEC)) as output:
            size = os.fstat(output).st_size
            if plan.verify is not Verify.OFF and (fault := self._verify(output, size)):
                return fault
            try:
                os.fsync(output)
                sync_folder(self._path)
                sync_folder(os.path.dirname(self._path))
                outputs = (OutputFile(os.path.basename(self._output), plan.suffix, size),)
                self._work.write_manifest(job.id, self._manifest(outputs))
            except OSError as error:
                raise EnvironmentTrouble(
                    f"cannot write to the outbox {self._work.outbox}: {error.strerror}"
                ) from error
        return Encoded(outputs)

    def _verify(self, descriptor: int, size: int) -> Outcome | None:
        """Return what is wrong with the output; None when it is whole."""
        assignment = self._assignment
        try:
            contents = self._reader.examine(
                descriptor, size, sandbox=assignment.limits.sandbox, stop=self._stop_proof
            )
        except Stopped:
            return Interrupted()
        except NoWorker as failed:
            raise EnvironmentTrouble(failed.reason) from failed
        except ProbeFailed as failed:
            return Broke(f"the output cannot be read back: {failed.reason}", cause=Cause.OUTPUT)
        counts = self._stderr.counts(
            duplicated=self._tracker.duplicated, dropped=self._tracker.dropped
        )
        plan = assignment.plan
        found = verify(
            counts, assignment.media, contents, level=plan.verify, time_changer=plan.time_changer
        )
        for note in found.notes:
            log_job(log, assignment.job, note)
        return found.outcome

    # what an earlier attempt has proven

    def _manifest(self, outputs: tuple[OutputFile, ...]) -> Manifest:
        job, plan = self._assignment.job, self._assignment.plan
        ffmpeg = f"{self._program.path} {self._program.version}"
        identity = (job.source, job.size, job.mtime_ns)
        # another suffix is another container, and another level another proof
        made_like = (*plan.args, plan.suffix, plan.verify)
        return Manifest(*identity, made_like, ffmpeg, job.run, outputs)

    def _find_proven(self) -> Encoded | None:
        """Return the proven outputs of an earlier attempt, if they were made of this, like this.

        A crash between the proof and the journal's intent leaves such.
        """
        job = self._assignment.job
        kept = self._work.read_manifest(job.id)
        if kept is None or replace(kept, run=job.run) != self._manifest(kept.outputs):
            return None
        if compare(self._assignment.original, self._assignment.identity):
            return None
        try:
            if not self._work.take_over(job.id, kept.run, job.run, kept.outputs):
                return None
        except FileNotFoundError:
            return None
        log_job(log, job, "what an earlier attempt has proven is used")
        return Encoded(kept.outputs)

    def _end(self, outcome: Outcome, ended: ChildExit) -> AttemptEnd:
        return attempt_end(
            outcome,
            seconds=ended.seconds,
            cpu_seconds=ended.cpu_seconds,
            peak_memory_bytes=ended.peak_memory_bytes,
            media_seconds=self._assignment.media.duration_seconds,
        )


class _Growth:
    """Tells whether a file was written to since the last question: +faststart moves it about."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._before: tuple[int, int] | None = None

    def is_new(self) -> bool:
        """Compare the file with how it was last time."""
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        before, self._before = self._before, (found.st_size, found.st_mtime_ns)
        return before != self._before


def compare(path: str, identity: Identity) -> Stale | Gone | Interrupted | None:
    """Return what happened to an original since it had this identity; None: nothing."""
    try:
        if Identity.of(os.lstat(path)) == identity:
            return None
    except (FileNotFoundError, NotADirectoryError):
        return Gone()
    except OSError as error:
        reason = f"it cannot be read now: {error.strerror}"
        return Interrupted(reason, LATER_SECONDS, wait_reason=WaitReason.READ_ERROR)
    return Stale()


@functools.lru_cache(maxsize=1)
def _programs(program: str, mtime_ns: int) -> tuple[str, ...]:
    """Return what every child may execute: asked anew when the program changes."""
    return (*system_reads(program), *launcher()[:1])

"""An engine in memory, without ffmpeg, whose attempts outlive the daemon that began them.

``FakeMachines`` is what stays when a daemon goes down: it holds each attempt as the bytes of its
``Assignment``, as a farm of other machines would. A ``FakeEngine`` is one daemon's view of it; a
second one over the same machines adopts what the first has begun. What an attempt makes reaches the
outbox when an engine fetches it.
"""

from __future__ import annotations

import asyncio
import fnmatch
import os
import pickle
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from watchconv.encode.engine import AttemptResult, compare
from watchconv.errors import EnvironmentTrouble
from watchconv.host.threads import in_thread
from watchconv.host.workdir import output_name
from watchconv.model import (
    Broke,
    Encoded,
    Interrupted,
    JobWarning,
    Outcome,
    OutputFile,
    Progress,
    Rejected,
)
from watchconv.policy import attempt_end

if TYPE_CHECKING:
    from collections.abc import Mapping

    from watchconv.encode.engine import Assignment
    from watchconv.host.workdir import WorkDirectories
    from watchconv.model import Job

POLL_SECONDS = 0.005
PROOF_SECONDS = 0.02  # what it takes to fetch an output, when the machine is free again


@dataclass(frozen=True, slots=True)
class Script:
    """What becomes of the attempts at a file."""

    outcome: Rejected | Broke | None = None  # None: it is encoded
    content: bytes = b"the film"
    warnings: tuple[JobWarning, ...] = ()
    seconds: float = 0.05
    gated: bool = False  # it ends only after ``let_go``
    stubborn: bool = False  # TERM does not end it, only the KILL after the grace
    trouble: str = ""  # what is wrong with its machine


@dataclass(slots=True)
class FakeAttempt:
    """An attempt as its machine holds it; time is all that moves it."""

    packed: bytes  # the Assignment, as it crossed over
    script: Script
    let_go: set[str]
    began: float = field(default_factory=time.monotonic)
    paused_at: float | None = None
    stop_at: float | None = None
    seconds: float | None = None  # how long it ran, once it is over

    @property
    def assignment(self) -> Assignment:
        """What was assigned."""
        return pickle.loads(self.packed)  # type: ignore[no-any-return]

    @property
    def ran_seconds(self) -> float:
        """How long it has run, pauses left out."""
        return (self.paused_at or time.monotonic()) - self.began

    def is_over(self) -> bool:
        """Return whether the encode has ended."""
        if self.seconds is None:
            stopped = self.stop_at is not None and time.monotonic() >= self.stop_at
            waits = self.script.gated and self.assignment.job.source not in self.let_go
            done = self.paused_at is None and self.ran_seconds >= self.script.seconds and not waits
            if stopped or done:
                self.seconds = self.ran_seconds
        return self.seconds is not None

    def stop(self, grace_seconds: float) -> None:
        """End it by then at the latest; a second stop can only make that earlier."""
        if not self.is_over():
            at = time.monotonic() + grace_seconds
            self.stop_at = min(at, self.stop_at or at)


class FakeMachines:
    """Machines that go on with their attempts, whatever becomes of the daemon."""

    def __init__(
        self, scripts: Mapping[str, Script] | None = None, *, capacity: int | None = None
    ) -> None:
        """Follow the first script whose pattern (shell style) matches the name of the source."""
        self.scripts, self.capacity = dict(scripts or {}), capacity
        self.attempts: dict[tuple[int, int], FakeAttempt] = {}  # by job and run
        self.let_go: set[str] = set()  # sources whose gates are open
        self.begun: list[str] = []  # the source of every attempt
        self.most_at_once = 0

    def begin(self, assignment: Assignment) -> FakeAttempt:
        """Begin an attempt."""
        source = assignment.job.source
        name = os.path.basename(source)
        script = next(
            (s for p, s in self.scripts.items() if fnmatch.fnmatchcase(name, p)), Script()
        )
        key = assignment.job.id, assignment.job.run
        assert key not in self.attempts, f"{key} is begun twice"
        self.attempts[key] = FakeAttempt(pickle.dumps(assignment), script, self.let_go)
        self.begun.append(source)
        alive = sum(not attempt.is_over() for attempt in self.attempts.values())
        assert self.capacity is None or alive <= self.capacity, f"{alive} of {self.capacity}"
        self.most_at_once = max(self.most_at_once, alive)
        return self.attempts[key]


class FakeRunning:
    """One daemon's view of an attempt."""

    def __init__(self, attempt: FakeAttempt, work: WorkDirectories) -> None:
        self._attempt, self._work = attempt, work
        self._assignment = attempt.assignment
        self.encoded = asyncio.Event()
        self.result: asyncio.Future[AttemptResult] = asyncio.ensure_future(self._follow())

    def progress(self) -> Progress | None:
        """Return how far it is."""
        ran, whole = (
            self._attempt.seconds or self._attempt.ran_seconds,
            self._attempt.script.seconds,
        )
        share = min(ran / whole, 1.0) if whole else 1.0
        return Progress(share, int(share * 25), 25.0, 1.0, share, max(0.0, whole - ran))

    def stop(self, *, kill: bool = False) -> None:
        """End it, at once unless it is stubborn."""
        waits = self._attempt.script.stubborn and not kill
        self._attempt.stop(self._assignment.limits.grace_seconds if waits else 0.0)

    def pause(self) -> None:
        """Let its time stand still."""
        if self._attempt.paused_at is None:
            self._attempt.paused_at = time.monotonic()

    def resume(self) -> None:
        """Let its time go on."""
        if self._attempt.paused_at is not None:
            self._attempt.began += time.monotonic() - self._attempt.paused_at
            self._attempt.paused_at = None

    async def _follow(self) -> AttemptResult:
        try:
            job = self._assignment.job
            await in_thread(self._work.make, job.id, job.run, self._assignment.original)
            while not self._attempt.is_over():  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(POLL_SECONDS)
        except EnvironmentTrouble:
            self._attempt.stop(0.0)
            raise
        finally:
            self.encoded.set()
        outcome = await in_thread(self._fetch)
        seconds, media_seconds = self._attempt.seconds, self._assignment.media.duration_seconds
        end = attempt_end(outcome, seconds=seconds or 0.0, media_seconds=media_seconds)
        return AttemptResult(outcome, end)

    def _fetch(self) -> Outcome:
        script, job, plan = self._attempt.script, self._assignment.job, self._assignment.plan
        time.sleep(PROOF_SECONDS)
        if changed := compare(self._assignment.original, self._assignment.identity):
            return changed
        if self._attempt.stop_at is not None:
            return Interrupted(report="it was stopped")
        if script.trouble:
            raise EnvironmentTrouble(script.trouble)
        if script.outcome:
            return replace(script.outcome, report=f"the machine's words about {job.source}")
        output = OutputFile(output_name(plan.suffix), plan.suffix, len(script.content))
        with self._work.open(job.id, job.run) as folder:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            with open(folder.at(output.file).open(flags), "wb") as writer:
                writer.write(script.content)
        return Encoded((output,), script.warnings)


class FakeEngine:
    """An ``Engine`` whose attempts are made by machines that know no ffmpeg."""

    def __init__(self, work: WorkDirectories, machines: FakeMachines | None = None) -> None:
        """Begin attempts on some machines; work: where their outputs are put."""
        self._work = work
        self.machines = machines or FakeMachines()

    def capacity(self) -> int | None:
        """Return how many encodes the machines can run at once."""
        return self.machines.capacity

    def begin(self, assignment: Assignment) -> FakeRunning:
        """Begin an attempt and return at once."""
        return FakeRunning(self.machines.begin(assignment), self._work)

    def adopt(self, job: Job) -> FakeRunning | None:
        """Return the attempt ``job.run`` if a machine has it still."""
        attempt = self.machines.attempts.get((job.id, job.run))
        return FakeRunning(attempt, self._work) if attempt else None

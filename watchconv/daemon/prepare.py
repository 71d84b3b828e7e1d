"""What comes before an encode: the original is opened, probed, and the encode planned."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from watchconv.encode.attempt import Assignment, AttemptLimits, output_name
from watchconv.encode.plan import plan_encode, refusal
from watchconv.errors import EnvironmentTrouble
from watchconv.intake.admit import Admitted, admit
from watchconv.logs.format import log_job
from watchconv.media.probe_protocol import NoWorker, ProbeFailed
from watchconv.model import Broke, Cause, Interrupted, Rejected
from watchconv.policy import too_restless
from watchconv.process.stop import Stopped, StopSignal, StopStage

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchconv.config import Config
    from watchconv.encode.engine import Engine, Running
    from watchconv.encode.program import Program
    from watchconv.host.workdir import WorkDirectories
    from watchconv.media.probe import ProbeWorker
    from watchconv.model import Job, Outcome, Profile, Progress

log = logging.getLogger(__name__)


class Attempt:
    """One attempt under way, as the daemon sees it. Belongs to the event loop."""

    def __init__(
        self,
        job: Job,
        config: Config,
        parallel: int,
        release_slot: Callable[[], None],
        running: Running | None = None,
    ) -> None:
        """Keep the configuration that it begins with, and how many encodes share the machine.

        running: it was begun before a restart, and an engine has it still.
        """
        self.job, self.config, self.parallel = job, config, parallel
        self.release_slot = release_slot
        self.running = running
        self.stop_signal = StopSignal()  # for the probe
        self._kill = False

    def begin(self, engine: Engine, assignment: Assignment) -> None:
        """Have an engine begin it; a stop that was asked for meanwhile reaches it."""
        self.running = engine.begin(assignment)
        if self.stop_signal.wanted:
            self.running.stop(kill=self._kill)

    def stop(self, *, kill: bool) -> None:
        """End it, wherever it is. Idempotent."""
        self._kill |= kill
        self.stop_signal.request(StopStage.KILLED)
        if self.running:
            self.running.stop(kill=kill)

    def progress(self) -> Progress | None:
        """Return how far its encode is."""
        return self.running.progress() if self.running else None


class Preparation:
    """Prepares attempts, each on a thread of its own."""

    def __init__(self, program: Program, probe: ProbeWorker, work: WorkDirectories) -> None:
        self._program, self._probe, self._work = program, probe, work

    def warm(self) -> None:
        """Start the probe; returns at once."""
        self._probe.warm()

    def prepare(self, attempt: Attempt) -> Assignment | Outcome:
        """Return what an engine is to do, or the outcome where there is nothing to encode.

        Raises EnvironmentTrouble.
        """
        job, config = attempt.job, attempt.config
        profile = config.all_profiles.get(job.profile)
        if profile is None:
            reason = f"there is no profile named {job.profile} any more"
            return Rejected(reason, cause=Cause.PROFILE)
        admitted = admit(config.inbox, job)
        if not isinstance(admitted, Admitted):
            return admitted
        try:
            return too_restless(job, config.max_attempts) or self._plan(attempt, admitted, profile)
        except Stopped:
            return Interrupted()
        except NoWorker as failed:
            raise EnvironmentTrouble(failed.reason) from failed
        except ProbeFailed as failed:
            kind = Rejected if failed.hopeless else Broke
            return kind(failed.reason, cause=failed.cause)
        finally:
            admitted.close()

    def _plan(self, attempt: Attempt, admitted: Admitted, profile: Profile) -> Assignment | Rejected:
        job, config = attempt.job, attempt.config
        media = self._probe.probe(
            admitted.descriptor, sandbox=config.sandbox, stop=attempt.stop_signal
        )
        if refused := refusal(media, config.max_pixels):
            return refused
        work = self._work.path(job.id, job.run)
        plan = plan_encode(
            profile,
            media,
            program=self._program.path,
            source=self._work.readable_name(job.id, job.run, admitted.path),
            output=os.path.join(work, output_name(profile.suffix)),
            cores=len(os.sched_getaffinity(0)),
            parallel=attempt.parallel,
            max_pixels=config.max_pixels,
        )
        for loss in plan.losses:
            log_job(log, job, f"left out: {loss}")
        limits = AttemptLimits(
            stall_seconds=config.stall_seconds,
            time_limit_seconds=config.time_limit.seconds,
            time_limit_per_second=config.time_limit.per_second,
            grace_seconds=config.stop_grace_seconds,
            address_space=config.address_space,
            max_output=config.max_output,
            nice=config.nice,
            ionice=config.ionice,
            sandbox=config.sandbox,
        )
        return Assignment(job, admitted.path, admitted.identity, media, plan, limits)

"""What follows from an attempt's outcome. The daemon carries it out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import assert_never

from watchconv.model import (
    BACKOFF_LIMIT_SECONDS,
    STALES_PER_ATTEMPT,
    AttemptEnd,
    AttemptOutcome,
    Broke,
    Cause,
    Encoded,
    Gone,
    Interrupted,
    Job,
    JobState,
    JobWarning,
    OnSuccess,
    Outcome,
    OutputFile,
    Rejected,
    Stale,
    Verdict,
    WaitReason,
    WarningCause,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeue:
    """Put the job back into the queue."""

    refund: bool  # give the attempt back
    wait_seconds: float = 0.0
    wait_reason: WaitReason | None = None
    reason: str | None = None
    report: str = ""  # of the attempt, for the .log if the job was cancelled meanwhile


@dataclass(frozen=True, slots=True)
class Deliver:
    """Move files: the outputs and the original, or the original and its report."""

    verdict: Verdict
    outputs: tuple[OutputFile, ...] = ()
    cause: Cause | None = None
    reason: str | None = None
    report: str | None = None
    warnings: tuple[JobWarning, ...] = ()
    is_proven: bool = True  # that the outputs hold all of the original, or say what they lack
    receipt: str | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """End the job without moving anything."""

    state: JobState  # WITHDRAWN or SUPERSEDED


Decision = Requeue | Deliver | Close


def changed_too_often(job: Job, max_attempts: int) -> Rejected | None:
    """Return the failure of a file that changed under so many attempts that none is left.

    Asked once the file is open again: only then is it known what it is now, so that it can be
    moved.
    """
    if job.stale // STALES_PER_ATTEMPT < max_attempts:
        return None
    return Rejected("it changed each time it was converted", cause=Cause.CHANGED)


def decide(job: Job, outcome: Outcome, max_attempts: int) -> Decision:
    """Return what becomes of a job whose attempt ended like this."""
    match outcome:
        case Encoded(outputs, warnings, is_proven, receipt):
            return Deliver(
                Verdict.ENCODED,
                outputs,
                warnings=warnings,
                is_proven=is_proven,
                receipt=receipt,
            )
        case Broke(reason, report) if job.attempt < max_attempts:
            return Requeue(
                refund=False,
                wait_seconds=backoff_seconds(job.attempt),
                wait_reason=WaitReason.BACKOFF,
                reason=reason,
                report=report,
            )
        case Rejected(reason, report, cause) | Broke(reason, report, cause):
            return Deliver(
                Verdict.FAILED, cause=cause, reason=reason, report=report, receipt=outcome.receipt
            )
        case Interrupted():
            return Requeue(refund=True, **asdict(outcome))
        case Stale():
            return Close(JobState.SUPERSEDED)
        case Gone():
            return Close(JobState.WITHDRAWN)
        case _:
            assert_never(outcome)


def spare_original(decision: Deliver, on_success: OnSuccess) -> tuple[OnSuccess, Deliver]:
    """Return what to do with the original, which nothing unproven may cost, and what to say of it.

    on_success is what is configured.
    """
    is_encoded = decision.verdict is Verdict.ENCODED
    if is_encoded and not decision.outputs and on_success is OnSuccess.DELETE:
        return OnSuccess.MOVE, decision  # it was only examined, and nothing else is there of it
    if decision.is_proven or not is_encoded or on_success is not OnSuccess.DELETE:
        return on_success, decision
    text = "the original is moved to done/, not deleted: not all of the output could be proven"
    warning = JobWarning(WarningCause.ORIGINAL_KEPT, text)
    return OnSuccess.MOVE, replace(decision, warnings=(*decision.warnings, warning))


def backoff_seconds(attempt: int) -> float:
    """Return how long a job waits after its attempt-th failure: 5 s, 30 s, 3 min, 10 min."""
    return min(5.0 * 6.0 ** (attempt - 1), BACKOFF_LIMIT_SECONDS)


def attempt_end(
    outcome: Outcome,
    *,
    seconds: float = 0.0,
    cpu_seconds: float | None = None,
    peak_memory_bytes: int | None = None,
    media_seconds: float | None = None,
) -> AttemptEnd:
    """Return what is remembered of an attempt that had this outcome."""
    cause = outcome.cause if isinstance(outcome, (Rejected, Broke)) else None
    kind = AttemptOutcome(type(outcome).__name__.lower())
    return AttemptEnd(kind, cause, seconds, cpu_seconds, peak_memory_bytes, media_seconds)

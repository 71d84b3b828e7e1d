"""What follows from an outcome. Pure: a job and its outcome go in, a decision comes out.

Guarantees: total: every outcome has a decision, and a type checker sees that.
Does not carry the decision out: ``daemon`` does.
Errors: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from watchconv.model import (
    BACKOFF_LIMIT_SECONDS,
    STALES_PER_ATTEMPT,
    Broke,
    Encoded,
    Gone,
    Interrupted,
    Job,
    JobState,
    Outcome,
    Rejected,
    Stale,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class Requeue:
    """Back to the queue."""

    refund: bool
    wait_seconds: float = 0.0
    reason: str | None = None
    report: str = ""  # of the attempt, for the .log if the job was cancelled meanwhile


@dataclass(frozen=True, slots=True)
class Deliver:
    """Move files: the output and the original, or the original and its report."""

    verdict: Verdict
    reason: str | None = None
    report: str | None = None
    made: str | None = None  # the output's name in the attempt's work directory


@dataclass(frozen=True, slots=True)
class Close:
    """End the job without moving anything."""

    state: JobState  # WITHDRAWN or SUPERSEDED


Decision = Requeue | Deliver | Close


def too_restless(job: Job, max_attempts: int) -> Rejected | None:
    """Give up a file that changed under so many attempts that it has none left.

    Asked when it is admitted again: only then is it known as what it is now, and can be moved.
    """
    if job.stale // STALES_PER_ATTEMPT < max_attempts:
        return None
    return Rejected("it changed each time it was converted")


def decide(job: Job, outcome: Outcome, max_attempts: int) -> Decision:
    """Decide what becomes of a job whose attempt ended like this."""
    match outcome:
        case Encoded(outputs):
            return Deliver(Verdict.ENCODED, made=outputs[0].file)
        case Rejected(reason, report, _):
            return Deliver(Verdict.FAILED, reason, report)
        case Broke(reason, report, _):
            if job.attempt < max_attempts:
                return Requeue(False, backoff_seconds(job.attempt), reason, report)
            return Deliver(Verdict.FAILED, reason, report)
        case Interrupted(reason, wait_seconds, report, _):
            return Requeue(True, wait_seconds, reason, report)
        case Stale():
            return Close(JobState.SUPERSEDED)
        case Gone():
            return Close(JobState.WITHDRAWN)
        case _:
            assert_never(outcome)


def backoff_seconds(attempt: int) -> float:
    """Say how long a job waits after its attempt-th failure: 5 s, 30 s, 3 min, 10 min."""
    return min(5.0 * 6.0 ** (attempt - 1), BACKOFF_LIMIT_SECONDS)

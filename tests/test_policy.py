"""What follows from an outcome: every outcome of every job has one decision."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchconv.model import (
    BACKOFF_LIMIT_SECONDS,
    TRANSITIONS,
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
from watchconv.policy import (
    Close,
    Decision,
    Deliver,
    Requeue,
    attempt_end,
    backoff_seconds,
    changed_too_often,
    decide,
    spare_original,
)

JOB = Job(
    id=1,
    source="a.mov",
    size=1,
    mtime_ns=1,
    profile="webm",
    state=JobState.RUNNING,
    attempt=1,
    run=1,
    stale=0,
    not_before=0.0,
    queued_at=1.0,
    started_at=2.0,
    ended_at=None,
    verdict=None,
    original=None,
    reason=None,
    report=None,
    request=None,
)


MADE = (OutputFile("output.webm", ".webm", 1), OutputFile("poster.jpg", ".jpg", 2))
WARNED = (JobWarning(WarningCause.TRACK_LEFT_OUT, "left out: a track"),)
REFUSED = Rejected("no video", "r", Cause.NOT_VIDEO)
STALLED = Broke("it stalled", "r", Cause.STALL)


def again(wait_seconds: float) -> Requeue:
    return Requeue(
        refund=False,
        wait_seconds=wait_seconds,
        wait_reason=WaitReason.BACKOFF,
        reason="it stalled",
        report="r",
    )


def failed(cause: Cause, reason: str) -> Deliver:
    return Deliver(Verdict.FAILED, cause=cause, reason=reason, report="r")


@pytest.mark.parametrize(
    ("attempt", "stale", "outcome", "decision"),
    [
        (1, 0, Encoded(MADE, WARNED), Deliver(Verdict.ENCODED, MADE, warnings=WARNED)),
        (3, 0, Encoded(MADE), Deliver(Verdict.ENCODED, MADE)),
        (1, 0, REFUSED, failed(Cause.NOT_VIDEO, "no video")),
        (1, 0, STALLED, again(5.0)),
        (2, 0, STALLED, again(30.0)),
        (3, 0, STALLED, failed(Cause.STALL, "it stalled")),
        (9, 0, STALLED, failed(Cause.STALL, "it stalled")),
        (1, 0, Interrupted(), Requeue(refund=True)),
        (3, 0, Interrupted(), Requeue(refund=True)),
        (
            3,
            0,
            Interrupted("not mounted", 9.0, "r", WaitReason.UNMOUNTED),
            Requeue(
                refund=True,
                wait_seconds=9.0,
                wait_reason=WaitReason.UNMOUNTED,
                reason="not mounted",
                report="r",
            ),
        ),
        (1, 0, Gone(), Close(JobState.WITHDRAWN)),
        (3, 7, Stale(), Close(JobState.SUPERSEDED)),
    ],
)
def test_an_outcome_has_its_decision(
    attempt: int, stale: int, outcome: Outcome, decision: Decision
) -> None:
    assert decision == decide(replace(JOB, attempt=attempt, stale=stale), outcome, 3)


@pytest.mark.parametrize(
    ("outcome", "kind", "cause"),
    [
        (Encoded(MADE), AttemptOutcome.ENCODED, None),
        (REFUSED, AttemptOutcome.REJECTED, Cause.NOT_VIDEO),
        (STALLED, AttemptOutcome.BROKE, Cause.STALL),
        (Interrupted(), AttemptOutcome.INTERRUPTED, None),
        (Stale(), AttemptOutcome.STALE, None),
        (Gone(), AttemptOutcome.GONE, None),
    ],
)
def test_an_attempt_is_remembered_by_its_outcome(
    outcome: Outcome, kind: AttemptOutcome, cause: Cause | None
) -> None:
    ended = attempt_end(outcome, seconds=2.0, cpu_seconds=3.0, media_seconds=9.0)

    assert ended == AttemptEnd(kind, cause, 2.0, 3.0, None, 9.0)


def test_a_file_that_changes_each_time_fails_in_the_end() -> None:
    ends = [changed_too_often(replace(JOB, stale=stale), 3) for stale in range(10)]

    assert ends[:9] == [None] * 9
    assert ends[9] == Rejected("it changed each time it was converted", cause=Cause.CHANGED)


def test_a_single_attempt_is_the_last() -> None:
    assert decide(JOB, Broke("it stalled", "r", Cause.STALL), 1) == failed(
        Cause.STALL, "it stalled"
    )


def test_the_wait_grows_up_to_its_limit() -> None:

    assert [backoff_seconds(n) for n in range(1, 6)] == [5.0, 30.0, 180.0, 600.0, 600.0]
    assert backoff_seconds(60) == BACKOFF_LIMIT_SECONDS


CAUSES = st.sampled_from(Cause)
OUTCOMES = st.one_of(
    st.just(Encoded(MADE, WARNED)),
    st.builds(Rejected, st.text(max_size=3), st.text(max_size=3), CAUSES),
    st.builds(Broke, st.text(max_size=3), st.text(max_size=3), CAUSES),
    st.sampled_from([Interrupted(), Stale(), Gone()]),
)


@given(OUTCOMES, st.integers(1, 50), st.integers(0, 60), st.integers(1, 20))
def test_every_decision_is_a_change_that_a_running_job_may_make(
    outcome: Outcome, attempt: int, stale: int, max_attempts: int
) -> None:
    match decide(replace(JOB, attempt=attempt, stale=stale), outcome, max_attempts):
        case Requeue() as again:
            to = JobState.QUEUED

            assert again.refund == isinstance(outcome, Interrupted)
            assert again.refund or again.wait_reason is WaitReason.BACKOFF
            assert 0 <= again.wait_seconds <= BACKOFF_LIMIT_SECONDS
        case Deliver(verdict, outputs, cause):
            to = JobState.DELIVERING

            assert (verdict is Verdict.ENCODED) == isinstance(outcome, Encoded) == bool(outputs)
            assert (cause is None) == isinstance(outcome, Encoded)
        case Close(to):
            assert isinstance(outcome, (Stale, Gone))

    assert to in TRANSITIONS[JobState.RUNNING]


def test_each_kind_of_outcome_is_among_the_tried() -> None:

    assert {Encoded, Rejected, Broke, Interrupted, Stale, Gone} == set(get_args(Outcome))


@pytest.mark.parametrize("on_success", OnSuccess)
@pytest.mark.parametrize("is_proven", [True, False])
@pytest.mark.parametrize("verdict", Verdict)
def test_only_what_is_proven_may_cost_the_original(
    verdict: Verdict, is_proven: bool, on_success: OnSuccess
) -> None:
    decision = Deliver(verdict, MADE, warnings=WARNED, is_proven=is_proven)

    chosen, told = spare_original(decision, on_success)

    if verdict is Verdict.ENCODED and not is_proven and on_success is OnSuccess.DELETE:
        assert chosen is OnSuccess.MOVE
        assert [w.cause for w in told.warnings] == [
            WarningCause.TRACK_LEFT_OUT,
            WarningCause.ORIGINAL_KEPT,
        ]
    else:
        assert (chosen, told) == (on_success, decision)


@pytest.mark.parametrize("is_proven", [True, False])
def test_whether_an_output_is_proven_reaches_its_delivery(is_proven: bool) -> None:
    decision = decide(JOB, Encoded(MADE, WARNED, is_proven), 3)

    assert decision == Deliver(Verdict.ENCODED, MADE, warnings=WARNED, is_proven=is_proven)

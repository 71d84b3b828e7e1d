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
    Broke,
    Encoded,
    Gone,
    Interrupted,
    Job,
    JobState,
    Outcome,
    OutputFile,
    Rejected,
    Stale,
    Verdict,
)
from watchconv.policy import (
    Close,
    Decision,
    Deliver,
    Requeue,
    backoff_seconds,
    decide,
    too_restless,
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
    output=None,
    original=None,
    reason=None,
    report=None,
    request=None,
)


@pytest.mark.parametrize(
    ("attempt", "stale", "outcome", "decision"),
    [
        (
            1,
            0,
            Encoded((OutputFile("x.webm", ".webm", 1),)),
            Deliver(Verdict.ENCODED, made="x.webm"),
        ),
        (
            3,
            0,
            Encoded((OutputFile("x.webm", ".webm", 1),)),
            Deliver(Verdict.ENCODED, made="x.webm"),
        ),
        (1, 0, Rejected("no video", "r"), Deliver(Verdict.FAILED, "no video", "r")),
        (1, 0, Broke("it stalled", "r"), Requeue(False, 5.0, "it stalled", "r")),
        (2, 0, Broke("it stalled", "r"), Requeue(False, 30.0, "it stalled", "r")),
        (3, 0, Broke("it stalled", "r"), Deliver(Verdict.FAILED, "it stalled", "r")),
        (9, 0, Broke("it stalled", "r"), Deliver(Verdict.FAILED, "it stalled", "r")),
        (1, 0, Interrupted(), Requeue(refund=True)),
        (3, 0, Interrupted(), Requeue(refund=True)),
        (1, 0, Gone(), Close(JobState.WITHDRAWN)),
        (3, 7, Stale(), Close(JobState.SUPERSEDED)),
    ],
)
def test_an_outcome_has_its_decision(
    attempt: int, stale: int, outcome: Outcome, decision: Decision
) -> None:

    assert decision == decide(replace(JOB, attempt=attempt, stale=stale), outcome, 3)


def test_a_file_that_changes_each_time_fails_in_the_end() -> None:
    ends = [too_restless(replace(JOB, stale=stale), 3) for stale in range(10)]

    assert ends[:9] == [None] * 9
    assert Rejected("it changed each time it was converted") == ends[9]


def test_a_single_attempt_is_no_second_one() -> None:

    assert Deliver(Verdict.FAILED, "broke", "") == decide(JOB, Broke("broke"), 1)


def test_the_wait_grows_up_to_its_limit() -> None:

    assert [backoff_seconds(n) for n in range(1, 6)] == [5.0, 30.0, 180.0, 600.0, 600.0]
    assert backoff_seconds(60) == BACKOFF_LIMIT_SECONDS


OUTCOMES = st.one_of(
    st.builds(Encoded, st.just("o")),
    st.builds(Rejected, st.text(max_size=3), st.text(max_size=3)),
    st.builds(Broke, st.text(max_size=3), st.text(max_size=3)),
    st.sampled_from([Interrupted(), Stale(), Gone()]),
)


@given(OUTCOMES, st.integers(1, 50), st.integers(0, 60), st.integers(1, 20))
def test_every_decision_is_a_change_that_a_running_job_may_make(
    outcome: Outcome, attempt: int, stale: int, max_attempts: int
) -> None:
    match decide(replace(JOB, attempt=attempt, stale=stale), outcome, max_attempts):
        case Requeue(refund, wait_seconds):
            to = JobState.QUEUED

            assert refund == isinstance(outcome, Interrupted)
            assert 0 <= wait_seconds <= BACKOFF_LIMIT_SECONDS
        case Deliver(verdict):
            to = JobState.DELIVERING

            assert (verdict is Verdict.ENCODED) == isinstance(outcome, Encoded)
        case Close(to):
            assert isinstance(outcome, (Stale, Gone))

    assert to in TRANSITIONS[JobState.RUNNING]


def test_each_kind_of_outcome_is_among_the_tried() -> None:

    assert {Encoded, Rejected, Broke, Interrupted, Stale, Gone} == set(get_args(Outcome))

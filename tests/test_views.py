"""The JSON of status and of jobs: fields are only ever added."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from tests.test_policy import JOB, MADE, WARNED
from watchconv.model import Cause, Job, JobState, JobWarning, Savings
from watchconv.views import (
    Present,
    RunningJob,
    Status,
    WaitingFile,
    job_json,
    job_line,
    moment,
    status_json,
    warned_line,
)

ROW = RunningJob(7, "caf\udce9.mov", "webm", 0.5, 2.0, 25.0, 9.0, 4.5)
SAID = Status(4711, 99, "running", waiting=3, ignored=4, running=[ROW], trouble=["no room"])
COUNTS = dict.fromkeys(JobState, 0) | {
    JobState.QUEUED: 2,
    JobState.RUNNING: 1,
    JobState.DELIVERING: 1,
    JobState.DONE: 5,
    JobState.FAILED: 6,
}


def present(
    status: Status | None = SAID, jobs: tuple[Job, ...] = (), *, is_paused: bool = False
) -> Present:
    return Present(status, COUNTS, jobs, Savings(5, 1000, 400), is_paused)


def running(job_id: int) -> Job:
    return replace(JOB, id=job_id)


def test_a_status_has_all_of_its_fields() -> None:
    assert status_json(present(jobs=(running(7),))) == {
        "state": "running",
        "pid": 4711,
        "counts": {
            "waiting": 3,
            "queued": 2,
            "running": 2,
            "done": 5,
            "failed": 6,
            "ignored": 4,
        },
        "running": [
            {
                "id": 7,
                "source": "caf\udce9.mov",
                "profile": "webm",
                "progress": 0.5,
                "speed": 2.0,
                "fps": 25.0,
                "eta_seconds": 9.0,
            }
        ],
        "waiting": [],
        "waiting_files": [],
        "trouble": ["no room"],
        "saved_bytes": 600,
        "warned": 0,
        "warned_jobs": [],
    }


def test_a_status_names_who_waits_for_what_and_since_when() -> None:
    file = WaitingFile("caf\udce9.mov", "incomplete", "it ends too early", time.time() - 60)
    shown = status_json(present(replace(SAID, waiting_files=[file])))
    (row,) = shown["waiting"]

    assert 60 <= row["seconds"] < 600
    assert row == {
        "source": "caf\udce9.mov",
        "cause": "incomplete",
        "reason": "it ends too early",
        "since": moment(file.since),
        "seconds": row["seconds"],
    }
    assert shown["waiting_files"] == [
        {"source": "caf\udce9.mov", "why": "it ends too early", "since": moment(file.since)}
    ]


def test_done_jobs_with_warnings_are_counted_and_the_last_are_named() -> None:
    job = replace(JOB, state=JobState.DONE, warnings=(*WARNED, WARNED[0]))
    shown = status_json(replace(present(), warned=7, last_warned=(job,)))
    text = {"cause": "track-left-out", "text": "left out: a track"}

    assert shown["warned"] == 7
    assert shown["warned_jobs"] == [
        {"id": 1, "source": "a.mov", "profile": "webm", "warnings": [text, text]}
    ]
    assert warned_line(job) == "job 1 [webm] a.mov: left out: a track (and 1 more)"


@pytest.mark.parametrize(
    ("warnings", "begins", "ends"),
    [
        ((), "done       [webm]", "a.mov"),
        (WARNED, "done!      [webm]", "a.mov; 1 warning"),
        (WARNED * 2, "done!      [webm]", "a.mov; 2 warnings"),
    ],
)
def test_a_line_of_jobs_has_a_mark_and_a_count_but_no_sentences(
    warnings: tuple[JobWarning, ...], begins: str, ends: str
) -> None:
    line = job_line(replace(JOB, state=JobState.DONE, warnings=warnings))

    assert begins in line
    assert line.endswith(ends)


@pytest.mark.parametrize(
    ("said", "is_paused", "state"),
    [
        (None, False, "stopped"),
        (None, True, "stopped"),
        ("running", False, "running"),
        ("running", True, "paused"),
        ("paused", False, "running"),  # resumed a moment ago
        ("paused", True, "paused"),
        ("trouble", False, "trouble"),
        ("trouble", True, "trouble"),
    ],
)
def test_the_journal_says_whether_it_is_paused(
    said: str | None, is_paused: bool, state: str
) -> None:
    status = replace(SAID, state=said) if said else None

    assert present(status, is_paused=is_paused).state == state


def test_the_journal_says_what_runs_and_the_daemon_how_far_it_is() -> None:
    rows = present(jobs=(running(9), running(7), running(8))).running

    assert [(row.id, row.progress) for row in rows] == [(7, 0.5), (8, None), (9, None)]
    assert status_json(present(None))["running"] == []


OUTPUTS = tuple(replace(one, name=f"a{one.suffix}") for one in MADE)


def test_a_job_has_all_of_its_fields() -> None:
    job = replace(
        JOB,
        state=JobState.FAILED,
        ended_at=3.5,
        reason="it stalled",
        cause=Cause.STALL,
        warnings=WARNED,
        outputs=OUTPUTS,
        priority=4,
        media_seconds=60.0,
        encode_seconds=12.5,
    )

    assert json.loads(json.dumps(job_json(job))) == {
        "id": 1,
        "source": "a.mov",
        "profile": "webm",
        "state": "failed",
        "attempt": 1,
        "output": "a.webm",
        "reason": "it stalled",
        "queued_at": "1970-01-01T00:00:01.000+00:00",
        "started_at": "1970-01-01T00:00:02.000+00:00",
        "ended_at": "1970-01-01T00:00:03.500+00:00",
        "cause": "stall",
        "warnings": [{"cause": "track-left-out", "text": "left out: a track"}],
        "size": 1,
        "output_size": 3,
        "outputs": ["a.webm", "a.jpg"],
        "priority": 4,
        "media_seconds": 60.0,
        "encode_seconds": 12.5,
    }


def test_a_size_that_is_not_known_is_null() -> None:
    """Older versions did not write it down."""
    unknown = (OUTPUTS[0], replace(OUTPUTS[1], size=0))

    assert job_json(JOB)["output_size"] is None
    assert job_json(replace(JOB, outputs=unknown))["output_size"] is None

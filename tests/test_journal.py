"""The journal on real SQLite files: the queue, its states, and what becomes of a bad file."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from collections import Counter, deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.unprivileged import as_nobody, open_folder
from watchconv.errors import JournalError
from watchconv.journal import requests
from watchconv.journal.database import FILE_NAME, SCHEMA_VERSION
from watchconv.journal.jobs import TRIM_JOBS, Journal
from watchconv.model import (
    BACKOFF_LIMIT_SECONDS,
    OPEN,
    TRANSITIONS,
    AttemptEnd,
    AttemptOutcome,
    Candidate,
    Intent,
    Job,
    JobState,
    JobWarning,
    OnSuccess,
    OutputFile,
    OutputState,
    Request,
    Verdict,
    WaitReason,
    WarningCause,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOW = 1_700_000_000.0
DAY = 86_400.0


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A new journal."""
    opened = Journal(str(tmp_path))
    yield opened
    opened.close()


def clip(source: str = "trip/a.mov", size: int = 7, mtime_ns: int = 11) -> Candidate:
    return Candidate(source, size, mtime_ns, "webm")


def add(journal: Journal, *sources: str) -> list[Job]:
    return journal.add([clip(source) for source in sources or ("trip/a.mov",)], NOW)


def get(journal: Journal, job_id: int) -> Job:
    job = journal.get(job_id)
    assert job
    return job


def claim(journal: Journal, now: float = NOW) -> Job:
    job = journal.claim(now)
    assert job
    return job


STOPPED = AttemptEnd(AttemptOutcome.INTERRUPTED)


def made(name: str, size: int = 5) -> OutputFile:
    return OutputFile(f"output{Path(name).suffix}", Path(name).suffix, size, name=name)


def encoded(*names: str, original: str | None = "a.mov") -> Intent:
    return Intent(Verdict.ENCODED, tuple(map(made, names)), original)


def requeue(
    journal: Journal,
    job_id: int,
    *,
    refund: bool = False,
    not_before: float = 0.0,
    wait_reason: WaitReason | None = None,
    reason: str | None = None,
    ended: AttemptEnd = STOPPED,
) -> Job | None:
    return journal.requeue(
        job_id,
        ended,
        refund=refund,
        not_before=not_before,
        wait_reason=wait_reason,
        reason=reason,
    )


def bring_to(journal: Journal, state: JobState, source: str = "trip/a.mov") -> int:
    """Make a job, and bring it to a state the way the daemon would."""
    (job,) = add(journal, source)
    if state in (JobState.RUNNING, JobState.DELIVERING, JobState.DONE, JobState.FAILED):
        claimed = journal.claim(NOW)
        assert claimed and claimed.id == job.id
    if state in (JobState.DELIVERING, JobState.DONE, JobState.FAILED):
        journal.intend(get(journal, job.id), encoded("o.webm"))
    if state in (JobState.DONE, JobState.FAILED):
        journal.finish(job.id, state, NOW)
    if state is JobState.WITHDRAWN:
        journal.withdraw(job.id, JobState.QUEUED, NOW)
    if state is JobState.SUPERSEDED:
        journal.supersede(job.id, JobState.QUEUED, NOW, stale=False)
    assert get(journal, job.id).state is state
    return job.id


# adding


def test_a_new_job_is_queued_as_it_was_found(journal: Journal) -> None:
    (job,) = add(journal)

    assert (
        Job(
            id=1,
            source="trip/a.mov",
            size=7,
            mtime_ns=11,
            profile="webm",
            state=JobState.QUEUED,
            attempt=0,
            run=0,
            stale=0,
            not_before=0.0,
            queued_at=NOW,
            started_at=None,
            ended_at=None,
            verdict=None,
            original=None,
            reason=None,
            report=None,
            request=None,
        )
        == job
        == journal.get(1)
    )


def test_a_name_has_one_job_however_often_it_is_added(journal: Journal) -> None:
    (first,) = add(journal)

    assert add(journal) == []
    assert journal.add([clip(size=99)], NOW + 1) == []
    assert [job.source for job in add(journal, "trip/a.mov", "b", "b")] == ["b"]
    assert ["b", first.source] == [job.source for job in journal.jobs()]


@pytest.mark.parametrize("state", list(JobState))
def test_a_name_is_free_again_when_its_job_has_ended(journal: Journal, state: JobState) -> None:
    bring_to(journal, state)

    assert (state not in OPEN) == bool(add(journal))


def test_a_kept_original_holds_its_name_until_it_is_released(journal: Journal) -> None:
    job_id = bring_to(journal, JobState.DELIVERING)
    journal.finish(job_id, JobState.DONE, NOW, held=True)

    assert add(journal) == []

    journal.release(job_id)

    assert len(add(journal)) == 1


STRANGE = [
    os.fsdecode(b"caf\xe9/\xff\xfe.mov"),
    "line\nbreak\t.mov",
    "-i.mov",
    "cafe\u0301.mov",
    "caf\u00e9.mov",
    "🎬/中.mov",
    "'; DROP TABLE job; --.mov",
    "x" * 255 + "/" + "y" * 255,
    "/".join(["deep" * 60] * 14),
]


def test_names_are_bytes(journal: Journal) -> None:
    added = add(journal, *STRANGE)

    assert [job.source for job in added] == STRANGE
    assert {job.source: job for job in added} == journal.held(STRANGE)
    assert sorted({os.path.dirname(name) for name in STRANGE}) == sorted(journal.held_counts())

    for _ in added:
        job = claim(journal)
        told = journal.intend(job, encoded(job.source, original=job.source))

        assert told
        assert (job.source, job.source) == (told.output, told.original)


# what the inbox holds


def test_held_names_are_found_and_others_are_not(journal: Journal) -> None:
    a, b = add(journal, "a", "trip/b")
    gone = bring_to(journal, JobState.WITHDRAWN, "gone")

    assert {"a": a, "trip/b": b} == journal.held(["a", "trip/b", "gone", "never"])
    assert journal.held([]) == {}
    assert get(journal, gone).state is JobState.WITHDRAWN


def test_a_folder_is_paged_through_in_order_and_without_its_sub_folders(journal: Journal) -> None:
    names = sorted(f"trip/{n}" for n in range(25))
    add(journal, *reversed(names), "trip/deeper/x", "tri/p", "a", "zebra")
    pages = []
    after = ""
    while page := journal.held_in("trip", after, limit=10):
        pages.append(page)
        after = page[-1]

    assert [names[:10], names[10:20], names[20:]] == pages
    assert journal.held_counts("trip") == {"trip": 25}
    assert journal.held_counts("nowhere") == {}
    assert (journal.held_in("", ""), journal.held_counts("")) == (["a", "zebra"], {"": 2})
    assert journal.held_counts() == {"": 2, "tri": 1, "trip": 25, "trip/deeper": 1}


# claiming


def test_the_oldest_ready_job_is_claimed_and_charged(journal: Journal) -> None:
    add(journal, "a", "b")
    first, second = journal.claim(NOW + 1), journal.claim(NOW + 2)

    assert first and second
    assert (
        first.source,
        first.state,
        first.attempt,
        first.run,
        first.started_at,
    ) == ("a", JobState.RUNNING, 1, 1, NOW + 1)
    assert second.source == "b"
    assert journal.claim(NOW + 3) is None
    assert journal.next_ready_at() is None


def test_why_an_earlier_attempt_failed_is_forgotten_when_another_begins(journal: Journal) -> None:
    """Else it explains whatever ends the job later."""
    add(journal, "a")
    journal.claim(NOW)
    requeue(journal, 1, refund=False, not_before=0, reason="it broke")
    again = journal.claim(NOW + 1)

    assert again
    assert again.reason is None


def test_a_job_in_its_backoff_is_passed_over_until_it_is_due(journal: Journal) -> None:
    add(journal, "a", "b")
    journal.claim(NOW)
    waiting = requeue(journal, 1, refund=False, not_before=NOW + 30, reason="it broke")

    assert waiting
    assert (waiting.state, waiting.attempt, waiting.reason) == (JobState.QUEUED, 1, "it broke")

    second = journal.claim(NOW + 1)

    assert second and second.id == 2
    assert journal.claim(NOW + 29.9) is None
    assert journal.next_ready_at() == NOW + 30

    again = journal.claim(NOW + 30)

    assert again and (again.id, again.attempt) == (1, 2)


def test_a_claim_passes_over_what_waits_or_is_to_be_cancelled(journal: Journal) -> None:
    first, cancelled, second = add(journal, "a.mov", "b.mov", "c.mov")
    journal.claim(NOW)
    requeue(journal, first.id, refund=True, not_before=NOW + 30, reason=None)
    requests.note(journal, cancelled.id, Request.CANCEL)

    assert journal.claim(NOW) == replace(
        second, state=JobState.RUNNING, attempt=1, run=1, started_at=NOW
    )
    assert journal.claim(NOW) is None


def test_a_refund_gives_the_attempt_back_but_never_the_run(journal: Journal) -> None:
    """The run names the work directory: what an orphan still writes is not taken for new work."""
    add(journal)
    for n in range(1, 6):
        journal.claim(NOW)
        job = requeue(journal, 1, refund=True, not_before=0.0, reason=None)

        assert job
        assert (job.attempt, job.run) == (0, n)


@pytest.mark.parametrize("step", [-400 * DAY, -DAY, -3600.0, -900.0, -1.0, 1.0, DAY, 400 * DAY])
def test_a_stepped_clock_stops_no_claim_for_ever(journal: Journal, step: float) -> None:
    add(journal)
    journal.claim(NOW)
    requeue(journal, 1, refund=False, not_before=NOW + BACKOFF_LIMIT_SECONDS, reason=None)

    from_then_on = range(0, int(2 * BACKOFF_LIMIT_SECONDS) + 1, 60)

    assert any(journal.claim(NOW + step + seconds) for seconds in from_then_on)


def test_a_clock_set_back_by_a_day_does_not_hold_a_job_for_a_day(journal: Journal) -> None:
    add(journal)
    journal.claim(NOW)
    requeue(journal, 1, refund=False, not_before=NOW + 5, reason=None)

    assert journal.claim(NOW - DAY)


CLAIM_ALL = """
import sys
from watchconv.journal.jobs import Journal
journal = Journal(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
while job := journal.claim(1.0):
    print(job.id, flush=True)
"""
ADD_ALL = """
import sys
from watchconv.journal.jobs import Journal
from watchconv.model import Candidate
journal = Journal(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for n in range(60):
    for job in journal.add([Candidate(f"{n}.mov", 1, 1, "webm")], 1.0):
        print(job.source, flush=True)
"""
OPEN_NEW = """
import sys
from watchconv.journal.jobs import Journal
print("ready", flush=True)
sys.stdin.readline()
print(sum(Journal(sys.argv[1]).counts().values()))
"""


def race(code: str, state_dir: Path, runners: int = 2) -> list[list[str]]:
    """Run the same code in several processes that begin together; return what each printed."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(state_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        for _ in range(runners)
    ]
    for child in children:
        assert child.stdout and child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin
        child.stdin.write("go\n")
        child.stdin.flush()
    told = [child.communicate(timeout=60)[0] for child in children]

    assert [0] * runners == [child.returncode for child in children], told
    return [text.split() for text in told]


def test_two_processes_never_claim_the_same_job(journal: Journal, tmp_path: Path) -> None:
    jobs = add(journal, *(f"{n}.mov" for n in range(120)))
    one, other = race(CLAIM_ALL, tmp_path)

    assert sorted(job.id for job in jobs) == sorted(map(int, one + other))
    assert journal.counts()[JobState.RUNNING] == 120
    assert {1} == {job.attempt for job in journal.jobs()}


def test_two_processes_never_queue_the_same_name_twice(journal: Journal, tmp_path: Path) -> None:
    one, other = race(ADD_ALL, tmp_path)

    assert sorted(f"{n}.mov" for n in range(60)) == sorted(one + other)
    assert journal.counts()[JobState.QUEUED] == 60


def test_processes_that_open_a_new_journal_together_all_succeed(tmp_path: Path) -> None:
    for n in range(4):
        folder = tmp_path / str(n)
        folder.mkdir()

        assert race(OPEN_NEW, folder, runners=4) == [["0"]] * 4


# states


@pytest.mark.parametrize("to", list(JobState))
@pytest.mark.parametrize("state", list(JobState))
def test_only_a_delivery_is_closed_and_only_as_the_table_says(
    journal: Journal, state: JobState, to: JobState
) -> None:
    job_id = bring_to(journal, state)
    before = journal.get(job_id)
    if to not in TRANSITIONS[JobState.DELIVERING]:
        with pytest.raises(AssertionError):
            journal.finish(job_id, to, NOW)
    elif state is JobState.DELIVERING:
        closed = journal.finish(job_id, to, NOW)

        assert closed and closed.state is to
        return
    else:
        assert journal.finish(job_id, to, NOW) is None

    assert before == journal.get(job_id)


Change = tuple[str, JobState, "Callable[[Journal, Job], Job | None]"]
# these take the state that their caller saw
SEEN: list[Change] = [
    (
        "intend",
        JobState.DELIVERING,
        lambda j, job: j.intend(job, Intent(Verdict.FAILED, original="a", reason="r", report="l")),
    ),
    ("withdraw", JobState.WITHDRAWN, lambda j, job: j.withdraw(job.id, job.state, NOW)),
    (
        "supersede",
        JobState.SUPERSEDED,
        lambda j, job: j.supersede(job.id, job.state, NOW, stale=True),
    ),
]
# and these fit one state only
FIXED: list[tuple[JobState, Change]] = [
    (
        JobState.RUNNING,
        (
            "requeue",
            JobState.QUEUED,
            lambda j, job: requeue(j, job.id),
        ),
    ),
    (
        JobState.FAILED,
        ("retry", JobState.QUEUED, lambda j, job: j.retry(job.id, 1, 1, "webm", NOW)),
    ),
]


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("change", SEEN, ids=lambda change: change[0])
def test_each_change_is_refused_where_the_table_has_none(
    journal: Journal, state: JobState, change: Change
) -> None:
    before = get(journal, bring_to(journal, state))
    _, to, make = change
    if to in TRANSITIONS[state]:
        after = make(journal, before)

        assert after and after.state is to
        return
    with pytest.raises(AssertionError):
        make(journal, before)

    assert before == journal.get(before.id)


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("seen", list(JobState))
@pytest.mark.parametrize("change", SEEN, ids=lambda change: change[0])
def test_a_change_that_comes_too_late_changes_nothing(
    journal: Journal, seen: JobState, state: JobState, change: Change
) -> None:
    """A look found the file gone while a worker claimed its job."""
    before = get(journal, bring_to(journal, state))
    _, to, make = change
    if seen is state or to not in TRANSITIONS[seen]:
        return

    assert make(journal, replace(before, state=seen)) is None
    assert before == journal.get(before.id)


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("case", FIXED, ids=lambda case: case[1][0])
def test_what_fits_one_state_changes_no_other(
    journal: Journal, state: JobState, case: tuple[JobState, Change]
) -> None:
    before = get(journal, bring_to(journal, state))
    fits, (_, to, make) = case
    after = make(journal, before)
    if state is fits:
        assert after and after.state is to
        return

    assert after is None
    assert before == journal.get(before.id)


def test_a_job_that_is_unknown_by_now_is_not_changed(journal: Journal) -> None:
    """Its row was trimmed meanwhile."""
    assert journal.withdraw(99, JobState.QUEUED, NOW) is None
    assert journal.finish(99, JobState.DONE, NOW) is None
    assert list(journal.jobs()) == []


@pytest.mark.parametrize("state", list(JobState))
def test_only_queued_jobs_are_claimed(journal: Journal, state: JobState) -> None:
    job_id = bring_to(journal, state)
    claimed = journal.claim(NOW)

    assert (state is JobState.QUEUED) == (claimed is not None)
    assert claimed is None or claimed.id == job_id


def test_a_delivery_is_intended_retargeted_and_closed(journal: Journal) -> None:
    job_id = bring_to(journal, JobState.RUNNING)
    outputs = (made("a.webm"), made("a.jpg", 2))
    warning = JobWarning(WarningCause.TRACK_LEFT_OUT, "left out: a track \udce9")
    intent = Intent(
        Verdict.ENCODED, outputs, "a.mov", OnSuccess.MOVE, None, "why", "text", (warning,), "{}"
    )
    intended = journal.intend(get(journal, job_id), intent, STOPPED)

    assert intended
    assert intent == Intent(
        Verdict.ENCODED,
        intended.outputs,
        intended.original,
        intended.on_success,
        intended.cause,
        intended.reason,
        intended.report,
        intended.warnings,
        journal.receipt(job_id),
    )
    assert (intended.output, get(journal, job_id)) == ("a.webm", intended)

    moved = journal.retarget(job_id, outputs=["a (2).webm", "a (2).jpg"], original=None)

    assert [one.name for one in moved.outputs] == ["a (2).webm", "a (2).jpg"]
    assert (moved.original, moved.outputs[1].size) == (None, 2)

    done = journal.finish(job_id, JobState.DONE, NOW + 9)

    assert done
    assert (done.state, done.ended_at, done.report) == (JobState.DONE, NOW + 9, None)
    assert {one.state for one in done.outputs} == {OutputState.DELIVERED}
    assert journal.held(["trip/a.mov"]) == {}


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
def test_a_cancel_that_waits_for_its_answer_comes_before_any_other_verdict(
    journal: Journal, state: JobState
) -> None:
    job = get(journal, bring_to(journal, state))  # as a worker has it
    assert requests.note(journal, job.id, Request.CANCEL) is None

    for verdict in (Verdict.ENCODED, Verdict.FAILED):
        assert journal.intend(job, Intent(verdict, original="a.mov")) is None
    assert get(journal, job.id).state is state

    answered = journal.intend(job, Intent(Verdict.CANCELLED, original="a.mov"))

    assert answered
    assert (answered.state, answered.request) == (JobState.DELIVERING, None)


def test_a_file_that_is_gone_withdraws_its_job(journal: Journal) -> None:
    job = journal.withdraw(bring_to(journal, JobState.QUEUED), JobState.QUEUED, NOW + 1)

    assert job
    assert (
        job.state,
        job.ended_at,
        job.reason,
    ) == (JobState.WITHDRAWN, NOW + 1, "the original was taken away")
    assert journal.held(["trip/a.mov"]) == {}


# files that change while they are read


def go_stale(journal: Journal) -> Job:
    """Let the job's original change while it is read, and find the changed file."""
    job = claim(journal)
    journal.supersede(job.id, JobState.RUNNING, NOW, stale=True)
    (new,) = add(journal)
    return new


def test_each_third_stale_in_a_row_is_charged_as_an_attempt(journal: Journal) -> None:
    add(journal)
    counted = [(job.stale, job.attempt) for job in (go_stale(journal) for _ in range(7))]

    assert counted == [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1), (6, 2), (7, 2)]


def test_a_change_while_queued_is_no_stale(journal: Journal) -> None:
    (job,) = add(journal)
    journal.supersede(job.id, JobState.QUEUED, NOW, stale=False)

    assert [new.stale for new in add(journal)] == [0]


def test_another_name_has_a_count_of_its_own(journal: Journal) -> None:
    add(journal)
    go_stale(journal)

    assert [new.stale for new in add(journal, "trip/b.mov")] == [0]


@pytest.mark.parametrize("end", [JobState.DONE, JobState.FAILED, JobState.WITHDRAWN])
def test_only_changes_in_a_row_are_counted(journal: Journal, end: JobState) -> None:
    """Counted over any success, the ninth change in a year would fail a file unconverted."""
    for _ in range(9):
        add(journal)
        go_stale(journal)
        job = claim(journal)
        if end is JobState.WITHDRAWN:
            journal.withdraw(job.id, JobState.RUNNING, NOW)
        else:
            journal.intend(job, encoded("a.webm"))
            journal.finish(job.id, end, NOW)

    assert [(new.stale, new.attempt) for new in add(journal)] == [(0, 0)]


def test_a_success_in_between_ends_the_row_of_stales(journal: Journal) -> None:
    """The same name is dropped every day; it changed under us now and then, years apart."""
    add(journal)
    go_stale(journal)
    go_stale(journal)
    job = claim(journal)
    journal.intend(job, encoded("a.webm"))
    journal.finish(job.id, JobState.DONE, NOW)

    assert [(new.stale, new.attempt) for new in add(journal)] == [(0, 0)]


# what people ask for


@pytest.mark.parametrize("request_", list(Request))
@pytest.mark.parametrize("state", list(JobState))
def test_a_request_is_noted_or_refused_with_a_sentence(
    journal: Journal, state: JobState, request_: Request
) -> None:
    job_id = bring_to(journal, state)
    fits = {
        Request.RETRY: {JobState.FAILED},
        Request.CANCEL: {JobState.QUEUED, JobState.RUNNING},
    }[request_]
    refusal = requests.note(journal, job_id, request_)
    if state in fits:
        assert refusal is None
        assert [(job_id, request_)] == [(job.id, job.request) for job in requests.noted(journal)]
        return

    assert refusal
    assert refusal.startswith(f"job {job_id} is {state}: only a ")
    assert requests.noted(journal) == []


def test_an_unknown_job_is_said_to_be_unknown(journal: Journal) -> None:

    assert requests.note(journal, 7, Request.CANCEL) == "there is no job 7"
    assert journal.get(7) is None


def test_a_job_that_is_to_be_cancelled_is_not_claimed(journal: Journal) -> None:
    add(journal, "a", "b")
    requests.note(journal, 1, Request.CANCEL)
    claimed = journal.claim(NOW)

    assert claimed and claimed.id == 2

    requests.drop(journal, 1)
    claimed = journal.claim(NOW)

    assert claimed and claimed.id == 1


@pytest.mark.parametrize("salvage", [True, False])
def test_a_retry_forgets_the_receipt_and_carries_what_is_to_be_salvaged(
    journal: Journal, salvage: bool
) -> None:
    job_id = bring_to(journal, JobState.RUNNING)
    failed = Intent(Verdict.FAILED, original="a.mov", reason="r", receipt="{}")
    journal.intend(get(journal, job_id), failed)
    journal.finish(job_id, JobState.FAILED, NOW)
    requests.note(journal, job_id, Request.RETRY, salvage=not salvage)
    requests.note(journal, job_id, Request.RETRY, salvage=salvage)

    assert journal.receipt(job_id) == "{}"

    requests.begin_retry(journal, job_id, "trip/a.mov")
    job = journal.retry(job_id, 8, 12, "mp4", NOW)

    assert job
    assert (job.salvage, journal.receipt(job_id)) == (salvage, None)
    assert claim(journal).salvage == salvage
    assert journal.receipt(job_id + 1) is None


def test_a_retry_keeps_id_and_begins_anew(journal: Journal) -> None:
    job_id = bring_to(journal, JobState.FAILED)
    requests.note(journal, job_id, Request.RETRY)

    assert requests.begin_retry(journal, job_id, "trip/a (2).mov")

    job = journal.retry(job_id, 8, 12, "mp4", NOW + 5)

    assert job
    assert (
        Job(
            id=job_id,
            source="trip/a (2).mov",
            size=8,
            mtime_ns=12,
            profile="mp4",
            state=JobState.QUEUED,
            attempt=0,
            run=1,
            stale=0,
            not_before=0.0,
            queued_at=NOW + 5,
            started_at=None,
            ended_at=None,
            verdict=None,
            original=None,
            reason=None,
            report=None,
            request=None,
        )
        == job
    )
    assert {"trip/a (2).mov": job} == journal.held(["trip/a.mov", "trip/a (2).mov"])
    assert journal.held_counts() == {"trip": 1}


def test_a_retry_reserves_only_a_free_name(journal: Journal) -> None:
    job_id = bring_to(journal, JobState.FAILED)
    add(journal)

    assert not requests.begin_retry(journal, job_id, "trip/a.mov")
    assert requests.begin_retry(journal, job_id, "trip/b.mov")
    assert requests.begin_retry(journal, job_id, "trip/b.mov")
    assert add(journal, "trip/b.mov") == []


def test_a_retry_that_has_begun_holds_its_name(journal: Journal) -> None:
    job_id = bring_to(journal, JobState.FAILED)

    assert not requests.has_begun(journal, job_id)
    assert not requests.has_begun(journal, 99)

    requests.begin_retry(journal, job_id, "trip/b.mov")

    assert requests.has_begun(journal, job_id)

    requests.drop(journal, job_id)

    assert not requests.has_begun(journal, job_id)


def test_a_request_that_is_dropped_lets_go_of_the_reserved_name(journal: Journal) -> None:
    job_id = bring_to(journal, JobState.FAILED)
    requests.note(journal, job_id, Request.RETRY)
    requests.begin_retry(journal, job_id, "trip/a.mov")
    requests.drop(journal, job_id)

    assert requests.noted(journal) == []
    assert len(add(journal)) == 1


def test_dropping_a_cancel_keeps_the_name(journal: Journal) -> None:
    job_id = bring_to(journal, JobState.QUEUED)
    requests.note(journal, job_id, Request.CANCEL)
    requests.drop(journal, job_id)

    assert list(journal.held(["trip/a.mov"])) == ["trip/a.mov"]


# the whole


def test_the_history_is_newest_first_and_can_be_narrowed(journal: Journal) -> None:
    add(journal, "a", "b", "c")
    journal.claim(NOW)

    assert [job.source for job in journal.jobs()] == ["c", "b", "a"]
    assert [job.source for job in journal.jobs(JobState.RUNNING)] == ["a"]
    assert [job.source for job in journal.in_state(JobState.QUEUED)] == ["b", "c"]


def real_counts(journal: Journal) -> dict[JobState, int]:
    counted = Counter(JobState(row[0]) for row in journal.read("SELECT state FROM job"))
    return {state: counted[state] for state in JobState}


def test_trim_takes_what_ended_long_ago_and_nothing_else(journal: Journal) -> None:
    for n, state in enumerate(JobState):
        bring_to(journal, state, f"{n}/{state}")
        while journal.claim(NOW):
            pass  # the queue is left empty for the next one
    kept = bring_to(journal, JobState.DELIVERING, "kept")
    journal.finish(kept, JobState.DONE, NOW, held=True)
    add(journal, "fresh")
    fresh = claim(journal)
    journal.withdraw(fresh.id, JobState.RUNNING, NOW + 80 * DAY)

    assert journal.trim(90, NOW + 90 * DAY) == 0
    assert journal.trim(90, NOW + 90 * DAY + 1) == 4
    assert journal.trim(90, NOW + 90 * DAY + 1) == 0

    left = {job.source for job in journal.jobs()}

    assert {"kept", "fresh", "0/queued", "1/running", "2/delivering"} == left
    assert real_counts(journal) == journal.counts()
    assert journal.trim(0, NOW + 1000 * DAY) == 1
    assert {"kept"} == {job.source for job in journal.jobs()} - {
        "0/queued",
        "1/running",
        "2/delivering",
    }


def test_a_long_history_is_trimmed_in_parts(old: Journal) -> None:
    """Whoever waits for the journal has a turn in between."""
    wait = steps(old, lambda: old.trim(0, NOW + DAY))

    assert old.counts()[JobState.DONE] == MANY // 2 - TRIM_JOBS
    assert wait < 1_000_000


def test_settings_are_remembered_and_forgotten(journal: Journal, tmp_path: Path) -> None:
    journal.remember("paused", "yes")
    journal.remember("paused", "still")
    other = Journal(str(tmp_path), create=False)

    assert (other.setting("paused"), other.setting("mounts")) == ("still", None)

    other.remember("paused", None)
    other.close()

    assert journal.setting("paused") is None


def test_what_was_committed_is_there_after_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from watchconv.journal.jobs import Journal\n"
        "from watchconv.model import Candidate\n"
        "journal = Journal(sys.argv[1])\n"
        "journal.add([Candidate('a', 1, 1, 'webm')], 1.0)\n"
        "with journal.writing() as db:\n"
        "    db.execute('DELETE FROM job')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[1], check=False
    )
    journal = Journal(str(tmp_path))

    assert child.returncode == -9
    assert [job.source for job in journal.jobs()] == ["a"]
    assert journal.counts()[JobState.QUEUED] == 1

    journal.close()


def test_a_transaction_counts_as_a_whole_or_not_at_all(journal: Journal) -> None:
    with contextlib.suppress(KeyError), journal.writing() as db:
        db.execute("INSERT INTO setting VALUES ('a', 'b')")
        raise KeyError

    assert journal.setting("a") is None

    journal.remember("a", "c")

    assert journal.setting("a") == "c"


def test_an_error_at_which_sqlite_rolls_back_by_itself_is_told_as_it_is(journal: Journal) -> None:
    """As it does on a full or failing disk."""
    journal.remember("a", "b")
    with pytest.raises(JournalError, match="UNIQUE constraint failed"), journal.writing() as db:
        db.execute("INSERT OR ROLLBACK INTO setting VALUES ('a', 'c')")

    assert journal.setting("a") == "b"


def test_whatever_its_extended_name_a_read_only_journal_is_opened_anew(journal: Journal) -> None:
    error = sqlite3.OperationalError("attempt to write a readonly database")
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY_DBMOVED
    error.sqlite_errorname = "SQLITE_READONLY_DBMOVED"
    with journal.writing() as before:
        pass
    with pytest.raises(JournalError, match="is the state directory writable"), journal.writing():
        raise error
    with journal.writing() as after:
        assert after is not before


def test_a_history_that_is_read_slowly_holds_up_no_checkpoint(journal: Journal) -> None:
    """``watchconv jobs | less``, left open: the log of what was written must not grow for ever."""
    add(journal, *(f"{n}.mov" for n in range(500)))
    reader = Journal(os.path.dirname(journal.path))
    history = reader.jobs()
    first = next(history)
    add(journal, "new.mov")
    busy, _, _ = journal.read("PRAGMA wal_checkpoint(TRUNCATE)")[0]

    assert not busy
    assert [first.id, *(job.id for job in history)] == list(range(500, 0, -1))

    reader.close()


# bad files


def told(state_dir: Path, *, create: bool = True) -> str:
    """Open a journal that cannot be opened or used; return the sentence."""

    def use() -> None:
        with contextlib.closing(Journal(str(state_dir), create=create)) as journal:
            add(journal)
            list(journal.jobs())

    with pytest.raises(JournalError) as caught:
        use()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_journal_that_is_not_there_is_not_made_by_those_who_only_look(tmp_path: Path) -> None:

    assert "does the state directory exist" in told(tmp_path, create=False)
    assert os.listdir(tmp_path) == []


def test_a_state_directory_that_is_not_there_is_named(tmp_path: Path) -> None:

    assert re.match(rf"cannot open the journal {tmp_path}/no/.*exist", told(tmp_path / "no"))


def test_the_journal_of_a_newer_watchconv_is_refused_and_left_alone(tmp_path: Path) -> None:
    Journal(str(tmp_path)).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    before = (tmp_path / FILE_NAME).read_bytes()

    assert (
        f"the journal {tmp_path}/{FILE_NAME} was written by a newer watchconv"
        f" (schema {SCHEMA_VERSION + 1}, this one knows {SCHEMA_VERSION}):"
        " run that version, or name another state"
    ) == told(tmp_path)
    assert before == (tmp_path / FILE_NAME).read_bytes()


def test_a_file_that_is_no_journal_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"this is a letter to my aunt\n" * 400)

    assert "move the file away to begin a new history; no video is in it" in told(tmp_path)


def test_a_damaged_journal_says_what_to_do(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    add(journal, *(f"{n}" * 50 for n in range(300)))
    journal.close()
    with (tmp_path / FILE_NAME).open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (os.path.getsize(tmp_path / FILE_NAME) - 4096))

    assert "move the file away to begin a new history" in told(tmp_path)


def test_an_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()
    journal = Journal(str(tmp_path))

    assert len(add(journal)) == 1

    journal.close()


def test_a_folder_in_the_journals_place_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()

    assert "cannot open the journal" in told(tmp_path)


@pytest.mark.parametrize("name", ["a b", "per%cent?", "#hash", "ü", "caf\udce9"])
def test_a_state_directory_may_have_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    journal = Journal(str(folder))
    add(journal)
    journal.close()

    assert FILE_NAME in os.listdir(folder)
    assert [name] == os.listdir(tmp_path)


def test_a_state_directory_that_cannot_be_written_is_told() -> None:
    with open_folder() as folder:
        folder.chmod(0o555)
        with as_nobody():
            sentence = told(folder)

    assert re.search("state directory.*write there|is the state directory writable", sentence)


def test_a_journal_that_cannot_be_written_is_told() -> None:
    with open_folder() as folder:
        Journal(str(folder)).close()
        (folder / FILE_NAME).chmod(0o444)
        folder.chmod(0o555)
        with as_nobody():
            sentence = told(folder)

    assert re.search("state directory.*write there|is the state directory writable", sentence)


def test_a_disk_that_was_read_only_when_the_journal_was_opened_heals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite opens to read what it cannot open to write, and leaves it at that."""
    Journal(str(tmp_path)).close()
    connect = sqlite3.connect
    with monkeypatch.context() as patch:
        patch.setattr(
            sqlite3, "connect", lambda path, **more: connect(path.replace("=rwc", "=ro"), **more)
        )
        journal = Journal(str(tmp_path))
    with pytest.raises(JournalError, match="is the state directory writable"):
        add(journal, "first")

    assert len(add(journal, "second")) == 1

    journal.close()


@pytest.mark.parametrize("names", [1, 50, 20_000])
def test_a_full_disk_is_told_as_such_and_heals(journal: Journal, names: int) -> None:
    """The file may not grow: SQLite answers as it does on a full disk."""
    add(journal, "first")
    pages = journal.read("PRAGMA page_count")[0][0]
    journal.read(f"PRAGMA max_page_count = {pages}")
    more = ([f"{n}/{k}/{'x' * 100}" for k in range(names)] for n in range(1000))
    with pytest.raises(JournalError, match="is the disk full") as caught:
        deque((add(journal, *some) for some in more), maxlen=0)

    assert str(caught.value).startswith("cannot write the journal ")
    assert real_counts(journal) == journal.counts()

    journal.read("PRAGMA max_page_count = 1000000")

    assert len(add(journal, "after")) == 1


FULL_DISK = """
import subprocess, sys
from watchconv.journal.jobs import Journal
from watchconv.model import Candidate
folder = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", folder], check=True)
journal = Journal(folder)
journal.add([Candidate("first", 1, 1, "webm")], 1.0)
try:
    for n in range(1000):
        journal.add([Candidate(f"{n}/{k}" + "x" * 200, 1, 1, "webm") for k in range(20)], 1.0)
except Exception as error:
    print(type(error).__name__, error)
assert sum(journal.counts().values()) == len(list(journal.jobs())) > 0
print("readable")
"""


def test_a_really_full_disk_is_told_as_such(tmp_path: Path) -> None:
    own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    child = subprocess.run(
        [*own, sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )

    assert re.fullmatch(
        r"JournalError cannot write the journal .*; is the disk full\?\nreadable\n", child.stdout
    )


# many jobs

MANY = 100_000


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    """100,000 queued jobs in one folder, and a few in others."""
    journal = Journal(str(tmp_path_factory.mktemp("crowded")))
    journal.read("PRAGMA synchronous = OFF")
    journal.add([clip(f"big/{n:06}.mov") for n in range(MANY)], NOW)
    journal.add([clip(f"small/{n}.mov") for n in range(5)], NOW)
    yield journal
    journal.close()


def steps(journal: Journal, ask: Callable[[], Any]) -> int:
    """Count SQLite's own steps, in hundreds: they tell a search from a scan, on any machine."""
    ticks: list[int] = []
    with journal.writing() as db:
        db.set_progress_handler(lambda: ticks.append(1), 100)
    ask()
    with journal.writing() as db:
        db.set_progress_handler(None, 0)
    return len(ticks) * 100


FEW: list[tuple[str, int, Callable[[Journal], object]]] = [
    ("held", 50_000, lambda j: j.held([f"big/{n * 7:06}.mov" for n in range(400)])),
    ("claim", 2_000, lambda j: j.claim(NOW)),
    ("counts", 1_000, lambda j: j.counts()),
    ("get", 1_000, lambda j: j.get(70_000)),
    ("add", 5_000, lambda j: j.add([clip("big/new.mov")], NOW)),
    ("request", 2_000, lambda j: requests.note(j, 80_000, Request.CANCEL)),
    ("requested", 2_000, requests.noted),
    ("a small folder's count", 2_000, lambda j: j.held_counts("small")),
    ("a small folder's page", 2_000, lambda j: j.held_in("small", "")),
    ("a page of a big folder", 50_000, lambda j: j.held_in("big", "big/050000.mov")),
    ("the running ones", 5_000, lambda j: j.in_state(JobState.RUNNING)),
    ("the delivering ones", 2_000, lambda j: j.in_state(JobState.DELIVERING)),
    ("nothing to trim", 2_000, lambda j: j.trim(90, NOW)),
]


@pytest.mark.parametrize("case", FEW, ids=lambda case: case[0])
def test_a_question_costs_the_same_however_many_jobs_are_queued(
    crowded: Journal, case: tuple[str, int, Callable[[Journal], object]]
) -> None:
    _, most, ask = case

    assert steps(crowded, lambda: ask(crowded)) <= most


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    """A history of 50,000 jobs, and a few that are queued."""
    journal = Journal(str(tmp_path_factory.mktemp("old")))
    journal.read("PRAGMA synchronous = OFF")
    journal.add([clip(f"{n:06}.mov") for n in range(MANY // 2)], NOW)
    with journal.writing() as db:
        db.execute("UPDATE job SET state = 'done', held = 0, ended_at = ?", (NOW,))
    journal.add([clip(f"new/{n}.mov") for n in range(5)], NOW)
    yield journal
    journal.close()


AFTER_LONG: list[tuple[str, int, Callable[[Journal], object]]] = [
    ("claim", 2_000, lambda j: j.claim(NOW)),
    ("when the next is ready", 2_000, lambda j: j.next_ready_at()),
    ("the delivering ones", 2_000, lambda j: j.in_state(JobState.DELIVERING)),
    ("requested", 2_000, requests.noted),
    ("held counts", 2_000, lambda j: j.held_counts()),
    ("add", 5_000, lambda j: j.add([clip("new/more.mov")], NOW)),
]


@pytest.mark.parametrize("case", AFTER_LONG, ids=lambda case: case[0])
def test_a_question_costs_the_same_however_long_the_history_is(
    old: Journal, case: tuple[str, int, Callable[[Journal], object]]
) -> None:
    _, most, ask = case

    assert steps(old, lambda: ask(old)) <= most


@pytest.mark.parametrize(
    ("own", "running", "queued", "company"),
    [
        (100, [], [], 0),  # the last one
        (100, [100], [], 1),
        (100, [], [100, 100], 2),
        (100, [1000], [], 1),  # the film is there for all of a small one's time
        (1000, [10], [10] * 9, 0.1),  # and for little of it the other way round
        (1000, [500], [250], 0.75),
        (1000, [], [10] * 1000, 10),  # a long queue: the first ones stand for all
        (0, [0], [0], 0),
    ],
)
def test_the_company_of_a_job_is_what_its_sizes_make_of_it(
    journal: Journal, own: int, running: list[int], queued: list[int], company: float
) -> None:
    sizes = [*running, own, *queued]
    journal.add([clip(f"{n}.mov", size) for n, size in enumerate(sizes)], NOW)
    claimed = [claim(journal) for _ in (*running, own)]

    assert journal.company(claimed[-1]) == pytest.approx(company)

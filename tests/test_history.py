"""What the journal remembers besides states, wherever chance leads, and by which index."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_journal import DAY, NOW, STOPPED, add, bring_to, claim, clip, encoded, get, made
from tests.test_journal import journal as journal  # noqa: PLC0414  (a fixture)
from tests.test_journal import requeue as put_back
from watchconv.errors import JournalError
from watchconv.journal import requests
from watchconv.journal.history import TRIM_EVENTS
from watchconv.journal.jobs import Journal
from watchconv.journal.thread import JournalThread
from watchconv.model import (
    AttemptEnd,
    AttemptOutcome,
    Cause,
    EventKind,
    Intent,
    Job,
    JobState,
    OutputState,
    Request,
    Savings,
    Statistic,
    Trouble,
    Verdict,
    WaitReason,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STALLED = AttemptEnd(AttemptOutcome.BROKE, Cause.STALL, 300.0, 200.0, 50_000_000)
WHOLE = AttemptEnd(AttemptOutcome.ENCODED, None, 20.0, 38.0, 60_000_000, 90.0)
FAILED = Intent(Verdict.FAILED, original="a.mov", cause=Cause.STALL, reason="it stalled")


# attempts


def test_the_next_claim_does_not_erase_an_attempt(journal: Journal) -> None:
    before = time.time()
    (job,) = add(journal)
    journal.claim(NOW, engine="local", owner="pid 7")
    put_back(journal, job.id, ended=STALLED, wait_reason=WaitReason.BACKOFF, reason="it stalled")
    journal.claim(NOW + 400, engine="remote", owner="host b")
    running = journal.attempts(job.id)[-1]
    journal.intend(get(journal, job.id), FAILED, STALLED)
    journal.finish(job.id, JobState.FAILED, NOW + 500)
    journal.retry(job.id, 7, 11, "webm", NOW + 600)
    third = claim(journal, NOW + 700)
    journal.intend(third, encoded("a.webm"), WHOLE)
    done = journal.finish(job.id, JobState.DONE, NOW + 720)
    first, second, last = journal.attempts(job.id)

    assert (running.engine, running.owner, running.ended) == ("remote", "host b", None)
    assert (first.run, first.began, first.engine, first.owner) == (1, NOW, "local", "pid 7")
    assert (first.outcome, first.cause, first.seconds) == (AttemptOutcome.BROKE, Cause.STALL, 300)
    assert before <= (first.ended or 0) <= time.time()
    assert (second.run, second.outcome) == (2, AttemptOutcome.BROKE)
    assert (last.run, *astuple(WHOLE)) == (
        3,
        last.outcome,
        last.cause,
        last.seconds,
        last.cpu_seconds,
        last.peak_memory_bytes,
        last.media_seconds,
    )
    assert done
    assert (done.encode_seconds, done.media_seconds) == (20.0, 90.0)  # since the retry
    assert journal.attempts(99) == []


@pytest.mark.parametrize("ended", [STALLED, None], ids=["told", "untold"])
@pytest.mark.parametrize(
    "end",
    [
        lambda j, job, ended: j.intend(job, FAILED, ended),
        lambda j, job, ended: j.withdraw(job.id, job.state, NOW, ended),
        lambda j, job, ended: j.supersede(job.id, job.state, NOW, stale=True, ended=ended),
    ],
    ids=["intend", "withdraw", "supersede"],
)
def test_whatever_ends_a_running_job_ends_its_attempt(
    journal: Journal,
    end: Callable[[Journal, Job, AttemptEnd | None], Job | None],
    ended: AttemptEnd | None,
) -> None:
    job = get(journal, bring_to(journal, JobState.RUNNING))
    assert end(journal, job, ended)
    (attempt,) = journal.attempts(job.id)

    assert attempt.ended is not None
    assert (attempt.outcome, attempt.seconds) == ((ended.outcome, 300.0) if ended else (None, 0.0))


# the order of claims


def test_a_higher_priority_is_claimed_first_then_the_older_job(journal: Journal) -> None:
    add(journal, "a", "b", "c", "d")
    with journal.writing() as db:
        db.execute("UPDATE job SET priority = 5 WHERE id IN (3, 4)")
        db.execute("UPDATE job SET priority = -1 WHERE id = 1")

    assert [claim(journal).id for _ in range(4)] == [3, 4, 2, 1]


def test_a_claim_without_a_ready_job_waits_for_no_other_writer(
    journal: Journal, tmp_path: Path
) -> None:
    bring_to(journal, JobState.RUNNING)
    with contextlib.closing(Journal(str(tmp_path))) as other, other.writing():
        assert journal.claim(NOW) is None


def test_jobs_that_wait_for_a_reason_are_released_and_others_are_not(journal: Journal) -> None:
    add(journal, "a", "b", "c")
    for job_id, reason in ((1, WaitReason.UNMOUNTED), (2, WaitReason.BACKOFF)):
        claim(journal)
        put_back(journal, job_id, not_before=NOW + 300, wait_reason=reason, reason="a sentence")
    claim(journal)

    assert journal.release_delayed(WaitReason.TROUBLE) == 0
    assert journal.release_delayed(WaitReason.UNMOUNTED) == 1
    assert journal.release_delayed(WaitReason.UNMOUNTED) == 0
    again = journal.claim(NOW)
    assert again
    assert (again.id, again.wait_reason, again.reason) == (1, None, None)
    assert journal.claim(NOW) is None
    assert get(journal, 2).wait_reason is WaitReason.BACKOFF


# outputs


def test_outputs_are_delivered_together(journal: Journal) -> None:
    job = get(journal, bring_to(journal, JobState.RUNNING))
    journal.intend(job, encoded("a.webm", "a.jpg"), WHOLE)
    intended = get(journal, job.id)
    done = journal.finish(job.id, JobState.DONE, NOW)

    assert done
    assert intended.outputs == (made("a.webm"), made("a.jpg"))
    assert {one.state for one in done.outputs} == {OutputState.DELIVERED}
    assert next(journal.jobs()) == done


def test_an_output_without_a_name_is_a_bug_and_changes_nothing(journal: Journal) -> None:
    """A constraint of the database would look like a disk in trouble, and be tried again."""
    job = get(journal, bring_to(journal, JobState.RUNNING))
    nameless = replace(made("a.jpg"), name=None)
    with pytest.raises(AssertionError):
        journal.intend(job, Intent(Verdict.ENCODED, (made("a.webm"), nameless)), WHOLE)

    assert get(journal, job.id) == job


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.SUPERSEDED])
def test_outputs_that_were_not_delivered_are_none(journal: Journal, state: JobState) -> None:
    job_id = bring_to(journal, JobState.DELIVERING)
    assert get(journal, job_id).outputs
    if state is JobState.FAILED:
        journal.finish(job_id, state, NOW)
    else:
        journal.supersede(job_id, JobState.DELIVERING, NOW, stale=False)

    assert get(journal, job_id).outputs == ()


# events


def test_events_follow_each_other_and_can_be_read_on(journal: Journal) -> None:
    before = time.time()
    bring_to(journal, JobState.DONE)
    journal.record_trouble(Trouble.SPACE, "no room", NOW, cleared=False)
    add(journal, "b")
    claim(journal)
    put_back(journal, 2, wait_reason=WaitReason.BACKOFF, reason="it stalled")
    journal.record_trouble(Trouble.SPACE, "no room", NOW + 9, cleared=True)
    first = journal.events(0, 3)
    rest = journal.events(first[-1].id, 100)
    state, trouble, cleared = EventKind.STATE, EventKind.TROUBLE, EventKind.CLEARED

    assert [(e.kind, e.job, e.from_state, e.to_state) for e in (*first, *rest)] == [
        (state, 1, None, JobState.QUEUED),
        (state, 1, JobState.QUEUED, JobState.RUNNING),
        (state, 1, JobState.RUNNING, JobState.DELIVERING),
        (state, 1, JobState.DELIVERING, JobState.DONE),
        (trouble, None, None, None),
        (state, 2, None, JobState.QUEUED),
        (state, 2, JobState.QUEUED, JobState.RUNNING),
        (state, 2, JobState.RUNNING, JobState.QUEUED),
        (cleared, None, None, None),
    ]
    assert (rest[1].cause, rest[1].sentence, rest[1].at) == (Trouble.SPACE, "no room", NOW)
    assert (rest[-2].cause, rest[-2].sentence) == ("backoff", "it stalled")
    assert before - 0.01 <= first[0].at <= time.time() + 0.01
    assert journal.events(rest[-1].id, 100) == []


def test_an_id_of_an_event_is_never_given_twice(journal: Journal) -> None:
    """Who reads on after the last one that it saw must not miss the next."""
    bring_to(journal, JobState.DONE)
    last = journal.events(0, 100)[-1].id
    assert journal.trim(1, NOW + 9 * DAY) == 1
    add(journal, "b")

    assert [event.id for event in journal.events(0, 100)] == [last + 1]


def test_what_belongs_to_a_trimmed_job_goes_with_it_and_sums_stay(journal: Journal) -> None:
    bring_to(journal, JobState.DONE)
    kept = bring_to(journal, JobState.DELIVERING, "kept")
    for at in (NOW, NOW + 8 * DAY):
        journal.record_trouble(Trouble.SPACE, "no room", at, cleared=False)
    sums = journal.statistics()

    assert journal.trim(5, NOW + 9 * DAY) == 1
    assert journal.attempts(1) == []
    assert {event.job for event in journal.events(0, 100)} == {kept, None}
    assert [event.at for event in journal.events(0, 100) if event.job is None] == [NOW + 8 * DAY]
    assert journal.read("SELECT job FROM output") == [(kept,)]
    assert len(journal.attempts(kept)) == 1
    assert journal.statistics() == sums != []


def test_old_troubles_are_trimmed_without_any_job(journal: Journal) -> None:
    with journal.writing() as db:
        for _ in range(TRIM_EVENTS + 1):
            db.execute("INSERT INTO event (at, kind) VALUES (1.0, 'trouble')")
    journal.trim(1, NOW)

    assert len(journal.events(0, TRIM_EVENTS)) == 1


# sums


def test_jobs_are_summed_by_day_profile_outcome_and_cause(journal: Journal) -> None:
    add(journal, "a", "b", "c", "d", "e")
    for _ in range(2):
        job = claim(journal, NOW + 10)
        journal.intend(job, encoded(f"{job.source}.webm"), WHOLE)
        journal.finish(job.id, JobState.DONE, NOW + 60)
    broken = claim(journal, NOW + 10)
    put_back(journal, broken.id, ended=STALLED)
    broken = claim(journal, NOW + 1000)
    journal.intend(broken, FAILED, STALLED)
    journal.finish(broken.id, JobState.FAILED, NOW + DAY)
    cancelled = Intent(Verdict.CANCELLED, cause=Cause.CANCELLED)
    journal.intend(get(journal, 4), cancelled)
    journal.finish(4, JobState.FAILED, NOW + 30)
    journal.withdraw(5, JobState.QUEUED, NOW)

    assert journal.statistics() == [
        Statistic("2023-11-14", "webm", "cancelled", Cause.CANCELLED, 1, 7, 0, 0.0, 0.0, 30.0),
        Statistic("2023-11-14", "webm", "done", None, 2, 14, 10, 180.0, 40.0, 20.0),
        Statistic("2023-11-15", "webm", "failed", Cause.STALL, 1, 7, 0, 0.0, 600.0, 10.0),
    ]
    assert journal.savings() == Savings(2, 14, 10)


@pytest.mark.parametrize("now", [1e15, -1e15, 0.0])
def test_a_clock_that_is_out_of_its_mind_keeps_no_job_from_ending(
    journal: Journal, now: float
) -> None:
    job_id = bring_to(journal, JobState.DELIVERING)

    assert journal.finish(job_id, JobState.DONE, now)
    assert len(journal.statistics()) == 1


# wherever chance leads

CAUSES = st.sampled_from([None, Cause.STALL, Cause.NOT_VIDEO])
DEED = st.tuples(st.integers(0, 15), st.integers(0, 7), st.integers(0, 5), CAUSES)


class World:
    """A journal, and what is to be expected of it after each deed."""

    def __init__(self, journal: Journal) -> None:
        self.journal, self.now = journal, NOW
        self.transitions: list[tuple[int, str | None, str]] = []
        self.sums: Counter[tuple[str, Cause | None]] = Counter()
        self.bytes_in = self.bytes_out = 0

    def states(self) -> dict[int, str]:
        return dict(self.journal.read("SELECT id, state FROM job"))

    def do(self, deed: int, which: int, size: int, cause: Cause | None) -> None:
        """Do what the daemon might do; what is refused is tried as well."""
        self.now += 1
        before = self.states()
        job_id = which if which in before else max(before, default=1)
        job = self.journal.get(job_id)
        with contextlib.suppress(AssertionError, JournalError):
            self._deed(deed, which, size, cause, job)
        after = self.states()
        for changed in sorted(after):
            if before.get(changed) != after[changed]:
                self.transitions.append((changed, before.get(changed), after[changed]))
                if after[changed] in ("done", "failed"):
                    self._sum(get(self.journal, changed))
        self.transitions = [seen for seen in self.transitions if seen[0] in after]

    def _deed(self, deed: int, which: int, size: int, cause: Cause | None, job: Job | None) -> None:
        journal, now = self.journal, self.now
        names = [f"{'ab'[size % 2]}/{which}", f"a/{size}"]
        ended = replace(STOPPED, cause=cause, seconds=float(size))
        seen = job.state if job and size else JobState.RUNNING
        outputs = [f"{n}.webm" for n in range(size)]
        failed = Intent(Verdict.FAILED, cause=cause or Cause.FFMPEG)
        intent = failed if size > 3 else encoded(*outputs)
        deeds: list[Callable[[Job], object]] = [
            lambda _: journal.claim(now),
            lambda _: journal.claim(now),
            lambda job: put_back(journal, job.id, refund=size > 2, not_before=now + 5, ended=ended),
            lambda job: journal.intend(job, intent, ended),
            lambda job: journal.intend(job, intent, ended),
            lambda job: journal.finish(job.id, JobState.DONE, now, held=size > 3),
            lambda job: journal.finish(job.id, JobState.FAILED, now),
            lambda job: journal.withdraw(job.id, seen, now, ended if size else None),
            lambda job: journal.supersede(job.id, seen, now, stale=size > 3),
            lambda job: requests.note(journal, job.id, [Request.CANCEL, Request.RETRY][size % 2]),
            lambda job: (
                job.state is JobState.FAILED
                and requests.begin_retry(journal, job.id, names[0])
                and journal.retry(job.id, size, 1, "webm", now)
            ),
            lambda job: journal.release(job.id) if job.ended_at else None,
            lambda _: journal.trim(0.0, now - 9),
        ]
        if job is None or deed >= len(deeds):
            journal.add([clip(name, size=size) for name in names], now)
        else:
            deeds[deed](job)

    def _sum(self, job: Job) -> None:
        self.sums[job.state, job.cause] += 1
        self.bytes_in += job.size
        self.bytes_out += sum(one.size for one in job.outputs)

    def check(self) -> None:
        journal = self.journal
        states = self.states()
        counted = Counter(states.values())
        assert journal.counts() == {state: counted[state] for state in JobState}
        events = [(e.job, e.from_state, e.to_state) for e in journal.events(0, 10_000)]
        assert events == self.transitions
        sums = journal.statistics()
        assert {(s.outcome, s.cause): s.jobs for s in sums} == self.sums
        assert sum(s.input_bytes for s in sums) == self.bytes_in
        assert sum(s.output_bytes for s in sums) == self.bytes_out
        held = journal.read("SELECT source FROM job WHERE held GROUP BY source HAVING count(*) > 1")
        assert held == []
        for job in journal.jobs():
            kinds = {one.state for one in job.outputs}
            expected = {
                JobState.DELIVERING: {OutputState.INTENDED},
                JobState.DONE: {OutputState.DELIVERED},
            }
            assert kinds <= expected.get(job.state, set())
            attempts = journal.attempts(job.id)
            assert [attempt.run for attempt in attempts] == list(range(1, job.run + 1))
            running = [attempt for attempt in attempts if attempt.ended is None]
            assert len(running) == (job.state is JobState.RUNNING)
        left = "SELECT job FROM {} WHERE job NOT IN (SELECT id FROM job)"
        assert [journal.read(left.format(t)) for t in ("output", "attempt", "event")] == [[]] * 3


@settings(max_examples=100, deadline=None)
@given(st.lists(DEED, min_size=20, max_size=60))
def test_what_is_remembered_fits_the_jobs_wherever_chance_leads(
    deeds: list[tuple[int, int, int, Cause | None]],
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(Journal(folder)) as journal,
    ):
        journal.read("PRAGMA synchronous = OFF")
        world = World(journal)
        for deed in deeds:
            world.do(*deed)
        world.check()


# who else uses it


def test_two_connections_of_one_process_write_in_turn(tmp_path: Path) -> None:
    """The scanner has one of its own."""
    many, errors = 150, []

    def scan() -> None:
        with contextlib.closing(Journal(str(tmp_path))) as scanner:
            for n in range(many):
                scanner.add([clip(f"{n}.mov")], NOW)

    def guarded() -> None:
        try:
            scan()
        except BaseException as error:
            errors.append(error)

    with contextlib.closing(Journal(str(tmp_path))) as journal:
        scanner = threading.Thread(target=guarded)
        scanner.start()
        claimed: set[int] = set()
        while scanner.is_alive() or len(claimed) < many:
            if job := journal.claim(NOW):
                claimed.add(job.id)
            elif errors:
                break
        scanner.join()

        assert errors == []
        assert journal.counts()[JobState.RUNNING] == many
        assert len(journal.events(0, 10_000)) == 2 * many


def test_the_thread_answers_both_ways_and_raises_what_the_journal_raises(tmp_path: Path) -> None:
    thread = JournalThread(str(tmp_path))

    async def ask() -> object:
        return await thread.ask(Journal.add, [clip("b")], NOW)

    try:
        (first,) = thread.ask_blocking(Journal.add, [clip("a")], now=NOW)
        assert first.id == 1
        assert asyncio.run(ask())
        with pytest.raises(AssertionError):
            thread.ask_blocking(Journal.finish, 1, JobState.QUEUED, NOW)
    finally:
        thread.close()


def test_no_lazy_answer_leaves_the_thread(tmp_path: Path) -> None:
    """It would read the journal on the thread of whoever goes through it."""
    thread = JournalThread(str(tmp_path))
    try:
        with pytest.raises(TypeError, match="lazy"):
            thread.ask_blocking(Journal.jobs)
        assert thread.ask_blocking(lambda journal: list(journal.jobs())) == []
    finally:
        thread.close()


# by which index

MANY = 200_000


@pytest.fixture(scope="module")
def long_journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    """A history of 200,000 jobs with events and attempts; one in 50,000 is in a rare state."""
    journal = Journal(str(tmp_path_factory.mktemp("long")))
    journal.read("PRAGMA synchronous = OFF")
    with journal.writing() as db:
        db.execute(
            "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < ?)"
            " INSERT INTO job (id, source, folder, size, mtime_ns, profile, state, held, queued_at,"
            " ended_at, priority) SELECT id, CAST('f/' || id AS BLOB), CAST('f' AS BLOB), 1, 1,"
            " 'webm', CASE WHEN id % 50000 > 5 THEN 'done' ELSE"
            " trim(substr('queued    running   deliveringfailed    withdrawn superseded',"
            " id % 50000 * 10 + 1, 10)) END, id % 50000 < 3, ?,"
            " CASE WHEN id % 50000 > 2 THEN ? END, id % 3 FROM n",
            (MANY, NOW, NOW),
        )
        attempt = "INSERT INTO attempt (job, run, engine, owner, began)"
        db.execute(f"{attempt} SELECT id, 0, '', '', 1 FROM job")
    yield journal
    journal.close()


def plans(journal: Journal, ask: Callable[[Journal], object]) -> list[str]:
    """Return how SQLite carries out each statement of a question."""
    said: list[str] = []
    db = journal._db
    db.set_trace_callback(said.append)
    try:
        ask(journal)
    finally:
        db.set_trace_callback(None)
    found = []
    for sql in said:
        if sql.split(maxsplit=1)[0] in ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH"):
            with contextlib.suppress(sqlite3.OperationalError):  # of a trigger
                found += [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
    return found


BY_INDEX: list[tuple[str, str, Callable[[Journal], object]]] = [
    ("claim", "job_claim", lambda j: j.claim(NOW)),
    ("when the next is ready", "job_ready", lambda j: j.next_ready_at()),
    ("in_state queued", "job_state", lambda j: j.in_state(JobState.QUEUED)),
    ("in_state running", "job_state", lambda j: j.in_state(JobState.RUNNING)),
    ("in_state delivering", "job_state", lambda j: j.in_state(JobState.DELIVERING)),
    *[
        (f"jobs {state}", "job_state", lambda j, state=state: list(j.jobs(state)))
        for state in (JobState.FAILED, JobState.WITHDRAWN, JobState.SUPERSEDED)
    ],
    ("newest", "INTEGER PRIMARY KEY", lambda j: next(j.jobs())),
    ("held", "job_held ", lambda j: j.held(["f/1", "f/50000"])),
    ("held_in", "job_held_folder", lambda j: j.held_in("f", "f/2")),
    ("held_counts", "job_held_folder", lambda j: j.held_counts("f")),
    ("add", "job_source", lambda j: j.add([clip("f/7")], NOW)),
    ("release_delayed", "job_waiting", lambda j: j.release_delayed(WaitReason.UNMOUNTED)),
    ("noted", "job_request", requests.noted),
    ("newest_failed", "job_failed_as", lambda j: requests.newest_failed(j, "x")),
    ("nothing to trim", "job_ended", lambda j: j.trim(90, NOW)),
    ("trim", "job_ended", lambda j: j.trim(0, NOW + DAY)),
    ("attempts", "PRIMARY KEY", lambda j: j.attempts(7)),
    ("events", "INTEGER PRIMARY KEY", lambda j: j.events(150_000, 10)),
    ("finish", "INTEGER PRIMARY KEY", lambda j: j.finish(2, JobState.DONE, NOW)),
]


@pytest.mark.parametrize("case", BY_INDEX, ids=lambda case: case[0])
def test_a_question_is_answered_by_an_index(
    long_journal: Journal, case: tuple[str, str, Callable[[Journal], object]]
) -> None:
    _, index, ask = case
    found = plans(long_journal, ask)
    scans = [line for line in found if line.startswith("SCAN ") and "INDEX" not in line]
    tables = ("job", "attempt", "event", "output")

    assert any(index in f"{line} " for line in found), found
    assert [line for line in scans if line.split()[1] in tables] == []
    assert not any("TEMP B-TREE" in line for line in found), found


def test_nothing_of_a_long_journal_is_lost(long_journal: Journal) -> None:
    rows: dict[str, Any] = dict(long_journal.read("SELECT state, count(*) FROM job GROUP BY state"))

    assert long_journal.counts() == {state: rows.get(state, 0) for state in JobState}

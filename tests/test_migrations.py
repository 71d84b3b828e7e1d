"""A journal of any version that was released opens, and is brought up to date or left alone."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.daemon import CHECKOUT, Daemon, Place
from tests.fakes import write_fake
from watchconv.errors import JournalError
from watchconv.journal.database import FILE_NAME, SCHEMA_VERSION
from watchconv.journal.jobs import PAUSED, Journal
from watchconv.journal.schema import MIGRATIONS
from watchconv.model import (
    AttemptOutcome,
    Cause,
    EventKind,
    JobState,
    JobWarning,
    OnSuccess,
    OutputFile,
    OutputState,
    Savings,
    Statistic,
    WaitReason,
    WarningCause,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

FROZEN = {
    int(path.suffixes[-2].removeprefix(".v")): path
    for path in (Path(__file__).parent / "data").glob("journal.v*.sql")
}
STEPS = (
    "ALTER TABLE job ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;;"
    " UPDATE job SET rank = 2 * id;;"
    " CREATE INDEX job_rank ON job (rank)",
    "CREATE TABLE machine (name TEXT PRIMARY KEY);; INSERT INTO machine VALUES ('nas')",
)


class Second(Journal):
    """The journal of a watchconv to come."""

    migrations = (*MIGRATIONS, STEPS[0])


class Third(Journal):
    """And of the one after it."""

    migrations = (*MIGRATIONS, *STEPS)


class Wrong(Journal):
    """One whose last step cannot be carried out."""

    migrations = (*MIGRATIONS, STEPS[0], "INSERT INTO nowhere VALUES (1)")


def thaw(folder: Path, version: int = SCHEMA_VERSION) -> Path:
    """Make a state directory as a watchconv of that version left it."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(folder / FILE_NAME)) as db:
        db.executescript("PRAGMA journal_mode = WAL;" + FROZEN[version].read_text("utf-8"))
    return folder


def dump(path: Path) -> list[str]:
    """Give all that a file holds, its version too."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [f"version {version}", *db.iterdump()]


def tables(path: Path) -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name")
        return [(name, re.sub(r"\s+", " ", sql).strip()) for name, sql in rows]


@contextlib.contextmanager
def opened(kind: type[Journal], folder: Path, *, migrate: bool = True) -> Iterator[Journal]:
    with contextlib.closing(kind(str(folder), migrate=migrate)) as journal:
        yield journal


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return thaw(tmp_path / "state")


# what was released


def test_each_version_that_was_released_is_frozen() -> None:
    assert set(FROZEN) == set(range(1, SCHEMA_VERSION + 1))


@pytest.mark.parametrize("version", FROZEN)
def test_a_journal_of_any_version_opens_and_goes_on(tmp_path: Path, version: int) -> None:
    state = thaw(tmp_path / "old", version)
    with opened(Journal, state) as journal:
        found = {job.source: job.state for job in journal.jobs()}
        counts = journal.counts()
        claimed = journal.claim(10.0**6)
        assert journal.setting(PAUSED) == "1"
    (tmp_path / "new").mkdir()
    Journal(str(tmp_path / "new")).close()

    assert len(found) == sum(counts.values()) == 11
    assert set(found.values()) == set(JobState)
    assert found["caf\udce9 \n.mkv"] is JobState.RUNNING
    assert claimed is not None
    assert tables(state / FILE_NAME) == tables(tmp_path / "new" / FILE_NAME)


def test_the_daemon_takes_up_what_an_earlier_version_left(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos", {"ffmpeg": write_fake(tmp_path / "fake"), "min_free": 0})
    thaw(place.state)
    with Daemon(place) as daemon:
        for name in ("queued.mkv", "running.mkv", "été.mkv"):
            place.wait_for(name, "withdrawn")
        assert place.status()["state"] == "paused"
        assert daemon.stop() == 0


def test_an_original_of_which_an_earlier_version_did_not_say_what_becomes_of_it_stays(
    tmp_path: Path,
) -> None:
    """It was decided by the configuration at the end: by now, that may say delete."""
    state = thaw(tmp_path / "state", 1)
    with contextlib.closing(sqlite3.connect(state / FILE_NAME, isolation_level=None)) as db:
        db.execute("UPDATE job SET state = 'delivering', verdict = 'encoded' WHERE id IN (7, 8)")
        db.execute("UPDATE job SET original = source WHERE id = 8")
    with opened(Journal, state) as journal:
        chosen = {job.id: job.on_success for job in journal.in_state(JobState.DELIVERING)}

    assert chosen == {6: None, 7: OnSuccess.KEEP, 8: OnSuccess.MOVE}


UNMOUNTED = "the file system that holds it, or the outbox, is not mounted"


@pytest.mark.parametrize("version", [1, 2])
def test_what_an_earlier_version_knew_of_outputs_waits_and_failures_is_kept(
    tmp_path: Path, version: int
) -> None:
    state = thaw(tmp_path / "state", version)
    names = (b"a.b/caf\xe9.x/delivering.min.mp4", b"a.b/caf\xe9.x/done (2).webm")
    with contextlib.closing(sqlite3.connect(state / FILE_NAME, isolation_level=None)) as db:
        db.execute(
            "UPDATE job SET state = 'delivering', verdict = 'encoded', output = ? WHERE id = 7",
            names[:1],
        )
        db.execute("UPDATE job SET output = ? WHERE id = 1", names[1:])
        db.execute("UPDATE job SET output = 'lost.webm' WHERE id = 5")
        db.execute("UPDATE job SET reason = ?, not_before = 9e9 WHERE id = 10", (UNMOUNTED,))
        db.execute("UPDATE job SET reason = 'it stalled', not_before = 9e9 WHERE id = 11")
        db.execute(
            "INSERT INTO job (source, folder, size, mtime_ns, profile, state, held, run, queued_at,"
            " started_at, ended_at, verdict) VALUES (x'61', '', 9, 1, 'mp4', 'failed', 0, 1, 1000,"
            " 1500, 90000, 'cancelled')"
        )
    with opened(Journal, state) as journal:
        jobs = {job.id: job for job in journal.jobs()}
        waits = {job.id: job.wait_reason for job in jobs.values() if job.wait_reason}
        causes = {job.id: job.cause for job in jobs.values() if job.cause}
        statistics, savings = journal.statistics(), journal.savings()
        running = [(a.run, a.began, a.ended) for a in journal.attempts(8)]
        assert journal.attempts(1) == []

    intended, delivered = OutputState.INTENDED, OutputState.DELIVERED
    assert jobs[7].outputs == (
        OutputFile("output.mp4", ".mp4", 0, name=os.fsdecode(names[0]), state=intended),
    )
    assert jobs[1].outputs == (
        OutputFile("output.webm", ".webm", 0, name=os.fsdecode(names[1]), state=delivered),
    )
    assert jobs[3].output == "kept.webm"
    assert [job.id for job in jobs.values() if job.outputs] == [7, 3, 1]
    assert waits == {10: WaitReason.UNMOUNTED, 11: WaitReason.BACKOFF}
    assert causes == {12: Cause.CANCELLED}
    assert running == [(2, 2000.0, None)]
    assert statistics == [
        Statistic("1970-01-01", "webm", "done", None, 2, 0, 0, 0.0, 0.0, 2000.0),
        Statistic("1970-01-01", "webm", "failed", None, 1, 115, 0, 0.0, 0.0, 1000.0),
        Statistic("1970-01-02", "mp4", "cancelled", Cause.CANCELLED, 1, 9, 0, 0.0, 0.0, 500.0),
    ]
    assert savings.saved_bytes == 0  # what the outputs of old measured nobody wrote down


def test_a_delivery_that_an_earlier_version_began_saves_nothing_that_is_not_known(
    tmp_path: Path,
) -> None:
    state = thaw(tmp_path / "state", 2)
    with contextlib.closing(sqlite3.connect(state / FILE_NAME, isolation_level=None)) as db:
        db.execute("UPDATE job SET verdict = 'encoded', output = 'a.webm' WHERE id = 6")
    with opened(Journal, state) as journal:
        assert journal.finish(6, JobState.DONE, 5000.0)
        assert journal.savings() == Savings(3, 0, 0)


@pytest.mark.parametrize("version", [3, 4])
def test_the_history_of_a_later_version_is_read(tmp_path: Path, version: int) -> None:
    state = thaw(tmp_path / "state", version)
    with opened(Journal, state) as journal:
        failed, kept, queued = (journal.get(job_id) for job_id in (2, 3, 9))
        attempts = [(a.run, a.outcome, a.cause, a.cpu_seconds) for a in journal.attempts(2)]
        events = journal.events(0, 1000)
        savings = journal.savings()

    assert failed and kept and queued
    assert (failed.cause, failed.encode_seconds) == (Cause.STALL, 25.0)
    assert attempts == [(run, AttemptOutcome.BROKE, Cause.STALL, 25.0) for run in (1, 2)]
    assert kept.warnings == (
        JobWarning(WarningCause.TRACK_LEFT_OUT, "left out: a track of subtitles \udce9"),
    )
    assert (kept.outputs[0].size, kept.media_seconds) == (40, 60.0)
    assert queued.wait_reason is WaitReason.UNMOUNTED
    assert savings == Savings(2, 108 + 108, 80)
    assert [event.kind for event in events[-2:]] == [EventKind.TROUBLE, EventKind.CLEARED]
    assert {event.cause for event in events if event.job == 2} == {None, "backoff", "stall"}


def test_receipts_and_what_is_to_be_salvaged_are_read(tmp_path: Path) -> None:
    """A journal from before them has none, and salvages nothing."""
    found = {}
    for version in (3, 4):
        with opened(Journal, thaw(tmp_path / str(version), version)) as journal:
            receipts = [journal.receipt(job_id) for job_id in (1, 2, 4)]
            found[version] = receipts, [job.id for job in journal.jobs() if job.salvage]

    whole = '{"receipt": 1, "facts_in": {"container": "matroska"}}'
    assert found == {3: ([None] * 3, []), 4: ([whole, '{"receipt": 1}', None], [10])}


# what is to come


def test_a_journal_is_migrated_in_order_and_kept_as_it_was(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = dump(state / FILE_NAME)
    with caplog.at_level(logging.INFO), opened(Third, state) as journal:
        ranks = journal.read("SELECT id, rank FROM job")
        assert journal.read("SELECT name FROM machine") == [("nas",)]
        assert len(list(journal.jobs())) == 11

    copy = state / f"{FILE_NAME}.v{SCHEMA_VERSION}.backup"
    assert [rank for _, rank in ranks] == [2 * job_id for job_id, _ in ranks]
    assert dump(state / FILE_NAME)[0] == f"version {SCHEMA_VERSION + 2}"
    assert dump(copy) == before
    told = f"the journal is now of schema {SCHEMA_VERSION + 2}; as it was, it is in {copy}"
    assert told in caplog.messages
    assert {path.name for path in state.iterdir()} == {FILE_NAME, copy.name}


def test_only_the_steps_that_are_missing_are_carried_out(state: Path) -> None:
    with opened(Second, state) as journal:
        journal.remember("a", "b")
    with opened(Third, state) as journal:
        assert journal.setting("a") == "b"
    with opened(Third, state):
        pass

    names = sorted(path.name for path in state.iterdir())
    copies = [f"{FILE_NAME}.v{SCHEMA_VERSION + more}.backup" for more in (0, 1)]
    assert names == [FILE_NAME, *copies]
    assert dump(state / copies[1])[0] == f"version {SCHEMA_VERSION + 1}"


def test_the_copy_is_a_journal_that_the_older_version_opens(state: Path) -> None:
    with opened(Third, state):
        pass
    newer, ours = SCHEMA_VERSION + 2, SCHEMA_VERSION
    said = rf"newer watchconv \(schema {newer}, this one knows {ours}\)"
    with pytest.raises(JournalError, match=said):
        Journal(str(state), migrate=True)
    (state / f"{FILE_NAME}.v{SCHEMA_VERSION}.backup").replace(state / FILE_NAME)

    with opened(Journal, state) as journal:
        assert len(list(journal.jobs())) == 11


def test_commands_leave_the_journal_of_an_older_version_to_the_daemon(state: Path) -> None:
    """It may be running, with statements that know the tables as they are."""
    before = dump(state / FILE_NAME)
    with pytest.raises(JournalError, match=r"an older watchconv .* the daemon brings it"):
        Third(str(state), create=False)

    assert dump(state / FILE_NAME) == before
    assert not list(state.glob("*.backup*"))


def test_a_new_journal_has_every_step_and_no_copy(tmp_path: Path) -> None:
    with opened(Third, tmp_path, migrate=False) as journal:
        assert journal.read("SELECT name FROM machine") == [("nas",)]

    assert not list(tmp_path.glob("*.backup*"))


@pytest.mark.parametrize("name", ["per%cent?", "#hash", "caf\udce9"])
def test_a_state_directory_of_any_name_is_migrated(tmp_path: Path, name: str) -> None:
    state = thaw(tmp_path / "state").rename(tmp_path / name)
    with opened(Third, state) as journal:
        assert len(list(journal.jobs())) == 11

    assert f"{FILE_NAME}.v{SCHEMA_VERSION}.backup" in os.listdir(state)


# what goes wrong


def test_a_step_that_fails_leaves_the_journal_as_it_was(state: Path) -> None:
    before = dump(state / FILE_NAME)
    with pytest.raises(JournalError, match="no such table: nowhere"):
        Wrong(str(state), migrate=True)

    assert dump(state / FILE_NAME) == before
    with opened(Journal, state) as journal:
        assert len(list(journal.jobs())) == 11


def test_without_a_copy_nothing_is_migrated(state: Path) -> None:
    before = dump(state / FILE_NAME)
    (state / f"{FILE_NAME}.v{SCHEMA_VERSION}.backup" / "in the way").mkdir(parents=True)
    with pytest.raises(JournalError, match=r"for it cannot be copied .*it is as it was"):
        Third(str(state), migrate=True)

    assert dump(state / FILE_NAME) == before


# Dies before the n-th step that it takes: each statement, and each step that is durable.
DIE = """
import os, sqlite3, sys
from tests.test_migrations import Third

left = int(sys.argv[2])


def step():
    global left
    left -= 1
    if left < 0:
        os._exit(9)


def stepping(function):
    return lambda *words: (step(), function(*words))[1]


class Connection(sqlite3.Connection):
    def execute(self, *words):
        step()
        return super().execute(*words)

    def backup(self, *words, **options):
        step()
        return super().backup(*words, progress=lambda *_: step(), pages=1, **options)


connect = sqlite3.connect
sqlite3.connect = lambda *words, **options: connect(*words, factory=Connection, **options)
os.fsync, os.replace, os.unlink = map(stepping, (os.fsync, os.replace, os.unlink))
Third(sys.argv[1], migrate=True).close()
"""


# from the first version on there are many steps: a sample of them will do
@pytest.mark.parametrize(("version", "stride"), [(SCHEMA_VERSION, 1), (1, 7)])
def test_after_a_crash_at_any_step_the_journal_is_of_one_version_and_the_next_start_goes_on(
    tmp_path: Path, version: int, stride: int
) -> None:
    whole = dump(thaw(tmp_path / "before", version) / FILE_NAME)
    with opened(Third, thaw(tmp_path / "after", version)):
        pass
    migrated = dump(tmp_path / "after" / FILE_NAME)
    steps, crashes, ended = 0, 0, 9
    while ended == 9:
        state = thaw(tmp_path / str(steps), version)
        argv = [sys.executable, "-c", DIE, str(state), str(steps)]
        ended = subprocess.run(argv, cwd=CHECKOUT, check=False).returncode
        if ended == 9:
            crashes += 1
            assert dump(state / FILE_NAME) in (whole, migrated)
        with opened(Third, state) as journal:
            assert journal.read("SELECT name FROM machine") == [("nas",)]
            assert len(list(journal.jobs())) == 11
        assert dump(state / f"{FILE_NAME}.v{version}.backup") == whole
        steps += stride

    print(f"\n{crashes} crashes while a journal was migrated")
    assert ended == 0
    assert steps > 20

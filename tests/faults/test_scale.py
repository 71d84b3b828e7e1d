"""Much at once, and much behind it: memory and the cost of a question stay what they are."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import Daemon, Place, drop, most_megabytes, tiny_clip
from tests.fakes import write_fake
from tests.test_journal import steps
from tests.waiting import wait_until
from watchconv.journal import requests
from watchconv.journal.jobs import Journal
from watchconv.model import Candidate, JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

ALL = os.environ.get("WATCHCONV_FAULTS") == "all"
FILES = 10_000 if ALL else 1_000
SECONDS = 1800.0 if ALL else 400.0
MOST_MEGABYTES = 70
SETTINGS: dict[str, Any] = {
    "settle_seconds": 0.5,
    "min_free": 0,
    "nice": 0,
    "ionice": "none",
    "jobs": 4,
}


@pytest.mark.timeout(SECONDS + 60)
def test_thousands_of_files_dropped_at_once_are_all_delivered_in_little_memory(
    tmp_path: Path,
) -> None:
    clip = tiny_clip(tmp_path, "clip.mkv", 0.2).read_bytes()
    program = write_fake(tmp_path / "bin", frames=2)
    place = Place(tmp_path / "videos", {**SETTINGS, "ffmpeg": program})
    staged = place.root / "staged"
    staged.mkdir()
    names = [f"clip {number:05}.mkv" for number in range(FILES // 2)]
    for name in names:
        (staged / name).write_bytes(clip)
    with Daemon(place) as daemon:
        began = time.monotonic()
        staged.rename(place.inbox / "all at once")
        for name in names:
            (place.inbox / name).write_bytes(clip)
        dropped = time.monotonic() - began
        wait_until(lambda: is_over(daemon), SECONDS, place.status)
        took = time.monotonic() - began
        most = most_megabytes(daemon.pid)
        print(f"{FILES} files, dropped in {dropped:.1f} s: {took:.1f} s, at most {most:.1f} MB")

        assert most <= MOST_MEGABYTES
        assert daemon.stop() == 0
    wanted = {*names, *(f"all at once/{name}" for name in names)}
    for folder, suffix in ((place.outbox, ".webm"), (place.done, ".mkv")):
        found = {str(p.relative_to(folder)) for p in folder.rglob(f"*{suffix}")}
        assert found == {name.replace(".mkv", suffix) for name in wanted}
    assert [p for p in place.inbox.rglob("*") if p.is_file()] == []
    assert [p for p in place.error.rglob("*") if p.is_file()] == []


def is_over(daemon: Daemon) -> bool:
    assert daemon.process and daemon.process.poll() is None, daemon.log()
    counts = daemon.place.status()["counts"]
    return bool(counts["done"] + counts["failed"] == FILES)


# a long history

NOW = time.time()
DAY = 86400.0
HISTORY = 1_000_000 if ALL else 100_000
_ROW = (
    "INSERT INTO job (source, folder, size, mtime_ns, profile, state, held, attempt, run,"
    " queued_at, started_at, ended_at, verdict, original)"
    " VALUES (?, ?, 1000, 1000, 'webm', 'done', 0, 1, 1, ?, ?, ?, 'encoded', ?)"
)


def write_history(state: Path, ages: Iterable[float]) -> None:
    """Write the rows of jobs that were done so many days ago."""
    state.mkdir(exist_ok=True)
    journal = Journal(str(state))
    with journal.writing() as db:
        db.executemany(_ROW, (row(number, NOW - days * DAY) for number, days in enumerate(ages)))
        db.execute(
            "INSERT INTO output (job, ordinal, role, file, suffix, name, state) SELECT id, 0,"
            " 'video', CAST('output.webm' AS BLOB), CAST('.webm' AS BLOB), source, 'delivered'"
            " FROM job"
        )
    journal.close()


def row(number: int, ended: float) -> tuple[object, ...]:
    folder = b"trip %d" % (number % 1000)
    source = b"%s/clip %d.mkv" % (folder, number)
    return source, folder, ended - 9, ended - 8, ended, source


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A long history, and a few jobs that are queued."""
    place = Place(tmp_path_factory.mktemp("history") / "videos", SETTINGS)
    write_history(place.state, (number / HISTORY for number in range(HISTORY)))
    journal = Journal(str(place.state))
    journal.add([candidate(f"new/{number}.mkv") for number in range(400)], NOW)
    journal.close()
    return place


def candidate(source: str) -> Candidate:
    return Candidate(source, 1000, 1000, "webm")


@pytest.fixture
def journal(history: Place) -> Iterator[Journal]:
    journal = Journal(str(history.state))
    yield journal
    journal.close()


QUESTIONS: dict[str, Callable[[Journal], object]] = {
    "claim": lambda j: j.claim(NOW),
    "counts": lambda j: j.counts(),
    "held": lambda j: j.held([f"new/{number}.mkv" for number in range(400)]),
    "held counts": lambda j: j.held_counts(),
    "requested": requests.noted,
    "failed": lambda j: list(j.jobs(JobState.FAILED)),
    "newest": lambda j: next(j.jobs()),
    "when the next is ready": lambda j: j.next_ready_at(),
    "nothing to trim": lambda j: j.trim(90, NOW),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_of_the_daemon_reads_the_history(journal: Journal, question: str) -> None:
    # some 60 for each of 400 names; whoever reads the history takes several for each of its rows
    assert steps(journal, lambda: QUESTIONS[question](journal)) <= 40_000


@pytest.mark.timeout(300)
def test_a_claim_and_a_status_take_less_than_50_ms(history: Place, journal: Journal) -> None:
    """They take about 2 ms: the best of several tells it on a busy machine too."""
    claim = best_of(lambda: journal.claim(NOW))
    status = best_of(history.status)
    print(f"{HISTORY} rows: claim {claim * 1000:.2f} ms, status {status * 1000:.2f} ms")

    assert max(claim, status) < 0.05
    assert history.status()["counts"]["done"] == HISTORY


def best_of(deed: Callable[[], object]) -> float:
    def once() -> float:
        began = time.perf_counter()
        deed()
        return time.perf_counter() - began

    return min(once() for _ in range(20))


@pytest.mark.timeout(300)
def test_an_old_history_is_forgotten_in_parts_while_the_work_goes_on(tmp_path: Path) -> None:
    clip = tiny_clip(tmp_path, "clip.mkv", 0.2)
    settings = {**SETTINGS, "ffmpeg": write_fake(tmp_path / "bin", frames=2)}
    place = Place(tmp_path / "videos", {**settings, "keep_history_days": 30})
    old = HISTORY // 2
    write_history(place.state, (31 if number < old else 29 for number in range(HISTORY)))
    drop(clip, place.inbox / "a.mkv")
    with Daemon(place) as daemon:
        wait_until(lambda: f"forgot {old} jobs" in daemon.log(), 240, daemon.log)
        wait_until((place.done / "a.mkv").exists, what=daemon.log)
        waiting_to_be_written = (place.state / "journal.sqlite-wal").stat().st_size

        assert place.status()["counts"]["done"] == HISTORY - old + 1
        assert waiting_to_be_written < 10_000_000  # in one go it would be more
        assert most_megabytes(daemon.pid) <= MOST_MEGABYTES

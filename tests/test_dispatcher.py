"""The dispatcher claims what is ready for a free slot, asks little, and sleeps while it may not."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.parts import BegunAttempt, Bench, until
from watchconv.daemon import dispatcher
from watchconv.errors import EnvironmentTrouble, JournalError
from watchconv.host.folders import Folders
from watchconv.intake.scan import ScanResult
from watchconv.journal.database import Database
from watchconv.journal.jobs import Journal
from watchconv.model import JobState, Rejected, Trouble

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from tests.fakes_destination import FakeDestination
    from watchconv.deliver.destination import DeliverySettings
    from watchconv.model import Intent, Job, OutputFile, Verdict

    Steps = Callable[[Bench], Awaitable[None]]

NO_VIDEO = Rejected("no video")


def with_bench(folder: Path, steps: Steps, **settings: object) -> None:
    async def live() -> None:
        async with Bench(folder, settings) as bench, asyncio.timeout(30):
            await steps(bench)

    asyncio.run(live())


async def rest() -> None:
    """Let what can happen happen."""
    for _ in range(20):
        await asyncio.sleep(0.001)


# how often it asks


class Asked:
    """Counts the questions that cost the journal something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.claims = 0
        self.written: list[str] = []  # by whom
        claim, writing = Journal.claim, Database.writing

        def counted(journal: Journal, now: float) -> Job | None:
            self.claims += 1
            return claim(journal, now)

        @contextlib.contextmanager
        def noted(database: Database) -> Iterator[sqlite3.Connection]:
            self.written.append(sys._getframe(2).f_code.co_name)
            with writing(database) as db:
                yield db

        monkeypatch.setattr(Journal, "claim", counted)
        monkeypatch.setattr(Database, "writing", noted)


def test_one_file_costs_one_claim_and_at_most_one_more_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(monkeypatch)

    async def steps(bench: Bench) -> None:
        await bench.dispatch(2)
        await rest()
        asked.claims, asked.written = 0, []
        (job,) = await bench.add("a.mkv")
        begun = await bench.engine.begun()
        await rest()

        assert asked.claims <= 2
        assert asked.written == ["add", "claim"]

        begun.finish(NO_VIDEO)
        await bench.wait_for(job.id, JobState.FAILED)
        await rest()
        assert asked.claims <= 2
        assert asked.written == ["add", "claim", "_advance", "_advance"]  # intend, finish

    with_bench(tmp_path, steps)


def test_at_rest_it_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)

    async def steps(bench: Bench) -> None:
        await bench.dispatch(2)
        await rest()
        asked.claims, asked.written = 0, []
        await rest()

        assert (asked.claims, asked.written) == (0, [])

    with_bench(tmp_path, steps)


def test_a_hundred_files_cost_a_claim_each_and_one_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(monkeypatch)

    async def steps(bench: Bench) -> None:
        await bench.add(*(f"{n}.mkv" for n in range(100)))
        await bench.dispatch(100)
        for _ in range(100):
            await bench.engine.begun()

        assert asked.written.count("claim") == 100
        assert asked.claims <= 101

    with_bench(tmp_path, steps)


# slots


def test_more_slots_begin_more_and_fewer_take_none_away(tmp_path: Path) -> None:
    async def steps(bench: Bench) -> None:
        await bench.add(*(f"{n}.mkv" for n in range(4)))
        await bench.dispatch(1)
        first = await bench.engine.begun()
        await rest()
        assert len(bench.engine.attempts) == 1

        bench.dispatcher.resize(3)
        second, third = await bench.engine.begun(), await bench.engine.begun()
        bench.dispatcher.resize(1)
        await rest()
        assert first.stops == second.stops == third.stops == []

        first.finish(NO_VIDEO)
        second.finish(NO_VIDEO)
        await rest()
        assert len(bench.engine.attempts) == 3

        third.finish(NO_VIDEO)
        await bench.engine.begun()

    with_bench(tmp_path, steps)


@pytest.mark.parametrize(
    ("jobs", "pressure", "parallel"),
    [
        (1, 0.0, [1]),  # alone: it may have the processors
        (2, 0.0, [2, 2]),
        (3, 0.0, [3, 3, 3]),
        (1, 0.9, [8]),  # others have them
        (2, 0.9, [2, 2]),
    ],
)
def test_an_encode_is_told_how_many_share_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, pressure: float, parallel: list[int]
) -> None:
    monkeypatch.setattr(dispatcher, "processor_pressure", lambda: pressure)
    monkeypatch.setattr(dispatcher, "usable_cpus", lambda: 8)

    async def steps(bench: Bench) -> None:
        await bench.add(*(f"{n}.mkv" for n in range(jobs)))
        await bench.dispatch(jobs)
        for _ in range(jobs):
            await bench.engine.begun()

        assert [found.parallel for found in bench.dispatcher.attempts.values()] == parallel

    with_bench(tmp_path, steps, jobs=3)


def test_an_engine_that_can_do_less_than_is_configured_is_given_no_more(tmp_path: Path) -> None:
    async def steps(bench: Bench) -> None:
        bench.engine.size = 2
        await bench.add(*(f"{n}.mkv" for n in range(4)))
        await bench.dispatch(3)
        await bench.engine.begun()
        await bench.engine.begun()
        await rest()
        assert len(bench.engine.attempts) == 2

    with_bench(tmp_path, steps)


def test_a_slot_is_free_as_soon_as_the_encode_has_ended(tmp_path: Path) -> None:
    """While its output is proven and delivered another encode runs."""

    async def steps(bench: Bench) -> None:
        one, other = await bench.add("a.mkv", "b.mkv")
        await bench.dispatch(1)
        first = await bench.engine.begun()
        first.encoded.set()
        second = await bench.engine.begun()

        assert (first.job.id, second.job.id) == (one.id, other.id)
        assert not first.result.done()
        assert bench.dispatcher.attempts.keys() == {one.id, other.id}

        first.finish(NO_VIDEO)  # its slot is given back once
        await bench.wait_for(one.id, JobState.FAILED)
        await bench.add("c.mkv")
        await rest()
        assert len(bench.engine.attempts) == 2

    with_bench(tmp_path, steps)


def slow_plan(destination: FakeDestination, held: threading.Event) -> Callable[..., Intent]:
    plan = destination.plan

    def wait(
        job: Job, verdict: Verdict, outputs: Sequence[OutputFile], settings: DeliverySettings
    ) -> Intent:
        if job.source == "a.mkv":
            held.wait(30)
        return plan(job, verdict, outputs, settings)

    return wait


def test_a_file_that_is_refused_holds_no_slot_while_it_is_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slots are for ffmpeg; a delivery may have to wait for slow copies."""
    held = threading.Event()

    async def steps(bench: Bench) -> None:
        plan = slow_plan(bench.destination, held)
        monkeypatch.setattr(type(bench.destination), "plan", lambda _, *words: plan(*words))
        bench.worker.ends["a.mkv"] = NO_VIDEO
        refused, _ = await bench.add("a.mkv", "b.mkv")
        await bench.dispatch(1)
        begun = await bench.engine.begun()

        assert begun.job.source == "b.mkv"
        assert await bench.state(refused.id) is JobState.RUNNING

        held.set()
        await bench.wait_for(refused.id, JobState.FAILED)

    with_bench(tmp_path, steps)


def test_an_attempt_that_is_adopted_has_a_slot_and_gives_it_back(tmp_path: Path) -> None:
    async def steps(bench: Bench) -> None:
        job = await bench.claimed("a.mkv")
        running = bench.engine.living[job.id] = BegunAttempt(job)
        bench.dispatcher.adopt(job, running)
        await bench.add("b.mkv")
        await bench.dispatch(1)
        await rest()
        assert bench.engine.attempts == []

        running.finish(NO_VIDEO)
        begun = await bench.engine.begun()
        assert begun.job.source == "b.mkv"
        await bench.wait_for(job.id, JobState.FAILED)
        # its task ends a moment after its row
        await until(lambda: bench.dispatcher.attempts.keys() == {begun.job.id})

    with_bench(tmp_path, steps)


def test_more_attempts_are_adopted_than_there_are_slots(tmp_path: Path) -> None:
    async def steps(bench: Bench) -> None:
        jobs = [await bench.claimed(f"{n}.mkv") for n in range(3)]
        living = [BegunAttempt(job) for job in jobs]
        bench.engine.living.update({begun.job.id: begun for begun in living})
        for job, running in zip(jobs, living, strict=True):
            bench.dispatcher.adopt(job, running)
        await bench.add("new.mkv")
        await bench.dispatch(1)
        for running in living[:2]:
            running.finish(NO_VIDEO)
        await rest()
        assert bench.engine.attempts == []

        living[2].finish(NO_VIDEO)
        await bench.engine.begun()

    with_bench(tmp_path, steps)


# when nothing may be claimed


def test_a_pause_claims_nothing_until_it_is_over(tmp_path: Path) -> None:
    async def steps(bench: Bench) -> None:
        bench.dispatcher.set_paused(True)
        await bench.dispatch(1)
        (job,) = await bench.add("a.mkv")
        await bench.dispatcher.answer()
        await rest()
        assert await bench.state(job.id) is JobState.QUEUED

        bench.dispatcher.set_paused(False)
        await bench.engine.begun()

    with_bench(tmp_path, steps)


def test_a_new_file_warms_the_probe_unless_it_is_paused(tmp_path: Path) -> None:
    async def steps(bench: Bench) -> None:
        bench.dispatcher.take_scan(ScanResult())
        assert bench.worker.counted.warmed == 0
        bench.dispatcher.take_scan(ScanResult(first_seen=1))
        assert bench.worker.counted.warmed == 1
        bench.dispatcher.set_paused(True)
        bench.dispatcher.take_scan(ScanResult(first_seen=1))
        assert bench.worker.counted.warmed == 1

    with_bench(tmp_path, steps)


def test_a_trouble_blocks_until_it_is_cleared(tmp_path: Path) -> None:
    async def steps(bench: Bench) -> None:
        bench.troubles.report(Trouble.FOLDERS, "the inbox is away")
        await bench.dispatch(1)
        (job,) = await bench.add("a.mkv")
        await rest()
        assert await bench.state(job.id) is JobState.QUEUED

        bench.troubles.clear(Trouble.FOLDERS)
        bench.signals.changed(work=True)
        await bench.engine.begun()

    with_bench(tmp_path, steps)


def test_a_trouble_that_only_a_try_can_end_is_tried_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One timer lets it go on; it does not look again and again meanwhile."""
    looked = []

    async def steps(bench: Bench) -> None:
        blocked_seconds = bench.troubles.blocked_seconds

        def noted() -> float | None:
            looked.append(blocked_seconds())
            return looked[-1]

        monkeypatch.setattr(bench.troubles, "blocked_seconds", noted)
        bench.troubles.report(Trouble.ATTEMPT, "ffmpeg is gone", retry_seconds=0.1)
        await bench.add("a.mkv")
        await bench.dispatch(1)
        await bench.engine.begun()

        # the last but one may be early by a hair, as a timer is
        assert 2 <= len(looked) <= 3
        assert looked[0]
        assert looked[-1] == 0
        assert bench.troubles.has(Trouble.ATTEMPT)  # until the try shows that it is over

    with_bench(tmp_path, steps)


def test_a_machine_that_fails_an_attempt_costs_none_and_blocks_the_next(tmp_path: Path) -> None:
    async def steps(bench: Bench) -> None:
        bench.worker.ends["a.mkv"] = EnvironmentTrouble("ffmpeg could not be started")
        job, other = await bench.add("a.mkv", "b.mkv")
        await bench.dispatch(1)
        await until(lambda: bench.troubles.has(Trouble.ATTEMPT))
        after = await bench.wait_for(job.id, JobState.QUEUED)
        await rest()

        assert after.attempt == 0
        assert await bench.state(other.id) is JobState.QUEUED
        assert bench.troubles.sentences == ["ffmpeg could not be started"]

    with_bench(tmp_path, steps)


def test_on_a_full_disk_nothing_is_claimed_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [0]
    monkeypatch.setattr(dispatcher, "SPACE_SECONDS", 0.01)
    monkeypatch.setattr(Folders, "free_bytes", lambda _: free[0])

    async def steps(bench: Bench) -> None:
        await bench.dispatch(1)
        (job,) = await bench.add("a.mkv")
        await until(lambda: bench.troubles.has(Trouble.SPACE))
        await rest()
        assert await bench.state(job.id) is JobState.QUEUED
        assert "min_free" in bench.troubles.sentences[0]
        assert bench.troubles.blocked_seconds() == 0  # what is delivered may make room

        free[0] = 1 << 40
        await bench.engine.begun()
        assert not bench.troubles.has(Trouble.SPACE)
        assert [over for _, _, over in bench.recorded] == [False, True]

    with_bench(tmp_path, steps, min_free="1MiB")


def test_a_journal_that_cannot_be_read_is_trouble_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "JOURNAL_SECONDS", 0.01)
    claim, broken = Journal.claim, [True]

    def fail(journal: Journal, now: float) -> Job | None:
        if broken[0]:
            raise JournalError("the disk is full")
        return claim(journal, now)

    async def steps(bench: Bench) -> None:
        monkeypatch.setattr(Journal, "claim", fail)
        await bench.dispatch(1)
        await bench.add("a.mkv")
        await until(lambda: bench.troubles.sentences == ["the disk is full"])
        broken[0] = False
        await bench.engine.begun()
        assert bench.troubles.sentences == []

    with_bench(tmp_path, steps)


# ends


def test_an_attempt_whose_original_is_gone_is_killed(tmp_path: Path) -> None:
    async def steps(bench: Bench) -> None:
        await bench.add("a.mkv", "b.mkv")
        await bench.dispatch(2)
        first, second = await bench.engine.begun(), await bench.engine.begun()
        bench.dispatcher.take_scan(ScanResult(taken_away=[first.job.id, 77]))

        assert first.stops == [True]
        assert second.stops == []

    with_bench(tmp_path, steps)


def test_a_stop_lets_attempts_finish_within_the_grace_and_claims_no_more(tmp_path: Path) -> None:
    async def steps(bench: Bench) -> None:
        job, other = await bench.add("a.mkv", "b.mkv")
        await bench.dispatch(1)
        begun = await bench.engine.begun()
        closing = asyncio.create_task(bench.dispatcher.close(30))
        await rest()
        begun.finish(NO_VIDEO)

        assert await closing
        assert begun.stops == []
        await bench.wait_for(job.id, JobState.FAILED)
        assert await bench.state(other.id) is JobState.QUEUED

    with_bench(tmp_path, steps)


def test_a_stop_ends_what_outlasts_the_grace_and_then_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "STOP_SECONDS", 0.02)

    async def steps(bench: Bench) -> None:
        await bench.add("a.mkv")
        await bench.dispatch(1)
        begun = await bench.engine.begun()

        assert not await bench.dispatcher.close(0.01)
        assert begun.stops == [False, True]

    with_bench(tmp_path, steps)


def test_a_second_signal_kills_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "STOP_SECONDS", 0.02)

    async def steps(bench: Bench) -> None:
        await bench.add("a.mkv")
        await bench.dispatch(1)
        begun = await bench.engine.begun()
        closing = asyncio.create_task(bench.dispatcher.close(3600))
        await rest()
        assert begun.stops == []
        bench.signals.force_exit.set()
        await closing

        assert set(begun.stops) == {True}

    with_bench(tmp_path, steps)


def test_a_bug_in_a_worker_is_told(tmp_path: Path) -> None:
    async def steps(bench: Bench) -> None:
        bench.worker.ends["a.mkv"] = ZeroDivisionError("a bug")
        await bench.add("a.mkv")
        await bench.dispatch(1)
        with pytest.raises(ZeroDivisionError):
            await bench.signals.bug
        await until(lambda: not bench.dispatcher.attempts)

    with_bench(tmp_path, steps)

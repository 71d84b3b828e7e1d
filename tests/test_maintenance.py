"""What an earlier daemon left is taken up, mounts are remembered, history is forgotten."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from tests.parts import BegunAttempt, Bench, answered, until
from watchconv.daemon.maintenance import CRASHED, maintain, recover
from watchconv.journal.jobs import MOUNTS, Journal
from watchconv.model import AttemptOutcome, Cause, JobState, Rejected, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from watchconv.host.folders import Folders


async def recovered(bench: Bench) -> None:
    await recover(bench.context, bench.engine, bench.dispatcher, bench.deliveries)


def test_a_job_that_was_running_is_queued_again_and_its_attempt_is_charged(tmp_path: Path) -> None:
    async def live() -> None:
        async with Bench(tmp_path, {"max_attempts": 2}) as bench:
            job = await bench.claimed("a.mkv")
            await recovered(bench)
            after = await bench.journal.ask(Journal.get, job.id)
            (attempt,) = await bench.journal.ask(Journal.attempts, job.id)

            assert after
            assert (after.state, after.attempt, after.not_before) == (JobState.QUEUED, 1, 0.0)
            assert (attempt.outcome, attempt.cause) == (AttemptOutcome.CRASHED, Cause.CRASHED)

    asyncio.run(live())


def test_a_job_that_took_the_daemon_down_each_time_is_failed(tmp_path: Path) -> None:
    async def live() -> None:
        async with Bench(tmp_path, {"max_attempts": 1}) as bench:
            job = await bench.claimed("a.mkv")
            await recovered(bench)
            after = await bench.wait_for(job.id, JobState.FAILED)

            assert (after.verdict, after.cause) == (Verdict.FAILED, Cause.CRASHED)
            assert after.reason == CRASHED
            assert {"error/a.mkv", "error/a.mkv.log"} == set(bench.destination.files)
            assert bench.deliveries.failed == 1

    asyncio.run(live())


def test_an_attempt_that_lives_on_is_taken_over(tmp_path: Path) -> None:
    """However many it was: it is no crash."""

    async def live() -> None:
        async with Bench(tmp_path, {"max_attempts": 1}) as bench:
            job = await bench.claimed("a.mkv")
            running = bench.engine.living[job.id] = BegunAttempt(job)
            await recovered(bench)

            assert bench.dispatcher.attempts[job.id].running is running
            assert await bench.state(job.id) is JobState.RUNNING

            running.finish(Rejected("no video"))
            after = await bench.wait_for(job.id, JobState.FAILED)
            assert after.reason == "no video"
            assert bench.engine.attempts == []

    asyncio.run(live())


def test_a_delivery_that_was_under_way_is_left_to_deliveries(tmp_path: Path) -> None:
    async def live() -> None:
        async with Bench(tmp_path) as bench:
            job = await bench.claimed("a.mkv")
            settings = bench.config.on_success
            assert settings
            intent = bench.destination.plan(job, Verdict.FAILED, (), None)  # type: ignore[arg-type]
            assert await bench.journal.ask(Journal.intend, job, intent)
            await recovered(bench)

            assert await bench.state(job.id) is JobState.DELIVERING
            assert not bench.deliveries.tasks

            bench.start(bench.deliveries.run())
            await bench.wait_for(job.id, JobState.FAILED)

    asyncio.run(live())


POINTS = {"/mnt/disk": "/mnt/disk"}


def test_the_mounts_of_before_are_remembered_at_the_start(tmp_path: Path) -> None:
    async def live() -> None:
        async with Bench(tmp_path) as bench:
            inbox = bench.config.inbox
            await bench.journal.ask(Journal.remember, MOUNTS, json.dumps({inbox: inbox}))
            await recovered(bench)

            assert bench.folders.remembered()[inbox] == inbox
            assert "not mounted" in str(bench.folders.check(bench.config.state).problems)

    asyncio.run(live())


def stand_in(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Have folders remember what is in a dictionary of ours."""
    points: dict[str, str] = {}
    monkeypatch.setattr(folders.__class__, "remembered", lambda _: dict(points))
    monkeypatch.setattr(folders.__class__, "forget", lambda _: points.clear())
    return points


def test_mounts_that_are_learnt_are_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live() -> None:
        async with Bench(tmp_path) as bench:
            points = stand_in(bench.folders, monkeypatch)
            points.update(POINTS)
            written: list[str | None] = []
            remember = Journal.remember

            def note(journal: Journal, name: str, value: str | None) -> None:
                written.append(value)
                remember(journal, name, value)

            monkeypatch.setattr(Journal, "remember", note)
            bench.start(maintain(bench.context))
            await until(lambda: written)
            for _ in range(3):
                bench.signals.mounts_learnt.set()
                await until(lambda: not bench.signals.mounts_learnt.is_set())
                kept = await bench.journal.ask(Journal.setting, MOUNTS)
                assert json.loads(kept or "") == POINTS
            assert len(written) == 1

            points["/mnt/other"] = "/mnt/other"
            bench.signals.mounts_learnt.set()
            await until(lambda: len(written) == 2)

    asyncio.run(live())


def test_mounts_that_a_person_forgets_are_forgotten_and_everything_is_scanned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live() -> None:
        async with Bench(tmp_path) as bench:
            points = stand_in(bench.folders, monkeypatch)
            points.update(POINTS)
            bench.start(maintain(bench.context))
            await answered(lambda: bench.journal.ask(Journal.setting, MOUNTS))
            assert not bench.request.everything.is_set()
            await bench.journal.ask(Journal.remember, MOUNTS, None)
            bench.signals.mounts_learnt.set()
            await until(lambda: not points)
            await until(bench.request.everything.is_set)

            points["/mnt/new"] = "/mnt/new"  # what the scan finds is remembered again
            bench.signals.mounts_learnt.set()
            kept = await answered(lambda: bench.journal.ask(Journal.setting, MOUNTS))
            assert json.loads(kept or "") == {"/mnt/new": "/mnt/new"}

    asyncio.run(live())


def test_jobs_that_ended_long_ago_are_forgotten(tmp_path: Path) -> None:
    async def live() -> None:
        async with Bench(tmp_path, {"keep_history_days": 1}) as bench:
            old, new, queued = await bench.add("old.mkv", "new.mkv", "queued.mkv")
            long_ago = time.time() - 2 * 86400
            for job, when in ((old, long_ago), (new, time.time())):
                await bench.journal.ask(Journal.withdraw, job.id, JobState.QUEUED, when)
            bench.start(maintain(bench.context))

            async def is_forgotten() -> bool:
                return await bench.journal.ask(Journal.get, old.id) is None

            await answered(is_forgotten)

            assert await bench.state(new.id) is JobState.WITHDRAWN
            assert await bench.state(queued.id) is JobState.QUEUED

    asyncio.run(live())

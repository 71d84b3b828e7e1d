"""Deliveries: what is committed is carried out once, in the background, until it is done."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.parts import Bench, answered, until
from watchconv.daemon import deliveries
from watchconv.daemon.deliveries import AT_ONCE
from watchconv.deliver.destination import DeliveryResult, DeliverySettings
from watchconv.errors import JournalError
from watchconv.journal import requests
from watchconv.journal.jobs import Journal
from watchconv.model import (
    Broke,
    Cause,
    Encoded,
    Interrupted,
    JobState,
    JobWarning,
    OutputFile,
    Rejected,
    Request,
    Trouble,
    Verdict,
    WarningCause,
)
from watchconv.policy import Deliver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from tests.fakes_destination import FakeDestination
    from watchconv.deliver.destination import DeliveryOrder
    from watchconv.model import Job, Outcome

MANY = 5 * AT_ONCE
SAID = "what ffmpeg said"


def with_bench(
    folder: Path,
    steps: Callable[[Bench], Awaitable[None]],
    settings: Mapping[str, object] | None = None,
) -> None:
    async def live() -> None:
        async with Bench(folder, settings) as bench, asyncio.timeout(60):
            await steps(bench)

    asyncio.run(live())


async def delivering(bench: Bench, many: int) -> list[Job]:
    """Give jobs that are to be delivered, as an earlier daemon left them."""
    settings = DeliverySettings.of(bench.config)
    await bench.add(*(f"{n}.mkv" for n in range(many)))
    found = []
    for _ in range(many):
        job = await bench.journal.ask(Journal.claim, time.time())
        assert job
        intent = bench.destination.plan(job, Verdict.FAILED, (), settings)
        after = await bench.journal.ask(Journal.intend, job, intent)
        assert after
        found.append(after)
    return found


async def begin_one(bench: Bench) -> Job:
    """Begin the delivery of one job."""
    (job,) = await delivering(bench, 1)
    await bench.deliveries.begin(job)
    return job


class Noted:
    """Stands between deliveries and a destination: notes who is at work, and holds them up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, destination: FakeDestination) -> None:
        self.began: list[int] = []
        self.at_work: set[int] = set()
        self.most, self.doubled = 0, 0
        self.open = threading.Event()  # the gate
        self.open.set()
        self.fails = 0  # so many tries
        self._lock = threading.Lock()
        monkeypatch.setattr(type(destination), "deliver", self._wrap(type(destination).deliver))

    def _wrap(self, deliver: Callable[..., DeliveryResult]) -> Callable[..., DeliveryResult]:
        def noted(
            destination: FakeDestination, order: DeliveryOrder, retarget: object
        ) -> DeliveryResult:
            with self._lock:
                self.began.append(order.job_id)
                self.doubled += order.job_id in self.at_work
                self.at_work.add(order.job_id)
                self.most = max(self.most, len(self.at_work))
            try:
                assert self.open.wait(60)
                with self._lock:
                    if self.fails:
                        self.fails -= 1
                        raise OSError(errno.EACCES, "Permission denied", "a.mkv")
                    return deliver(destination, order, retarget)
            finally:
                with self._lock:
                    self.at_work.discard(order.job_id)

        return noted


def test_no_delivery_is_carried_out_twice_however_often_it_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(bench: Bench) -> None:
        noted = Noted(monkeypatch, bench.destination)
        jobs = await delivering(bench, MANY)
        bench.start(bench.deliveries.run())  # takes up what is DELIVERING

        async def begin_all() -> None:
            for job in jobs:
                await bench.deliveries.begin(job, again=True)

        await asyncio.gather(begin_all(), begin_all())
        for job in jobs:
            await bench.wait_for(job.id, JobState.FAILED)
        assert await bench.deliveries.finish(60)

        assert noted.doubled == 0
        assert Counter(noted.began) == Counter(job.id for job in jobs)
        assert bench.deliveries.failed == MANY
        assert noted.most <= AT_ONCE

    with_bench(tmp_path, steps)


def test_a_second_signal_does_not_wait_for_deliveries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(bench: Bench) -> None:
        noted = Noted(monkeypatch, bench.destination)
        noted.open.clear()
        await begin_one(bench)
        await until(lambda: noted.at_work)
        ending = asyncio.create_task(bench.deliveries.finish(3600))
        await asyncio.sleep(0)
        bench.signals.force_exit.set()

        assert not await ending

        noted.open.set()
        bench.signals.force_exit.clear()
        assert await bench.deliveries.finish(60)

    with_bench(tmp_path, steps)


def test_a_stop_waits_for_deliveries_no_longer_than_the_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(bench: Bench) -> None:
        noted = Noted(monkeypatch, bench.destination)
        noted.open.clear()
        await begin_one(bench)

        assert not await bench.deliveries.finish(0.01)

        noted.open.set()
        assert await bench.deliveries.finish(60)

    with_bench(tmp_path, steps)


def test_what_cannot_be_delivered_is_trouble_and_tried_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "RETRY_SECONDS", 0.01)

    async def steps(bench: Bench) -> None:
        noted = Noted(monkeypatch, bench.destination)
        noted.fails = 3
        bench.start(bench.deliveries.run())
        job = await begin_one(bench)
        await until(lambda: bench.deliveries.stuck)
        assert bench.troubles.has(Trouble.DELIVERY)
        (sentence,) = bench.troubles.sentences
        assert f"job {job.id} (0.mkv) cannot be delivered yet: Permission denied" in sentence
        assert bench.troubles.blocked_seconds() == 0

        await bench.wait_for(job.id, JobState.FAILED)
        await until(lambda: not bench.troubles.sentences)
        assert len(noted.began) == 4
        assert bench.deliveries.stuck == 0

    with_bench(tmp_path, steps)


def test_what_is_stuck_is_tried_again_when_a_folder_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(bench: Bench) -> None:
        noted = Noted(monkeypatch, bench.destination)
        noted.fails = 1
        bench.start(bench.deliveries.run())
        job = await begin_one(bench)
        await until(lambda: bench.deliveries.stuck)
        bench.signals.retry_deliveries.set()
        await bench.wait_for(job.id, JobState.FAILED)

    with_bench(tmp_path, steps)


def test_a_row_that_was_read_long_ago_is_not_delivered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(bench: Bench) -> None:
        noted = Noted(monkeypatch, bench.destination)
        job = await begin_one(bench)
        await bench.wait_for(job.id, JobState.FAILED)
        await until(lambda: not bench.deliveries.tasks)
        await bench.deliveries.begin(job, again=True)
        await until(lambda: not bench.deliveries.tasks)

        assert noted.began == [job.id]
        assert bench.deliveries.failed == 1

    with_bench(tmp_path, steps)


def test_a_decision_is_kept_until_the_journal_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "JOURNAL_SECONDS", 0.01)
    intend, left = Journal.intend, [3]

    def fail(journal: Journal, *arguments: object) -> Job | None:
        if left[0]:
            left[0] -= 1
            raise JournalError("the disk is full")
        return intend(journal, *arguments)  # type: ignore[arg-type]

    async def steps(bench: Bench) -> None:
        monkeypatch.setattr(Journal, "intend", fail)
        job = await bench.claimed("a.mkv")
        decision = Deliver(Verdict.FAILED, cause=Cause.NOT_VIDEO, reason="no video")

        assert await bench.deliveries.conclude(job, decision, None)
        after = await bench.wait_for(job.id, JobState.FAILED)
        assert (after.cause, after.reason) == (Cause.NOT_VIDEO, "no video")
        assert left == [0]
        assert bench.troubles.sentences == []

    with_bench(tmp_path, steps)


ENDS = [
    Interrupted(wait_seconds=60.0, report=SAID),
    Broke("it failed", SAID),
    Rejected("no video", SAID),
    Encoded((OutputFile("output.mkv", ".mkv", 1),)),
]


@pytest.mark.parametrize("outcome", ENDS, ids=lambda outcome: type(outcome).__name__)
def test_a_cancel_that_comes_when_an_attempt_has_just_ended_is_carried_out(
    tmp_path: Path, outcome: Outcome
) -> None:
    """No worker takes a job with a request, and nobody looks at one in the queue again."""

    async def steps(bench: Bench) -> None:
        await bench.dispatch(1)
        (job,) = await bench.add("a.mkv")
        begun = await bench.engine.begun()
        assert await bench.journal.ask(requests.note, job.id, Request.CANCEL) is None
        begun.finish(outcome)
        after = await bench.wait_for(job.id, JobState.FAILED)

        assert (after.verdict, after.reason, after.request) == (
            Verdict.CANCELLED,
            "cancelled",
            None,
        )
        assert bench.destination.files.keys() == {"error/a.mkv", "error/a.mkv.log"}
        text, _ = bench.destination.files["error/a.mkv.log"]
        assert (SAID in text.decode()) == (not isinstance(outcome, Encoded))

    with_bench(tmp_path, steps)


def test_a_job_that_is_cancelled_twice_is_delivered_once(tmp_path: Path) -> None:
    async def steps(bench: Bench) -> None:
        (job,) = await bench.add("a.mkv")
        await asyncio.gather(bench.deliveries.cancel(job), bench.deliveries.cancel(job))
        await bench.wait_for(job.id, JobState.FAILED)

        assert bench.deliveries.failed == 1

    with_bench(tmp_path, steps)


def test_a_bug_in_a_delivery_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps(bench: Bench) -> None:
        def fail(*_: object) -> DeliveryResult:
            raise ZeroDivisionError

        monkeypatch.setattr(type(bench.destination), "deliver", fail)
        await begin_one(bench)
        with pytest.raises(ZeroDivisionError):
            await bench.signals.bug

    with_bench(tmp_path, steps)


def test_work_that_nobody_needs_is_swept_at_the_start_and_when_a_folder_is_back(
    tmp_path: Path,
) -> None:
    async def steps(bench: Bench) -> None:
        (job,) = await bench.add("a.mkv")
        left = bench.work.make(77, 1, "/a.mkv")
        bench.work.make(job.id, 1, "/a.mkv")
        bench.start(bench.deliveries.run())

        async def is_swept() -> bool:
            return not await asyncio.to_thread(os.path.exists, left)

        await answered(is_swept)

    with_bench(tmp_path, steps)


@pytest.mark.parametrize("is_proven", [True, False])
def test_an_original_is_deleted_for_a_proven_output_only_and_warnings_are_logged(
    is_proven: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = JobWarning(WarningCause.TRACK_LEFT_OUT, "audio track 2 is left out: it is empty")

    async def steps(bench: Bench) -> None:
        await bench.dispatch(1)
        (job,) = await bench.add("a.mkv")
        begun = await bench.engine.begun()
        bench.destination.files[f"work/{job.id}/1/output.mkv"] = (b"made", 0)
        begun.finish(Encoded((OutputFile("output.mkv", ".mkv", 4),), (left,), is_proven))
        job = await bench.wait_for(job.id, JobState.DONE)

        there = {"outbox/a.mkv"} if is_proven else {"outbox/a.mkv", "done/a.mkv"}
        assert set(bench.destination.files) == there
        causes = [warning.cause for warning in job.warnings]
        assert causes == [left.cause, *[WarningCause.ORIGINAL_KEPT] * (not is_proven)]
        said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert said == [f"job={job.id} profile=webm {warning.text}" for warning in job.warnings]

    with_bench(tmp_path, steps, {"on_success": "delete"})

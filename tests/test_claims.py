"""When jobs are claimed, and how seldom it is tried while none may be."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from watchconv.daemon.claims import Claims
from watchconv.daemon.deliveries import AT_ONCE, Deliveries
from watchconv.daemon.trouble import Troubles
from watchconv.daemon.wakeup import EarliestTimer
from watchconv.deliver.destination import DeliveryOrder, DeliverySettings
from watchconv.deliver.ownership import Ownership
from watchconv.journal.jobs import Journal
from watchconv.journal.thread import JournalThread
from watchconv.model import AttemptEnd, AttemptOutcome, Candidate, Intent, JobState, Verdict

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    import pytest

    from watchconv.model import Job


class Clock:
    """The loop's clock: it goes on only when it is told to, and then all that is due rings."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.ahead = 0.0
        real = self.loop.time
        self.loop.time = lambda: real() + self.ahead  # type: ignore[method-assign]

    async def go_on(self, seconds: float) -> None:
        self.ahead += seconds
        await rest()

    @property
    def timers(self) -> int:
        """Count the timers that are set."""
        waiting: list[asyncio.TimerHandle] = self.loop._scheduled  # type: ignore[attr-defined]
        return sum(not timer.cancelled() for timer in waiting)


async def rest() -> None:
    """Let all tasks that can go on do so; threads have a moment too."""
    for _ in range(20):
        await asyncio.sleep(0)
        await asyncio.to_thread(int)


def run(steps: Coroutine[Any, Any, None]) -> None:
    asyncio.run(steps)


# the alarm


def test_an_alarm_rings_once_at_the_earliest_time_that_was_asked_for() -> None:
    async def steps() -> None:
        clock, rung = Clock(), list[int]()
        alarm = EarliestTimer(lambda: rung.append(1))
        for seconds in (500, 100, 300, 200):
            alarm.set(seconds)

        assert clock.timers == 1
        await clock.go_on(101)
        assert rung == [1]
        assert clock.timers == 0
        await clock.go_on(1000)
        assert rung == [1]

        alarm.set(100)
        alarm.cancel()
        await clock.go_on(1000)
        assert rung == [1]

    run(steps())


# claims


class Scene:
    """Claims on a real journal, and folders that count how often they are asked for room."""

    def __init__(self, folder: Path, *, min_free: int = 0) -> None:
        self.asked, self.free = 0, 0
        self.troubles = Troubles()
        self.journal = JournalThread(str(folder))
        config = SimpleNamespace(min_free=min_free, outbox="outbox", jobs=2)
        folders = SimpleNamespace(free_bytes=self.free_bytes)
        self.claims = Claims(lambda: config, folders, self.journal, self.troubles)  # type: ignore[arg-type,return-value]
        self.tasks = [asyncio.create_task(self._work()) for _ in range(4)]
        self.claimed: list[Job] = []

    def free_bytes(self) -> int:
        self.asked += 1
        return self.free

    async def _work(self) -> None:
        while True:
            if found := await self.claims.claim():
                self.claimed.append(found[0])

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.journal.close()


def test_waiting_for_room_costs_one_round_of_the_workers_a_time_however_often_they_were_woken(
    tmp_path: Path,
) -> None:
    """Each waiting worker set a timer that woke all of them, and each of those set another."""

    async def steps() -> None:
        clock, scene = Clock(), Scene(tmp_path, min_free=1)
        for _ in range(50):  # uploads
            scene.claims.wake()
            await rest()
        for _ in range(10):
            scene.asked = 0
            await clock.go_on(5.1)
            assert scene.asked <= len(scene.tasks)
            assert clock.timers == 1
        await scene.close()

    run(steps())


def test_room_that_was_there_a_moment_ago_is_not_asked_about_again(tmp_path: Path) -> None:
    async def steps() -> None:
        clock, scene = Clock(), Scene(tmp_path, min_free=1)
        scene.free = 1
        for _ in range(2):
            scene.asked = 0
            await clock.go_on(1.1)
            for _ in range(20):
                scene.claims.wake()
                await rest()
            assert 1 <= scene.asked <= len(scene.tasks)
        scene.free = 0
        await clock.go_on(1.1)
        scene.claims.wake()
        await rest()
        assert scene.troubles.tells("space")
        await scene.close()

    run(steps())


def test_waiting_for_a_job_put_off_is_one_timer(tmp_path: Path) -> None:
    async def steps() -> None:
        clock, scene = Clock(), Scene(tmp_path)
        scene.claims.paused = True
        await scene.journal.ask(Journal.add, [Candidate("a.mkv", 1, 1, "copy")], 1.0)
        job = await scene.journal.ask(Journal.claim, 2.0)
        assert job
        later = time.time() + 500
        await scene.journal.ask(
            Journal.requeue,
            job.id,
            AttemptEnd(AttemptOutcome.INTERRUPTED),
            refund=True,
            not_before=later,
            wait_reason=None,
            reason="later",
        )
        scene.claims.paused = False
        for _ in range(20):
            scene.claims.wake()
            await rest()

        assert clock.timers == 1
        assert scene.claimed == []
        await scene.close()

    run(steps())


def test_a_trouble_that_is_told_again_is_tried_again_only_after_its_whole_time(
    tmp_path: Path,
) -> None:
    async def steps() -> None:
        clock, scene = Clock(), Scene(tmp_path)
        scene.claims.block_for("attempt", "ffmpeg is gone", 30)
        await clock.go_on(29)
        scene.claims.block_for("attempt", "ffmpeg is gone", 30)
        await clock.go_on(2)
        assert scene.troubles.blocked
        await clock.go_on(29)
        assert not scene.troubles.blocked
        await scene.close()

    run(steps())


# deliveries


class Refusing:
    """An outlet that cannot deliver, and counts how often it was told to."""

    def __init__(self) -> None:
        self.asked = 0

    def deliver(self, order: DeliveryOrder, retarget: object) -> JobState:
        self.asked += 1
        raise OSError(13, "Permission denied")

    def clear(self, job: Job) -> None:
        """Never comes to that."""


def test_deliveries_that_cannot_be_done_are_tried_again_once_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each had a timer of its own, and each timer had all of them tried again."""
    jobs = AT_ONCE

    async def steps() -> None:
        clock, outlet = Clock(), Refusing()
        journal = JournalThread(str(tmp_path))
        clips = [Candidate(f"{n}.mkv", 1, 1, "copy") for n in range(jobs)]
        for job in await journal.ask(Journal.add, clips, 1.0):
            claimed = await journal.ask(Journal.claim, 2.0)
            assert claimed and claimed.id == job.id
            await journal.ask(Journal.intend, claimed, Intent(Verdict.ENCODED, original="p"))
        deliveries = Deliveries(
            outlet,  # type: ignore[arg-type]
            journal,
            Troubles(),
            lambda: DeliverySettings(OnSuccess.MOVE, True, Ownership()),
            ended=lambda job: None,
        )
        task = asyncio.create_task(deliveries.run())
        for round_number in range(1, 4):
            while outlet.asked < jobs * round_number or deliveries.under_way:
                await rest()
            assert outlet.asked == jobs * round_number
            assert clock.timers == 1
            await clock.go_on(61)
        task.cancel()
        await deliveries.finish(60, asyncio.Event())
        journal.close()

    run(steps())

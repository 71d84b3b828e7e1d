"""The workers: tasks that take one job after the other, each with a slot while its ffmpeg lives.

There are twice as many workers as slots: while one proves and delivers what its ffmpeg made,
another one has the slot.

Guarantees: as many ffmpeg at once as there are slots, whose number may change meanwhile; the stop
ladder is bounded.
Does not know what a job is: ``pool`` does.
Errors: what a worker raises is a bug; it is in ``broken``, and ends the daemon.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from watchconv.daemon.slots import Slot, Slots

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

STOP_SECONDS = 10.0  # what is left to a child that was told to end, before we go without it

J = TypeVar("J")


class Workers(Generic[J]):
    """The workers of one pool. Belongs to one event loop."""

    def __init__(
        self,
        claim: Callable[[], Awaitable[J | None]],
        work_on: Callable[[J, Slot], Awaitable[None]],
        wait_in_line: Callable[[], None],
    ) -> None:
        """Take what claims a job or waits for one, what does it, and whom a wait for a slot tells.

        claim may return None at any time, and must when it was woken.
        """
        self._claim, self._work_on, self._wait_in_line = claim, work_on, wait_in_line
        self._slots = Slots(0)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._asking = 0  # workers that have no job
        self._came_round = asyncio.Event()
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # by a bug

    def resize(self, jobs: int) -> None:
        """Let so many ffmpeg live at once, from now on.

        Workers are not taken away again: one without a slot costs nothing.
        """
        self._slots.resize(jobs)
        while len(self._tasks) < 2 * jobs:
            task = asyncio.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._take_end)

    def _take_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (bug := task.exception()) and not self.broken.done():
            self.broken.set_exception(bug)

    async def _run(self) -> None:
        """Take jobs until the pool closes."""
        while True:
            if self._slots.all_taken and not self._closing:
                self._wait_in_line()
            slot = await self._slots.take()
            try:
                if self._closing:
                    return
                if claimed := await self._ask():
                    await self._work_on(claimed, slot)
            finally:
                slot.free()

    async def _ask(self) -> J | None:
        self._asking += 1
        try:
            return await self._claim()
        finally:
            self._asking -= 1
            self._came_round.set()

    async def answer(self, wake: Callable[[], None]) -> None:
        """Return once a worker without a job has come round; at once when all have one."""
        self._came_round.clear()
        wake()
        if self._asking:
            await self._came_round.wait()

    async def close(
        self, grace_seconds: float, hurry: asyncio.Event, stop: Callable[[bool], None]
    ) -> bool:
        """End the workers: running attempts are given the grace, then TERM, then KILL.

        stop ends every attempt; with True it kills. With hurry they are killed at once. Bounded:
        what even then does not end, such as a read from a dead disk, is left to the next start.
        Tells whether all have ended.
        """
        self._closing = True
        if await all_ended(self._tasks, grace_seconds, hurry):
            return True
        stop(hurry.is_set())
        if not await all_ended(self._tasks, STOP_SECONDS, hurry):
            stop(True)
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        return all(task.done() for task in self._tasks)


async def all_ended(
    tasks: Collection[asyncio.Task[None]], seconds: float, hurry: asyncio.Event
) -> bool:
    """Wait until tasks have ended, or hurry is set, or the time is up; tell whether all have."""
    tasks = list(tasks)
    if not tasks:
        return True
    hurried = asyncio.create_task(hurry.wait())
    everything = asyncio.ensure_future(asyncio.wait(tasks))
    await asyncio.wait({hurried, everything}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    everything.cancel()
    return all(task.done() for task in tasks)

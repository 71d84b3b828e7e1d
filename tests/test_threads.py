"""Blocking work on threads of its own."""

from __future__ import annotations

import asyncio
import threading

import pytest

from watchconv.errors import EnvironmentTrouble
from watchconv.host.threads import in_thread


def test_a_result_comes_back_from_a_thread_of_its_own() -> None:
    def where(one: str, *, two: str) -> tuple[int, str]:
        return threading.get_ident(), one + two

    async def ask() -> tuple[int, str]:
        return await in_thread(where, "a", two="b")

    ident, said = asyncio.run(ask())

    assert said == "ab"
    assert ident != threading.get_ident()


@pytest.mark.parametrize("error", [ValueError("no"), EnvironmentTrouble("the disk"), KeyError(1)])
def test_what_the_function_raises_is_raised(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        asyncio.run(in_thread(fail))

    assert raised.value is error


def test_no_thread_is_left_when_the_call_is_over() -> None:
    before = set(threading.enumerate())

    async def ask() -> set[threading.Thread]:
        await asyncio.gather(*(in_thread(str, n) for n in range(20)))
        left = set(threading.enumerate()) - before
        for thread in left:  # the result is there a moment before its thread has ended
            thread.join(30)
        return set(threading.enumerate()) - before

    assert asyncio.run(ask()) == set()


def test_a_wait_that_is_cancelled_leaves_the_call_to_its_end() -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(30)
        ended.set()

    async def ask() -> None:
        task = asyncio.create_task(in_thread(work))
        while not begun.is_set():  # noqa: ASYNC110 (a thread sets it)
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not ended.is_set()
        go_on.set()

    asyncio.run(ask())

    assert ended.wait(30)


def test_a_call_that_never_ends_does_not_keep_the_program_from_ending() -> None:
    """Only a daemon thread does not; and asyncio.run waits for no thread of ours."""
    begun, never = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def hang() -> None:
        threads.append(threading.current_thread())
        begun.set()
        never.wait(60)

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await in_thread(hang)

    asyncio.run(ask())

    assert begun.is_set()
    assert threads[0].daemon
    assert threads[0].is_alive()
    never.set()


def test_without_a_thread_the_machine_is_in_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    with pytest.raises(EnvironmentTrouble, match=r"no thread can be started .*TasksMax="):
        asyncio.run(in_thread(str))

"""Waits that another thread can end, and a lock for which one waits in line."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from watchconv.process.stop import StoppableLock, Stopped, StopSignal, StopStage, wait_readable

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = 60.0  # no test waits for it


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe, and proof that waiting leaves no descriptor behind."""
    before = os.listdir("/proc/self/fd")
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)

    assert os.listdir("/proc/self/fd") == before


def stopped(stage: StopStage = StopStage.TERMINATING) -> StopSignal:
    signal = StopSignal()
    signal.request(stage)
    return signal


def test_what_can_be_read_ends_the_wait(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"x")

    assert wait_readable(pipe[0], LONG, StopSignal())


@pytest.mark.parametrize("seconds", [0, 0.05, -1])
def test_a_wait_ends_with_its_time(pipe: tuple[int, int], seconds: float) -> None:
    assert not wait_readable(pipe[0], seconds, StopSignal())


@pytest.mark.parametrize("stage", [StopStage.TERMINATING, StopStage.KILLED])
def test_a_stop_that_was_requested_before_counts_more_than_what_can_be_read(
    pipe: tuple[int, int], stage: StopStage
) -> None:
    os.write(pipe[1], b"x")

    with pytest.raises(Stopped):
        wait_readable(pipe[0], float("inf"), stopped(stage))


def test_a_stop_ends_the_waits_of_all_who_listen(pipe: tuple[int, int]) -> None:
    stop = StopSignal()
    with ThreadPoolExecutor(3) as pool:
        waits = [pool.submit(wait_readable, pipe[0], LONG, stop) for _ in range(3)]
        stop.request(StopStage.RUNNING)  # wakes, and is no stop
        stop.request(StopStage.KILLED)
        stop.request(StopStage.TERMINATING)

    assert stop.wanted is StopStage.KILLED
    assert [type(wait.exception()) for wait in waits] == [Stopped] * 3


def test_a_wake_up_that_is_no_stop_does_not_end_the_wait(pipe: tuple[int, int]) -> None:
    stop = StopSignal()
    with ThreadPoolExecutor(1) as pool:
        wait = pool.submit(wait_readable, pipe[0], LONG, stop)
        for _ in range(1000):
            stop.request(StopStage.RUNNING)
        os.write(pipe[1], b"x")

        assert wait.result(LONG)


def test_a_lock_is_held_by_one_at_a_time() -> None:
    lock, count = StoppableLock(), 0

    def add(_: int) -> None:
        nonlocal count
        for _ in range(50):
            with lock.held(StopSignal()):
                before = count
                os.sched_yield()
                count = before + 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))

    assert count == 8 * 50


def test_who_is_stopped_in_line_leaves_it_and_the_others_get_their_turn() -> None:
    lock, order = StoppableLock(), list[int]()
    stops = [StopSignal() for _ in range(5)]

    def hold(number: int) -> None:
        with lock.held(stops[number]):
            order.append(number)

    with ThreadPoolExecutor(5) as pool, lock.held(StopSignal()):
        turns = [pool.submit(hold, number) for number in range(5)]
        for number in (0, 4):
            stops[number].request(StopStage.TERMINATING)
            assert type(turns[number].exception(LONG)) is Stopped
        assert order == []

    assert set(order) == {1, 2, 3}


def test_a_lock_that_was_not_got_because_of_an_error_is_free_again() -> None:
    lock = StoppableLock()
    with pytest.raises(ZeroDivisionError), lock.held(StopSignal()):
        raise ZeroDivisionError
    with pytest.raises(Stopped), lock.held(stopped()):
        pass

    with lock.held(StopSignal()):
        pass

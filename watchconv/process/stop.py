"""How one thread asks another, which sleeps in poll(), to stop: at any time, repeatedly."""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY_SECONDS = 86400.0  # poll() takes no more than 24 days


class StopStage(IntEnum):
    """How far a child is on the way to its end, or is wanted to be."""

    RUNNING = 0
    TERMINATING = 1  # SIGTERM was sent
    KILLED = 2  # SIGKILL was sent
    GIVEN_UP = 3  # it survived SIGKILL


class Stopped(Exception):  # noqa: N818 (a state of affairs)
    """What was waited for is no longer wanted."""


class StopSignal:
    """Carries the wish for an end from any thread to the threads that listen."""

    def __init__(self) -> None:
        self.wanted = StopStage.RUNNING
        self._lock = threading.Lock()
        self._listeners: set[int] = set()

    def request(self, stage: StopStage) -> None:
        """Ask for at least this stage, and wake all who listen; RUNNING does no more than wake."""
        with self._lock:
            self.wanted = max(self.wanted, stage)
            for fd in self._listeners:
                os.eventfd_write(fd, 1)

    @contextmanager
    def listening(self) -> Iterator[int]:
        """Give an eventfd that becomes readable with each request; one may have come already."""
        with self._lock:
            fd = os.eventfd(min(self.wanted, 1), os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._listeners.add(fd)
        try:
            yield fd
        finally:
            with self._lock:
                self._listeners.remove(fd)
            os.close(fd)


def wait_readable(fd: int, seconds: float, stop: StopSignal) -> bool:
    """Wait until a descriptor can be read; False when the time is over first.

    Raises Stopped as soon as a stop is requested.
    """
    deadline = time.monotonic() + seconds
    with stop.listening() as stopping:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(stopping, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            ready = dict(poll.poll(min(max(left, 0), DAY_SECONDS) * 1000))
            if stop.wanted:
                raise Stopped
            if fd in ready or left <= 0:
                return fd in ready
            if stopping in ready:
                os.eventfd_read(stopping)


class StoppableLock:
    """A lock for which threads wait in line, each of which can be stopped while it waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: list[tuple[object, StopSignal]] = []  # the first one holds the lock

    @contextmanager
    def held(self, stop: StopSignal) -> Iterator[None]:
        """Hold the lock for the block; raises Stopped when a stop is requested before the turn."""
        ticket = (object(), stop)
        with stop.listening() as stopping:
            poll = select.poll()
            poll.register(stopping, select.POLLIN)
            with self._lock:
                self._line.append(ticket)
            try:
                while not stop.wanted and self._line[0] is not ticket:
                    poll.poll()
                    os.eventfd_read(stopping)
                if stop.wanted:
                    raise Stopped
                yield
            finally:
                with self._lock:
                    self._line.remove(ticket)
                    if self._line:
                        self._line[0][1].request(StopStage.RUNNING)  # no stop: only wakes

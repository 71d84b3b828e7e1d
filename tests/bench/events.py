"""When a file arrived or a program was executed: the kernel's inotify tells, nobody polls."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.bench.figures import CannotMeasure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OPENED, MOVED_IN, CREATED = 0x20, 0x80, 0x100
_HEAD = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``at`` is time.perf_counter()."""

    at: float
    path: str
    name: str


class Watch:
    """Notes events with their time on a thread that sleeps in between."""

    def __init__(self, mask: int, *paths: Path) -> None:
        """Watch files (their opening is an exec's first step) or folders (not what is below)."""
        self._fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise CannotMeasure(f"inotify: {os.strerror(ctypes.get_errno())}")
        self._paths: dict[int, str] = {}
        for path in paths:
            number = _libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask))
            if number < 0:
                raise CannotMeasure(f"inotify: {path}: {os.strerror(ctypes.get_errno())}")
            self._paths[number] = str(path)
        self._events: list[Event] = []
        self._came = threading.Condition()
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        os.eventfd_write(self._end, 1)
        self._thread.join()
        os.close(self._fd)
        os.close(self._end)

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._end, select.POLLIN)
        while not any(fd == self._end for fd, _ in poll.poll()):
            chunk, at = os.read(self._fd, 1 << 16), time.perf_counter()
            with self._came:
                self._events += self._parse(chunk, at)
                self._came.notify_all()

    def _parse(self, chunk: bytes, at: float) -> list[Event]:
        found, here = [], 0
        while here < len(chunk):
            number, _, _, length = _HEAD.unpack_from(chunk, here)
            here += _HEAD.size
            name = os.fsdecode(chunk[here : here + length].rstrip(b"\0"))
            here += length
            if number in self._paths:
                found.append(Event(at, self._paths[number], name))
        return found

    def wait(
        self,
        enough: Callable[[list[Event]], bool],
        seconds: float,
        what: str,
        trouble: Callable[[], str | None] = lambda: None,
    ) -> list[Event]:
        """Wait until the events so far are enough; return them. Trouble ends it early."""
        deadline = time.monotonic() + seconds
        with self._came:
            while not self._came.wait_for(lambda: enough(self._events), 2.0):
                if why := trouble():
                    raise CannotMeasure(f"{what}: {why}")
                if time.monotonic() > deadline:
                    raise CannotMeasure(f"{what}: not within {seconds:g} s")
            return list(self._events)


def names_in(events: list[Event], folder: Path) -> set[str]:
    """Give the visible names that arrived in a folder."""
    return {e.name for e in events if e.path == str(folder) and not e.name.startswith(".")}

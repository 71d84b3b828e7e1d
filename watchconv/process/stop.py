"""The stop ladder of one child: how far up it is driven, and the bell that asks for more.

Guarantees: any thread may ring, at any time, before the child's beginning and after its end too.
Does not send signals: the child's own thread does. Errors: none.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class StopStage(IntEnum):
    """How far up the stop ladder a child is driven, or is to be driven."""

    RUNNING = 0
    TERMED = 1
    KILLED = 2
    GIVEN_UP = 3


class Bell:
    """Carries a wish from any thread to the child's, which sleeps in poll()."""

    def __init__(self) -> None:
        self.wanted = StopStage.RUNNING
        self._lock = threading.Lock()
        self._fd: int | None = None

    def ring(self, wanted: StopStage) -> None:
        """Ask for at least this rung."""
        with self._lock:
            self.wanted = max(self.wanted, wanted)
            if self._fd is not None:
                os.eventfd_write(self._fd, 1)

    @contextmanager
    def hung(self) -> Iterator[int]:
        """Give a descriptor that ``ring`` makes readable."""
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._hang(fd)
        try:
            yield fd
        finally:
            self._hang(None)
            os.close(fd)

    def _hang(self, fd: int | None) -> None:
        with self._lock:
            self._fd = fd

"""How much memory a child and all that it started have in use, watched while it lives.

What a process maps says nothing of what it uses: an encoder with many threads maps tens of GiB for
a few. So resident memory is looked at, by a thread of its own: that of the child is confined as the
child is, and cannot open /proc.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_SECONDS = 0.5  # ffmpeg speaks as often; between two looks a GiB or two can be filled
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class MemoryWatch:
    """Watches one process until it is closed, and tells once when it uses more than allowed."""

    def __init__(self, most_bytes: int, tell: Callable[[int], object]) -> None:
        """Begin the thread, which inherits what confines the caller. It calls tell(bytes)."""
        self._most_bytes, self._tell = most_bytes, tell
        self._pid = 0
        self._given, self._closed = threading.Event(), threading.Event()
        threading.Thread(target=self.run, name="watchconv-memory", daemon=True).start()

    def watch(self, pid: int) -> None:
        """Say which process it is."""
        self._pid = pid
        self._given.set()

    def close(self) -> None:
        """Look no more. Idempotent."""
        self._closed.set()
        self._given.set()

    def run(self) -> None:
        """Look until there is too much or it is closed: the thread."""
        self._given.wait()
        while not self._closed.is_set():
            if (used := resident_bytes(self._pid)) > self._most_bytes:
                self._tell(used)
                return
            self._closed.wait(LOOK_SECONDS)


def resident_bytes(pid: int) -> int:
    """Return what a process and its descendants have in use; 0 for one that is gone."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
        below = Path(f"/proc/{pid}/task/{pid}/children").read_bytes()
        return pages * _PAGE_BYTES + sum(resident_bytes(int(child)) for child in below.split())
    return 0

"""The end of the children that an earlier daemon left behind.

Guarantees: every child carries the mark of its state directory in its environment from its first
instruction on, so there is no moment in which a crash leaves one that is not found; a process is
killed only while it carries the mark, never by its number alone.
Does not find a child that has replaced its own environment.
Errors: none are raised; a process of somebody else cannot be looked into and is left alone.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from watchconv.process.spawn import MARK, open_pidfd

ORPHANS_WAIT_SECONDS = 5.0


def find_orphans(mark: str) -> list[int]:
    """List the processes that carry ``mark``: before the first child, those of a dead daemon."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and _carries(name, mark)]


def end_orphans(mark: str) -> int:
    """Kill every process that carries ``mark``, wait until they are gone, and count them.

    Waits at most ``ORPHANS_WAIT_SECONDS``; ``find_orphans`` then names those that would not go.
    """
    seen: set[int] = set()
    deadline = time.monotonic() + ORPHANS_WAIT_SECONDS
    while (found := find_orphans(mark)) and time.monotonic() < deadline:
        for pid in found:
            _kill_marked(pid, mark)
        seen.update(found)
        time.sleep(0.01)
    return len(seen.difference(found))


def _carries(pid: int | str, mark: str) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone, or not ours
        return False
    return os.fsencode(f"{MARK}={mark}") in environ.split(b"\0") and int(pid) != os.getpid()


def _kill_marked(pid: int, mark: str) -> None:
    with ExitStack() as stack, suppress(ProcessLookupError, PermissionError):
        pidfd = open_pidfd(pid, stack)
        # Looked at again now that the number cannot come to mean another process.
        if _carries(pid, mark):
            if pidfd is None:
                os.kill(pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)

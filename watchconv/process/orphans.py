"""How the children that an earlier daemon left behind are found and ended.

Every child carries the tag of its state directory in its environment from its first instruction
on, so no crash leaves one that is not found, unless it replaced its own environment. A process is
killed only while it carries the tag, never by its number alone; one of somebody else cannot be
looked into and is left alone.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from watchconv.process.spawn import OWNER_VARIABLE, open_pidfd

ORPHANS_WAIT_SECONDS = 5.0


def find_orphans(owner_tag: str) -> list[int]:
    """List the processes that carry the tag: before the first child, those of a dead daemon."""
    return [int(n) for n in os.listdir("/proc") if n.isdigit() and _carries(int(n), owner_tag)]


def end_orphans(owner_tag: str) -> int:
    """Kill every process that carries the tag, wait until they are gone, and count them.

    Waits at most ``ORPHANS_WAIT_SECONDS``; ``find_orphans`` then names those that would not go.
    """
    seen: set[int] = set()
    deadline = time.monotonic() + ORPHANS_WAIT_SECONDS
    while (found := find_orphans(owner_tag)) and time.monotonic() < deadline:
        for pid in found:
            with ExitStack() as stack, suppress(ProcessLookupError, PermissionError):
                pidfd = open_pidfd(pid, stack)
                # Looked at again now that the number cannot come to mean another process.
                if not _carries(pid, owner_tag):
                    continue
                if pidfd is None:
                    os.kill(pid, signal.SIGKILL)
                else:
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        seen.update(found)
        time.sleep(0.01)
    return len(seen.difference(found))


def _carries(pid: int, owner_tag: str) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone, or not ours
        return False
    tag = os.fsencode(f"{OWNER_VARIABLE}={owner_tag}")
    return tag in environ.split(b"\0") and pid != os.getpid()

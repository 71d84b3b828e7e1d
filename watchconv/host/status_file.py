"""The daemon's status in one small file of the state directory, and how a command wakes the daemon.

The file is replaced atomically. Whether its writer still lives is told by pid and start time
together, since a pid may be given to another program. Counts by state are in the journal, not here.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict

from watchconv.host.files import closing
from watchconv.views import RunningJob, Status, WaitingFile

FILE_NAME = "live.json"
WAKE_FIFO = "wake.fifo"  # made by the daemon, where its state directory can hold one
WAKE_DIR = "wake"
WAKE_FILE = f"{WAKE_DIR}/up"  # touched, for a daemon without a FIFO
_TOUCH = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


def write(state_dir: str, status: Status) -> None:
    """Replace the file."""
    path = os.path.join(state_dir, FILE_NAME)
    with open(f"{path}.new", "w", encoding="ascii") as writer:
        json.dump(asdict(status), writer)
    os.replace(f"{path}.new", path)


def read(state_dir: str) -> Status | None:
    """Return what a living daemon wrote; None when there is none."""
    try:
        with open(os.path.join(state_dir, FILE_NAME), encoding="ascii") as reader:
            values = json.load(reader)
        running = [RunningJob(**row) for row in values["running"]]
        waiting = [WaitingFile(**row) for row in values["waiting_files"]]
        status = Status(**values | {"running": running, "waiting_files": waiting})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return status if start_of(status.pid) == status.started else None


def remove(state_dir: str) -> None:
    """Remove the file when the daemon stops. Idempotent; a file left behind does no harm."""
    with suppress(OSError):
        os.unlink(os.path.join(state_dir, FILE_NAME))


def start_of(pid: int) -> int | None:
    """Return when a living process was started, in clock ticks since boot; else None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
            return None if fields[0] in b"ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def wake(state_dir: str) -> None:
    """Wake the daemon: it has a request to read in the journal."""
    with suppress(OSError):  # no FIFO, nobody reads it, it is full, or it is another user's
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
        with closing(os.open(os.path.join(state_dir, WAKE_FIFO), flags)) as fifo:
            os.write(fifo, b"\0")
    os.makedirs(os.path.join(state_dir, WAKE_DIR), exist_ok=True)
    path = os.path.join(state_dir, WAKE_FILE)
    try:
        os.close(os.open(path, _TOUCH, 0o666))
    except PermissionError:  # root's, from a command under sudo; the folder is ours
        os.unlink(path)
        os.close(os.open(path, _TOUCH, 0o666))

"""What the daemon does now, in one small file of the state directory: reading it asks nobody.

Guarantees: the file is replaced atomically; whether its writer still lives is told by pid and
start time together, so a pid that was given to another program fools nobody.
Does not hold what the journal knows (counts by state, the history).
Errors: ``OSError`` when it cannot be written; reading never fails, it finds nothing instead.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

FILE_NAME = "live.json"
WAKE_FILE = "up"
WAKE_DIR = "wake"  # a folder of its own, so that watching it is not woken by the journal
_TOUCH = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


@dataclass(slots=True)
class Running:
    """One running attempt."""

    id: int
    source: str
    profile: str
    progress: float | None = None  # 0..1
    speed: float | None = None
    fps: float | None = None
    eta_seconds: float | None = None
    out_seconds: float | None = None


@dataclass(slots=True)
class Status:
    """The daemon's present."""

    pid: int
    started: int
    state: str  # running, paused, trouble
    waiting: int = 0
    ignored: int = 0
    running: list[Running] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


def write(state_dir: str, live: Status) -> None:
    """Replace the file."""
    path = os.path.join(state_dir, FILE_NAME)
    with open(f"{path}.new", "w", encoding="ascii") as writer:
        json.dump(asdict(live), writer)
    os.replace(f"{path}.new", path)


def read(state_dir: str) -> Status | None:
    """Read what a living daemon wrote; None when there is none."""
    try:
        with open(os.path.join(state_dir, FILE_NAME), encoding="ascii") as reader:
            values: dict[str, Any] = json.load(reader)
        live = Status(**values)
        live.running = [Running(**row) for row in values["running"]]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return live if start_of(live.pid) == live.started else None


def remove(state_dir: str) -> None:
    """Remove the file: the daemon stops. Idempotent; one that stays behind fools nobody."""
    with suppress(OSError):
        os.unlink(os.path.join(state_dir, FILE_NAME))


def start_of(pid: int) -> int | None:
    """Say when a living process was started, in clock ticks since boot; else None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
            return None if fields[0] in b"ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def wake(state_dir: str) -> None:
    """Wake the daemon: it has a request to read in the journal."""
    folder = os.path.join(state_dir, WAKE_DIR)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, WAKE_FILE)
    try:
        os.close(os.open(path, _TOUCH, 0o666))
    except PermissionError:  # root's, from a command under sudo; the folder is ours
        os.unlink(path)
        os.close(os.open(path, _TOUCH, 0o666))

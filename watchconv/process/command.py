"""What to start, how long to bear with it, and how it ended. Values: nothing here does anything."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits of the child; 0 leaves one as it is. Core files are always off."""

    address_space_bytes: int = 0
    file_size_bytes: int = 0
    open_files: int = 1024
    nice: int = 0
    io_class: str = "none"


@dataclass(frozen=True, slots=True)
class Command:
    """What to start, and how long to bear with it.

    ``time_limit`` gives the seconds since the start that the child may take. The child's thread
    asks it after every sign of life and again when the time seems to be up, so it may grow.
    ``still_writes`` tells whether the child wrote since it was last asked; it is asked at every
    progress and before a child without progress is taken for stalled.
    ``prepare`` runs on the child's thread right before the start: it makes ``cwd`` if need be, and
    may confine the thread; what it leaves allowed must include executing ``launcher()``.
    """

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    stall_seconds: float
    time_limit: Callable[[], float]
    grace_seconds: float
    limits: Limits = field(default_factory=Limits)
    prepare: Callable[[], None] | None = None
    still_writes: Callable[[], bool] = lambda: False


class Cause(StrEnum):
    """Why a child is no longer there."""

    EXITED = "exited"  # by itself, or by a signal that we did not send
    STALLED = "stalled"
    OVERTIME = "overtime"
    STOPPED = "stopped"
    UNSTARTED = "unstarted"


@dataclass(frozen=True, slots=True)
class ChildExit:
    """How a child ended; ``detail`` says it in a sentence.

    ``status`` is the exit code, ``signal`` what killed it; both are None when it never ran or its
    end could not be read.
    """

    cause: Cause
    status: int | None
    signal: int | None
    detail: str
    seconds: float


def ended(
    command: Command, cause: Cause, code: int | None, detail: str, seconds: float
) -> ChildExit:
    """Say how a command ended; code is negative for a signal, None where it is lost."""
    return ChildExit(
        cause,
        status=code if code is not None and code >= 0 else None,
        signal=-code if code is not None and code < 0 else None,
        detail=f"{_name(command)} {detail or _end_in_words(code)}",
        seconds=seconds,
    )


def unstarted(command: Command, reason: str) -> ChildExit:
    """Say that a command could not be started."""
    sentence = f"{_name(command)} could not be started: {reason}"
    return ChildExit(Cause.UNSTARTED, None, None, sentence, 0.0)


def why(error: Exception) -> str:
    """Say what kept a command from being started."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _name(command: Command) -> str:
    return os.path.basename(command.argv[0])


def _end_in_words(code: int | None) -> str:
    if code is None:
        return "ended, but its status is lost: the daemon was started with SIGCHLD ignored"
    if code < 0:
        return f"was killed by signal {-code} ({signal.strsignal(-code)})"
    return f"exited with status {code}"

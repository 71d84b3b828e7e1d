"""What to start, and how long to bear with it. Values; nothing here starts anything."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    ``confine`` runs on the child's thread right before the start; what it leaves allowed must
    include executing ``launcher()``.
    """

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    stall_seconds: float
    time_limit: Callable[[], float]
    grace_seconds: float
    limits: Limits = field(default_factory=Limits)
    confine: Callable[[], None] | None = None
    still_writes: Callable[[], bool] = lambda: False

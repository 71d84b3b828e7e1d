"""How far an encode is, by the blocks that ffmpeg's ``-progress`` writes. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from watchconv.model import Progress
from watchconv.process.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEYS = frozenset(
    {"out_time_us", "frame", "fps", "speed", "dup_frames", "drop_frames", "total_size"}
)


@dataclass(frozen=True, slots=True)
class ProgressUpdate:
    """One block of ``-progress``. None is what ffmpeg does not know (yet)."""

    out_seconds: float | None = None
    frames: int = 0
    fps: float | None = None
    speed: float | None = None
    duplicated: int = 0
    dropped: int = 0
    total_bytes: int | None = None
    ended: bool = False


class ProgressReader:
    """Turns the bytes of the progress pipe, in chunks of any size, into updates."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._block: dict[str, str] = {}

    def feed(self, chunk: bytes) -> list[ProgressUpdate]:
        """Take what arrived; return the updates that it completes, oldest first."""
        updates: list[ProgressUpdate] = []
        for line in self._lines.feed(chunk):
            key, _, value = line.partition("=")
            if key == "progress":
                updates.append(_update(self._block, ended=value.strip() == "end"))
                self._block = {}
            elif key in _KEYS:
                self._block[key] = value.strip()
        return updates


class ProgressTracker:
    """How far one encode has come. Fed by one thread; its attributes may be read by any."""

    def __init__(self, duration_seconds: float | None) -> None:
        """Take the input's length where it is proven."""
        self._duration_seconds = duration_seconds
        self._reader = ProgressReader()
        self._bytes = 0
        self.seconds = 0.0  # of the output, at most
        self.update: ProgressUpdate | None = None  # the last one
        self.progress: Progress | None = None

    def feed(self, chunk: bytes) -> bool:
        """Take what arrived; return whether the encode got further than it ever was."""
        before = self.seconds, self._bytes
        for update in self._reader.feed(chunk):
            self.update, self.progress = update, progress_of(update, self._duration_seconds)
            self.seconds = max(self.seconds, update.out_seconds or 0.0)
            self._bytes = max(self._bytes, update.total_bytes or 0)
        return (self.seconds, self._bytes) != before


def progress_of(update: ProgressUpdate, duration_seconds: float | None) -> Progress:
    """Return how far the encode is, without a percentage where it might be a wrong one.

    The length must be proven, and must fit what was done already.
    """
    out = update.out_seconds or 0.0
    fraction = eta = None
    if update.ended:
        fraction, eta = 1.0, 0.0
    elif duration_seconds and duration_seconds > 0 and out <= duration_seconds * 1.02 + 1:
        fraction = min(out / duration_seconds, 0.999)
        if update.speed and update.speed > 0:
            eta = max(0.0, duration_seconds - out) / update.speed
    return Progress(out, update.frames, update.fps, update.speed, fraction, eta)


def _update(block: Mapping[str, str], *, ended: bool) -> ProgressUpdate:
    micros = _number(block.get("out_time_us"))
    size = _number(block.get("total_size"))
    return ProgressUpdate(
        # far below zero is how some versions spell "not known"
        out_seconds=None if micros is None or micros < -1e15 else max(0.0, micros / 1e6),
        frames=int(_number(block.get("frame")) or 0),
        fps=_number(block.get("fps")) or None,
        speed=_number(block.get("speed", "").removesuffix("x")) or None,
        duplicated=int(_number(block.get("dup_frames")) or 0),
        dropped=int(_number(block.get("drop_frames")) or 0),
        total_bytes=None if size is None else int(size),
        ended=ended,
    )


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None

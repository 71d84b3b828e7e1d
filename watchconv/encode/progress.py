"""How far an encode is: the blocks that ffmpeg's ``-progress`` writes. Pure.

Guarantees: any chunking gives the same beats; what is no progress is passed over; a fraction is
given only where the length is proven and fits what was done: never a wrong percent.
Errors: none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from watchconv.model import Progress
from watchconv.process.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


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
    """Turns the bytes of the progress pipe into beats."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._block: dict[str, str] = {}

    def feed(self, chunk: bytes) -> list[ProgressUpdate]:
        """Take what arrived and give the beats that it completes, oldest first."""
        beats: list[ProgressUpdate] = []
        for line in self._lines.feed(chunk):
            key, _, value = line.partition("=")
            if key == "progress":
                beats.append(_beat(self._block, ended=value.strip() == "end"))
                self._block = {}
            elif key in _KEYS:
                self._block[key] = value.strip()
        return beats


class ProgressTracker:
    """How far one encode has come, by what it says on its progress pipe."""

    def __init__(
        self, duration_seconds: float | None, hear: Callable[[ProgressUpdate, Progress], None]
    ) -> None:
        """Take the input's length where it is proven, and who hears of each beat."""
        self._duration_seconds, self._hear = duration_seconds, hear
        self._reader = ProgressReader()
        self._bytes = 0
        self.seconds = 0.0  # of the output, at most

    def feed(self, chunk: bytes) -> bool:
        """Take what arrived; tell whether the encode got further."""
        before = self.seconds, self._bytes
        for beat in self._reader.feed(chunk):
            self._hear(beat, progress_of(beat, self._duration_seconds))
            self.seconds = max(self.seconds, beat.out_seconds or 0.0)
            self._bytes = max(self._bytes, beat.total_bytes or 0)
        return (self.seconds, self._bytes) != before


_KEYS = frozenset(
    {"out_time_us", "frame", "fps", "speed", "dup_frames", "drop_frames", "total_size"}
)


def _beat(block: Mapping[str, str], *, ended: bool) -> ProgressUpdate:
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


def progress_of(beat: ProgressUpdate, duration_seconds: float | None) -> Progress:
    """Say how far the encode is; no percent rather than a wrong one."""
    out = beat.out_seconds or 0.0
    fraction = eta = None
    if beat.ended:
        fraction, eta = 1.0, 0.0
    elif duration_seconds and duration_seconds > 0 and out <= duration_seconds * 1.02 + 1:
        fraction = min(out / duration_seconds, 0.999)
        if beat.speed and beat.speed > 0:
            eta = max(0.0, duration_seconds - out) / beat.speed
    return Progress(out, beat.frames, beat.fps, beat.speed, fraction, eta)

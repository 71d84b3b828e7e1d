"""How far an encode is, by the blocks that ffmpeg's ``-progress`` writes. Pure."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from watchconv.model import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEYS = frozenset(
    {"out_time_us", "frame", "fps", "speed", "dup_frames", "drop_frames", "total_size"}
)

LINE_BYTES = 4096


class Lines:
    """Cuts the bytes of a pipe into lines: over-long ones are cut, carriage returns overwrite.

    Any chunking gives the same lines, in bounded memory.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._returned = False  # a \r was seen: the next text starts the line again

    def feed(self, chunk: bytes) -> list[str]:
        """Return the lines that this chunk completes."""
        lines: list[str] = []
        for part in re.split(rb"([\r\n])", chunk):
            if part == b"\n":
                lines.append(self.close())
            elif part == b"\r":
                self._returned = True
            elif part:
                if self._returned:
                    self._line.clear()
                    self._returned = False
                self._line += part[: LINE_BYTES - len(self._line)]
        return lines

    def close(self) -> str:
        """Return what the last line holds so far, and begin anew."""
        line = self._line.decode("utf-8", "replace")
        self._line.clear()
        self._returned = False
        return line


class ProgressTracker:
    """How far one encode has come. Fed by one thread; its attributes may be read by any."""

    def __init__(self, duration_seconds: float | None) -> None:
        """Take the input's length where it is proven."""
        self._duration_seconds = duration_seconds
        self._lines = Lines()
        self._block: dict[str, float] = {}
        self.progress: Progress | None = None  # None before the first sign of life
        self.seconds = 0.0  # of the output, at most
        self.bytes = 0  # of the output, at most
        self.duplicated = 0
        self.dropped = 0

    def feed(self, chunk: bytes) -> bool:
        """Take what arrived, in chunks of any size; return whether it is further than ever."""
        before = self.seconds, self.bytes
        for line in self._lines.feed(chunk):
            key, _, value = line.partition("=")
            if key in _KEYS and (number := _number(value)) is not None:
                self._block[key] = number
            if key != "progress":
                continue
            block, self._block = self._block, {}
            ended = value.strip() == "end"
            self.progress = progress_of(block, self._duration_seconds, ended=ended)
            self.seconds = max(self.seconds, self.progress.out_seconds)
            self.bytes = max(self.bytes, int(block.get("total_size", 0)))
            self.duplicated = int(block.get("dup_frames", 0))
            self.dropped = int(block.get("drop_frames", 0))
        return (self.seconds, self.bytes) != before


def progress_of(
    block: Mapping[str, float], duration_seconds: float | None, *, ended: bool
) -> Progress:
    """Return how far the encode is, without a percentage where it might be a wrong one.

    block holds what ffmpeg knows. The length must be proven, and fit what was done already.
    """
    # far below zero is how some versions spell "not known"
    out = max(0.0, block.get("out_time_us", 0.0) / 1e6)
    speed = block.get("speed") or None
    fraction = eta = None
    if ended:
        fraction, eta = 1.0, 0.0
    elif duration_seconds and duration_seconds > 0 and out <= duration_seconds * 1.02 + 1:
        fraction = min(out / duration_seconds, 0.999)
        if speed and speed > 0:
            eta = max(0.0, duration_seconds - out) / speed
    frames = int(block.get("frame", 0))
    return Progress(out, frames, block.get("fps") or None, speed, fraction, eta)


def _number(text: str) -> float | None:
    try:
        value = float(text.strip().removesuffix("x"))  # a speed is written 1.5x
    except ValueError:
        return None
    return value if math.isfinite(value) else None

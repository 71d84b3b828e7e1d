"""What an ffmpeg says while it runs: how far it is, what it read and wrote, its last words.

Memory is bounded, whatever arrives in chunks of whatever size, and a tag of the input that imitates
ffmpeg's words is not taken for them. ``verify`` judges the counts, ``classify`` the last words.
"""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from watchconv.model import Progress
from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

_TAIL_BYTES = 32 * 1024
_MOST = 1000  # streams, routes, streams with errors: a file may announce any number

# progress

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
        """Take what arrived; return whether the encode is further than ever."""
        before = self.seconds, self.bytes
        for line in self._lines.feed(chunk):
            key, _, value = line.partition("=")
            if key in _KEYS:
                with suppress(ValueError):  # N/A
                    number = float(value.strip().removesuffix("x"))  # a speed is written 1.5x
                    if math.isfinite(number):
                        self._block[key] = number
            elif key == "progress":
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


# counts and last words


class StreamCount(NamedTuple):
    """What ffmpeg read or wrote of one stream."""

    file: int
    stream: int
    kind: str
    packets: int
    frames: int | None  # decoded or encoded; None where packets were copied, or nothing was used
    errors: int = 0


class Route(NamedTuple):
    """Which output stream an input stream feeds; output is None into a complex filter graph."""

    source: tuple[int, int]
    output: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """What one run of ffmpeg says in its closing lines."""

    inputs: tuple[StreamCount, ...]
    outputs: tuple[StreamCount, ...]
    routes: tuple[Route, ...]
    duplicated: int
    dropped: int
    met: tuple[tuple[int, str], ...] = ()  # input streams that only came on the way: index, kind


CONTEXT = r"(?:\[[^\]\n]*+\] )*+"  # which part of ffmpeg speaks: "[mov,mp4 @ 0x1] "
# Tags and titles are printed further in, or behind "key : ": at these columns only ffmpeg speaks.
_N = r"\d{1,18}"  # more digits are no number of ffmpeg's, and would cost int() quadratic time
_STREAM = rf"stream #(?P<file>{_N}):(?P<stream>{_N}) \((?P<kind>\w+)\): "
_IN = re.compile(
    rf"{CONTEXT}  Input {_STREAM}(?P<packets>{_N}) packets read \(\d+ bytes\);"
    rf"(?: (?P<frames>{_N}) frames decoded)?(?:; (?P<errors>{_N}) decode errors)?"
)
_OUT = re.compile(
    rf"{CONTEXT}  Output {_STREAM}"
    rf"(?:(?P<frames>{_N}) frames encoded(?: \(\d+ samples\))?; )?(?P<packets>{_N}) packets muxed"
)
# 5.1 gives no sum of its decode errors, but a line for each, or for several that are equal
_ERROR = re.compile(rf"Error while decoding stream #({_N}):({_N}): ")
_REPEATED = re.compile(rf"    Last message repeated ({_N}) times$")
_MAP = re.compile(rf"  Stream #({_N}):({_N}) -> #({_N}):({_N}) \(.*\)$")
_GRAPH = re.compile(rf"  Stream #({_N}):({_N}) \(.*\) -> \S+")
_FROM_GRAPH = re.compile(r"  \S+ (?:\(graph \d+\) )?-> Stream #\d+:\d+ \(.*\)$")
_NEW = re.compile(rf"{CONTEXT}New (?P<kind>\w+) stream 0:(?P<stream>{_N}) at pos:")
# Thread chatter, deep lines of headers (tags) and statistics: nothing a person looks for.
_NOISE = re.compile(
    r"^\s*$|^ {4,}(?!Last message)|Starting thread\.\.\.$|\(success\)$|EOF packet$|EOF, finishing$"
    r"|returned EOF$|received EOF$|EOF while reading input$|All streams finished$"
    r"|Statistics: \d+ bytes|Reinit context|chlayout:|pixfmt:|--prefix="
)


class StderrReader:
    """Keeps of ffmpeg's stderr the counts and a tail for people."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._mapping = False
        self._routes: dict[Route, None] = {}
        self._inputs: dict[tuple[int, int], StreamCount] = {}
        self._outputs: dict[tuple[int, int], StreamCount] = {}
        self._errors: Counter[tuple[int, int]] = Counter()
        self._met: dict[int, str] = {}
        self._erring: tuple[int, int] | None = None  # the stream of the error one line before
        self._kept: deque[str] = deque()
        self._kept_bytes = 0
        self.tail = ""  # once it is closed: the last 32 KiB of lines worth reading, printable

    def feed(self, chunk: bytes) -> None:
        """Take what arrived."""
        for line in self._lines.feed(chunk):
            self._take(line)

    def close(self) -> None:
        """Take the last line, which may lack its end; call once at the end of the stream."""
        if line := self._lines.close():
            self._take(line)
        self.tail = "\n".join(self._kept)

    def counts(self, *, duplicated: int = 0, dropped: int = 0) -> StreamCounts | None:
        """Return the counts, with those that only the progress gives; None where there are none."""
        if not self._outputs:
            return None
        inputs, outputs = tuple(self._inputs.values()), tuple(self._outputs.values())
        met = tuple(self._met.items())
        return StreamCounts(inputs, outputs, tuple(self._routes), duplicated, dropped, met)

    def _take(self, line: str) -> None:
        if line == "Stream mapping:":
            # an input's name may hold line breaks: the last mapping is ffmpeg's own
            self._mapping, self._routes = True, {}
        elif self._mapping:
            if found := _MAP.match(line):
                a, b, c, d = map(int, found.groups())
                self._routes[Route((a, b), (c, d))] = None
            elif found := _GRAPH.match(line):
                self._routes[Route((int(found[1]), int(found[2])), None)] = None
            goes_on = found or _FROM_GRAPH.match(line)
            self._mapping = bool(goes_on) and len(self._routes) < _MOST
        reads = _IN.match(line)
        if found := reads or _OUT.match(line):
            counted, counts = found.groupdict(), self._inputs if reads else self._outputs
            key = int(counted["file"]), int(counted["stream"])
            frames = int(counted["frames"]) if counted["frames"] else None
            errors = int(counted["errors"] or self._errors[key]) if reads else 0
            if key in counts or len(counts) < _MOST:
                kind, packets = counted["kind"], int(counted["packets"])
                counts[key] = StreamCount(*key, kind, packets, frames, errors)
        elif (found := _NEW.match(line)) and len(self._met) < _MOST:
            self._met[int(found["stream"])] = found["kind"]
        if self._erring and (found := _REPEATED.match(line)):
            self._errors[self._erring] += int(found[1])
        elif (found := _ERROR.match(line)) and len(self._errors) < _MOST:
            self._erring = int(found[1]), int(found[2])
            self._errors[self._erring] += 1
        else:
            self._erring = None
        if _NOISE.search(line):
            return
        line = printable(line)
        self._kept.append(line)
        self._kept_bytes += len(line.encode()) + 1
        while self._kept_bytes > _TAIL_BYTES:
            self._kept_bytes -= len(self._kept.popleft().encode()) + 1

"""What ffmpeg says it read and wrote: the closing lines of ``-v verbose``, and a tail for people.

Memory is bounded whatever arrives, and a tag of the input that imitates ffmpeg's words is not
taken for them. ``verify`` judges the figures, ``classify`` the tail.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass
from typing import NamedTuple

from watchconv.encode.progress import Lines
from watchconv.names import printable

_TAIL_BYTES = 32 * 1024
_MOST = 1000  # streams, routes, streams with errors: a file may announce any number


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


CONTEXT = r"(?:\[[^\]]*\] )*"  # which part of ffmpeg speaks: "[mov,mp4 @ 0x1] "
# Tags and titles are printed further in, or behind "key : ": at these columns only ffmpeg speaks.
_IN = re.compile(
    rf"{CONTEXT}  Input stream #(\d+):(\d+) \((\w+)\): (\d+) packets read \(\d+ bytes\);"
    r"(?: (\d+) frames decoded)?(?:; (\d+) decode errors)?"
)
_OUT = re.compile(
    rf"{CONTEXT}  Output stream #(\d+):(\d+) \((\w+)\): "
    r"(?:(\d+) frames encoded(?: \(\d+ samples\))?; )?(\d+) packets muxed"
)
# 5.1 gives no sum of its decode errors, but a line for each, or for several that are equal
_ERROR = re.compile(r"Error while decoding stream #(\d+):(\d+): ")
_REPEATED = re.compile(r"    Last message repeated (\d+) times$")
_MAP = re.compile(r"  Stream #(\d+):(\d+) -> #(\d+):(\d+) \((.*)\)$")
_GRAPH = re.compile(r"  Stream #(\d+):(\d+) \(.*\) -> \S+")
_FROM_GRAPH = re.compile(r"  \S+ (?:\(graph \d+\) )?-> Stream #\d+:\d+ \(.*\)$")
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
        self._erring: tuple[int, int] | None = None  # the stream of the error one line before
        self._tail: deque[str] = deque()
        self._tail_bytes = 0

    @property
    def tail(self) -> str:
        """The last 32 KiB of lines worth reading, control characters made visible."""
        return "\n".join(self._tail)

    def feed(self, chunk: bytes) -> None:
        """Take what arrived, in chunks of any size."""
        for line in self._lines.feed(chunk):
            self._take(line)

    def close(self) -> None:
        """Take the last line, which may lack its end; call once at the end of the stream."""
        if line := self._lines.close():
            self._take(line)

    def counts(self, *, duplicated: int = 0, dropped: int = 0) -> StreamCounts | None:
        """Return the counts, with those that only the progress gives; None where there are none."""
        if not self._outputs:
            return None
        inputs, outputs = tuple(self._inputs.values()), tuple(self._outputs.values())
        return StreamCounts(inputs, outputs, tuple(self._routes), duplicated, dropped)

    def _take(self, line: str) -> None:
        if line == "Stream mapping:":
            # an input's name may hold line breaks: the last mapping is ffmpeg's own
            self._mapping, self._routes = True, {}
        elif self._mapping:
            self._mapping = self._take_route(line)
        self._take_count(line)
        self._take_error(line)
        if _NOISE.search(line):
            return
        line = printable(line)
        self._tail.append(line)
        self._tail_bytes += len(line.encode()) + 1
        while self._tail_bytes > _TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft().encode()) + 1

    def _take_route(self, line: str) -> bool:
        """Return whether the stream mapping may go on after a line."""
        if found := _MAP.match(line):
            a, b, c, d = (_int(n) for n in found.groups()[:4])
            self._routes[Route((a, b), (c, d))] = None
        elif found := _GRAPH.match(line):
            self._routes[Route((_int(found[1]), _int(found[2])), None)] = None
        return bool(found or _FROM_GRAPH.match(line)) and len(self._routes) < _MOST

    def _take_count(self, line: str) -> None:
        if found := _IN.match(line):
            file, stream, kind, packets, frames, errors = found.groups()
            key = (_int(file), _int(stream))
            if key in self._inputs or len(self._inputs) < _MOST:
                counted = self._errors[key] if errors is None else _int(errors)
                self._inputs[key] = StreamCount(
                    *key, kind, _int(packets), _optional(frames), counted
                )
        elif found := _OUT.match(line):
            file, stream, kind, frames, packets = found.groups()
            key = (_int(file), _int(stream))
            if key in self._outputs or len(self._outputs) < _MOST:
                self._outputs[key] = StreamCount(*key, kind, _int(packets), _optional(frames))

    def _take_error(self, line: str) -> None:
        if self._erring and (found := _REPEATED.match(line)):
            self._errors[self._erring] += _int(found[1])
            return
        self._erring = None
        if (found := _ERROR.match(line)) and len(self._errors) < _MOST:
            self._erring = (_int(found[1]), _int(found[2]))
            self._errors[self._erring] += 1


def _int(digits: str) -> int:
    return int(digits[:18])  # a line made of digits must not cost quadratic time


def _optional(digits: str | None) -> int | None:
    return None if digits is None else _int(digits)

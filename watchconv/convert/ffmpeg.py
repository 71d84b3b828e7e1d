"""What ffmpeg is told and what it says: its command line, its progress, its account, its failures.

Guarantees: the input is read by one forced demuxer from one local file, never through a
playlist, a data reference or the network (on 5.1 and 9.0 alike). The readers take bytes in any
chunks, keep bounded memory whatever comes, and never raise.

Does not: start ffmpeg, touch a file, or judge what the account says (``verify`` does).

Errors: ValueError for a path that is not absolute, which is a bug of the caller.
"""

from __future__ import annotations

import itertools
import math
import re
import signal
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from watchconv.model import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from watchconv.model import MediaInfo

PROTOCOLS = "file"
# Containers that open nothing but the file they are in. Not here: playlists (hls, dash, imf,
# concat, sdp), numbered pictures (image2), text (tty, srt), and index files that name others.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,gif,rm,dv,"
    "ivf,h264,hevc,m4v,h263,vvc,av1,obu,vc1,nut,wtv,gxf,apng,webp_anim,yuv4mpegpipe"
)

_LINE_BYTES = 4096
_TAIL_BYTES = 32 * 1024


def encode_argv(
    ffmpeg: str,
    source: str,
    media: MediaInfo,
    args: Sequence[str],
    output: str,
    *,
    progress_fd: int,
    max_pixels: int | None = None,
) -> list[str]:
    """Compose the command line of one encode.

    source and output are absolute paths; ``file:`` before them disarms every odd name.
    progress_fd is a descriptor that the child inherits; stderr stays for people.
    """
    if not (source.startswith("/") and output.startswith("/")):
        raise ValueError(f"not absolute: {source!r} or {output!r}")
    argv = [ffmpeg, "-hide_banner", "-nostdin", "-nostats", "-v", "verbose", "-y"]
    argv += ["-progress", f"pipe:{progress_fd}"]
    argv += ["-protocol_whitelist", PROTOCOLS, "-format_whitelist", FORMATS, "-f", media.demuxer]
    if media.demuxer == "mov":
        argv += ["-enable_drefs", "0"]
    if "copy" in args:  # AVI and MPEG-PS hold packets without times, which Matroska refuses
        argv += ["-fflags", "+genpts"]
    if max_pixels is not None:
        argv += ["-max_pixels", str(max_pixels)]
    return [*argv, "-i", f"file:{source}", *args, f"file:{output}"]


class _Lines:
    """Cuts bytes into lines: over-long ones are cut, carriage returns overwrite."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._returned = False  # a \r was seen: the next text starts the line again

    def feed(self, chunk: bytes) -> list[str]:
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
                self._line += part[: _LINE_BYTES - len(self._line)]
        return lines

    def close(self) -> str:
        line = self._line.decode("utf-8", "replace")
        self._line.clear()
        self._returned = False
        return line


@dataclass(frozen=True, slots=True)
class Beat:
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
        self._lines = _Lines()
        self._block: dict[str, str] = {}

    def feed(self, chunk: bytes) -> list[Beat]:
        """Take what arrived and give the beats that it completes, oldest first."""
        beats: list[Beat] = []
        for line in self._lines.feed(chunk):
            key, _, value = line.partition("=")
            if key == "progress":
                beats.append(_beat(self._block, ended=value.strip() == "end"))
                self._block = {}
            elif key in _KEYS:
                self._block[key] = value.strip()
        return beats


_KEYS = frozenset(
    {"out_time_us", "frame", "fps", "speed", "dup_frames", "drop_frames", "total_size"}
)


def _beat(block: Mapping[str, str], *, ended: bool) -> Beat:
    micros = _number(block.get("out_time_us"))
    size = _number(block.get("total_size"))
    return Beat(
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


def progress_of(beat: Beat, duration_seconds: float | None) -> Progress:
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


@dataclass(frozen=True, slots=True)
class InputCount:
    """What ffmpeg read of one input stream. frames is None where nothing was decoded."""

    file: int
    stream: int
    kind: str
    packets: int
    frames: int | None
    errors: int | None  # None on 5.1, which does not count them


@dataclass(frozen=True, slots=True)
class OutputCount:
    """What ffmpeg wrote of one output stream. frames is None where packets were copied."""

    file: int
    stream: int
    kind: str
    frames: int | None
    packets: int


@dataclass(frozen=True, slots=True)
class Route:
    """Which output stream an input stream feeds; output is None into a complex filter graph."""

    source: tuple[int, int]
    output: tuple[int, int] | None
    copied: bool


@dataclass(frozen=True, slots=True)
class Account:
    """The closing lines of one run of ffmpeg."""

    inputs: tuple[InputCount, ...]
    outputs: tuple[OutputCount, ...]
    routes: tuple[Route, ...]
    duplicated: int
    dropped: int


# Tags and titles are printed further in, or behind "key : ": at these columns only ffmpeg speaks.
_CONTEXT = r"^(?:\[[^\]]*\] )*"
_IN = re.compile(
    _CONTEXT + r"  Input stream #(\d+):(\d+) \((\w+)\): (\d+) packets read \(\d+ bytes\);"
    r"(?: (\d+) frames decoded)?(?:; (\d+) decode errors)?"
)
_OUT = re.compile(
    _CONTEXT + r"  Output stream #(\d+):(\d+) \((\w+)\): "
    r"(?:(\d+) frames encoded(?: \(\d+ samples\))?; )?(\d+) packets muxed"
)
_MAP = re.compile(r"^  Stream #(\d+):(\d+) -> #(\d+):(\d+) \((.*)\)$")
_GRAPH = re.compile(r"^  Stream #(\d+):(\d+) \(.*\) -> \S+")
_FROM_GRAPH = re.compile(r"^  \S+ (?:\(graph \d+\) )?-> Stream #\d+:\d+ \(.*\)$")
# Thread chatter, deep lines of headers (tags) and statistics: nothing a person looks for.
_NOISE = re.compile(
    r"^\s*$|^ {4,}(?!Last message)|Starting thread\.\.\.$|\(success\)$|EOF packet$|EOF, finishing$"
    r"|returned EOF$|received EOF$|EOF while reading input$|All streams finished$"
    r"|Statistics: \d+ bytes|Reinit context|chlayout:|pixfmt:|--prefix="
)


class StderrReader:
    """Keeps of ffmpeg's stderr what the account needs and a tail for people."""

    def __init__(self) -> None:
        self._lines = _Lines()
        self._mapping = False
        self._routes: dict[Route, None] = {}
        self._inputs: dict[tuple[int, int], InputCount] = {}
        self._outputs: dict[tuple[int, int], OutputCount] = {}
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

    def account(self, last: Beat | None = None) -> Account | None:
        """Give the account, with drops from the last beat; None where ffmpeg printed none."""
        if not self._outputs:
            return None
        return Account(
            tuple(self._inputs.values()),
            tuple(self._outputs.values()),
            tuple(self._routes),
            last.duplicated if last else 0,
            last.dropped if last else 0,
        )

    def _take(self, line: str) -> None:
        if line == "Stream mapping:":
            # an input's name may hold line breaks: the last mapping is ffmpeg's own
            self._mapping, self._routes = True, {}
        elif self._mapping:
            self._mapping = self._take_route(line)
        self._take_count(line)
        if not _NOISE.search(line):
            self._keep("".join(c if c.isprintable() or c == "\t" else _visible(c) for c in line))

    def _take_route(self, line: str) -> bool:
        if found := _MAP.match(line):
            a, b, c, d = (_int(n) for n in found.groups()[:4])
            self._routes[Route((a, b), (c, d), found[5] == "copy")] = None
        elif found := _GRAPH.match(line):
            self._routes[Route((_int(found[1]), _int(found[2])), None, copied=False)] = None
        return bool(found or _FROM_GRAPH.match(line)) and len(self._routes) < 1000

    def _take_count(self, line: str) -> None:
        if found := _IN.match(line):
            file, stream, kind, packets, frames, errors = found.groups()
            key = (_int(file), _int(stream))
            if key in self._inputs or len(self._inputs) < 1000:
                self._inputs[key] = InputCount(
                    *key, kind, _int(packets), _optional(frames), _optional(errors)
                )
        elif found := _OUT.match(line):
            file, stream, kind, frames, packets = found.groups()
            key = (_int(file), _int(stream))
            if key in self._outputs or len(self._outputs) < 1000:
                self._outputs[key] = OutputCount(*key, kind, _optional(frames), _int(packets))

    def _keep(self, line: str) -> None:
        self._tail.append(line)
        self._tail_bytes += len(line.encode()) + 1
        while self._tail_bytes > _TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft().encode()) + 1


def _visible(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _int(digits: str) -> int:
    return int(digits[:18])  # a line made of digits must not cost quadratic time


def _optional(digits: str | None) -> int | None:
    return None if digits is None else _int(digits)


_FULL = re.compile(_CONTEXT + r"\S.*(?:No space left on device|Disk quota exceeded)", re.MULTILINE)
# In this order; the sentence, and whether a second attempt is useless.
_FAILURES: tuple[tuple[str, str, bool], ...] = (
    (r"Unknown encoder '([^']*)'", "this ffmpeg has no encoder {}", True),
    (r"  Stream #\S+: Video: none[^(\n]*\((\w+) /.*(?=[\s\S]*^Decod)",
     "this ffmpeg cannot decode {}", True),
    (r"Decod(?:er \(codec|ing requested, but no decoder found for:) (\w+)",
     "this ffmpeg has no decoder for a stream (codec {})", True),
    (r"Unknown input format: '?(\w+)", "this ffmpeg cannot read containers of type {}", True),
    (r".*Format not on whitelist", "this kind of container is not accepted", True),
    (r"moov atom not found", "the file has no index (moov atom not found): it is incomplete", True),
    (r"Unrecognized option '([^']*)'", "the profile's arguments hold an unknown option: -{}", True),
    (r"No such filter: '([^']*)'", "this ffmpeg has no filter {}", True),
    (r"Stream map '([^']*)' matches no streams", "the file has no stream for -map {}", True),
    (r"Output file (?:#\d+ )?does not contain any stream", "no stream of it can be used", True),
    (r".*Can't write packet with unknown timestamp",
     "the file holds no times to copy; a profile that encodes makes them", True),
    (r".*(?:Could not find tag for codec|codec not currently supported in container"
     r"|is not supported by this format|Raw RGB is not supported|not yet support muxing)",
     "the output's container does not take one of the codecs", True),
    (r".*Decode error rate \S+ exceeds maximum", "most of the file does not decode", True),
    (r"Cannot determine format of input stream", "nothing of a stream decodes", True),
    (r".*(?:Error opening input|file:.*|Error while opening decoder.*): ?Invalid data found",
     "the file holds invalid data that ffmpeg cannot read", True),
    (r".*(?:Cannot allocate memory|Out of memory)", "ffmpeg ran out of memory", False),
    (r".*Permission denied", "ffmpeg was not allowed to open a file", False),
    (r".*(?:Error while opening encoder|Could not open encoder)",
     "the encoder takes neither this picture or sound nor these arguments", False),
)  # fmt: skip
_PATTERNS = tuple(
    (re.compile(r"^(?:\[[^\]]*\] )*" + p, re.MULTILINE), s, h) for p, s, h in _FAILURES
)


def is_disk_full(tail: str) -> bool:
    """Tell whether the disk was full, whatever the exit status: 5.1 may even exit 0 then."""
    return bool(_FULL.search(tail))


def is_hopeless(tail: str) -> bool:
    """Tell whether a second attempt must fail the same way; what is uncertain is not hopeless."""
    found = _diagnose(tail)
    return not is_disk_full(tail) and found is not None and found[1]


def failure_reason(status: int, tail: str) -> str:
    """Say in one plain sentence why ffmpeg failed; a negative status is a signal's number."""
    if is_disk_full(tail):
        return "the disk is full"
    if status < 0:
        return _killed(-status)
    if found := _diagnose(tail):
        return found[0]
    lines = [line for line in tail.splitlines() if "rror" in line or "ailed" in line]
    return f"ffmpeg ended with status {status}" + (f": {lines[0].strip()[:300]}" if lines else "")


def _diagnose(tail: str) -> tuple[str, bool] | None:
    for pattern, sentence, hopeless in _PATTERNS:
        if found := pattern.search(tail):
            return sentence.format(*found.groups()), hopeless
    return None


def _killed(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    hint = " (was the memory used up?)" if number == signal.SIGKILL else ""
    return f"ffmpeg was killed by {name}{hint}"


def encoders_named(args: Sequence[str]) -> set[str]:
    """List the encoders that the arguments ask for by name; copying is none."""
    named = {value for option, value in itertools.pairwise(args) if _CODEC.match(option)}
    return named - {"copy"}


_CODEC = re.compile(r"^-(?:(?:c|codec)(?::.+)?|[vas]codec)$")


def parse_encoders(listing: str) -> frozenset[str]:
    """Read the output of ``ffmpeg -encoders``."""
    return frozenset(re.findall(r"^ [VAS][A-Z.]{5} (\S+)", listing, re.MULTILINE)) - {"="}


def parse_version(text: str) -> str:
    """Read the version out of the first line of ``ffmpeg -version``."""
    found = re.match(r"ffmpeg version (\S+)", text)
    return found[1] if found else "unknown"

"""The probe worker's own side: read a file through PyAV and say what it is.

Runs as a child of the daemon (see ``probe``), which hands it open descriptors over a socket,
one at a time. Nothing else of watchconv imports this module: ``av`` costs 30 MB and 90 ms.

Guarantees: after its imports it can open no file and no network; the container's format is
found by content among those that the daemon names; what a container refers to outside itself
is never opened; a duration is given only when packets or an index with its bytes in place
prove it; it ends when the daemon does, however busy it is.

Does not decide what becomes of a file, and does not limit its own time: the daemon does.

Errors: what is wrong with a file is an answer ("refused"), so is trouble in reading it
("trouble"). Anything else ends the process, and the daemon draws its conclusion.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import av
import av.container
import av.sidedata.encparams
import av.sidedata.motionvectors
import av.stream
import av.subtitles.codeccontext
import av.subtitles.stream  # PyAV imports these when a file has them: too late once confined

from watchconv.convert.sandbox.worker import confine_to_nothing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.container import InputContainer
    from av.index import IndexEntries
    from av.stream import Stream

MIB = 1 << 20
STREAMS_MOST = 64
OPEN_BYTES = 512 * MIB  # what finding out the streams may read; an index can be large
SCAN_BYTES = 8 * MIB  # a file up to this size is read whole for its duration
TAIL_BYTES = 256 * MIB  # the end of a larger one, from a keyframe on
SCAN_SECONDS = 1.0
TAIL_SECONDS = 10.0
JUMP_SECONDS = 10.0  # where ffmpeg, too, takes a step in MPEG's clocks for a new beginning
BOXES_MOST = 1000
STEP_SECONDS = 0.2
DECODE_TRIES = 100  # packets
ADDRESS_SPACE = 1536 * MIB
RESTARTING_CLOCKS = ("mpegts", "mpeg")
KINDS = ("video", "audio", "subtitle", "data", "attachment")

Answer = dict[str, object]


class Refused(Exception):  # noqa: N818 (it is a verdict)
    """This file is not what watchconv converts; the message is for a person."""


class Spent(Exception):  # noqa: N818 (it is a state)
    """The bytes or the time allowed for a step are used up."""


class Reader:
    """The file as PyAV reads it: with its own position, which the daemon's does not share."""

    name = "the file"

    def __init__(self, fd: int) -> None:
        self.size = os.fstat(fd).st_size
        self.trouble: OSError | None = None
        self.spent = False  # ffmpeg may take a Spent for the end of the file
        self._fd = fd
        self._position = 0
        self.allow(OPEN_BYTES, float("inf"))

    def allow(self, count_bytes: int, seconds: float) -> None:
        """Let the next steps read so much and take so long; then Spent is raised."""
        self._left_bytes = count_bytes
        self._deadline = time.monotonic() + seconds

    def read(self, count: int) -> bytes:
        """Read on from the position; nothing means the end."""
        if self._left_bytes <= 0 or self.late:
            self.spent = True
            raise Spent
        part = self.peek(self._position, count)
        self._position += len(part)
        self._left_bytes -= len(part)
        return part

    def peek(self, at: int, count: int) -> bytes:
        """Read somewhere else; the position, which ffmpeg reckons with, stays."""
        try:
            return os.pread(self._fd, count, at)
        except OSError as error:
            self.trouble = error
            raise

    @property
    def late(self) -> bool:
        """Whether the time allowed is over."""
        return time.monotonic() > self._deadline

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, as a file object does."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Give the position."""
        return self._position


def serve(channel: socket.socket, formats: str) -> None:
    """Confine this process, say so, then answer requests until the daemon closes the channel.

    formats is ffmpeg's whitelist of demuxers. (Handed over: importing it would cost 30 ms.)
    """
    die_with_the_daemon()
    missing = confine_to_nothing()
    limit_resources()
    channel.send(json.dumps({"ready": missing}).encode())
    while True:
        request, fds, _flags, _address = socket.recv_fds(channel, 64, 1)
        if not request:
            return
        reply = json.dumps(answer(request, fds[0], formats)).encode()
        os.close(fds[0])  # before the answer: the caller may want to unmount after it
        channel.send(reply)


def die_with_the_daemon() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def limit_resources() -> None:
    """Bound memory and descriptors; write no file and no core."""
    for limit, most in (
        (resource.RLIMIT_AS, ADDRESS_SPACE),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))


def answer(request: bytes, fd: int, formats: str) -> Answer:
    """Do what was asked with the open file."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return {"refused": "it is no regular file"}
    reader = Reader(fd)
    try:
        found = probe(reader, formats) if request == b"probe" else examine(reader)
    except Refused as verdict:
        found = {"refused": str(verdict)}
    except MemoryError:
        found = {"refused": f"reading it takes more than {ADDRESS_SPACE // MIB} MiB of memory"}
    except Spent:
        found = {"refused": "it takes too much reading to find out what it is"}
    except av.FFmpegError as error:
        found = {"refused": f"it cannot be read: {error}"}
    if reader.trouble:
        return {"trouble": f"reading it failed: {reader.trouble.strerror}"}
    return found


def refuse_to_open(url: str, flags: object, options: object) -> NoReturn:
    """Refuse whatever a container names outside itself."""
    raise PermissionError(f"not opened: {url}")


def open_input(reader: Reader, formats: str) -> InputContainer:
    """Find the format and the streams; formats is a whitelist, empty means any."""
    options = {"protocol_whitelist": "none"}
    if formats:
        options["format_whitelist"] = formats
    try:
        container = av.open(
            reader, "r", options=options, metadata_errors="replace", io_open=refuse_to_open
        )
    except MemoryError:
        raise
    except av.FFmpegError as error:
        raise Refused("it is no video in a format that watchconv accepts") from error
    if reader.spent:
        raise Spent
    if not len(container.streams):
        raise Refused("it holds no streams")
    return container


def probe(reader: Reader, formats: str) -> Answer:
    """Say which streams the file holds and how long it is."""
    with open_input(reader, formats) as container:
        demuxer = container.format.name.split(",")[0]
        indexed = has_whole_index(demuxer, reader)
        streams = list(container.streams)[:STREAMS_MOST]
        rows = [describe(stream, indexed) for stream in streams]
        duration_seconds = prove_duration(container, reader, demuxer, indexed)
    return {"media": {"demuxer": demuxer, "duration": duration_seconds, "streams": rows}}


def describe(stream: Stream, indexed: bool) -> list[object]:
    """Make a row of one stream, in the order of model.Stream."""
    context = stream.codec_context
    sized = context if context is not None and stream.type == "video" else None
    return [
        stream.index,
        kind_of(stream),
        codec_of(stream),
        len(stream.index_entries) if indexed and not is_cover(stream) else None,
        getattr(sized, "width", 0),
        getattr(sized, "height", 0),
        getattr(sized, "pix_fmt", None) or "",
        is_cover(stream),
        language_of(stream),
    ]


def kind_of(stream: Stream) -> str:
    """Name the stream's kind; what ffmpeg cannot name either is data."""
    return stream.type if stream.type in KINDS else "data"


def codec_of(stream: Stream) -> str:
    """Name the codec, not the decoder that happens to read it."""
    context = stream.codec_context
    return "unknown" if context is None else context.codec.canonical_name


def is_cover(stream: Stream) -> bool:
    """Tell an attached picture from a video."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def language_of(stream: Stream) -> str:
    """Give the language tag where it looks like one."""
    tag = stream.language or ""
    return tag if tag.isascii() and tag.isalnum() and len(tag) <= 8 else ""


def has_whole_index(demuxer: str, reader: Reader) -> bool:
    """Look whether the container's own index lists every packet.

    An mp4 with fragments grows its index while it is read; an AVI without idx1 gets one made up.
    """
    if demuxer == "mov":
        kinds = set(box_kinds(reader))
        return b"moov" in kinds and b"moof" not in kinds
    return demuxer == "avi" and b"idx1" in chunk_kinds(reader)


def box_kinds(reader: Reader) -> Iterator[bytes]:
    """Walk the outermost boxes of an mp4."""
    at = 0
    for _ in range(BOXES_MOST):
        head = reader.peek(at, 16)
        yield head[4:8]
        size = int.from_bytes(head[:4], "big")
        at += int.from_bytes(head[8:16], "big") if size == 1 else size
        if size == 0 or at >= reader.size:
            return


def chunk_kinds(reader: Reader) -> Iterator[bytes]:
    """Walk the chunks inside the first RIFF of an AVI; they lie on even offsets."""
    at = 12
    for _ in range(BOXES_MOST):
        head = reader.peek(at, 8)
        yield head[:4]
        size = int.from_bytes(head[4:8], "little")
        at += 8 + size + size % 2
        if at >= reader.size:
            return


def timed(container: InputContainer) -> list[Stream]:
    """Choose the streams that make a file's length."""
    return [s for s in container.streams if s.type in ("video", "audio") and not is_cover(s)]


def prove_duration(
    container: InputContainer, reader: Reader, demuxer: str, indexed: bool
) -> float | None:
    """Measure the file's length in seconds; None where no packets prove it.

    Order: the index, then every packet of a small file, then the last packets of a large one.
    """
    if not timed(container):
        return None
    if indexed and (length := indexed_length(container, reader)) is not None:
        return length
    reader.allow(SCAN_BYTES, SCAN_SECONDS)
    if demuxer == "gif" or reader.size <= SCAN_BYTES:
        scan = read_packets(container, reader, demuxer)
        if demuxer == "gif" and scan.whole and scan.packets < 2:
            raise Refused("it is a still picture, not a video")
        return scan.length if scan.whole else None
    return tail_length(container, reader, demuxer)


def indexed_length(container: InputContainer, reader: Reader) -> float | None:
    """Measure by the index, where the file holds the bytes of the last packets that it lists.

    How long the last packet lasts is a guess: where it matters, nothing is proven.
    """
    starts, ends, lasts = [], [], 0.0
    for stream in timed(container):
        entries = stream.index_entries
        if not len(entries) or not stream.time_base:
            continue
        last = entries[-1]
        if last.pos + last.size > reader.size:
            return None
        unit = float(stream.time_base)
        starts.append(first_shown(entries) * unit)
        ends.append((last.timestamp + last_step(entries)) * unit)
        lasts = max(lasts, last_step(entries) * unit)
    length = max(ends) - min(starts) if ends else 0
    return length if lasts <= max(STEP_SECONDS, length / 10) and length > 0 else None


def first_shown(entries: IndexEntries) -> int:
    """Give the time of the first packet that an edit list does not cut away."""
    shown = (e.timestamp for e in entries[:100] if not e.is_discard)
    return next(shown, entries[0].timestamp)


def last_step(entries: IndexEntries) -> int:
    """Take the last packet to be as long as the one before it."""
    return entries[-1].timestamp - entries[-2].timestamp if len(entries) > 1 else 0


@dataclass(slots=True)
class Scan:
    """What reading packets in a row has shown."""

    start: float = float("inf")
    end: float = float("-inf")
    packets: int = 0
    whole: bool = False  # the end of the file was reached, and time ran forward all the way

    def add(self, shown: float, lasts: float) -> None:
        """Count a packet that is shown at a time, for a time (seconds)."""
        self.packets += 1
        self.start = min(self.start, shown)
        self.end = max(self.end, shown + lasts)

    @property
    def length(self) -> float | None:
        """Seconds between the first and the end of the last packet."""
        return self.end - self.start if self.end > self.start else None


def read_packets(container: InputContainer, reader: Reader, demuxer: str) -> Scan:
    """Read on to the end of the file, or until what the reader allows is spent."""
    scan = Scan()
    streams = timed(container)
    units = {s.index: float(s.time_base or 0) for s in streams}
    previous: dict[int, float] = {}
    try:
        for packet in container.demux(streams):
            when = packet.dts if packet.dts is not None else packet.pts
            if when is None:
                continue
            unit = units[packet.stream_index]
            step = when * unit - previous.get(packet.stream_index, when * unit)
            if step < -JUMP_SECONDS or (step > JUMP_SECONDS and demuxer in RESTARTING_CLOCKS):
                return scan
            previous[packet.stream_index] = when * unit
            shown = when if packet.pts is None else packet.pts
            scan.add(shown * unit, (packet.duration or 0) * unit)
            if reader.late:
                return scan
    except (av.FFmpegError, Spent):
        return scan
    scan.whole = not reader.spent
    return scan


def tail_length(container: InputContainer, reader: Reader, demuxer: str) -> float | None:
    """Measure a large file by its first packets and its last.

    MPEG's clocks may start anew in the middle, which the two ends do not show: there the
    tail's bytes per second must fit those of the whole.
    """
    start, announced = container.start_time, container.duration
    if start is None or not announced:
        return None
    reader.allow(TAIL_BYTES, SCAN_SECONDS)
    try:
        container.seek(int(start + announced - TAIL_SECONDS * av.time_base))
    except (av.FFmpegError, Spent):
        return None
    at_bytes = reader.tell()
    scan = read_packets(container, reader, demuxer)
    if not scan.whole or scan.length is None:
        return None
    length = scan.end - start / av.time_base
    if demuxer in RESTARTING_CLOCKS:
        expected = scan.length * reader.size / max(1, reader.size - at_bytes)
        if not 1 / 1.5 < expected / length < 1.5:
            return None
    return length


def examine(reader: Reader) -> Answer:
    """Read every packet, and decode of each stream until the first frame."""
    with open_input(reader, "") as container:
        reader.allow(1 << 62, float("inf"))
        streams = list(container.streams)[:STREAMS_MOST]
        packets = [0] * len(container.streams)
        tries = [DECODE_TRIES if s.type in ("video", "audio") else 0 for s in container.streams]
        decodes = [not wanted for wanted in tries]
        for packet in container.demux():
            at = packet.stream_index
            packets[at] += packet.dts is not None or packet.size > 0
            if not decodes[at] and tries[at]:
                tries[at] -= 1
                decodes[at] = gives_a_frame(packet)
        rows = [
            [s.index, kind_of(s), codec_of(s), packets[s.index], decodes[s.index]] for s in streams
        ]
    return {"contents": rows}


def gives_a_frame(packet: av.Packet[Stream]) -> bool:
    """Decode one packet; damage in it is no frame."""
    try:
        return bool(packet.decode())
    except av.FFmpegError:
        return False

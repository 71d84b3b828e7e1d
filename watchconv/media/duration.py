"""How long a file is: proven by packets, or by an index whose bytes are there; else it is None.

Never by a header. The probe worker's; what is read is bounded in bytes and time.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import av

from watchconv.media.container import read_box, read_chunk, walk
from watchconv.media.tracks import is_cover

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

    from watchconv.media.zeros import Zeros

MIB = 1 << 20
OPEN_BYTES = 512 * MIB  # what finding out the streams may read; an index can be large
SCAN_BYTES = 8 * MIB  # a file up to this size is read whole for its duration
TAIL_BYTES = 256 * MIB  # the end of a larger one, from a keyframe on
SCAN_SECONDS = 1.0
TAIL_SECONDS = 10.0
BACK_SECONDS = 1.0  # a clock that goes back by more has begun anew
JUMP_SECONDS = 10.0  # where ffmpeg, too, takes a step in MPEG's clocks for a new beginning
STEP_SECONDS = 0.2
RESTARTING_CLOCKS = ("mpegts", "mpeg")


class Refused(Exception):  # noqa: N818 (it is a verdict)
    """This file is not what watchconv converts; the message is for a person."""

    def __init__(self, reason: str, cause: str) -> None:
        super().__init__(reason)
        self.cause = cause  # one of ``probe_protocol.REFUSALS``


class Spent(Exception):  # noqa: N818 (it is a state)
    """The bytes or the time allowed for a step are used up."""


class Reader:
    """The file as PyAV reads it: with its own position, which the daemon's does not share."""

    name = "the file"

    def __init__(self, fd: int, zeros: Zeros | None = None) -> None:
        self.size = os.fstat(fd).st_size
        self.trouble: OSError | None = None
        self.spent = False  # ffmpeg may take a Spent for the end of the file
        self.zeros = zeros  # what looks for them in all that is read
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
        part = self.peek(count, self._position)
        if self.zeros:
            self.zeros.see(part, self._position)
        self._position += len(part)
        self._left_bytes -= len(part)
        return part

    def peek(self, count: int, at: int) -> bytes:
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
        """Return the position."""
        return self._position


def has_whole_index(demuxer: str, reader: Reader) -> bool:
    """Return whether the container's own index lists every packet.

    An mp4 with fragments grows its index while it is read; an AVI without idx1 gets one made up.
    """
    if demuxer == "mov":
        boxes = walk(reader.peek, reader.size, read_box).names
        return b"moov" in boxes and b"moof" not in boxes
    return demuxer == "avi" and b"idx1" in walk(reader.peek, reader.size, read_chunk, 12).names


def timed(container: InputContainer) -> list[Stream]:
    """Return the streams that make a file's length."""
    return [s for s in container.streams if s.type in ("video", "audio") and not is_cover(s)]


def scan_whole(
    container: InputContainer, reader: Reader, demuxer: str, packets: Iterable[Packet[Stream]]
) -> Scan | None:
    """Read every packet of a small file; None of a large one."""
    reader.allow(SCAN_BYTES, SCAN_SECONDS)
    if demuxer != "gif" and reader.size > SCAN_BYTES:
        return None
    scan = read_packets(container, reader, demuxer, packets)
    if demuxer == "gif" and scan.whole and scan.packets < 2:
        raise Refused("it is a still picture, not a video", "not-video")
    return scan


def indexed_length(container: InputContainer, reader: Reader) -> float | None:
    """Measure by the index, where the file holds the bytes of the last packets that it lists.

    The last packet is guessed to last as long as the one before it; where that matters, it is None.
    """
    starts, ends, lasts = [], [], 0.0
    streams = timed(container)
    videos = [stream for stream in streams if stream.type == "video"]
    # AVI's index counts sounds in bytes, or in packets, as it likes
    for stream in videos if container.format.name == "avi" and videos else streams:
        entries = stream.index_entries
        if not len(entries) or not stream.time_base:
            continue
        last = entries[-1]
        if last.pos + last.size > reader.size:
            return None
        unit = float(stream.time_base)
        # what an edit list cuts away at the start is not shown
        shown = (entry.timestamp for entry in entries[:100] if not entry.is_discard)
        starts.append(next(shown, entries[0].timestamp) * unit)
        lasting = last.timestamp - entries[-2].timestamp if len(entries) > 1 else 0
        ends.append((last.timestamp + lasting) * unit)
        lasts = max(lasts, lasting * unit)
    length = max(ends) - min(starts) if ends else 0
    return length if lasts <= max(STEP_SECONDS, length / 10) and length > 0 else None


def packets_of(container: InputContainer, streams: list[Stream]) -> Iterator[Packet[Stream]]:
    """Read on to the end of the file, packet by packet."""
    while True:
        try:
            yield from container.demux(streams)
            return
        except IndexError:
            # PyAV stumbles over the first packet of a stream that appears in the middle, which MPEG
            # allows: a new reading of the same streams goes on behind it
            continue


@dataclass(slots=True)
class Scan:
    """What reading packets in a row has shown."""

    start: float = float("inf")  # when the first packet is shown, in seconds
    end: float = float("-inf")
    packets: int = 0
    streams: set[int] = field(default_factory=set)  # that packets came of
    ended: bool = False  # the end of the file was reached
    whole: bool = False  # and time ran forward all the way

    @property
    def length(self) -> float | None:
        """The seconds from the first packet to the last; None where they are not proven."""
        return self.end - self.start if self.whole and self.end > self.start else None


def read_packets(
    container: InputContainer, reader: Reader, demuxer: str, packets: Iterable[Packet[Stream]]
) -> Scan:
    """Read on to the end of the file, or until what the reader allows is spent."""
    scan = Scan()
    units = {s.index: float(s.time_base or 0) for s in timed(container)}
    previous: dict[int, float] = {}
    jumped = False
    try:
        for packet in packets:
            if packet.size:
                scan.streams.add(packet.stream_index)
            when = packet.dts if packet.dts is not None else packet.pts
            unit = units.get(packet.stream_index)
            if when is None or unit is None:
                continue
            step = when * unit - previous.get(packet.stream_index, when * unit)
            if step < -BACK_SECONDS or (step > JUMP_SECONDS and demuxer in RESTARTING_CLOCKS):
                jumped = True
            previous[packet.stream_index] = when * unit
            shown = when if packet.pts is None else packet.pts
            scan.packets += 1
            scan.start = min(scan.start, shown * unit)
            scan.end = max(scan.end, (shown + (packet.duration or 0)) * unit)
            if reader.late:
                return scan
    except (av.FFmpegError, Spent):
        return scan
    scan.ended = not reader.spent
    scan.whole = scan.ended and not jumped
    return scan


def tail_length(container: InputContainer, reader: Reader, demuxer: str) -> float | None:
    """Measure a large file by its first packets and its last.

    MPEG's clocks may start anew in the middle: the tail's bytes per second must fit the whole's.
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
    scan = read_packets(container, reader, demuxer, packets_of(container, timed(container)))
    length = scan.end - start / av.time_base
    if not scan.whole or scan.end <= scan.start or length <= 0:  # the clock started anew
        return None
    if demuxer in RESTARTING_CLOCKS:
        expected = (scan.end - scan.start) * reader.size / max(1, reader.size - at_bytes)
        if not 1 / 1.5 < expected / length < 1.5:
            return None
    return length

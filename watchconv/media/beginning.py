"""A file's first packets, read once: what is decoded of them, and what is measured by them.

The probe worker's. Bounded in packets, in bytes and in time.
"""

from __future__ import annotations

import time
from itertools import chain
from typing import TYPE_CHECKING, Any

import av

from watchconv.media.duration import Spent, packets_of
from watchconv.media.tracks import is_cover, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame

MIB = 1 << 20
FRAMES = 3  # of a video whose frames may be fields; the first alone may say little
FIELD_CODECS = frozenset({"h264", "mpeg2video", "mpeg1video", "vc1", "hevc"})
FIELD_LINES = 1152  # no larger picture comes in fields
PACKETS = 100  # of a video, until it is given up that one decodes
MOST_PACKETS = 4000
MOST_BYTES = 48 * MIB
MOST_SECONDS = 2.0
MOST_PIXELS = 1 << 26  # twice 8K; what is larger is a bomb, or refused
LOW_DELAY = 1 << 19  # AV_CODEC_FLAG_LOW_DELAY: a frame comes out as soon as it is in


class Beginning:
    """The first packets of a container, and the frames that they give."""

    def __init__(self, container: InputContainer) -> None:
        self.frames: dict[int, list[VideoFrame]] = {}  # by stream
        self.encrypted = False
        self._container = container
        self._packets = packets_of(container, list(container.streams))
        self._read: list[Packet[Stream]] = []
        self._wanted: dict[int, int] = {}  # how many more frames, by stream
        for stream in container.streams:
            context: Any = stream.codec_context
            if kind_of(stream) != "video" or context is None or is_cover(stream):
                continue
            if context.width * context.height > MOST_PIXELS:
                continue
            fields = context.name in FIELD_CODECS and context.height <= FIELD_LINES
            self._wanted[stream.index] = FRAMES if fields else 1
            context.thread_count = 1
            context.flags |= LOW_DELAY

    def decode(self) -> None:
        """Read on until each video has given its first frames, or is given up."""
        deadline = time.monotonic() + MOST_SECONDS
        tries = dict.fromkeys(self._wanted, PACKETS)
        count_bytes = 0
        try:
            while self._wanted and count_bytes < MOST_BYTES and len(self._read) < MOST_PACKETS:
                packet = next(self._packets, None)
                if packet is None or time.monotonic() > deadline:
                    return
                # not the packet's own: those that end the streams all have the first's
                at = packet.stream.index
                count_bytes += packet.size
                self._read.append(packet)
                self.encrypted |= packet.has_sidedata("encryption_info")
                if at not in self._wanted:
                    continue
                tries[at] -= 1
                frames = self.frames.setdefault(at, [])
                try:
                    frames += packet.decode()  # type: ignore[arg-type]
                except av.FFmpegError:  # damage in it is no frame
                    pass
                except MemoryError:
                    tries[at] = 0
                if len(frames) >= self._wanted[at] or tries[at] <= 0:
                    del self._wanted[at]
        except (av.FFmpegError, Spent):
            return

    def rewind(self) -> None:
        """Have the decoders forget what they have seen, to see it again."""
        for stream in self._container.streams:
            if stream.codec_context is not None:  # at the file's end even unused ones are ended
                stream.codec_context.flush_buffers()

    def packets(self) -> Iterator[Packet[Stream]]:
        """Return all packets from the beginning on; they can be had once."""
        read, self._read = self._read, []
        return chain(read, self._packets)

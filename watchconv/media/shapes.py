"""Whether the size or the shape of a video's pictures changes on its way. The probe worker's.

Headers are compared, which costs next to nothing; only a picture behind a new one is decoded.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import av
from av.codec import CodecContext

from watchconv.media.tracks import kind_of

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

HEAD_BYTES = 4096  # of a key picture: its header stands in front
MOST_HEADERS = 12  # of a video that are looked at
_HEADERS = {
    "mpeg1video": re.compile(rb"\x00\x00\x01\xb3(.{4})", re.DOTALL),
    "mpeg2video": re.compile(rb"\x00\x00\x01\xb3(.{4})", re.DOTALL),
    "h264": re.compile(rb"\x00\x00\x01[\x27\x47\x67](.{4,80}?)(?=\x00\x00)", re.DOTALL),
    "hevc": re.compile(rb"\x00\x00\x01\x42\x01(.{4,120}?)(?=\x00\x00\x01)", re.DOTALL),
    "vp8": re.compile(rb".{3}\x9d\x01\x2a(.{4})", re.DOTALL),
    "vp9": re.compile(rb"(.{10})", re.DOTALL),
    "av1": re.compile(rb"\A(?:\x12\x00)?\x0a(.{12})", re.DOTALL),
}


class Shapes:
    """The sizes and shapes of one video."""

    def __init__(self, stream: Stream) -> None:
        context: Any = stream.codec_context
        self._codec = context.codec.canonical_name if context else ""
        self._extradata = context.extradata if context else None
        self._pattern = _HEADERS.get(self._codec) if kind_of(stream) == "video" else None
        self._headers: set[bytes] = set()
        self._found: set[tuple[int, int, object]] = set()

    def see(self, packet: Packet[Stream]) -> None:
        """Look at a packet of this video, if a key picture is in it."""
        if self._pattern is None or not packet.is_keyframe or packet.size < 8:
            return
        if len(self._headers) >= MOST_HEADERS:
            return
        extradata = self._extradata
        with memoryview(packet) as data:
            found = self._pattern.search(bytes(data[:HEAD_BYTES]))
        header = found[1] if found else b""
        if packet.has_sidedata("new_extradata"):
            extradata = header = bytes(packet.get_sidedata("new_extradata"))
        if header and header not in self._headers:
            self._headers.add(header)
            self._decode(packet, extradata)

    def _decode(self, packet: Packet[Stream], extradata: bytes | None) -> None:
        context: Any = CodecContext.create(self._codec, "r")
        if extradata:
            context.extradata = extradata
        context.thread_count = 1
        with suppress(av.FFmpegError, ValueError):
            frames = context.decode(packet) or context.decode(None)
            for frame in frames[:1]:
                aspect = context.sample_aspect_ratio or 1
                self._found.add((frame.width, frame.height, aspect))

    @property
    def largest(self) -> tuple[int, int] | None:
        """The largest size, where there is more than one size or shape."""
        if len(self._found) < 2:
            return None
        width, height, _ = max(self._found, key=lambda one: one[0] * one[1])
        return width, height

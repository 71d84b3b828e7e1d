"""One track of a file that is read to its end: its packets, its times, and whether it decodes.

The probe worker's. Its memory does not grow with the track.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import av

from watchconv.media import BARE
from watchconv.media.duration import BACK_SECONDS
from watchconv.media.facts import Content, Gap
from watchconv.media.tracks import kind_of

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

    from watchconv.media.facts import Track

MIB = 1 << 20
DECODE_TRIES = 100  # packets, until the first frame
WHOLE_BYTES = 64 * MIB  # of a video that is decoded wholly; behind that only its key frames are
REORDERED = 32  # packets, by which pictures may be shown in another order than they are stored
GAP_SECONDS = 0.2  # a smaller one is no gap
GAPS = 10


class Reading:
    """What the packets of one track have shown so far."""

    def __init__(self, stream: Stream, *, whole: bool, decodes: bool) -> None:
        """whole: decode all of it; decodes: it is known already that it gives a frame."""
        self.packets = self.corrupt = self.steps_back = self.frames = 0
        self._kind = kind_of(stream)
        self._unit = float(stream.time_base or 0)
        self._context: Any = stream.codec_context
        self._is_bare = bool(self._context) and self._context.codec.canonical_name.startswith(BARE)
        is_timed = self._kind in ("video", "audio")
        self._whole = whole and is_timed and self._context is not None
        self._decodes = decodes or not is_timed
        self._tries = 0 if self._decodes or not self._context else DECODE_TRIES
        self._bytes = 0
        self._waiting: list[tuple[float, float]] = []  # shown at, seconds: not yet in order
        self._last_dts: float | None = None
        self._begun: float | None = None  # when the present stretch of time began
        self._over = 0.0  # and where it has come to
        self._step = 0.0  # from the last picture to the one before
        self._start: float | None = None
        self._end: float | None = None
        self._seconds = 0.0
        self._gaps: list[tuple[float, float]] = []

    def see(self, packet: Packet[Stream]) -> None:
        """Take in the next packet; an empty one ends the track."""
        if packet.dts is not None or packet.size > 0:
            self.packets += 1
            self._bytes += packet.size
            self.corrupt += packet.is_corrupt or self._is_zeros(packet)
            if not packet.is_discard:
                self._see_time(packet)
        if self._whole:
            if self._kind == "video" and self._bytes > WHOLE_BYTES:
                self._context.skip_frame = "NONKEY"
            self.frames += self._decode(packet)
        elif self._tries and not self._decodes:
            self._tries -= 1
            self._decodes = self._decode(packet) > 0

    def _decode(self, packet: Packet[Stream]) -> int:
        try:
            return len(packet.decode())
        except av.FFmpegError:  # damage in it is no frame
            return 0

    def _is_zeros(self, packet: Packet[Stream]) -> bool:
        if self._is_bare or packet.size < 64 or self._kind not in ("video", "audio"):
            return False
        data = memoryview(packet)
        return not any(data[:64]) and not any(data)

    def _see_time(self, packet: Packet[Stream]) -> None:
        """Put what is shown into its order, and begin anew where the clock does."""
        stored = packet.dts if packet.dts is not None else packet.pts
        shown = packet.pts if packet.pts is not None else packet.dts
        if stored is None or shown is None:
            return
        dts = stored * self._unit
        if self._last_dts is not None and dts < self._last_dts - BACK_SECONDS:
            self.steps_back += 1
            self._end_stretch()
        self._last_dts = dts
        item = shown * self._unit, (packet.duration or 0) * self._unit
        if len(self._waiting) < REORDERED:
            heapq.heappush(self._waiting, item)
        else:
            self._show(*heapq.heappushpop(self._waiting, item))

    def _show(self, at: float, seconds: float) -> None:
        """Go on to what is shown next."""
        if self._begun is None:
            self._begun = self._over = at
        gap = at - self._over
        if gap > GAP_SECONDS and self._kind in ("video", "audio"):
            self._gaps.append((gap, self._over))
            self._gaps = heapq.nlargest(GAPS, self._gaps)
            self._seconds -= gap
        self._start = at if self._start is None else min(self._start, at)
        self._over = max(self._over, at + (seconds or self._step))
        self._step = seconds or self._step

    def _end_stretch(self) -> None:
        """Show what is still waiting, and count the stretch of time that ends there."""
        while self._waiting:
            self._show(*heapq.heappop(self._waiting))
        if self._begun is not None:
            self._seconds += self._over - self._begun
            self._end = self._over if self._end is None else max(self._end, self._over)
        self._begun = None

    def content(self, track: Track) -> Content:
        """Say what the track held; nothing more may be seen of it."""
        self._end_stretch()
        decodes = self._decodes and track.decodable
        if self._whole:
            wanted = self.packets if self._bytes <= WHOLE_BYTES else 0
            decodes = self.frames > 0 and self.frames * 10 >= wanted
        return Content(
            track.index,
            track.kind,
            track.codec,
            self.packets,
            decodes,
            self._start,
            self._end,
            tuple(Gap(at, seconds) for seconds, at in self._gaps),
            self.steps_back,
            self.corrupt,
            max(0.0, self._seconds),
        )

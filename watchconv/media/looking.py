"""Pictures of a video at a few moments, as a player shows them. The probe worker's.

Bounded in time: a moment that is not reached soon has no pictures.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import av
from av.sidedata.sidedata import Type as SideData

from watchconv.media.colors import mean_colors, turn
from watchconv.media.duration import Refused, Spent, packets_of
from watchconv.media.facts import Picture
from watchconv.media.tracks import kind_of, turning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from av.container import InputContainer
    from av.stream import Stream
    from av.video.frame import VideoFrame

MOMENT_SECONDS = 10.0  # to reach one
BEFORE_SECONDS = (0.0, 3.0, 15.0)  # how far ahead of a moment reading begins, one after another
SKIPPED_SECONDS = 1.0  # so far from the moment only the frames that others need are decoded
NEAR_SECONDS = 2.0  # so far ahead, decoding on is less work than finding the place
THREADS = 4


def look(
    container: InputContainer, track: int, moments: Sequence[float], spread: int
) -> tuple[tuple[Picture, ...], ...]:
    """Return for each moment the frame that is shown then, and the frames around it."""
    streams = list(container.streams)
    if not (0 <= track < len(streams)) or kind_of(streams[track]) != "video":
        raise Refused("it holds no such video", "unreadable")
    stream = streams[track]
    if stream.codec_context is None:
        raise Refused("there is no decoder for its video", "unreadable")
    playing = _Playing(container, stream, spread)
    return tuple([tuple(_pictures(playing.at(moment), stream)) for moment in moments])


class _Playing:
    """A video that is decoded forward from moment to moment, and found anew where that is far."""

    def __init__(self, container: InputContainer, stream: Stream, spread: int) -> None:
        context: Any = stream.codec_context
        context.thread_count = THREADS
        self._container, self._stream, self._context = container, stream, context
        self._spread = spread
        self._unit = float(stream.time_base or 1)
        self._around = (spread + 1.5) / float(stream.average_rate or 25)
        self._kept: deque[VideoFrame] = deque(maxlen=2 * spread + 1)
        self._frames: Iterator[VideoFrame] = iter(())
        self._wanted = self._deadline = 0.0

    def at(self, moment: float) -> list[VideoFrame]:
        """Return the frame of a moment and those around it; none where it is not reached soon."""
        self._wanted = moment - self._around
        self._deadline = time.monotonic() + MOMENT_SECONDS
        if self._kept and 0 <= self._wanted - _time_of(self._kept[-1], self._stream) < NEAR_SECONDS:
            return self._play_to(moment)
        first = self._stream.start_time or 0  # before it, some containers find nothing
        for before in BEFORE_SECONDS:
            self._kept.clear()
            place = max(first, int((self._wanted - before) / self._unit))
            try:
                self._container.seek(place, stream=self._stream)
            except (av.FFmpegError, Spent):
                continue
            self._frames = self._decoded()
            frames = self._play_to(moment)
            if frames and _time_of(frames[0], self._stream) <= moment + 1e-3:
                return frames
        return list(self._kept)

    def _play_to(self, moment: float) -> list[VideoFrame]:
        """Decode on until the frames behind a moment are there, too."""
        after = 0
        for frame in self._frames:
            self._kept.append(frame)
            # the frame of the moment is the last one that begins before it
            after += _time_of(frame, self._stream) > moment + 1e-3
            if after > self._spread:
                break
        return list(self._kept)

    def _decoded(self) -> Iterator[VideoFrame]:
        has_begun = False  # some decoders show grey until a picture comes that stands alone
        try:
            for packet in packets_of(self._container, [self._stream]):
                if time.monotonic() > self._deadline:
                    return
                has_begun = has_begun or packet.is_keyframe
                if not has_begun:
                    continue
                when = packet.pts if packet.pts is not None else packet.dts
                far = when is not None and when * self._unit < self._wanted - SKIPPED_SECONDS
                self._context.skip_frame = "NONREF" if far else "DEFAULT"
                with suppress(av.FFmpegError):  # damage in it is no frame
                    yield from packet.decode()  # type: ignore[misc]
        except (av.FFmpegError, Spent):
            return


def _pictures(frames: list[VideoFrame], stream: Stream) -> Iterator[Picture]:
    for frame in frames:
        if colors := mean_colors(frame):
            rotation, flipped = _turned(frame)
            turned = turn(colors, rotation, flipped=flipped)
            yield Picture(_time_of(frame, stream), turned)


def _turned(frame: VideoFrame) -> tuple[int, bool]:
    attached: Any = frame.side_data
    for data in attached:
        if data.type is SideData.DISPLAYMATRIX:
            return turning(bytes(data))
    return 0, False


def _time_of(frame: VideoFrame, stream: Stream) -> float:
    when = frame.pts if frame.pts is not None else frame.dts
    return float((when or 0) * (stream.time_base or 0))

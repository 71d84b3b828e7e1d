"""Does the output hold what the encode read, and did it read what the input holds? Pure.

Only counts are compared. Announced durations, packets before the first keyframe and the last
frame's length count for nothing: real files lie about all of them. An output that is not whole
is told apart from a damaged input, because only the first may heal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from watchconv.model import Broke, Cause, Rejected, Verify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.encode.stderr_stats import StreamCounts
    from watchconv.model import Content, MediaInfo


@dataclass(frozen=True, slots=True)
class Finding:
    """What verification found. Without a cause all is well; notes are sentences for the log."""

    cause: Cause | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> Rejected | Broke | None:
        """The attempt's outcome; None where all is well. What is wrong with an input stays so."""
        if self.cause is None:
            return None
        kind = Broke if self.cause is Cause.OUTPUT else Rejected
        return kind(self.reason, cause=self.cause)


def verify(
    counts: StreamCounts | None,
    media: MediaInfo,
    outputs: Sequence[Content],
    *,
    level: Verify,
    time_changer: str | None,
) -> Finding:
    """Judge one encode that ended well.

    counts is None where ffmpeg printed no closing lines, outputs what was read back of its
    output, time_changer what makes the output's frames differ from the input's.
    """
    if not any(c.kind == "video" and c.packets > 0 and c.decodes for c in outputs):
        videos = [c for c in counts.outputs if c.kind == "video"] if counts else []
        if videos and all(c.frames is None and c.packets > 0 for c in videos):
            return Finding(Cause.DAMAGED, "the video was copied as it is, and it does not decode")
        return Finding(Cause.OUTPUT, "the output holds no video frame")
    if counts is None:  # packets in and out are all that is left to compare
        note = ("verify: ffmpeg gave no account, so only the packets were compared",)
        wanted = next((s.samples for s in media.videos if s.samples), 0)
        made = max(c.packets for c in outputs if c.kind == "video")
        if time_changer is None and _is_short(made, wanted):
            reason = f"the output holds {made:,} of {wanted:,} video packets"
            return Finding(Cause.OUTPUT, reason, note)
        return Finding(notes=note)
    notes = []
    decoded = sum(c.frames or 0 for c in counts.inputs if c.kind == "video")
    if counts.dropped * 10 > decoded:  # no fault, but much
        notes.append(
            f"ffmpeg dropped {counts.dropped:,} of {decoded:,} video frames for their times"
        )
    if level is Verify.FULL and time_changer:
        notes.append(f"verify: full falls back to streams, because {time_changer} changes time")
    found = (
        (None if time_changer else _truncation(counts, media))
        or _undecodable(counts)
        or _missing_streams(counts, outputs)
        or (None if time_changer or level is not Verify.FULL else _missing_frames(counts))
    )
    return replace(found or Finding(), notes=tuple(notes))


def _is_short(there: int, wanted: int) -> bool:
    """Return whether far less is there than wanted; a few packets or a tenth is no loss."""
    return there < wanted * 0.9 and wanted - there > 3


def _truncation(counts: StreamCounts, media: MediaInfo) -> Finding | None:
    """Compare what was read with the container's own index, where it has one."""
    used = {route.source for route in counts.routes}
    indexed = {(0, stream.index): stream.samples for stream in media.streams}
    for count in counts.inputs:
        key = count.file, count.stream
        samples = indexed.get(key)
        if samples is not None and key in used and _is_short(count.packets, samples):
            reason = f"{count.packets:,} of {samples:,} {count.kind} packets are there"
            return Finding(Cause.TRUNCATED, f"the file is truncated: {reason}")
    return None


def _undecodable(counts: StreamCounts) -> Finding | None:
    """Look for a stream of which more is damaged than a bad reception or a rough cut leaves."""
    for count in counts.inputs:
        frames, packets, errors = count.frames, count.packets, count.errors
        if frames is None or count.kind not in ("video", "audio") or packets <= 3:
            continue
        name = f"{count.kind} stream {count.stream}"
        if frames * 10 < packets or errors > frames:
            reason = f"{name} hardly decodes: {frames:,} frames came of {packets:,} packets"
            return Finding(Cause.DAMAGED, reason)
        if count.kind == "video" and errors > 3 and errors * 10 > packets:
            reason = f"{errors:,} of its {packets:,} packets do not decode"
            return Finding(Cause.DAMAGED, f"{name} is damaged or not whole: {reason}")
    return None


def _missing_streams(counts: StreamCounts, outputs: Sequence[Content]) -> Finding | None:
    """Look for every stream that ffmpeg says it made: there, readable, with its packets."""
    last = max(count.file for count in counts.outputs)
    for kind in ("video", "audio", "subtitle"):
        made = [c for c in counts.outputs if c.file == last and c.kind == kind]
        contents = [c for c in outputs if c.kind == kind]
        if len(contents) < len(made):
            reason = f"the output holds {len(contents)} of {len(made)} {kind} streams"
            return Finding(Cause.OUTPUT, reason)
        if kind == "subtitle":
            continue
        for count, content in zip(made, contents, strict=False):
            name = f"{kind} stream {count.stream} of the output"
            if _is_short(content.packets, count.packets):
                reason = f"holds {content.packets:,} of the {count.packets:,} packets written"
                return Finding(Cause.OUTPUT, f"{name} {reason}")
            if not content.decodes and count.packets > 0 and count.frames is not None:
                return Finding(Cause.OUTPUT, f"{name} does not decode")
    return None


def _missing_frames(counts: StreamCounts) -> Finding | None:
    """Compare frames decoded and encoded, for each video that goes straight from in to out."""
    inputs = {(c.file, c.stream): c for c in counts.inputs if c.kind == "video"}
    outputs = {(c.file, c.stream): c for c in counts.outputs}
    videos = [
        (inputs[route.source], outputs[route.output])
        for route in counts.routes
        if route.source in inputs and route.output in outputs
    ]
    # ffmpeg adds up repeats over all videos: only with a single one is it known whose they are
    repeats = counts.duplicated if len(videos) == 1 else 0
    for source, made in videos:
        if source.frames is None or made.frames is None:
            continue
        wanted = source.frames + repeats - counts.dropped
        if made.frames < wanted - max(2, wanted // 100):
            return Finding(
                Cause.OUTPUT,
                f"video stream {made.stream} of the output holds {made.frames:,} frames, "
                f"{wanted:,} were decoded for it",
            )
    return None

"""Does the output hold what the encode read, and did it read what the input holds? Pure.

Only counts are compared. Announced durations, packets before the first keyframe and the last
frame's length count for nothing: real files lie about all of them. An output that is not whole
(``Broke``) is told apart from a damaged input (``Rejected``): only the first may be better next
time.
"""

from __future__ import annotations

from collections import defaultdict
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from watchconv.model import Broke, Cause, Rejected, Verify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from watchconv.encode.ffmpeg_output import StreamCount, StreamCounts
    from watchconv.media.facts import Content, Facts

    Inputs = Mapping[tuple[int, int], StreamCount]  # by file and stream


class Finding(NamedTuple):
    """What verification found: the fault, if there is one, and sentences for the log."""

    fault: Rejected | Broke | None = None
    notes: tuple[str, ...] = ()


def verify(
    counts: StreamCounts | None,
    media: Facts,
    outputs: Sequence[Content],
    *,
    level: Verify,
    time_changer: str | None,
) -> Finding:
    """Judge one encode that ended well.

    counts is None where ffmpeg printed no closing lines, outputs what was read back of its
    output, time_changer what makes the output's frames differ from the input's.
    """
    made, has_video = 0, False
    for content in outputs:
        if content.kind == "video":
            made = max(made, content.packets)
            has_video |= content.decodes and content.packets > 0
    if not has_video:
        videos = [c for c in counts.outputs if c.kind == "video"] if counts else []
        if videos and all(c.frames is None and c.packets > 0 for c in videos):
            reason = "the video was copied as it is, and it does not decode"
            return Finding(Rejected(reason, cause=Cause.DAMAGED))
        return Finding(Broke("the output holds no video frame", cause=Cause.OUTPUT))
    if counts is None:  # packets in and out are all that is left to compare
        notes = ("verify: ffmpeg gave no account, so only the packets were compared",)
        wanted = next((s.samples for s in media.videos if s.samples), 0)
        if time_changer or not _is_short(made, wanted):
            return Finding(None, notes)
        reason = f"the output holds {made:,} of {wanted:,} video packets"
        return Finding(Broke(reason, cause=Cause.OUTPUT), notes)
    told, decoded = [], 0
    for count in counts.inputs:
        if count.kind == "video":
            decoded += count.frames or 0
    if counts.dropped * 10 > decoded:  # no fault, but much
        told.append(
            f"ffmpeg dropped {counts.dropped:,} of {decoded:,} video frames for their times"
        )
    if level is Verify.FULL and time_changer:
        told.append(f"verify: full falls back to streams, because {time_changer} changes time")
    inputs = {count[:2]: count for count in counts.inputs}
    fault = _input_fault(counts, inputs, None if time_changer else media) or _output_fault(
        counts, inputs, outputs, all_frames=level is Verify.FULL and not time_changer
    )
    return Finding(fault, tuple(told))


def _is_short(there: int, wanted: int) -> bool:
    """Return whether far less is there than wanted; a few packets or a tenth is no loss."""
    return there < wanted * 0.9 and wanted - there > 3


def _input_fault(counts: StreamCounts, inputs: Inputs, media: Facts | None) -> Rejected | None:
    """Return what is wrong with the input: it is cut (by its own index, in media), or damaged."""
    used = dict(counts.routes)
    for stream in media.tracks if media else ():
        count = inputs.get((0, stream.index))
        if count is None or stream.samples is None or count[:2] not in used:
            continue
        if _is_short(count.packets, stream.samples):
            reason = f"{count.packets:,} of {stream.samples:,} {count.kind} packets are there"
            return Rejected(f"the file is truncated: {reason}", cause=Cause.TRUNCATED)
    for count in counts.inputs:
        read, frames, errors = count.packets, count.frames, count.errors
        if frames is None or count.kind not in ("video", "audio") or read <= 3:
            continue
        name = f"{count.kind} stream {count.stream}"
        if frames * 10 < read or errors > frames:
            reason = f"{name} hardly decodes: {frames:,} frames came of {read:,} packets"
            return Rejected(reason, cause=Cause.DAMAGED)
        # less than that is what a bad reception or a rough cut leaves
        if count.kind == "video" and errors > 3 and errors * 10 > read:
            reason = f"{errors:,} of its {read:,} packets do not decode"
            return Rejected(f"{name} is damaged or not whole: {reason}", cause=Cause.DAMAGED)
    return None


def _output_fault(
    counts: StreamCounts, inputs: Inputs, outputs: Sequence[Content], *, all_frames: bool
) -> Broke | None:
    """Look for every stream that ffmpeg says it made: there, readable, with its packets.

    all_frames: also for all frames of each video that goes straight from in to out.
    """
    made: dict[str, list[StreamCount]] = defaultdict(list)
    by_place = {}
    there: dict[str, list[Content]] = defaultdict(list)
    last = max(map(itemgetter(0), counts.outputs))
    for count in counts.outputs:
        by_place[count[:2]] = count
        if count.file == last:
            made[count.kind].append(count)
    for content in outputs:
        there[content.kind].append(content)
    for kind in ("video", "audio", "subtitle"):
        if len(there[kind]) < len(made[kind]):
            reason = f"the output holds {len(there[kind])} of {len(made[kind])} {kind} streams"
            return Broke(reason, cause=Cause.OUTPUT)
        if kind == "subtitle":
            continue
        for count, content in zip(made[kind], there[kind], strict=False):
            name = f"{kind} stream {count.stream} of the output"
            if _is_short(content.packets, count.packets):
                reason = f"holds {content.packets:,} of the {count.packets:,} packets written"
                return Broke(f"{name} {reason}", cause=Cause.OUTPUT)
            if not content.decodes and count.packets > 0 and count.frames is not None:
                return Broke(f"{name} does not decode", cause=Cause.OUTPUT)
    straight = [
        (inputs[source], by_place[place])
        for source, place in counts.routes
        if place in by_place and source in inputs and inputs[source].kind == "video"
    ]
    # ffmpeg adds up repeats over all videos: only with a single one is it known whose they are
    repeats = counts.duplicated if len(straight) == 1 else 0
    for source, count in straight if all_frames else ():
        if source.frames is None or count.frames is None:
            continue
        wanted = source.frames + repeats - counts.dropped
        if count.frames < wanted - max(2, wanted // 100):
            name = f"video stream {count.stream} of the output"
            reason = f"holds {count.frames:,} frames, {wanted:,} were decoded for it"
            return Broke(f"{name} {reason}", cause=Cause.OUTPUT)
    return None

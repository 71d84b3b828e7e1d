"""Does the output hold what the encode read, and did it read what the input holds? Pure.

Only counts are compared here; ``proof`` compares all the rest. Announced durations, packets before
the first keyframe and the last frame's length count for nothing: real files lie about all of them.
An output that is not whole (``Broke``) is told apart from what comes out the same each time
(``Rejected``).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from watchconv.model import Broke, Cause, JobWarning, Rejected, Verify, WarningCause

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from watchconv.encode.ffmpeg_output import StreamCount, StreamCounts
    from watchconv.media.facts import Content, Facts

    Inputs = Mapping[tuple[int, int], StreamCount]  # by file and stream


COPY_MAY_LACK = 300  # packets before the first picture that stands alone


class Finding(NamedTuple):
    """What verification found: the fault, if there is one, and what is to be said all the same."""

    fault: Rejected | Broke | None = None
    warnings: tuple[JobWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What the output of a plan has to prove by its counts."""

    level: Verify = Verify.FULL
    time_changer: str | None = None  # what makes the output's frames differ from the input's
    frame_factor: float | None = 1.0  # frames out for each that is decoded; None: nobody knows
    is_rough: bool = False  # the original's own clock or data is broken


def verify(
    counts: StreamCounts | None,
    media: Facts,
    outputs: Sequence[Content],
    asked: Asked,
) -> Finding:
    """Judge one encode that ended well.

    counts is None where ffmpeg printed no closing lines, outputs what was read back of its output.
    """
    time_changer = asked.time_changer
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
        told = [_unproven("ffmpeg gave no account, so only the packets were compared")]
        wanted = next((s.samples for s in media.videos if s.samples), 0)
        if time_changer or not _is_short(made, wanted):
            return Finding(None, tuple(told))
        reason = f"the output holds {made:,} of {wanted:,} video packets"
        return Finding(Broke(reason, cause=Cause.OUTPUT), tuple(told))
    told = []
    if asked.level is Verify.FULL and time_changer:
        told.append(_unproven(f"{time_changer} changes time, so the frames were not compared"))
    elif asked.level is Verify.FULL and asked.frame_factor is None:
        told.append(_unproven("nobody knows how many frames come of each, so none were counted"))
    inputs = {count[:2]: count for count in counts.inputs}
    fault = input_fault(counts, None if time_changer else media) or _output_fault(
        counts, inputs, outputs
    )
    factor = asked.frame_factor
    if asked.level is Verify.FULL and not time_changer and factor is not None and not fault:
        fault = _frames_fault(counts, inputs, factor, told, is_rough=asked.is_rough)
    return Finding(fault, tuple(told))


def _unproven(text: str) -> JobWarning:
    return JobWarning(WarningCause.UNPROVEN, text)


def _is_short(there: int, wanted: int) -> bool:
    """Return whether far less is there than wanted; a few packets or a tenth is no loss."""
    return there < wanted * 0.9 and wanted - there > 3


def input_fault(counts: StreamCounts, media: Facts | None) -> Rejected | None:
    """Return what is wrong with the input: it is cut (by its own index, in media), or damaged."""
    inputs = {count[:2]: count for count in counts.inputs}
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
    counts: StreamCounts, inputs: Inputs, outputs: Sequence[Content]
) -> Rejected | Broke | None:
    """Look for every stream that ffmpeg says it made: there, readable, with its packets."""
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
    for source, place in counts.routes:
        read, copied = inputs.get(source), by_place.get(place) if place else None
        if not read or not copied or copied.frames is not None or copied.kind == "subtitle":
            continue
        if _is_short(copied.packets + COPY_MAY_LACK, read.packets):
            name = f"{copied.kind} stream {copied.stream} of the output"
            reason = f"holds {copied.packets:,} of the {read.packets:,} packets read for it"
            return Rejected(f"{name} {reason}", cause=Cause.OUTPUT)
    return None


def _frames_fault(
    counts: StreamCounts,
    inputs: Inputs,
    factor: float,
    told: list[JobWarning],
    *,
    is_rough: bool,
) -> Rejected | Broke | None:
    """Look for all frames of each video that goes straight from in to out.

    A frame that ffmpeg dropped for its time is a lost one, but where the original's clock is broken
    some may share theirs: told then.
    """
    by_place = {count[:2]: count for count in counts.outputs}
    straight = [
        (inputs[source], by_place[place])
        for source, place in counts.routes
        if place in by_place and source in inputs and inputs[source].kind == "video"
    ]
    # ffmpeg adds up repeats over all videos: only with a single one is it known whose they are
    repeats = counts.duplicated if len(straight) == 1 else 0
    for source, count in straight:
        if source.frames is None or count.frames is None:
            continue
        wanted = round(source.frames * factor) + repeats
        lost = wanted - count.frames
        if lost <= max(1, factor, wanted // 1000):
            continue
        name = f"video stream {count.stream} of the output"
        reason = f"holds {count.frames:,} frames, {wanted:,} were decoded for it"
        if lost > counts.dropped + max(2, wanted // 100):  # they came, and are not there
            return Broke(f"{name} {reason}", cause=Cause.OUTPUT)
        if not is_rough or lost * 10 > wanted:
            reason += ": ffmpeg dropped the others for their times"
            return Rejected(f"{name} {reason}", cause=Cause.OUTPUT)
        text = f"{lost:,} of {wanted:,} frames are left out: the original's clock is broken there"
        told.append(JobWarning(WarningCause.GAPS, text))
    return None

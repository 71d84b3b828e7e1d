"""Does the output hold what the encode says it read, and did it read what the input holds?

Guarantees: pure, and by counts only. Announced durations, packets before the first keyframe and
the last frame's length count for nothing: real files lie about all of them. An input that is
cut off and an output that is not whole are told apart, because only the second may heal.

Does not: read files; the account comes from ``ffmpeg``'s closing lines, the contents from the
probe of the output. A container without an index gives no word about truncation.

Errors: none; the answer is a value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

from watchconv.model import Verify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.encode.stderr_stats import InputCount, OutputCount, StreamCounts
    from watchconv.model import Content, MediaInfo, Stream


class Fault(StrEnum):
    """Whose fault it is."""

    INPUT = "input"  # the file is damaged: another attempt gives the same
    OUTPUT = "output"  # this encode is not whole: another may be


@dataclass(frozen=True, slots=True)
class Finding:
    """What verification found. Without a fault all is well; notes are sentences for the log."""

    fault: Fault | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()


def verify(
    account: StreamCounts | None,
    media: MediaInfo,
    outputs: Sequence[Content],
    args: Sequence[str],
    level: Verify,
) -> Finding:
    """Judge one encode that ended well.

    args are the arguments as they were run (``-map auto`` expanded); account is None where
    ffmpeg printed no closing lines.
    """
    if not _pictures(outputs):
        return _no_pictures(account)
    changer = time_changer(args)
    if account is None:
        return _without_account(media, outputs, whole=changer is None)
    notes = _drops(account)
    if level is Verify.FULL and changer is not None:
        notes += (f"verify: full falls back to streams, because {changer} changes time",)
    exact = level is Verify.FULL and changer is None
    found = (
        (_input_fault(account, media) if changer is None else None)
        or _decoding_fault(account)
        or _stream_fault(account, outputs)
        or (_frame_fault(account) if exact else None)
    )
    return Finding(found.fault, found.reason, notes) if found else Finding(notes=notes)


_TIME_OPTIONS = re.compile(
    r"^-(ss|sseof|t|to|itsscale|shortest|fs|r|(?:[vad]?frames)|stream_loop|apad)(:.+)?$"
)
_FILTER_OPTIONS = re.compile(r"^-(vf|af|filter|filter_complex|lavfi)(:.+)?$")
# Filters that give one frame for each they take; any other may not, so it gets no exact count.
_STEADY = re.compile(
    r"(?:scale|zscale|pad|crop|format|noformat|hflip|vflip|transpose|rotate|setsar|setdar|setparams|"
    r"setrange|setfield|eq|hue|hqdn3d|nlmeans|unsharp|colorspace|colormatrix|tonemap|lut|lut3d|"
    r"curves|deband|deblock|gradfun|colorbalance|drawtext|drawbox|subtitles|ass|boxblur|"
    r"gblur|cas|vignette|delogo|negate|null|split|copy|yadif|fieldorder|"
    r"aformat|aresample|volume|loudnorm|dynaudnorm|pan|channelmap|anull|highpass|lowpass|"
    r"equalizer|acompressor|alimiter)"
)


def time_changer(args: Sequence[str]) -> str | None:
    """Name the argument that makes the output's frames differ from the input's, if any does."""
    for option, value in pairwise([*args, ""]):
        if _TIME_OPTIONS.match(option):
            return option
        if _FILTER_OPTIONS.match(option):
            for name in _filters(value):
                if not _STEADY.fullmatch(name):
                    return f"the filter {name}"
            if "yadif" in value and re.search(r"yadif=[^,;\[]*(?:1|3|field)", value):
                return "the filter yadif"
    return None


def _filters(graph: str) -> list[str]:
    plain = re.sub(r"\\.|'[^']*'|\[[^\]]*\]", "", graph)
    return [n for n in (re.split(r"[=@]", f.strip())[0] for f in re.split("[,;]", plain)) if n]


def _pictures(outputs: Sequence[Content]) -> bool:
    return any(c.kind == "video" and c.packets > 0 and c.decodes for c in outputs)


def _no_pictures(account: StreamCounts | None) -> Finding:
    videos = [c for c in account.outputs if c.kind == "video"] if account else []
    if videos and all(c.frames is None and c.packets > 0 for c in videos):
        return Finding(Fault.INPUT, "the video was copied as it is, and it does not decode")
    return Finding(Fault.OUTPUT, "the output holds no video frame")


def _short(there: int, wanted: int) -> bool:
    """Tell whether far less is there than wanted; a few packets or a tenth is no loss."""
    return there < wanted * 0.9 and wanted - there > 3


def _many(errors: int, packets: int) -> bool:
    """Tell whether more of a video is damaged than a bad reception or a rough cut leaves."""
    return errors > 3 and errors * 10 > packets


def _without_account(media: MediaInfo, outputs: Sequence[Content], *, whole: bool) -> Finding:
    """Compare packets in and out: all that is left where ffmpeg says nothing."""
    note = ("verify: ffmpeg gave no account, so only the packets were compared",)
    video = next((s for s in media.videos if s.samples), None)
    made = max(c.packets for c in outputs if c.kind == "video")
    if whole and video and video.samples and _short(made, video.samples):
        reason = f"the output holds {made:,} of {video.samples:,} video packets"
        return Finding(Fault.OUTPUT, reason, note)
    return Finding(notes=note)


def _drops(account: StreamCounts) -> tuple[str, ...]:
    """Say it where the drops that ffmpeg reports, and that are no fault, cost much."""
    decoded = sum(c.frames or 0 for c in account.inputs if c.kind == "video")
    if account.dropped * 10 <= decoded:
        return ()
    return (f"ffmpeg dropped {account.dropped:,} of {decoded:,} video frames for their times",)


def _input_fault(account: StreamCounts, media: MediaInfo) -> Finding | None:
    used = {route.source for route in account.routes}
    for count in account.inputs:
        stream = _stream(media, count)
        if stream is None or stream.samples is None or (0, count.stream) not in used:
            continue
        if _short(count.packets, stream.samples):
            return Finding(
                Fault.INPUT,
                f"the file is truncated: {count.packets:,} of {stream.samples:,} "
                f"{count.kind} packets are there",
            )
    return None


def _stream(media: MediaInfo, count: InputCount) -> Stream | None:
    if count.file != 0:
        return None
    return next((s for s in media.streams if s.index == count.stream), None)


def _decoding_fault(account: StreamCounts) -> Finding | None:
    for count in account.inputs:
        if count.frames is None or count.kind not in ("video", "audio") or count.packets <= 3:
            continue
        name = f"{count.kind} stream {count.stream}"
        if count.frames * 10 < count.packets or count.errors > count.frames:
            reason = f"hardly decodes: {count.frames:,} frames came of {count.packets:,} packets"
            return Finding(Fault.INPUT, f"{name} {reason}")
        if count.kind == "video" and _many(count.errors, count.packets):
            reason = f"{count.errors:,} of its {count.packets:,} packets do not decode"
            return Finding(Fault.INPUT, f"{name} is damaged or not whole: {reason}")
    return None


def _stream_fault(account: StreamCounts, outputs: Sequence[Content]) -> Finding | None:
    """Look for every stream that ffmpeg says it made: there, readable, with its packets."""
    last = max(count.file for count in account.outputs)
    made = [count for count in account.outputs if count.file == last]
    for kind in ("video", "audio", "subtitle"):
        counts = [c for c in made if c.kind == kind]
        contents = [c for c in outputs if c.kind == kind]
        if len(contents) < len(counts):
            reason = f"the output holds {len(contents)} of {len(counts)} {kind} streams"
            return Finding(Fault.OUTPUT, reason)
        for count, content in zip(counts, contents, strict=False):
            if kind != "subtitle" and (found := _content_fault(count, content)):
                return found
    return None


def _content_fault(count: OutputCount, content: Content) -> Finding | None:
    name = f"{count.kind} stream {count.stream} of the output"
    if _short(content.packets, count.packets):
        reason = f"{name} holds {content.packets:,} of the {count.packets:,} packets written"
        return Finding(Fault.OUTPUT, reason)
    if not content.decodes and count.packets > 0 and count.frames is not None:
        return Finding(Fault.OUTPUT, f"{name} does not decode")
    return None


def _frame_fault(account: StreamCounts) -> Finding | None:
    """Compare frames decoded and encoded, for each video that goes straight from in to out."""
    inputs = {(c.file, c.stream): c for c in account.inputs}
    outputs = {(c.file, c.stream): c for c in account.outputs}
    routes = [r for r in account.routes if r.output in outputs and r.source in inputs]
    videos = [r for r in routes if inputs[r.source].kind == "video" and r.output]
    # ffmpeg adds up repeats over all videos: only with a single one is it known whose they are
    repeats = account.duplicated if len(videos) == 1 else 0
    for route in videos:
        assert route.output is not None
        source, made = inputs[route.source], outputs[route.output]
        if source.frames is None or made.frames is None:
            continue
        wanted = source.frames + repeats - account.dropped
        if made.frames < wanted - max(2, wanted // 100):
            return Finding(
                Fault.OUTPUT,
                f"video stream {made.stream} of the output holds {made.frames:,} frames, "
                f"{wanted:,} were decoded for it",
            )
    return None

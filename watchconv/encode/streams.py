"""Which streams of an input go into the output, and which are left out with a word about it.

Guarantees: pure; ``-map auto`` among a profile's arguments becomes explicit maps from the
probe: the first video that holds anything and is no cover, every audio that can be decoded, the
subtitles that the container takes (text ones converted to its own kind), fonts where it keeps
them. A codec that the arguments name for a stream is never overruled, nor are -vn, -an and -sn.

Does not: change arguments without ``-map auto``; ffmpeg's own choice holds there.

Errors: none.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.model import MediaInfo, Stream

_TEXT = frozenset({"subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text"})
_PICTURE = frozenset({"hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"})
_FONTS = frozenset({"ttf", "otf"})
_MP4 = {codec: "copy" if codec == "mov_text" else "mov_text" for codec in _TEXT}
# suffix -> codec of a subtitle track -> what becomes of it; a codec that is missing is left out
_SUBTITLES = {
    ".webm": {codec: "copy" if codec == "webvtt" else "webvtt" for codec in _TEXT},
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": _MP4,
    ".mkv": dict.fromkeys(_TEXT | _PICTURE, "copy") | {"mov_text": "srt", "text": "srt"},
}


def choose_streams(
    args: Sequence[str], media: MediaInfo, suffix: str
) -> tuple[list[str], list[str]]:
    """Expand ``-map auto`` in args; give the new arguments and a sentence for each loss."""
    at = _auto(args)
    if at is None:
        return list(args), []
    maps: list[str] = []
    codecs: list[str] = []
    losses: list[str] = []
    subtitles = 0
    video = _main_video(media)
    for stream in media.streams:
        if _refused(stream, args):
            continue
        if loss := _loss(stream, video, suffix.lower(), args):
            losses.append(f"{_name(stream)}: {loss}")
            continue
        maps += ["-map", f"0:{stream.index}"]
        if stream.kind == "subtitle":
            codecs += _subtitle_codec(stream, subtitles, suffix.lower(), args)
            subtitles += 1
    return [*args[:at], *maps, *args[at + 2 :], *codecs], losses


def _auto(args: Sequence[str]) -> int | None:
    pairs = itertools.pairwise(args)
    return next((i for i, pair in enumerate(pairs) if pair == ("-map", "auto")), None)


def _main_video(media: MediaInfo) -> Stream | None:
    return next((s for s in media.videos if s.samples != 0), None)


def _refused(stream: Stream, args: Sequence[str]) -> bool:
    return {"video": "-vn", "audio": "-an", "subtitle": "-sn"}.get(stream.kind) in args


def _loss(stream: Stream, video: Stream | None, suffix: str, args: Sequence[str]) -> str | None:
    match stream.kind:
        case "video":
            return None if stream is video else _why_not(stream)
        case "audio":
            return "this codec is unknown" if stream.codec == "unknown" else None
        case "subtitle":
            return _subtitle_loss(stream, suffix, args)
        case "attachment":
            kept = suffix == ".mkv" and stream.codec in _FONTS
            return None if kept else f"attachments of this kind do not go into {suffix}"
        case _:
            return f"{stream.kind} does not go into {suffix}"


def _why_not(stream: Stream) -> str:
    if stream.attached_picture:
        return "a cover picture is not kept"
    return "it is empty" if stream.samples == 0 else "only the first video is kept"


def _subtitle_loss(stream: Stream, suffix: str, args: Sequence[str]) -> str | None:
    taken = _SUBTITLES.get(suffix, {})
    if stream.codec not in taken:
        kind = "picture" if stream.codec in _PICTURE else "such"
        return f"{suffix.lstrip('.')} holds no {kind} subtitles"
    if (chosen := _chosen_codec(args)) is None or stream.codec in _TEXT or chosen == "copy":
        return None
    return f"picture subtitles cannot become {chosen}"


def _subtitle_codec(stream: Stream, number: int, suffix: str, args: Sequence[str]) -> list[str]:
    if _chosen_codec(args) is not None:
        return []
    return [f"-c:s:{number}", _SUBTITLES[suffix][stream.codec]]


def _chosen_codec(args: Sequence[str]) -> str | None:
    """Give the subtitle codec that the arguments name outright (a bare ``-c copy`` does not)."""
    pairs = itertools.pairwise(args)
    options = ("-c:s", "-codec:s", "-scodec")
    return next((v for o, v in pairs if o in options or o.startswith("-c:s:")), None)


def _name(stream: Stream) -> str:
    language = f", {stream.language}" if stream.language else ""
    return f"{stream.kind} track {stream.index} ({stream.codec}{language})"

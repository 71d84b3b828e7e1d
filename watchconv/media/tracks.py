"""What a stream is: its headers, and what its first frames say better. The probe worker's."""

from __future__ import annotations

import math
import re
import struct
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import av
from av.audio.stream import AudioStream
from av.sidedata.sidedata import Type as SideData
from av.stream import AttachmentStream, Disposition
from av.subtitles.stream import SubtitleStream
from av.video.stream import VideoStream

from watchconv.media.facts import Chroma, Track

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from av.stream import Stream
    from av.video.format import VideoFormat
    from av.video.frame import VideoFrame

    from watchconv.media.announced import Announced

TEXT_CHARACTERS = 300
DISCARDED_ENTRIES = 25_000  # of an index, at both of its ends, that are looked at one by one
_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
_LAYOUT = re.compile(r"[A-Za-z0-9_.+() -]{1,64}")
_LANGUAGE = re.compile(r"[A-Za-z0-9-]{1,16}")
_FONTS = {"ttf": "ttf", "ttc": "ttf", "otf": "otf", "otc": "otf", "woff": "otf", "woff2": "otf"}

_KINDS = {
    "video": VideoStream,
    "audio": AudioStream,
    "subtitle": SubtitleStream,
    "attachment": AttachmentStream,
}

# by the numbers of ITU-T H.273, ffmpeg's names; "" where nothing is said
_PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020",
    10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213",
}  # fmt: skip
_TRANSFERS = {
    1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear",
    9: "log100", 10: "log316", 11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1",
    14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084", 17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
_MATRICES = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco",
    9: "bt2020nc", 10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc",
    13: "chroma-derived-c", 14: "ictcp", 15: "ipt-c2", 16: "ycgco-re", 17: "ycgco-ro",
}  # fmt: skip


def printable(text: str | None) -> str:
    """Keep what can be shown of a stranger's words."""
    words = "".join(c if c.isprintable() else " " for c in (text or "")[: 4 * TEXT_CHARACTERS])
    return words.strip()[:TEXT_CHARACTERS]


def is_cover(stream: Stream) -> bool:
    """Return whether a stream is an attached picture, and no video."""
    return bool(stream.disposition & Disposition.attached_pic)


def describe(
    stream: Stream, announced: Announced, frames: Sequence[VideoFrame], *, indexed: bool
) -> Track:
    """Say what a stream is; frames are the first of a video, none where nothing decoded.

    indexed: the container's own index lists every packet.
    """
    kind = kind_of(stream)
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    programs = announced.programs
    facts: dict[str, Any] = {}
    if kind == "video":
        facts = video_facts(stream, announced, frames, tags)
    elif kind == "audio":
        facts = audio_facts(stream)
    elif kind == "attachment":
        facts = {
            "file_name": printable(tags.get("filename")),
            "mime_type": printable(tags.get("mimetype")),
        }
    decodable = kind not in ("video", "audio", "subtitle") or stream.codec_context is not None
    language = tags.get("language", "")
    samples = None
    if indexed and not is_cover(stream):
        samples = len(stream.index_entries)
    return Track(
        stream.index,
        kind,
        codec_of(stream, kind, announced),
        samples,
        attached_picture=is_cover(stream),
        language=language if _LANGUAGE.fullmatch(language) else "",
        title=printable(tags.get("title") or tags.get("name")),
        flags=tuple(sorted(flag.name or "" for flag in Disposition if flag & stream.disposition)),
        decodable=decodable,
        program=next(iter(programs)) if len(programs) == 1 else None,
        start_seconds=seconds_of(stream, stream.start_time),
        discarded=count_discarded(stream) if samples else 0,
        timecode=printable(tags.get("timecode")),
        **facts,
    )


def kind_of(stream: Stream) -> str:
    """Return the kind a stream had when the file was opened; what has no name is data.

    A damaged file's streams may change theirs while they are read; what decodes them does not.
    """
    for kind, known in _KINDS.items():
        if isinstance(stream, known):
            return kind
    return "data"


def codec_of(stream: Stream, kind: str, announced: Announced) -> str:
    """Return the name of the codec, which is not the decoder that reads it."""
    if kind == "attachment":
        return announced.codec or font_codec(stream.metadata)
    context = stream.codec_context
    name = context.codec.canonical_name if context else announced.codec
    return name if name and _NAME.fullmatch(name) else "unknown"


def font_codec(tags: Mapping[str, str]) -> str:
    """Tell a font by what most programs go by: its MIME type, else its file name."""
    by_type = tags.get("mimetype", "").lower()
    if "opentype" in by_type or by_type.endswith("/otf"):
        return "otf"
    if by_type.startswith("font/") or "font" in by_type or "truetype" in by_type:
        return "ttf"
    return _FONTS.get(tags.get("filename", "").lower().rpartition(".")[2], "unknown")


def seconds_of(stream: Stream, units: int | None) -> float | None:
    """Return a time in the stream's units as seconds."""
    if units is None or not stream.time_base:
        return None
    return float(units * stream.time_base)


def count_discarded(stream: Stream) -> int:
    """Count the packets that an edit list hides: they lie at the ends of an index."""
    entries = stream.index_entries
    many = len(entries)
    if many > 2 * DISCARDED_ENTRIES:
        looked: Iterable[Any] = [*entries[:DISCARDED_ENTRIES], *entries[many - DISCARDED_ENTRIES :]]
    else:
        looked = entries
    return sum(entry.is_discard for entry in looked)


def audio_facts(stream: Stream) -> dict[str, Any]:
    """Return the fields of a ``Track`` that only a sound has."""
    context: Any = stream.codec_context
    if context is None:
        return {}
    layout = ""
    with suppress(ValueError, av.FFmpegError):
        layout = context.layout.name
    channels = context.channels
    if layout == f"{channels} channels":  # which says nothing; so players take them
        layout = {1: "mono", 2: "stereo"}.get(channels, "")
    return {
        "channels": max(0, channels),
        "layout": layout if channels > 0 and _LAYOUT.fullmatch(layout) else "",
        "sample_rate": max(0, context.sample_rate or 0),
        "bit_rate": context.bit_rate if (context.bit_rate or 0) > 0 else None,
    }


def video_facts(
    stream: Stream, announced: Announced, frames: Sequence[VideoFrame], tags: Mapping[str, str]
) -> dict[str, Any]:
    """Return the fields of a ``Track`` that only a picture has."""
    context: Any = stream.codec_context
    if context is None:
        return {}
    frame = frames[0] if frames else None
    known: Any = frame or context  # both name these alike
    pixels: VideoFormat | None = known.format
    color_range = known.color_range or (2 if pixels and pixels.name.startswith("yuvj") else 0)
    rate = stream.average_rate or stream.guessed_rate
    dolby = announced.dolby_vision
    facts: dict[str, Any] = {
        "width": known.width,
        "height": known.height,
        "pixel_format": pixels.name if pixels else "",
        "primaries": _PRIMARIES.get(known.color_primaries, ""),
        "transfer": _TRANSFERS.get(known.color_trc, ""),
        "matrix": _MATRICES.get(known.colorspace, ""),
        "full_range": {1: False, 2: True}.get(color_range),
        "sample_aspect": sample_aspect_of(stream),
        "frame_rate": float(rate) if rate else None,
        "bit_rate": context.bit_rate if (context.bit_rate or 0) > 0 else None,
        "rotation": announced.rotation,
        "interlaced": context.field_order >= 2,  # 1: progressive, 0: not said
        "captions": "Closed Captions" in announced.words,
        "spherical": announced.spherical,
        "dolby_vision": dolby is not None,
        "dolby_vision_profile": dolby and dolby[0],
        "dolby_vision_base": dolby and dolby[1],
    }
    if pixels:
        facts |= pixel_facts(pixels)
    facts["alpha"] = facts.get("alpha", False) or tags.get("alpha_mode") == "1"
    if frame:
        facts["interlaced"] = any(one.interlaced_frame for one in frames)
        for one in reversed(frames):
            facts |= attached_facts(one)
    return facts


def sample_aspect_of(stream: Any) -> tuple[int, int]:
    """Return the shape of a pixel; square where nothing is said."""
    aspect = stream.sample_aspect_ratio
    return (aspect.numerator, aspect.denominator) if aspect and aspect > 0 else (1, 1)


def pixel_facts(pixels: VideoFormat) -> dict[str, Any]:
    """Return the bits, the chroma and the alpha of a pixel format."""
    parts = pixels.components
    if pixels.is_bayer or not parts or pixels.name.startswith("xyz"):
        chroma = Chroma.OTHER
    elif pixels.is_rgb or pixels.has_palette:
        chroma = Chroma.RGB
    elif sum(not part.is_alpha for part in parts) == 1:
        chroma = Chroma.GRAY
    else:
        sampled = pixels.chroma_width(64), pixels.chroma_height(64)
        kinds = {(32, 32): Chroma.HALF, (32, 64): Chroma.WIDE, (64, 64): Chroma.FULL}
        chroma = kinds.get(sampled, Chroma.OTHER)
    return {
        "bits": 8 if pixels.has_palette else max((part.bits for part in parts), default=0),
        "chroma": chroma,
        "alpha": any(part.is_alpha for part in parts),
    }


def turning(matrix: bytes) -> tuple[int, bool]:
    """Return the degrees clockwise of a display matrix, and whether it mirrors before."""
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix[:36])
    flipped = a * d - b * c < 0
    if flipped:
        a, b = -a, -b
    return round(math.degrees(math.atan2(b, a)) / 90) % 4 * 90, flipped


def attached_facts(frame: VideoFrame) -> dict[str, Any]:
    """Return what is attached to a frame."""
    facts: dict[str, Any] = {}
    attached: Any = frame.side_data  # whose values it gives, though it is a Mapping
    for data in attached:
        try:
            kind = data.type
        except ValueError:  # one that is newer than PyAV
            continue
        if kind is SideData.DISPLAYMATRIX:
            facts["rotation"], facts["flipped"] = turning(bytes(data))
        elif kind is SideData.A53_CC:
            facts["captions"] = True
        elif kind in (SideData.DOVI_RPU_BUFFER, SideData.DOVI_METADATA):
            facts["dolby_vision"] = True
        elif kind is SideData.SPHERICAL:
            facts["spherical"] = True
        elif kind is SideData.MASTERING_DISPLAY_METADATA:
            facts["mastering"] = mastering_of(bytes(data))
        elif kind is SideData.CONTENT_LIGHT_LEVEL:
            facts["light_level"] = struct.unpack("=2I", bytes(data)[:8])
    return facts


def mastering_of(data: bytes) -> tuple[float, ...]:
    """Understand ffmpeg's AVMasteringDisplayMetadata: ten fractions and what of them is set."""
    numbers = struct.unpack("=22i", data[:88])
    pairs = list(zip(islice(numbers, 0, 20, 2), islice(numbers, 1, 20, 2), strict=True))
    values = [top / bottom if bottom else 0.0 for top, bottom in pairs]
    return tuple(values)

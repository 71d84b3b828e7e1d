"""How a picture is encoded so that it looks like the original, and what of it is lost. Pure.

Every filter here was tried with ffmpeg 5.1 and 9.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from watchconv.encode.decision import CHROMA_WORDS, HDR_WORDS, Treatment, label
from watchconv.encode.holds import (
    MP4_KIN,
    PixelFormat,
    chroma_lost,
    codec_of,
    holds,
    nearest_format,
    pixel_format,
)
from watchconv.media.facts import Chroma
from watchconv.model import WarningCause

if TYPE_CHECKING:
    from watchconv.encode.program import Ability
    from watchconv.media.facts import Track

# what a player must not take for something else
_TAGGED = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
_TO_709 = "scale=out_color_matrix=bt709:out_range=tv"
# 203 cd/m² is white; the side data would go on to claim the brightness of the original
_TONE_MAP = (
    "sidedata=mode=delete:type=MASTERING_DISPLAY_METADATA",
    "sidedata=mode=delete:type=CONTENT_LIGHT_LEVEL",
    "zscale={source}t=linear:npl=203",
    "format=gbrpf32le",
    "zscale=p=bt709",
    "tonemap=mobius:desat=0",
    "zscale=t=bt709:m=bt709:r=tv",
)
_EVEN = "pad=ceil(iw/2)*2:ceil(ih/2)*2"
_BT709 = {"primaries": "bt709", "transfer": "bt709", "matrix": "bt709", "full_range": False}
_COLORS = ("primaries", "transfer", "matrix")
_CARRIES_COLORS = frozenset({"h264", "hevc", "av1", "vp8", "vp9"})
_KEEPS_CAPTIONS = frozenset({"libx264", "mpeg2video"})
_LOSES_CAPTIONS = frozenset(
    {"libx265", "libsvtav1", "libaom-av1", "libvpx", "libvpx-vp9", "prores_ks", "ffv1", "mpeg4"}
)
_CARRIES_MASTERING = (61, 19)  # libavcodec: from frames into x265, SVT-AV1 and the container
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # ffmpeg's own decoders pass it by


_LOSSLESS = frozenset(
    {
        *("qtrle", "png", "gif", "rawvideo", "ffv1", "huffyuv", "ffvhuff", "utvideo"),
        *("magicyuv", "zmbv", "v210", "r210", "apng", "bmp", "targa", "tscc", "screenpresso"),
        *("flashsv", "flashsv2", "cscd"),
    }
)


class Target(NamedTuple):
    """What pictures are encoded into.

    ``settled`` names what the profile's own words decide and nothing here may touch: fields,
    colors, size; edges: black ones are added.
    """

    encoder: str
    suffix: str
    formats: tuple[str, ...] = ()  # of pixels, that may come out; empty: nobody knows
    settled: frozenset[str] = frozenset()
    tone_map: bool | None = None  # None: only where HDR does not fit into the formats
    double_rate: bool = False  # one picture of each field


def no_copy(track: Track, suffix: str, demuxer: str, ability: Ability) -> str | None:
    """Return why a picture cannot be copied as it is into a container; None where it can."""
    container = suffix.lstrip(".")
    if track.discarded and demuxer == "mov" and suffix not in MP4_KIN:
        return f"a copy in {container} would show {track.discarded} pictures that were cut away"
    is_turned = track.rotation or track.flipped
    if is_turned and suffix in (".mkv", ".webm") and not ability.writes_matroska_rotation:
        return f"this ffmpeg cannot write into {container} that it is turned"
    if holds(suffix, "video", track.codec) is False:
        return f"{container} does not hold {track.codec}"
    return None


def undisplayable(track: Track, ability: Ability) -> str | None:
    """Return why no decoder here shows a picture as it is meant; None for any other."""
    profile, base = track.dolby_vision_profile, track.dolby_vision_base
    is_alone = profile == 5 or base == 0 or (profile is None and not track.is_hdr)
    if track.dolby_vision and is_alone:
        return (
            f"{label(track)} is Dolby Vision without a base that other players show (profile 5):"
            " encoded, its colours would be green and violet; use a profile that copies it"
        )
    return None if ability.can_decode(track.codec) else f"this ffmpeg cannot decode {track.codec}"


def treat_picture(track: Track, target: Target, ability: Ability) -> Treatment:
    """Return what encoding a picture takes."""
    made = Treatment(track)
    made.becomes(codec=codec_of(target.encoder), rotation=0, flipped=False)
    made.promise_nothing("samples", "pixel_format", "frame_rate", "bit_rate", "full_range")
    made.becomes(discarded=0, program=None, decodable=True)
    if track.rotation or track.flipped:
        made.notes.append("turned upright")
    _treat_fields(made, target)
    _treat_size(made, target)
    chosen = _choose_format(made, target, ability)
    _treat_colors(made, target, chosen, ability)
    if chosen:
        made.option("pix_fmt", chosen)
    _treat_extras(made, target, ability)
    return made


def _treat_fields(made: Treatment, target: Target) -> None:
    track = made.track
    if not track.interlaced:
        return
    if "fields" in target.settled or min(track.width, track.height) < 4:
        made.promise_nothing("interlaced")
        return
    mode = "send_field" if target.double_rate else "send_frame"
    made.put(f"bwdif=mode={mode}:deint=interlaced")
    made.becomes(interlaced=False)
    made.notes.append("deinterlaced")
    made.warn(WarningCause.DEINTERLACED, "its two fields are made one picture (deinterlaced)")


def _treat_size(made: Treatment, target: Target) -> None:
    track = made.track
    width, height = track.largest or (track.width, track.height)
    if track.largest and "size" not in target.settled:
        wide, high = track.sample_aspect
        width, height = -(-width * max(wide, high) // high), -(-height * max(wide, high) // wide)
        width, height = width + width % 2, height + height % 2
        made.put(
            "scale=trunc(iw*sar/2)*2:ih",
            "setsar=1",
            f"scale={width}:{height}:force_original_aspect_ratio=decrease",
            f"pad={width}:{height}:(ow-iw)/2:(oh-ih)/2",
        )
        made.becomes(sample_aspect=(1, 1))
        what = f"its shape changes on the way: all of it is fitted into {width}x{height}"
        made.warn(WarningCause.SHAPE, what)
    if track.rotation in (90, 270):
        width, height = height, width
        if not track.largest:
            made.becomes(sample_aspect=track.sample_aspect[::-1])
    made.becomes(width=width, height=height, largest=None)
    if {"size", "edges"} & target.settled:
        made.becomes(width=None, height=None)
    if "size" in target.settled:
        made.becomes(sample_aspect=None)


def _choose_format(made: Treatment, target: Target, ability: Ability) -> str | None:
    """Choose the pixel format, and say what it loses; None where ffmpeg chooses."""
    track, formats = made.track, target.formats
    if not (formats and track.bits):
        made.promise_nothing("bits", "chroma", "alpha")
        opaque = [name for name in formats if not (known := pixel_format(name)) or not known.alpha]
        return opaque[0] if len(opaque) == 1 else None
    alpha = track.alpha
    needed = _ALPHA_DECODERS.get(track.codec)
    if alpha and needed:
        alpha = needed in ability.decoders
    chosen = nearest_format(formats, PixelFormat(track.bits, track.chroma, alpha))
    offered = pixel_format(chosen)
    if offered is None:
        made.promise_nothing("bits", "chroma", "alpha")
        return chosen
    if offered.alpha and alpha:
        made.read_with(needed)
        if target.encoder.startswith("libvpx"):
            made.option("auto-alt-ref", "0")
    elif track.alpha:
        made.becomes(alpha=False)
        what = "its transparency is lost: there is no alpha channel in the output"
        made.warn(WarningCause.ALPHA, what)
    made.becomes(bits=offered.bits, chroma=offered.chroma)
    if offered.chroma is not track.chroma and chroma_lost(track.chroma, offered.chroma):
        what = f"{CHROMA_WORDS[track.chroma]} becomes {CHROMA_WORDS[offered.chroma]}"
        what = f"its colours are stored at lower resolution: {what}"
        made.warn(WarningCause.CHROMA, what)
    return chosen


def _treat_colors(made: Treatment, target: Target, chosen: str | None, ability: Ability) -> None:
    """Keep what the colours mean: HDR in enough bits, else mapped to SDR; RGB as BT.709."""
    track, offered = made.track, pixel_format(chosen or "")
    if "colors" in target.settled:
        made.promise_nothing(*_COLORS, "mastering", "light_level")
        return
    tone_map = target.tone_map
    if tone_map is None:
        tone_map = offered is not None and offered.bits == 8
    if track.is_hdr and tone_map:
        map_tones(made, chosen)
        return
    if offered and offered.bits < track.bits:
        what = f"its {track.bits} bits become {offered.bits}"
        made.warn(WarningCause.DEPTH, what)
    if track.chroma is Chroma.RGB and offered and offered.chroma is not Chroma.RGB:
        made.put(_TO_709, f"format={chosen}", _TAGGED)
        made.becomes(**_BT709)
        made.notes.append("RGB as BT.709")
    elif codec_of(target.encoder) not in _CARRIES_COLORS:
        made.promise_nothing(*_COLORS)
    else:
        for name in _COLORS:
            if not getattr(track, name):
                made.promise_nothing(name)
    if not (track.mastering or track.light_level):
        return
    if found := mastering_option(track, target.encoder):
        made.option(*found)
    elif ability.libavcodec < _CARRIES_MASTERING or target.encoder != "libvpx-vp9":
        made.promise_nothing("mastering", "light_level")
        what = "what is said of its mastering display and brightness may be lost"
        made.warn(WarningCause.MASTERING, what)


def map_tones(made: Treatment, chosen: str | None) -> None:
    """Map an HDR picture to SDR, whatever its encoder could hold."""
    track = made.track
    known = {
        "tin": track.transfer,
        "pin": track.primaries or "bt2020",
        "min": track.matrix or "bt2020nc",
    }
    source = "".join(f"{option}={value}:" for option, value in known.items())
    if track.width % 2 or track.height % 2:  # zscale refuses odd sizes of 4:2:0
        made.put(_EVEN)
        made.becomes(width=None, height=None)
    made.put(*(step.format(source=source) for step in _TONE_MAP))
    made.put(*([f"format={chosen}"] if chosen else []), _TAGGED)
    made.becomes(**_BT709, mastering=(), light_level=None)
    kind = HDR_WORDS[track.transfer]
    made.notes.append(f"{kind} tone-mapped to SDR")
    made.warn(WarningCause.TONE_MAPPED, f"its HDR ({kind}) is tone-mapped to SDR")


def mastering_option(track: Track, encoder: str) -> tuple[str, str] | None:
    """Return the option that tells an encoder of the mastering display and the brightness.

    Those of an old ffmpeg take neither from the frames. None for one that cannot be told.
    """
    display = track.mastering
    if encoder == "libx265":
        parts = ["hdr10=1", "repeat-headers=1"]
        values = [f"{value * 50000:.0f}" for value in display[:8]]
        values += [f"{value * 10000:.0f}" for value in display[8:10]]
        name, light = "master-display", "max-cll"
    elif encoder == "libsvtav1":
        parts, values = [], [f"{value:.5g}" for value in display]
        name, light = "mastering-display", "content-light"
    else:
        return None
    if display:
        rx, ry, gx, gy, bx, by, wx, wy, least, most = values
        points = f"G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({most},{least})"
        parts.append(f"{name}={points}")
    if track.light_level:
        parts.append(f"{light}=" + ",".join(map(str, track.light_level)))
    return f"{encoder.removeprefix('lib')}-params", ":".join(parts)


def instead_of_copy(track: Track, suffix: str) -> tuple[str, ...]:
    """Return the encoder, and its options, for a picture that cannot be copied as wished."""
    if suffix == ".webm":
        return "libvpx-vp9", "-crf:v:0", "20", "-b:v:0", "0"
    if track.codec in _LOSSLESS and suffix == ".mkv":
        return ("ffv1",)
    if track.is_hdr or track.codec == "hevc":
        tag = ("-tag:v:0", "hvc1") if suffix in MP4_KIN else ()
        return "libx265", "-crf:v:0", "18", *tag
    return "libx264", "-crf:v:0", "16"


def _treat_extras(made: Treatment, target: Target, ability: Ability) -> None:
    """Say what lies in the pictures beside them and is lost."""
    track, encoder = made.track, target.encoder
    if track.dolby_vision:
        made.becomes(dolby_vision=False)
        made.promise_nothing("dolby_vision_profile", "dolby_vision_base")
        is_mapped = made.changes.get("transfer") == "bt709"
        what = "Dolby Vision is lost" if is_mapped else "Dolby Vision is lost; its base remains"
        made.warn(WarningCause.DOLBY_VISION, what)
    if not track.captions or encoder in _KEEPS_CAPTIONS:
        return
    if encoder == "libx265" and ability.x265_captions:
        made.option("a53cc", "1")
        return
    made.promise_nothing("captions")
    if encoder in _LOSES_CAPTIONS:
        made.becomes(captions=False)
        made.warn(
            WarningCause.CAPTIONS, f"the captions in its pictures are lost: {encoder} writes none"
        )

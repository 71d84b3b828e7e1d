"""What containers hold and what encoders take: tables, each row tried with ffmpeg 5.1 and 9.0.

Containers are named by their suffix, in lower case, codecs and encoders as ffmpeg names them. What
is not in a table is not known: then ffmpeg is asked by trying.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from watchconv.media.facts import Chroma

# Which codecs a container holds so that both ffmpegs read them back.

MP4_KIN = frozenset({".mp4", ".m4v", ".mov"})
_PCM = frozenset(
    {
        *("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
        *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_alaw", "pcm_mulaw"),
    }
)
_MP4_VIDEO = frozenset(
    {
        *("h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "png"),
    }
)
_MP4_AUDIO = frozenset({"aac", "ac3", "mp2", "mp3", "alac", "dts"})
_WEBM_VIDEO, _WEBM_AUDIO = frozenset({"vp8", "vp9", "av1"}), frozenset({"opus", "vorbis"})
_MKV_VIDEO = (_MP4_VIDEO | _WEBM_VIDEO) | {
    *("prores", "dnxhd", "ffv1", "huffyuv", "ffvhuff", "theora", "h263", "h263p", "flv1", "vvc"),
    *("msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "wmv3", "vc1", "dvvideo", "cinepak"),
    *("png", "v210", "zmbv", "snow", "asv1", "vp6", "vp6f", "indeo5", "utvideo", "magicyuv", "hap"),
}
_MKV_AUDIO = (_MP4_AUDIO | _WEBM_AUDIO | _PCM) | {
    *("eac3", "flac", "truehd", "mlp", "tta", "wavpack", "wmav1", "wmav2", "wmapro", "pcm_u8"),
    *("adpcm_ms", "adpcm_ima_wav", "adpcm_yamaha", "speex", "amr_nb", "amr_wb"),
}
_HELD = {
    ".mkv": {"video": _MKV_VIDEO, "audio": _MKV_AUDIO},
    ".webm": {"video": _WEBM_VIDEO, "audio": _WEBM_AUDIO},
    ".mp4": {"video": _MP4_VIDEO, "audio": _MP4_AUDIO | {"opus", "vorbis", "eac3"}},
    ".m4v": {"video": _MP4_VIDEO, "audio": _MP4_AUDIO | {"opus", "vorbis", "eac3"}},
    ".mov": {
        "video": (_MP4_VIDEO | {"prores", "dnxhd", "qtrle", "png", "dvvideo"}) - {"av1", "vp9"},
        "audio": _MP4_AUDIO
        | _PCM
        | {"eac3", "pcm_u8", "pcm_s8", "adpcm_ima_qt", "gsm", "nellymoser", "amr_nb", "amr_wb"},
    },
}


def holds(suffix: str, kind: str, codec: str) -> bool | None:
    """Return whether a container holds a video or audio codec; None where nobody knows."""
    held = _HELD.get(suffix)
    return codec in held[kind] if held and kind in held else None


# What a sound becomes that is to be copied and does not go: the encoder, by container.
SOUND_INSTEAD = {
    ".mkv": "flac",
    ".webm": "libopus",
    ".mp4": "aac",
    ".m4v": "aac",
    ".mov": "pcm_s16le",
}

# Subtitles.

TEXT = frozenset(
    {"subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text", "hdmv_text_subtitle"}
)
STYLED = frozenset({"ass", "ssa"})
BITMAP = frozenset({"hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle", "xsub"})
_MOV_TEXT = {codec: "copy" if codec == "mov_text" else "mov_text" for codec in TEXT}
# suffix -> codec of a subtitle track -> its encoder there; a codec that is missing does not go
SUBTITLES = {
    ".webm": {codec: "copy" if codec == "webvtt" else "webvtt" for codec in TEXT},
    ".mkv": dict.fromkeys(TEXT | BITMAP, "copy")
    | {"mov_text": "srt", "text": "srt", "hdmv_text_subtitle": "srt"},
    **dict.fromkeys(MP4_KIN, _MOV_TEXT),
}
del SUBTITLES[".mkv"]["xsub"]

_CODECS = {
    "libx264": "h264",
    "libx264rgb": "h264",
    "libx265": "hevc",
    "libsvtav1": "av1",
    "libaom-av1": "av1",
    "librav1e": "av1",
    "libvpx": "vp8",
    "libvpx-vp9": "vp9",
    "prores_ks": "prores",
    "prores_aw": "prores",
    "libxvid": "mpeg4",
    "libtheora": "theora",
    "libwebp": "webp",
    "libwebp_anim": "webp",
    "libvorbis": "vorbis",
    "libopus": "opus",
    "libmp3lame": "mp3",
    "libfdk_aac": "aac",
    "dca": "dts",
    "srt": "subrip",
}
_HARDWARE = re.compile(r"_(?:nvenc|qsv|vaapi|amf|vulkan|v4l2m2m|mf|videotoolbox)$")


def codec_of(encoder: str) -> str:
    """Return the codec that an encoder makes."""
    return _CODECS.get(encoder) or _HARDWARE.sub("", encoder)


# Pixel formats.


class PixelFormat(NamedTuple):
    """What a pixel format holds."""

    bits: int
    chroma: Chroma
    alpha: bool


_PLANAR = re.compile(r"yuv(?P<alpha>a?)j?(?P<chroma>4\d\d)p(?P<bits>\d*)(?:[lb]e)?")
_PACKED = {
    "nv12": PixelFormat(8, Chroma.HALF, alpha=False),
    "nv16": PixelFormat(8, Chroma.WIDE, alpha=False),
    "p010le": PixelFormat(10, Chroma.HALF, alpha=False),
    "p210le": PixelFormat(10, Chroma.WIDE, alpha=False),
    "yuyv422": PixelFormat(8, Chroma.WIDE, alpha=False),
    "uyvy422": PixelFormat(8, Chroma.WIDE, alpha=False),
    "pal8": PixelFormat(8, Chroma.RGB, alpha=True),
}
_CHROMAS = {"420": Chroma.HALF, "422": Chroma.WIDE, "444": Chroma.FULL}


def pixel_format(name: str) -> PixelFormat | None:
    """Return what a pixel format holds by its name; None for one that is not known."""
    if known := _PACKED.get(name):
        return known
    if found := _PLANAR.fullmatch(name):
        chroma = _CHROMAS.get(found["chroma"], Chroma.OTHER)
        return PixelFormat(int(found["bits"] or 8), chroma, bool(found["alpha"]))
    if found := re.fullmatch(r"gray(\d*)(?:[lb]e)?", name):
        return PixelFormat(int(found[1] or 8), Chroma.GRAY, alpha=False)
    if found := re.fullmatch(r"gbr(a?)p(\d*)(?:[lb]e)?", name):
        return PixelFormat(int(found[2] or 8), Chroma.RGB, bool(found[1]))
    if re.fullmatch(r"0?(rgb|bgr)(24|0)?", name):
        return PixelFormat(8, Chroma.RGB, alpha=False)
    if name in ("rgba", "bgra", "argb", "abgr"):
        return PixelFormat(8, Chroma.RGB, alpha=True)
    return None


def _formats(bits: str, chromas: str = "420 422 444") -> tuple[str, ...]:
    return tuple(
        f"yuv{chroma}p" + ("" if depth == "8" else f"{depth}le")
        for depth in bits.split()
        for chroma in chromas.split()
    )


# encoder -> the pixel formats that it takes, as far as they are of use here
PIXEL_FORMATS = {
    "libx264": _formats("8 10"),
    "libx265": _formats("8 10 12"),
    "libsvtav1": _formats("8 10", "420"),
    "libaom-av1": _formats("8 10 12"),
    "libvpx": ("yuv420p", "yuva420p"),
    "libvpx-vp9": (*_formats("8 10 12"), "yuva420p"),
    "mpeg4": ("yuv420p",),
    "mpeg2video": _formats("8", "420 422"),
    "prores_ks": ("yuv422p10le", "yuv444p10le", "yuva444p10le"),
    "ffv1": (*_formats("8 10 12"), "yuva420p", "yuva444p", "bgra", "gbrp", "gbrp10le"),
}
_CHROMA_WORTH = {
    Chroma.GRAY: 0,
    Chroma.HALF: 1,
    Chroma.OTHER: 1,
    Chroma.WIDE: 2,
    Chroma.FULL: 3,
    Chroma.RGB: 3,
}


def chroma_lost(chroma: Chroma, becomes: Chroma) -> bool:
    """Return whether colours lose resolution where they are stored otherwise."""
    return _CHROMA_WORTH[becomes] < _CHROMA_WORTH[chroma]


def nearest_format(formats: tuple[str, ...], wanted: PixelFormat) -> str:
    """Return the format that loses least of a picture and, of these, that adds least."""

    def cost(name: str) -> tuple[int, int, int, int]:
        """Order the formats: the least is the nearest."""
        offered = pixel_format(name)
        if offered is None:
            return (9, 9, 99, 99)
        chroma = _CHROMA_WORTH[offered.chroma] - _CHROMA_WORTH[wanted.chroma]
        bits = offered.bits - wanted.bits
        lost_alpha = wanted.alpha and not offered.alpha
        excess = bits + chroma + 4 * (offered.alpha and not wanted.alpha)
        # RGB that becomes YUV without need is a loss too
        other = (wanted.chroma is Chroma.RGB) != (offered.chroma is Chroma.RGB)
        return int(lost_alpha), max(0, -bits), max(0, -chroma), 2 * excess + int(other)

    return min(formats, key=cost)


# Layouts of sound.

_VORBIS_ORDER = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
_UP_TO_4 = ("mono", "stereo", "3.0", "3.0(back)", "2.1", "4.0")
_DOLBY = (*_UP_TO_4, "3.1", "quad(side)", "4.1", "5.0(side)", "5.1(side)")
# encoder -> the layouts that it takes and that come back as they were
LAYOUTS = {
    "libopus": _VORBIS_ORDER,
    "libvorbis": _VORBIS_ORDER,
    "aac": (*_UP_TO_4, "quad", "5.0", "5.1", "6.1", "7.1"),
    "ac3": _DOLBY,
    "eac3": _DOLBY,
    "libmp3lame": ("mono", "stereo"),
}
RATES = {
    "libopus": (8000, 12000, 16000, 24000, 48000),
    "aac": (
        *(7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
        *(64000, 88200, 96000),
    ),
    "libmp3lame": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    "ac3": (32000, 44100, 48000),
    "eac3": (32000, 44100, 48000),
    "libvorbis": (
        *(8000, 11025, 16000, 22050, 32000, 44100, 48000, 64000, 88200, 96000),
        *(176400, 192000),
    ),
}
KBIT_PER_CHANNEL = {"aac": 80, "libopus": 64}
_SPEAKERS = {
    "mono": "FC",
    "stereo": "FL FR",
    "2.1": "FL FR LFE",
    "3.0": "FL FR FC",
    "3.0(back)": "FL FR BC",
    "3.1": "FL FR FC LFE",
    "4.0": "FL FR FC BC",
    "quad": "FL FR BL BR",
    "quad(side)": "FL FR SL SR",
    "4.1": "FL FR FC LFE BC",
    "5.0": "FL FR FC BL BR",
    "5.0(side)": "FL FR FC SL SR",
    "5.1": "FL FR FC LFE BL BR",
    "5.1(side)": "FL FR FC LFE SL SR",
    "6.0": "FL FR FC BC SL SR",
    "hexagonal": "FL FR FC BL BR BC",
    "6.1": "FL FR FC LFE BC SL SR",
    "6.1(back)": "FL FR FC LFE BL BR BC",
    "7.0": "FL FR FC BL BR SL SR",
    "7.1": "FL FR FC LFE BL BR SL SR",
    "7.1(wide)": "FL FR FC LFE BL BR FLC FRC",
    "7.1(wide-side)": "FL FR FC LFE SL SR FLC FRC",
    "octagonal": "FL FR FC BL BR BC SL SR",
}
_BY_CHANNELS = ("", "mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
CHANNELS = {layout: len(speakers.split()) for layout, speakers in _SPEAKERS.items()}
LAYOUTS |= dict.fromkeys(("flac", "wavpack"), tuple(_SPEAKERS))


class Layout(NamedTuple):
    """The layout that a sound gets, and whether every speaker of it keeps its own channel."""

    name: str
    whole: bool


def nearest_layout(layouts: tuple[str, ...], wanted: str, channels: int) -> Layout:
    """Return the smallest layout that has all speakers of a sound; else the largest one.

    Speakers at the side and at the back stand for each other where a sound has only one pair. A
    sound without a known layout gets the usual one for its channels.
    """
    if wanted in layouts:
        return Layout(wanted, whole=True)
    if wanted not in _SPEAKERS:
        most = [name for name in layouts if CHANNELS[name] >= channels]
        usual = _BY_CHANNELS[channels] if channels < len(_BY_CHANNELS) else ""
        if usual in layouts:
            return Layout(usual, whole=True)
        wide = min(most, key=CHANNELS.__getitem__) if most else max(layouts, key=CHANNELS.get)  # type: ignore[arg-type]
        return Layout(wide, whole=bool(most))
    needed, exactly = _placed(wanted), set(_SPEAKERS[wanted].split())
    fits = [
        name
        for name in layouts
        if needed <= _placed(name) or exactly <= set(_SPEAKERS[name].split())
    ]
    if fits:
        return Layout(min(fits, key=lambda name: CHANNELS[name]), whole=True)
    return Layout(max(layouts, key=lambda name: CHANNELS[name]), whole=False)


def _placed(layout: str) -> set[str]:
    """Return a layout's speakers, its only pair behind the listener under one name."""
    speakers = set(_SPEAKERS[layout].split())
    if not {"BL", "SL"} <= speakers:
        speakers = {{"SL": "BL", "SR": "BR"}.get(speaker, speaker) for speaker in speakers}
    return speakers

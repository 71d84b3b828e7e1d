"""The encoders: which a profile needs, what pixels they take, what they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watchconv.config.contradictions import SOFTWARE
from watchconv.config.wish import Audio, Declared, Video
from watchconv.encode.holds import PIXEL_FORMATS, pixel_format
from watchconv.model import JobWarning, WarningCause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watchconv.config.wish import Wish
    from watchconv.encode.program import Ability
    from watchconv.model import Profile

_QUALITY = {  # where the profile says nothing
    "libx264": 21,
    "libx265": 24,
    "libsvtav1": 32,
    "libaom-av1": 30,
    "libvpx-vp9": 31,
    "libwebp_anim": 75,
}
_PRESET = {
    "libx264": "medium",
    "libx265": "medium",
    "libsvtav1": "8",
    "libvpx-vp9": "2",
    "libvpx": "4",
    "prores_ks": "hq",
    "dnxhd": "hq",
}
SOUND_ENCODERS = {"opus": "libopus", "vorbis": "libvorbis", "mp3": "libmp3lame", "pcm": "pcm_s16le"}
_DNXHR = {"hqx": "yuv422p10le", "444": "yuv444p10le"}
_HARDWARE = ("nv12", "p010le")


def encoders_of(video: Video) -> tuple[str, ...]:
    """Return the encoders of a profile, in the order in which they are tried."""
    return video.encoders or (SOFTWARE[video.codec],)


def encoder_for(video: Video, ability: Ability, turn: int) -> tuple[str, list[JobWarning]]:
    """Return the encoder of a profile whose turn it is, and a warning where it is not the first."""
    named = encoders_of(video)
    there = [name for name in named if not ability.encoders or name in ability.encoders]
    encoder = there[min(turn, len(there) - 1)] if there else named[0]
    if encoder == named[0]:
        return encoder, []
    why = "failed" if named[0] in there else "is not in this ffmpeg"
    text = f"the picture is encoded with {encoder}, because {named[0]} {why}"
    return encoder, [JobWarning(WarningCause.FALLBACK, text)]


def is_hardware(encoder: str) -> bool:
    """Return whether an encoder is a chip's."""
    return not encoder.startswith("lib") and encoder.endswith(
        ("_nvenc", "_qsv", "_vaapi", "_amf", "_vulkan", "_v4l2m2m")
    )


def formats_for(encoder: str, video: Video, *, alpha: bool) -> tuple[str, ...]:
    """Return the pixel formats that may come out; empty: the encoder chooses.

    Of those with fewer colours than 4:2:0 has none is offered where players expect that.
    """
    preset = video.preset or _PRESET.get(encoder, "")
    if encoder == "prores_ks":
        if alpha:
            return ("yuva444p10le",)
        return ("yuv444p10le",) if preset.startswith("4444") else ("yuv422p10le",)
    if encoder == "dnxhd":
        return (_DNXHR.get(preset, "yuv422p"),)
    if encoder in ("gif", "libwebp_anim"):
        return ("bgra",)
    if encoder == "ffv1":
        return ()
    offered = _HARDWARE if is_hardware(encoder) else PIXEL_FORMATS.get(encoder, ("yuv420p",))
    # 10 bits of H.264 play hardly anywhere: only who asks for them gets them
    most = {"8": 8, "10": 10, "keep": 8 if video.codec == "h264" else 10}[video.depth]
    chosen = []
    for name in offered:
        known = pixel_format(name)
        if known is None or known.chroma != "420" or known.bits > most or known.alpha > alpha:
            continue
        if video.depth == "10" and known.bits < 10 and not known.alpha:
            continue
        chosen.append(name)
    return tuple(chosen)


def tell(encoder: str, video: Video, *, alpha: bool) -> list[str]:
    """Return the words for an encoder's quality and speed."""
    preset = video.preset or _PRESET.get(encoder, "")
    options = dict(_rate(encoder, video))
    match encoder:
        case "libvpx" | "libvpx-vp9":
            options["cpu-used"] = preset
            options |= {"row-mt": "1"} if encoder == "libvpx-vp9" else {}
        case "prores_ks":
            kind = "4444" if alpha and not preset.startswith("4444") else preset
            options |= {"profile": kind, "vendor": "apl0"}
        case "dnxhd":
            options["profile"] = f"dnxhr_{preset}"
        case "ffv1":
            options |= {"level": "3", "slicecrc": "1"}
        case "libsvtav1":
            # It refuses more than 240 frames a second. The rate given here is for its planning
            # only: the frames keep their times, while -fpsmax 240 would drop them.
            options |= {"preset": preset, "svtav1-params": "fps-num=30:fps-denom=1"}
        case _ if preset:
            options["preset"] = preset
    words = [word for name, value in options.items() for word in (f"-{name}:v:0", value)]
    return ["-loop", "0", *words] if encoder in ("gif", "libwebp_anim") else words


def _rate(encoder: str, video: Video) -> dict[str, str]:
    if video.bitrate is not None:
        return {"b": str(video.bitrate)}
    value = video.qualities(encoders_of(video)).get(encoder, _QUALITY.get(encoder))
    if value is None:
        return {"b": "1M"} if encoder == "libvpx" else {}
    number = f"{value:g}"
    match encoder.rpartition("_")[2] if is_hardware(encoder) else encoder:
        case "libvpx":  # without a bit rate to stay below, the scale does nothing
            return {"b": "50M", "crf": number}
        case "libvpx-vp9":
            return {"b": "0", "crf": number}
        case "libwebp_anim":
            return {"q": number}
        case "nvenc":
            return {"rc": "vbr", "cq": number, "b": "0"}
        case "qsv":
            return {"global_quality": number}
        case "vaapi" | "vulkan":
            return {"qp": number}
        case "amf":
            return {"rc": "cqp", "qp_i": number, "qp_p": number}
    return {"crf": number}


def wants_hardware(profile: Profile) -> bool:
    """Return whether a profile declares an encoder that is a chip's."""
    if not (isinstance(profile, Declared) and isinstance(profile.wish.video, Video)):
        return False
    return any(map(is_hardware, encoders_of(profile.wish.video)))


def lacks(wish: Wish, ability: Ability) -> Iterator[tuple[str, str]]:
    """Yield what an ffmpeg cannot do for a profile: the dotted key, and what goes on after it."""
    if isinstance(wish.video, Video):
        encoders = encoders_of(wish.video)
        if not ability.encoders.intersection(encoders):
            key = "video.encoders" if wish.video.encoders else "video.codec"
            yield key, f"has no encoder {' or '.join(encoders)}; name another one"
    if isinstance(wish.audio, Audio):
        codecs = {"audio.codec": wish.audio.codec}
        if wish.audio.also_stereo:
            codecs["audio.also_stereo.codec"] = wish.audio.also_stereo.codec
        for key, codec in codecs.items():
            encoder = SOUND_ENCODERS.get(codec, codec)
            if not encoder.startswith("pcm") and encoder not in ability.encoders:
                yield key, f"has no encoder {encoder}; name another codec"

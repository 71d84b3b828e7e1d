"""What does not go together in a declared profile, each as a sentence at its key.

What only one ffmpeg or one file cannot meet is found where these are known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from watchconv.config.problems import Problem, near_miss
from watchconv.config.wish import Audio, Video

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from watchconv.config.wish import Wish

    Found = Iterator[tuple[str, str]]  # the dotted key inside the profile, and a sentence

# what an encode may put into a container
_VIDEO = {
    "mkv": ("h264", "hevc", "av1", "vp9", "vp8", "prores", "dnxhr", "ffv1"),
    "mp4": ("h264", "hevc", "av1", "vp9"),
    "mov": ("h264", "hevc", "prores", "dnxhr"),
    "webm": ("vp8", "vp9", "av1"),
    "gif": ("gif",),
    "webp": ("webp",),
}
_AUDIO = {
    "mkv": ("aac", "opus", "vorbis", "mp3", "ac3", "eac3", "flac", "pcm"),
    "mp4": ("aac", "opus", "mp3", "ac3", "eac3", "flac"),
    "mov": ("aac", "mp3", "ac3", "eac3", "pcm"),
    "webm": ("opus", "vorbis"),
}
EIGHT_BITS = ("vp8", "gif", "webp")
WITH_ALPHA = ("vp8", "vp9", "prores", "ffv1", "gif", "webp")
_QUALITIES = {  # the worst and the best of the software encoder's own scale
    **dict.fromkeys(("h264", "hevc"), (0, 51)),
    **dict.fromkeys(("av1", "vp9", "vp8"), (0, 63)),
    "webp": (0, 100),
}
_NO_BIT_RATE = ("prores", "dnxhr", "ffv1", "gif", "webp")
_X26X = [
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
]
_PRESETS = {
    "h264": _X26X,
    "hevc": _X26X,
    "av1": [str(n) for n in range(-1, 14)],
    "vp9": [str(n) for n in range(9)],
    "vp8": [str(n) for n in range(17)],
    "prores": ["proxy", "lt", "standard", "hq", "4444", "4444xq"],
    "dnxhr": ["lb", "sq", "hq", "hqx", "444"],
}
SOFTWARE: Mapping[str, str] = {
    "h264": "libx264",
    "hevc": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "vp8": "libvpx",
    "prores": "prores_ks",
    "dnxhr": "dnxhd",
    "ffv1": "ffv1",
    "gif": "gif",
    "webp": "libwebp_anim",
}
_OTHER_NAMES = {"av1": ("libaom-av1", "librav1e"), "prores": ("prores", "prores_aw")}


def contradictions(name: str, wish: Wish) -> Iterator[Problem]:
    """Yield what a profile of this name asks for in vain, whatever the ffmpeg and the file."""
    found: list[tuple[str, str]] = []
    if wish.video is None and not wish.args:
        found.append(("container", "says nothing of the picture; write video: too, or args:"))
    if isinstance(wish.video, Video):
        found += _of_video(wish.video, wish.container)
    if isinstance(wish.audio, Audio):
        found += _of_audio(wish.audio, wish.container)
    for keys, text in found:
        path = [int(step) if step.isdecimal() else step for step in keys.split(".")]
        yield Problem(("profiles", name, *path), text)


def _of_video(video: Video, container: str) -> Found:
    codec = video.codec
    if codec not in _VIDEO[container]:
        yield "video.codec", f"{container} holds no {codec}; write {_one_of(_VIDEO[container])}"
    if codec in EIGHT_BITS:
        advice = "write tonemap, or another codec"
        if video.hdr == "keep":
            yield "video.hdr", f"{codec} has 8 bits, in which HDR cannot be kept; {advice}"
        if video.depth == "10":
            yield "video.depth", f"{codec} has 8 bits; write 8, or another codec"
    elif video.hdr == "keep" and video.depth == "8":
        yield "video.hdr", "HDR cannot be kept in 8 bits; write tonemap, or depth: 10"
    elif video.hdr == "keep" and codec == "h264" and video.depth != "10":
        text = "h264 has 8 bits where none else are written, in which HDR cannot be kept"
        yield "video.hdr", f"{text}; write tonemap, or hevc or av1 as codec"
    if video.alpha == "keep" and (codec not in WITH_ALPHA or container == "mp4"):
        text = f"{codec} in {container} has no transparency; write drop, or {_one_of(WITH_ALPHA)}"
        yield "video.alpha", f"{text} as codec"
    if video.preset is not None and not video.encoders:
        known = _PRESETS.get(codec, [])
        if not known:
            yield "video.preset", f"{codec} has none; remove it"
        elif video.preset not in known:
            yield "video.preset", f"'{video.preset}' is none of {codec}; write {_one_of(known)}"
    yield from _of_quality(video)
    for at, encoder in enumerate(video.encoders):
        if not makes(encoder, codec):
            text = f"{encoder} does not make {codec}; write one such as {SOFTWARE[codec]}"
            yield f"video.encoders.{at}", text


def _of_quality(video: Video) -> Found:
    codec = video.codec
    if video.bitrate is not None and codec in _NO_BIT_RATE:
        yield "video.bitrate", f"{codec} takes none; remove it"
    if video.quality is None:
        return
    if video.bitrate is not None:
        yield "video.bitrate", "quality is set too; keep one of the two"
    ends = _QUALITIES.get(codec)
    if ends is None:
        yield "video.quality", f"{codec} has no such scale; remove it"
        return
    encoders = video.encoders or (SOFTWARE[codec],)
    for name, value in video.qualities(encoders).items():
        keys = "video.quality" + (f".{name}" if isinstance(video.quality, dict) else "")
        if name not in encoders:
            near = near_miss(name, encoders)
            hint = f"did you mean {near}?" if near else f"write {_one_of(encoders)}"
            yield keys, f"{name} is not among the encoders; {hint}"
        elif name == SOFTWARE[codec] and not ends[0] <= value <= ends[1]:
            text = f"{value:g} is out of the range of {name}"
            yield keys, f"{text}; write a number from {ends[0]} to {ends[1]}"


def _of_audio(audio: Audio, container: str) -> Found:
    held = _AUDIO.get(container, ())
    if not held:
        yield "audio", f"{container} holds no sound; write none"
        return
    if audio.codec not in held:
        yield "audio.codec", f"{container} holds no {audio.codec}; write {_one_of(held)}"
    if audio.kbit_per_channel is not None and audio.codec in ("flac", "pcm"):
        yield "audio.kbit_per_channel", f"{audio.codec} keeps all and takes none; remove it"
    most = {"mp3": 2, "ac3": 6, "eac3": 6}.get(audio.codec, 8)
    if (audio.max_channels or 0) > most:
        text = f"{audio.codec} has at most {most} channels; write {most}, or another codec"
        yield "audio.max_channels", text
    if audio.also_stereo and audio.also_stereo.codec not in held:
        text = f"{container} holds no {audio.also_stereo.codec}; write {_one_of(held)}"
        yield "audio.also_stereo.codec", text


def makes(encoder: str, codec: str) -> bool:
    """Return whether an encoder makes a codec, by its name."""
    names = (SOFTWARE[codec], codec, *_OTHER_NAMES.get(codec, ()))
    return encoder in names or encoder.startswith(f"{codec}_")


def _one_of(words: tuple[str, ...] | list[str]) -> str:
    return words[0] if len(words) == 1 else f"one of {', '.join(words)}"

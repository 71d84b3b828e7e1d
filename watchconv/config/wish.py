"""A declared profile: what is wanted of picture, sound, subtitles and the rest.

How it is come by, for one file and one ffmpeg, is ``encode.decide``'s. What does not go together is
found by ``contradictions``. None stands for what depends on the codec or the container.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Literal

from watchconv.config.group import Group, key
from watchconv.model import Incomplete, Profile, Verify

if TYPE_CHECKING:
    from collections.abc import Iterable

    from watchconv.config import values as v

Container = Literal["mkv", "mp4", "mov", "webm", "gif", "webp"]
VideoCodec = Literal["h264", "hevc", "av1", "vp9", "vp8", "prores", "dnxhr", "ffv1", "gif", "webp"]
AudioCodec = Literal["aac", "opus", "vorbis", "mp3", "ac3", "eac3", "flac", "pcm"]
Kept = Literal["chapters", "tags", "date", "place", "cover", "fonts", "timecode"]
KEPT: tuple[Kept, ...] = ("chapters", "tags", "date", "place", "cover", "fonts", "timecode")


@dataclass(frozen=True)
class CopyVideo(Group):
    """When a picture is copied; all must hold. What is not named here is encoded."""

    codec: tuple[str, ...] = key(MISSING, "codecs of the original", examples=[["hevc", "av1"]])
    max_mbit: float | None = key(None, "its bit rate a second", gt=0)
    max_height: int | None = key(None, "its shorter side", ge=1)
    hdr: bool = key(False, "PQ and HLG too")
    interlaced: bool = key(False, "interlaced ones too")
    bits: tuple[Literal["8", "10", "12"], ...] = key(("8", "10"), "of each component")
    chroma: tuple[Literal["420", "422", "444"], ...] = key(("420",), "its kinds of colour")


@dataclass(frozen=True)
class Video(Group):
    """How pictures are encoded."""

    codec: VideoCodec = key(MISSING, "of the output")
    quality: v.Quality | dict[v.EncoderName, v.Quality] | None = key(
        None, "the encoder's own scale (crf), or a number for each of encoders"
    )
    bitrate: v.BitRate | None = key(None, "instead of a quality")
    preset: str | None = key(None, "the encoder's word for its speed; of prores, dnxhr the kind")
    max_height: int | None = key(None, "of the shorter side; nothing is made larger", ge=2)
    max_fps: float | None = key(None, "frames a second; more are dropped", gt=0, le=1000)
    hdr: Literal["keep", "tonemap"] | None = key(None, "default keep where the codec has 10 bits")
    depth: Literal["keep", "8", "10"] = key("keep", "bits of each component")
    alpha: Literal["keep", "drop"] | None = key(None, "default keep where the codec has it")
    deinterlace: Literal["auto", "double", "off"] = key(
        "auto", "frames that are flagged so; double makes a picture of each field"
    )
    copy_when: CopyVideo | None = key(None, "what is right already is copied; default never")
    encoders: tuple[v.EncoderName, ...] = key(
        (), "ffmpeg's names, tried in this order; default the software one"
    )

    def qualities(self, encoders: Iterable[str]) -> dict[str, float]:
        """Return the quality that is written for each encoder."""
        if isinstance(self.quality, dict):
            return dict(self.quality)
        return {} if self.quality is None else dict.fromkeys(encoders, self.quality)


@dataclass(frozen=True)
class CopyAudio(Group):
    """When a sound is copied."""

    codec: tuple[str, ...] = key(MISSING, "codecs of the original", examples=[["aac", "ac3"]])


@dataclass(frozen=True)
class Stereo(Group):
    """A second sound of two channels."""

    codec: AudioCodec = key(MISSING, "of the added sound")
    kbit_per_channel: int = key(80, "its bit rate", ge=8, le=640)


@dataclass(frozen=True)
class Audio(Group):
    """Which sounds go, and how they are encoded."""

    codec: AudioCodec = key(MISSING, "of the output")
    kbit_per_channel: int | None = key(None, "a second, for each channel", ge=8, le=640)
    max_channels: int | None = key(None, "more are mixed down", ge=1, le=8)
    languages: Literal["all"] | tuple[v.Language, ...] = key(
        "all", "in this order, and those without one; never leaves none"
    )
    commentary: Literal["keep", "drop"] = key("keep", "sounds that are flagged as comments")
    copy_when: CopyAudio | None = key(None, "what is right already is copied; default never")
    also_stereo: Stereo | None = key(None, "beside a first sound of more than two channels")


@dataclass(frozen=True)
class Subtitles(Group):
    """Which subtitles go."""

    text: Literal["keep", "convert", "drop"] = key(
        "keep", "keep is converted only where the container wants it; convert is plain text"
    )
    bitmap: Literal["keep", "drop"] = key("keep", "pictures: where the container holds them")
    languages: Literal["all"] | tuple[v.Language, ...] = key("all", "and those without one")
    captions: Literal["keep", "drop"] = key("keep", "CEA-608 and 708 in the picture")


@dataclass(frozen=True)
class Wish(Group):
    """One declared profile, as it is written."""

    container: Container = key(MISSING, "what the output is")
    suffix: v.Suffix | None = key(None, "what outputs end with, where not as the container's do")
    video: Literal["copy", "none"] | Video | None = key(None, "copy, none, or how it is encoded")
    audio: Literal["copy", "none"] | Audio = key(
        "copy", "copy (encoded where the container does not hold it), none, or how it is encoded"
    )
    subtitles: Subtitles = key(Subtitles(), "which go, and as what")
    keep: tuple[Kept, ...] = key(KEPT, "what else; without place, where it was taken is removed")
    args: v.Arguments = key((), "ffmpeg's own arguments, added at the end")
    verify: Verify = key(Verify.FULL, "how much an output must prove before it is delivered")
    incomplete: Incomplete = key(Incomplete.AUTO, "a file that is cut off: error, salvage or auto")

    def named(self, name: str) -> Profile:
        """Return the profile of this name."""
        suffix = self.suffix or f".{self.container}"
        return Declared(name, suffix, self.args, self.verify, self.incomplete, wish=self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared(Profile):
    """A profile that says what is wanted; ``args`` are what it adds to the planned ones."""

    wish: Wish

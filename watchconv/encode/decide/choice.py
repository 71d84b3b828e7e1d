"""What a profile's own conditions say of a track: whether it is copied, whether it is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watchconv.config.wish import Audio
from watchconv.encode.decide.part import Part, left_out
from watchconv.encode.decide.shape import upright
from watchconv.encode.holds import BITMAP
from watchconv.encode.tracks import is_font
from watchconv.media.facts import Chroma

if TYPE_CHECKING:
    from watchconv.config.wish import CopyVideo, Video, Wish
    from watchconv.media.facts import Track


# whose packets have times that a copy can go by, or that ffmpeg sets right
_TIMED = frozenset({"mov", "matroska", "mpegts", "mpeg", "ogg"})


def unfit(track: Track, when: CopyVideo, video: Video, demuxer: str) -> list[str]:
    """Return why the profile does not want a picture copied."""
    found: list[str] = []
    if demuxer not in _TIMED:
        found.append(f"the times in a file of this kind ({demuxer}) are not to be copied")
    shorter = min(upright(track))
    if track.codec not in when.codec:
        found.append(f"it is {track.codec}")
    if when.max_mbit is not None:
        mbit = (track.bit_rate or 0) / 1e6
        if not mbit:
            found.append("its bit rate is not known")
        elif mbit > when.max_mbit:
            found.append(f"it has {mbit:.1f} Mbit/s")
    if any(most is not None and shorter > most for most in (when.max_height, video.max_height)):
        found.append(f"its shorter side has {shorter} lines")
    if video.max_fps is not None and (track.frame_rate or 0) > video.max_fps * 1.001:
        found.append(f"it has {track.frame_rate:.5g} frames a second")
    if track.is_hdr and not (when.hdr or video.hdr == "keep"):
        found.append("it is HDR")
    if track.interlaced and not (when.interlaced or video.deinterlace == "off"):
        found.append("it is interlaced")
    if track.bits and str(track.bits) not in when.bits:
        found.append(f"it has {track.bits} bits")
    if track.chroma not in (Chroma.GRAY, Chroma.OTHER) and str(track.chroma) not in when.chroma:
        found.append(f"its colours are {track.chroma}")
    return found


def wants_copy(track: Track, wish: Wish) -> bool:
    """Return whether the profile would copy a sound, if that can be."""
    if not isinstance(wish.audio, Audio):
        return wish.audio == "copy"
    when = wish.audio.copy_when
    return when is not None and track.codec in when.codec


def wanted_sounds(sounds: list[Track], audio: Audio) -> tuple[list[Track], list[Part]]:
    """Sort sounds by the wished languages; never leave none where there are some."""
    unwanted: list[Part] = []
    spoken = [t for t in sounds if audio.commentary == "keep" or "comment" not in t.flags]
    if spoken:
        why = "the profile wants no commentary"
        unwanted += [left_out(t, why, None) for t in sounds if t not in spoken]
        sounds = spoken
    if audio.languages != "all":
        order = {language: n for n, language in enumerate((*audio.languages, "", "und"))}
        fitting = sorted(
            (t for t in sounds if t.language in order), key=lambda t: order[t.language]
        )
        if fitting:
            why = f"the profile wants {', '.join(audio.languages)}"
            unwanted += [left_out(t, why, None) for t in sounds if t not in fitting]
            sounds = fitting
    return sounds, unwanted


def unwanted_text(track: Track, wish: Wish) -> str | None:
    """Return why the profile wants a subtitle track left out; None: it may go."""
    wanted = wish.subtitles
    if wanted.languages != "all" and track.language not in (*wanted.languages, "", "und"):
        return f"the profile wants {', '.join(wanted.languages)}"
    if track.codec in BITMAP and wanted.bitmap == "drop":
        return "the profile wants no subtitles of pictures"
    if track.codec not in BITMAP and wanted.text == "drop":
        return "the profile wants no subtitles of text"
    return None


def unwanted_rest(track: Track, wish: Wish) -> str | None:
    """Return why the profile wants an attachment or data track left out; None: it may go."""
    if track.kind == "attachment" and is_font(track) and "fonts" not in wish.keep:
        return "the profile keeps no fonts"
    if track.timecode and "timecode" not in wish.keep:
        return "the profile keeps no timecode"
    return None

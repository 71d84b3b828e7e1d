"""Whether an output has the pictures of its original, by the words of a profile. Pure."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from watchconv.encode.arguments import setting
from watchconv.encode.holds import MP4_KIN

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIME_OPTIONS = re.compile(
    r"^-(ss|sseof|t|to|itsscale|shortest|fs|r|(?:[vad]?frames)|stream_loop|apad)(:.+)?$"
)
_FILTER_OPTIONS = re.compile(r"^-(vf|af|filter|filter_complex|lavfi)(:.+)?$")
# Filters that give one frame for each they take; any other may not, so it gets no exact count.
_STEADY = re.compile(
    r"(?:scale|zscale|pad|crop|format|noformat|hflip|vflip|transpose|rotate|setsar|setdar|setparams|"
    r"setrange|setfield|eq|hue|hqdn3d|nlmeans|unsharp|colorspace|colormatrix|tonemap|lut|lut3d|"
    r"curves|deband|deblock|gradfun|colorbalance|drawtext|drawbox|subtitles|ass|boxblur|"
    r"gblur|cas|vignette|delogo|negate|null|split|copy|yadif|bwdif|fieldorder|sidedata|"
    r"aformat|aresample|volume|loudnorm|dynaudnorm|pan|channelmap|anull|highpass|lowpass|"
    r"equalizer|acompressor|alimiter)"
)
_QUOTED_OR_LABEL = re.compile(r"\\.|'[^']*'|\[[^\]]*\]")


def time_changer(args: Sequence[str]) -> str | None:
    """Return the argument that makes the output's frames differ from the input's, if any does."""
    for option, value in pairwise([*args, ""]):
        if _TIME_OPTIONS.match(option):
            return option
        if not _FILTER_OPTIONS.match(option):
            continue
        for part in re.split("[,;]", _QUOTED_OR_LABEL.sub("", value)):
            name = re.split(r"[=@]", part.strip())[0]
            if name and not _STEADY.fullmatch(name):
                return f"the filter {name}"
        # gives a frame for each field
        if found := re.search(r"(yadif|bwdif)=(?:[^,;\[]*mode=)?(?:1|3|send_field)", value):
            return f"the filter {found[1]}"
    return None


_VARIABLE = MP4_KIN | {".mkv", ".webm"}  # containers in which each picture has a time of its own
# Encoders that take whatever time base the original has; others count in frames.
_ANY_TIME_BASE = frozenset(
    {"libx264", "libx264rgb", "libx265", "libvpx", "libvpx-vp9", "libsvtav1", "libaom-av1"}
    | {"ffv1", "prores_ks", "dnxhd", "mjpeg"}
)


def time_base(args: Sequence[str], encoder: str | None, suffix: str, demux: str) -> str | None:
    """Return the time base to encode in: each picture keeps its time, none is dropped.

    Without it they get multiples of a guessed rate's. None where args say what becomes of the
    times, or nobody knows what the encoder takes. ``demux`` is how this ffmpeg calls the input's.
    """
    if time_changer(args) or encoder not in _ANY_TIME_BASE:
        return None
    mode = setting(args, "fps_mode", "video")
    is_variable = mode in ("vfr", "2") or (mode is None and suffix in _VARIABLE)
    return (setting(args, "enc_time_base", "video") or demux) if is_variable else None

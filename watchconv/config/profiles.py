"""The built-in profiles: what happens to a file when nobody has said anything else.

A video that ffmpeg can decode passes through each encoding profile, on ffmpeg 5.1 and later: alpha,
odd sizes, one pixel, odd channel layouts, cover art, empty and data tracks. Known exceptions: 10 or
12 unlabelled sound channels fail on 5.1; gaps of tens of hours fit into no mp4. ``remux`` takes
what Matroska can hold: no RealVideo, APNG, raw RGB, or bare H.264 and HEVC without times.

Tracks (``-map auto``), what they need of filters and bit rates, and threads are ``encode.raw``'s
and ``encode.plan``'s to choose, from the probe: webm and mp4 have 8 bits, and HDR is tone-mapped
for them; hevc and av1 keep it in 10.
"""

from __future__ import annotations

import shlex
from types import MappingProxyType
from typing import TYPE_CHECKING

from watchconv.model import Profile

if TYPE_CHECKING:
    from collections.abc import Mapping

# Variable frame rate everywhere: a gap of hours in the times must not become millions of frames.
_VFR = "-map auto -fps_mode vfr"
# 4:2:0 wants even sizes; a black line at the edge loses nothing, cropping would.
_EVEN = "-vf pad=ceil(iw/2)*2:ceil(ih/2)*2 -pix_fmt yuv420p"
# x265 and SVT-AV1 refuse tiny pictures, or abort on them. Ten bits stay, and HDR with them.
_EVEN_64 = r'-vf "pad=ceil(max(iw\,64)/2)*2:ceil(max(ih\,64)/2)*2,format=yuv420p|yuv420p10le"'
_AAC = "-c:a aac -movflags +faststart"

# Speeds are chosen by ``python -m tests.bench speed``: libvpx at its default costs three to five
# times the processor time of -cpu-used 4 for the same picture within 1 of VMAF.
_ARGS = {
    ("webm", ".webm"): f"{_VFR} -c:v libvpx -b:v 1M -cpu-used 4 -c:a libvorbis",
    ("mp4", ".mp4"): f"{_VFR} -c:v libx264 -preset medium -crf 21 {_EVEN} {_AAC}",
    ("hevc", ".mp4"): f"{_VFR} -c:v libx265 -preset medium -crf 24 -tag:v hvc1 {_EVEN_64} {_AAC}",
    # SVT-AV1 refuses more than 240 frames a second. The rate given here is for its planning only:
    # the frames keep their times, while -fpsmax 240 would drop them (17 of 30 of a real clip).
    ("av1", ".webm"): f"{_VFR} -c:v libsvtav1 -preset 8 -crf 32 -svtav1-params"
    f" fps-num=30:fps-denom=1 {_EVEN_64} -c:a libopus",
    ("remux", ".mkv"): "-map auto -c copy",
}
BUILTIN: Mapping[str, Profile] = MappingProxyType(
    {
        name: Profile(name, suffix, tuple(shlex.split(args)))
        for (name, suffix), args in _ARGS.items()
    }
)

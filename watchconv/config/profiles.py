"""The built-in profiles: what happens to a file when nobody has said anything else.

A video that ffmpeg can decode passes through each encoding profile, on ffmpeg 5.1 and later: alpha,
odd sizes, one pixel, odd channel layouts, cover art, empty and data tracks. Known exception: gaps
of tens of hours fit into no mp4. ``remux`` copies what Matroska holds and encodes other pictures
with a warning; bare H.264 and HEVC without times it cannot take.

``mp4``, ``hevc`` and ``av1`` copy what is of their codec already. Tracks, what they need of filters
and bit rates, and threads are chosen by the probe (``encode.raw``, ``encode.decide``,
``encode.plan``): webm and mp4 have 8 bits, and HDR is tone-mapped for them; hevc and av1 keep it.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from watchconv.config.wish import Audio, CopyAudio, CopyVideo, Video, Wish
from watchconv.model import Profile

if TYPE_CHECKING:
    from collections.abc import Mapping

# A gap of hours in the times must not become millions of frames. libvpx at its default speed costs
# three to five times the processor time of this one (``python -m tests.bench speed``).
_WEBM = "-map auto -fps_mode vfr -c:v libvpx -b:v 1M -cpu-used 4 -c:a libvorbis"
_AAC = Audio("aac", copy_when=CopyAudio(("aac",)))
_OPUS = Audio("opus", copy_when=CopyAudio(("opus",)))
_DECLARED = {
    "mp4": Wish("mp4", video=Video("h264", 21, copy_when=CopyVideo(("h264",), bits=("8",)))),
    "hevc": Wish("mp4", video=Video("hevc", 24, copy_when=CopyVideo(("hevc",), hdr=True))),
    "av1": Wish("webm", video=Video("av1", 32, copy_when=CopyVideo(("av1",), hdr=True))),
}
BUILTIN: Mapping[str, Profile] = MappingProxyType(
    {
        "webm": Profile("webm", ".webm", tuple(shlex.split(_WEBM))),
        **{
            name: replace(wish, audio=_OPUS if wish.container == "webm" else _AAC).named(name)
            for name, wish in _DECLARED.items()
        },
        # what cannot be copied is encoded nearly without loss, where a wish would refuse the file
        "remux": Profile("remux", ".mkv", ("-map", "auto", "-c", "copy")),
    }
)

"""How much memory an encode will need: a forecast, so that few large ones begin side by side. Pure.

Measured with ffmpeg 5.1 and 9.0 on clips of 3840x2160 and 7680x4320 with 2, 16 and 32 threads: what
an encoder holds grows with the pixels of a picture and with its threads, for its pictures ahead and
those under way are as many. The larger of the two versions counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from watchconv.encode.program import encoders_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.media.facts import Facts

_PROGRAM_BYTES = 120 << 20  # the libraries, the sound, what is read and written
_THREADS_MOST = 32  # no encoder here makes use of more


class _Need(NamedTuple):
    """Bytes for each pixel of a picture: with one thread, and for each further one."""

    least: float
    thread: float


_DECODING = _Need(30, 1.5)
_ENCODERS = {
    "libvpx": _Need(12, 0),
    "libvpx-vp9": _Need(60, 1),
    "libx264": _Need(90, 2.5),
    "libx265": _Need(120, 5),
    "libsvtav1": _Need(250, 10),
    "libaom-av1": _Need(250, 10),
}
_OTHER = _Need(40, 2)


def needed_memory(args: Sequence[str], media: Facts, cores: int) -> int:
    """Return the bytes that an encode with these arguments will use, about."""
    threads = min(cores, _THREADS_MOST)
    if "copy" in args and not encoders_named(args):
        return _PROGRAM_BYTES
    pixels = max((track.width * track.height for track in media.videos), default=0)
    samples = 2 if any(track.bits > 8 for track in media.videos) else 1
    encoders = [_ENCODERS.get(name, _OTHER) for name in encoders_named(args) & _ENCODERS.keys()]
    per_pixel = sum(
        need.least + need.thread * (threads - 1) for need in (_DECODING, *(encoders or [_OTHER]))
    )
    return int(_PROGRAM_BYTES + pixels * per_pixel * samples)

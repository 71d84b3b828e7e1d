"""How much memory an encode will need: a forecast, so that few large ones begin side by side. Pure.

What an encoder holds are pictures, ahead and under way: it grows with their pixels and with the
threads. Measured in MiB at the most, decoding H.264 included (two figures: ffmpeg 9.0 and 5.1):

========== =========== =========== =========== =========== ===========
size       threads     libsvtav1   libx265     libx264     libvpx
========== =========== =========== =========== =========== ===========
1920x1080  2           511         477         478
3840x2160  2           1713, 2176  1566        1682        486
3840x2160  16          3836, 2542  2247, 2091  2735, 2948
3840x2160  32          4356, 2928  2963        3527
7680x4320  2           4218
7680x4320  16          10531, 5407
7680x4320  32          11483, 6503
========== =========== =========== =========== =========== ===========

libsvtav1 in 10 bits took 4573 where it took 3836 in 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from watchconv.encode.program import encoders_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.media.facts import Facts

_PROGRAM_BYTES = 120 << 20  # the libraries, the sound, what is read and written
_THREADS_MOST = 32
_DEEP_FACTOR = 1.4  # of pictures with more than 8 bits


class _Need(NamedTuple):
    """Bytes for each pixel of a picture: with one thread, and for each further one."""

    least: float
    thread: float
    threads: int = _THREADS_MOST  # more than these it does not use

    def bytes_per_pixel(self, cores: int) -> float:
        """Return what so many cores come to."""
        return self.least + self.thread * (min(cores, self.threads) - 1)


_DECODING = _Need(30, 1.5)
_ENCODERS = {
    "libvpx": _Need(15, 0.5),
    "libx264": _Need(185, 8.5),
    "libx265": _Need(160, 4.5),
    "libsvtav1": _Need(230, 14, threads=16),
}
_OTHER = _Need(150, 8)  # not measured


def needed_memory(args: Sequence[str], media: Facts, cores: int) -> int:
    """Return the bytes that an encode with these arguments will use, about."""
    named = encoders_named(args)
    if "copy" in args and not named:
        return _PROGRAM_BYTES
    pixels = max((track.width * track.height for track in media.videos), default=0)
    # an encoder of sound needs next to nothing; one of the picture that is not known, the more
    known = [_ENCODERS[name] for name in named & _ENCODERS.keys()] or [_OTHER]
    per_pixel = sum(need.bytes_per_pixel(cores) for need in (_DECODING, *known))
    if any(track.bits > 8 for track in media.videos):
        per_pixel *= _DEEP_FACTOR
    return int(_PROGRAM_BYTES + pixels * per_pixel)

"""How many threads each encoder should use while several children share the cores.

Guarantees: pure; nothing is added where a profile sets ``-threads`` itself, or where the
encoder's own default was measured to be the better choice.

Does not: touch the decoder's threads: ``-threads`` among the output's options is for the encoder
and its filters.

Errors: none.

Why only VP8: two libvpx encoders with threads of their own on two cores burn twice the CPU for
the same picture; x264, x265, SVT-AV1 and VP9 are fastest when left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from watchconv.encode.ffmpeg import encoders_named

if TYPE_CHECKING:
    from collections.abc import Sequence


def thread_args(args: Sequence[str], cores: int, running: int) -> list[str]:
    """Give the arguments to append to args, right before the output.

    running counts the children that share the cores, this one included.
    """
    chosen = any(arg == "-threads" or arg.startswith("-threads:") for arg in args)
    if running <= 1 or chosen or "libvpx" not in encoders_named(args):
        return []
    return ["-threads:v", str(max(1, cores // running))]

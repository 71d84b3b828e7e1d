"""What ffmpeg is told, and what it says of itself when asked. Pure.

Guarantees: the input is read by one forced demuxer from one local file, never through a
playlist, a data reference or the network (on 5.1 and 9.0 alike).
Does not start ffmpeg. What it says while it works is read by ``progress``, ``account`` and
``failures``.
Errors: ValueError for a path that is not absolute, which is a bug of the caller.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from watchconv.media.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.model import MediaInfo

PROTOCOLS = "file"


def encode_argv(
    ffmpeg: str,
    source: str,
    media: MediaInfo,
    args: Sequence[str],
    output: str,
    *,
    progress_fd: int,
    max_pixels: int | None = None,
) -> list[str]:
    """Compose the command line of one encode.

    source and output are absolute paths; ``file:`` before them disarms every odd name.
    progress_fd is a descriptor that the child inherits; stderr stays for people.
    """
    if not (source.startswith("/") and output.startswith("/")):
        raise ValueError(f"not absolute: {source!r} or {output!r}")
    argv = [ffmpeg, "-hide_banner", "-nostdin", "-nostats", "-v", "verbose", "-y"]
    argv += ["-progress", f"pipe:{progress_fd}"]
    argv += ["-protocol_whitelist", PROTOCOLS, "-format_whitelist", FORMATS, "-f", media.demuxer]
    if media.demuxer == "mov":
        argv += ["-enable_drefs", "0"]
    if "copy" in args:  # AVI and MPEG-PS hold packets without times, which Matroska refuses
        argv += ["-fflags", "+genpts"]
    if max_pixels is not None:
        argv += ["-max_pixels", str(max_pixels)]
    return [*argv, "-i", f"file:{source}", *args, f"file:{output}"]


def encoders_named(args: Sequence[str]) -> set[str]:
    """List the encoders that the arguments ask for by name; copying is none."""
    named = {value for option, value in itertools.pairwise(args) if _CODEC.match(option)}
    return named - {"copy"}


def uses_hardware(args: Sequence[str]) -> bool:
    """Tell whether the arguments hand work to a GPU or codec chip.

    Their drivers map far more address space than they use memory.
    """
    return any(_HARDWARE.search(arg) for arg in args)


_HARDWARE = re.compile(
    r"_(?:vaapi|nvenc|cuvid|cuda|npp|qsv|amf|v4l2m2m|vulkan|opencl|rkmpp|omx)\b"
    r"|^-(?:hwaccel|init_hw_device|filter_hw_device|vaapi_device|qsv_device)|\bhw(?:upload|map)\b"
)
_CODEC = re.compile(r"^-(?:(?:c|codec)(?::.+)?|[vas]codec)$")


def parse_encoders(listing: str) -> frozenset[str]:
    """Read the output of ``ffmpeg -encoders``."""
    return frozenset(re.findall(r"^ [VAS][A-Z.]{5} (\S+)", listing, re.MULTILINE)) - {"="}


def parse_version(text: str) -> str | None:
    """Read the version out of the answer to ``ffmpeg -version``; None when it is no ffmpeg's."""
    found = re.search(r"^ffmpeg version (\S+)", text, re.MULTILINE)
    return found[1] if found else None

"""How an ffmpeg is asked what it can do, and made to try it on a small picture."""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

from watchconv.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

ASK_SECONDS = 30
# one picture of 64x64 in 4:2:0, and what a track header says of how it is turned
_PICTURE = ("-f", "rawvideo", "-video_size", "64x64", "-pixel_format", "yuv420p")
_PICTURE_BYTES = 64 * 64 * 3 // 2
_IDENTITY = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_QUARTER_TURN = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 64 << 16, 0, 1 << 30)


def ask(path: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Return what a program answers. Raises ConfigError where it does not run or does not end."""
    try:
        return subprocess.run(
            [path, *words] if words == ("-version",) else [path, "-hide_banner", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_SECONDS,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise ConfigError(f"ffmpeg: {path} does not run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        what = f"it gave no answer to {words[0]} within {ASK_SECONDS:g} s"
        raise ConfigError(f"ffmpeg: {path} does not run: {what}") from error


def encodes(path: str, *options: str, output: Sequence[str] = ("-f", "null", "-")) -> bool:
    """Return whether a program encodes one small grey picture with these options."""
    with suppress(ConfigError, OSError), tempfile.NamedTemporaryFile() as picture:
        picture.write(bytes(_PICTURE_BYTES))
        picture.flush()
        return ask(path, *_PICTURE, "-i", picture.name, *options, *output).returncode == 0
    return False


def writes_matroska_rotation(path: str) -> bool:
    """Return whether a turned picture that is copied into Matroska comes back as one."""
    with tempfile.TemporaryDirectory() as folder, suppress(ConfigError, OSError, ValueError):
        made, turned = os.path.join(folder, "made.mov"), os.path.join(folder, "turned.mov")
        copied = os.path.join(folder, "copied.mkv")
        encodes(path, "-c:v", "mpeg4", output=(made,))
        with open(made, "rb") as reader:
            content = reader.read()
        # the movie's header has the identity, too, before the track's
        at = content.index(_IDENTITY, content.index(b"tkhd"))
        with open(turned, "wb") as writer:
            writer.write(content[:at] + _QUARTER_TURN + content[at + len(_IDENTITY) :])
        ask(path, "-i", turned, "-c", "copy", copied)
        return "rotation of -90" in ask(path, "-i", copied).stderr
    return False

"""Why a file is refused or ffmpeg failed, in a sentence, and whether another try may help. Pure.

Guarantees: total: every end has a sentence; what is uncertain is not hopeless; ffmpeg's words are
judged line by line, in time that grows with their number only, however a file has them chosen.
Errors: none.
"""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchconv.model import MediaInfo

SENTENCE_CHARACTERS = 300
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+(?=\])")  # means nothing to a person, and differs each time
_CONTEXT = re.compile(r"(?:\[[^\]]*\] )*")  # who says it: [mov,mp4 @ 0x1]
_FULL = re.compile(r"\S.*(?:No space left on device|Disk quota exceeded)")
_OVERSIZE = re.compile(r"Picture size (\d+x\d+) exceeds specified max pixel count (\d+)")
_NO_CODEC = r"  Stream #\S+: Video: none[^(]*\((\w+) /"  # counts where ffmpeg gave up over it
# In this order; the sentence, and whether a second attempt is useless.
_FAILURES: tuple[tuple[str, str, bool], ...] = (
    (r"Unknown encoder '([^']*)'", "this ffmpeg has no encoder {}", True),
    (_NO_CODEC, "this ffmpeg cannot decode {}", True),
    (r"Decod(?:er \(codec|ing requested, but no decoder found for:) (\w+)",
     "this ffmpeg has no decoder for a stream (codec {})", True),
    (r"Unknown input format: '?(\w+)", "this ffmpeg cannot read containers of type {}", True),
    (r".*Format not on whitelist", "this kind of container is not accepted", True),
    (r"moov atom not found", "the file has no index (moov atom not found): it is incomplete", True),
    (r"Unrecognized option '([^']*)'", "the profile's arguments hold an unknown option: -{}", True),
    (r"Unable to (?:find a suitable|choose an) output format for '[^']*?(\.[^./']*)'",
     "this ffmpeg finds no output format for the suffix {}", True),
    (r"Requested output format '([^']*)' is not", "this ffmpeg has no output format {}", True),
    (r"No such filter: '([^']*)'", "this ffmpeg has no filter {}", True),
    (r"Stream map '([^']*)' matches no streams", "the file has no stream for -map {}", True),
    (r"Output file (?:#\d+ )?does not contain any stream", "no stream of it can be used", True),
    (r".*Can't write packet with unknown timestamp",
     "the file holds no times to copy; a profile that encodes makes them", True),
    (r".*(?:Could not find tag for codec|codec not currently supported in container"
     r"|is not supported by this format|Raw RGB is not supported|not yet support muxing)",
     "the output's container does not take one of the codecs", True),
    (r".*(?:Cannot allocate memory|Out of memory)",
     "ffmpeg ran out of memory (see address_space)", False),
    (r".*Decode error rate \S+ exceeds maximum", "most of the file does not decode", True),
    (r"Cannot determine format of input stream", "nothing of a stream decodes", True),
    (r".*(?:Error opening input|file:.*|Error while opening decoder.*): ?Invalid data found",
     "the file holds invalid data that ffmpeg cannot read", True),
    (r".*Permission denied", "ffmpeg was not allowed to open a file", False),
    (r".*(?:Error while opening encoder|Could not open encoder)",
     "the encoder takes neither this picture or sound nor these arguments", False),
)  # fmt: skip
_PATTERNS = tuple((re.compile(p), s, h) for p, s, h in _FAILURES)


def is_disk_full(tail: str) -> bool:
    """Tell whether the disk was full, whatever the exit status: 5.1 may even exit 0 then."""
    return any(map(_FULL.fullmatch, _said(tail)))


def oversize(tail: str) -> str | None:
    """Say which frame was refused for its size, which 9.0 and 5.1 may pass over and exit 0."""
    found = next(filter(None, map(_OVERSIZE.match, _said(tail))), None)
    if found is None:
        return None
    return f"a frame of it is too large: {found[1]} pixels; max_pixels allows {found[2]}"


def is_hopeless(tail: str) -> bool:
    """Tell whether a second attempt must fail the same way; what is uncertain is not hopeless."""
    found = _diagnose(tail)
    return not is_disk_full(tail) and found is not None and found[1]


def failure_reason(status: int, tail: str) -> str:
    """Say in one plain sentence why ffmpeg failed; a negative status is a signal's number."""
    if is_disk_full(tail):
        return "ffmpeg says that the disk is full"
    if status < 0:
        return _killed(-status)
    if found := _diagnose(tail):
        return found[0]
    lines = [_ADDRESS.sub("", line).strip() for line in tail.splitlines()]
    telling = [line for line in lines if "rror" in line or "ailed" in line] or lines[-1:]
    return f"ffmpeg ended with status {status}" + (
        f": {telling[0][:SENTENCE_CHARACTERS]}" if telling else ""
    )


def _diagnose(tail: str) -> tuple[str, bool] | None:
    said = _said(tail)
    gave_up = "\nDecod" in f"\n{tail}"
    for pattern, sentence, hopeless in _PATTERNS:
        if pattern.pattern == _NO_CODEC and not gave_up:
            continue
        if found := next(filter(None, map(pattern.match, said)), None):
            return sentence.format(*found.groups())[:SENTENCE_CHARACTERS], hopeless
    return None


def _said(tail: str) -> list[str]:
    """Give the lines, each without the context before it."""
    return [_CONTEXT.sub("", line, count=1) for line in tail.split("\n")]


def _killed(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    hint = " (was the memory used up?)" if number == signal.SIGKILL else ""
    return f"ffmpeg was killed by {name}{hint}"


def refusal_of(media: MediaInfo, max_pixels: int) -> str | None:
    """Say why a file is no video that we convert, or None."""
    if not media.videos:
        kinds = {"a cover picture" if s.attached_picture else s.kind for s in media.streams}
        held = " and ".join(sorted(kinds, reverse=True)) or "nothing"
        return f"no video: it holds no video stream, only {held}"
    pixels = max(stream.width * stream.height for stream in media.videos)
    if pixels > max_pixels:
        return f"its frames are too large: {pixels} pixels each; max_pixels allows {max_pixels}"
    return None

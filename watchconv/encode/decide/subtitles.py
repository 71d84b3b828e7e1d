"""The subtitles: which go, and as what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watchconv.encode.decide.choice import unwanted_text
from watchconv.encode.decide.part import Part, copied, encoded, left_out
from watchconv.encode.decision import Treatment
from watchconv.encode.holds import BITMAP, STYLED, SUBTITLES, codec_of
from watchconv.model import WarningCause

if TYPE_CHECKING:
    from watchconv.config.wish import Wish
    from watchconv.media.facts import Track

_PLAIN = {"mkv": "srt", "mp4": "mov_text", "mov": "mov_text", "webm": "webvtt"}


def decide_subtitles(track: Track, ordinal: int, wish: Wish) -> Part:
    """Decide about one subtitle track that the container holds, as it is or converted."""
    if why := unwanted_text(track, wish):
        return left_out(track, why, None)
    encoder = SUBTITLES[f".{wish.container}"][track.codec]
    plain = _PLAIN[wish.container]
    is_plain = codec_of(plain) == codec_of(track.codec)
    if encoder == "copy" and (track.codec in BITMAP or wish.subtitles.text == "keep" or is_plain):
        return copied(track, ordinal, "it is copied as it is")
    converted = encoder == "copy"
    made = Treatment(track)
    made.changes["codec"] = codec_of(plain)
    made.promise_nothing("decodable", "program", "start_seconds", "samples", "bit_rate")
    if track.codec in STYLED:
        made.warn(WarningCause.STYLE, f"as {plain} it loses its style and its places")
    why = "the profile wants plain text" if converted else f"{wish.container} wants it so"
    return encoded(made, ordinal, plain, why)

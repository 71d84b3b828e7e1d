"""What goes beside picture, sound and subtitles: cover, fonts, chapters, tags, date and place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from watchconv.encode.decide.part import Part, copied, left_out
from watchconv.encode.decision import copied_cover
from watchconv.encode.holds import MP4_KIN
from watchconv.encode.kept import DATES, PLACES
from watchconv.encode.metadata import hand_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.config.wish import Wish
    from watchconv.encode.metadata import Metadata
    from watchconv.media.facts import Facts, Track

# ffmpeg compares the names of tags without their case
_PLACE_TAGS = (*PLACES, "com.apple.quicktime.location.accuracy.horizontal")


def decide_cover(cover: Track, wish: Wish) -> Part:
    """Decide about the picture that is shown for the file; the film is the first of the output."""
    if "cover" not in wish.keep:
        return left_out(cover, "the profile keeps no cover", None)
    part = copied(cover, 1, "it stays the cover", "-disposition:v:1", "attached_pic")
    return part._replace(decision=copied_cover(cover, part.decision.why))


def decide_attachment(track: Track, ordinal: int) -> Part:
    """Keep an attachment that the container holds."""
    return copied(track, ordinal, "it is kept")


def tell_of(facts: Facts, parts: Sequence[Part], args: Sequence[str], wish: Wish) -> Metadata:
    """Return how tags, date, place and chapters go into the output, as far as they are wanted."""
    suffix = f".{wish.container}"
    words = ["-movflags", "+faststart"] if suffix in MP4_KIN else []
    gone: set[str] = set()
    if "place" not in wish.keep:
        gone |= set(_PLACE_TAGS)
    if "date" not in wish.keep:
        gone |= set(DATES)
    if "tags" not in wish.keep:
        gone |= {key for key, _ in facts.tags if key not in (*DATES, *PLACES)}
    for key in sorted(gone & {key for key, _ in facts.tags}):
        words += ["-metadata", f"{key}="]
    if "date" not in wish.keep:
        words += ["-metadata:s", "creation_time="]
    if "chapters" not in wish.keep:
        words += ["-map_chapters", "-1"]
    if "timecode" not in wish.keep and any(track.timecode for track in facts.tracks):
        words += ["-metadata", "timecode=", "-metadata:s", "timecode="]
        words += ["-write_tmcd", "0"] if suffix in MP4_KIN else []
    left = replace(
        facts,
        tags=tuple((key, value) for key, value in facts.tags if key not in gone),
        chapters=facts.chapters if "chapters" in wish.keep else (),
    )
    decisions = [part.decision for part in parts]
    found = hand_on(left, decisions, [*args, *words, *wish.args], suffix)
    keeps = found.keeps if "tags" in wish.keep else found.keeps - {"tags"}
    return found._replace(args=(*words, *found.args), keeps=keeps)

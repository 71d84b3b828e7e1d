"""What is kept of a file as a whole: chapters, date and place of its recording, tags. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from watchconv.model import WarningCause

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from watchconv.media.facts import Facts

CHAPTER_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that does not hold; without a cause it fails the job."""

    text: str  # a sentence for a person
    cause: WarningCause | None = None


def broken_of_file(original: Facts, output: Facts, keeps: Collection[str]) -> Iterator[Broken]:
    """Yield what an output lacks of what is to be kept: of chapters, date, place and tags."""
    if "chapters" in keeps and not _has_chapters(original, output):
        text = f"{len(output.chapters)} of {len(original.chapters)} chapters are where they were"
        if len(output.chapters) == len(original.chapters):
            text = "the chapters begin at other times in the output"
        yield Broken(text, WarningCause.CHAPTERS)
    date = date_of(original)
    if "date" in keeps and date and date_of(output) != date:
        yield Broken(f"the date of recording ({date}) is not in the output", WarningCause.DATE)
    place = place_of(original)
    if "place" in keeps and place and place_of(output) != place:
        yield Broken("the place of recording is not in the output", WarningCause.PLACE)
    if "tags" in keeps:
        there = dict(output.tags)
        lost = [k for k, text in original.tags if k in _TAGS and there.get(k, "") != text]
        if lost:
            yield Broken(f"tags are not in the output: {', '.join(lost)}", WarningCause.TAGS)


def _has_chapters(original: Facts, output: Facts) -> bool:
    if len(original.chapters) != len(output.chapters):
        return False
    moved = [b.start - a.start for a, b in zip(original.chapters, output.chapters, strict=True)]
    # a container may count from zero where the original does not: all are moved by as much
    return not moved or max(moved) - min(moved) <= CHAPTER_SECONDS


_TAGS = frozenset({"title", "artist", "album", "show", "comment", "description", "genre", "make"})
# the tags that say when and where it was recorded, the most exact first
DATES = ("creation_time", "com.apple.quicktime.creationdate", "date")
PLACES = ("com.apple.quicktime.location.iso6709", "location", "location-eng", "xyz")
_NUMBER = re.compile(r"[+-]\d+(?:\.\d+)?")


def date_of(facts: Facts) -> str:
    """Return the moment a file says that it was recorded, in one spelling; empty: none."""
    for key in DATES:
        text = facts.tag(key)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            if re.fullmatch(r"\d{4}", text):
                return text
            continue
        if moment.year <= 1904:  # a clock that was never set
            continue
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return zoned.astimezone(UTC).isoformat(timespec="seconds")
    return ""


def place_of(facts: Facts) -> tuple[float, ...]:
    """Return where a file says that it was recorded: latitude and longitude; empty: nowhere."""
    for key in PLACES:
        if len(found := _NUMBER.findall(facts.tag(key))) >= 2:
            return tuple(round(float(number), 3) for number in found[:2])
    return ()

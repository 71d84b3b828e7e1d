"""What is decided about one track of an original, and what its output therefore promises."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from watchconv.media.facts import Chroma
from watchconv.model import JobWarning, WarningCause

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from watchconv.media.facts import Track


class Action(StrEnum):
    """What becomes of a track."""

    COPY = "copy"
    ENCODE = "encode"
    CONVERT = "convert"  # a text subtitle, into another kind of text
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Decision:
    """One track of the original and what becomes of it.

    The output's track is promised to have every fact of the original's, but for ``changes``: there
    stands the value that a field of ``Track`` has instead; None promises nothing of that field.
    """

    track: int  # its index in the original
    kind: str
    action: Action
    why: str  # a part of a sentence for a person: "the profile never copies it"
    ordinal: int | None = None  # among the output's tracks of its kind; None: it is left out
    changes: Mapping[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class Treatment:
    """What encoding one track takes beside its encoder, and what comes of it."""

    track: Track
    filters: list[str] = field(default_factory=list)  # ahead of all others
    options: dict[str, str] = field(default_factory=dict)  # of the output's track, without a dash
    decoder: str | None = None  # of the input's track, where it must be a certain one
    changes: dict[str, object] = field(default_factory=dict)  # as in Decision
    warnings: list[JobWarning] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what is done: "deinterlaced"

    def put(self, *filters: str) -> None:
        """Add filters behind those that are there."""
        self.filters.extend(filters)

    def option(self, name: str, value: str) -> None:
        """Set an option."""
        self.options[name] = value

    def read_with(self, decoder: str | None) -> None:
        """Name the decoder of the input's track."""
        self.decoder = decoder

    def becomes(self, **facts: object) -> None:
        """Say which facts the output has instead."""
        self.changes.update(facts)

    def withdraw(self, cause: WarningCause) -> None:
        """Take back what was warned of, where it is averted or wanted."""
        self.warnings = [warning for warning in self.warnings if warning.cause is not cause]

    def promise_nothing(self, *names: str) -> None:
        """Promise nothing of these facts, unless it is known already what becomes of them."""
        for name in names:
            self.changes.setdefault(name, None)

    def warn(self, cause: WarningCause, what: str) -> None:
        """Add a warning about this track; what goes on after its name."""
        self.warnings.append(JobWarning(cause, f"{label(self.track)}: {what}"))


# of every track: what only its muxer or encoder knows
FREE = ("samples", "bit_rate", "start_seconds", "program", "discarded")


def copied(track: Track, ordinal: int, why: str) -> Decision:
    """Decide that a track is copied."""
    changes = dict.fromkeys((*FREE, "frame_rate"))
    return Decision(track.index, track.kind, Action.COPY, why, ordinal, changes)


def copied_cover(track: Track, why: str) -> Decision:
    """Decide that a picture becomes the cover, behind the film."""
    made = copied(track, 1, why)
    return replace(made, changes={**made.changes, "attached_picture": True, "flags": None})


def encoded(made: Treatment, ordinal: int, why: str, action: Action = Action.ENCODE) -> Decision:
    """Decide that a track is encoded as it was treated."""
    track, text = made.track, "; ".join([why, *made.notes])
    changes = dict.fromkeys(FREE) | made.changes
    return Decision(track.index, track.kind, action, text, ordinal, changes)


CHROMA_WORDS = {
    Chroma.GRAY: "grey",
    Chroma.RGB: "RGB",
    Chroma.HALF: "4:2:0",
    Chroma.WIDE: "4:2:2",
    Chroma.FULL: "4:4:4",
    Chroma.OTHER: "another",
}
HDR_WORDS = {"smpte2084": "PQ", "arib-std-b67": "HLG"}


def label(track: Track) -> str:
    """Return how a track is called before a person."""
    language = f", {track.language}" if track.language not in ("", "und") else ""
    return f"{track.kind} track {track.index} ({track.codec}{language})"


def labels(tracks: Sequence[Track]) -> str:
    """Return how tracks of one kind are called where something "is" or "are" said of them."""
    if len(tracks) == 1:
        return f"{label(tracks[0])} is"
    numbers = ", ".join(str(track.index) for track in tracks[:10])
    more = f" and {len(tracks) - 10} more" if len(tracks) > 10 else ""
    codecs = ", ".join(sorted({track.codec for track in tracks})[:10])
    return f"{tracks[0].kind} tracks {numbers}{more} ({codecs}) are"

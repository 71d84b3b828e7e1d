"""What is decided about one track, and the words by which ffmpeg does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from watchconv.encode import decision
from watchconv.encode.decision import Action, Decision, label
from watchconv.model import JobWarning, WarningCause

if TYPE_CHECKING:
    from watchconv.encode.decision import Treatment
    from watchconv.media.facts import Track


class Unmet(Exception):  # noqa: N818 (it is an answer)
    """What is wanted of this file and cannot be, with what to write instead."""


class Part(NamedTuple):
    """One track that goes into the output, or does not."""

    decision: Decision
    args: tuple[str, ...] = ()  # of the output
    warnings: tuple[JobWarning, ...] = ()
    before: tuple[str, ...] = ()  # of the input
    factor: float | None = 1.0  # frames out for each that is decoded; None: nobody knows


def left_out(
    track: Track, why: str, cause: WarningCause | None = WarningCause.TRACK_LEFT_OUT
) -> Part:
    """Leave a track out: with a warning, unless there is no cause for one."""
    decided = Decision(track.index, track.kind, Action.LEAVE, why)
    if cause is None:
        return Part(decided)
    return Part(decided, warnings=(JobWarning(cause, f"{label(track)} is left out: {why}"),))


def copied(track: Track, ordinal: int, why: str, *more: str) -> Part:
    """Copy a track; more are words for its muxer."""
    letter = "t" if track.kind == "attachment" else track.kind[0]
    words = (f"-c:{letter}:{ordinal}", "copy", *more)
    return Part(decision.copied(track, ordinal, why), words)


def encoded(made: Treatment, ordinal: int, encoder: str, why: str, *more: str) -> Part:
    """Encode a track as it was treated; more are words that its encoder is told besides."""
    track, letter = made.track, made.track.kind[0]
    args = [f"-c:{letter}:{ordinal}", encoder, *more]
    for option, value in made.options.items():
        args += [f"-{option}:{letter}:{ordinal}", value]
    if made.filters:
        args += [f"-filter:{letter}:{ordinal}", ",".join(made.filters)]
    action = Action.CONVERT if track.kind == "subtitle" else Action.ENCODE
    decided = decision.encoded(made, ordinal, f"with {encoder}: {why}", action)
    before = (f"-c:{track.index}", made.decoder) if made.decoder else ()
    return Part(decided, tuple(args), tuple(made.warnings), before)

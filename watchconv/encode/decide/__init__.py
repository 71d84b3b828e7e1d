"""What a declared profile makes of one file with one ffmpeg. Pure.

Each room decides about one kind of track; here they come together in the order of the output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from watchconv.config.wish import Video
from watchconv.encode.decide.audio import decide_audio
from watchconv.encode.decide.choice import unwanted_rest, unwanted_text, wants_copy
from watchconv.encode.decide.encoders import encoder_for
from watchconv.encode.decide.part import Part, Unmet, left_out
from watchconv.encode.decide.rest import decide_attachment, decide_cover, tell_of
from watchconv.encode.decide.subtitles import decide_subtitles
from watchconv.encode.decide.video import decide_video
from watchconv.encode.decision import Action
from watchconv.encode.holds import MP4_KIN
from watchconv.encode.timing import time_changer
from watchconv.encode.tracks import find_cover, find_film, refuse_mute, sort_out
from watchconv.model import Cause, JobWarning, Rejected, WarningCause

if TYPE_CHECKING:
    from watchconv.config.wish import Wish
    from watchconv.encode.decision import Decision
    from watchconv.encode.program import Ability
    from watchconv.media.facts import Facts, Track


_MUXERS = {"mkv": "matroska"}  # where it is not called like its container


class Decided(NamedTuple):
    """What is decided about a file: for each of its tracks, and what it comes to."""

    args: list[str]  # between input and output
    input_args: list[str]
    decisions: list[Decision]
    warnings: list[JobWarning]
    keeps: frozenset[str]
    frame_factor: float | None


def decide(facts: Facts, wish: Wish, ability: Ability, turn: int = 0) -> Decided | Rejected:
    """Decide what becomes of every track.

    turn counts the encoders of the profile that have failed for this file.
    """
    film = find_film(facts)
    if film is None:
        return Rejected("no video: its only video track is empty", cause=Cause.NOT_VIDEO)
    try:
        parts = _parts(facts, film, wish, ability, turn)
    except Unmet as unmet:
        return Rejected(str(unmet), cause=Cause.UNSUPPORTED)
    if isinstance(parts, Rejected):
        return parts
    args: list[str] = []
    for part in parts:
        if part.decision.ordinal is not None:
            args += ["-map", f"0:{part.decision.track}", *part.args]
    told = tell_of(facts, parts, args, wish)
    warnings = [warning for part in parts for warning in part.warnings]
    if wish.container == "webp":
        text = "a moving WebP cannot be read back here: nothing but ffmpeg's word proves it"
        warnings.append(JobWarning(WarningCause.UNPROVEN, text))
    places = {track.index: at for at, track in enumerate(facts.tracks)}
    factor = next(part.factor for part in parts if part.decision.track == film.index)
    form = ["-f", _MUXERS.get(wish.container, wish.container)] if wish.suffix else []
    return Decided(
        args=[*args, *told.args, *form, *wish.args],
        input_args=[word for part in parts for word in part.before],
        decisions=sorted((p.decision for p in parts), key=lambda d: places[d.track]),
        warnings=[*warnings, *told.warnings],
        keeps=told.keeps,
        frame_factor=None if time_changer(wish.args) else factor,
    )


def _parts(
    facts: Facts, film: Track, wish: Wish, ability: Ability, turn: int
) -> list[Part] | Rejected:
    """Decide about every track: picture, cover, sounds, subtitles, the rest, what is left out."""
    suffix = f".{wish.container}"
    encoder, told = "", list[JobWarning]()
    if isinstance(wish.video, Video):
        encoder, told = encoder_for(wish.video, ability, turn)
    cover = find_cover(facts, film) if suffix in MP4_KIN and wish.video != "none" else None
    left = sort_out(
        facts, film, suffix, ability, copies=lambda track: wants_copy(track, wish), cover=cover
    )
    if wish.audio != "none" and (refused := refuse_mute(facts, film, left)):
        return refused
    picture = decide_video(film, facts, wish, ability, encoder)
    if picture.decision.action is Action.ENCODE:
        picture = picture._replace(warnings=(*told, *picture.warnings))
    parts = [picture]
    parts += [decide_cover(cover, wish)] if cover else []
    going = [t for t in facts.tracks if t.index not in left]
    parts += decide_audio([t for t in going if t.kind == "audio"], facts, wish)
    for kind, decide_one in (("subtitle", decide_subtitles), ("attachment", None)):
        ordinal = 0
        for track in going:
            if track.kind != kind:
                continue
            if why := unwanted_rest(track, wish):
                part = left_out(track, why, None)
            elif decide_one:
                part = decide_one(track, ordinal, wish)
            else:
                part = decide_attachment(track, ordinal)
            ordinal += part.decision.ordinal is not None
            parts.append(part)
    for track in facts.tracks:
        if found := left.get(track.index):
            why = unwanted_rest(track, wish)
            why = why or (unwanted_text(track, wish) if track.kind == "subtitle" else None)
            if track.kind == "audio" and wish.audio == "none":
                why = "the profile wants no sound"
            parts.append(left_out(track, why or found.why, None if why else found.cause))
    return parts

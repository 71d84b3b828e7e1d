"""What ``args`` with ``-map auto`` come to for one file: what they leave open is decided. Pure.

What the words say themselves is never overruled: a filter, a pixel format, a bit rate of theirs
stays. Without ``-map auto`` ffmpeg's own choices hold, and nothing is added.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from watchconv.encode import picture, sound
from watchconv.encode.arguments import (
    for_first_video,
    has_graph,
    pixel_formats,
    refuses,
    sets_any,
    setting,
    settled_of_picture,
    with_filters,
    with_option,
)
from watchconv.encode.decision import (
    FREE,
    Action,
    Decision,
    Treatment,
    copied,
    copied_cover,
    encoded,
    label,
)
from watchconv.encode.holds import (
    BITMAP,
    MP4_KIN,
    PIXEL_FORMATS,
    SOUND_INSTEAD,
    STYLED,
    SUBTITLES,
    codec_of,
    pixel_format,
)
from watchconv.encode.metadata import hand_on, held_flags
from watchconv.encode.timing import time_base, time_changer
from watchconv.encode.tracks import Left, find_cover, find_film, refuse_mute, sort_out, tell_left
from watchconv.model import Cause, JobWarning, Rejected, WarningCause

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from watchconv.encode.program import Ability
    from watchconv.media.facts import Facts, Track

_OF_SUBTITLES = re.compile(r"-(?:c:s|codec:s|scodec)(?::\d+)?$")


@dataclass(slots=True)
class Chosen:
    """The arguments for one file, and what is decided about its tracks."""

    args: list[str]
    media: Facts
    suffix: str
    ability: Ability
    subtitle_encoder: str | None = None  # that the profile names
    input_args: list[str] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    warnings: list[JobWarning] = field(default_factory=list)
    keeps: frozenset[str] = frozenset()
    frame_factor: float | None = 1.0

    def apply(self, made: Treatment, ordinal: int) -> None:
        """Have a track of the output treated."""
        kind = made.track.kind
        self.args = with_filters(self.args, made.filters, kind, ordinal)
        for name, value in made.options.items():
            self.args = with_option(self.args, name, value, kind, ordinal)
        if made.decoder:
            self.input_args += [f"-c:{made.track.index}", made.decoder]
        self.warnings += made.warnings

    def convert(self, track: Track, ordinal: int, encoder: str, why: str) -> None:
        """Have a track encoded that was to be copied."""
        self.args += [f"-c:{track.kind[0]}:{ordinal}", encoder]
        becomes = codec_of(encoder)
        what = "encoded anew" if becomes == track.codec else f"converted to {becomes}"
        text = f"{label(track)} is {what}: {why}"
        self.warnings.append(JobWarning(WarningCause.TRACK_CONVERTED, text))


def choose(args: Sequence[str], media: Facts, suffix: str, ability: Ability) -> Chosen | Rejected:
    """Return args with ``-map auto`` expanded and what they leave open decided.

    Rejected where what the file is cannot be made into what args want.
    """
    suffix = suffix.lower()
    # a bare -c copy names no encoder for subtitles: it may be one that does not fit
    named = [word for pair in pairwise(args) if _OF_SUBTITLES.match(pair[0]) for word in pair]
    chosen = Chosen(list(args), media, suffix, ability, setting(named, "c", "subtitle"))
    if ("-map", "auto") not in pairwise(args):
        chosen.frame_factor = None if time_changer(args) else 1.0
        return chosen
    at = next(n for n, pair in enumerate(pairwise(args)) if pair == ("-map", "auto"))
    film = find_film(media)
    if film is None:
        reason = "no video: its only video track is empty"
        return Rejected(reason, cause=Cause.NOT_VIDEO)
    wants_film = not refuses(args, "video")
    cover = find_cover(media, film) if suffix in MP4_KIN and wants_film else None
    left = _left_out(chosen, film, cover)
    if not refuses(args, "audio") and (mute := refuse_mute(media, film, left)):
        return mute
    kept = [track for track in media.tracks if track.index not in left and track is not cover]
    kept.sort(key=lambda track: track.kind == "video" and track is not film)
    maps = [word for track in kept for word in ("-map", f"0:{track.index}")]
    rest = [*args[:at], *args[at + 2 :]]
    chosen.args = for_first_video(rest) if cover else rest
    ordinals: Counter[str] = Counter()
    decided: dict[int, Decision] = {}
    for track in kept:
        ordinal = ordinals[track.kind]
        ordinals[track.kind] += 1
        decision = _DECIDE.get(track.kind, _copied)(chosen, track, ordinal)
        if isinstance(decision, Rejected):
            return decision
        decided[track.index] = decision
    if cover:
        maps += ["-map", f"0:{cover.index}"]
        chosen.args += ["-c:v:1", "copy", "-disposition:v:1", "attached_pic"]
        decided[cover.index] = copied_cover(cover, "it is the cover")
    for index, found in left.items():
        kind = next(track.kind for track in media.tracks if track.index == index)
        decided[index] = Decision(index, kind, Action.LEAVE, found.why)
    chosen.warnings += tell_left(media, left)
    chosen.decisions = [
        replace(decision, changes={"flags": held_flags(track, suffix)} | dict(decision.changes))
        for track in media.tracks
        for decision in [decided[track.index]]
    ]
    metadata = hand_on(media, chosen.decisions, chosen.args, suffix)
    chosen.args = [*chosen.args[:at], *maps, *chosen.args[at:], *metadata.args]
    chosen.keeps = metadata.keeps
    chosen.warnings += metadata.warnings
    return chosen


def _left_out(chosen: Chosen, film: Track, cover: Track | None) -> dict[int, Left]:
    """Return the tracks that do not go: for what they are, or because args want none."""
    args = chosen.args
    left = sort_out(
        chosen.media,
        film,
        chosen.suffix,
        chosen.ability,
        copies=lambda track: setting(args, "c", track.kind) == "copy",
        cover=cover,
    )
    named = chosen.subtitle_encoder
    for track in chosen.media.tracks:
        if refuses(args, track.kind):
            left[track.index] = Left(f"the profile wants no {track.kind}", None)
        elif track.kind == "subtitle" and named not in (None, "copy") and track.codec in BITMAP:
            left.setdefault(track.index, Left(f"picture subtitles cannot become {named}"))
    return left


def _copied(chosen: Chosen, track: Track, ordinal: int) -> Decision:
    return copied(track, ordinal, "it is copied as it is")


# pictures


def _decide_picture(chosen: Chosen, track: Track, ordinal: int) -> Decision | Rejected:
    """Decide about the film; it is the only video of the output, but for a cover."""
    encoder = setting(chosen.args, "c", "video")
    why = f"the profile encodes with {encoder}" if encoder else "ffmpeg chooses its encoder"
    if encoder == "copy":
        demuxer, ability = chosen.media.demuxer, chosen.ability
        reason = picture.no_copy(track, chosen.suffix, demuxer, ability)
        if reason is None:
            if track.dolby_vision and chosen.suffix == ".mov":
                text = f"{label(track)}: what makes it Dolby Vision is lost in mov"
                chosen.warnings.append(JobWarning(WarningCause.DOLBY_VISION, text))
            elif track.dolby_vision and chosen.suffix in MP4_KIN:
                chosen.args = with_option(chosen.args, "strict", "unofficial", "video", 0)
            return _copied(chosen, track, ordinal)
        encoder, *options = picture.instead_of_copy(track, chosen.suffix)
        chosen.convert(track, 0, encoder, reason)
        chosen.args += options
        why = reason
    if refused := picture.undisplayable(track, chosen.ability):
        return Rejected(refused, cause=Cause.UNSUPPORTED)
    base = time_base(chosen.args, encoder, chosen.suffix, chosen.ability.demux_time_base)
    if base:
        chosen.args = with_option(chosen.args, "enc_time_base", base, "video", 0)
    elif time_changer(chosen.args) or setting(chosen.args, "fps_mode", "video") != "passthrough":
        chosen.frame_factor = None
    if encoder is None or has_graph(chosen.args):
        made = Treatment(track)
        made.promise_nothing(*_ALL_OF_A_PICTURE)
        return encoded(made, ordinal, why)
    formats = pixel_formats(chosen.args) or PIXEL_FORMATS.get(encoder, ())
    if encoder.startswith("libvpx") and chosen.suffix not in (".webm", ".mkv"):
        formats = tuple(f for f in formats if not getattr(pixel_format(f), "alpha", False))
    target = picture.Target(encoder, chosen.suffix, formats, settled_of_picture(chosen.args))
    made = picture.treat_picture(track, target, chosen.ability)
    chosen.apply(made, 0)
    return encoded(made, ordinal, why)


_ALL_OF_A_PICTURE = (
    *("codec", "width", "height", "pixel_format", "bits", "chroma", "alpha", "primaries"),
    *("transfer", "matrix", "full_range", "sample_aspect", "rotation", "flipped"),
    *("interlaced", "frame_rate", "captions", "dolby_vision", "dolby_vision_profile"),
    *("dolby_vision_base", "mastering", "light_level", "spherical", "largest"),
    *("timecode", "attached_picture"),
)


# sounds and texts


def _decide_sound(chosen: Chosen, track: Track, ordinal: int) -> Decision:
    encoder = setting(chosen.args, "c", "audio", ordinal)
    why = f"the profile encodes with {encoder}" if encoder else "ffmpeg chooses its encoder"
    if encoder == "copy":
        reason = sound.no_copy(track, chosen.suffix, chosen.media.demuxer)
        instead = SOUND_INSTEAD.get(chosen.suffix)
        if reason is None or instead is None:
            return _copied(chosen, track, ordinal)
        encoder, why = instead, reason
        chosen.convert(track, ordinal, encoder, reason)
    if encoder is None:
        made = Treatment(track)
        made.promise_nothing("codec", "channels", "layout", "sample_rate")
        return encoded(made, ordinal, why)
    args, settled = chosen.args, set()
    if setting(args, "filter", "audio", ordinal) is not None or has_graph(args):
        settled.add("filters")
    if sets_any(args, ("ac", "channel_layout", "ch_layout"), "audio", ordinal):
        settled.add("layout")
    if sets_any(args, ("ar",), "audio", ordinal):
        settled.add("rate")
    if sets_any(args, ("b", "q", "vbr"), "audio", ordinal):
        settled.add("bits")
    made = sound.treat_sound(track, sound.Sound(encoder, frozenset(settled)))
    chosen.apply(made, ordinal)
    return encoded(made, ordinal, why)


def _decide_text(chosen: Chosen, track: Track, ordinal: int) -> Decision:
    encoder = chosen.subtitle_encoder
    if encoder is None:
        encoder = SUBTITLES[chosen.suffix][track.codec]
        wished = setting(chosen.args, "c", "subtitle", ordinal)
        if wished == "copy" and encoder != "copy":
            container = chosen.suffix.lstrip(".")
            chosen.convert(track, ordinal, encoder, f"{container} does not hold {track.codec}")
        elif wished != encoder:
            chosen.args += [f"-c:s:{ordinal}", encoder]
    if encoder == "copy":
        return _copied(chosen, track, ordinal)
    if track.codec in STYLED and encoder not in ("ass", "ssa"):
        what = f"its style and places are lost: {codec_of(encoder)} holds text only"
        text = f"{label(track)}: {what}"
        chosen.warnings.append(JobWarning(WarningCause.STYLE, text))
    changes = dict.fromkeys((*FREE, "width", "height")) | {"codec": codec_of(encoder)}
    why = f"it becomes {codec_of(encoder)}, which {chosen.suffix.lstrip('.')} holds"
    return Decision(track.index, "subtitle", Action.CONVERT, why, ordinal, changes)


_DECIDE: Mapping[str, Callable[[Chosen, Track, int], Decision | Rejected]] = {
    "video": _decide_picture,
    "audio": _decide_sound,
    "subtitle": _decide_text,
}

"""What is written beside picture and sound: dates, places, names, flags, chapters. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from watchconv.encode.arguments import value_of
from watchconv.encode.decision import Action, label
from watchconv.encode.holds import MP4_KIN
from watchconv.encode.kept import DATES, PLACES
from watchconv.model import JobWarning, WarningCause

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from watchconv.encode.decision import Decision
    from watchconv.media.facts import Facts, Track

_MATROSKA = frozenset({".mkv", ".webm"})
# what an MP4 or QuickTime file has a place for by itself
_MP4_TAGS = frozenset(
    {
        *("title", "artist", "album_artist", "album", "composer", "date", "comment", "genre"),
        *("copyright", "grouping", "lyrics", "description", "synopsis", "show", "episode_id"),
        *("network", "keywords", "episode_sort", "season_number", "media_type", "hd_video"),
        *("gapless_playback", "compilation", "track", "disc", "encoder", "creation_time"),
        *("location", "location-eng"),
    }
)
_MOV_TAGS = _MP4_TAGS | {"make", "model"}
# said of the original's container, and not of what it holds
_TECHNICAL = frozenset(
    {
        *("major_brand", "minor_version", "compatible_brands", "encoder", "encoded_by"),
        *("duration", "creation_time", "handler_name", "vendor_id", "software"),
        *("wm/encodingsettings",),
    }
)
# what other programs look for where ``use_metadata_tags`` writes nothing
_COMMON = frozenset({"title", "artist", "album", "show", "episode_id"})
_NO_BRANDS = (  # those of the original: the output has its own
    *("-metadata", "major_brand=", "-metadata", "minor_version="),
    *("-metadata", "compatible_brands="),
)
# dispositions that come back from no file of a kind
_MANNERS = frozenset({"comment", "hearing_impaired", "visual_impaired", "original", "dub"})
_NOT_HELD = {
    ".webm": _MANNERS,
    ".mp4": frozenset({"original"}),
    ".m4v": frozenset({"original"}),
    ".mov": _MANNERS | {"forced"},
}
# figures that a muxer of Matroska writes about a track as it was
_STATISTICS = ("BPS", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES")


class Metadata(NamedTuple):
    """What is handed on: the arguments, what the output has to have, what is lost."""

    args: tuple[str, ...]
    keeps: frozenset[str]
    warnings: tuple[JobWarning, ...]


def hand_on(
    media: Facts, decisions: Iterable[Decision], args: Sequence[str], suffix: str
) -> Metadata:
    """Return how the metadata of a file go into its output; what args say of them holds."""
    args_added: list[str] = []
    warnings: list[JobWarning] = []
    if "-map_metadata" in args:
        return Metadata((), frozenset(), ())
    args_added += ["-map_metadata", "0"]  # said in words, it keeps the date of creation
    tags = dict(media.tags)
    keeps = {"chapters"} if media.chapters else set()
    if (created := tags.get("creation_time")) and not any(
        word.startswith("creation_time=") for word in args
    ):
        args_added += ["-metadata", f"creation_time={created}"]  # of two, 9.0 loses both
    lost = lost_tags(tags, suffix, args)
    wants_all = suffix in MP4_KIN and any(key.startswith("com.apple.") for key in tags)
    if wants_all or (lost and suffix in MP4_KIN and not tags.keys() & _COMMON):
        own = value_of(args, "-movflags") or ""
        args_added += ["-movflags", f"{own}+use_metadata_tags"]  # each tag by its own name
        lost = []
    if "major_brand" in tags and (suffix in _MATROSKA or "use_metadata_tags" in args_added[-1]):
        args_added += _NO_BRANDS
    container = suffix.lstrip(".")
    if lost:
        what = f"tags that {container} has no place for are lost: {', '.join(lost)}"
        warnings.append(JobWarning(WarningCause.TAGS, what))
    said = [
        (name, cause)
        for name, keys, cause in (
            ("date", DATES, WarningCause.DATE),
            ("place", PLACES, WarningCause.PLACE),
        )
        if any(tags.get(key) for key in keys)
    ]
    if suffix in MP4_KIN or suffix in _MATROSKA:
        keeps |= {name for name, _ in said}
        keeps |= {"tags"} if not lost and tags.keys() - _TECHNICAL else set()
    else:
        warnings += [JobWarning(c, f"{container} does not keep the {name}") for name, c in said]
    tracks = {track.index: track for track in media.tracks}
    kept = [d for d in decisions if d.ordinal is not None and d.kind != "attachment"]
    for decision in kept:
        track = tracks[decision.track]
        place = f"-metadata:s:{decision.kind[0]}:{decision.ordinal}"
        if suffix in MP4_KIN and track.title and place not in args:
            # programs look for it in the name of the handler
            args_added += [place, f"title={track.title}", place, f"handler_name={track.title}"]
        if flags := lost_flags(track, suffix):
            what = f"{label(track)}: it is no longer marked as {' and '.join(flags)}"
            warnings.append(JobWarning(WarningCause.FLAGS, what))
    if media.demuxer == "matroska" and suffix in _MATROSKA:
        args_added += without_statistics(kept)
    return Metadata(tuple(args_added), frozenset(keeps), tuple(warnings))


def without_statistics(kept: Sequence[Decision]) -> list[str]:
    """Leave out the figures of tracks that are no longer what they were."""
    args = []
    for kind in ("video", "audio"):
        actions = {decision.action for decision in kept if decision.kind == kind}
        if actions == {Action.ENCODE}:
            for key in _STATISTICS:
                args += [f"-metadata:s:{kind[0]}", f"{key}="]
    return args


def lost_tags(tags: Mapping[str, str], suffix: str, args: Sequence[str]) -> list[str]:
    """Return the tags that a container has no place for."""
    if suffix not in MP4_KIN or "use_metadata_tags" in (value_of(args, "-movflags") or ""):
        return []
    held = _MOV_TAGS if suffix == ".mov" else _MP4_TAGS
    return sorted(key for key in tags if key not in held and key not in _TECHNICAL)


def lost_flags(track: Track, suffix: str) -> list[str]:
    """Return the flags of a track that a container does not hold."""
    lost = _NOT_HELD.get(suffix, frozenset())
    return sorted(flag.replace("_", " ") for flag in track.flags if flag in lost)


def held_flags(track: Track, suffix: str) -> tuple[str, ...]:
    """Return the flags of a track that a container holds."""
    return tuple(flag for flag in track.flags if flag not in _NOT_HELD.get(suffix, frozenset()))

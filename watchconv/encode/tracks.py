"""Which tracks of a file go into its output: the film, its sounds, its texts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from watchconv.encode.decision import label, labels
from watchconv.encode.holds import BITMAP, MP4_KIN, SUBTITLES, holds
from watchconv.encode.sound import is_silent
from watchconv.model import Cause, JobWarning, Rejected, WarningCause

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from watchconv.encode.program import Ability
    from watchconv.media.facts import Facts, Track

_STILLS = frozenset({"mjpeg", "png", "bmp", "webp", "tiff", "gif", "jpeg2000", "jpegls"})
_COVERS = frozenset({"mjpeg", "png", "bmp"})
_FONT_NAMES = (".ttf", ".otf", ".ttc", ".woff", ".woff2", ".pfb")
_FONT_TYPES = ("font", "opentype", "truetype")


class Left(NamedTuple):
    """Why a track is left out; without a cause it is no loss."""

    why: str
    cause: WarningCause | None = WarningCause.TRACK_LEFT_OUT


def find_film(media: Facts) -> Track | None:
    """Return the picture that is the film: no cover, not empty, not a still beside a moving one.

    Of several, the one that is marked as the default, then the largest, then the first.
    """
    videos = [track for track in media.videos if track.samples != 0]
    has_moving = any(track.codec not in _STILLS for track in videos)

    def rank(track: Track) -> tuple[bool, bool, bool, bool, int]:
        """Order them: the last is the film."""
        is_single = track.samples == 1
        is_still = has_moving and track.codec in _STILLS
        area = track.width * track.height
        return track.decodable, not is_single, not is_still, "default" in track.flags, area

    return max(videos, key=rank, default=None)


def find_cover(media: Facts, film: Track) -> Track | None:
    """Return the picture that is shown for the file."""
    covers = [t for t in media.tracks if t.attached_picture and t.codec in _COVERS]
    # a still that was stored like a film, beside one
    covers += [t for t in media.videos if t.codec in _COVERS and film.codec not in _STILLS]
    return covers[0] if covers else None


def is_font(track: Track) -> bool:
    """Return whether an attachment is a font, by its name or its type."""
    by_type = any(word in track.mime_type.lower() for word in _FONT_TYPES)
    return by_type or track.file_name.lower().endswith(_FONT_NAMES) or track.codec in ("ttf", "otf")


def sort_out(
    media: Facts,
    film: Track,
    suffix: str,
    ability: Ability,
    *,
    copies: Callable[[Track], bool],
    cover: Track | None = None,
) -> dict[int, Left]:
    """Return the tracks that are left out, by index; ``copies`` says which are to be copied."""
    left = {}
    for track in media.tracks:
        if track is film or track is cover:
            continue
        if track.program is not None and track.program != film.program:
            left[track.index] = Left("it belongs to another programme")
        elif track.kind == "audio" and not _decodes(track, ability):
            if not (copies(track) and holds(suffix, "audio", track.codec)):
                left[track.index] = Left("nothing decodes it")
        elif found := _why_left(track, media, suffix):
            left[track.index] = found
    return left


def _decodes(track: Track, ability: Ability) -> bool:
    is_named = track.codec not in ("unknown", "none")
    return track.decodable and is_named and ability.can_decode(track.codec)


def _why_left(track: Track, media: Facts, suffix: str) -> Left | None:
    container = suffix.lstrip(".")
    match track.kind:
        case "video" if track.attached_picture:
            return Left(f"a cover picture is not kept in {container}", WarningCause.COVER)
        case "video" if track.samples == 0:
            return Left("it is empty", None)
        case "video":
            return Left("only one picture is kept, the film")
        case "audio" if is_silent(track):
            return Left("nothing is ever sent of what is announced")
        case "subtitle" if track.codec not in SUBTITLES.get(suffix, {}):
            kind = "picture" if track.codec in BITMAP else "such"
            return Left(f"{container} holds no {kind} subtitles")
        case "attachment" if suffix != ".mkv" or not (track.file_name and track.mime_type):
            if is_font(track):
                return Left(f"{container} holds no fonts", WarningCause.FONTS)
            return Left(f"attachments of this kind do not go into {container}")
        case "data" if media.demuxer == "mov" and track.codec == "bin_data" and media.chapters:
            return Left("it is the chapters' own text, and the chapters are kept", None)
        case "data" if track.timecode and suffix in MP4_KIN:
            return Left("it is the timecode, which is written anew", None)
        case "data" if track.timecode:
            return Left(f"{container} holds no timecode", WarningCause.TIMECODE)
        case "data":
            return Left(f"data does not go into {container}")
    return None


def tell_left(media: Facts, left: Mapping[int, Left]) -> list[JobWarning]:
    """Return a warning for each reason why tracks of a kind are left out."""
    groups: dict[tuple[str, Left], list[Track]] = {}
    for track in media.tracks:
        if (found := left.get(track.index)) and found.cause:
            groups.setdefault((track.kind, found), []).append(track)
    return [
        JobWarning(found.cause, f"{labels(tracks)} left out: {found.why}")
        for (_, found), tracks in groups.items()
        if found.cause
    ]


def refuse_mute(media: Facts, film: Track, left: Mapping[int, Left]) -> Rejected | None:
    """Return why a film without any of its sounds is none, where they cannot be decoded."""
    sounds = [
        track
        for track in media.tracks
        if track.kind == "audio" and (track.program is None or track.program == film.program)
    ]
    sounds = [track for track in sounds if track.decodable is False or not is_silent(track)]
    if not sounds or any(track.index not in left for track in sounds):
        return None
    names = ", ".join(label(track) for track in sounds)
    what = "its only sound cannot" if len(sounds) == 1 else "none of its sounds can"
    return Rejected(f"{what} be decoded: {names}", cause=Cause.UNSUPPORTED)

"""What is decided about a file's tracks, in lines for a person. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watchconv.encode.decision import CHROMA_WORDS, HDR_WORDS, Action
from watchconv.media.facts import Chroma

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Set

    from watchconv.encode.decision import Decision
    from watchconv.media.facts import Facts, Track

_USUAL = (Chroma.HALF, Chroma.OTHER)
_KINDS = {"video": "picture", "audio": "sound"}
_DONE = {
    Action.COPY: "copied",
    Action.ENCODE: "encoded",
    Action.CONVERT: "converted",
    Action.LEAVE: "left out",
}


def describe(track: Track) -> str:
    """Return what a track is, with all that a conversion may change: "hevc 1280x720, 10 bits"."""
    head = [track.codec, f"{track.width}x{track.height}" if track.width else "", track.layout]
    if track.sample_rate:
        head.append(f"{track.sample_rate} Hz")
    parts = [" ".join(filter(None, head))]
    parts += [f"{track.bits} bits"] if track.bits > 8 else []
    parts += [CHROMA_WORDS[track.chroma]] if track.bits and track.chroma not in _USUAL else []
    said = {
        HDR_WORDS.get(track.transfer, ""): track.is_hdr,
        "Dolby Vision": track.dolby_vision,
        "with transparency": track.alpha,
        "interlaced": track.interlaced,
        f"turned by {track.rotation} degrees": track.rotation,
        "mirrored": track.flipped,
        "with captions": track.captions,
        "of all directions": track.spherical,
        "of changing shape": track.largest,
        "a cover picture": track.attached_picture,
        track.language: track.language != "und",
        f'"{track.title}"': track.title,
        track.file_name: track.file_name,
    }
    parts += [words for words, is_so in said.items() if words and is_so]
    parts += [flag.replace("_", " ") for flag in track.flags if flag in _SAID_FLAGS]
    return ", ".join(parts)


_SAID_FLAGS = frozenset({"default", "forced", "comment", "hearing_impaired", "visual_impaired"})


def decision_lines(media: Facts, decisions: Iterable[Decision]) -> Iterator[str]:
    """Yield a line for each track: what it is, what becomes of it, and why."""
    tracks = {track.index: track for track in media.tracks}
    for decision in decisions:
        track = tracks[decision.track]
        name = f"{_KINDS.get(track.kind, track.kind)} {track.index}"
        yield f"{name}: {describe(track)} → {_DONE[decision.action]}: {decision.why}"


def promise_words(media: Facts, decisions: Iterable[Decision], keeps: Set[str]) -> str:
    """Return what the output has to have, as it is proven: "hevc · 10 bits · stereo · date"."""
    tracks = {track.index: track for track in media.tracks}
    said = []
    for decision in decisions:
        if decision.ordinal is None:
            continue
        has = {name: getattr(tracks[decision.track], name) for name in _PROMISED}
        has |= {name: value for name, value in decision.changes.items() if name in has}
        said += [text.format(has[name]) for name, text in _PROMISED.items() if has[name]]
    if "chapters" in keeps:
        said.append(f"{len(media.chapters)} chapters")
    return " · ".join([*said, *sorted(keeps - {"chapters"})])


_PROMISED = {
    "codec": "{}",
    "bits": "{} bits",
    "transfer": "{}",
    "dolby_vision": "Dolby Vision",
    "alpha": "transparency",
    "rotation": "turned by {} degrees",
    "captions": "captions",
    "layout": "{}",
}

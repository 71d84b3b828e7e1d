"""An open file and what its headers and first frames say of it. The probe worker's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import av
import av.container
import av.logging

from watchconv.media.announced import Announced, read_announced
from watchconv.media.duration import Reader, Refused, Spent
from watchconv.media.facts import Chapter, Facts, Track
from watchconv.media.tracks import describe, printable
from watchconv.media.transport import announced_sounds

if TYPE_CHECKING:
    from av.container import InputContainer

    from watchconv.media.beginning import Beginning

MOST_TRACKS = 4096
MOST_OF_ANYTHING = 100_000
WIDE_SECONDS = 36_000  # of a file that are read to find its tracks; its bytes are what bounds
# these say nothing ahead of what they hold, or not of all of it
UNANNOUNCED = ("mpegts", "mpeg", "flv", "dhav", "nsv", "pva")
# tags that are no UTF-8 must not fail the file; from 19 on PyAV sees to that by itself
FORGIVING: dict[str, Any] = (
    {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
)


def open_input(reader: Reader, formats: str, *, wide_bytes: int = 0) -> InputContainer:
    """Find the format and the streams; formats is a whitelist, empty means any.

    wide_bytes: how much may be read to find them; 0: what ffmpeg reads by itself.
    """
    options = {"protocol_whitelist": "none", "max_streams": str(MOST_TRACKS + 1)}
    if wide_bytes:
        options |= {"probesize": str(wide_bytes), "analyzeduration": f"{WIDE_SECONDS}000000"}
    if formats:
        options["format_whitelist"] = formats
    reader.seek(0)
    try:
        container: InputContainer = av.open(
            reader, "r", options=options, io_open=refuse_to_open, **FORGIVING
        )
    except MemoryError:  # PyAV's own is an FFmpegError, too
        raise
    except av.FFmpegError as error:
        reason = "it is no video, or of a format that watchconv does not read"
        raise Refused(reason, "not-video") from error
    if reader.spent:
        raise Spent
    if not len(container.streams):
        raise Refused("it holds no streams", "not-video")
    if len(container.streams) > MOST_TRACKS:
        raise Refused(f"it holds more than {MOST_TRACKS:,} tracks", "too-large")
    return container


def refuse_to_open(url: str, flags: object, options: object) -> NoReturn:
    """Refuse whatever a container names outside itself."""
    raise PermissionError(f"not opened: {url}")


def facts_of(
    container: InputContainer, reader: Reader, beginning: Beginning, *, indexed: bool
) -> Facts:
    """Say what an open file holds, but not how long it is."""
    demuxer = container.format.name.split(",")[0]
    announced = announced_in(container)
    tracks = [
        describe(
            stream,
            announced.get(stream.index, Announced()),
            beginning.frames.get(stream.index, ()),
            indexed=indexed,
        )
        for stream in container.streams
    ]
    if demuxer == "mpegts" and any(track.codec in ("unknown", "bin_data") for track in tracks):
        tracks = name_sounds(container, reader, tracks)
    chapters = container.chapters()
    if max(len(chapters), len(container.metadata)) >= MOST_OF_ANYTHING:
        raise Refused("it holds more chapters or tags than any film", "too-large")
    return Facts(
        demuxer,
        None,
        tuple(tracks),
        chapters=tuple(map(chapter, chapters)),
        tags=tuple((printable(k).lower(), printable(v)) for k, v in container.metadata.items()),
        encrypted=beginning.encrypted or any("enc_key_id" in s.metadata for s in container.streams),
    )


def name_sounds(container: InputContainer, reader: Reader, tracks: list[Track]) -> list[Track]:
    """Tell the sounds among what ffmpeg takes for data, or has no name for."""
    sounds = announced_sounds(reader.peek, reader.size)
    named = []
    for stream, track in zip(container.streams, tracks, strict=True):
        codec = sounds.get(stream.id)
        if codec and track.codec in ("unknown", "bin_data"):
            track = replace(track, kind="audio", codec=codec, decodable=False)  # noqa: PLW2901
        named.append(track)
    return named


def chapter(found: Any) -> Chapter:
    """Understand one of PyAV's chapters."""
    unit = float(found["time_base"] or 0)
    title = printable(found["metadata"].get("title"))
    return Chapter(found["start"] * unit, found["end"] * unit, title)


def announced_in(container: InputContainer) -> dict[int, Announced]:
    """Have ffmpeg's libraries print what they know of an open file, and understand it."""
    av.logging.set_skip_repeated(False)
    av.logging.set_level(av.logging.INFO)
    try:
        return read_announced(container.dumps_format())  # type: ignore[attr-defined]
    finally:
        av.logging.set_level(None)


def lacks_parameters(track: Track) -> bool:
    """Return whether too little was read of a track to know what it is."""
    if not track.decodable or track.attached_picture or track.samples == 0:
        return False
    if track.kind == "audio":
        return not (track.channels and track.sample_rate)
    return track.kind == "video" and not (track.width and track.pixel_format)

"""Is a file whole and sound? It is read to its end and decoded, and nothing is made of it.

ffmpeg decodes every track that shows or sounds; the probe worker reads the packets and their times.
``judge`` is pure. Faults of the file are ``Rejected``, what is no more than rough is a warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from watchconv.encode.plan import EncodePlan, argv_for
from watchconv.encode.proof import damage
from watchconv.encode.verify import input_fault
from watchconv.model import Cause, JobWarning, Rejected, Verify, WarningCause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watchconv.encode.ffmpeg_output import StreamCounts
    from watchconv.media.facts import Examined, Facts, Track
    from watchconv.model import Broke


class Health(NamedTuple):
    """What a file was found to be."""

    fault: Rejected | Broke | None
    warnings: tuple[JobWarning, ...] = ()


def decoded_tracks(media: Facts) -> list[Track]:
    """Return the tracks that are decoded: pictures and sounds for which there is a decoder."""
    return [
        track
        for track in media.tracks
        if track.kind in ("video", "audio") and track.decodable and not track.attached_picture
    ]


def plan_health(media: Facts, *, program: str, source: str, max_pixels: int) -> EncodePlan:
    """Return how to decode all of a file. source is an absolute path."""
    args = [word for track in decoded_tracks(media) for word in ("-map", f"0:{track.index}")]
    # every frame as it comes: none is made up or left out for its time
    args += ["-fps_mode", "passthrough", "-f", "null"]
    before = argv_for(media, program=program, max_pixels=max_pixels)
    return EncodePlan(
        args=tuple(args),
        argv=(*before, "-i", f"file:{source}", *args, "-"),
        suffix="",
        verify=Verify.FULL,
        time_changer=None,
        uses_hardware=False,
        only_examines=True,
    )


def judge(media: Facts, counts: StreamCounts | None, there: Examined) -> Health:
    """Say what is wrong with a file: counts is what ffmpeg decoded of it, there what it holds."""
    if counts is None:
        return Health(Rejected("ffmpeg gave no account of it", cause=Cause.UNREADABLE))
    decoded = {track.index for track in decoded_tracks(media)}
    fault = damage(there, decoded) or input_fault(counts, media)
    return Health(fault, tuple(_rough(media, counts, there)))


def _rough(media: Facts, counts: StreamCounts, there: Examined) -> Iterator[JobWarning]:
    """Yield what does not make a file useless."""
    for count in counts.inputs:
        if count.errors:
            text = f"{count.errors:,} of {count.packets:,} packets do not decode"
            yield _rough_track(count.kind, count.stream, text)
    for content in there.contents:
        if content.gaps and content.kind in ("video", "audio"):
            worst = content.gaps[0]
            text = f"nothing is there for {worst.seconds:.1f} s from {worst.at:.1f} s on"
            yield _rough_track(content.kind, content.index, text)
    for track in media.tracks:
        if track.kind in ("video", "audio") and not track.decodable:
            text = f"{track.kind} track {track.index} ({track.codec}): nothing here decodes it"
            yield JobWarning(WarningCause.UNPROVEN, text)


def _rough_track(kind: str, index: int, text: str) -> JobWarning:
    return JobWarning(WarningCause.GAPS, f"{kind} track {index}: {text}")

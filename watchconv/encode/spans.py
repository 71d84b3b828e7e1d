"""Whether picture and sound of an output span the time that the original's do. Pure.

Files count from other zeros, so what is compared is how long each track is, when a sound begins
beside its picture, and where nothing is shown. Sounds grow by what an encoder needs to begin and
to fill its last frame; pictures that do not decode, at the beginning as a rule, may be missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from watchconv.encode.kept import Broken
from watchconv.model import WarningCause
from watchconv.views import show_clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from watchconv.media.facts import Content, Gap, Track

SOUND_SECONDS = 0.045  # that nobody hears
GAP_SECONDS = 0.3  # a shorter one is a hiccup
TOLD_SECONDS = 1.0  # of what the original itself lacks
UNDECODED_SECONDS = 5.0  # at most so much of a picture may be missing for not being decodable
PRIMING = 2048  # samples
FRAME_RATE = 25.0  # where nobody knows better


class Span(NamedTuple):
    """One track in the original and in the output, and how much of it was not to be used."""

    track: Track  # the original's
    before: Content
    after: Content
    unused: int = 0  # packets that were read and gave nothing

    @property
    def name(self) -> str:
        """How a person is told of it."""
        kind = "picture" if self.track.kind == "video" else "sound"
        return f"the {kind} (track {self.track.index})"

    @property
    def is_timed(self) -> bool:
        """Whether both have a beginning and an end."""
        return None not in (
            self.before.start,
            self.before.end,
            self.after.start,
            self.after.end,
        )

    @property
    def packet_seconds(self) -> float:
        """How long a packet of the original is shown on average."""
        return self.before.seconds / self.before.packets if self.before.packets else 0.0

    @property
    def unused_seconds(self) -> float:
        """How long that is shown of which nothing came."""
        return min(self.unused * self.packet_seconds, UNDECODED_SECONDS)

    @property
    def slack(self) -> float:
        """How far the two lengths may be apart, in seconds."""
        if self.track.kind == "video":
            frame = 1 / (self.track.frame_rate or FRAME_RATE)
            return 2 * max(frame, self.packet_seconds) + 0.02
        priming = PRIMING / (self.track.sample_rate or 48000)
        slack = SOUND_SECONDS + priming + min(self.packet_seconds, 0.2)
        # such packets may come long before or after what they hold is heard
        return slack + 3 * self.before.gaps[0].seconds if self.is_rough else slack

    @property
    def is_rough(self) -> bool:
        """Whether the original's packets do not say how long they are: when is then a guess."""
        start, end = self.before.start or 0.0, self.before.end or 0.0
        return bool(self.before.gaps) and self.before.seconds < (end - start) / 2


def judge_spans(spans: Sequence[Span]) -> tuple[Broken, ...]:
    """Return what is wrong with the times of an output; what the original lacks is a warning."""
    timed = [span for span in spans if span.is_timed and span.track.kind in ("video", "audio")]
    found: list[Broken] = []
    for span in timed:
        found += length_faults(span)
        found += gap_faults(span)
    picture = next((span for span in timed if span.track.kind == "video"), None)
    if picture and not picture.before.steps_back:
        for span in timed:
            if span is not picture and not span.before.steps_back and not span.is_rough:
                found += offset_faults(span, picture)
    return tuple(found)


def length_faults(span: Span) -> Iterator[Broken]:
    """Yield what is wrong with how long a track is."""
    assert span.after.end is not None and span.after.start is not None
    assert span.before.end is not None and span.before.start is not None
    length = span.after.end - span.after.start
    if span.after.steps_back:  # its clock begins anew just as the original's
        length = span.after.seconds + sum(gap.seconds for gap in span.after.gaps)
    if span.before.seconds - length > span.slack + span.unused_seconds:
        there = f"{length:.2f} of {span.before.seconds:.2f} s"
        yield Broken(f"{span.name} is cut: {there} are in the output")
    whole = span.before.seconds + sum(gap.seconds for gap in span.before.gaps)
    if not span.before.steps_back:
        whole = max(whole, span.before.end - span.before.start)
    longer = length - whole
    if longer > span.slack + span.unused_seconds:
        yield Broken(f"{span.name} lasts {longer:.2f} s longer in the output than in the original")


def offset_faults(span: Span, picture: Span) -> Iterator[Broken]:
    """Yield how far a sound begins beside its picture otherwise than it did."""
    before = _start(span.before) - _start(picture.before)
    after = _start(span.after) - _start(picture.after)
    slack = SOUND_SECONDS + max(0.0, PRIMING / (span.track.sample_rate or 48000) - 0.043)
    slack += span.unused_seconds + picture.unused_seconds
    frame = 1 / (picture.track.frame_rate or FRAME_RATE)
    moved = after - before
    if abs(moved) > slack + frame:
        way = "late" if moved > 0 else "early"
        yield Broken(f"{span.name} begins {abs(moved) * 1000:.0f} ms too {way} in the output")


def _start(content: Content) -> float:
    return content.start or 0.0


def gap_faults(span: Span) -> Iterator[Broken]:
    """Yield the holes of a track that are new, and say which ones the original has."""
    # of a picture nobody knows whether it is only shown for long: its length and frames tell
    for gap in span.after.gaps if span.track.kind == "audio" else ():
        known = sum(other.seconds for other in span.before.gaps if _meet(span, gap, other))
        if gap.seconds > GAP_SECONDS and gap.seconds > known + span.slack + span.unused_seconds:
            where = show_clock(max(0.0, gap.at - _start(span.after)))
            yield Broken(f"{span.name} has a hole of {gap.seconds:.2f} s at {where} in the output")
    lacking = [gap for gap in span.before.gaps if gap.seconds >= TOLD_SECONDS]
    if lacking:
        first, total = min(lacking, key=lambda gap: gap.at), sum(gap.seconds for gap in lacking)
        where = show_clock(max(0.0, first.at - _start(span.before)))
        text = f"{span.name} of the original itself lacks {total:.1f} s, at {where}"
        yield Broken(text + (" and later" if len(lacking) > 1 else ""), WarningCause.GAPS)
    if span.before.steps_back:
        text = f"the clock of {span.name} begins anew {span.before.steps_back} times"
        yield Broken(f"{text} in the original", WarningCause.GAPS)


def _meet(span: Span, gap: Gap, other: Gap) -> bool:
    """Return whether a gap of the output is at the place of one of the original."""
    if span.before.steps_back:  # nobody knows where that is in the output
        return True
    moved = (gap.at - _start(span.after)) - (other.at - _start(span.before))
    return abs(moved) <= 1.0 + span.unused_seconds

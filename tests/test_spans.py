"""Whether picture and sound span the same time: both ends, holes, clocks that begin anew."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from watchconv.encode.spans import Span, judge_spans
from watchconv.media.facts import Content, Gap, Track
from watchconv.model import WarningCause
from watchconv.views import show_clock

if TYPE_CHECKING:
    from watchconv.encode.kept import Broken

PICTURE = Track(0, "video", "h264", None, frame_rate=25.0)
SOUND = Track(1, "audio", "aac", None, sample_rate=48000)


def content(track: Track, start: float, end: float, **more: Any) -> Content:
    gaps = more.get("gaps", ())
    seconds = more.pop("seconds", end - start - sum(gap.seconds for gap in gaps))
    many = round(seconds * (25 if track.kind == "video" else 47))
    return Content(
        track.index, track.kind, track.codec, many, True, start, end, seconds=seconds, **more
    )


def film(picture: Content, sound: Content) -> tuple[Content, Content]:
    return picture, sound


WHOLE = film(content(PICTURE, 0.0, 8.0), content(SOUND, 0.0, 8.0))
LATER = film(content(PICTURE, 1.4, 9.4), content(SOUND, 1.4, 9.4))
DELAYED = film(content(PICTURE, 0.0, 8.0), content(SOUND, 1.5, 8.0))
HOLED = film(content(PICTURE, 0.0, 8.0), content(SOUND, 0.0, 8.0, gaps=(Gap(3.0, 2.0),)))
ANEW = film(
    content(PICTURE, 1.4, 5.4, seconds=8.0, steps_back=1),
    content(SOUND, 1.4, 5.4, seconds=8.0, steps_back=1),
)
CASES: list[tuple[str, tuple[Content, ...], tuple[Content, ...], str]] = [
    ("the same", WHOLE, WHOLE, ""),
    ("from another zero", LATER, WHOLE, ""),
    ("the sound's priming and padding", WHOLE,
     film(WHOLE[0], content(SOUND, -0.021, 8.021)), ""),
    ("the sound in another zero by its priming", WHOLE,
     film(content(PICTURE, 0.021, 8.021), content(SOUND, 0.0, 8.043)), ""),
    ("a frame less", WHOLE, film(content(PICTURE, 0.0, 7.96), WHOLE[1]), ""),
    ("the picture's end", WHOLE,
     film(content(PICTURE, 0.0, 7.5), WHOLE[1]), "picture (track 0)"),
    ("the sound's end", WHOLE, film(WHOLE[0], content(SOUND, 0.0, 7.5)), "sound (track 1) is cut"),
    ("half of all", WHOLE, film(content(PICTURE, 0.0, 4.0), content(SOUND, 0.0, 4.0)), "is cut"),
    ("what was cut away is back", WHOLE, film(content(PICTURE, 0.0, 9.5), WHOLE[1]), "longer"),
    ("a delay that is kept", DELAYED, DELAYED, ""),
    ("a delay that is lost", DELAYED, film(WHOLE[0], content(SOUND, 0.0, 6.5)), "early"),
    ("a new delay", WHOLE, film(WHOLE[0], content(SOUND, 0.3, 8.3)), "300 ms too late"),
    ("a hole that was there", HOLED, HOLED, "says"),
    ("a hole that was closed", HOLED, film(HOLED[0], WHOLE[1]), "says"),
    ("a new hole in the sound", WHOLE, HOLED, "a hole of 2.00 s at 0:03"),
    ("a picture that is shown for long", WHOLE,
     film(content(PICTURE, 0.0, 8.0, gaps=(Gap(3.0, 2.0),)), WHOLE[1]), ""),
    ("a clock that begins anew, in one piece", ANEW, WHOLE, "says"),
    ("a clock that begins anew, torn apart", ANEW,
     film(content(PICTURE, 0.0, 12.0), content(SOUND, 0.0, 12.0)), "longer"),
    ("a clock that begins anew here and there", ANEW, ANEW, "says"),
    ("a clock that begins anew, half of it", ANEW,
     film(content(PICTURE, 0.0, 4.0), content(SOUND, 0.0, 4.0)), "is cut"),
]  # fmt: skip


def judged(
    before: tuple[Content, ...], after: tuple[Content, ...], unused: int = 0
) -> tuple[Broken, ...]:
    pairs = zip((PICTURE, SOUND), before, after, strict=True)
    return judge_spans([Span(t, a, b, unused * (t is PICTURE)) for t, a, b in pairs])


@pytest.mark.parametrize(
    ("before", "after", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_an_output_spans_the_time_of_its_original(
    before: tuple[Content, ...], after: tuple[Content, ...], words: str
) -> None:
    found = judged(before, after)
    faults = [fault for fault in found if fault.cause is None]

    if words in ("", "says"):
        assert not faults
        assert {fault.cause for fault in found} == ({WarningCause.GAPS} if words else set())
    else:
        assert any(words in fault.text for fault in faults)


def test_pictures_that_do_not_decode_may_be_missing_at_the_beginning() -> None:
    after = film(content(PICTURE, 1.9, 9.4), LATER[1])

    assert judged(LATER, after)
    assert judged(LATER, after, unused=13) == ()


def test_the_slowest_sounds_have_the_longest_frames() -> None:
    slow = replace(SOUND, sample_rate=8000)
    before, after = content(slow, 0.0, 8.0), content(slow, -0.128, 8.1)

    assert judge_spans([Span(slow, before, after)]) == ()
    assert judge_spans([Span(SOUND, before, after)]) != ()


def test_a_last_packet_of_unknown_length_is_as_long_as_others_may_be() -> None:
    slow = replace(SOUND, sample_rate=8000)
    gaps = tuple(Gap(at, 0.3) for at in range(10))
    bursts = content(slow, 0.387, 27.537, gaps=gaps, seconds=0.0)

    assert judge_spans([Span(slow, bursts, content(slow, 0.355, 28.02))]) == ()
    assert judge_spans([Span(slow, bursts, content(slow, 0.355, 29.0))]) != ()


def test_a_track_without_times_says_nothing() -> None:
    silent = replace(WHOLE[1], start=None, end=None)

    assert judged((WHOLE[0], silent), WHOLE) == ()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65.4, "1:05"), (3723, "1:02:03")])
def test_times_are_shown_as_players_do(seconds: float, text: str) -> None:
    assert show_clock(seconds) == text

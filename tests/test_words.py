"""What a person reads of the tracks of a file and of what is decided about them."""

from __future__ import annotations

import pytest

from watchconv.encode.decision import Action, Decision
from watchconv.encode.words import decision_lines, describe, promise_words
from watchconv.media.facts import Chapter, Chroma, Facts, Track

FILM = Track(0, "video", "hevc", None, 1280, 720, bits=10, chroma=Chroma.HALF)
SOUND = Track(1, "audio", "aac", None, channels=6, layout="5.1", sample_rate=48000, language="eng")


@pytest.mark.parametrize(
    ("track", "said"),
    [
        (FILM, "hevc 1280x720, 10 bits"),
        (
            Track(
                *(0, "video", "hevc", None, 1280, 720),
                transfer="arib-std-b67",
                dolby_vision=True,
                rotation=90,
                captions=True,
                language="und",
            ),
            "hevc 1280x720, HLG, Dolby Vision, turned by 90 degrees, with captions",
        ),
        (
            Track(0, "video", "qtrle", 9, 64, 48, bits=8, chroma=Chroma.RGB, alpha=True),
            "qtrle 64x48, RGB, with transparency",
        ),
        (Track(0, "video", "dvvideo", 9, 720, 576, interlaced=True), "dvvideo 720x576, interlaced"),
        (SOUND, "aac 5.1 48000 Hz, eng"),
        (
            Track(2, "subtitle", "ass", None, title="Signs", flags=("default", "forced")),
            'ass, "Signs", default, forced',
        ),
        (Track(3, "attachment", "ttf", None, file_name="a.ttf"), "ttf, a.ttf"),
    ],
)
def test_a_track_is_described_by_all_that_a_conversion_may_change(track: Track, said: str) -> None:
    assert describe(track) == said


def test_each_decision_has_a_line_and_the_promises_one() -> None:
    media = Facts("matroska", None, (FILM, SOUND), chapters=(Chapter(0, 1),))
    decisions = [
        Decision(0, "video", Action.ENCODE, "the profile encodes with libx264", 0, {"bits": 8}),
        Decision(1, "audio", Action.LEAVE, "the profile wants no audio"),
    ]

    assert list(decision_lines(media, decisions)) == [
        "picture 0: hevc 1280x720, 10 bits → encoded: the profile encodes with libx264",
        "sound 1: aac 5.1 48000 Hz, eng → left out: the profile wants no audio",
    ]
    told = promise_words(media, decisions, frozenset({"chapters", "date"}))
    assert told == "hevc · 8 bits · 1 chapters · date"

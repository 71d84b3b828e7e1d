"""What an output must have of its original: one table row for each fact, kept and broken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from watchconv.encode.decision import Action, Decision
from watchconv.encode.kept import date_of, place_of
from watchconv.encode.promises import broken
from watchconv.media.facts import Chapter, Chroma, Facts, Track
from watchconv.model import WarningCause

FAILS = "fails"
KEPT = "kept"
VIDEO = Track(
    0, "video", "hevc", None, 1920, 1080, "yuv420p10le", bits=10, chroma=Chroma.HALF,
    primaries="bt2020", transfer="smpte2084", matrix="bt2020nc",
)  # fmt: skip
SDR = Track(
    0, "video", "h264", None, 1280, 720, "yuv420p", bits=8, chroma=Chroma.HALF,
    primaries="bt709", transfer="bt709", matrix="bt709",
)  # fmt: skip
SOUND = Track(1, "audio", "aac", None, channels=6, layout="5.1(side)", sample_rate=48000)
TEXT = Track(2, "subtitle", "subrip", None, language="ger", title="Untertitel")
FONT = Track(3, "attachment", "ttf", None, file_name="a.ttf")
COPY, ENCODE = Action.COPY, Action.ENCODE


def judged(
    before: Track, action: Action, changes: dict[str, object], found: dict[str, Any], **options: Any
) -> str | WarningCause:
    """Say what comes of an output that has what it is promised but for what was found."""
    after = replace(before, index=0, **found)
    decision = Decision(before.index, before.kind, action, "", 0, changes)
    faults = broken([decision], Facts("mov", 1, (before,)), Facts("mov", 1, (after,)), **options)
    assert len(faults) <= 1, faults
    return (faults[0].cause or FAILS) if faults else KEPT


TURNED = replace(SDR, rotation=90)
RGB = replace(SDR, chroma=Chroma.RGB, matrix="gbr", primaries="", transfer="")
UNTAGGED = replace(SDR, matrix="", primaries="", transfer="")
SMALL = replace(SDR, width=640, height=480, matrix="bt470bg")
ANAMORPHIC = replace(SDR, sample_aspect=(16, 11))
MASTERED = replace(VIDEO, mastering=(0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 1e-4, 1e3))
ALMOST = (0.67999, 0.32001, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 0.00012, 1000.0)
OTHER = (0.70, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 1e-4, 1e3)
W = WarningCause
ROWS: list[tuple[str, Track, Action, dict[str, object], dict[str, Any], str | WarningCause]] = [
    ("codec of a copy", SDR, COPY, {}, {"codec": "mpeg4"}, FAILS),
    ("codec of a copied sound", SOUND, COPY, {}, {"codec": "unknown"}, FAILS),
    ("codec of a copied text", TEXT, COPY, {}, {"codec": "ass"}, W.TRACK_CONVERTED),
    ("codec of an encode", SDR, ENCODE, {}, {"codec": "vp8"}, KEPT),
    ("codec that an encoder is named for", SDR, ENCODE, {"codec": "av1"}, {"codec": "vp8"}, KEPT),
    ("size", SDR, ENCODE, {}, {"width": 640, "height": 360}, FAILS),
    ("size that is free", SDR, ENCODE, {"width": None}, {"width": 640, "height": 360}, KEPT),
    ("size that is wanted", SDR, ENCODE, {"width": 640, "height": 360},
     {"width": 640, "height": 360}, KEPT),
    ("odd size made even", replace(SDR, width=1279), ENCODE, {}, {"width": 1280}, KEPT),
    ("turned by an encode", TURNED, ENCODE, {}, {"rotation": 0, "width": 720, "height": 1280},
     KEPT),
    ("not turned by an encode", TURNED, ENCODE, {}, {"rotation": 0}, FAILS),
    ("turned twice", TURNED, ENCODE, {}, {"width": 720, "height": 1280}, FAILS),
    ("copy that is turned", TURNED, COPY, {}, {}, KEPT),
    ("copy that lies on its side", TURNED, COPY, {}, {"rotation": 0}, FAILS),
    ("copy that is mirrored", replace(SDR, flipped=True), COPY, {}, {"flipped": False}, FAILS),
    ("pixels that are wide", ANAMORPHIC, COPY, {}, {"sample_aspect": (1, 1)}, FAILS),
    ("pixels that are rounded", ANAMORPHIC, COPY, {}, {"sample_aspect": (1454, 1000)}, KEPT),
    ("pixels that are turned", replace(ANAMORPHIC, rotation=90), ENCODE, {},
     {"rotation": 0, "width": 720, "height": 1280, "sample_aspect": (11, 16)}, KEPT),
    ("matrix", SDR, ENCODE, {}, {"matrix": "smpte170m"}, FAILS),
    ("matrix without a tag", SDR, ENCODE, {}, {"matrix": ""}, KEPT),
    ("matrix without a tag that another is taken for", replace(SMALL, matrix="bt709"), ENCODE, {},
     {"matrix": ""}, FAILS),
    ("matrix of nobody knows what", UNTAGGED, ENCODE, {}, {"matrix": "smpte170m"}, KEPT),
    ("matrix twins", SMALL, ENCODE, {}, {"matrix": "smpte170m"}, KEPT),
    ("matrix of a codec that has only one", SDR, ENCODE, {},
     {"codec": "vp8", "matrix": "bt470bg"}, KEPT),
    ("RGB as BT.601 without a tag", RGB, ENCODE, {}, {"chroma": Chroma.FULL, "matrix": "bt470bg"},
     FAILS),
    ("RGB as BT.709", RGB, ENCODE, {}, {"chroma": Chroma.FULL, "matrix": "bt709"}, KEPT),
    ("HDR without its tag", VIDEO, ENCODE, {}, {"transfer": ""}, FAILS),
    ("HDR as SDR", VIDEO, ENCODE, {}, {"transfer": "bt709"}, FAILS),
    ("HDR tone-mapped", VIDEO, ENCODE,
     {"transfer": "bt709", "primaries": "bt709", "matrix": "bt709", "bits": 8},
     {"transfer": "bt709", "primaries": "bt709", "matrix": "bt709", "bits": 8}, KEPT),
    ("SDR twins", SDR, ENCODE, {}, {"transfer": "smpte170m"}, KEPT),
    ("primaries", VIDEO, ENCODE, {}, {"primaries": "bt709"}, FAILS),
    ("primaries of 601 twins", replace(SDR, primaries="bt470bg"), ENCODE, {},
     {"primaries": "smpte170m"}, KEPT),
    ("bits", VIDEO, ENCODE, {}, {"bits": 8}, W.DEPTH),
    ("bits of a copy", VIDEO, COPY, {}, {"bits": 8}, FAILS),
    ("bits that are wanted", VIDEO, ENCODE, {"bits": 8}, {"bits": 8}, KEPT),
    ("more bits", SDR, ENCODE, {}, {"bits": 10}, KEPT),
    ("chroma", replace(SDR, chroma=Chroma.WIDE), ENCODE, {}, {"chroma": Chroma.HALF}, W.CHROMA),
    ("still interlaced", SDR, ENCODE, {"interlaced": False}, {"interlaced": True}, FAILS),
    ("alpha", replace(SDR, alpha=True), ENCODE, {}, {"alpha": False}, W.ALPHA),
    ("Dolby Vision", replace(VIDEO, dolby_vision=True), COPY, {}, {"dolby_vision": False},
     W.DOLBY_VISION),
    ("captions", replace(SDR, captions=True), ENCODE, {}, {"captions": False}, W.CAPTIONS),
    ("projection", replace(SDR, spherical=True), COPY, {}, {"spherical": False}, W.PROJECTION),
    ("timecode", replace(SDR, timecode="01:02:03:04"), COPY, {}, {"timecode": ""}, W.TIMECODE),
    ("mastering data", MASTERED, COPY, {}, {"mastering": ()}, W.MASTERING),
    ("mastering data that is rounded", MASTERED, ENCODE, {}, {"mastering": ALMOST}, KEPT),
    ("mastering data of another", MASTERED, COPY, {}, {"mastering": OTHER}, W.MASTERING),
    ("light level", replace(VIDEO, light_level=(1000, 400)), COPY, {}, {"light_level": None},
     W.MASTERING),
    ("layout under its other name", SOUND, ENCODE, {}, {"layout": "5.1"}, KEPT),
    ("layout", SOUND, ENCODE, {}, {"layout": "stereo", "channels": 2}, W.LAYOUT),
    ("layout that is wanted", SOUND, ENCODE, {"layout": "stereo", "channels": 2},
     {"layout": "stereo", "channels": 2}, KEPT),
    ("sample rate", replace(SOUND, sample_rate=96000), ENCODE, {}, {"sample_rate": 48000},
     W.SAMPLE_RATE),
    ("sample rate of Opus", replace(SOUND, sample_rate=44100), ENCODE, {}, {"sample_rate": 48000},
     KEPT),
    ("language", TEXT, COPY, {}, {"language": ""}, W.TAGS),
    ("language by its other name", TEXT, COPY, {}, {"language": "deu"}, KEPT),
    ("title", TEXT, COPY, {}, {"title": ""}, W.TITLES),
    ("flags", replace(TEXT, flags=("default", "forced")), COPY, {}, {"flags": ("default",)},
     W.FLAGS),
    ("flags of the muxer's own", replace(SOUND, flags=("default",)), COPY, {}, {"flags": ()}, KEPT),
    ("a font's name", FONT, COPY, {}, {"file_name": "b.ttf"}, W.FONTS),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "action", "changes", "found", "verdict"),
    [row[1:] for row in ROWS],
    ids=[row[0] for row in ROWS],
)
def test_each_fact_is_promised(
    before: Track,
    action: Action,
    changes: dict[str, object],
    found: dict[str, Any],
    verdict: str | WarningCause,
) -> None:
    assert judged(before, action, changes, found) == verdict


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_of_a_picture_that_is_made_another_only_what_is_beside_it_is_promised(row: Any) -> None:
    _, before, action, changes, found, verdict = row
    free = {"timecode", "codec"} & found.keys() or before.kind != "video"

    told = judged(before, action, changes, found, picture_is_free=True)

    assert told == (verdict if free else KEPT)


@pytest.mark.parametrize(("track", "cause"), [(SDR, None), (SOUND, None), (TEXT, None),
                                              (FONT, W.FONTS)])  # fmt: skip
def test_a_track_that_was_to_go_and_is_not_there_is_told(
    track: Track, cause: WarningCause | None
) -> None:
    decision = Decision(track.index, track.kind, COPY, "", 0)

    (fault,) = broken([decision], Facts("mov", 1, (track,)), Facts("mov", 1, ()))

    assert fault.cause is cause
    assert f"track {track.index}" in fault.text


def test_nothing_is_promised_of_a_track_that_is_left_out() -> None:
    decision = Decision(0, "video", Action.LEAVE, "another is taken")

    assert broken([decision], Facts("mov", 1, (SDR,)), Facts("mov", 1, ())) == ()


def chapters(*starts: float) -> tuple[Chapter, ...]:
    return tuple(Chapter(start, start + 1) for start in starts)


APPLE = (
    ("com.apple.quicktime.creationdate", "2019-07-14T12:20:30+0200"),
    ("com.apple.quicktime.location.iso6709", "+10.0000+020.0000+005/"),
)
OF_FILES = [
    ({"chapters": chapters(0, 1.5)}, {"chapters": chapters(0.021, 1.521)}, None),
    ({"chapters": chapters(0, 1.5)}, {"chapters": chapters(0, 1.9)}, W.CHAPTERS),
    ({"chapters": chapters(0, 1.5)}, {"chapters": chapters(0)}, W.CHAPTERS),
    ({"tags": APPLE[:1]}, {"tags": (("creation_time", "2019-07-14T10:20:30.000000Z"),)}, None),
    ({"tags": APPLE[:1]}, {"tags": (("creation_time", "2020-07-14T10:20:30.000000Z"),)}, W.DATE),
    ({"tags": (("creation_time", "1904-01-01T00:00:00Z"),)}, {}, None),
    ({"tags": (("date", "2019"),)}, {"tags": ()}, W.DATE),
    ({"tags": APPLE[1:]}, {"tags": (("location", "+10.0000+020.0000/"),)}, None),
    ({"tags": APPLE[1:]}, {"tags": ()}, W.PLACE),
    ({"tags": (("title", "Film"), ("encoder", "x"))}, {"tags": (("title", "Film"),)}, None),
    ({"tags": (("title", "Film"),)}, {"tags": ()}, W.TAGS),
]


@pytest.mark.parametrize(("before", "after", "cause"), OF_FILES)
def test_what_a_file_says_is_promised_where_it_is_to_be_kept(
    before: dict[str, Any], after: dict[str, Any], cause: WarningCause | None
) -> None:
    original, output = Facts("mov", 1, (), **before), Facts("mov", 1, (), **after)

    keeps = {"chapters", "date", "place", "tags"}
    assert [fault.cause for fault in broken([], original, output, keeps=keeps)] == [cause] * bool(
        cause
    )
    assert broken([], original, output) == ()


def test_dates_and_places_are_compared_whatever_their_spelling() -> None:
    apple = Facts("mov", 1, (), tags=APPLE)

    assert date_of(apple) == "2019-07-14T10:20:30+00:00"
    assert place_of(apple) == (10.0, 20.0)
    assert (date_of(Facts("mov", 1, ())), place_of(Facts("mov", 1, ()))) == ("", ())

"""The verdict on an encode, as tables of numbers that real runs gave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from watchconv.encode.ffmpeg_output import Route, StreamCount, StreamCounts
from watchconv.encode.verify import Asked, Finding, verify
from watchconv.media.facts import Content, Facts, Track
from watchconv.model import Broke, Cause, JobWarning, Rejected, Verify, WarningCause


def run(
    packets: int,
    frames: int | None,
    encoded: int | None,
    *,
    muxed: int | None = None,
    errors: int = 0,
    duplicated: int = 0,
    dropped: int = 0,
) -> StreamCounts:
    out = encoded if encoded is not None else packets
    return StreamCounts(
        (StreamCount(0, 0, "video", packets, frames, errors),),
        (StreamCount(0, 0, "video", out if muxed is None else muxed, encoded),),
        (Route((0, 0), (0, 0)),),
        duplicated,
        dropped,
    )


def clip(samples: int | None) -> Facts:
    return Facts("mov", None, (Track(0, "video", "h264", samples),))


def video(packets: int, *, decodes: bool = True) -> Content:
    return Content(0, "video", "vp8", packets, decodes)


def judge(
    counts: StreamCounts | None,
    samples: int | None,
    *outputs: Content,
    level: Verify = Verify.FULL,
    time_changer: str | None = None,
    frame_factor: float | None = 1.0,
    is_rough: bool = False,
) -> Finding:
    asked = Asked(level, time_changer, frame_factor, is_rough)
    return verify(counts, clip(samples), outputs, asked)


WHOLE = [
    pytest.param(run(30, 30, 30), 30, 30, id="media-sample_fragmented.mp4"),
    pytest.param(run(123, 123, 123), 123, 123, id="awesome'movie.mov"),
    pytest.param(run(62, 31, 31), None, 31, id="file-type-fixture-raw.mts, fields"),
    pytest.param(run(5, 4, 4), 5, 4, id="dolbyVision-hdr.MOV"),
    pytest.param(run(1, 1, 1), 1, 1, id="metadata_gnre.mp4"),
    pytest.param(run(62, None, None), None, 62, id="remux of file-type-fixture-raw.mts"),
    pytest.param(run(37, 37, 37, errors=1), None, 37, id="file-type-fixture2.mkv, no index"),
]


@pytest.mark.parametrize(("counts", "samples", "made"), WHOLE)
def test_a_whole_output_of_a_whole_input_is_fine(
    counts: StreamCounts, samples: int | None, made: int
) -> None:
    assert judge(counts, samples, video(made)) == Finding()


def test_an_input_with_far_fewer_packets_than_its_index_is_truncated() -> None:
    reason = "the file is truncated: 37 of 27,140 video packets are there"

    assert judge(run(37, 37, 37), 27140, video(37)).fault == Rejected(reason, cause=Cause.TRUNCATED)


def test_a_few_packets_less_than_the_index_are_no_truncation() -> None:
    assert judge(run(97, 97, 97), 100, video(97)) == Finding()


DROPPED = [
    pytest.param(run(30, 30, 13, dropped=17), {}, "fault", id="a recording of varying rate"),
    pytest.param(run(123, 123, 115, dropped=8), {}, "fault", id="a few of many"),
    pytest.param(run(200, 200, 100, dropped=100), {"is_rough": True}, "fault", id="half a film"),
    pytest.param(run(200, 200, 190, dropped=10), {"is_rough": True}, "told", id="a broken clock"),
    pytest.param(run(200, 200, 190, dropped=10), {"time_changer": "-r"}, "unproven", id="-r"),
    pytest.param(run(50, 50, 80, dropped=20), {"frame_factor": 2.0}, "fault", id="one of two"),
    pytest.param(run(50, 50, 99), {"frame_factor": 2.0}, "fine", id="all but the last field"),
    pytest.param(run(50, 50, 9), {"frame_factor": None}, "unproven", id="nobody knows"),
    pytest.param(run(9000, 9000, 8991, dropped=9), {}, "fine", id="one in a thousand"),
    pytest.param(run(30, 30, 29, dropped=1), {}, "fine", id="one"),
]


@pytest.mark.parametrize(("counts", "asked", "verdict"), DROPPED)
def test_a_dropped_frame_is_a_lost_one_unless_the_plan_explains_it(
    counts: StreamCounts, asked: dict[str, Any], verdict: str
) -> None:
    made = counts.outputs[0].packets

    fault, told = judge(counts, None, video(made), **asked)

    if verdict == "fault":
        assert isinstance(fault, Rejected)  # it comes out the same each time
        assert f"holds {made:,} frames" in fault.reason
    else:
        assert fault is None
        causes = {"fine": [], "told": [WarningCause.GAPS], "unproven": [WarningCause.UNPROVEN]}
        assert [warning.cause for warning in told] == causes[verdict]


@pytest.mark.parametrize(("read", "muxed", "is_fine"), [
    (500, 500, True), (500, 260, True), (5000, 4800, True), (5000, 2500, False)
])  # fmt: skip
def test_a_copy_may_only_lack_what_stands_before_the_first_whole_picture(
    read: int, muxed: int, is_fine: bool
) -> None:
    fault = judge(run(read, None, None, muxed=muxed), None, video(muxed)).fault

    assert (fault is None) is is_fine


def test_a_track_that_is_not_used_says_nothing_about_truncation() -> None:
    unused = StreamCount(0, 1, "data", 0, None, 0)
    counts = run(14, 14, 14)
    counts = replace(counts, inputs=(*counts.inputs, unused))
    both = Facts("mov", None, (*clip(14).tracks, Track(1, "data", "unknown", 99)))

    assert verify(counts, both, [video(14)], Asked()) == Finding()


NOT_WHOLE = [
    pytest.param(run(30, 30, 30), 9, "holds 9 of the 30 packets written", id="output cut"),
    pytest.param(run(30, 30, 9), 9, "holds 9 frames, 30 were decoded", id="frames lost"),
    pytest.param(
        run(99, 99, 99, duplicated=50), 99, "holds 99 frames, 149 were decoded", id="repeats hide"
    ),
    pytest.param(run(30, 30, 30), 0, "no video frame", id="nothing"),
]


@pytest.mark.parametrize(("counts", "made", "words"), NOT_WHOLE)
def test_an_output_that_is_not_whole_is_told(counts: StreamCounts, made: int, words: str) -> None:
    fault = judge(counts, None, video(made)).fault

    assert isinstance(fault, Broke)  # which may be better next time
    assert fault.cause is Cause.OUTPUT
    assert words in fault.reason


def test_an_output_that_does_not_decode_is_not_whole() -> None:
    found = judge(run(30, 30, 30), 30, video(30, decodes=False))

    assert found == Finding(Broke("the output holds no video frame", cause=Cause.OUTPUT))


def test_a_copied_video_that_does_not_decode_is_the_input_s_fault() -> None:
    counts = run(51, None, None)

    found = judge(counts, None, video(51, decodes=False))

    reason = "the video was copied as it is, and it does not decode"
    assert found.fault == Rejected(reason, cause=Cause.DAMAGED)


@pytest.mark.parametrize(
    "counts", [run(800, 3, 3), run(51, 20, 20, errors=31)], ids=["few frames", "many errors"]
)
def test_a_video_that_hardly_decodes_is_no_success(counts: StreamCounts) -> None:
    made = counts.outputs[0].packets

    fault = judge(counts, None, video(made)).fault

    assert isinstance(fault, Rejected)
    assert fault.cause is Cause.DAMAGED
    assert "hardly decodes" in fault.reason


def test_a_video_of_which_much_does_not_decode_is_damaged_or_cut() -> None:
    found = judge(run(250, 187, 187, errors=62), 250, video(187))

    reason = "video stream 0 is damaged or not whole: 62 of its 250 packets do not decode"
    assert found.fault == Rejected(reason, cause=Cause.DAMAGED)


def test_a_few_packets_that_do_not_decode_are_a_bad_reception() -> None:
    found = judge(run(250, 231, 231, errors=19), 250, video(231))

    assert found == Finding()


def test_a_stream_that_is_missing_is_told() -> None:
    counts = run(30, 30, 30)
    sound = StreamCount(0, 1, "audio", 46, 700)
    counts = replace(counts, outputs=(*counts.outputs, sound))

    found = judge(counts, 30, video(30))

    assert found.fault == Broke("the output holds 0 of 1 audio streams", cause=Cause.OUTPUT)


def test_a_stream_more_than_told_is_no_fault() -> None:
    chapters = Content(1, "data", "bin_data", 2, decodes=False)

    found = judge(run(30, 30, 30), 30, video(30), chapters)

    assert found == Finding()


def test_full_falls_back_to_streams_where_time_changes() -> None:
    found = judge(run(300, 300, 125), 300, video(125), time_changer="-r")

    text = "-r changes time, so the frames were not compared"
    assert found == Finding(warnings=(JobWarning(WarningCause.UNPROVEN, text),))


def test_a_limit_of_time_is_no_truncation() -> None:
    assert judge(run(63, 62, 60), 10883, video(60), time_changer="-t").fault is None


def test_streams_does_not_count_frames() -> None:
    assert judge(run(30, 30, 9), 30, video(9), level=Verify.STREAMS) == Finding()


def test_without_an_counts_the_packets_are_compared() -> None:
    assert judge(None, 100, video(97)).fault is None
    assert judge(None, None, video(1)).fault is None
    reason = "the output holds 40 of 100 video packets"
    assert judge(None, 100, video(40)).fault == Broke(reason, cause=Cause.OUTPUT)
    assert judge(None, 100, video(40), time_changer="-t").fault is None

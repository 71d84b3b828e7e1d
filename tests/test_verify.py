"""The verdict on an encode, as tables of numbers that real runs gave."""

from __future__ import annotations

from dataclasses import replace

import pytest

from watchconv.encode.stderr_stats import InputCount, OutputCount, Route, StreamCounts
from watchconv.encode.verify import Fault, Finding, time_changer, verify
from watchconv.model import Content, MediaInfo, Stream, Verify

PLAIN = ["-c:v", "libvpx", "-c:a", "libvorbis"]


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
        (InputCount(0, 0, "video", packets, frames, errors),),
        (OutputCount(0, 0, "video", encoded, out if muxed is None else muxed),),
        (Route((0, 0), (0, 0)),),
        duplicated,
        dropped,
    )


def clip(samples: int | None) -> MediaInfo:
    return MediaInfo("mov", None, (Stream(0, "video", "h264", samples),))


def video(packets: int, *, decodes: bool = True) -> Content:
    return Content(0, "video", "vp8", packets, decodes)


WHOLE = [
    pytest.param(run(30, 30, 30), 30, 30, id="media-sample_fragmented.mp4"),
    pytest.param(run(123, 123, 115, dropped=8), 123, 115, id="awesome'movie.mov"),
    pytest.param(run(62, 31, 31), None, 31, id="file-type-fixture-raw.mts, fields"),
    pytest.param(run(5, 4, 4), 5, 4, id="dolbyVision-hdr.MOV"),
    pytest.param(run(1, 1, 1), 1, 1, id="metadata_gnre.mp4"),
    pytest.param(run(62, None, None), None, 62, id="remux of file-type-fixture-raw.mts"),
    pytest.param(run(37, 37, 37, errors=1), None, 37, id="file-type-fixture2.mkv, no index"),
]


@pytest.mark.parametrize(("account", "samples", "made"), WHOLE)
def test_a_whole_output_of_a_whole_input_is_fine(
    account: StreamCounts, samples: int | None, made: int
) -> None:
    assert verify(account, clip(samples), [video(made)], PLAIN, Verify.FULL) == Finding()


def test_an_input_with_far_fewer_packets_than_its_index_is_truncated() -> None:
    found = verify(run(37, 37, 37), clip(27140), [video(37)], PLAIN, Verify.FULL)

    assert found.fault is Fault.INPUT
    assert found.reason == "the file is truncated: 37 of 27,140 video packets are there"


def test_a_few_packets_less_than_the_index_are_no_truncation() -> None:
    assert verify(run(97, 97, 97), clip(100), [video(97)], PLAIN, Verify.FULL) == Finding()


def test_many_drops_are_no_fault_but_are_told() -> None:
    found = verify(run(30, 30, 13, dropped=17), clip(30), [video(13)], PLAIN, Verify.FULL)

    assert found == Finding(notes=("ffmpeg dropped 17 of 30 video frames for their times",))


def test_a_track_that_is_not_used_says_nothing_about_truncation() -> None:
    unused = InputCount(0, 1, "data", 0, None, 0)
    account = run(14, 14, 14)
    account = replace(account, inputs=(*account.inputs, unused))
    both = MediaInfo("mov", None, (*clip(14).streams, Stream(1, "data", "unknown", 99)))

    assert verify(account, both, [video(14)], PLAIN, Verify.FULL) == Finding()


NOT_WHOLE = [
    pytest.param(run(30, 30, 30), 9, "holds 9 of the 30 packets written", id="output cut"),
    pytest.param(run(30, 30, 9), 9, "holds 9 frames, 30 were decoded", id="frames lost"),
    pytest.param(
        run(99, 99, 99, duplicated=50), 99, "holds 99 frames, 149 were decoded", id="repeats hide"
    ),
    pytest.param(run(30, 30, 30), 0, "no video frame", id="nothing"),
]


@pytest.mark.parametrize(("account", "made", "words"), NOT_WHOLE)
def test_an_output_that_is_not_whole_is_told(account: StreamCounts, made: int, words: str) -> None:
    found = verify(account, clip(None), [video(made)], PLAIN, Verify.FULL)

    assert found.fault is Fault.OUTPUT
    assert words in found.reason


def test_an_output_that_does_not_decode_is_not_whole() -> None:
    found = verify(run(30, 30, 30), clip(30), [video(30, decodes=False)], PLAIN, Verify.FULL)

    assert found == Finding(Fault.OUTPUT, "the output holds no video frame")


def test_a_copied_video_that_does_not_decode_is_the_input_s_fault() -> None:
    account = run(51, None, None)

    found = verify(account, clip(None), [video(51, decodes=False)], ["-c", "copy"], Verify.FULL)

    assert found.fault is Fault.INPUT


@pytest.mark.parametrize(
    "account", [run(800, 3, 3), run(51, 20, 20, errors=31)], ids=["few frames", "many errors"]
)
def test_a_video_that_hardly_decodes_is_no_success(account: StreamCounts) -> None:
    made = account.outputs[0].packets

    found = verify(account, clip(None), [video(made)], PLAIN, Verify.FULL)

    assert found.fault is Fault.INPUT
    assert "hardly decodes" in found.reason


def test_a_video_of_which_much_does_not_decode_is_damaged_or_cut() -> None:
    found = verify(run(250, 187, 187, errors=62), clip(250), [video(187)], PLAIN, Verify.FULL)

    assert found.fault is Fault.INPUT
    assert found.reason == (
        "video stream 0 is damaged or not whole: 62 of its 250 packets do not decode"
    )


def test_a_few_packets_that_do_not_decode_are_a_bad_reception() -> None:
    found = verify(run(250, 231, 231, errors=19), clip(250), [video(231)], PLAIN, Verify.FULL)

    assert found == Finding()


def test_a_stream_that_is_missing_is_told() -> None:
    account = run(30, 30, 30)
    sound = OutputCount(0, 1, "audio", 700, 46)
    account = replace(account, outputs=(*account.outputs, sound))

    found = verify(account, clip(30), [video(30)], PLAIN, Verify.FULL)

    assert found == Finding(Fault.OUTPUT, "the output holds 0 of 1 audio streams")


def test_a_stream_more_than_told_is_no_fault() -> None:
    chapters = Content(1, "data", "bin_data", 2, decodes=False)

    found = verify(run(30, 30, 30), clip(30), [video(30), chapters], PLAIN, Verify.FULL)

    assert found == Finding()


def test_full_falls_back_to_streams_where_time_changes() -> None:
    found = verify(run(300, 300, 125), clip(300), [video(125)], ["-r", "12.5"], Verify.FULL)

    assert found == Finding(notes=("verify: full falls back to streams, because -r changes time",))


def test_a_limit_of_time_is_no_truncation() -> None:
    found = verify(run(63, 62, 60), clip(10883), [video(60)], ["-t", "2"], Verify.FULL)

    assert found.fault is None


@pytest.mark.parametrize(
    ("args", "changer"),
    [
        (["-ss", "3"], "-ss"),
        (["-frames:v", "9"], "-frames:v"),
        (["-vf", "scale=2:2,fps=5"], "the filter fps"),
        (["-filter:v", "setpts=2*PTS"], "the filter setpts"),
        (["-af", "atempo=2"], "the filter atempo"),
        (["-vf", "yadif=1"], "the filter yadif"),
        (["-vf", "yadif"], None),
        (["-vf", "pad=ceil(max(iw\\,64)/2)*2:2,hflip"], None),
        (["-filter_complex", "[0:v]split[a][b];[a]scale=2:2"], None),
        (["-c:v", "libx264", "-crf", "21"], None),
        ([], None),  # a profile may leave everything to ffmpeg
    ],
)
def test_arguments_that_change_time_are_known(args: list[str], changer: str | None) -> None:
    assert time_changer(args) == changer


def test_streams_does_not_count_frames() -> None:
    assert verify(run(30, 30, 9), clip(30), [video(9)], PLAIN, Verify.STREAMS) == Finding()


def test_without_an_account_the_packets_are_compared() -> None:
    assert verify(None, clip(100), [video(97)], PLAIN, Verify.FULL).fault is None
    assert verify(None, clip(None), [video(1)], PLAIN, Verify.FULL).fault is None
    assert verify(None, clip(100), [video(40)], PLAIN, Verify.FULL).fault is Fault.OUTPUT
    assert verify(None, clip(100), [video(40)], ["-t", "1"], Verify.FULL).fault is None

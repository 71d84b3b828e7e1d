"""The encode plan, as tables: refusals, the command line, streams, threads, changed time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from watchconv.config.profiles import BUILTIN
from watchconv.encode.decision import Action
from watchconv.encode.plan import (
    EncodePlan,
    choose_streams,
    plan_encode,
    refusal,
    thread_args,
    time_changer,
)
from watchconv.encode.program import Ability
from watchconv.media.facts import Facts, Track
from watchconv.model import Cause, JobWarning, Profile, Rejected, Verify, WarningCause

if TYPE_CHECKING:
    from collections.abc import Sequence

VIDEO = Track(0, "video", "h264", 30)
AUDIO = Track(1, "audio", "aac", 45)
COVER = Track(2, "video", "mjpeg", 1, attached_picture=True)
AUTO = ["-map", "auto", "-c:v", "libx264"]


def media(*streams: Track, demuxer: str = "matroska") -> Facts:
    return Facts(demuxer, None, streams)


def subtitle(codec: str) -> Track:
    return Track(2, "subtitle", codec, None, language="eng")


def left_out(text: str) -> JobWarning:
    return JobWarning(WarningCause.TRACK_LEFT_OUT, text)


def texts(warnings: Sequence[JobWarning]) -> list[str]:
    return [warning.text for warning in warnings]


def plan(
    args: str,
    found: Facts,
    *,
    suffix: str = ".mkv",
    source: str = "/in/a",
    output: str = "/work/o",
    parallel: int = 1,
    max_pixels: int = 99,
) -> EncodePlan:
    return plan_encode(
        Profile("p", suffix, tuple(args.split()), Verify.STREAMS),
        found,
        program="/bin/ffmpeg",
        ability=Ability(),
        source=source,
        output=output,
        cores=4,
        parallel=parallel,
        max_pixels=max_pixels,
    )


# the whole


def test_a_plan_holds_all_that_an_encode_and_its_judgement_need() -> None:
    found = media(VIDEO, AUDIO, COVER)

    made = plan("-map auto -c:v libvpx -r 5", found, suffix=".webm", parallel=2)

    args = ("-map", "0:0", "-map", "0:1", "-c:v", "libvpx", "-r", "5", "-threads:v", "2")
    assert made == EncodePlan(
        args=args,
        argv=made.argv,
        suffix=".webm",
        verify=Verify.STREAMS,
        time_changer="-r",
        uses_hardware=False,
        decisions=made.decisions,
        warnings=(left_out("video track 2 (mjpeg) is left out: a cover picture is not kept"),),
        frame_factor=None,
    )
    assert [(d.track, d.action, d.ordinal) for d in made.decisions] == [
        (0, Action.ENCODE, 0),
        (1, Action.ENCODE, 0),
        (2, Action.LEAVE, None),
    ]
    assert made.argv[0] == "/bin/ffmpeg"
    assert made.argv[-len(args) - 3 :] == ("-i", "file:/in/a", *args, "file:/work/o")
    assert plan("-c:v h264_nvenc", found).uses_hardware


def test_the_command_line_disarms_names_and_forces_the_demuxer() -> None:
    argv = plan("-c copy", media(demuxer="mov"), source="/in/-x%03d:.mp4").argv

    assert argv[-5:] == ("-i", "file:/in/-x%03d:.mp4", "-c", "copy", "file:/work/o")
    before = argv[: argv.index("-i")]
    for option, value in [
        ("-protocol_whitelist", "file"),
        ("-f", "mov"),
        ("-enable_drefs", "0"),
        ("-progress", "pipe:1"),
        ("-max_pixels", "99"),
        ("-fflags", "+genpts"),
    ]:
        assert before[before.index(option) + 1] == value
    listed = before[before.index("-format_whitelist") + 1].split(",")
    assert not {"hls", "dash", "concat", "imf", "image2", "sdp", "tty", "srt"} & set(listed)


def test_other_containers_and_encodes_have_no_options_that_they_do_not_need() -> None:
    argv = plan("", media(demuxer="avi"), max_pixels=7).argv

    assert argv[argv.index("-max_pixels") + 1] == "7"
    assert "-enable_drefs" not in argv
    assert "-fflags" not in argv


@pytest.mark.parametrize("places", [{"source": "a.mp4"}, {"output": "o.mp4"}])
def test_a_relative_path_is_a_bug(places: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not absolute"):
        plan("", media(), **places)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("streams", "refused"),
    [
        ((VIDEO, AUDIO), None),
        ((), ("no video: it holds no video stream, only nothing", Cause.NOT_VIDEO)),
        (
            (AUDIO, COVER),
            ("no video: it holds no video stream, only audio and a cover picture", Cause.NOT_VIDEO),
        ),
        ((Track(0, "video", "h264", 30, 33, 3),), None),
        (
            (VIDEO, Track(1, "video", "h264", 30, 10, 10)),
            ("its frames are too large: 100 pixels each; max_pixels allows 99", Cause.TOO_LARGE),
        ),
    ],
)
def test_what_is_no_video_or_too_large_is_refused(
    streams: tuple[Track, ...], refused: tuple[str, Cause] | None
) -> None:
    wanted = Rejected(refused[0], cause=refused[1]) if refused else None

    assert refusal(media(*streams), 99) == wanted


# streams


def test_arguments_without_auto_are_not_changed() -> None:
    args = ["-map", "0", "-c", "copy"]

    assert choose_streams(args, media(VIDEO, AUDIO), ".mkv") == (args, [], [])


def test_the_maps_stand_where_auto_stood() -> None:
    args, _, losses = choose_streams(["-y", *AUTO], media(VIDEO, AUDIO), ".mp4")

    assert args == ["-y", "-map", "0:0", "-map", "0:1", "-c:v", "libx264"]
    assert texts(losses) == []


def test_the_cover_the_empty_track_and_data_are_left_out_with_a_word() -> None:
    empty = Track(3, "video", "h264", 0)
    data = Track(4, "data", "unknown", 9)

    args, _, losses = choose_streams(AUTO, media(COVER, empty, VIDEO, data), ".mp4")

    assert args == ["-map", "0:0", "-c:v", "libx264"]
    assert texts(losses) == [
        "video track 2 (mjpeg) is left out: a cover picture is not kept",
        "video track 3 (h264) is left out: it is empty",
        "data track 4 (unknown) is left out: data does not go into .mp4",
    ]


def test_a_second_video_is_left_out_and_every_audio_is_kept() -> None:
    second = Track(2, "video", "h264", 30)
    other = Track(3, "audio", "ac3", None)
    odd = Track(4, "audio", "unknown", None)

    args, _, losses = choose_streams(AUTO, media(VIDEO, AUDIO, second, other, odd), ".mp4")

    assert args[:6] == ["-map", "0:0", "-map", "0:1", "-map", "0:3"]
    assert texts(losses) == [
        "video track 2 (h264) is left out: only the first video is kept",
        "audio track 4 (unknown) is left out: this codec is unknown",
    ]


@pytest.mark.parametrize(
    ("codec", "suffix", "becomes"),
    [
        ("subrip", ".webm", "webvtt"),
        ("webvtt", ".webm", "copy"),
        ("ass", ".MP4", "mov_text"),
        ("mov_text", ".mov", "copy"),
        ("ssa", ".m4v", "mov_text"),
        ("ass", ".mkv", "copy"),
        ("mov_text", ".mkv", "srt"),
        ("hdmv_pgs_subtitle", ".mkv", "copy"),
        ("dvd_subtitle", ".mkv", "copy"),
    ],
)
def test_subtitles_become_what_the_container_takes(codec: str, suffix: str, becomes: str) -> None:
    args, _, losses = choose_streams(AUTO, media(VIDEO, subtitle(codec)), suffix)

    assert args[-2:] == ["-c:s:0", becomes]
    assert texts(losses) == []


def test_picture_subtitles_do_not_fit_into_webm() -> None:
    args, _, losses = choose_streams(AUTO, media(VIDEO, subtitle("hdmv_pgs_subtitle")), ".webm")

    assert args == ["-map", "0:0", "-c:v", "libx264"]
    assert texts(losses) == [
        "subtitle track 2 (hdmv_pgs_subtitle, eng) is left out: webm holds no picture subtitles"
    ]


def test_subtitles_are_numbered_among_those_kept() -> None:
    tracks = (subtitle("dvd_subtitle"), Track(3, "subtitle", "ass", None))

    args, *_ = choose_streams(AUTO, media(VIDEO, *tracks), ".webm")

    assert args[-2:] == ["-c:s:0", "webvtt"]


def test_a_codec_that_the_user_names_is_not_overruled() -> None:
    args, *_ = choose_streams([*AUTO, "-c:s", "ass"], media(VIDEO, subtitle("subrip")), ".mkv")

    assert args[-2:] == ["-c:s", "ass"]


def test_picture_subtitles_cannot_become_the_text_that_the_user_names() -> None:
    tracks = media(VIDEO, subtitle("dvd_subtitle"))

    args, _, losses = choose_streams([*AUTO, "-c:s", "ass"], tracks, ".mkv")

    assert "0:2" not in args
    assert texts(losses) == [
        "subtitle track 2 (dvd_subtitle, eng) is left out: picture subtitles cannot become ass"
    ]


def test_kinds_that_the_user_refuses_are_left_out_in_silence() -> None:
    tracks = media(VIDEO, AUDIO, subtitle("subrip"))

    args, _, losses = choose_streams([*AUTO, "-an", "-sn"], tracks, ".mkv")

    assert args == ["-map", "0:0", "-c:v", "libx264", "-an", "-sn"]
    assert texts(losses) == []


def test_fonts_stay_in_matroska_and_other_attachments_do_not() -> None:
    font, text = Track(3, "attachment", "ttf", None), Track(4, "attachment", "unknown", None)

    args, _, losses = choose_streams(
        ["-map", "auto", "-c", "copy"], media(VIDEO, font, text), ".mkv"
    )

    assert args == ["-map", "0:0", "-map", "0:3", "-c", "copy"]
    assert texts(losses) == [
        "attachment track 4 (unknown) is left out: attachments of this kind do not go into .mkv"
    ]


# threads


@pytest.mark.parametrize(
    ("args", "cores", "parallel", "added"),
    [
        (BUILTIN["webm"].args, 2, 2, ["-threads:v", "1"]),
        (BUILTIN["webm"].args, 16, 3, ["-threads:v", "5"]),
        (BUILTIN["webm"].args, 2, 5, ["-threads:v", "1"]),
        (BUILTIN["webm"].args, 8, 1, []),  # alone it keeps its default
        *((BUILTIN[name].args, 8, 4, []) for name in ("mp4", "hevc", "av1", "remux")),
        (("-c:v", "libvpx-vp9"), 8, 4, []),
        (("-c:v", "libvpx", "-threads", "3"), 8, 4, []),  # a profile's own win
        (("-c:v", "libvpx", "-threads:v", "3"), 8, 4, []),
    ],
)
def test_vp8_alone_shares_the_cores_while_others_run(
    args: tuple[str, ...], cores: int, parallel: int, added: list[str]
) -> None:
    assert thread_args(args, cores, parallel) == added


# time


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

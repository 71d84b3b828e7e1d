"""The encode plan, as tables: refusals, the command line, streams, threads, changed time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from watchconv.config.profiles import BUILTIN
from watchconv.encode.decision import Action
from watchconv.encode.plan import (
    EncodePlan,
    plan_encode,
    refusal,
    thread_args,
)
from watchconv.encode.program import Ability
from watchconv.encode.timing import time_changer
from watchconv.media.facts import Facts, Track
from watchconv.model import Cause, JobWarning, Profile, Rejected, Verify, WarningCause

VIDEO = Track(0, "video", "h264", 30)
AUDIO = Track(1, "audio", "aac", 45, channels=2, layout="stereo", sample_rate=48000)
COVER = Track(2, "video", "mjpeg", 1, attached_picture=True)


def media(*streams: Track, demuxer: str = "matroska") -> Facts:
    return Facts(demuxer, None, streams)


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
    made = plan_encode(
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
    assert isinstance(made, EncodePlan), made
    return made


# the whole


def test_a_plan_holds_all_that_an_encode_and_its_judgement_need() -> None:
    found = media(VIDEO, AUDIO, COVER)

    made = plan("-map auto -c:v libvpx -r 5", found, suffix=".webm", parallel=2)

    args = (
        *("-map", "0:0", "-map", "0:1", "-c:v", "libvpx", "-r", "5"),
        *("-pix_fmt:v:0", "yuv420p", "-map_metadata", "0", "-metadata:s:v", "BPS="),
        *("-metadata:s:v", "NUMBER_OF_FRAMES=", "-metadata:s:v", "NUMBER_OF_BYTES="),
        *("-metadata:s:a", "BPS=", "-metadata:s:a", "NUMBER_OF_FRAMES="),
        *("-metadata:s:a", "NUMBER_OF_BYTES=", "-threads:v", "2"),
    )
    assert made == EncodePlan(
        args=args,
        argv=made.argv,
        suffix=".webm",
        verify=Verify.STREAMS,
        time_changer="-r",
        uses_hardware=False,
        decisions=made.decisions,
        warnings=(
            JobWarning(
                WarningCause.COVER,
                "video track 2 (mjpeg) is left out: a cover picture is not kept in webm",
            ),
        ),
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
    assert "-probesize" not in argv


def test_ffmpeg_reads_as_far_as_the_probe_had_to_for_tracks_that_begin_late() -> None:
    argv = plan("", replace(media(demuxer="mpeg"), probe_bytes=665600)).argv

    assert argv[argv.index("-probesize") + 1] == "665600"
    assert argv.index("-analyzeduration") < argv.index("-i")


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


# threads


@pytest.mark.parametrize(
    ("args", "cores", "parallel", "added"),
    [
        (BUILTIN["webm"].args, 2, 2, ["-threads:v", "1"]),
        (BUILTIN["webm"].args, 16, 3, ["-threads:v", "5"]),
        (BUILTIN["webm"].args, 2, 5, ["-threads:v", "1"]),
        (BUILTIN["webm"].args, 8, 1, []),  # alone it keeps its default
        *((("-c:v", name), 8, 4, []) for name in ("libx264", "libx265", "libsvtav1", "copy")),
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
        (["-vf", "bwdif=mode=send_frame:deint=interlaced"], None),
        (["-vf", "bwdif=deint=all:mode=send_field"], "the filter bwdif"),
        (["-vf", "pad=ceil(max(iw\\,64)/2)*2:2,hflip"], None),
        (["-filter_complex", "[0:v]split[a][b];[a]scale=2:2"], None),
        (["-c:v", "libx264", "-crf", "21"], None),
        ([], None),  # a profile may leave everything to ffmpeg
    ],
)
def test_arguments_that_change_time_are_known(args: list[str], changer: str | None) -> None:
    assert time_changer(args) == changer

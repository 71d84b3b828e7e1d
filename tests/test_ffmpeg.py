"""What ffmpeg is told and says: real lines of 5.1.9 and 9.0.2, and any bytes at all."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchconv.encode.classify import failure_reason, is_disk_full, is_hopeless, oversize
from watchconv.encode.ffmpeg import (
    encode_argv,
    encoders_named,
    parse_encoders,
    parse_version,
    uses_hardware,
)
from watchconv.encode.progress import ProgressReader, ProgressTracker, ProgressUpdate, progress_of
from watchconv.encode.stderr_stats import InputCount, OutputCount, Route, StderrReader, StreamCounts
from watchconv.model import MediaInfo

OLD = b"""\
Stream mapping:
  Stream #0:0 -> #0:0 (h264 (native) -> vp8 (libvpx))
  Stream #0:1 -> #0:1 (copy)
[graph_1_in_0_1 @ 0x562665cfd4c0] tb:1/44100 samplefmt:fltp samplerate:44100 chlayout:mono
frame=   14 fps=4.1 q=43.0 Lsize=     119kB time=00:00:00.48 bitrate=2026.2kbits/s speed=0.14x    \r
Input file #0 (file:/in/ios9.mov):
  Input stream #0:0 (video): 14 packets read (535349 bytes); 14 frames decoded; \n\
  Input stream #0:1 (audio): 21 packets read (4492 bytes); \n\
  Total: 35 packets (539841 bytes) demuxed
Output file #0 (file:/out/o.webm):
  Output stream #0:0 (video): 14 frames encoded; 14 packets muxed (113193 bytes); \n\
  Output stream #0:1 (audio): 31 packets muxed (3852 bytes); \n"""
NEW = b"""\
[out#0/webm @ 0x56528647e480] No explicit maps, mapping streams automatically...
Stream mapping:
  Stream #0:0 -> #0:0 (h264 (native) -> vp8 (libvpx))
  Stream #0:1 -> #0:1 (aac (native) -> vorbis (libvorbis))
[vost#0:0/libvpx @ 0x565286481580] Starting thread...
[vist#0:0/h264 @ 0x565] [dec:h264 @ 0x56528647fa00] Decoder thread received EOF packet
[af#0:1 @ 0x56528651ccc0] Terminating thread with return code 0 (success)
[out#0/webm @ 0x5]   Output stream #0:0 (video): 14 frames encoded; \
14 packets muxed (113193 bytes); \n\
[out#0/webm @ 0x5]   Output stream #0:1 (audio): 322 frames encoded (20580 samples); \
30 packets muxed (3658 bytes); \n\
[in#0/mov @ 0x5]   Input stream #0:0 (video): 14 packets read (535349 bytes); 14 frames decoded; \
0 decode errors; \n\
[in#0/mov @ 0x5]   Input stream #0:1 (audio): 21 packets read (4492 bytes); 21 frames decoded; \
1 decode errors (20580 samples); \n"""
GRAPH = b"""\
Stream mapping:
  Stream #0:0 (h264) -> split:default
  Stream #0:1 (ac3) -> amix
  scale:default -> Stream #0:0 (mpeg4)
  amix:default -> Stream #0:2 (aac)
  Stream #0:2 -> #0:3 (copy)
  Output stream #0:3 (audio): 21 packets muxed (4110 bytes); \n"""
PROGRESS = b"""\
frame=1\nfps=0.00\ntotal_size=4632\nout_time_us=98000\nout_time=00:00:00.098000\n\
dup_frames=0\ndrop_frames=0\nspeed=10.8x\nprogress=continue\n\
frame=63\nfps=21.5\ntotal_size=N/A\nout_time_us=N/A\ndup_frames=2\ndrop_frames=8\n\
speed=N/A\nprogress=continue\n\
frame=64\nout_time_us=-9223372036854775808\nspeed=   2x\nprogress=end\n"""


def read(said: bytes, last: ProgressUpdate | None = None) -> StderrReader:
    reader = StderrReader()
    reader.feed(said)
    reader.close()
    return reader


def chunked(whole: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    return [whole[a:b] for a, b in itertools.pairwise(edges)]


def test_the_command_line_disarms_names_and_forces_the_demuxer() -> None:
    media = MediaInfo("mov", 1.0, ())

    argv = encode_argv("ffmpeg", "/in/-x%03d:.mp4", media, ["-c", "copy"], "/w/o", progress_fd=7)

    assert argv[-5:] == ["-i", "file:/in/-x%03d:.mp4", "-c", "copy", "file:/w/o"]
    before = argv[: argv.index("-i")]
    for option, value in [
        ("-protocol_whitelist", "file"),
        ("-f", "mov"),
        ("-enable_drefs", "0"),
        ("-progress", "pipe:7"),
    ]:
        assert before[before.index(option) + 1] == value
    listed = before[before.index("-format_whitelist") + 1].split(",")
    assert not {"hls", "dash", "concat", "imf", "image2", "sdp", "tty", "srt"} & set(listed)


def test_limits_and_other_containers_have_their_options() -> None:
    media = MediaInfo("avi", None, ())

    argv = encode_argv("ffmpeg", "/a", media, [], "/b", progress_fd=3, max_pixels=99)

    assert argv[argv.index("-max_pixels") + 1] == "99"
    assert "-enable_drefs" not in argv
    assert "-fflags" not in argv


@pytest.mark.parametrize(
    ("args", "hardware"),
    [
        ("-c:v h264_nvenc -preset p5", True),
        ("-vaapi_device /dev/dri/renderD128 -vf format=nv12,hwupload -c:v hevc_vaapi", True),
        ("-vf scale_cuda=1280:-2 -c:v libx264", True),
        ("-init_hw_device qsv=q -c:v av1_qsv", True),
        ("-c:v h264_v4l2m2m", True),
        ("-c:v libx264 -c:a aac -metadata title=hwaccel", False),
        ("-c:v libvpx-vp9 -vf format=yuv420p", False),
    ],
)
def test_encoders_in_hardware_are_recognised(args: str, hardware: bool) -> None:
    assert uses_hardware(args.split()) is hardware


def test_a_relative_path_is_a_bug() -> None:
    with pytest.raises(ValueError, match="not absolute"):
        encode_argv("ffmpeg", "a.mp4", MediaInfo("mov", None, ()), [], "/o", progress_fd=3)


def test_progress_is_read_block_by_block() -> None:
    beats = ProgressReader().feed(PROGRESS)

    assert beats == [
        ProgressUpdate(0.098, 1, None, 10.8, 0, 0, 4632, ended=False),
        ProgressUpdate(None, 63, 21.5, None, 2, 8, None, ended=False),
        ProgressUpdate(None, 64, None, 2.0, 0, 0, None, ended=True),
    ]


@given(st.lists(st.integers(0, len(PROGRESS))))
def test_progress_is_the_same_in_any_chunks(cuts: list[int]) -> None:
    reader = ProgressReader()

    beats = [beat for chunk in chunked(PROGRESS, cuts) for beat in reader.feed(chunk)]

    assert beats == ProgressReader().feed(PROGRESS)


@given(st.binary(max_size=300), st.sampled_from([b"out_time_us=", b"speed=", b"frame=", b""]))
def test_no_bytes_upset_the_progress_reader(junk: bytes, key: bytes) -> None:
    beats = ProgressReader().feed(key + junk + b"\nprogress=end\n")

    assert beats[-1].ended


def test_an_encode_gets_further_by_time_or_by_bytes_and_only_beyond_where_it_was() -> None:
    heard = []
    reach = ProgressTracker(10.0, lambda beat, progress: heard.append(progress.fraction))

    def beat(micros: int, size: int) -> bool:
        return reach.feed(f"out_time_us={micros}\ntotal_size={size}\nprogress=continue\n".encode())

    assert beat(5_000_000, 100)
    assert not beat(5_000_000, 100)
    assert not beat(1_000_000, 100)  # a muxer that starts anew, again and again
    assert beat(1_000_000, 101)
    assert not reach.feed(b"out_time_us=9000000\n")  # half a block
    assert reach.seconds == 5.0
    assert heard == [0.5, 0.5, 0.1, 0.1]


@pytest.mark.parametrize(
    ("out", "speed", "duration", "fraction", "eta"),
    [
        (5.0, 2.0, 10.0, 0.5, 2.5),
        (10.1, 2.0, 10.0, 0.999, 0.0),
        (90.0, 2.0, 10.0, None, None),
        (5.0, 2.0, None, None, None),
        (5.0, 2.0, 0.0, None, None),
        (5.0, None, 10.0, 0.5, None),
    ],
)
def test_no_percent_rather_than_a_wrong_one(
    out: float, speed: float | None, duration: float | None, fraction: float | None, eta: float
) -> None:
    progress = progress_of(ProgressUpdate(out, 3, 25.0, speed), duration)

    assert (progress.fraction, progress.eta_seconds) == (fraction, eta)


def test_the_end_is_the_whole() -> None:
    assert progress_of(ProgressUpdate(1.0, ended=True), None).fraction == 1.0


def test_the_account_of_the_old_ffmpeg() -> None:
    assert read(OLD).account(ProgressUpdate(duplicated=1, dropped=2)) == StreamCounts(
        (InputCount(0, 0, "video", 14, 14, 0), InputCount(0, 1, "audio", 21, None, 0)),
        (OutputCount(0, 0, "video", 14, 14), OutputCount(0, 1, "audio", None, 31)),
        (Route((0, 0), (0, 0)), Route((0, 1), (0, 1))),
        1,
        2,
    )


def test_the_errors_that_the_old_ffmpeg_tells_one_by_one_are_counted() -> None:
    error = "Error while decoding stream #0:0: Invalid data found when processing input\n"
    told = f"{error}    Last message repeated 3 times\n[aac @ 0x5] {error}{error}"

    account = read(told.encode() + OLD).account()

    assert account and [count.errors for count in account.inputs] == [5, 0]


def test_the_account_of_the_new_ffmpeg() -> None:
    account = read(NEW).account()

    assert account is not None
    assert account.inputs[1] == InputCount(0, 1, "audio", 21, 21, 1)
    assert account.outputs[1] == OutputCount(0, 1, "audio", 322, 30)
    assert [route.output for route in account.routes] == [(0, 0), (0, 1)]


def test_streams_that_enter_a_graph_have_no_single_way_out() -> None:
    account = read(GRAPH).account()

    assert account is not None
    assert account.routes == (
        Route((0, 0), None),
        Route((0, 1), None),
        Route((0, 2), (0, 3)),
    )


def test_no_closing_lines_are_no_account() -> None:
    assert read(b"Stream mapping:\n  Stream #0:0 -> #0:0 (copy)\n").account() is None


@given(st.lists(st.integers(0, len(NEW))))
def test_the_account_is_the_same_in_any_chunks(cuts: list[int]) -> None:
    reader = StderrReader()
    for chunk in chunked(NEW, cuts):
        reader.feed(chunk)
    reader.close()

    assert reader.account() == read(NEW).account()
    assert reader.tail == read(NEW).tail


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=5))
def test_any_bytes_in_any_chunks_give_the_same_tail(junk: bytes, cuts: list[int]) -> None:
    reader = StderrReader()
    for chunk in chunked(junk, cuts):
        reader.feed(chunk)
    reader.close()

    assert reader.tail == read(junk).tail
    failure_reason(1, reader.tail)


def test_chatter_does_not_crowd_out_the_error() -> None:
    chatter = b"[af#0:1 @ 0x1] Terminating thread with return code 0 (success)\n" * 5000

    tail = read(b"Unknown encoder 'x'\n" + chatter).tail

    assert tail == "Unknown encoder 'x'"


def test_the_tail_keeps_whole_lines_and_is_bounded() -> None:
    said = b"".join(b"line %d\n" % number for number in range(20000)) + b"y" * 100_000

    tail = read(said).tail

    assert len(tail) <= 32 * 1024
    assert tail.splitlines()[0].startswith("line ")
    assert tail.splitlines()[-1] == "y" * 4096


def test_the_tail_shows_control_characters_and_overwrites() -> None:
    assert read(b"frame=1\rframe=2\rdone\n\x1b[2Jred\n").tail == "done\n\\x1b[2Jred"


VVC = "  Stream #0:0[0x1](und): Video: none, 1 reference frame (vvc1 / 0x31637676), 320x180"
FAILURES = [
    (1, "[mov,mp4 @ 0x1] moov atom not found\nfile:/a: Invalid data found", "no index", True),
    (183, "[in#0 @ 0x5] Error opening input: Invalid data found when", "invalid data", True),
    (1, "Unknown encoder 'nosuch'", "no encoder nosuch", True),
    (1, f"{VVC}\nDecoder (codec none) not found for input stream", "cannot decode vvc1", True),
    (1, f"{VVC}\nConversion failed!", "status 1", False),
    (1, "Decoder (codec none) not found for input stream #0:0", "no decoder", True),
    (8, "Unrecognized option 'nosuch'.", "unknown option: -nosuch", True),
    (
        1,
        "Unrecognized option 'nosuch'.\nError splitting",
        "option: -nosuch",
        True,
    ),
    (
        1,
        "[NULL @ 0x55bb1246d500] Unable to find a suitable output format for '/o.d/output.xyz'\n"
        "file:/o.d/output.xyz: Invalid argument",
        "no output format for the suffix .xyz",
        True,
    ),
    (
        234,
        "[AVFormatContext @ 0x5] Unable to choose an output format for '/o/output.a.xyz'; use",
        "no output format for the suffix .xyz",
        True,
    ),
    (1, "[NULL @ 0x5] Requested output format 'xyz' is not a suitable output", "format xyz", True),
    (1, "[ogg @ 0x55b7e0] Error: no", "ffmpeg ended with status 1: [ogg] Error: no", False),
    (1, "one\nAt least one output file must be specified", "1: At least one output file", False),
    (234, "[in#0 @ 0x56] Unknown input format: 'nosuchf'", "of type nosuchf", True),
    (1, "[matroska,webm @ 0x5] Format not on whitelist 'mov'", "not accepted", True),
    (234, "[out#0/mp4 @ 0x5] Stream map '0:a' matches no streams.", "-map 0:a", True),
    (
        69,
        "[vist#0:0/vp9 @ 0x1] [dec:vp9 @ 0x2] Decode error rate 1 exceeds maximum 0.6",
        "most",
        True,
    ),
    (
        69,
        "[dec:gif @ 0x2] Error submitting packet to decoder: Cannot allocate memory\n"
        "[dec:gif @ 0x2] Decode error rate 1 exceeds maximum 0.6",
        "out of memory",
        False,
    ),
    (1, "Error while decoding stream #0:0: Invalid data found when", "status 1", False),
    (1, "Error closing file file:/o: No space left on device", "disk is full", False),
    (-9, "", "SIGKILL (was the memory used up?)", False),
    (-250, "", "signal 250", False),
    (3, "", "ffmpeg ended with status 3", False),
    (1, "    title           : Unknown encoder 'x'", "status 1", False),
]


@pytest.mark.parametrize(("status", "tail", "words", "hopeless"), FAILURES)
def test_a_failure_is_told_in_plain_words(
    status: int, tail: str, words: str, hopeless: bool
) -> None:
    assert words in failure_reason(status, tail)
    assert is_hopeless(tail) is hopeless


@pytest.mark.parametrize(
    "line",
    [
        "[png @ 0x1] [IMGUTILS @ 0x2] Picture size 16000x16000 exceeds specified max pixel count 9",
        "[vist#0:0/png @ 0x3] [dec:png @ 0x1] [IMGUTILS @ 0x2] Picture size 16000x16000 exceeds "
        "specified max pixel count 9, see the documentation if you wish to increase it",
    ],
)
def test_a_frame_that_was_refused_for_its_size_is_told_with_the_figure(line: str) -> None:
    found = oversize(f"Stream mapping:\n{line}\nExiting normally")

    assert found == "a frame of it is too large: 16000x16000 pixels; max_pixels allows 9"


def test_words_of_a_tag_are_no_refusal() -> None:
    assert oversize("  title : Picture size 1x1 exceeds specified max pixel count 9") is None


def test_a_full_disk_is_trouble_of_the_machine_and_never_hopeless() -> None:
    tail = "file:/a: Invalid data found when processing\n[out#0 @ 0x1] x: No space left on device"

    assert is_disk_full(tail)
    assert not is_hopeless(tail)


def test_encoders_are_found_in_every_spelling() -> None:
    args = ["-c:v", "libx264", "-c:a:0", "aac", "-c:a:1", "copy", "-vcodec", "x"]
    args += ["-codec:s", "srt", "-c", "flac", "-crf", "libvpx"]

    assert encoders_named(args) == {"libx264", "aac", "x", "srt", "flac"}


def test_the_listing_of_encoders_and_the_version_are_read() -> None:
    listing = " V..... = Video\n ------\n V....D libx264   H.264\n A..X.. opus   Opus\n"

    assert parse_encoders(listing) == {"libx264", "opus"}
    assert parse_version("ffmpeg version 5.1.9-0+deb12u1 Copyright") == "5.1.9-0+deb12u1"
    assert parse_version("sh: not found") is None

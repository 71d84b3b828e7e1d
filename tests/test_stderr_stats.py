"""What ffmpeg says it read and wrote: real lines of 5.1.9 and 9.0.2, and any bytes at all."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from watchconv.encode.classify import failure
from watchconv.encode.ffmpeg_output import Route, StderrReader, StreamCount, StreamCounts

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


def read(said: bytes) -> StderrReader:
    reader = StderrReader()
    reader.feed(said)
    reader.close()
    return reader


def chunked(whole: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    return [whole[a:b] for a, b in itertools.pairwise(edges)]


def test_the_counts_of_the_old_ffmpeg() -> None:
    assert read(OLD).counts(duplicated=1, dropped=2) == StreamCounts(
        (StreamCount(0, 0, "video", 14, 14, 0), StreamCount(0, 1, "audio", 21, None, 0)),
        (StreamCount(0, 0, "video", 14, 14), StreamCount(0, 1, "audio", 31, None)),
        (Route((0, 0), (0, 0)), Route((0, 1), (0, 1))),
        1,
        2,
    )


def test_the_errors_that_the_old_ffmpeg_tells_one_by_one_are_counted() -> None:
    error = "Error while decoding stream #0:0: Invalid data found when processing input\n"
    told = f"{error}    Last message repeated 3 times\n[aac @ 0x5] {error}{error}"

    counts = read(told.encode() + OLD).counts()

    assert counts
    assert [count.errors for count in counts.inputs] == [5, 0]


def test_the_counts_of_the_new_ffmpeg() -> None:
    counts = read(NEW).counts()

    assert counts is not None
    assert counts.inputs[1] == StreamCount(0, 1, "audio", 21, 21, 1)
    assert counts.outputs[1] == StreamCount(0, 1, "audio", 30, 322)
    assert [route.output for route in counts.routes] == [(0, 0), (0, 1)]


def test_streams_that_enter_a_graph_have_no_single_way_out() -> None:
    counts = read(GRAPH).counts()

    assert counts is not None
    assert counts.routes == (
        Route((0, 0), None),
        Route((0, 1), None),
        Route((0, 2), (0, 3)),
    )


def test_without_closing_lines_there_are_no_counts() -> None:
    assert read(b"Stream mapping:\n  Stream #0:0 -> #0:0 (copy)\n").counts() is None


@given(st.lists(st.integers(0, len(NEW))))
def test_the_counts_is_the_same_in_any_chunks(cuts: list[int]) -> None:
    reader = StderrReader()
    for chunk in chunked(NEW, cuts):
        reader.feed(chunk)
    reader.close()

    assert reader.counts() == read(NEW).counts()
    assert reader.tail == read(NEW).tail


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=5))
def test_any_bytes_in_any_chunks_give_the_same_tail(junk: bytes, cuts: list[int]) -> None:
    reader = StderrReader()
    for chunk in chunked(junk, cuts):
        reader.feed(chunk)
    reader.close()

    assert reader.tail == read(junk).tail
    failure(1, reader.tail)


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

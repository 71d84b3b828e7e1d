"""What ffmpeg says on its progress pipe: real blocks, and any bytes at all."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchconv.encode.ffmpeg_output import ProgressTracker, progress_of
from watchconv.model import Progress

PROGRESS = b"""\
frame=1\nfps=0.00\ntotal_size=4632\nout_time_us=98000\nout_time=00:00:00.098000\n\
dup_frames=0\ndrop_frames=0\nspeed=10.8x\nprogress=continue\n\
frame=63\nfps=21.5\ntotal_size=N/A\nout_time_us=N/A\ndup_frames=2\ndrop_frames=8\n\
speed=N/A\nprogress=continue\n\
frame=64\nout_time_us=-9223372036854775808\nspeed=   2x\nprogress=end\n"""


def chunked(whole: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    return [whole[a:b] for a, b in itertools.pairwise(edges)]


def test_progress_is_read_block_by_block() -> None:
    tracker = ProgressTracker(None)
    found: list[tuple[Progress | None, int, int]] = [
        (tracker.progress, tracker.duplicated, tracker.dropped)
    ]
    for line in PROGRESS.splitlines(keepends=True):
        tracker.feed(line)
        if line.startswith(b"progress="):
            found.append((tracker.progress, tracker.duplicated, tracker.dropped))

    assert found == [
        (None, 0, 0),
        (Progress(0.098, 1, None, 10.8, None, None), 0, 0),
        (Progress(0.0, 63, 21.5, None, None, None), 2, 8),
        (Progress(0.0, 64, None, 2.0, 1.0, 0.0), 0, 0),
    ]
    assert tracker.bytes == 4632


@given(st.integers(0, len(PROGRESS)), st.lists(st.integers(0, len(PROGRESS))))
def test_progress_is_the_same_in_any_chunks(length: int, cuts: list[int]) -> None:
    said = PROGRESS[:length]
    whole, pieces = ProgressTracker(9.0), ProgressTracker(9.0)

    further = [pieces.feed(chunk) for chunk in chunked(said, cuts)]

    assert whole.feed(said) is any(further)
    assert pieces.progress == whole.progress
    assert (pieces.seconds, pieces.bytes) == (whole.seconds, whole.bytes)


@given(st.binary(max_size=300), st.sampled_from([b"out_time_us=", b"speed=", b"frame=", b""]))
def test_no_bytes_upset_the_tracker(junk: bytes, key: bytes) -> None:
    tracker = ProgressTracker(None)
    tracker.feed(key + junk + b"\nprogress=end\n")

    assert tracker.progress
    assert tracker.progress.fraction == 1.0


def test_an_encode_gets_further_by_time_or_by_bytes_and_only_beyond_where_it_was() -> None:
    tracker = ProgressTracker(10.0)

    def update(micros: int, size: int) -> tuple[bool, float | None]:
        block = f"out_time_us={micros}\ntotal_size={size}\nprogress=continue\n"
        further = tracker.feed(block.encode())
        return further, tracker.progress.fraction if tracker.progress else None

    assert update(5_000_000, 100) == (True, 0.5)
    assert update(5_000_000, 100) == (False, 0.5)
    assert update(1_000_000, 100) == (False, 0.1)  # a muxer that starts anew, again and again
    assert update(1_000_000, 101) == (True, 0.1)
    assert not tracker.feed(b"out_time_us=9000000\n")  # half a block
    assert tracker.seconds == 5.0
    assert tracker.bytes == 101


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
    block = {"out_time_us": out * 1e6} | ({"speed": speed} if speed else {})
    progress = progress_of(block, duration, ended=False)

    assert (progress.fraction, progress.eta_seconds) == (fraction, eta)


def test_the_end_is_the_whole() -> None:
    assert progress_of({}, None, ended=True).fraction == 1.0

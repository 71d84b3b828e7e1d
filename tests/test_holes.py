"""Files with holes: half loaded ones of every container, and whole ones copied sparsely."""

from __future__ import annotations

import errno
import functools
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clips import FFMPEG
from watchconv.media.container import Ending, container_end
from watchconv.media.holes import Hole, Holes, file_end, holes_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BLOCK = 4096
NOISE = "testsrc2=s=320x240:r=25:d=3,noise=alls=40"
LOSSY = ("-c:v", "mpeg2video", "-b:v", "2M", "-c:a", "mp2")
MPEG4 = ("-c:v", "mpeg4", "-b:v", "2M", "-c:a", "aac")
# suffix -> what it is made with; about 700 KB each
HALF_LOADED = {
    "mkv": (".mkv", MPEG4),
    "live mkv": (".mkv", (*MPEG4, "-live", "1", "-f", "matroska")),
    "webm": (
        ".webm",
        ("-c:v", "libvpx", "-b:v", "2M", "-deadline", "realtime", "-c:a", "libvorbis"),
    ),
    "mp4, index last": (".mp4", MPEG4),
    "mp4, index first": (".mp4", (*MPEG4, "-movflags", "+faststart")),
    "fragmented mp4": (".mp4", (*MPEG4, "-g", "12", "-movflags", "frag_keyframe+empty_moov")),
    "mov": (".mov", (*MPEG4[:-1], "pcm_s16le")),
    "avi": (".avi", (*MPEG4[:-1], "mp3")),
    "ts": (".ts", LOSSY),
    "m2ts": (".m2ts", LOSSY),
    "mpg": (".mpg", LOSSY),
    "flv": (".flv", ("-c:v", "flv", "-b:v", "2M", "-c:a", "mp3", "-ar", "44100")),
    "asf": (".asf", ("-c:v", "wmv2", "-b:v", "2M", "-c:a", "wmav2")),
}
BLACK = "color=black:s=640x480:r=5:d=1"
RAW = ("-c:v", "rawvideo", "-pix_fmt", "rgb24")
# what has long zeros of its own
WHOLE = {
    "raw pictures in mkv": (".mkv", BLACK, (*RAW, "-allow_raw_vfw", "1")),
    "raw pictures in avi": (".avi", BLACK, (*RAW[:-1], "bgr24")),
    "raw pictures in mov": (".mov", BLACK, RAW),
    "silence in mov": (".mov", "testsrc=s=64x48:r=5:d=1", ("-c:v", "mpeg4", "-c:a", "pcm_s16le")),
    "silence in mkv": (".mkv", "testsrc=s=64x48:r=5:d=1", ("-c:v", "mpeg4", "-c:a", "pcm_s16le")),
    "silence in avi": (".avi", "testsrc=s=64x48:r=5:d=1", ("-c:v", "mpeg4", "-c:a", "pcm_s16le")),
    "room for an index in mp4": (
        ".mp4",
        "testsrc=s=64x48:r=5:d=1",
        ("-c:v", "mpeg4", "-moov_size", "200000"),
    ),
    "room for an index in mkv": (
        ".mkv",
        "testsrc=s=64x48:r=5:d=1",
        ("-c:v", "mpeg4", "-reserve_index_space", "200000"),
    ),
}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    folder = tmp_path_factory.mktemp("made")

    @functools.cache
    def make(suffix: str, picture: str, sound: str, args: tuple[str, ...]) -> bytes:
        path = folder / f"clip{suffix}"
        inputs = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-shortest")
        argv = [FFMPEG, "-v", "error", "-y", *inputs, *args, str(path)]
        subprocess.run(argv, check=True, timeout=60)
        return path.read_bytes()

    return make


def write_sparsely(path: Path, content: bytes, holes: tuple[tuple[int, int], ...] = ()) -> int:
    """Write a file as cp --sparse=always does, some ranges left out; return its descriptor."""
    for begin, end in holes:
        content = content[:begin] + bytes(end - begin) + content[end:]
    with path.open("wb") as file:
        for at in range(0, len(content), BLOCK):
            if any(block := content[at : at + BLOCK]):
                os.pwrite(file.fileno(), block, at)
        file.truncate(len(content))
    return os.open(path, os.O_RDONLY)


def end_of(descriptor: int) -> tuple[Ending, str]:
    """Ask, and see that the descriptor's offset stays; close it."""
    os.lseek(descriptor, 3, os.SEEK_SET)
    end = file_end(descriptor, os.fstat(descriptor).st_size)

    assert os.lseek(descriptor, 0, os.SEEK_CUR) == 3

    os.close(descriptor)
    return end.ending, end.detail


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """Give a path on a file system that tells of holes."""
    path = tmp_path / "clip"
    descriptor = write_sparsely(path, b"x" + bytes(1 << 20) + b"x")
    try:
        if not holes_of(descriptor, 1 << 20).all:
            pytest.skip("this file system does not tell of holes")
    finally:
        os.close(descriptor)
    return path


@pytest.mark.parametrize("kind", HALF_LOADED)
def test_a_half_loaded_file_of_its_final_size_is_incomplete(
    kind: str, make: Callable[..., bytes], sparse: Path
) -> None:
    suffix, args = HALF_LOADED[kind]
    content = make(suffix, NOISE, "anoisesrc=d=3", args)
    size = len(content)
    begin, end = (size * share // 10 // BLOCK * BLOCK for share in (3, 8))

    assert size > 400_000
    assert end_of(write_sparsely(sparse, content))[0] is not Ending.INCOMPLETE
    ending, detail = end_of(write_sparsely(sparse, content, ((begin, end),)))
    assert ending is Ending.INCOMPLETE
    assert detail == f"nothing was ever written from byte {begin:,} to byte {end:,}"


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_file_with_zeros_of_its_own_may_be_copied_sparsely(
    kind: str, make: Callable[..., bytes], sparse: Path
) -> None:
    suffix, picture, args = WHOLE[kind]
    content = make(suffix, picture, "anullsrc=r=96000:cl=7.1,atrim=0:1", args)
    descriptor = write_sparsely(sparse, content)

    assert holes_of(descriptor, len(content)).all
    assert end_of(descriptor)[0] is not Ending.INCOMPLETE


# a recorder's shell: zeros behind the container's own end


@pytest.mark.parametrize("zeros", [3000, 50_000])
@pytest.mark.parametrize("kind", ["mkv", "webm", "avi", "mp4, index last", "mp4, index first"])
def test_a_whole_container_in_a_preallocated_file_is_not_waited_for(
    kind: str, zeros: int, make: Callable[..., bytes], sparse: Path
) -> None:
    suffix, args = HALF_LOADED[kind]
    content = make(suffix, NOISE, "anoisesrc=d=3", args)

    assert end_of(write_sparsely(sparse, content + bytes(zeros)))[0] is not Ending.INCOMPLETE


@pytest.mark.parametrize("share", [3, 7, 9])
@pytest.mark.parametrize("kind", ["mkv", "webm", "avi"])
def test_a_container_whose_end_is_still_zeros_is_waited_for(
    kind: str, share: int, make: Callable[..., bytes], sparse: Path
) -> None:
    suffix, args = HALF_LOADED[kind]
    content = make(suffix, NOISE, "anoisesrc=d=3", args)
    begin = len(content) * share // 10 // BLOCK * BLOCK
    written = ((begin, len(content)),)

    assert end_of(write_sparsely(sparse, content, written))[0] is Ending.INCOMPLETE
    padded = write_sparsely(sparse, content + bytes(50_000), written)
    assert end_of(padded)[0] is Ending.INCOMPLETE


@pytest.mark.parametrize(
    ("share", "is_live", "ending"),
    [
        (1.0, False, Ending.NO_WORD),
        (0.6, False, Ending.INCOMPLETE),
        (0.6, True, Ending.NO_WORD),  # a live one does not know how long it will be
    ],
)
def test_a_windows_media_file_says_how_long_it_is(
    share: float, is_live: bool, ending: Ending, make: Callable[..., bytes], sparse: Path
) -> None:
    suffix, args = HALF_LOADED["asf"]
    content = bytearray(make(suffix, NOISE, "anoisesrc=d=3", args))
    flags = content.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")) + 88
    content[flags] |= is_live
    cut = bytes(content[: int(len(content) * share)])

    assert end_of(write_sparsely(sparse, cut))[0] is ending


# the holes themselves


@pytest.mark.parametrize(
    ("begin", "end", "found"),
    [(0, 4, None), (0, 5, 0), (9, 10, 0), (10, 20, None), (19, 21, 1), (25, 26, 1), (30, 99, None)],
)
def test_a_range_may_have_bytes_in_a_hole(begin: int, end: int, found: int | None) -> None:
    holes = Holes([Hole(4, 10), Hole(20, 30)])

    assert holes.within(begin, end) == (None if found is None else holes.all[found])


@pytest.mark.parametrize(
    ("content", "holes"),
    [
        (b"", []),
        (b"x" * BLOCK, []),
        (bytes(4 * BLOCK), [(0, 4 * BLOCK)]),
        (b"x" + bytes(4 * BLOCK), [(BLOCK, 4 * BLOCK + 1)]),
        (b"x" + bytes(4 * BLOCK) + b"x", [(BLOCK, 4 * BLOCK)]),
    ],
)
def test_holes_are_where_nothing_was_written(
    sparse: Path, content: bytes, holes: list[tuple[int, int]]
) -> None:
    descriptor = write_sparsely(sparse, content)

    assert [tuple(hole) for hole in holes_of(descriptor, len(content)).all] == holes

    os.close(descriptor)


@pytest.mark.parametrize(
    ("code", "raises"), [(errno.EINVAL, False), (errno.EOPNOTSUPP, False), (errno.EIO, True)]
)
def test_a_file_system_that_does_not_tell_has_no_holes_and_a_failing_one_says_so(
    sparse: Path, monkeypatch: pytest.MonkeyPatch, code: int, *, raises: bool
) -> None:
    real = os.lseek

    def lseek(descriptor: int, at: int, whence: int) -> int:
        if whence in (os.SEEK_HOLE, os.SEEK_DATA):
            raise OSError(code, os.strerror(code))
        return real(descriptor, at, whence)

    monkeypatch.setattr(os, "lseek", lseek)
    descriptor = os.open(sparse, os.O_RDONLY)
    if raises:
        with pytest.raises(OSError, match="output error"):
            holes_of(descriptor, 1 << 20)
    else:
        assert holes_of(descriptor, 1 << 20).all == []
    os.close(descriptor)


@settings(deadline=None)
@given(
    st.sampled_from([b"\x1a\x45\xdf\xa3", b"\0\0\0\x14ftypisom", b"RIFF\xff\0\0\0AVI ", b"FLV\1"]),
    st.lists(st.one_of(st.binary(max_size=64), st.integers(1, 3)), max_size=12),
)
def test_whatever_a_file_with_holes_holds_there_is_an_answer(
    head: bytes, parts: list[bytes | int]
) -> None:
    descriptor = os.memfd_create("clip")
    try:
        size = 0
        for part in [head, *parts]:
            if isinstance(part, int):
                size += part * BLOCK
            else:
                os.pwrite(descriptor, part, size)
                size += len(part)
        os.truncate(descriptor, size)
        known = container_end(descriptor, size)
        found = file_end(descriptor, size)

        assert found == known or found.ending is Ending.INCOMPLETE
    finally:
        os.close(descriptor)

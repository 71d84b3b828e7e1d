"""What a player shows of a file: colours of every pixel format, turned as the file says."""

from __future__ import annotations

import math
import subprocess
from typing import TYPE_CHECKING, Any

import av
import pytest

from tests.clips import FFMPEG
from tests.test_probe import opened, working
from watchconv.media.colors import CELLS, mean_colors, turn

if TYPE_CHECKING:
    from pathlib import Path

    from watchconv.media.facts import Picture

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
QUARTERS = (
    "color=red:s=64x48:r=10:d=2[a];color=lime:s=64x48:r=10:d=2[b];"
    "color=blue:s=64x48:r=10:d=2[c];color=white:s=64x48:r=10:d=2[d];"
    "[a][b]hstack[e];[c][d]hstack[f];[e][f]vstack"
)
FORMATS = [
    *("yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj444p", "yuva420p", "yuv410p", "yuv411p"),
    *("yuv440p", "yuv420p10le", "yuv422p10be", "yuv444p12le", "yuva444p10le", "gbrp", "gbrap"),
    *("gbrp10le", "gbrp16be", "rgb24", "bgr24", "rgba", "bgra", "argb", "abgr", "rgb0", "0rgb"),
    *("rgb48le", "bgr48be", "rgba64le", "nv12", "nv21", "nv16", "nv24", "p010le", "p210le"),
    *("yuyv422", "uyvy422", "yvyu422"),
]
GRAYS = ["gray", "gray10le", "gray16be", "ya8", "ya16le"]


def patches(pixels: str, *, matrix: str = "bt601", size: str = "128x96") -> Any:
    """Decode red, green, blue and white quarters in a pixel format; ffmpeg only converts them."""
    raw = subprocess.run(
        [FFMPEG, "-v", "error", "-f", "lavfi", "-i", QUARTERS, "-frames:v", "1", "-vf",
         f"scale={size.replace('x', ':')}:out_color_matrix={matrix},format={pixels}",
         "-f", "rawvideo", "-"],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    width, height = map(int, size.split("x"))
    frame = av.VideoFrame(width, height, pixels)
    at = 0
    for index, plane in enumerate(frame.planes):
        # raw video has no padding: its lines are as long as what is seen of them
        lines = plane.height
        length = (
            (len(raw) - at) // lines if len(frame.planes) == 1 else line_of(frame, plane, index)
        )
        data = bytearray(plane.buffer_size)
        for y in range(lines):
            data[y * plane.line_size : y * plane.line_size + length] = raw[at : at + length]
            at += length
        plane.update(bytes(data))
    assert at == len(raw)
    return frame


def line_of(frame: Any, plane: Any, index: int) -> int:
    inside = [c for c in frame.format.components if c.plane == index]
    return int(plane.width * sum(-(-c.bits // 8) for c in inside))


def corner(colors: bytes, row: int, column: int) -> tuple[int, ...]:
    at = 3 * (row * CELLS + column)
    return tuple(colors[at : at + 3])


def close(found: tuple[int, ...], wanted: tuple[int, ...], within: int = 4) -> bool:
    return all(abs(a - b) <= within for a, b in zip(found, wanted, strict=True))


def corners(colors: bytes) -> list[tuple[int, ...]]:
    return [corner(colors, row, column) for row in (3, 12) for column in (3, 12)]


@pytest.mark.parametrize("pixels", FORMATS)
def test_every_pixel_format_shows_its_colours(pixels: str) -> None:
    colors = mean_colors(patches(pixels)) or b""
    found = corners(colors)

    assert len(colors) == 3 * CELLS * CELLS
    assert all(map(close, found, (RED, GREEN, BLUE, WHITE))), found


@pytest.mark.parametrize("pixels", GRAYS)
def test_grey_is_shown_as_grey(pixels: str) -> None:
    found = corners(mean_colors(patches(pixels)) or b"")

    assert close(found[3], WHITE)
    assert all(one[0] == one[1] == one[2] for one in found)
    assert found[1][0] > found[0][0] > found[2][0]


def test_what_cannot_be_read_shows_nothing() -> None:
    for pixels in ("monow", "bayer_rggb8", "gbrpf32le", "rgb565le"):
        assert mean_colors(av.VideoFrame(64, 48, pixels)) is None


@pytest.mark.parametrize(
    ("size", "matrix"), [("128x96", "bt601"), ("1280x720", "bt709"), ("720x576", "bt601")]
)
def test_without_a_tag_the_lines_tell_the_matrix(size: str, matrix: str) -> None:
    found = corners(mean_colors(patches("yuv420p", matrix=matrix, size=size)) or b"")

    assert all(map(close, found, (RED, GREEN, BLUE, WHITE))), found


@pytest.mark.parametrize(("matrix", "number"), [("bt709", 1), ("bt601", 6), ("bt2020nc", 9)])
def test_a_tag_is_believed(matrix: str, number: int) -> None:
    frame = patches("yuv444p", matrix=matrix)
    frame.colorspace = number
    found = corners(mean_colors(frame) or b"")

    assert all(map(close, found, (RED, GREEN, BLUE, WHITE))), found


@pytest.mark.parametrize(
    ("rotation", "flipped", "wanted"),
    [
        (0, False, "rgbw"),
        (90, False, "brwg"),
        (180, False, "wbgr"),
        (270, False, "gwrb"),
        (0, True, "grwb"),
        (90, True, "wgbr"),
    ],
)
def test_a_picture_is_mirrored_and_then_turned_clockwise(
    rotation: int, flipped: bool, wanted: str
) -> None:
    colors = turn(mean_colors(patches("rgb24")) or b"", rotation, flipped=flipped)
    names = {"r": RED, "g": GREEN, "b": BLUE, "w": WHITE}

    assert all(map(close, corners(colors), [names[one] for one in wanted]))


def decibels(one: Picture, other: Picture) -> float:
    pairs = zip(one.colors, other.colors, strict=True)
    error = sum((a - b) ** 2 for a, b in pairs) / len(one.colors)
    return 99.0 if not error else 10 * math.log10(255**2 / error)


def run(*words: object) -> None:
    subprocess.run([FFMPEG, "-v", "error", *map(str, words)], check=True)


def look(path: Path, *moments: float, spread: int = 2) -> tuple[tuple[Picture, ...], ...]:
    with working() as worker, opened(path) as fd:
        return worker.look(fd, 0, moments, spread)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("look") / "a.mp4"
    run("-f", "lavfi", "-i", "testsrc2=s=160x120:r=10:d=4", "-c:v", "mpeg4", "-q:v", 2, path)
    return path


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
@pytest.mark.parametrize("mirror", ["", "-display_hflip", "-display_vflip"])
def test_a_file_looks_as_ffmpeg_turns_it(
    clip: Path, tmp_path: Path, turned: int, mirror: str
) -> None:
    original, encoded = tmp_path / "a.mp4", tmp_path / "b.mp4"
    mirrors = [mirror] if mirror else []
    run("-display_rotation", turned, *mirrors, "-i", clip, "-c", "copy", original)
    run("-i", original, "-c:v", "mpeg4", "-q:v", 2, encoded)
    for one, other in zip(look(original, 0.5), look(encoded, 0.5), strict=True):
        assert decibels(one[2], other[2]) > 25
    if turned or mirror:
        (lost,) = look(clip, 0.5)
        assert max(decibels(one[2], picture) for picture in lost) < 18


@pytest.mark.parametrize("container", ["mp4", "mkv", "avi", "mpg", "ts", "flv", "nut"])
def test_moments_are_found_in_every_container(clip: Path, tmp_path: Path, container: str) -> None:
    path = tmp_path / f"a.{container}"
    codec = "flv" if container == "flv" else "mpeg2video"
    run("-i", clip, "-r", 25, "-c:v", codec, "-q:v", 2, path)
    with working() as worker, opened(path) as fd:
        start = worker.probe(fd).tracks[0].start_seconds or 0.0
        found = worker.look(fd, 0, [start + 1.0, start + 3.0, start + 2.0])

    for moment, pictures in zip((1.0, 3.0, 2.0), found, strict=True):
        assert len(pictures) == 5
        assert any(abs(one.at - start - moment) < 0.03 for one in pictures)


def test_a_moment_behind_the_end_shows_the_end_or_nothing(clip: Path) -> None:
    (pictures,) = look(clip, 60.0)

    assert len(pictures) <= 5


@pytest.mark.parametrize("track", [-1, 7])
def test_what_is_no_video_is_not_looked_at(clip: Path, track: int) -> None:
    from watchconv.media.probe_protocol import ProbeFailed

    with working() as worker, opened(clip) as fd, pytest.raises(ProbeFailed, match="no such"):
        worker.look(fd, track, [0.0])


def test_what_is_shown_after_a_seek_stands_on_a_whole_picture(tmp_path: Path) -> None:
    """MPEG-4 shows grey from the middle of a group on, and a transport stream has no index."""
    seen = []
    for name in ("a.ts", "a.mkv"):
        path = tmp_path / name
        subprocess.run(
            [FFMPEG, "-v", "error", "-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=4", "-c:v",
             "mpeg4", "-bitexact", path],
            check=True,
        )  # fmt: skip
        with working() as worker, opened(path) as fd:
            start = worker.examine(fd, path.stat().st_size, sandbox="off").contents[0].start or 0.0
            moments = [start + at for at in (0.8, 2.0, 3.2)]
            seen.append(worker.look(fd, 0, moments, sandbox="off"))

    for of_stream, of_index in zip(*seen, strict=True):
        assert [picture.colors for picture in of_stream] == [p.colors for p in of_index]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("a.mov", "-c:v qtrle"),
        ("a.mov", "-c:v prores_ks"),
        ("a.gif", ""),
        ("a.avi", "-c:v mjpeg"),
        ("a.avi", "-c:v rawvideo -pix_fmt yuv420p"),
        ("a.avi", "-c:v huffyuv"),
        ("a.mkv", "-c:v ffv1"),
        ("a.mkv", "-c:v libx264 -g 1000 -bf 3"),
        ("a.ts", "-c:v mpeg2video"),
        ("a.mpg", "-c:v mpeg1video"),
        ("a.flv", "-c:v flv"),
        ("a.webm", "-c:v libvpx-vp9 -deadline realtime"),
        ("a.ogv", "-c:v libtheora"),
    ],
)
def test_every_codec_shows_its_moments(tmp_path: Path, name: str, args: str) -> None:
    source = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=2"]
    argv = [FFMPEG, "-v", "error", *source, *args.split(), str(tmp_path / name)]
    subprocess.run(argv, check=True)
    with working() as worker, opened(tmp_path / name) as fd:
        start = worker.examine(fd, (tmp_path / name).stat().st_size, sandbox="off").contents[0]
        moments = [(start.start or 0.0) + at for at in (0.0, 0.9, 1.8)]

        assert all(worker.look(fd, 0, moments, sandbox="off"))


def test_a_film_whose_first_picture_is_cut_away_is_shown(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    source = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=4", "-c:v", "libx264", "-g", "1000"]
    subprocess.run([FFMPEG, "-v", "error", *source, str(whole)], check=True)
    argv = [FFMPEG, "-v", "error", "-ss", "1", "-i", str(whole), "-c", "copy", str(cut)]
    subprocess.run(argv, check=True)
    with working() as worker, opened(cut) as fd:
        assert worker.probe(fd, sandbox="off").tracks[0].discarded

        assert all(worker.look(fd, 0, [0.0, 1.5, 2.8], sandbox="off"))

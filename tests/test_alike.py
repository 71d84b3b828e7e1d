"""Whether two files show the same: pictures of colours, as the probe worker gives them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from watchconv.encode.look import compare, moments_of, picture_changer
from watchconv.media.facts import Content, Picture

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = range(16)
Color = tuple[float, float, float]


def picture(paint: Callable[[int, int], Color], at: float = 1.0) -> Picture:
    colors = bytes(
        max(0, min(255, round(part))) for y in SIDE for x in SIDE for part in paint(x, y)
    )
    return Picture(at, colors)


def scene(x: int, y: int) -> Color:
    return (x * 16, 255 - y * 16, 128 + 100 * math.sin(x * y))


def noisy(x: int, y: int) -> Color:
    r, g, b = scene(x, y)
    return (r + (x * 7 + y * 3) % 9 - 4, g - (x + y) % 7 + 3, b)


def turned(x: int, y: int) -> Color:
    return scene(y, 15 - x)


def mirrored(x: int, y: int) -> Color:
    return scene(15 - x, y)


def cut(x: int, y: int) -> Color:
    return scene(min(15, x // 2 + 4), y)


def mapped(x: int, y: int) -> Color:
    return tuple(255 * (part / 255) ** 0.6 for part in scene(x, y))


def black(x: int, y: int) -> Color:
    return (0, 0, 0)


def almost_black(x: int, y: int) -> Color:
    return (1, (x + y) % 2, 2)


LOOKS = [
    pytest.param(noisy, False, True, id="an encode"),
    pytest.param(turned, False, False, id="a lost rotation"),
    pytest.param(mirrored, False, False, id="a lost flip"),
    pytest.param(cut, False, False, id="a cut"),
    pytest.param(black, False, False, id="nothing"),
    pytest.param(mapped, True, True, id="mapped tones"),
    pytest.param(turned, True, False, id="mapped tones, lost rotation"),
]


@pytest.mark.parametrize(("shown", "is_tone_mapped", "is_right"), LOOKS)
def test_a_right_output_looks_like_its_original(
    shown: Callable[[int, int], Color], is_tone_mapped: bool, is_right: bool
) -> None:
    look = compare([(picture(scene),)], [(picture(shown),)], is_tone_mapped=is_tone_mapped)

    assert look is not None
    assert look.is_right is is_right


@pytest.mark.parametrize("is_tone_mapped", [True, False])
def test_black_looks_like_black(is_tone_mapped: bool) -> None:
    look = compare([(picture(black),)], [(picture(almost_black),)], is_tone_mapped=is_tone_mapped)

    assert look is not None
    assert look.is_right


def test_the_best_of_the_frames_around_counts_and_the_worst_of_the_moments() -> None:
    around = (picture(turned), picture(noisy), picture(cut))
    right, wrong = (picture(scene),), (picture(mirrored, at=7.0),)

    assert compare([around], [right]) == compare([(picture(noisy),)], [right])
    found = compare([right, right], [right, wrong])
    assert found is not None
    assert (found.is_right, found.at) == (False, 7.0)


def test_where_nothing_is_seen_nothing_is_said() -> None:
    assert compare([()], [(picture(scene),)]) is None
    assert compare([], []) is None


def test_files_are_looked_at_in_three_places_of_their_own_time() -> None:
    content = Content(0, "video", "h264", 100, decodes=True, start=1.5, end=11.5)

    assert moments_of(content) == [3.5, 6.5, 9.5]


@pytest.mark.parametrize(
    ("args", "changer"),
    [
        (["-c:v", "libx264"], None),
        (["-filter:v", "bwdif=mode=send_frame,pad=ceil(iw/2)*2:ceil(ih/2)*2,format=yuv420p"], None),
        (["-vf", "zscale=t=linear:npl=203,tonemap=mobius,setparams=range=tv"], None),
        (["-vf", "scale=-2:720,crop=100:100"], "the filter crop"),
        (["-vf", "pad=1920:1080:(ow-iw)/2"], "the filter pad"),
        (["-filter_complex", "[0:v]overlay=10:10[a]"], "the filter overlay"),
        (["-filter:v:0", "transpose=1"], "the filter transpose"),
        (["-aspect", "4:3"], "-aspect"),
    ],
)
def test_only_filters_that_leave_a_picture_what_it_is_are_looked_behind(
    args: list[str], changer: str | None
) -> None:
    assert picture_changer(args) == changer

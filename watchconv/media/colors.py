"""What a player shows of a decoded frame: 16x16 mean colours, turned upright. Pure.

Computed from the planes by the definitions of the colour spaces and by nothing of ffmpeg's, so
that ffmpeg does not judge itself. HDR stays as it is stored. Transparency counts for nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from watchconv.media.facts import HD_LINES

if TYPE_CHECKING:
    from collections.abc import Sequence

CELLS = 16
COLUMNS, ROWS = 8, 6  # of a cell that are looked at
BT709, BT601, BT2020 = (0.2126, 0.0722), (0.299, 0.114), (0.2627, 0.0593)
# of red and of blue, by the numbers of ITU-T H.273
WEIGHTS = {
    1: BT709, 4: (0.30, 0.11), 5: BT601, 6: BT601, 7: (0.212, 0.087), 9: BT2020, 10: BT2020,
}  # fmt: skip
_PLANAR = re.compile(r"(yuvj?|yuva|gbra?|gray)(4\d\d)?p?(\d+)?(le|be)?")
_MIDDLE = ("nv", "p0", "p2", "p4")  # brightness apart, both colours together
# the places of red, green and blue in a pixel, its bytes, and the bytes of each
_PACKED = {
    "rgb24": (0, 1, 2, 3, 1), "bgr24": (2, 1, 0, 3, 1),
    "rgba": (0, 1, 2, 4, 1), "rgb0": (0, 1, 2, 4, 1), "bgra": (2, 1, 0, 4, 1),
    "bgr0": (2, 1, 0, 4, 1), "argb": (1, 2, 3, 4, 1), "0rgb": (1, 2, 3, 4, 1),
    "abgr": (3, 2, 1, 4, 1), "0bgr": (3, 2, 1, 4, 1),
    "rgb48": (0, 2, 4, 6, 2), "bgr48": (4, 2, 0, 6, 2),
    "rgba64": (0, 2, 4, 8, 2), "bgra64": (4, 2, 0, 8, 2),
}  # fmt: skip
# of brightness and both colours, in two pixels that share the colours
_SHARED = {"yuyv422": (0, 1, 3), "uyvy422": (1, 0, 2), "yvyu422": (0, 3, 1)}


class Part(NamedTuple):
    """Where one component of a picture lies."""

    plane: int
    offset: int  # of its first value in a row, in bytes
    step: int  # from one value to the next
    size: int  # bytes of a value
    big_endian: bool
    across: int = 1  # pixels of the picture for each value of a row
    down: int = 1
    scale: float = 1 / 255  # what makes its largest value 1
    zero: float = 0.0  # the value, after that, which stands for none

    def reaching(self, bits: int, *, color: bool = False) -> Part:
        """Return it scaled so that it uses all values; a colour lies around zero."""
        most = (1 << bits) - 1
        return self._replace(scale=1 / most, zero=(1 << bits - 1) / most if color else 0.0)


class Layout(NamedTuple):
    """How the pictures of one format are stored."""

    parts: tuple[Part, ...]  # one: grey; three: red, green, blue or brightness and two colours
    is_rgb: bool


def layout_of(pixels: Any, *, full_range: bool) -> Layout | None:
    """Say where a pixel format (PyAV's) keeps its colours; None: it is not known."""
    name: str = pixels.name
    big = name.endswith("be")
    if packed := _PACKED.get(name.removesuffix("le").removesuffix("be")):
        *places, step, size = packed
        parts = [Part(0, place, step, size, big) for place in places]
        return Layout(tuple(part.reaching(8 * size) for part in parts), True)
    if shared := _SHARED.get(name):
        light, *places = shared
        return _luma_and_chroma(
            8, full_range, Part(0, light, 2, 1, big), *(Part(0, p, 4, 1, big, 2) for p in places)
        )
    across = 64 // (pixels.chroma_width(64) or 64)
    down = 64 // (pixels.chroma_height(64) or 64)
    bits = max((part.bits for part in pixels.components), default=8)
    size = 1 if bits <= 8 else 2
    if name[:2] in _MIDDLE and name[2:3].isdigit():
        places = [size, 0] if name.startswith(("nv21", "nv42")) else [0, size]
        return _luma_and_chroma(
            8 * size,  # fewer bits lie in the upper ones
            full_range,
            Part(0, 0, size, size, big),
            *(Part(1, place, 2 * size, size, big, across, down) for place in places),
        )
    if name in ("ya8", "ya16le", "ya16be"):
        return Layout((Part(0, 0, 2 * size, size, big).reaching(bits),), False)
    found = _PLANAR.fullmatch(name)
    if not found or bits > 16:
        return None
    planes = [Part(plane, 0, size, size, big) for plane in range(3)]
    if found[1] == "gray":  # which players take for full range
        return Layout((planes[0].reaching(bits),), False)
    if found[1].startswith("gbr"):
        return Layout(tuple(planes[plane].reaching(bits) for plane in (2, 0, 1)), True)
    colors = (part._replace(across=across, down=down) for part in planes[1:])
    return _luma_and_chroma(bits, full_range or found[1] == "yuvj", planes[0], *colors)


def _luma_and_chroma(bits: int, full: bool, light: Part, *colors: Part) -> Layout:
    if full:
        parts = light.reaching(bits), *(part.reaching(bits, color=True) for part in colors)
    else:
        unit = 1 << (bits - 8)
        parts = (
            light._replace(scale=1 / (219 * unit), zero=16 / 219),
            *(part._replace(scale=1 / (224 * unit), zero=128 / 224) for part in colors),
        )
    return Layout(parts, False)


def mean_colors(frame: Any) -> bytes | None:
    """Return the mean colours of a frame as it is stored, cell by cell; None: unknown format."""
    pixels = frame.format
    if pixels.name == "pal8":
        palette = bytes(frame.planes[1])
        # on this machine's byte order: blue, green, red, alpha
        tables = [palette[place::4] for place in (2, 1, 0)]
        part = Part(0, 0, 1, 1, False)
        means = [_means(frame, part, table) for table in tables]
        return _pack(*means)
    layout = layout_of(pixels, full_range=frame.color_range == 2)
    if layout is None:
        return None
    means = [_means(frame, part) for part in layout.parts]
    if len(means) == 1:
        return _pack(means[0], means[0], means[0])
    if layout.is_rgb:
        return _pack(*means)
    if frame.colorspace == 0:  # green, blue and red as if they were brightness and colours
        return _pack(*[[value + 0.5 * (at > 0) for value in means[at]] for at in (2, 0, 1)])
    hd = BT709 if frame.height >= HD_LINES else BT601
    red, blue = WEIGHTS.get(frame.colorspace, hd)
    green = 1 - red - blue
    reds, greens, blues = [], [], []
    for light, u, v in zip(*means, strict=True):
        r, b = light + 2 * (1 - red) * v, light + 2 * (1 - blue) * u
        reds.append(r)
        blues.append(b)
        greens.append((light - red * r - blue * b) / green)
    return _pack(reds, greens, blues)


def _means(frame: Any, part: Part, table: bytes | None = None) -> list[float]:
    """Return the mean of a component in each cell, scaled; table: what stands for its bytes."""
    plane = frame.planes[part.plane]
    data, line = memoryview(plane), plane.line_size
    width, height = -(-frame.width // part.across), -(-frame.height // part.down)
    length = width * part.step
    pick = _picker(width, part.step, part.offset + (part.size == 2 and part.big_endian))
    pick_upper = _picker(width, part.step, part.offset + (not part.big_endian))
    many = COLUMNS * ROWS
    found = []
    for row in range(CELLS):
        lines = []
        for y in _lines(row, height):
            at = (height - 1 - y) * -line if line < 0 else y * line
            lines.append(bytes(data[at : at + length]))
        stored = b"".join(lines)
        values = pick(stored.translate(table) if table else stored)
        sums = [sum(values[at : at + many]) for at in range(0, CELLS * many, many)]
        if part.size == 2:
            upper = pick_upper(stored)
            for cell, at in enumerate(range(0, CELLS * many, many)):
                sums[cell] += sum(upper[at : at + many]) << 8
        found += [total / many * part.scale - part.zero for total in sums]
    return found


@lru_cache(maxsize=64)
def _picker(width: int, step: int, offset: int) -> itemgetter[Any]:
    """Return what takes a row of cells' values, cell after cell, out of the bytes of its lines."""
    places = []
    for cell in range(CELLS):
        begin, end = cell * width // CELLS, (cell + 1) * width // CELLS
        columns = [begin + (2 * at + 1) * (end - begin) // (2 * COLUMNS) for at in range(COLUMNS)]
        places += [(y * width + x) * step + offset for y in range(ROWS) for x in columns]
    return itemgetter(*places)


def _lines(row: int, height: int) -> list[int]:
    """Choose lines of a row of cells, some of each field."""
    begin, end = row * height // CELLS, (row + 1) * height // CELLS
    chosen = [begin + (2 * at + 1) * (end - begin) // (2 * ROWS) for at in range(ROWS)]
    uneven = (end - begin) // ROWS % 2 == 0 and end - begin > 2 * ROWS
    return [min(y + (uneven and at % 2), height - 1) for at, y in enumerate(chosen)]


def _pack(*components: Sequence[float]) -> bytes:
    """Put red, green and blue of each cell together, from 0 to 255."""
    return bytes(
        [
            0 if value <= 0 else 255 if value >= 1 else int(value * 255 + 0.5)
            for color in zip(*components, strict=True)
            for value in color
        ]
    )


def turn(colors: bytes, rotation: int, *, flipped: bool) -> bytes:
    """Mirror a picture of cells left to right, if so, and then turn it clockwise."""
    cells = [colors[at : at + 3] for at in range(0, len(colors), 3)]
    rows = [cells[at : at + CELLS] for at in range(0, len(cells), CELLS)]
    if flipped:
        rows = [row[::-1] for row in rows]
    for _ in range(rotation // 90 % 4):
        rows = [list(row) for row in zip(*rows[::-1], strict=True)]
    return b"".join(cell for row in rows for cell in row)

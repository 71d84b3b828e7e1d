"""Whether the pictures of an output look like the original's. Pure.

Every right output differed by 24.9 dB at least, every lost rotation, cut or false colour by 18.2 at
most (439 pairs). Where tones were mapped, bright and dark must be where they were.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.media.facts import Content, Picture

    Moments = Sequence[Sequence[Picture]]

LEAST_DB = 20.0
LEAST_CORRELATION = 0.9
SPREAD = 2  # frames on both sides: which one is shown at a moment is a matter of rounding
SHARES = (0.2, 0.5, 0.8)  # of the whole: where it is looked at
FLAT = 3.0  # greys that differ by less (of 255) are one
MOST_DB = 99.0


class Look(NamedTuple):
    """The worst of the moments that were compared."""

    db: float
    at: float  # in the output
    correlation: float | None = None  # of greys; None: tones were not mapped
    is_right: bool = True


def moments_of(content: Content) -> list[float]:
    """Return when to look at a track, on its file's clock."""
    assert content.start is not None and content.end is not None
    length = content.end - content.start
    return [content.start + share * length for share in SHARES]


def compare(before: Moments, after: Moments, *, is_tone_mapped: bool = False) -> Look | None:
    """Return how alike two files look at the moment where they do least; None: nothing was seen.

    The pictures around a moment are compared each with each, and the best pair counts.
    """
    worst: Look | None = None
    for originals, outputs in zip(before, after, strict=False):
        if not originals or not outputs:
            continue
        middle = outputs[len(outputs) // 2]
        db = max(_decibels(a, b) for a in originals for b in outputs)
        correlation = None
        is_right = db >= LEAST_DB
        if is_tone_mapped:
            correlation = max(_correlation(a, b) for a in originals for b in outputs)
            is_right = correlation >= LEAST_CORRELATION
        look = Look(db, middle.at, correlation, is_right)
        if worst is None or _rank(look) < _rank(worst):
            worst = look
    return worst


def _rank(look: Look) -> float:
    return look.db if look.correlation is None else look.correlation


def _decibels(a: Picture, b: Picture) -> float:
    """Return the peak signal-to-noise ratio of two pictures."""
    error = sum((x - y) ** 2 for x, y in zip(a.colors, b.colors, strict=True)) / len(a.colors)
    return min(MOST_DB, 10 * math.log10(255 * 255 / error)) if error else MOST_DB


def _correlation(a: Picture, b: Picture) -> float:
    """Return how far bright and dark are at the same places; 1: everywhere."""
    left, right = _greys(a), _greys(b)
    if _spread(left) < FLAT and _spread(right) < FLAT:
        return 1.0
    mean_left, mean_right = sum(left) / len(left), sum(right) / len(right)
    both = sum((x - mean_left) * (y - mean_right) for x, y in zip(left, right, strict=True))
    return both / (len(left) * _spread(left) * _spread(right) or 1.0)


def _greys(picture: Picture) -> list[float]:
    c = picture.colors
    triples = zip(c[0::3], c[1::3], c[2::3], strict=True)
    return [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in triples]


def _spread(greys: Sequence[float]) -> float:
    mean = sum(greys) / len(greys)
    return math.sqrt(sum((grey - mean) ** 2 for grey in greys) / len(greys))


# Filters that leave a picture what it is, or make of it what the plan knows.
_FAITHFUL = re.compile(
    r"(?:scale|zscale|format|setsar|setdar|setparams|setrange|setfield|colorspace|colormatrix|fps|"
    r"bwdif|yadif|w3fdif|estdif|sidedata|tonemap|null|copy|split|noformat|fieldorder|settb|setpts|"
    r"idet|hqdn3d|nlmeans|deband|deblock|unsharp|cas|gradfun|premultiply|unpremultiply)"
)
_FILTERS = re.compile(r"^-(?:vf|filter(?::v(?::\d+)?)?|filter_complex|lavfi)$")
_PICTURE_OPTIONS = frozenset(
    {
        "-noautorotate",
        "-autorotate",
        "-display_rotation",
        "-display_hflip",
        "-display_vflip",
        "-bsf:v",
    }
)
_QUOTED_OR_LABEL = re.compile(r"\\.|'[^']*'|\[[^\]]*\]")
_EVEN = re.compile(r"pad=(?:w=)?(?:ceil\(iw/2\)\*2)")


def picture_changer(args: Sequence[str]) -> str | None:
    """Return the argument that makes another picture of the original's on purpose, if any does."""
    for option, value in pairwise([*args, ""]):
        if option in _PICTURE_OPTIONS or option.startswith("-vf:") or option == "-aspect":
            return option
        if not _FILTERS.match(option):
            continue
        for part in re.split("[,;]", _QUOTED_OR_LABEL.sub("", value)):
            name = re.split("[=@]", part.strip())[0]
            if _EVEN.match(part.strip()):
                continue
            if name and not _FAITHFUL.fullmatch(name):
                return f"the filter {name}"
    return None

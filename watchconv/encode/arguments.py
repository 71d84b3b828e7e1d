"""What a profile's own words on the command line say of an output's track. Pure.

``-c:v x``, ``-c:v:0 x`` and ``-vcodec x`` say the same of the first video; of several the last one
holds, as it does for ffmpeg.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LETTERS = {"video": "v", "audio": "a", "subtitle": "s", "data": "d", "attachment": "t"}
_ALIASES = {
    ("c", "v"): ("codec", "vcodec"),
    ("c", "a"): ("codec", "acodec"),
    ("c", "s"): ("codec", "scodec"),
    ("filter", "v"): ("vf",),
    ("filter", "a"): ("af",),
    ("fps_mode", "v"): ("vsync",),
    ("b", "a"): ("ab",),
    ("q", "a"): ("aq",),
    ("q", "v"): ("qscale",),
}
_NONE_OF_A_KIND = {"video": "-vn", "audio": "-an", "subtitle": "-sn", "data": "-dn"}
_COMPLEX = ("-filter_complex", "-lavfi", "-filter_complex_script")
# Options of the video that ffmpeg would apply to a copied picture beside it, too.
_OF_ALL_VIDEOS = re.compile(
    r"-(vf|vcodec|pix_fmt|fps_mode|vsync|enc_time_base|vtag|r|s|aspect"
    r"|(?:[a-z_0-9-]+):v)"
)
_RENAMED = {"vf": "filter", "vcodec": "c", "vtag": "tag", "vsync": "fps_mode"}

_DEINTERLACERS = frozenset(
    {
        *("yadif", "bwdif", "w3fdif", "nnedi", "estdif", "kerndeint", "idet", "fieldmatch"),
        *("pullup", "decimate", "detelecine", "ivtc", "interlace", "tinterlace", "telecine"),
        *("setfield", "fieldorder", "separatefields", "weave", "il", "field", "yadif_cuda"),
        *("bwdif_cuda", "deinterlace_vaapi", "deinterlace_qsv"),
    }
)

_COLORISTS = frozenset(
    {
        *("zscale", "tonemap", "libplacebo", "colorspace", "colormatrix", "setparams"),
        *("tonemap_opencl", "tonemap_vaapi", "lut3d", "iccgen", "iccdetect"),
    }
)

_SIZELESS = frozenset(
    {
        *("format", "setparams", "setrange", "setfield", "fieldorder", "yadif", "bwdif"),
        *("hqdn3d", "nlmeans", "unsharp", "eq", "hue", "deband", "gradfun", "colorspace"),
        *("colormatrix", "tonemap", "lut", "lut3d", "curves", "null", "negate"),
    }
)


def _spellings(name: str, kind: str, ordinal: int) -> set[str]:
    letter = _LETTERS[kind]
    names = (name, *_ALIASES.get((name, letter), ()))
    ends = ("", f":{letter}", f":{letter}:{ordinal}")
    return {f"-{spelled}{end}" for spelled in names for end in ends}


def setting(args: Sequence[str], name: str, kind: str, ordinal: int = 0) -> str | None:
    """Return the value that holds of an option for a track of the output; None: it is not set."""
    spellings = _spellings(name, kind, ordinal)
    found = None
    for option, value in pairwise(args):
        if option in spellings:
            found = value
    return found


def sets_any(args: Sequence[str], names: Iterable[str], kind: str, ordinal: int = 0) -> bool:
    """Return whether any of these options is set for a track of the output."""
    return any(setting(args, name, kind, ordinal) is not None for name in names)


def value_of(args: Sequence[str], option: str) -> str | None:
    """Return the last value of an option that is not about tracks."""
    return next((value for name, value in reversed(list(pairwise(args))) if name == option), None)


def refuses(args: Sequence[str], kind: str) -> bool:
    """Return whether the words want no track of a kind."""
    return _NONE_OF_A_KIND.get(kind) in args


def has_graph(args: Sequence[str]) -> bool:
    """Return whether filters are given as a graph of their own, into which nothing is put."""
    graphs = any(word in _COMPLEX for word in args)
    chain = setting(args, "filter", "video") or ""
    return graphs or chain.lstrip().startswith("[")


def filters_named(args: Sequence[str], kind: str, ordinal: int = 0) -> list[str]:
    """Return the names of the filters that a track goes through."""
    chain = re.sub(r"\\.|'[^']*'", "", setting(args, "filter", kind, ordinal) or "")
    return [re.split("[=@]", part.strip())[0] for part in re.split("[,;]", chain) if part.strip()]


def pixel_formats(args: Sequence[str]) -> tuple[str, ...]:
    """Return the pixel formats that the words allow; empty: any that the encoder takes."""
    if named := setting(args, "pix_fmt", "video"):
        return (named.removeprefix("+"),)
    chain = setting(args, "filter", "video") or ""
    if found := re.findall(r"(?:^|,)\s*format=(?:pix_fmts=)?([\w|]+)", chain):
        return tuple(found[-1].split("|"))
    return ()


def with_filters(
    args: Sequence[str], filters: Sequence[str], kind: str, ordinal: int = 0
) -> list[str]:
    """Return args where a track goes through these filters ahead of those that args name."""
    if not filters:
        return list(args)
    changed, chain = list(args), ",".join(filters)
    spellings = _spellings("filter", kind, ordinal)
    places = [at for at, word in enumerate(changed[:-1]) if word in spellings]
    if places:
        changed[places[-1] + 1] = f"{chain},{changed[places[-1] + 1]}"
        return changed
    return [*changed, f"-filter:{_LETTERS[kind]}:{ordinal}", chain]


def with_option(args: Sequence[str], name: str, value: str, kind: str, ordinal: int) -> list[str]:
    """Return args with an option of a track; of a list (``-x265-params a=1:b=2``) args' own win."""
    own = setting(args, name, kind, ordinal)
    if own is None or name.endswith("-params"):
        value = f"{value}:{own}" if own else value
        return [*args, f"-{name}:{_LETTERS[kind]}:{ordinal}", value]
    return list(args)


def for_first_video(args: Sequence[str]) -> list[str]:
    """Return args whose options of all videos are the first one's: a cover is copied beside it."""
    changed = []
    for at, word in enumerate(args):
        found = _OF_ALL_VIDEOS.fullmatch(word)
        if found and at + 1 < len(args):
            name = found[1].removesuffix(":v")
            word = f"-{_RENAMED.get(name, name)}:v:0"  # noqa: PLW2901 (it is the same option)
        changed.append(word)
    return changed


def settled_of_picture(args: Sequence[str]) -> frozenset[str]:
    """Return what args decide by themselves, in the words of ``picture.Target.settled``."""
    named = set(filters_named(args, "video"))
    found = set()
    flags = setting(args, "flags", "video") or ""
    if named & _DEINTERLACERS or "ildct" in flags or sets_any(args, ("field_order",), "video"):
        found.add("fields")
    options = ("color_primaries", "color_trc", "colorspace", "color_range")
    chain = setting(args, "filter", "video") or ""
    if named & _COLORISTS or "color_matrix" in chain or sets_any(args, options, "video"):
        found.add("colors")
    if "pad" in named:
        found.add("edges")
    if named - _SIZELESS - _DEINTERLACERS - {"pad"} or sets_any(args, ("s", "aspect"), "video"):
        found.add("size")
    return frozenset(found)

"""What a plan promises of its output, and which of it the output breaks. Pure.

A track has every fact of the original's but for what its ``Decision`` changes. What is not known of
the original, or not tagged, promises nothing. A wrong picture is a fault of the job; what else is
lost is a warning.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from watchconv.encode.decision import Action
from watchconv.encode.kept import Broken, broken_of_file
from watchconv.media.facts import HD_LINES, Chroma
from watchconv.model import WarningCause

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from watchconv.encode.decision import Decision
    from watchconv.media.facts import Facts, Track

ASPECT = 0.002  # of it: containers round


class Pair(NamedTuple):
    """A track of the original, and the output's that is made of it."""

    before: Track
    after: Track
    decision: Decision

    @property
    def is_copied(self) -> bool:
        """Whether its packets are the original's."""
        return self.decision.action is Action.COPY

    @property
    def name(self) -> str:
        """How a person is told of it."""
        return f"{self.before.kind} track {self.before.index}"


def pairs_of(decisions: Sequence[Decision], original: Facts, output: Facts) -> list[Pair | Broken]:
    """Return each track that was to go with what became of it; missing ones are broken promises."""
    there: dict[str, list[Track]] = {}
    for track in output.tracks:
        there.setdefault(track.kind, []).append(track)
    before = {track.index: track for track in original.tracks}
    found: list[Pair | Broken] = []
    for decision in decisions:
        if decision.ordinal is None or decision.track not in before:
            continue
        of_kind = there.get(decision.kind, [])
        if decision.ordinal < len(of_kind):
            pair = Pair(before[decision.track], of_kind[decision.ordinal], decision)
            found.append(pair)
            continue
        track = before[decision.track]
        text = f"the output lacks {track.kind} track {track.index} ({track.codec})"
        found.append(Broken(text, _LESSER_KINDS.get(track.kind)))
    return found


_LESSER_KINDS = {"attachment": WarningCause.FONTS, "data": WarningCause.TRACK_LEFT_OUT}


def broken(
    decisions: Sequence[Decision],
    original: Facts,
    output: Facts,
    *,
    keeps: Collection[str] = (),
    picture_is_free: bool = False,
) -> tuple[Broken, ...]:
    """Return the promises that the output does not hold, those that fail the job first.

    keeps: which of chapters, date, place and tags the output has to have. picture_is_free: the
    profile's own filters make another picture of it, so nothing is promised of that.
    """
    found: list[Broken] = []
    for pair in pairs_of(decisions, original, output):
        if isinstance(pair, Broken):
            found.append(pair)
            continue
        for row in _ROWS:
            if pair.before.kind not in row.kinds or (row.is_picture and picture_is_free):
                continue
            if fault := row.judge(pair):
                found.append(fault)
    found += broken_of_file(original, output, keeps)
    return tuple(sorted(found, key=lambda fault: fault.cause is not None))


def wanted_of(pair: Pair, field: str) -> Any:
    """Return what a field of the output's track is promised to be; None: nothing is promised."""
    changes = pair.decision.changes
    if field in changes:
        return changes[field]
    if not pair.is_copied and field in ("codec", "pixel_format", "interlaced"):
        return None
    if not pair.is_copied and field in ("rotation", "flipped"):
        return type(getattr(pair.before, field))()  # an encode turns it upright
    return getattr(pair.before, field)


# One row for each fact: returns what is broken of it.


class _Row(NamedTuple):
    judge: Callable[[Pair], Broken | None]
    kinds: frozenset[str]
    is_picture: bool = True


_VIDEO, _AUDIO = frozenset({"video"}), frozenset({"audio"})
_TEXT = frozenset({"subtitle"})
_TIMED = _VIDEO | _AUDIO | _TEXT


def codec_fault(pair: Pair) -> Broken | None:
    """Judge whether a track has the codec that it should."""
    wanted = wanted_of(pair, "codec") if pair.is_copied else None  # an encoder is named, or fails
    if not wanted or wanted in ("unknown", pair.after.codec):
        return None
    text = f"{pair.name} is {pair.after.codec} in the output, not {wanted}"
    return Broken(text, WarningCause.TRACK_CONVERTED if pair.before.kind == "subtitle" else None)


def _is_turned(pair: Pair) -> bool:
    """Return whether the output's picture lies on its side beside the original's."""
    rotation = wanted_of(pair, "rotation")
    return rotation is not None and (pair.before.rotation - rotation) % 180 != 0


def size_fault(pair: Pair) -> Broken | None:
    """Judge whether a picture has the size that it should."""
    width, height = wanted_of(pair, "width"), wanted_of(pair, "height")
    named = {"width", "height"} & pair.decision.changes.keys()
    if _is_turned(pair) and not named:
        width, height = height, width
    if not width or not height:
        return None
    # encoders of halved colours take even sizes only
    slack = 0 if pair.is_copied or named else 1
    found = pair.after.width, pair.after.height
    if all(0 <= there - due <= slack for there, due in zip(found, (width, height), strict=True)):
        return None
    shown = f"{found[0]}x{found[1]}"
    return Broken(f"{pair.name} is {shown} in the output, not {width}x{height}")


def aspect_fault(pair: Pair) -> Broken | None:
    """Judge whether the pixels of a picture have the shape that they should."""
    wanted = wanted_of(pair, "sample_aspect")
    if not wanted or 0 in wanted or 0 in pair.after.sample_aspect:
        return None
    due, found = wanted[0] / wanted[1], pair.after.sample_aspect[0] / pair.after.sample_aspect[1]
    if _is_turned(pair) and "sample_aspect" not in pair.decision.changes:
        due = 1 / due
    if abs(found / due - 1) <= ASPECT:
        return None
    shape = ":".join(map(str, pair.after.sample_aspect))
    return Broken(f"{pair.name} is out of shape in the output: its pixels are {shape}")


def rotation_fault(pair: Pair) -> Broken | None:
    """Judge whether a picture is turned as it should be."""
    for field, unit in (("rotation", " degrees"), ("flipped", "")):
        wanted, found = wanted_of(pair, field), getattr(pair.after, field)
        if wanted is not None and wanted != found:
            due = f"{wanted}{unit}" if unit else ("mirrored" if wanted else "not mirrored")
            what = "turned by" if unit else "shown"
            return Broken(f"{pair.name} is not {what} {due} in the output")
    return None


_TWINS = {
    "bt470bg": "601",
    "smpte170m": "601",
    "bt601": "601",
    "gbr": "rgb",
    "rgb": "rgb",
    "unknown": "",
    "unspecified": "",
    "reserved": "",
}
_SDR = frozenset({"bt709", "601", "bt2020-10", "bt2020-12", "smpte240m", "bt470m", "iec61966-2-1"})


# whose decoders say the same of every picture
_ONE_MATRIX = frozenset({"vp8", "vp7", "mjpeg", "theora"})


def _twin(name: str) -> str:
    return _TWINS.get(name, name)


def matrix_fault(pair: Pair) -> Broken | None:
    """Judge whether players take the colours of a picture for what they are."""
    wanted = wanted_of(pair, "matrix")
    is_named = "matrix" in pair.decision.changes
    if not wanted or not _twin(wanted):
        return None
    if _twin(wanted) == "rgb" and not is_named and not pair.is_copied:
        wanted = "bt709" if pair.after.height >= HD_LINES else "smpte170m"
    if pair.after.chroma in (Chroma.RGB, Chroma.GRAY) or pair.after.codec in _ONE_MATRIX:
        return None
    found = _twin(pair.after.matrix) or ("bt709" if pair.after.height >= HD_LINES else "601")
    if found == _twin(wanted):
        return None
    tag = pair.after.matrix or "no tag"
    return Broken(f"{pair.name} has false colours in the output: {tag}, where {wanted} is due")


def transfer_fault(pair: Pair) -> Broken | None:
    """Judge whether the tones of a picture are what they should be."""
    wanted = wanted_of(pair, "transfer")
    if not wanted or not _twin(wanted) or pair.after.chroma is Chroma.RGB:
        return None
    wanted, found = _twin(wanted), _twin(pair.after.transfer)
    if wanted == found or (wanted in _SDR and (not found or found in _SDR)):
        return None
    is_wrong = "smpte2084" in (wanted, found) or "arib-std-b67" in (wanted, found)
    text = f"{pair.name} is {found or 'without a tag'} in the output, where {wanted} is due"
    return Broken(text, None if is_wrong else WarningCause.TAGS)


def primaries_fault(pair: Pair) -> Broken | None:
    """Judge whether the primaries of a picture are what they should be."""
    wanted = wanted_of(pair, "primaries")
    if not wanted or not _twin(wanted) or pair.after.chroma is Chroma.RGB:
        return None
    found = _twin(pair.after.primaries)
    if found == _twin(wanted):
        return None
    # of other differences than these nobody sees much
    is_wrong = (_twin(wanted) == "bt2020") != (found == "bt2020")
    if not is_wrong and not found:
        return None
    text = f"{pair.name} has the primaries {found or 'of no tag'} in the output, not {wanted}"
    return Broken(text, None if is_wrong else WarningCause.TAGS)


def bits_fault(pair: Pair) -> Broken | None:
    """Judge whether a picture has the depth that it should."""
    wanted = wanted_of(pair, "bits")
    if not wanted or not pair.after.bits or pair.after.bits >= wanted:
        return None
    text = f"{pair.name} has {pair.after.bits} bits in the output, not {wanted}"
    return Broken(text, None if pair.is_copied else WarningCause.DEPTH)


_RICHNESS = {Chroma.GRAY: 0, Chroma.HALF: 1, Chroma.WIDE: 2, Chroma.FULL: 3, Chroma.RGB: 3}


def chroma_fault(pair: Pair) -> Broken | None:
    """Judge whether the colours of a picture are as fine as they should be."""
    wanted = wanted_of(pair, "chroma")
    if wanted not in _RICHNESS or pair.after.chroma not in _RICHNESS:
        return None
    if _RICHNESS[pair.after.chroma] >= _RICHNESS[wanted]:
        return None
    text = f"{pair.name} has its colours as {pair.after.chroma} in the output, not {wanted}"
    return Broken(text, None if pair.is_copied else WarningCause.CHROMA)


def fields_fault(pair: Pair) -> Broken | None:
    """Judge whether a picture whose fields were joined says so."""
    if wanted_of(pair, "interlaced") is False and pair.after.interlaced:
        return Broken(f"{pair.name} is still interlaced in the output")
    return None


def _has(field: str, cause: WarningCause, words: str) -> Callable[[Pair], Broken | None]:
    """Return the row of something that is there or not."""

    def judge(pair: Pair) -> Broken | None:
        """Judge whether it is there."""
        wanted = wanted_of(pair, field)
        if wanted and not getattr(pair.after, field):
            return Broken(f"{words} of {pair.name} is not in the output", cause)
        return None

    return judge


def mastering_fault(pair: Pair) -> Broken | None:
    """Judge whether what a picture says of its mastering is true."""
    wanted, found = wanted_of(pair, "mastering"), pair.after.mastering
    light, lit = wanted_of(pair, "light_level"), pair.after.light_level
    # AV1 rounds colours to 1/65536 and the darkest light to 1/16384
    same = [
        math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-4)
        for a, b in zip(wanted or (), found, strict=False)
    ]
    if (wanted and not (len(found) == len(wanted) and all(same))) or (light and light != lit):
        text = f"the mastering data of {pair.name} is lost or changed in the output"
        return Broken(text, WarningCause.MASTERING)
    if wanted == () and "mastering" in pair.decision.changes and found:
        text = f"{pair.name} claims mastering data that is no longer true"
        return Broken(text, WarningCause.MASTERING)
    return None


_LAYOUTS = {"5.1(side)": "5.1", "5.0(side)": "5.0", "1 channels": "mono", "2 channels": "stereo"}


def layout_fault(pair: Pair) -> Broken | None:
    """Judge whether a sound has the speakers that it should."""
    layout, channels = wanted_of(pair, "layout"), wanted_of(pair, "channels")
    found = pair.after.layout
    is_less = bool(channels) and 0 < pair.after.channels != channels
    differs = bool(layout and found) and _LAYOUTS.get(layout, layout) != _LAYOUTS.get(found, found)
    if not is_less and not (differs and "channels" not in f"{layout}{found}"):
        return None
    text = f"{pair.name} is {found or pair.after.channels} in the output, not {layout or channels}"
    return Broken(text, WarningCause.LAYOUT)


def rate_fault(pair: Pair) -> Broken | None:
    """Judge whether a sound has the samples that it should."""
    wanted, found = wanted_of(pair, "sample_rate"), pair.after.sample_rate
    # Opus knows one rate, and loses nothing of what lower ones hold
    if not wanted or not found or found >= wanted:
        return None
    text = f"{pair.name} has {found} samples a second in the output, not {wanted}"
    return Broken(text, WarningCause.SAMPLE_RATE)


# ISO 639-2 has two names for some languages; Matroska writes the one, QuickTime the other
_LANGUAGES = {
    "alb": "sqi", "arm": "hye", "baq": "eus", "bur": "mya", "chi": "zho", "cze": "ces",
    "dut": "nld", "fre": "fra", "geo": "kat", "ger": "deu", "gre": "ell", "ice": "isl",
    "mac": "mkd", "mao": "mri", "may": "msa", "per": "fas", "rum": "ron", "slo": "slk",
    "tib": "bod", "wel": "cym",
}  # fmt: skip


def language_fault(pair: Pair) -> Broken | None:
    """Judge whether a track says its language."""
    wanted, found = (
        _LANGUAGES.get(name.lower(), name.lower()).replace("und", "")
        for name in (wanted_of(pair, "language") or "", pair.after.language)
    )
    if not wanted or wanted == found or (len(wanted) == 2 and found):
        return None
    return Broken(f"the language of {pair.name} ({wanted}) is not in the output", WarningCause.TAGS)


def title_fault(pair: Pair) -> Broken | None:
    """Judge whether a track says its title."""
    wanted = wanted_of(pair, "title")
    if not wanted or wanted == pair.after.title:
        return None
    return Broken(f"the title of {pair.name} is not in the output", WarningCause.TITLES)


# what is about the file's own make, or set anew by each muxer
_FLAGS_OF_MUXERS = frozenset(
    {"default", "attached_pic", "timed_thumbnails", "still_image", "metadata", "dependent"}
)


def flags_fault(pair: Pair) -> Broken | None:
    """Judge whether a track is marked as it should be."""
    wanted = wanted_of(pair, "flags")
    lost = set(wanted or ()) - set(pair.after.flags) - _FLAGS_OF_MUXERS
    if not lost:
        return None
    names = ", ".join(sorted(lost))
    return Broken(f"{pair.name} is no longer marked as {names}", WarningCause.FLAGS)


def file_name_fault(pair: Pair) -> Broken | None:
    """Judge whether an attachment has its own name."""
    if pair.before.file_name in ("", pair.after.file_name):
        return None
    return Broken(f"the attachment {pair.before.file_name} is another", WarningCause.FONTS)


_ROWS = (
    _Row(codec_fault, _TIMED, is_picture=False),
    _Row(size_fault, _VIDEO),
    _Row(aspect_fault, _VIDEO),
    _Row(rotation_fault, _VIDEO),
    _Row(matrix_fault, _VIDEO),
    _Row(transfer_fault, _VIDEO),
    _Row(primaries_fault, _VIDEO),
    _Row(bits_fault, _VIDEO),
    _Row(chroma_fault, _VIDEO),
    _Row(fields_fault, _VIDEO),
    _Row(_has("alpha", WarningCause.ALPHA, "the transparency"), _VIDEO),
    _Row(_has("dolby_vision", WarningCause.DOLBY_VISION, "the Dolby Vision"), _VIDEO),
    _Row(_has("captions", WarningCause.CAPTIONS, "the closed captions"), _VIDEO),
    _Row(_has("spherical", WarningCause.PROJECTION, "the projection"), _VIDEO),
    _Row(_has("timecode", WarningCause.TIMECODE, "the timecode"), _VIDEO, is_picture=False),
    _Row(mastering_fault, _VIDEO),
    _Row(layout_fault, _AUDIO, is_picture=False),
    _Row(rate_fault, _AUDIO, is_picture=False),
    _Row(language_fault, _TIMED, is_picture=False),
    _Row(title_fault, _TIMED, is_picture=False),
    _Row(flags_fault, _TIMED, is_picture=False),
    _Row(file_name_fault, frozenset({"attachment"}), is_picture=False),
)

"""The encode plan: what ffmpeg is told to make of one input, from the profile and the probe. Pure.

ffmpeg reads one local file through the one demuxer that the probe named, and nothing else: no
playlist, no data reference, no network (tried with 5.1 and 9.0).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from watchconv.encode.decision import Action, Decision
from watchconv.encode.program import encoders_named, uses_hardware
from watchconv.media import FORMATS
from watchconv.media.facts import Track
from watchconv.model import Cause, JobWarning, Rejected, WarningCause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.encode.program import Ability
    from watchconv.media.facts import Facts
    from watchconv.model import Profile, Verify

# progress goes to stdout; stderr carries the closing counts, which need -v verbose
_OPTIONS = ("-hide_banner", "-nostdin", "-nostats", "-v", "verbose", "-y", "-progress", "pipe:1")
_ONE_LOCAL_FILE = ("-protocol_whitelist", "file", "-format_whitelist", FORMATS)


@dataclass(frozen=True, slots=True)
class EncodePlan:
    """How one input is encoded, and what has to be known to judge the result."""

    args: tuple[str, ...]  # between input and output, as they are run
    argv: tuple[str, ...]  # the whole command line
    suffix: str
    verify: Verify
    time_changer: str | None  # what makes the output's frames differ from the input's
    uses_hardware: bool
    decisions: tuple[Decision, ...] = ()  # one for each track; none where ffmpeg chooses itself
    warnings: tuple[JobWarning, ...] = ()  # what the output lacks, or has otherwise
    keeps: frozenset[str] = frozenset()  # of chapters, date, place, tags: what it has to have
    frame_factor: float | None = 1.0  # frames out for each that is decoded; None: nobody knows


def plan_encode(  # noqa: PLR0913 (each is a fact of its own)
    profile: Profile,
    media: Facts,
    *,
    program: str,
    ability: Ability,
    source: str,
    output: str,
    cores: int,
    parallel: int,
    max_pixels: int,
) -> EncodePlan:
    """Return how to encode source into output.

    parallel counts the encodes that share the cores, this one included. source and output are
    absolute paths, which ``file:`` makes safe whatever they hold; ValueError for any other.
    """
    if not (source.startswith("/") and output.startswith("/")):
        raise ValueError(f"not absolute: {source!r} or {output!r}")
    chosen = choose_streams(profile.args, media, profile.suffix)
    args = chosen.args + thread_args(chosen.args, cores, parallel)
    argv = [program, *_OPTIONS, *_ONE_LOCAL_FILE, "-f", media.demuxer]
    if media.demuxer == "mov":
        argv += ["-enable_drefs", "0"]
    if "copy" in args:  # AVI and MPEG-PS hold packets without times, which Matroska refuses
        argv += ["-fflags", "+genpts"]
    argv += ["-max_pixels", str(max_pixels), "-i", f"file:{source}", *args, f"file:{output}"]
    changer = time_changer(args)
    return EncodePlan(
        args=tuple(args),
        argv=tuple(argv),
        suffix=profile.suffix,
        verify=profile.verify,
        time_changer=changer,
        uses_hardware=uses_hardware(args),
        decisions=tuple(chosen.decisions),
        warnings=tuple(chosen.warnings),
        keeps=frozenset({"chapters"} if media.chapters and chosen.decisions else ()),
        frame_factor=None if changer else 1.0,
    )


def refusal(media: Facts, max_pixels: int) -> Rejected | None:
    """Return why a file is no video that is converted here, or None."""
    videos = media.videos
    if not videos:
        kinds = {"a cover picture" if s.attached_picture else s.kind for s in media.tracks}
        held = " and ".join(sorted(kinds, reverse=True)) or "nothing"
        reason = f"no video: it holds no video stream, only {held}"
        return Rejected(reason, cause=Cause.NOT_VIDEO)
    pixels = 0
    for stream in videos:
        pixels = max(pixels, stream.width * stream.height)
    if pixels > max_pixels:
        reason = f"its frames are too large: {pixels} pixels each; max_pixels allows {max_pixels}"
        return Rejected(reason, cause=Cause.TOO_LARGE)
    return None


# Which streams of the input go into the output.

_TEXT = frozenset({"subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text"})
_PICTURE = frozenset({"hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"})
_FONTS = frozenset({"ttf", "otf"})
_MP4 = {codec: "copy" if codec == "mov_text" else "mov_text" for codec in _TEXT}
# suffix -> codec of a subtitle track -> what becomes of it; a codec that is missing is left out
_SUBTITLES = {
    ".webm": {codec: "copy" if codec == "webvtt" else "webvtt" for codec in _TEXT},
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": _MP4,
    ".mkv": dict.fromkeys(_TEXT | _PICTURE, "copy") | {"mov_text": "srt", "text": "srt"},
}
_NONE_OF_A_KIND = {"video": "-vn", "audio": "-an", "subtitle": "-sn"}


class Chosen(NamedTuple):
    """The tracks that go, as arguments; what is decided about each; what is lost."""

    args: list[str]
    decisions: list[Decision]
    warnings: list[JobWarning]


def choose_streams(args: Sequence[str], media: Facts, suffix: str) -> Chosen:
    """Return args with ``-map auto`` expanded, a decision for each track, and what is lost.

    Kept are the first video that is no cover and not empty, every audio that can be decoded, the
    subtitles that the container holds (text ones are converted to its own kind), and fonts where
    it keeps them. A subtitle codec that args name is used as it is; what -vn, -an and -sn refuse
    is no loss. Without ``-map auto`` ffmpeg's own choice holds, and args stay as they are.
    """
    pairs = list(pairwise(args))
    if ("-map", "auto") not in pairs:
        return Chosen(list(args), [], [])
    at = pairs.index(("-map", "auto"))
    suffix = suffix.lower()
    named = None  # a bare -c copy names no subtitle codec: it may be one that does not fit
    for option, value in pairs:
        if option in ("-c:s", "-codec:s", "-scodec") or option.startswith("-c:s:"):
            named = value if named is None else named
    maps: list[str] = []
    codecs: list[str] = []
    decisions: list[Decision] = []
    warnings: list[JobWarning] = []
    ordinals: Counter[str] = Counter()
    for stream in media.tracks:
        if _NONE_OF_A_KIND.get(stream.kind) in args:
            why = f"the profile wants no {stream.kind}"
            decisions.append(Decision(stream.index, stream.kind, Action.LEAVE, why))
            continue
        if loss := _loss(stream, suffix, named, has_video=ordinals["video"] > 0):
            decisions.append(Decision(stream.index, stream.kind, Action.LEAVE, loss))
            language = f", {stream.language}" if stream.language else ""
            track = f"{stream.kind} track {stream.index} ({stream.codec}{language})"
            text = f"{track} is left out: {loss}"
            warnings.append(JobWarning(WarningCause.TRACK_LEFT_OUT, text))
            continue
        maps += ["-map", f"0:{stream.index}"]
        ordinal = ordinals[stream.kind]
        if stream.kind == "subtitle" and named is None:
            codecs += [f"-c:s:{ordinal}", _SUBTITLES[suffix][stream.codec]]
        decisions.append(_kept(stream, ordinal, [*args, *codecs]))
        ordinals[stream.kind] += 1
    return Chosen([*args[:at], *maps, *args[at + 2 :], *codecs], decisions, warnings)


def _kept(stream: Track, ordinal: int, args: Sequence[str]) -> Decision:
    """Return what becomes of a track that goes, by the last codec that args name for it."""
    letter, codec = stream.kind[0], None
    options = {f"-{name}{of}" for name in ("c", "codec") for of in ("", f":{letter}")}
    options |= {f"-{letter}codec", f"-c:{letter}:{ordinal}", f"-codec:{letter}:{ordinal}"}
    for option, value in pairwise(args):
        codec = value if option in options else codec
    if codec == "copy" or stream.kind == "attachment":
        return Decision(stream.index, stream.kind, Action.COPY, "it is copied as it is", ordinal)
    is_text = stream.kind == "subtitle"
    action = Action.CONVERT if is_text else Action.ENCODE
    why = f"the profile names {codec}" if codec else "ffmpeg chooses its encoder"
    free = dict.fromkeys(f.name for f in fields(Track) if f.name not in ("index", "kind"))
    return Decision(stream.index, stream.kind, action, why, ordinal, free)


def _loss(stream: Track, suffix: str, named: str | None, *, has_video: bool) -> str | None:
    """Return why a stream is left out; None for one that is kept."""
    match stream.kind:
        case "video" if stream.attached_picture:
            return "a cover picture is not kept"
        case "video" if stream.samples == 0:
            return "it is empty"
        case "video" if has_video:
            return "only the first video is kept"
        case "audio" if stream.codec == "unknown":
            return "this codec is unknown"
        case "subtitle" if stream.codec not in _SUBTITLES.get(suffix, {}):
            kind = "picture" if stream.codec in _PICTURE else "such"
            return f"{suffix.lstrip('.')} holds no {kind} subtitles"
        case "subtitle" if stream.codec in _PICTURE and named not in (None, "copy"):
            return f"picture subtitles cannot become {named}"
        case "attachment" if suffix != ".mkv" or stream.codec not in _FONTS:
            return f"attachments of this kind do not go into {suffix}"
        case "video" | "audio" | "subtitle" | "attachment":
            return None
    return f"{stream.kind} does not go into {suffix}"


def thread_args(args: Sequence[str], cores: int, parallel: int) -> list[str]:
    """Return the arguments that bound an encoder's threads while parallel encodes share the cores.

    Only VP8 needs them: two libvpx encoders with threads of their own on two cores burn twice the
    CPU for the same picture; x264, x265, SVT-AV1 and VP9 are fastest when left alone. Where a
    profile sets ``-threads`` itself, that holds.
    """
    if parallel <= 1 or "libvpx" not in encoders_named(args):
        return []
    if any(arg == "-threads" or arg.startswith("-threads:") for arg in args):
        return []
    return ["-threads:v", str(max(1, cores // parallel))]


# Whether the output has the input's frames.

_TIME_OPTIONS = re.compile(
    r"^-(ss|sseof|t|to|itsscale|shortest|fs|r|(?:[vad]?frames)|stream_loop|apad)(:.+)?$"
)
_FILTER_OPTIONS = re.compile(r"^-(vf|af|filter|filter_complex|lavfi)(:.+)?$")
# Filters that give one frame for each they take; any other may not, so it gets no exact count.
_STEADY = re.compile(
    r"(?:scale|zscale|pad|crop|format|noformat|hflip|vflip|transpose|rotate|setsar|setdar|setparams|"
    r"setrange|setfield|eq|hue|hqdn3d|nlmeans|unsharp|colorspace|colormatrix|tonemap|lut|lut3d|"
    r"curves|deband|deblock|gradfun|colorbalance|drawtext|drawbox|subtitles|ass|boxblur|"
    r"gblur|cas|vignette|delogo|negate|null|split|copy|yadif|fieldorder|"
    r"aformat|aresample|volume|loudnorm|dynaudnorm|pan|channelmap|anull|highpass|lowpass|"
    r"equalizer|acompressor|alimiter)"
)
_QUOTED_OR_LABEL = re.compile(r"\\.|'[^']*'|\[[^\]]*\]")


def time_changer(args: Sequence[str]) -> str | None:
    """Return the argument that makes the output's frames differ from the input's, if any does."""
    for option, value in pairwise([*args, ""]):
        if _TIME_OPTIONS.match(option):
            return option
        if not _FILTER_OPTIONS.match(option):
            continue
        for part in re.split("[,;]", _QUOTED_OR_LABEL.sub("", value)):
            name = re.split(r"[=@]", part.strip())[0]
            if name and not _STEADY.fullmatch(name):
                return f"the filter {name}"
        if re.search(r"yadif=[^,;\[]*(?:1|3|field)", value):  # gives a frame for each field
            return "the filter yadif"
    return None

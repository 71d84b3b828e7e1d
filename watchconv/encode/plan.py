"""The encode plan: what ffmpeg is told to make of one input, from the profile and the probe. Pure.

ffmpeg reads one local file through the one demuxer that the probe named, and nothing else: no
playlist, no data reference, no network (tried with 5.1 and 9.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from watchconv.config.wish import Declared
from watchconv.encode.decide import decide
from watchconv.encode.program import encoders_named, uses_hardware
from watchconv.encode.raw import choose
from watchconv.encode.timing import time_changer
from watchconv.media import FORMATS
from watchconv.model import Cause, Rejected, Verify, WarningCause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.encode.decide import Decided
    from watchconv.encode.decision import Decision
    from watchconv.encode.program import Ability
    from watchconv.encode.raw import Chosen
    from watchconv.media.facts import Facts
    from watchconv.model import JobWarning, Profile

# progress goes to stdout; stderr carries the closing counts, which need -v verbose
_OPTIONS = ("-hide_banner", "-nostdin", "-nostats", "-v", "verbose", "-y", "-progress", "pipe:1")
_ANALYZED = "36000000000"  # microseconds of the input, within the bytes that the probe needed
RESTARTING = ("mpegts", "mpeg")  # demuxers whose clocks ffmpeg puts right where they begin anew
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
    only_examines: bool = False  # nothing is made


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
    turn: int = 0,
) -> EncodePlan | Rejected:
    """Return how to encode source into output; Rejected where this file cannot be made into that.

    parallel counts the encodes that share the cores, this one included, and turn the encoders of a
    declared profile that have failed for this file. source and output are
    absolute paths, which ``file:`` makes safe whatever they hold; ValueError for any other.
    """
    if not (source.startswith("/") and output.startswith("/")):
        raise ValueError(f"not absolute: {source!r} or {output!r}")
    chosen: Chosen | Decided | Rejected
    if isinstance(profile, Declared):
        chosen = decide(media, profile.wish, ability, turn)
    else:
        chosen = choose(profile.args, media, profile.suffix, ability)
    if isinstance(chosen, Rejected):
        return chosen
    args = chosen.args + thread_args(chosen.args, cores, parallel)
    argv = argv_for(media, program=program, max_pixels=max_pixels)
    if "copy" in args:  # AVI and MPEG-PS hold packets without times, which Matroska refuses
        argv += ["-fflags", "+genpts"]
    argv += [*chosen.input_args, "-i", f"file:{source}", *args, f"file:{output}"]
    is_unreadable = any(w.cause is WarningCause.UNPROVEN for w in chosen.warnings)
    return EncodePlan(
        args=tuple(args),
        argv=tuple(argv),
        suffix=profile.suffix,
        verify=Verify.OFF if is_unreadable else profile.verify,
        # what a wish adds itself is known to keep every picture, or not to
        time_changer=time_changer(profile.args if isinstance(profile, Declared) else args),
        uses_hardware=uses_hardware(args),
        decisions=tuple(chosen.decisions),
        warnings=tuple(chosen.warnings),
        keeps=chosen.keeps,
        frame_factor=chosen.frame_factor,
    )


def argv_for(media: Facts, *, program: str, max_pixels: int) -> list[str]:
    """Return the command line up to the input: this file alone, as the probe found it."""
    argv = [program, *_OPTIONS, *_ONE_LOCAL_FILE, "-f", media.demuxer]
    if media.demuxer == "mov":
        argv += ["-enable_drefs", "0"]
    if media.probe_bytes:  # else tracks that begin late would be missing
        argv += ["-probesize", str(media.probe_bytes), "-analyzeduration", _ANALYZED]
    if media.clock_restarts and media.demuxer in RESTARTING:
        # by default only a step of ten seconds is one: a smaller one back would leave a hole
        argv += ["-dts_delta_threshold", "1"]
    return [*argv, "-max_pixels", str(max_pixels)]


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
    if media.encrypted:
        reason = "it is encrypted: without its key nothing of it can be shown"
        return Rejected(reason, cause=Cause.UNSUPPORTED)
    if pixels > max_pixels:
        reason = f"its frames are too large: {pixels} pixels each; max_pixels allows {max_pixels}"
        return Rejected(reason, cause=Cause.TOO_LARGE)
    return None


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

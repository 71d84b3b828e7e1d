"""``explain`` and ``profiles``: what would happen to a file, and with which arguments.

Guarantees: changes nothing; asks those whom the daemon asks, so that the answer is its own. What
only the encode can tell (whether every frame decodes) is not foretold.
Errors: a file that would be refused is an answer, exit 1; an unknown profile is usage.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import subprocess
import sys
from contextlib import closing
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING

from watchconv.host.folders import WORK_DIR
from watchconv.names import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from watchconv.config import Config
    from watchconv.model import MediaInfo, Profile, Stream


def profiles(config: Config, arguments: argparse.Namespace) -> int:
    """Print every profile with its arguments."""
    for profile in config.all_profiles.values():
        notes = [profile.suffix, f"verify: {profile.verify}"]
        if profile.name in config.profiles:
            notes.append("configured")
        if profile.name == config.profile:
            notes.append("the default")
        print(printable(f"{profile.name} ({', '.join(notes)})"))
        print(printable(f"    {shlex.join(profile.args)}"))
    return 0


def explain(config: Config, arguments: argparse.Namespace) -> int:
    """Print what would happen to a file, and why; 0 when it would be converted."""
    from watchconv.errors import WatchconvError

    folder, name = os.path.split(os.path.abspath(arguments.file))
    path = os.path.join(os.path.realpath(folder), name)  # as the inbox is written
    try:
        for line in _explain(config, path, arguments.profile):
            print(printable(line))
    except (_Refused, WatchconvError, OSError) as error:
        reason = _why(error) if isinstance(error, OSError) else str(error).rstrip(".")
        print(printable(f"It would not be converted: {reason}."))
        return 1
    return 0


def _why(error: OSError) -> str:
    """Say why a file cannot be opened."""
    sentences = {
        errno.ENOENT: "there is no such file",
        errno.ELOOP: "it is a link, and links stay where they are",
        errno.ENXIO: "it is no regular file, and stays where it is",
    }
    return sentences.get(error.errno or 0, f"it cannot be read: {error.strerror}")


class _Refused(Exception):  # noqa: N818 (it is an answer)
    """Why a file would not be converted."""


def _explain(config: Config, path: str, chosen: str | None) -> Iterator[str]:
    from watchconv.encode.classify import refusal_of
    from watchconv.encode.program import examine_program, find_program
    from watchconv.intake.filters import NameFilter
    from watchconv.intake.routing import output_for, profile_for
    from watchconv.media.container import Ending, container_end

    inside = path.startswith(config.inbox + "/")
    source = os.path.relpath(path, config.inbox) if inside else os.path.basename(path)
    if S_ISDIR(os.lstat(path).st_mode):
        raise _Refused("it is a folder: what is in it would be looked at")
    sieve = NameFilter(config.extensions, config.ignore)
    folder, base = os.path.split(source)
    reason = sieve.reason(base, folder)
    if sieve.skips(folder):
        reason = f"all that is in {folder} is"
    if reason:
        raise _Refused(f"in the inbox it would be ignored: {reason}")
    name = chosen or profile_for(source, config.all_profiles, config.profile)
    if name not in config.all_profiles:
        known = ", ".join(config.all_profiles)
        print(f"watchconv: there is no profile {name}; there are {known}", file=sys.stderr)
        raise SystemExit(2)
    profile = config.all_profiles[name]
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as original:
        stat = os.fstat(descriptor)
        if not S_ISREG(stat.st_mode):
            raise _Refused("it is no regular file, and stays where it is")
        yield f"{source}: {stat.st_size} bytes"
        end = container_end(original.fileno(), stat.st_size)
        if end.ending is Ending.INCOMPLETE:
            raise _Refused(f"it is not whole: {end.detail}")
        media = _probe(descriptor, config.sandbox)
    yield from _streams(media)
    if refusal := refusal_of(media, config.max_pixels):
        raise _Refused(refusal)
    program = examine_program(find_program(config.ffmpeg), config.state)
    yield f"profile: {profile.name}, output: {output_for(source, profile.suffix)}"
    yield f"ffmpeg: {program.path} ({program.version})"
    yield from _command(config, path, profile, media, program.path)


def _probe(descriptor: int, sandbox: str) -> MediaInfo:
    from watchconv.media.probe import ProbeWorker

    with closing(ProbeWorker()) as worker:
        return worker.probe(descriptor, sandbox=sandbox)


def _streams(media: MediaInfo) -> Iterator[str]:
    length = media.duration_seconds
    yield (
        f"container: {media.demuxer}, "
        + ("length unknown" if length is None else f"{length:.2f} s")
    )
    for stream in media.streams:
        yield f"  stream {stream.index}: {_describe(stream)}"


def _describe(stream: Stream) -> str:
    parts = [stream.kind, stream.codec]
    if stream.width:
        parts.append(f"{stream.width}x{stream.height}")
    parts += [part for part in (stream.pixel_format, stream.language) if part]
    if stream.attached_picture:
        parts.append("a cover picture")
    return " ".join(parts)


def _command(
    config: Config, path: str, profile: Profile, media: MediaInfo, program: str
) -> Iterator[str]:
    from watchconv.encode import ffmpeg
    from watchconv.encode.streams import choose_streams
    from watchconv.encode.threads import thread_args
    from watchconv.encode.verify import time_changer
    from watchconv.host.workdir import output_name

    args, losses = choose_streams(profile.args, media, profile.suffix)
    for loss in losses:
        yield f"left out: {loss}"
    changer = time_changer(args)
    falls = f", falls back to streams because of {changer}" if changer else ""
    yield f"verify: {profile.verify}{falls}"
    if "copy" not in args and (codec := _undecodable(program, media)):
        raise _Refused(f"this ffmpeg cannot decode {codec}")
    work = os.path.join(config.outbox, WORK_DIR, "JOB.ATTEMPT")
    output = os.path.join(work, output_name(profile.suffix))
    argv = ffmpeg.encode_argv(
        program, path, media, args, output, progress_fd=1, max_pixels=config.max_pixels
    )
    yield "command:"
    yield f"    {shlex.join(argv)}"
    if more := thread_args(args, len(os.sched_getaffinity(0)), config.jobs):
        yield f"    ({shlex.join(more)} before the output while {config.jobs} jobs run)"


def _undecodable(program: str, media: MediaInfo) -> str | None:
    """Name the codec of a video for which an ffmpeg has no decoder; None where it does not tell."""
    try:
        told = subprocess.run(
            [program, "-hide_banner", "-codecs"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            errors="replace",
            timeout=30,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    decoded = set(re.findall(r"(?m)^ D\S{5} (\S+)", told))
    return next((s.codec for s in media.videos if decoded and s.codec not in decoded), None)

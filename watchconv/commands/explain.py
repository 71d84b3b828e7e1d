"""``explain`` and ``profiles``: what would happen to a file, and with which arguments.

Nothing is changed, and every decision is the daemon's own. What only the encode can tell, whether
every frame decodes, is not foretold.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
from contextlib import closing
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING

from watchconv.errors import WatchconvError
from watchconv.host.folders import WORK_DIR
from watchconv.names import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from watchconv.config import Config
    from watchconv.media.facts import Facts
    from watchconv.model import Profile

_UNOPENED = {
    errno.ENOENT: "there is no such file",
    errno.ELOOP: "it is a link, and links stay where they are",
    errno.ENXIO: "it is no regular file, and stays where it is",
}


def profiles(config: Config, arguments: argparse.Namespace) -> int:
    """Print every profile with its arguments, or what it declares."""
    from watchconv.config import Examining
    from watchconv.config.load import declared_yaml
    from watchconv.config.wish import Declared

    for profile in config.all_profiles.values():
        notes = [profile.suffix, f"verify: {profile.verify}"]
        if isinstance(profile, Examining):
            notes = ["health: decode"]
        if profile.name in config.profiles:
            notes.append("configured")
        if profile.name == config.profile:
            notes.append("the default")
        print(printable(f"{profile.name} ({', '.join(notes)})"))
        lines = [shlex.join(profile.args)] if profile.args else []
        if isinstance(profile, Declared):
            lines = declared_yaml(profile.wish).splitlines()
        for line in lines:
            print(printable(f"    {line}"))
    return 0


def explain(config: Config, arguments: argparse.Namespace) -> int:
    """Print what would happen to a file, and why; return 0 when it would be converted, else 1."""
    folder, name = os.path.split(os.path.abspath(arguments.file))
    path = os.path.join(os.path.realpath(folder), name)  # as the inbox is written
    try:
        for line in explain_file(config, path, arguments.profile):
            print(printable(line))
    except (Refused, WatchconvError, OSError) as error:
        reason = str(error).rstrip(".")
        if isinstance(error, OSError):
            reason = _UNOPENED.get(error.errno or 0, f"it cannot be read: {error.strerror}")
        print(printable(f"It would not be converted: {reason}."))
        return 1
    return 0


class Refused(Exception):  # noqa: N818 (it is an answer)
    """Why a file would not be converted."""


def explain_file(config: Config, path: str, chosen: str | None) -> Iterator[str]:
    """Yield what the file is, then what would be made of it; raise Refused for nothing."""
    from watchconv.encode.plan import refusal
    from watchconv.encode.words import describe
    from watchconv.media.container import Ending
    from watchconv.media.holes import file_end
    from watchconv.media.probe import ProbeWorker

    inside = path.startswith(config.inbox + "/")
    source = os.path.relpath(path, config.inbox) if inside else os.path.basename(path)
    if S_ISDIR(os.lstat(path).st_mode):
        raise Refused("it is a folder: what is in it would be looked at")
    profile = _profile(config, source, chosen)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb"), closing(ProbeWorker()) as worker:
        stat = os.fstat(descriptor)
        if not S_ISREG(stat.st_mode):
            raise Refused("it is no regular file, and stays where it is")
        yield f"{source}: {stat.st_size} bytes"
        end = file_end(descriptor, stat.st_size)
        if end.ending is Ending.INCOMPLETE:
            raise Refused(f"it is not whole: {end.detail}")
        media = worker.probe(descriptor, sandbox=config.sandbox)
    length = media.duration_seconds
    shown = "length unknown" if length is None else f"{length:.2f} s"
    yield f"container: {media.demuxer}, {shown}"
    for stream in media.tracks:
        yield f"  stream {stream.index}: {stream.kind} {describe(stream)}"
    if refused := refusal(media, config.max_pixels):
        raise Refused(refused.reason)
    yield from explain_encode(config, path, source, profile, media)


def _profile(config: Config, source: str, chosen: str | None) -> Profile:
    """Return the profile of a file, unless its name would have it ignored."""
    from watchconv.intake.filters import NameFilter, profile_for

    names = NameFilter(config.extensions, config.ignore)
    folder, base = os.path.split(source)
    reason = names.reason(base, folder)
    if names.skips(folder):
        reason = f"all that is in {folder} is"
    if reason:
        raise Refused(f"in the inbox it would be ignored: {reason}")
    name = chosen or profile_for(source, config.all_profiles, config.profile)
    if name not in config.all_profiles:
        known = ", ".join(config.all_profiles)
        print(f"watchconv: there is no profile {name}; there are {known}", file=sys.stderr)
        raise SystemExit(2)
    return config.all_profiles[name]


def explain_encode(
    config: Config, path: str, source: str, profile: Profile, media: Facts
) -> Iterator[str]:
    """Yield what the encode plan holds, for one encode alone and for one among others."""
    from watchconv.config import Examining
    from watchconv.config.keys import usable_cpus
    from watchconv.encode.health import plan_health
    from watchconv.encode.plan import plan_encode
    from watchconv.encode.program import choose_program
    from watchconv.encode.words import decision_lines, promise_words
    from watchconv.host.workdir import output_name
    from watchconv.model import Rejected
    from watchconv.names import with_suffix

    program = choose_program(config)
    if isinstance(profile, Examining):
        plan = plan_health(media, program=program.path, source=path, max_pixels=config.max_pixels)
        yield f"profile: {profile.name}, which examines, and makes nothing"
        yield "command:"
        yield f"    {shlex.join(plan.argv)}"
        return
    yield f"profile: {profile.name}, output: {with_suffix(source, profile.suffix)}"
    yield f"ffmpeg: {program.path} ({program.ability.version})"
    plans = [
        plan_encode(
            profile,
            media,
            program=program.path,
            ability=program.ability,
            source=path,
            output=f"{config.outbox}/{WORK_DIR}/JOB.ATTEMPT/{output_name(profile.suffix)}",
            cores=usable_cpus(),
            parallel=parallel,
            max_pixels=config.max_pixels,
        )
        for parallel in (1, config.jobs)
    ]
    alone, shared = plans
    if isinstance(alone, Rejected) or isinstance(shared, Rejected):
        raise Refused(next(plan.reason for plan in plans if isinstance(plan, Rejected)))
    yield from decision_lines(media, alone.decisions)
    if promised := promise_words(media, alone.decisions, alone.keeps):
        yield f"promises: {promised}"
    for warning in alone.warnings:
        yield f"warning: {warning.text}"
    falls = f", falls back to streams because of {alone.time_changer}" if alone.time_changer else ""
    yield f"verify: {alone.verify}{falls}"
    yield "command:"
    yield f"    {shlex.join(alone.argv)}"
    if more := shared.args[len(alone.args) :]:
        yield f"    ({shlex.join(more)} before the output while {config.jobs} jobs run)"

"""Which ffmpeg runs, and what it can encode.

Guarantees: what was asked of an ffmpeg is asked once per program file, not at every start; what a
configuration wants of it and cannot have is found before anything starts.
Does not run an encode.
Errors: ``MissingExtra`` when there is no ffmpeg, with how to get one; ``ConfigError`` when the
one to run is missing or does not run, or a profile needs an encoder that it lacks.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from watchconv.config.problems import Problem
from watchconv.encode.ffmpeg import encoders_named, parse_encoders, parse_version
from watchconv.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from watchconv.config import Config
    from watchconv.model import Profile

_CACHE = "ffmpeg.json"
_ASK_SECONDS = 30
# every ffmpeg has a container for these; whether it has one for another suffix is tried
_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mpg", ".mpeg"),
    *(".flv", ".wmv", ".ogv", ".gif", ".3gp"),
)
_NO_CONTAINER = ("suitable output format", "choose an output format")  # before 7.0, and since


@dataclass(frozen=True, slots=True)
class Program:
    """An ffmpeg: its path, its version, and the encoders that it names (none: it did not say)."""

    path: str
    version: str
    encoders: frozenset[str]


def find_program(configured: str | None) -> str:
    """Find the ffmpeg to run: the configured one, else PATH's, else the embedded one."""
    if configured:
        if os.path.isfile(configured) and os.access(configured, os.X_OK):
            return configured
        raise ConfigError(
            f"ffmpeg: {configured} is no program that can be run; write its path, or auto"
        )
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise MissingExtra(
            "there is no ffmpeg: install your system's (apt install ffmpeg), or the one that"
            " comes with watchconv: pip install 'watchconv[ffmpeg]'; or name one with ffmpeg: PATH"
        ) from None


def examine_program(path: str, state_dir: str, *, keep: bool = True) -> Program:
    """Ask an ffmpeg what it is and can; answered from the state directory if it is unchanged.

    keep puts a new answer there.
    """
    try:
        stat = os.stat(path)
    except OSError as error:
        raise ConfigError(f"ffmpeg: {path} cannot be found: {error.strerror}") from error
    key = [path, stat.st_size, stat.st_mtime_ns]
    known_file = os.path.join(state_dir, _CACHE)
    try:
        with open(known_file, encoding="utf-8") as reader:
            known = json.load(reader)
        if known["key"] == key and known["encoders"]:
            return Program(path, known["version"], frozenset(known["encoders"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    program = _examine(path, stat.st_size, stat.st_mtime_ns)
    if not keep:
        return program
    answer = {"key": key, "version": program.version, "encoders": sorted(program.encoders)}
    try:
        with open(known_file, "w", encoding="utf-8") as writer:
            json.dump(answer, writer)
    except OSError:
        pass  # it is asked again at the next start
    return program


@cache
def _examine(path: str, size: int, mtime_ns: int) -> Program:
    """Ask a program; size and mtime_ns tell it from what its file was before."""
    return Program(path, version_of(path), parse_encoders(_ask(path, "-encoders").stdout))


def version_of(path: str) -> str:
    """Ask an ffmpeg for its version. Raises ConfigError where it does not run, or is none."""
    answer = _ask(path, "-version")
    if answer.returncode:
        words = answer.stderr.strip().splitlines() or [f"it ends with status {answer.returncode}"]
        raise ConfigError(f"ffmpeg: {path} does not run: {words[-1]}")
    if version := parse_version(answer.stdout):
        return version
    raise ConfigError(
        f"ffmpeg: {path} is no ffmpeg: it does not answer -version as one does;"
        " write the path of an ffmpeg, or auto"
    )


def missing_encoders(program: Program, profiles: Mapping[str, Profile]) -> list[str]:
    """Say, a sentence each, which profiles need an encoder that this ffmpeg lacks."""
    return [
        f"profiles.{profile.name}.args: {sentence}"
        for profile in profiles.values()
        if (sentence := _lacking(program, profile))
    ]


def _lacking(program: Program, profile: Profile) -> str | None:
    missing = sorted(encoders_named(profile.args) - program.encoders)
    if not missing or not program.encoders:
        return None
    return (
        f"this ffmpeg ({program.path}, {program.version}) has no encoder {', '.join(missing)};"
        " name another one, or another ffmpeg"
    )


def find_unusable(config: Config, broken: Collection[str]) -> Iterator[Problem]:
    """List what this machine's ffmpeg keeps from working; keys in broken hold nothing to go by.

    That there is none is no mistake of the configuration's: it is for whoever starts it to say.
    """
    if "ffmpeg" in broken:
        return
    try:
        program = examine_program(find_program(config.ffmpeg), config.state, keep=False)
    except MissingExtra:
        return
    except ConfigError as error:
        yield Problem(("ffmpeg",), str(error).removeprefix("ffmpeg: "))
        return
    for name in {*config.profiles, config.profile} & config.all_profiles.keys():
        profile = config.all_profiles[name]
        own = ("profiles", name) if name in config.profiles else None
        if sentence := _lacking(program, profile):
            where = (*own, "args") if own else ("profile",)
            yield Problem(where, sentence if own else f"{name} cannot be used: {sentence}")
        if own and "-f" not in profile.args and not _has_container(program.path, profile.suffix):
            text = f"this ffmpeg ({program.path}) has no container for names in {profile.suffix}"
            yield Problem((*own, "suffix"), f"{text}; write another one, or -f FORMAT in args")


def _has_container(path: str, suffix: str) -> bool:
    """Try whether an ffmpeg knows what to make of a suffix: an output that cannot be, of nothing.

    It looks for the container before it misses the streams.
    """
    if suffix.endswith(_SUFFIXES):
        return True
    output = f"{os.devnull}/output{suffix}"
    said = _ask(path, "-f", "ffmetadata", "-i", os.devnull, output).stderr
    return not any(words in said for words in _NO_CONTAINER)


def _ask(path: str, *words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [path, *words] if words == ("-version",) else [path, "-hide_banner", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ASK_SECONDS,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise ConfigError(f"ffmpeg: {path} does not run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        what = f"it gave no answer to {words[0]} within {_ASK_SECONDS:g} s"
        raise ConfigError(f"ffmpeg: {path} does not run: {what}") from error

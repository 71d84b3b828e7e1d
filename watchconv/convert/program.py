"""Which ffmpeg runs, and what it can encode.

Guarantees: what was asked of an ffmpeg is asked once per program file, not at every start.
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
from typing import TYPE_CHECKING

from watchconv.convert.ffmpeg import encoders_named, parse_encoders, parse_version
from watchconv.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Mapping

    from watchconv.model import Profile

_CACHE = "ffmpeg.json"
_ASK_SECONDS = 30


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


def examine_program(path: str, state_dir: str) -> Program:
    """Ask an ffmpeg what it is and can; answered from the state directory if it is unchanged."""
    stat = os.stat(path)
    key = [path, stat.st_size, stat.st_mtime_ns]
    cache = os.path.join(state_dir, _CACHE)
    try:
        with open(cache, encoding="utf-8") as reader:
            known = json.load(reader)
        if known["key"] == key:
            return Program(path, known["version"], frozenset(known["encoders"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    program = Program(path, version_of(path), parse_encoders(_ask(path, "-encoders").stdout))
    answer = {"key": key, "version": program.version, "encoders": sorted(program.encoders)}
    try:
        with open(cache, "w", encoding="utf-8") as writer:
            json.dump(answer, writer)
    except OSError:
        pass  # it is asked again at the next start
    return program


def version_of(path: str) -> str:
    """Ask an ffmpeg for its version. Raises ConfigError where it does not run."""
    answer = _ask(path, "-version")
    if answer.returncode:
        words = answer.stderr.strip().splitlines() or [f"it ends with status {answer.returncode}"]
        raise ConfigError(f"ffmpeg: {path} does not run: {words[-1]}")
    return parse_version(answer.stdout)


def missing_encoders(program: Program, profiles: Mapping[str, Profile]) -> list[str]:
    """Say, a sentence each, which profiles need an encoder that this ffmpeg lacks."""
    if not program.encoders:
        return []
    return [
        f"profiles.{profile.name}.args: this ffmpeg ({program.path}, {program.version}) has no"
        f" encoder {encoder}; name another one, or another ffmpeg"
        for profile in profiles.values()
        for encoder in sorted(encoders_named(profile.args) - program.encoders)
    ]


def _ask(path: str, option: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [path, "-hide_banner", option] if option != "-version" else [path, option],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ASK_SECONDS,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"ffmpeg: {path} does not run: {error}") from error

"""The ffmpeg that runs: where it is, what it can do, and what is wanted of it in vain.

What an ffmpeg answered is kept for its program file, so that a start need not ask again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from watchconv.config.problems import Problem
from watchconv.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

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
_CODEC_OPTION = re.compile(r"^-(?:(?:c|codec)(?::.+)?|[vas]codec)$")
_HARDWARE = re.compile(
    r"_(?:vaapi|nvenc|cuvid|cuda|npp|qsv|amf|v4l2m2m|vulkan|opencl|rkmpp|omx)\b"
    r"|^-(?:hwaccel|init_hw_device|filter_hw_device|vaapi_device|qsv_device)|\bhw(?:upload|map)\b",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Program:
    """An ffmpeg: its path, its version, and its encoders (none: it did not say)."""

    path: str
    version: str
    encoders: frozenset[str]


def find_program(configured: str | None) -> str:
    """Return the path of the ffmpeg to run: the configured one, else PATH's, else the embedded one.

    Raises ConfigError where the configured one cannot run, MissingExtra where there is none.
    """
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
    """Return what an ffmpeg is and can; asked anew where the state directory does not know it.

    keep writes a new answer there. Raises ConfigError where it does not run, or is no ffmpeg.
    """
    try:
        stat = os.stat(path)
    except OSError as error:
        raise ConfigError(f"ffmpeg: {path} cannot be found: {error.strerror}") from error
    key = [path, stat.st_size, stat.st_mtime_ns]
    known_file = os.path.join(state_dir, _CACHE)
    with suppress(OSError, ValueError, KeyError, TypeError):
        with open(known_file, encoding="utf-8") as reader:
            known = json.load(reader)
        if known["key"] == key and known["encoders"]:
            return Program(path, known["version"], frozenset(known["encoders"]))
    program = _examine(path, stat.st_size, stat.st_mtime_ns)
    if keep:
        answer = {"key": key, "version": program.version, "encoders": sorted(program.encoders)}
        with suppress(OSError), open(known_file, "w", encoding="utf-8") as writer:
            json.dump(answer, writer)  # else it is asked again at the next start
    return program


@cache
def _examine(path: str, size: int, mtime_ns: int) -> Program:
    """Ask a program; size and mtime_ns tell it from what its file was before."""
    version, listing = version_of(path), _ask(path, "-encoders").stdout
    encoders = re.findall(r"^ [VAS][A-Z.]{5} (\S+)", listing, re.MULTILINE)
    return Program(path, version, frozenset(encoders) - {"="})


def version_of(path: str) -> str:
    """Return an ffmpeg's version. Raises ConfigError where it does not run, or is no ffmpeg."""
    answer = _ask(path, "-version")
    if answer.returncode:
        words = answer.stderr.strip().splitlines() or [f"it ends with status {answer.returncode}"]
        raise ConfigError(f"ffmpeg: {path} does not run: {words[-1]}")
    if found := re.search(r"^ffmpeg version (\S+)", answer.stdout, re.MULTILINE):
        return found[1]
    raise ConfigError(
        f"ffmpeg: {path} is no ffmpeg: it does not answer -version as one does;"
        " write the path of an ffmpeg, or auto"
    )


def codecs_decoded(path: str) -> frozenset[str]:
    """Return the codecs that an ffmpeg has a decoder for; none where it does not say."""
    try:
        listing = _ask(path, "-codecs").stdout
    except ConfigError:
        return frozenset()
    return frozenset(re.findall(r"^ D\S{5} (\S+)", listing, re.MULTILINE))


def encoders_named(args: Sequence[str]) -> set[str]:
    """Return the encoders that the arguments ask for by name; copying is none."""
    return {value for option, value in pairwise(args) if _CODEC_OPTION.match(option)} - {"copy"}


def uses_hardware(args: Sequence[str]) -> bool:
    """Return whether the arguments hand work to a GPU or codec chip.

    Their drivers map far more address space than they use memory, so that no limit can hold.
    """
    return _HARDWARE.search("\n".join(args)) is not None


def missing_encoders(program: Program, profiles: Mapping[str, Profile]) -> list[str]:
    """Return a sentence for each profile that needs an encoder which this ffmpeg lacks."""
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
    """Yield what this machine's ffmpeg keeps from working: the path of a key, and a sentence.

    Keys in broken hold no value to go by. That there is no ffmpeg at all is no mistake of the
    configuration: whoever starts one says so.
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
        is_own = name in config.profiles  # and not only the built-in one that is chosen
        if sentence := _lacking(program, profile):
            if is_own:
                yield Problem(("profiles", name, "args"), sentence)
            else:
                yield Problem(("profile",), f"{name} cannot be used: {sentence}")
        suffix = profile.suffix
        if not is_own or "-f" in profile.args or suffix.endswith(_SUFFIXES):
            continue
        # Given nothing to read and nowhere to write, it looks for the container first of all.
        output = f"{os.devnull}/output{suffix}"
        said = _ask(program.path, "-f", "ffmetadata", "-i", os.devnull, output).stderr
        if any(words in said for words in _NO_CONTAINER):
            text = f"this ffmpeg ({program.path}) has no container for names in {suffix}"
            advice = "write another one, or -f FORMAT in args"
            yield Problem(("profiles", name, "suffix"), f"{text}; {advice}")


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

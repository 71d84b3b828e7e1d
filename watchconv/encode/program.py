"""The ffmpeg that runs: where it is, what it can do, and what is wanted of it in vain.

What an ffmpeg answered is kept for its program file, so that a start need not ask again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.util import find_spec
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from watchconv.config.problems import Problem
from watchconv.config.wish import Declared
from watchconv.encode.decide.encoders import lacks, wants_hardware
from watchconv.encode.trial import ask, encodes, writes_matroska_rotation
from watchconv.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from watchconv.config import Config
    from watchconv.model import Profile

_CACHE = "ffmpeg.json"
_KNOWN = 3  # other programs that are remembered beside the one just asked
_VERSION = re.compile(r"^ffmpeg version (\S+)", re.MULTILINE)
_ENCODER = re.compile(r"^ [VAS][A-Z.]{5} (\S+)", re.MULTILINE)
# a codec, and the names of its decoders where they are not its own
_DECODED = re.compile(r"^ D\S{5} (\S+)(?:.*\(decoders: ([^)]*)\))?", re.MULTILINE)
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
class Ability:
    """What an ffmpeg can do, found by having it try; the defaults are a recent one's."""

    version: str = ""
    libavcodec: tuple[int, ...] = ()  # its version grows, whatever a build calls itself
    encoders: frozenset[str] = frozenset()  # none: it did not say
    decoders: frozenset[str] = frozenset()
    decodes: frozenset[str] = frozenset()  # the codecs that it has a decoder for
    demux_time_base: str = "demux"  # how -enc_time_base asks for the time base of the input
    writes_matroska_rotation: bool = True  # of a picture that is copied
    has_vmaf: bool = True
    x265_captions: bool = True  # -a53cc
    x265_dolby_vision: bool = True
    svtav1_dolby_vision: bool = True

    def can_decode(self, codec: str) -> bool:
        """Return whether there is a decoder for a codec, as far as it said."""
        return not self.decodes or codec in self.decodes

    @property
    def gaps(self) -> tuple[str, ...]:
        """What a recent ffmpeg can do and this one cannot, a sentence each."""
        told = {
            "a picture that is turned is not copied into Matroska: it would lie on its side": (
                self.writes_matroska_rotation
            ),
            "libx265 loses closed captions": self.x265_captions,
            "libx265 loses Dolby Vision": self.x265_dolby_vision,
            "libsvtav1 loses Dolby Vision": self.svtav1_dolby_vision,
            "there is no libvmaf: no quality can be found by it": self.has_vmaf,
        }
        return tuple(sentence for sentence, can in told.items() if not can)


@dataclass(frozen=True, slots=True)
class Program:
    """An ffmpeg: its path, and what it can do."""

    path: str
    ability: Ability


_ABILITIES = {field.name for field in fields(Ability)}
_KINDS = {"libavcodec": tuple} | dict.fromkeys(("encoders", "decoders", "decodes"), frozenset)


def choose_program(config: Config, *, keep: bool = True) -> Program:
    """Return the ffmpeg to run: the configured one, else the newer of PATH's and the embedded one.

    Where a profile encodes in hardware, PATH's: it is made for the drivers here. Where one lacks
    an encoder that a profile names, the other. ``keep`` is as in ``examine_program``. Raises
    ConfigError where none runs, MissingExtra where there is none.
    """
    if config.ffmpeg:
        if os.path.isfile(config.ffmpeg) and os.access(config.ffmpeg, os.X_OK):
            return examine_program(config.ffmpeg, config.state, keep=keep)
        raise ConfigError(
            f"ffmpeg: {config.ffmpeg} is no program that can be run; write its path, or auto"
        )
    paths = [path for path in (shutil.which("ffmpeg"), embedded_program()) if path]
    if any(uses_hardware(p.args) or wants_hardware(p) for p in config.all_profiles.values()):
        del paths[1:]
    found: list[Program] = []
    wrong: list[ConfigError] = []
    for path in paths:
        try:
            found.append(examine_program(path, config.state, keep=keep))
        except ConfigError as error:
            wrong.append(error)
    if found:
        wanted = {
            name: config.all_profiles.get(name) for name in {*config.profiles, config.profile}
        }
        profiles = {name: profile for name, profile in wanted.items() if profile}
        return max(
            found,
            key=lambda one: (-len(missing_encoders(one, profiles)), one.ability.libavcodec),
        )
    if wrong:
        raise wrong[0]
    raise MissingExtra(
        "there is no ffmpeg: install your system's (apt install ffmpeg), or the one that"
        " comes with watchconv: pip install 'watchconv[ffmpeg]'; or name one with ffmpeg: PATH"
    )


def embedded_program() -> str | None:
    """Return the path of imageio-ffmpeg's program. Asked itself, the package would run it first."""
    spec = find_spec("imageio_ffmpeg")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder, "binaries").glob("ffmpeg-*")):
            if os.access(path, os.X_OK):
                return str(path)
    return None


def examine_program(path: str, state_dir: str, *, keep: bool = True) -> Program:
    """Return what an ffmpeg is and can; tried anew where the state directory does not know it.

    keep writes a new answer there. Raises ConfigError where it does not run, or is no ffmpeg.
    """
    try:
        stat = os.stat(path)
    except OSError as error:
        raise ConfigError(f"ffmpeg: {path} cannot be found: {error.strerror}") from error
    key = [path, stat.st_size, stat.st_mtime_ns]
    known_file = os.path.join(state_dir, _CACHE)
    others = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        with open(known_file, encoding="utf-8") as reader:
            known = json.load(reader)["programs"]
        others = [kept for kept in known if kept["key"][0] != path]
        for kept in known:
            if kept["key"] == key and kept["ability"].keys() == _ABILITIES:
                # JSON has neither sets nor tuples
                read = {name: _KINDS.get(name, type(v))(v) for name, v in kept["ability"].items()}
                return Program(path, Ability(**read))
    ability = _examine(path, stat.st_size, stat.st_mtime_ns)
    if keep and ability.encoders:
        answer = {"key": key, "ability": asdict(ability)}
        with suppress(OSError), open(known_file, "w", encoding="utf-8") as writer:
            # else it is asked again at the next start
            json.dump({"programs": [answer, *others[:_KNOWN]]}, writer, default=sorted)
    return Program(path, ability)


@cache
def _examine(path: str, size: int, mtime_ns: int) -> Ability:
    """Have a program tell and try; size and mtime_ns tell it from what its file was before."""
    answer = _ask_version(path)
    with ThreadPoolExecutor() as pool:
        encoders, codecs = pool.submit(ask, path, "-encoders"), pool.submit(ask, path, "-codecs")
        x265 = pool.submit(ask, path, "-h", "encoder=libx265")
        svtav1 = pool.submit(ask, path, "-h", "encoder=libsvtav1")
        has_demux = pool.submit(encodes, path, "-enc_time_base", "demux")
        has_vmaf = pool.submit(encodes, path, "-lavfi", "split[a][b];[a][b]libvmaf")
        turns = pool.submit(writes_matroska_rotation, path)
    library = re.search(r"^libavcodec +([\d. ]+)", answer, re.MULTILINE)
    decoded = dict(_DECODED.findall(codecs.result().stdout))
    named = (words.split() or [codec] for codec, words in decoded.items())
    return Ability(
        version=_VERSION.findall(answer)[0],
        libavcodec=tuple(map(int, re.findall(r"\d+", library[1]))) if library else (),
        encoders=frozenset(_ENCODER.findall(encoders.result().stdout)) - {"="},
        decoders=frozenset(chain.from_iterable(named)) - {"="},
        decodes=frozenset(decoded) - {"="},
        demux_time_base="demux" if has_demux.result() else "-1",
        writes_matroska_rotation=turns.result(),
        has_vmaf=has_vmaf.result(),
        x265_captions=" -a53cc " in x265.result().stdout,
        x265_dolby_vision=" -dolbyvision " in x265.result().stdout,
        svtav1_dolby_vision=" -dolbyvision " in svtav1.result().stdout,
    )


def version_of(path: str) -> str:
    """Return an ffmpeg's version. Raises ConfigError where it does not run, or is no ffmpeg."""
    return str(_VERSION.findall(_ask_version(path))[0])


def _ask_version(path: str) -> str:
    answer = ask(path, "-version")
    if answer.returncode:
        words = answer.stderr.strip().splitlines() or [f"it ends with status {answer.returncode}"]
        raise ConfigError(f"ffmpeg: {path} does not run: {words[-1]}")
    if _VERSION.search(answer.stdout):
        return answer.stdout
    raise ConfigError(
        f"ffmpeg: {path} is no ffmpeg: it does not answer -version as one does;"
        " write the path of an ffmpeg, or auto"
    )


def encoders_named(args: Sequence[str]) -> set[str]:
    """Return the encoders that the arguments ask for by name; copying is none."""
    return {value for option, value in pairwise(args) if _CODEC_OPTION.match(option)} - {"copy"}


def uses_hardware(args: Sequence[str]) -> bool:
    """Return whether the arguments hand work to a GPU or codec chip.

    Their drivers map far more address space than they use memory, so that no limit can hold.
    """
    return _HARDWARE.search("\n".join(args)) is not None


def missing_encoders(program: Program, profiles: Mapping[str, Profile]) -> list[str]:
    """Return a sentence for each thing that a profile needs and this ffmpeg cannot do."""
    return [
        f"profiles.{profile.name}.{key}: {sentence}"
        for profile in profiles.values()
        for key, sentence in _lacking(program, profile)
    ]


def _lacking(program: Program, profile: Profile) -> Iterator[tuple[str, str]]:
    """Yield the key of a profile that this ffmpeg cannot meet, and a sentence."""
    ability = program.ability
    if not ability.encoders:
        return
    found = list(lacks(profile.wish, ability)) if isinstance(profile, Declared) else []
    if missing := sorted(encoders_named(profile.args) - ability.encoders):
        found.append(("args", f"has no encoder {', '.join(missing)}; name another one"))
    for key, text in found:
        yield key, f"this ffmpeg ({program.path}, {ability.version}) {text}, or another ffmpeg"


def find_unusable(config: Config, broken: Collection[str]) -> Iterator[Problem]:
    """Yield what this machine's ffmpeg keeps from working: the path of a key, and a sentence.

    Keys in broken hold no value to go by. That there is no ffmpeg at all is no mistake of the
    configuration: whoever starts one says so.
    """
    if "ffmpeg" in broken:
        return
    try:
        program = choose_program(config, keep=False)
    except MissingExtra:
        return
    except ConfigError as error:
        yield Problem(("ffmpeg",), str(error).removeprefix("ffmpeg: "))
        return
    for name in {*config.profiles, config.profile} & config.all_profiles.keys():
        profile = config.all_profiles[name]
        is_own = name in config.profiles  # and not only the built-in one that is chosen
        for key, sentence in _lacking(program, profile):
            if is_own:
                yield Problem(("profiles", name, *key.split(".")), sentence)
            else:
                yield Problem(("profile",), f"{name} cannot be used: {sentence}")
        suffix = profile.suffix
        is_sure = suffix.endswith(_SUFFIXES) or isinstance(profile, Declared)
        if not suffix or not is_own or "-f" in profile.args or is_sure:
            continue
        # Given nothing to read and nowhere to write, it looks for the container first of all.
        output = f"{os.devnull}/output{suffix}"
        said = ask(program.path, "-f", "ffmetadata", "-i", os.devnull, output).stderr
        if any(words in said for words in _NO_CONTAINER):
            text = f"this ffmpeg ({program.path}) has no container for names in {suffix}"
            advice = "write another one, or -f FORMAT in args"
            yield Problem(("profiles", name, "suffix"), f"{text}; {advice}")

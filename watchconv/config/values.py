"""Single values, as a person writes them: folders, sizes, modes, owners, suffixes, arguments.

pydantic reads numbers, truth values, enums, lists and groups by itself. These are the types that it
cannot know: the finished type, annotated with what reads the text, and what writes it again.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import shutil
from collections.abc import Callable  # noqa: TC003 (pydantic reads it)
from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
)
from pydantic import GetCoreSchemaHandler as Handler
from pydantic import ValidationInfo as Info
from pydantic_core import CoreSchema, core_schema

from watchconv.config.document import Plain
from watchconv.config.keys import HealthProfile, RawProfile, usable_cpus
from watchconv.config.problems import show
from watchconv.config.wish import Wish
from watchconv.names import NAME_MAX_BYTES, SUFFIX_MAX_BYTES, printable

SECONDS_MAX = 315_360_000  # ten years; no timer of the system takes offence
BYTES_MAX = 2**63 - 1
UID_MAX = 2**32 - 2

_UNFINISHED = (".part", ".partial", ".filepart", ".tmp", ".temp")
_SIZE = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)\s*(?:([KMGTP])(I)?)?(B)?", re.IGNORECASE | re.ASCII)

# What watchconv writes on every command line itself: these would answer its questions twice,
# silence the lines it reads, or hang a child on a terminal.
_RESERVED = frozenset({"-y", "-n", "-v", "-loglevel", "-progress", "-nostdin", "-stdin", "-report"})
_FLAGS = frozenset({"-an", "-vn", "-sn", "-dn", "-shortest"})  # that take no value, for certain
_VALUED = re.compile(  # that take one, whatever it looks like
    r"-(?:map|c|codec|[vas]codec|b|q|qscale|vf|af|filter|filter_complex|lavfi|crf|preset|profile"
    r"|tune|r|s|t|to|ss|g|ac|ar|aspect|pix_fmt|f|metadata|movflags|fps_mode|vsync|tag)(?::.+)?"
)


@dataclass(frozen=True)
class Or:
    """A word that may be written instead of a value; it means None, or what ``means`` returns."""

    word: str
    means: Callable[[], Any] = lambda: None

    def __get_pydantic_core_schema__(self, source: object, handler: Handler) -> CoreSchema:
        """Return the schema of the value, with the word before it."""
        values = handler(source)
        word = core_schema.literal_schema([self.word])
        return core_schema.no_info_before_validator_function(
            lambda value: self.means() if value == self.word else value,
            values,
            json_schema_input_schema=core_schema.union_schema([values, word]),
            serialization=core_schema.wrap_serializer_function_ser_schema(
                lambda value, write: self.word if value is None else write(value), schema=values
            ),
        )


def reader(noun: str, wanted: str, read: Callable[[str], Any], written: Any = str) -> Any:
    """Have pydantic read a text by ``read``, which raises ValueError for what is none.

    Its message says what is wrong; without one that is that the text is no such thing. written is
    the type that the JSON Schema names.
    """

    def take(value: object) -> Any:
        """Return the finished value of a text that a system call can take."""
        wrong = f"{show(value)} is no {noun}"
        try:
            if isinstance(value, str):
                if not value.strip():
                    raise ValueError("is empty")
                if "\0" in value:
                    raise ValueError("holds a NUL byte")
                os.fsencode(value)
                return read(value)
        except UnicodeEncodeError:
            wrong = "holds a character that no file name can have"
        except ValueError as error:
            wrong = str(error) or wrong
        raise ValueError(f"{wrong}; write {wanted}")

    return BeforeValidator(take, json_schema_input_type=written)


def read_path(text: str) -> str:
    """Return a path, the home at its start written out."""
    if isinstance(text, Plain):
        raise ValueError(f"{show(text)} is no path without quotes around it")
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise ValueError(f"{show(text)}: nobody has this home (./~ begins a name)")
    return path


def read_program(text: str) -> str:
    """Return the path of a program; a name is looked for now, as PATH may be another one later."""
    path = read_path(text)
    if "/" in text:
        return path
    if found := shutil.which(text):
        return os.path.abspath(found)
    raise ValueError(f"{show(text)} is not on PATH")


def absolute(path: str, info: Info) -> str:
    """Return a path; a relative one is relative to the folder of the configuration."""
    return os.path.join((info.context or {}).get("folder", ""), path)


_base = AfterValidator(absolute)
_path = reader("path", "the path of a folder", read_path)
Folder = Annotated[str, _path, _base, AfterValidator(os.path.realpath)]
# links of a program are kept: some look at their own name
_program = reader("path", "the path of a program, or auto", read_program)
_Program = Annotated[str, _program, _base, AfterValidator(os.path.normpath)]
Program = Annotated[_Program | None, Or("auto")]


def read_size(text: str, least: int = 0) -> int:
    """Return bytes: GiB, Gi and G are 1024^3 (as in systemd and df), GB is 1000^3."""
    match = _SIZE.fullmatch(text.strip().replace("_", ""))
    if match is None:
        raise ValueError
    number, letter, binary, unit = match.groups()
    base = 1000 if unit and not binary else 1024
    factor = base ** ("KMGTP".index(letter.upper()) + 1) if letter else 1
    size = int(number) * factor if number.isdecimal() else int(float(number) * factor)
    if size > BYTES_MAX or 0 < size < least:
        raise ValueError(f"{show(text)} is too {'little' if size < least else 'much'}")
    return size


def write_size(count: int) -> str | int:
    """Return a size in the largest unit that it is a whole number of."""
    for power, unit in ((5, "PiB"), (4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if count and count % 1024**power == 0:
            return f"{count // 1024**power}{unit}"
    return count


def _size(least: int = 0) -> Any:
    wanted = f"0 (off) or at least {least >> 20}MiB" if least else "bytes as 1GiB, 500MB or 0"
    written = Annotated[int | str, Field(examples=["1GiB", "500MB", 0])]
    return reader("size", wanted, partial(read_size, least=least), written)


Jobs = Annotated[Annotated[int, Field(ge=1, le=1024)], Or("auto", usable_cpus)]
Seconds = Annotated[float, Field(ge=0, le=SECONDS_MAX)]
Limit = Annotated[float, Field(ge=1, le=SECONDS_MAX)]
ScanSeconds = Annotated[Limit | None, Or("auto")]
_bytes = PlainSerializer(write_size)
Size = Annotated[int, _size(), _bytes]
OutputSize = Annotated[int, _size(1 << 20), _bytes]  # below this hardly anything is a video
ChildSize = Annotated[int, _size(64 << 20), _bytes]  # below this no ffmpeg starts
MemoryLimit = Annotated[ChildSize | None, Or("auto")]


def _account(kind: str, find: Callable[[str], int]) -> Any:
    """Read a user or group; a number needs no entry: containers have few."""

    def read(text: str) -> int:
        """Return its number."""
        try:
            number = int(text) if text.isdecimal() else find(text)
        except KeyError as error:
            raise ValueError(f"there is no {kind} {show(text)}") from error
        if number > UID_MAX:
            raise ValueError(f"{show(text)} is out of range, {UID_MAX} is the most")
        return number

    return reader(kind, f"the name or the number of a {kind}, or inherit", read, int | str)


def _permissions(example: str, needed: int = 0) -> Any:
    """Read octal digits; needed is what the owner must not be without."""

    def read(text: str) -> int:
        """Return them as a number."""
        if not re.fullmatch("(0o)?[0-7]{1,5}", text, re.ASCII) or (mode := int(text, 8)) > 0o7777:
            raise ValueError
        if mode & needed != needed:
            lack = f"{mode:04o} shuts the owner out of the folder"
            raise ValueError(f"{lack}, {needed:04o} is the least")
        return mode

    return reader("mode", f"octal digits such as {example}, or inherit", read)


_User = Annotated[int, _account("user", lambda name: pwd.getpwnam(name).pw_uid)]
User = Annotated[_User | None, Or("inherit")]
_Group = Annotated[int, _account("group", lambda name: grp.getgrnam(name).gr_gid)]
SystemGroup = Annotated[_Group | None, Or("inherit")]
_octal = PlainSerializer("{:04o}".format)
_Mode = Annotated[int, _permissions("0664"), _octal]
Mode = Annotated[_Mode | None, Or("inherit")]
_FolderMode = Annotated[int, _permissions("2775", 0o700), _octal]
FolderMode = Annotated[_FolderMode | None, Or("inherit")]


def read_extension(text: str) -> str:
    """Return an extension in lower case, without its dot."""
    word = text.strip().lower().removeprefix(".")
    if not word or set(word) & set("./*?[") or not word.isprintable():
        raise ValueError
    return word


def some_once(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return each word once; there must be some."""
    if not words:
        raise ValueError("is empty, nothing would be converted; write a list: [mp4], or any")
    return tuple(dict.fromkeys(words))


def read_profile_name(text: str) -> str:
    """Return a name that a folder of the inbox can have."""
    too_long = len(os.fsencode(text)) > NAME_MAX_BYTES
    if "/" in text or text.startswith(".") or too_long or printable(text) != text:
        raise ValueError("cannot name a folder")
    return str(text)


def read_suffix(text: str) -> str:
    """Return what names of outputs end with."""
    if text.lower().endswith(_UNFINISHED):
        raise ValueError(f"{show(text)} is how unfinished files end")
    too_long = len(os.fsencode(text)) > SUFFIX_MAX_BYTES
    if not re.fullmatch(r"(?:\.[^\s./]+)+", text) or too_long or printable(text) != text:
        raise ValueError
    return str(text)


_NAME = "a name of at most 255 bytes that can be seen, without / and with no dot at its start"
_SUFFIX = "one that starts with a dot, of at most 32 bytes: .mp4"
_Extension = Annotated[str, reader("extension", "one such as mp4", read_extension)]
_Some = Annotated[tuple[_Extension, ...], Field(examples=[["mp4", "mkv"]])]
Extensions = Annotated[Annotated[_Some, AfterValidator(some_once)] | None, Or("any")]
Pattern = Annotated[str, reader("pattern", 'one such as "*.bak"', str)]
ProfileName = Annotated[str, reader("name", _NAME, read_profile_name)]
Suffix = Annotated[str, reader("suffix", _SUFFIX, read_suffix)]


def read_args(value: object) -> tuple[str, ...]:
    """Return arguments for ffmpeg, from a text that is split as a shell would, or a list.

    What is refused can never work: it would be a second input or output, leave an option without
    its value, or take what watchconv sets itself. What is doubtful is left to ffmpeg.
    """
    if isinstance(value, str):
        try:
            args = tuple(shlex.split(value))
        except ValueError as error:
            raise ValueError("a quote is not closed, or a \\ is the last character") from error
    elif isinstance(value, list | tuple):
        wrong = [item for item in value if not isinstance(item, str | int | float)]
        if wrong:
            raise ValueError(f"{show(wrong[0])} is no argument; write texts and numbers")
        args = tuple(map(str, value))
    else:
        raise ValueError(f"{show(value)} is no text; write arguments as a text or a list")
    for arg in args:
        if "\0" in arg:
            raise ValueError(f"{show(arg)} holds a NUL byte, which no argument can")
        if arg in _RESERVED:
            raise ValueError(f"{arg} is set by watchconv itself; remove it (and its value)")
    _check_places(args)
    return args


def _check_places(args: tuple[str, ...]) -> None:
    """Refuse what does not stand between one input and one output."""
    option = ""  # the one that may take the word that comes next
    for arg in args:
        if _VALUED.fullmatch(option):
            option = ""
        elif arg == "-i":
            raise ValueError("-i names another input, and there is one only; remove it")
        elif arg.startswith("-") and arg != "-":
            option = "" if arg in _FLAGS else arg
        elif not option:
            raise ValueError(f"{show(arg)} would be another output; remove it, or write its option")
        else:
            option = ""
    if _VALUED.fullmatch(option):
        raise ValueError(f"{option} has no value; write one, or remove it")


_written_args = BeforeValidator(read_args, json_schema_input_type=str | list[str | float])
Arguments = Annotated[tuple[str, ...], _written_args, PlainSerializer(shlex.join)]


# Declared profiles.

_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([kM])?")


def read_bit_rate(text: str) -> int:
    """Return bits a second: k and M are thousands and millions, as ffmpeg reads them."""
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise ValueError
    rate = float(match[1]) * {"k": 1e3, "M": 1e6}.get(match[2], 1.0)
    if not 1000 <= rate <= 1e10:
        raise ValueError(f"{show(text)} is out of range")
    return int(rate)


def read_language(text: str) -> str:
    """Return a language's code of three letters, in lower case."""
    word = text.strip().lower()
    if not re.fullmatch("[a-z]{3}", word):
        raise ValueError
    return word


def read_encoder(text: str) -> str:
    """Return the name of an encoder; whether there is such a one is asked of the ffmpeg."""
    if not re.fullmatch("[a-z0-9_-]{2,40}", text) or text in ("vmaf", "between"):
        raise ValueError
    return str(text)


Quality = Annotated[float, Field(ge=0, le=1000)]
BitRate = Annotated[int, reader("bit rate", "bits a second such as 4M or 800k", read_bit_rate)]
Language = Annotated[str, reader("language", "three letters such as eng", read_language)]
EncoderName = Annotated[str, reader("encoder", "a name such as libx265", read_encoder)]

_ONLY_DECLARED = {key.name for key in fields(Wish)} - {key.name for key in fields(RawProfile)}


def kind_of_profile(value: object) -> str:
    """Say which kind is meant: what has a key that only this one has, or was made of one."""
    if isinstance(value, HealthProfile) or (isinstance(value, dict) and "health" in value):
        return "health"
    if isinstance(value, dict):
        return "raw" if _ONLY_DECLARED.isdisjoint(value) else "declared"
    return "declared" if isinstance(value, Wish) else "raw"


ProfileKeys = Annotated[
    Annotated[RawProfile, Tag("raw")]
    | Annotated[Wish, Tag("declared")]
    | Annotated[HealthProfile, Tag("health")],
    Discriminator(kind_of_profile),
]

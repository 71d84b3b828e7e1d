"""Single values, as a person writes them: folders, sizes, modes, owners, suffixes.

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
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer
from pydantic import GetCoreSchemaHandler as Handler
from pydantic import ValidationInfo as Info
from pydantic_core import CoreSchema, core_schema

from watchconv.config.arguments import read_args
from watchconv.config.document import Plain
from watchconv.config.keys import usable_cpus
from watchconv.config.problems import show
from watchconv.names import SUFFIX_MAX_BYTES, printable

SECONDS_MAX = 315_360_000  # ten years; no timer of the system takes offence
BYTES_MAX = 2**63 - 1
UID_MAX = 2**32 - 2
NAME_MAX = 255

_UNFINISHED = (".part", ".partial", ".filepart", ".tmp", ".temp")
_UNITS = ("", "KiB", "MiB", "GiB", "TiB", "PiB")
_SIZE = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)\s*(?:([KMGTP])(I)?)?(B)?", re.IGNORECASE | re.ASCII)


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


def _reader(
    noun: str, wanted: str, read: Callable[[str], Any], written: Any = str
) -> BeforeValidator:
    """Read a text; read raises ValueError with what is wrong, or bare where it is no such thing."""

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


def _expand(text: str) -> str:
    if isinstance(text, Plain):
        raise ValueError(f"{show(text)} is no path without quotes around it")
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise ValueError(f"{show(text)}: nobody has this home (./~ begins a name)")
    return path


def _find_program(text: str) -> str:
    path = _expand(text)
    if "/" in text:
        return path
    if found := shutil.which(text):  # now, as PATH may be another one later
        return os.path.abspath(found)
    raise ValueError(f"{show(text)} is not on PATH")


def _absolute(path: str, info: Info) -> str:
    return os.path.join((info.context or {}).get("folder", ""), path)


def _read_size(text: str, least: int = 0) -> int:
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


def _write_size(count: int) -> str | int:
    power = 0
    while count and count % 1024 == 0 and power < len(_UNITS) - 1:
        count //= 1024
        power += 1
    return f"{count}{_UNITS[power]}" if power else count


def _size(least: int = 0) -> Any:
    wanted = f"0 (off) or at least {least >> 20}MiB" if least else "bytes as 1GiB, 500MB or 0"
    written = Annotated[int | str, Field(examples=["1GiB", "500MB", 0])]
    return _reader("size", wanted, partial(_read_size, least=least), written)


def _read_mode(text: str, needed: int = 0) -> int:
    if not re.fullmatch("(0o)?[0-7]{1,5}", text, re.ASCII) or (mode := int(text, 8)) > 0o7777:
        raise ValueError
    if mode & needed != needed:
        raise ValueError(f"{mode:04o} shuts the owner out of the folder, {needed:04o} is the least")
    return mode


def _id(kind: str, find: Callable[[str], int]) -> Any:
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

    return _reader(kind, f"the name or the number of a {kind}, or inherit", read, int | str)


def _read_extension(text: str) -> str:
    word = text.strip().lower().removeprefix(".")
    if not word or set(word) & set("./*?[") or not word.isprintable():
        raise ValueError
    return word


def _some_once(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words:
        raise ValueError("is empty, nothing would be converted; write a list: [mp4], or any")
    return tuple(dict.fromkeys(words))


def _read_profile_name(text: str) -> str:
    too_long = len(os.fsencode(text)) > NAME_MAX
    if "/" in text or text.startswith(".") or too_long or printable(text) != text:
        raise ValueError("cannot name a folder")
    return str(text)


def _read_suffix(text: str) -> str:
    if text.lower().endswith(_UNFINISHED):
        raise ValueError(f"{show(text)} is how unfinished files end")
    too_long = len(os.fsencode(text)) > SUFFIX_MAX_BYTES
    if not re.fullmatch(r"(?:\.[^\s./]+)+", text) or too_long or printable(text) != text:
        raise ValueError
    return str(text)


_PATH = "the path of a folder"
_PROGRAM = "the path of a program, or auto"  # links of it are kept: some look at their own name
_MODE, _FOLDER_MODE = (f"octal digits such as {mode}, or inherit" for mode in ("0664", "2775"))
_NAME = "a name of at most 255 bytes that can be seen, without / and with no dot at its start"
_SUFFIX = "one that starts with a dot, of at most 32 bytes: .mp4"
_octal = PlainSerializer("{:04o}".format)
_bytes = PlainSerializer(_write_size)
_realpath, _normpath = AfterValidator(os.path.realpath), AfterValidator(os.path.normpath)
_base = AfterValidator(_absolute)

# The types that keys names; those with _ are half of one.
Folder = Annotated[str, _reader("path", _PATH, _expand), _base, _realpath]
_Program = Annotated[str, _reader("path", _PROGRAM, _find_program), _base, _normpath]
Program = Annotated[_Program | None, Or("auto")]
Jobs = Annotated[Annotated[int, Field(ge=1, le=1024)], Or("auto", usable_cpus)]
_Extension = Annotated[str, _reader("extension", "one such as mp4", _read_extension)]
_Some = Annotated[tuple[_Extension, ...], Field(examples=[["mp4", "mkv"]])]
Extensions = Annotated[Annotated[_Some, AfterValidator(_some_once)] | None, Or("any")]
Pattern = Annotated[str, _reader("pattern", 'one such as "*.bak"', str)]
Seconds = Annotated[float, Field(ge=0, le=SECONDS_MAX)]
Limit = Annotated[float, Field(ge=1, le=SECONDS_MAX)]
ScanSeconds = Annotated[Limit | None, Or("auto")]
Size = Annotated[int, _size(), _bytes]
OutputSize = Annotated[int, _size(1 << 20), _bytes]  # below this hardly anything is a video
ChildSize = Annotated[int, _size(64 << 20), _bytes]  # below this no ffmpeg starts
_User = Annotated[int, _id("user", lambda name: pwd.getpwnam(name).pw_uid)]
User = Annotated[_User | None, Or("inherit")]
_Group = Annotated[int, _id("group", lambda name: grp.getgrnam(name).gr_gid)]
SystemGroup = Annotated[_Group | None, Or("inherit")]
_Mode = Annotated[int, _reader("mode", _MODE, _read_mode), _octal]
Mode = Annotated[_Mode | None, Or("inherit")]
_read_folder_mode = partial(_read_mode, needed=0o700)
_FolderMode = Annotated[int, _reader("mode", _FOLDER_MODE, _read_folder_mode), _octal]
FolderMode = Annotated[_FolderMode | None, Or("inherit")]
ProfileName = Annotated[str, _reader("name", _NAME, _read_profile_name)]
Suffix = Annotated[str, _reader("suffix", _SUFFIX, _read_suffix)]
_written_args = BeforeValidator(read_args, json_schema_input_type=str | list[str | float])
Arguments = Annotated[tuple[str, ...], _written_args, PlainSerializer(shlex.join)]

"""Single values, as a person writes them: folders, sizes, numbers, modes, owners, suffixes.

Guarantees: each ``read_*`` takes what stands in the file (text) and what a program passes
(the finished value), and gives the finished value. None stands for the words auto, any and
inherit. A mode is read as octal digits, as ``chmod`` does, whatever YAML thinks of its zero.

Does not know which key it reads for; ``keys`` puts the readers to the keys.

Errors: ``ValueError`` with a sentence: what is wrong; what to write instead.
"""

from __future__ import annotations

import grp
import math
import os
import pwd
import re
import shutil
from typing import TYPE_CHECKING

from watchconv.config.document import Plain
from watchconv.names import SUFFIX_MAX_BYTES, printable

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS_MAX = 315_360_000  # ten years; no timer of the system takes offence
BYTES_MAX = 2**63 - 1
CHILD_BYTES_MIN = 64 << 20  # below this no ffmpeg starts
OUTPUT_BYTES_MIN = 1 << 20  # below this hardly anything is a video
STATE_BYTES_MAX = 470  # SQLite takes 504, its files' names included
UID_MAX = 2**32 - 2
_FILE_NAME_MAX = 255

_SUFFIX = re.compile(r"(?:\.[^\s./]+)+")
_UNFINISHED = (".part", ".partial", ".filepart", ".tmp", ".temp")
_SIZE = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)\s*(?:([KMGTP])(I)?)?(B)?", re.IGNORECASE | re.ASCII)


def show(value: object) -> str:
    """Give a short form of a value for a message."""
    match value:
        case dict():
            return "a group of keys"
        case list() | tuple() | set() | frozenset():
            return "a list"
        case str() if len(value) > 60:
            return f"'{value[:57]}...'"
        case str():
            return f"'{value}'"
    return repr(value)[:60]


def show_bytes(count: float) -> str:
    """Write a size as people read it: 1 GiB, 6.29 MiB."""
    units = iter(("bytes", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while count >= 1024 and (larger := next(units, "")):
        count, unit = count / 1024, larger
    return f"{count:.4g} {unit}"


def read_text(value: object, wanted: str) -> str:
    """Take a text that is not empty and that a system call can take."""
    if not isinstance(value, str):
        raise ValueError(f"{show(value)} is no text; write {wanted}")
    if not value.strip():
        raise ValueError(f"is empty; write {wanted}")
    if "\0" in value:
        raise ValueError(f"holds a NUL byte; write {wanted}")
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:
        raise ValueError("holds a character that no file name can have") from error
    return str(value)


def read_whole(value: object, low: int, high: int) -> int:
    """Take a whole number from low to high."""
    wanted = f"write a whole number from {low} to {high}"
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{show(value)} is no whole number; {wanted}")
    try:
        number = int(value)
    except ValueError as error:
        raise ValueError(f"{show(value)} is no whole number; {wanted}") from error
    if not low <= number <= high:
        raise ValueError(f"{show(value)} is out of range; {wanted}")
    return number


def read_real(value: object, low: float, high: float) -> float:
    """Take a number from low to high; never NaN, never infinity."""
    wanted = f"write a number from {low:g} to {high:.0f}"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{show(value)} is no number; {wanted}")
    try:
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{show(value)} is no number; {wanted}") from error
    if not math.isfinite(number):
        raise ValueError(f"{show(value)} is no finite number; {wanted}")
    if not low <= number <= high:
        raise ValueError(f"{show(value)} is out of range; {wanted}")
    return number


def read_switch(value: object) -> bool:
    """Take true or false, and the words that YAML 1.1 knows for them."""
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) else ""
    if word in {"true", "yes", "on"}:
        return True
    if word in {"false", "no", "off"}:
        return False
    raise ValueError(f"{show(value)} is neither; write true or false")


def read_choice(value: object, choices: list[str]) -> str:
    """Take one of some words."""
    if isinstance(value, str) and value in choices:
        return str(value)
    raise ValueError(f"{show(value)} is not possible; write one of {', '.join(choices)}")


def read_bytes(value: object, low: int = 0) -> int:
    """Take a size: 0, or low and more.

    GiB, Gi and G are 1024^3 (as in systemd and df), GB is 1000^3; a bare number is bytes.
    """
    wanted = "write bytes as 1GiB, 500MB or 0"
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{show(value)} is no size; {wanted}")
    match = _SIZE.fullmatch(str(value).strip().replace("_", ""))
    if match is None:
        raise ValueError(f"{show(value)} is no size; {wanted}")
    size = _scaled(*match.groups())
    if size > BYTES_MAX:
        raise ValueError(f"{show(value)} is out of range; write less than 8192PiB")
    if 0 < size < low:
        raise ValueError(f"{show(value)} is too little; write 0 (off) or at least {low >> 20}MiB")
    return size


def _scaled(number: str, letter: str | None, binary: str | None, unit: str | None) -> int:
    base = 1000 if unit and not binary else 1024
    factor = int(base ** ("KMGTP".index(letter.upper()) + 1)) if letter else 1
    return int(number) * factor if number.isdecimal() else int(float(number) * factor)


def read_mode(value: object, needed: int, why: str) -> int | None:
    """Take permission bits in octal (0664, "664", 0o664) or inherit; needed bits must be set.

    A number from a program is the mode itself (``0o664``); text is always octal digits.
    """
    wanted = "write octal digits such as 0664, or inherit"
    if value is None or value == "inherit":
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{show(value)} is no mode; {wanted}")
    try:
        mode = value if isinstance(value, int) else int(value, 8)
    except ValueError as error:
        raise ValueError(f"{show(value)} is no mode; {wanted}") from error
    if not 0 <= mode <= 0o7777:
        raise ValueError(f"{show(value)} is out of range; {wanted}, at most 7777")
    if mode & needed != needed:
        raise ValueError(f"{mode:04o} {why}; write at least {needed:04o}")
    return mode


def read_owner(value: object, find: Callable[[str], int], kind: str) -> int | None:
    """Take a user or group: its name, which must exist, its number, or inherit.

    A number needs no entry: in a container it seldom has one.
    """
    if value is None or value == "inherit":
        return None
    wanted = f"write the name or the number of a {kind}, or inherit"
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{show(value)} is no {kind}; {wanted}")
    if isinstance(value, int) or value.isdecimal():
        return read_whole(value, 0, UID_MAX)
    try:
        return find(read_text(value, wanted))
    except KeyError as error:
        raise ValueError(f"there is no {kind} {show(value)}; {wanted}") from error


def user_id(name: str) -> int:
    """Find the number of a user; KeyError where there is none."""
    return pwd.getpwnam(name).pw_uid


def group_id(name: str) -> int:
    """Find the number of a group; KeyError where there is none."""
    return grp.getgrnam(name).gr_gid


def read_folder(value: object, base: str) -> str:
    """Take a path: ``~`` expanded, relative to base, links of what exists resolved."""
    return os.path.realpath(_absolute(value, base, "the path of a folder"))


def read_state(value: object, base: str) -> str:
    """Take the folder of the journal."""
    path = read_folder(value, base)
    if len(os.fsencode(path)) > STATE_BYTES_MAX:
        raise ValueError(f"is too long for SQLite; write a path of at most {STATE_BYTES_MAX} bytes")
    return path


def _absolute(value: object, base: str, wanted: str) -> str:
    if isinstance(value, Plain):
        raise ValueError(f"{show(value)} is no path; write {wanted}, in quotes if this is its name")
    path = os.path.expanduser(read_text(value, wanted))
    if path.startswith("~"):
        raise ValueError(f"{show(value)}: nobody has this home; write {wanted}, or ./~ for a name")
    return os.path.join(base, path)


def read_program(value: object, base: str) -> str | None:
    """Take a program: a path, a bare name to be found on PATH now, or auto.

    Links are kept: some programs look at the name by which they were called.
    """
    if value is None or value == "auto":
        return None
    path = _absolute(value, base, "the path of a program, or auto")
    if "/" in str(value):
        return os.path.normpath(path)
    found = shutil.which(str(value))
    if found is None:
        raise ValueError(f"{show(value)} is not on PATH; write the path of a program, or auto")
    return os.path.abspath(found)


def read_words(value: object, wanted: str) -> list[str]:
    """Take a list of texts."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"{show(value)} is no list; write a list: {wanted}")
    if any(isinstance(item, str) and not item.strip() for item in value):
        raise ValueError(f"holds an empty word; write a list: {wanted}")
    return [read_text(item, f"a list: {wanted}") for item in value]


def read_extensions(value: object) -> tuple[str, ...] | None:
    """Take extensions, made lower-case and dotless, each once; any gives None."""
    if value is None or value == "any":
        return None
    wanted = "[mp4, mkv], or the word any"
    words = [word.strip().lower().removeprefix(".") for word in read_words(value, wanted)]
    wrong = [show(word) for word in words if not _is_extension(word)]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} is no extension; write a list: {wanted}")
    if not words:
        raise ValueError(f"is empty, nothing would be converted; write a list: {wanted}")
    return tuple(dict.fromkeys(words))


def _is_extension(word: str) -> bool:
    return bool(word) and not set(word) & set("./*?[") and word.isprintable()


def read_profile_name(value: object) -> str:
    """Take a profile's name, which is the name of its sub-folder too."""
    name = read_text(value, "a name")
    if "/" in name or name.startswith("."):
        raise ValueError("cannot name a folder; write a name without / that starts with no dot")
    if len(os.fsencode(name)) > _FILE_NAME_MAX:
        raise ValueError(f"is too long to name a folder; write at most {_FILE_NAME_MAX} bytes")
    if printable(name) != name:
        raise ValueError("holds characters that cannot be seen; write a plain name")
    return name


def read_suffix(value: object) -> str:
    """Take what the names of a profile's outputs end with."""
    suffix = read_text(value, "a suffix such as .mp4")
    if not _SUFFIX.fullmatch(suffix):
        raise ValueError(f"{show(suffix)} is no suffix; write one that starts with a dot: .mp4")
    if suffix.lower().endswith(_UNFINISHED):
        raise ValueError(f"{show(suffix)} is how unfinished files end; write one such as .mp4")
    if len(os.fsencode(suffix)) > SUFFIX_MAX_BYTES:
        raise ValueError(f"is too long; write at most {SUFFIX_MAX_BYTES} bytes, such as .mp4")
    if printable(suffix) != suffix:
        raise ValueError("holds characters that cannot be seen; write a suffix such as .mp4")
    return suffix

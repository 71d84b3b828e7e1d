"""Names of files, which are bytes: derived, numbered, cut to length, shown to people.

Guarantees: a derived name has at most 255 bytes, is cut on a character border and in the stem,
never in the suffix; what ``printable`` returns is one line that no terminal, log or JSON reader
trips over.
Does not touch the file system: whether a name is taken is for the file system to say.
Errors: none; every ``str`` with surrogate escapes is a legal argument.
"""

from __future__ import annotations

import os
import unicodedata

NAME_MAX_BYTES = 255
SUFFIX_MAX_BYTES = 32  # a longer "suffix" is only a dot in a long name

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str) -> str:
    """Escape what is not to reach a terminal or a log: controls, direction marks, stray bytes."""
    if text.isprintable():  # all of it is safe, and nearly every text is
        return text
    return "".join(_escape(c) if unicodedata.category(c) in _UNSAFE else c for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def split_suffix(name: str) -> tuple[str, str]:
    """Split a file's name into stem and suffix; dot files and long "suffixes" have none."""
    stem, suffix = os.path.splitext(name)
    if len(os.fsencode(suffix)) > SUFFIX_MAX_BYTES:
        return name, ""
    return stem, suffix


def fit(stem: str, tail: str) -> str:
    """Join stem and tail, the stem cut so that both together fit into one name."""
    room = NAME_MAX_BYTES - len(os.fsencode(tail))
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem + tail


def numbered(path: str, number: int) -> str:
    """Give the number-th choice for a path: ``a.mp4``, ``a (2).mp4``, ``a (3).mp4`` …"""
    if number < 2:
        return path
    folder, name = os.path.split(path)
    stem, suffix = split_suffix(name)
    return os.path.join(folder, fit(stem, f" ({number}){suffix}"))


def with_suffix(path: str, suffix: str) -> str:
    """Replace the suffix of a path's name: what an output is called."""
    folder, name = os.path.split(path)
    stem, _ = split_suffix(name)
    return os.path.join(folder, fit(stem, suffix))


def report_of(path: str) -> str:
    """Name the report beside a failed original: its full name and ``.log``."""
    folder, name = os.path.split(path)
    return os.path.join(folder, fit(name, ".log"))

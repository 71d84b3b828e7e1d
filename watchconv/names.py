"""Names of files, which are bytes: derived, numbered, cut to length, shown to people.

A derived name has at most 255 bytes; it is cut on a character border and in the stem, never in the
suffix. Whether it is taken is for the file system to say.
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
    shown = ""
    for character in text:
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:
            shown += f"\\x{code - 0xDC00:02x}"
        elif unicodedata.category(character) in _UNSAFE:
            # no codec, which would be loaded now: a confined thread may not read its module
            shown += ascii(character)[1:-1]
        else:
            shown += character
    return shown


def split_suffix(name: str) -> tuple[str, str]:
    """Split a file's name into stem and suffix; dot files and long "suffixes" have none."""
    stem, suffix = os.path.splitext(name)
    if len(os.fsencode(suffix)) > SUFFIX_MAX_BYTES:
        return name, ""
    return stem, suffix


def stem_of(path: str) -> str:
    """Return a path without the suffix of its name."""
    folder, name = os.path.split(path)
    return os.path.join(folder, split_suffix(name)[0])


def fit(stem: str, tail: str) -> str:
    """Join stem and tail, the stem cut so that both together fit into one name."""
    room = NAME_MAX_BYTES - len(os.fsencode(tail))
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem + tail


def numbered(path: str, number: int) -> str:
    """Return the number-th choice for a path: ``a.mp4``, ``a (2).mp4``, ``a (3).mp4`` …"""
    if number < 2:
        return path
    folder, name = os.path.split(path)
    stem, suffix = split_suffix(name)
    return os.path.join(folder, fit(stem, f" ({number}){suffix}"))


def with_suffix(path: str, suffix: str) -> str:
    """Return a path with another suffix: what an output is called."""
    folder, name = os.path.split(path)
    stem, _ = split_suffix(name)
    return os.path.join(folder, fit(stem, suffix))


def report_of(path: str) -> str:
    """Return the report's name beside a failed original: its full name and ``.log``."""
    folder, name = os.path.split(path)
    return os.path.join(folder, fit(name, ".log"))

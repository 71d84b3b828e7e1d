"""The probe worker's answers, which the daemon does not trust.

Whatever the bytes, an answer is understood as ``Facts`` or ``Content`` values within their
bounds, or it is a ``ProbeFailed``; what it says in words is cut and printable.
"""

from __future__ import annotations

import json
import math
import re
from itertools import starmap
from types import NoneType
from typing import TYPE_CHECKING, Any

from watchconv.errors import WatchconvError
from watchconv.media import DEMUXERS, KINDS
from watchconv.media.facts import Content, Facts, Track
from watchconv.model import Cause

if TYPE_CHECKING:
    from collections.abc import Sequence

SENTENCE_CHARACTERS = 300
REFUSALS = frozenset({Cause.NOT_VIDEO, Cause.TRUNCATED, Cause.MEMORY, Cause.UNREADABLE})
_NAME = re.compile(r"[A-Za-z0-9_.+-]{0,64}")


class ProbeFailed(WatchconvError):  # noqa: N818 (it is a verdict)
    """A file was not probed. ``hopeless``: the file is to blame, another try would not help."""

    def __init__(self, reason: str, *, hopeless: bool, cause: Cause = Cause.UNREADABLE) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hopeless = hopeless
        self.cause = cause


class NoWorker(ProbeFailed):
    """There is no worker to ask; no file is to blame."""

    def __init__(self, why: str | Exception) -> None:
        if isinstance(why, OSError):
            why = why.strerror or why
        super().__init__(
            f"The process that reads files could not be started: {why}. "
            "Is watchconv installed completely? `watchconv check` tells.",
            hopeless=False,
        )


def parse_reply(reply: bytes) -> Facts | tuple[Content, ...]:
    """Return what the child answered; raise ProbeFailed for any other bytes."""
    match _parse_object(reply):
        case {"media": {"demuxer": str(demuxer), "duration": seconds, "streams": list(rows)}}:
            is_length = isinstance(seconds, float) and math.isfinite(seconds) and seconds >= 0
            if demuxer in DEMUXERS and (seconds is None or is_length):
                return Facts(demuxer, seconds, tuple(starmap(Track, _checked(rows, _STREAM))))
        case {"contents": list(rows)}:
            return tuple(starmap(Content, _checked(rows, _CONTENT)))
        case {"refused": str(reason), "cause": str(cause)} if cause in REFUSALS:
            raise ProbeFailed(_sentence(reason), hopeless=True, cause=Cause(cause))
        case {"trouble": str(reason)}:
            raise ProbeFailed(f"The file was not probed: {_sentence(reason)}.", hopeless=False)
    raise nonsense()


def read_hello(hello: bytes) -> tuple[str, ...]:
    """Return what does not confine the child; raise NoWorker when it is not ready."""
    match _parse_object(hello):
        case {"ready": list(missing)}:
            return tuple(_sentence(str(part)) for part in missing)
        case {"trouble": str(reason)}:
            raise NoWorker(_sentence(reason))
    raise NoWorker("it said nothing that makes sense")


def _parse_object(message: bytes) -> object:
    try:
        return json.loads(message)
    except (ValueError, RecursionError):
        return None


# The values of a row: the fields of ``facts.Track`` and ``model.Content`` in their order.
_STREAM = ((int,), (str,), (str,), (int, NoneType), (int,), (int,), (str,), (bool,), (str,))
_CONTENT = ((int,), (str,), (str,), (int,), (bool,))


def _checked(rows: list[Any], columns: Sequence[tuple[type, ...]]) -> list[list[Any]]:
    """Return the rows where each value is of its column's types and within its bounds."""
    for row in rows:
        if not isinstance(row, list) or len(row) != len(columns):
            raise nonsense()
        for value, types in zip(row, columns, strict=True):
            if type(value) not in types:  # True is an int, but not here
                raise nonsense()
            if isinstance(value, str) and not _NAME.fullmatch(value):
                raise nonsense()
            if isinstance(value, int) and not 0 <= value < 1 << 63:
                raise nonsense()
        if row[1] not in KINDS:
            raise nonsense()
    return rows


def _sentence(reason: str) -> str:
    """Keep what can be shown of a child's words."""
    return "".join(c for c in reason if c.isprintable())[:SENTENCE_CHARACTERS]


def nonsense() -> ProbeFailed:
    """Return the failure that stands for an answer that is not understood."""
    return ProbeFailed(
        "The file was not probed: the process that reads it gave an answer that makes no sense.",
        hopeless=True,
    )

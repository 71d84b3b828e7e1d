"""The probe worker's answers, which the daemon does not trust.

Whatever the bytes, an answer is understood as ``MediaInfo`` or ``Content`` values within their
bounds, or it is a ``ProbeFailed``; what it says in words is cut and printable.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING

from watchconv.errors import WatchconvError
from watchconv.media.formats import DEMUXERS, KINDS
from watchconv.model import Cause, Content, MediaInfo, Stream

if TYPE_CHECKING:
    from collections.abc import Collection

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

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The process that reads files could not be started: {why}. "
            "Is watchconv installed completely? `watchconv check` tells.",
            hopeless=False,
        )


def parse_reply(reply: bytes) -> MediaInfo | tuple[Content, ...]:
    """Return what the child answered; raise ProbeFailed for any other bytes."""
    match _parse_object(reply):
        case {"media": {"demuxer": str(demuxer), "duration": duration, "streams": list(rows)}}:
            return MediaInfo(
                _one_of(DEMUXERS, demuxer), _seconds(duration), tuple(map(_stream, rows))
            )
        case {"contents": list(rows)}:
            return tuple(map(_content, rows))
        case {"refused": str(reason), "cause": str(cause)} if cause in REFUSALS:
            raise ProbeFailed(_sentence(reason), hopeless=True, cause=Cause(cause))
        case {"trouble": str(reason)}:
            raise ProbeFailed(f"The file was not probed: {_sentence(reason)}.", hopeless=False)
    raise nonsense()


def _parse_object(reply: bytes) -> object:
    try:
        return json.loads(reply)
    except (ValueError, RecursionError):
        return None


def read_hello(hello: bytes) -> tuple[str, ...]:
    """Return what does not confine the child; raise NoWorker when it is not ready."""
    match _parse_object(hello):
        case {"ready": list(missing)}:
            return tuple(_sentence(str(part)) for part in missing)
        case {"trouble": str(reason)}:
            raise NoWorker(_sentence(reason))
    raise NoWorker("it said nothing that makes sense")


def _stream(row: object) -> Stream:
    match row:
        case [index, kind, codec, samples, width, height, pixels, bool(cover), language]:
            return Stream(
                index=_count(index),
                kind=_one_of(KINDS, kind),
                codec=_name(codec),
                samples=None if samples is None else _count(samples),
                width=_count(width),
                height=_count(height),
                pixel_format=_name(pixels),
                attached_picture=cover,
                language=_name(language),
            )
    raise nonsense()


def _content(row: object) -> Content:
    match row:
        case [index, kind, codec, packets, bool(decodes)]:
            return Content(
                _count(index), _one_of(KINDS, kind), _name(codec), _count(packets), decodes
            )
    raise nonsense()


def _count(value: object) -> int:
    if type(value) is int and 0 <= value < 1 << 63:
        return value
    raise nonsense()


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, float) and math.isfinite(value) and value >= 0:
        return value
    raise nonsense()


def _name(value: object) -> str:
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise nonsense()


def _one_of(names: Collection[str], value: object) -> str:
    if isinstance(value, str) and value in names:
        return value
    raise nonsense()


def _sentence(reason: str) -> str:
    """Keep what can be shown of a child's words."""
    return "".join(c for c in reason if c.isprintable())[:SENTENCE_CHARACTERS]


def nonsense() -> ProbeFailed:
    """Return the failure that stands for an answer that is not understood."""
    return ProbeFailed(
        "The file was not probed: the process that reads it gave an answer that makes no sense.",
        hopeless=True,
    )

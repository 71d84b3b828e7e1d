"""The probe worker's answers, which the daemon does not trust.

Whatever the bytes, an answer is understood as ``Facts``, ``Examined`` or pictures within their
bounds, or it is a ``ProbeFailed``; what it says in words is cut and printable.
"""

from __future__ import annotations

import json

from watchconv.errors import WatchconvError
from watchconv.media import DEMUXERS, KINDS
from watchconv.media.facts import Examined, Facts, Picture
from watchconv.media.rows import understand
from watchconv.model import Cause

SENTENCE_CHARACTERS = 300
REFUSALS = frozenset(
    {Cause.NOT_VIDEO, Cause.TRUNCATED, Cause.MEMORY, Cause.UNREADABLE, Cause.TOO_LARGE}
)
ROTATIONS = (0, 90, 180, 270)
Pictures = tuple[tuple[Picture, ...], ...]  # of each moment
Reply = Facts | Examined | Pictures


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


def parse_reply(reply: bytes) -> Reply:
    """Return what the child answered; raise ProbeFailed for any other bytes."""
    try:
        match _parse_object(reply):
            case {"facts": row}:
                facts = _sound(understand(row, Facts))
                if facts.demuxer in DEMUXERS:
                    return facts
            case {"examined": row}:
                examined = understand(row, Examined)
                _sound(examined.facts)
                if len(examined.contents) == len(examined.facts.tracks):
                    return examined
            case {"pictures": row}:
                return understand(row, Pictures)
            case {"refused": str(reason), "cause": str(cause)} if cause in REFUSALS:
                raise ProbeFailed(_sentence(reason), hopeless=True, cause=Cause(cause))
            case {"trouble": str(reason)}:
                raise ProbeFailed(f"The file was not probed: {_sentence(reason)}.", hopeless=False)
    except ValueError:
        pass
    raise nonsense()


def _sound(facts: Facts) -> Facts:
    """Raise ValueError where values are of their types but make no sense."""
    if facts.duration_seconds is not None and facts.duration_seconds < 0:
        raise ValueError(facts.duration_seconds)
    for place, track in enumerate(facts.tracks):
        if track.index != place or track.kind not in KINDS or track.rotation not in ROTATIONS:
            raise ValueError(track)
    return facts


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


def _sentence(reason: str) -> str:
    """Keep what can be shown of a child's words."""
    return "".join(c for c in reason if c.isprintable())[:SENTENCE_CHARACTERS]


def nonsense() -> ProbeFailed:
    """Return the failure that stands for an answer that is not understood."""
    return ProbeFailed(
        "The file was not probed: the process that reads it gave an answer that makes no sense.",
        hopeless=True,
    )

"""What is decided about one track of an original, and what its output therefore promises."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Action(StrEnum):
    """What becomes of a track."""

    COPY = "copy"
    ENCODE = "encode"
    CONVERT = "convert"  # a text subtitle, into another kind of text
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Decision:
    """One track of the original and what becomes of it.

    The output's track is promised to have every fact of the original's, but for ``changes``: there
    stands the value that a field of ``Track`` has instead; None promises nothing of that field.
    """

    track: int  # its index in the original
    kind: str
    action: Action
    why: str  # a part of a sentence for a person: "the profile never copies it"
    ordinal: int | None = None  # among the output's tracks of its kind; None: it is left out
    changes: Mapping[str, object] = field(default_factory=dict)

"""What is there of an original that is not whole, once it was converted. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watchconv.model import Broke, Cause, JobWarning, Rejected, WarningCause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.media.facts import Content


def is_of_the_original(fault: Rejected | Broke) -> bool:
    """Return whether a fault is that the original is not whole, not that its output is not."""
    return isinstance(fault, Rejected) and fault.cause in (Cause.TRUNCATED, Cause.DAMAGED)


def salvaged(lacks: str, outputs: Sequence[Content], seconds: float, duplicated: int) -> JobWarning:
    """Say how much of an original was there.

    lacks: why it is known not to be whole; outputs: what its output holds, where that was read;
    seconds: how far ffmpeg came, where it was not; duplicated: pictures with which it filled holes.
    """
    shown = [
        (made.end - made.start - sum(gap.seconds for gap in made.gaps))
        * max(0.0, 1 - duplicated / max(1, made.packets))
        for made in outputs
        if made.kind == "video" and made.start is not None and made.end is not None
    ]
    there = f"{max(shown, default=seconds):.1f} s of it are there and were converted"
    return JobWarning(WarningCause.SALVAGED, f"the original is not whole: {lacks}; {there}")

"""What the names in a DVD's folder mean: a film lies in the parts of a title set.

``VTS_01_1.VOB`` to ``VTS_01_9.VOB`` are one film, cut where a file had to end; ``VTS_01_0.VOB`` is
its menu, ``VIDEO_TS.VOB`` that of the disc, and each has its table (``.IFO``, ``.BUP``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_MENU_OR_TABLE = re.compile(r"(?:VIDEO_TS|VTS_\d\d_0)\.(?:VOB|IFO|BUP)", re.IGNORECASE)
_PART = re.compile(r"(VTS_\d\d_)([1-9])(\.VOB)", re.IGNORECASE)


def is_menu_or_table(name: str) -> bool:
    """Return whether a file of this name belongs to a DVD and is no part of a film."""
    return bool(_MENU_OR_TABLE.fullmatch(name))


def first_part(name: str) -> str | None:
    """Return the name under which the film of a part begins; None for what is no part."""
    found = _PART.fullmatch(name)
    return f"{found[1]}1{found[3]}" if found else None


def further_parts(name: str, beside: Collection[str]) -> list[str]:
    """Return the names of a film's other parts, in order, up to the first that is not there."""
    parts: list[str] = []
    if (found := _PART.fullmatch(name)) and found[2] == "1":
        for number in range(2, 10):
            part = f"{found[1]}{number}{found[3]}"
            if part not in beside:
                break
            parts.append(part)
    return parts

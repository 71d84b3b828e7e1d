"""How figures are said to people.

Pure. Errors: none.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchconv.host.status_file import Running


def clock(seconds: float) -> str:
    """Write a duration as 0:07, 1:02:03."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def describe_progress(row: Running) -> str:
    """Say how far a job is: percent, speed and time left; or the time done where that is all."""
    parts = []
    if row.progress is not None:
        parts.append(f"{row.progress:.0%}")
    elif row.out_seconds is not None:
        parts.append(f"{clock(row.out_seconds)} done")
    if row.speed is not None:
        parts.append(f"{row.speed:.2f}x")
    if row.eta_seconds is not None:
        parts.append(f"{clock(row.eta_seconds)} left")
    return ", ".join(parts) or "starting"


def moment(seconds: float | None) -> str | None:
    """Write a wall clock time as ISO 8601 UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")

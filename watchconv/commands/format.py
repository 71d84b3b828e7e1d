"""How figures are shown to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchconv.views import RunningJob


def clock(seconds: float) -> str:
    """Return a duration as 0:07 or 1:02:03."""
    minutes, left = divmod(round(seconds), 60)
    hours, rest = divmod(minutes, 60)
    return f"{hours}:{rest:02}:{left:02}" if hours else f"{rest}:{left:02}"


def show_size(size: int) -> str:
    """Return a number of bytes in its largest unit: 512 B, 1.5 GiB, -3.0 MiB."""
    if abs(size) < 1024:
        return f"{size} B"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if abs(value) < 1024 or unit == "TiB":
            break
    return f"{value:.1f} {unit}"


def describe_progress(row: RunningJob) -> str:
    """Return how far a job is: percent, speed and time left; where that is all, the time done."""
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

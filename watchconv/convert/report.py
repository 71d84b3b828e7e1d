"""The text of an error report, and the sentence that a child's end comes down to. Pure.

Guarantees: safe to show: control characters escaped, at most ``LIMIT`` characters, nothing of
the environment; the end of ffmpeg's own words is kept when something must go.
Does not decide anything. Errors: none.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.convert.process import Ended
    from watchconv.model import Job

LIMIT = 60_000


def compose(job: Job, argv: Sequence[str], ended: Ended | None, tail: str) -> str:
    """Write what a person needs to see why an attempt failed, and to try the command by hand."""
    lines = []
    if argv:
        lines.append(f"command: {printable(shlex.join(argv))}")
    if ended:
        lines.append(f"end: {ended.detail}, after {ended.seconds:.1f} s")
        if ended.status is not None:
            lines.append(f"exit status: {ended.status}")
        if ended.signal is not None:
            lines.append(f"signal: {ended.signal}")
    lines += [
        f"attempts: {job.attempt}",
        f"queued: {_when(job.queued_at)}",
        f"started: {_when(job.started_at)}",
        f"source: {printable(job.source)} ({job.size} bytes)",
        f"profile: {printable(job.profile)}",
    ]
    if tail:
        lines += ["", "ffmpeg's last words:", *(printable(line) for line in tail.splitlines())]
    text = "\n".join(lines) + "\n"
    return text if len(text) <= LIMIT else f"{text[:4000]}\n…\n{text[4003 - LIMIT :]}"


def _when(moment: float | None) -> str:
    if moment is None:
        return "-"
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")

"""The text of a failed job's ``.log``: what a person needs to see why an attempt failed. Pure.

It is safe to show (control characters are escaped, nothing of the environment is in it) and has a
limit: where something must go, the beginning and the end of ffmpeg's own words stay.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.model import Job
    from watchconv.process.command import ChildExit

# The .log has 64 KiB: before this text stand the reason and the mark of ``deliver.reports``, whose
# path of 4 KiB may be escaped.
LIMIT_BYTES = 36_000
HEAD_BYTES = 4_000


def compose(job: Job, argv: Sequence[str], ended: ChildExit | None, tail: str) -> str:
    """Return the text about one attempt, with its command as a shell takes it."""
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
    written = text.encode()
    if len(written) <= LIMIT_BYTES:
        return text
    gap = "\n…\n".encode()
    end = written[HEAD_BYTES + len(gap) - LIMIT_BYTES :]
    return (written[:HEAD_BYTES] + gap + end).decode(errors="ignore")


def _when(moment: float | None) -> str:
    if moment is None:
        return "-"
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")

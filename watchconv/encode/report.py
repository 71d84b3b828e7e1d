"""The text of an error report: what a person needs to see why an attempt failed. Pure.

Guarantees: safe to show: control characters escaped, at most ``LIMIT_BYTES``, nothing of the
environment; the beginning and the end of ffmpeg's own words are kept when something must go.
Does not decide anything. Errors: none.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.model import Job
    from watchconv.process.child import ChildExit

LIMIT_BYTES = 36_000  # in 64 KiB of the file there is also a mark, with a path of 4 KiB escaped
HEAD_BYTES = 4_000


def compose(job: Job, argv: Sequence[str], ended: ChildExit | None, tail: str) -> str:
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
    return _cut("\n".join(lines) + "\n")


def _cut(text: str) -> str:
    written = text.encode()
    if len(written) <= LIMIT_BYTES:
        return text
    gap = "\n…\n".encode()
    head, tail = written[:HEAD_BYTES], written[HEAD_BYTES + len(gap) - LIMIT_BYTES :]
    return (head + gap + tail).decode(errors="ignore")


def _when(moment: float | None) -> str:
    if moment is None:
        return "-"
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")

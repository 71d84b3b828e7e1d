"""The work directories in the outbox: one for each attempt, never used for another.

Guarantees: ``sweep`` may be called at any time: it takes nothing away from an open attempt.
Does not make them: ``encode.attempt`` does, where it may be written.
Errors: ``JournalError`` from ``sweep``; what cannot be removed now is left to the next one.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from watchconv.model import Job

_STEM = "output"


def output_name(suffix: str) -> str:
    """Name what an attempt makes in its work directory."""
    return _STEM + suffix


def suffix_of(made: str) -> str:
    """Give the suffix of what an attempt made."""
    return made.removeprefix(_STEM)


def is_output(name: str, wish: str) -> bool:
    """Tell the output from what else ffmpeg may have left in the work directory."""
    return name.startswith(_STEM) and wish.endswith(suffix_of(name))


def work_dir(root: str, job: Job) -> str:
    """Name the folder that one attempt of one job writes into."""
    return os.path.join(root, _name(job))


def _name(job: Job) -> str:
    return f"{job.id}.{job.run}"


def clear(root: str, job: Job) -> None:
    """Remove an attempt's work directory. Idempotent."""
    shutil.rmtree(work_dir(root, job), ignore_errors=True)


def sweep(root: str, ask: Callable[[], Iterable[Job]]) -> int:
    """Remove what crashed attempts, or those whose outbox was gone, left. Returns how many.

    ask gives the jobs whose work still counts. It is asked after the names were listed: what is
    begun meanwhile is not among these.
    """
    try:
        names = os.listdir(root)
    except OSError:
        return 0  # there are none, or the next sweep sees to them
    if not names:
        return 0
    find_orphans = set(names) - {_name(job) for job in ask()}
    for name in find_orphans:
        shutil.rmtree(os.path.join(root, name), ignore_errors=True)
    return len(find_orphans)

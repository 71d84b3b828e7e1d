"""A row of the journal as a ``Job`` and back: which columns there are, and what is in them.

Guarantees: paths are bytes in the file, whatever they hold. Does not know any query.
Errors: none.
"""

from __future__ import annotations

import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from watchconv.model import Job, JobState, OnSuccess, Request, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_NAMES = tuple(field.name for field in fields(Job))
COLUMNS = ", ".join(_NAMES)  # each field has its column

_READ: Mapping[str, Callable[[Any], Any]] = {
    "source": os.fsdecode,
    "output": os.fsdecode,
    "original": os.fsdecode,
    "state": JobState,
    "verdict": Verdict,
    "request": Request,
    "on_success": OnSuccess,
}
_READERS = tuple(_READ.get(name) for name in _NAMES)


def job_of(row: Sequence[Any]) -> Job:
    """Make a job of a row of ``COLUMNS``."""
    pairs = zip(_READERS, row, strict=True)
    return Job(*(read(value) if read and value is not None else value for read, value in pairs))


def blob(path: str | None) -> bytes | None:
    """Give a path as the file holds it."""
    return None if path is None else os.fsencode(path)

"""Rows of the journal as values of the model. Paths are bytes in the file."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from watchconv.model import (
    Attempt,
    AttemptOutcome,
    Cause,
    Event,
    EventKind,
    Job,
    JobState,
    JobWarning,
    OnSuccess,
    OutputFile,
    OutputRole,
    OutputState,
    Request,
    Statistic,
    Verdict,
    WaitReason,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

_EXPRESSIONS = {
    "warnings": "ifnull(warnings, '[]')",
    # JSON holds no bytes
    "outputs": "(SELECT json_group_array(json_array("
    "hex(file), hex(suffix), size, role, hex(name), state))"
    " FROM (SELECT * FROM output WHERE output.job = job.id ORDER BY ordinal))",
}


class Rows(Generic[T]):
    """How one kind of value is read: each of its fields has a column, or an expression."""

    def __init__(self, kind: type[T], /, **readers: Callable[[Any], Any]) -> None:
        """Take how the fields are read that are not in the file as they are in the value."""
        names = [field.name for field in fields(cast("Any", kind))]
        self._kind = kind
        self._readers = [readers.get(name) for name in names]
        self.columns = ", ".join(_EXPRESSIONS.get(name, name) for name in names)

    def value(self, row: Sequence[Any]) -> T:
        """Return the value of a row of ``columns``."""
        pairs = zip(self._readers, row, strict=True)
        return self._kind(*(read(v) if read and v is not None else v for read, v in pairs))


def _outputs(text: str) -> tuple[OutputFile, ...]:
    if text == "[]":
        return ()
    return tuple(
        OutputFile(
            _path(file), _path(suffix), size or 0, OutputRole(role), _path(name), OutputState(state)
        )
        for file, suffix, size, role, name, state in json.loads(text)
    )


def _path(digits: str) -> str:
    return os.fsdecode(bytes.fromhex(digits))


def blob(path: str | None) -> bytes | None:
    """Return a path as the file holds it."""
    return None if path is None else os.fsencode(path)


def warnings_text(warnings: Sequence[JobWarning]) -> str | None:
    """Return warnings as the file holds them."""
    return json.dumps([(w.cause, w.text) for w in warnings]) if warnings else None


JOB = Rows(
    Job,
    source=os.fsdecode,
    original=os.fsdecode,
    state=JobState,
    verdict=Verdict,
    request=Request,
    on_success=OnSuccess,
    cause=Cause,
    wait_reason=WaitReason,
    warnings=lambda text: tuple(JobWarning(*pair) for pair in json.loads(text)),
    outputs=_outputs,
)
ATTEMPT = Rows(Attempt, outcome=AttemptOutcome, cause=Cause)
EVENT = Rows(Event, kind=EventKind, from_state=JobState, to_state=JobState)
STATISTIC = Rows(Statistic, cause=lambda cause: Cause(cause) if cause else None)

"""The door between the inbox and the engine: the original is opened, and compared afterwards.

Guarantees: what the engine gets is the regular file that the job is about, opened without
following links; an attempt counts only if, after it, that very file lies under its name untouched.
Only what will not pass (no right to read it, a link in its place) condemns a file.
Does not read the file beyond the container's end marks, and changes nothing.
Errors: ``EnvironmentTrouble`` when the inbox itself is gone or the machine is out of something.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from watchconv.errors import EnvironmentTrouble
from watchconv.host.files import open_regular
from watchconv.media.container import Ending, container_end
from watchconv.model import Gone, Identity, Interrupted, Job, Rejected, Stale, mtime_ns
from watchconv.names import printable

LATER_SECONDS = 15.0
# nothing there; or no regular file there, or a link on the way
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
_MACHINE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Admitted:
    """An original under an attempt. Close it when done."""

    path: str
    descriptor: int
    identity: Identity

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


def admit(inbox: str, job: Job) -> Admitted | Rejected | Stale | Gone | Interrupted:
    """Open a job's original, or say what is the matter with it."""
    try:
        descriptor = open_regular(inbox, job.source)
    except OSError as error:
        return _unopened(inbox, error)
    try:
        stat = os.fstat(descriptor)
        refusal = _refusal(descriptor, stat, job)
    except OSError as error:
        os.close(descriptor)
        return _later(error)
    if refusal:
        os.close(descriptor)
        return refusal
    return Admitted(os.path.join(inbox, job.source), descriptor, Identity.of(stat))


def _refusal(descriptor: int, stat: os.stat_result, job: Job) -> Stale | Rejected | None:
    if (stat.st_size, mtime_ns(stat)) != (job.size, job.mtime_ns):
        return Stale()
    if stat.st_size == 0:
        return Rejected("the file is empty")
    end = container_end(descriptor, stat.st_size)
    if end.ending is Ending.INCOMPLETE:
        return Rejected(f"the file is truncated: {end.detail}")
    return None


def _unopened(inbox: str, error: OSError) -> Rejected | Gone | Interrupted:
    """Say what it means that an original cannot be opened."""
    if error.errno in _MACHINE:
        raise EnvironmentTrouble(f"cannot open files: {error.strerror}") from error
    if error.errno in _GONE:
        return _gone(inbox)
    if error.errno in (errno.EACCES, errno.EPERM):
        return Rejected(f"it cannot be read: {error.strerror}")
    return _later(error)


def _gone(inbox: str) -> Gone:
    if not os.path.isdir(inbox):
        raise EnvironmentTrouble(f"the inbox {printable(inbox)} is gone")
    return Gone()


def _later(error: OSError) -> Interrupted:
    return Interrupted(f"it cannot be read now: {error.strerror}", LATER_SECONDS)


def compare(inbox: str, admitted: Admitted) -> Stale | Gone | Interrupted | None:
    """Tell what happened to an original since it was admitted; None: nothing."""
    try:
        by_name = Identity.of(os.lstat(admitted.path))
        if by_name == admitted.identity == Identity.of(os.fstat(admitted.descriptor)):
            return None
    except OSError as error:
        return _gone(inbox) if error.errno in _GONE else _later(error)
    return Stale()

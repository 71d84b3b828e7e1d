"""The original of a claimed job: opened before an attempt, and compared after it.

The engine gets the very regular file that the job is about, opened without following links; an
attempt counts only if that file lies under its name untouched after it. Only what will not pass
(no right to read it, an empty or truncated file) condemns a file.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from watchconv.errors import EnvironmentTrouble
from watchconv.host.files import open_regular
from watchconv.media.container import Ending, container_end
from watchconv.model import (
    Cause,
    Gone,
    Identity,
    Interrupted,
    Job,
    Rejected,
    Stale,
    WaitReason,
    mtime_ns,
)
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
    """Open a job's original, or return what is the matter with it.

    Raises EnvironmentTrouble when the inbox itself is gone or the machine is out of something.
    """
    try:
        descriptor = open_regular(inbox, job.source)
    except OSError as error:
        if error.errno in _MACHINE:
            raise EnvironmentTrouble(f"cannot open files: {error.strerror}") from error
        if error.errno in (errno.EACCES, errno.EPERM):
            return Rejected(f"it cannot be read: {error.strerror}", cause=Cause.UNREADABLE)
        return _unreadable(inbox, error)
    refusal: Stale | Rejected | Gone | Interrupted
    try:
        stat = os.fstat(descriptor)
        end = container_end(descriptor, stat.st_size)
    except OSError as error:
        refusal = _unreadable(inbox, error)
    else:
        if (stat.st_size, mtime_ns(stat)) != (job.size, job.mtime_ns):
            refusal = Stale()
        elif stat.st_size == 0:
            refusal = Rejected("the file is empty", cause=Cause.EMPTY)
        elif end.ending is Ending.INCOMPLETE:
            refusal = Rejected(f"the file is truncated: {end.detail}", cause=Cause.TRUNCATED)
        else:
            return Admitted(os.path.join(inbox, job.source), descriptor, Identity.of(stat))
    os.close(descriptor)
    return refusal


def _unreadable(inbox: str, error: OSError) -> Gone | Interrupted:
    """Return what it means that an original cannot be read: it is gone, or the disk fails."""
    if error.errno not in _GONE:
        reason = f"it cannot be read now: {error.strerror}"
        return Interrupted(reason, LATER_SECONDS, wait_reason=WaitReason.READ_ERROR)
    if not os.path.isdir(inbox):
        raise EnvironmentTrouble(f"the inbox {printable(inbox)} is gone")
    return Gone()


def compare(inbox: str, admitted: Admitted) -> Stale | Gone | Interrupted | None:
    """Return what happened to an original since it was admitted; None: nothing.

    Raises EnvironmentTrouble when the inbox itself is gone.
    """
    try:
        by_name = Identity.of(os.lstat(admitted.path))
        if by_name == admitted.identity == Identity.of(os.fstat(admitted.descriptor)):
            return None
    except OSError as error:
        return _unreadable(inbox, error)
    return Stale()

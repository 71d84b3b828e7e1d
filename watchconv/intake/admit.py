"""The door between the inbox and the engine: the original is opened, and compared afterwards.

Guarantees: what the engine gets is the regular file that the job is about, opened without
following links; an attempt counts only if, after it, that very file lies under its name untouched.
Does not read the file beyond the container's end marks, and changes nothing.
Errors: ``EnvironmentTrouble`` when the inbox itself is gone.
"""

from __future__ import annotations

import os
import stat as st
from dataclasses import dataclass

from watchconv.errors import EnvironmentTrouble
from watchconv.intake.complete import Ending, container_end
from watchconv.model import Gone, Identity, Job, Rejected, Stale


@dataclass(frozen=True, slots=True)
class Admitted:
    """An original under an attempt. Close it when done."""

    path: str
    descriptor: int
    identity: Identity

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


def admit(inbox: str, job: Job) -> Admitted | Rejected | Stale | Gone:
    """Open a job's original, or say what is the matter with it."""
    try:
        descriptor = open_original(inbox, job.source)
    except OSError as error:
        if _is_gone(inbox, job.source):
            return Gone()
        return Rejected(f"it cannot be read: {error.strerror}")
    identity = Identity.of(os.fstat(descriptor))
    refusal: Stale | Rejected | None = None
    if (identity.size, identity.mtime_ns) != (job.size, job.mtime_ns):
        refusal = Stale()
    elif identity.size == 0:
        refusal = Rejected("the file is empty")
    elif (end := container_end(descriptor, identity.size)).ending is Ending.INCOMPLETE:
        refusal = Rejected(f"the file is truncated: {end.detail}")
    if refusal:
        os.close(descriptor)
        return refusal
    return Admitted(os.path.join(inbox, job.source), descriptor, identity)


def compare(inbox: str, admitted: Admitted) -> Stale | Gone | None:
    """Tell what happened to an original since it was admitted; None: nothing."""
    try:
        by_name = Identity.of(os.lstat(admitted.path))
    except OSError:
        if _is_gone(inbox, os.path.relpath(admitted.path, inbox)):
            return Gone()
        raise
    if by_name == admitted.identity == Identity.of(os.fstat(admitted.descriptor)):
        return None
    return Stale()


def _is_gone(inbox: str, source: str) -> bool:
    """Tell whether nothing of ours lies under a name, while the inbox itself is there."""
    try:
        return not st.S_ISREG(os.lstat(os.path.join(inbox, source)).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.isdir(inbox):
            return True
        raise EnvironmentTrouble(f"the inbox {inbox} is gone") from None


def open_original(inbox: str, source: str) -> int:
    """Open an original for reading, or raise OSError.

    Never follows a link, not even in a folder on the way, never waits for a pipe, and takes
    regular files only.
    """
    path = os.path.join(inbox, source)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not st.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is no regular file")
        if os.readlink(f"/proc/self/fd/{descriptor}") != path:
            raise OSError(0, "a folder on the way to it is a link")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor

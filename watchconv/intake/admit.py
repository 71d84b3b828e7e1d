"""The original of a claimed job, opened before an attempt.

What is probed is the very regular file that the job is about, opened without following links; an
attempt counts only if that file lies under its name untouched after it (``engine.compare``). Only
what will not pass (no right to read it, an empty or truncated file) condemns a file.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from watchconv.encode.engine import read_error
from watchconv.errors import EnvironmentTrouble
from watchconv.host.files import open_regular
from watchconv.media.container import Ending, has_no_index, is_fragmented
from watchconv.media.holes import file_end
from watchconv.model import (
    Cause,
    Gone,
    Identity,
    Incomplete,
    Interrupted,
    Job,
    Rejected,
    Stale,
    mtime_ns,
)

# nothing there; or no regular file there, or a link on the way
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
_MACHINE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Admitted:
    """An original under an attempt; whoever is given it closes the descriptor."""

    path: str
    descriptor: int
    identity: Identity
    salvage: bool = False  # what is there of it is wanted, be it not whole
    lacks: str = ""  # why it is not whole, where what is there of it is wanted


def admit(
    inbox: str, job: Job, incomplete: Incomplete = Incomplete.ERROR
) -> Admitted | Rejected | Stale | Gone | Interrupted:
    """Open a job's original, or return what is the matter with it.

    incomplete: whether one that is not whole is opened, too, where something can be had of it; a
    job that a person wants salvaged needs no leave of its profile.
    Gone may also mean that the inbox is: that is for the folder guard to say. Raises
    EnvironmentTrouble when the machine is out of something.
    """
    try:
        descriptor = open_regular(inbox, job.source)
    except OSError as error:
        if error.errno in _MACHINE:
            raise EnvironmentTrouble(f"cannot open files: {error.strerror}") from error
        if error.errno in (errno.EACCES, errno.EPERM):
            return Rejected(f"it cannot be read: {error.strerror}", cause=Cause.UNREADABLE)
        return _unreadable(error)
    refusal: Stale | Rejected | Gone | Interrupted
    try:
        stat = os.fstat(descriptor)
        end = file_end(descriptor, stat.st_size)
        cut_off = end.ending is Ending.INCOMPLETE
        hopeless = cut_off and has_no_index(descriptor)
        salvage = job.salvage or incomplete is Incomplete.SALVAGE
        salvage |= incomplete is Incomplete.AUTO and cut_off and is_fragmented(descriptor)
    except OSError as error:
        refusal = _unreadable(error)
    else:
        if (stat.st_size, mtime_ns(stat)) != (job.size, job.mtime_ns):
            refusal = Stale()
        elif stat.st_size == 0:
            refusal = Rejected("the file is empty", cause=Cause.EMPTY)
        elif not cut_off or (salvage and not hopeless):
            path, identity = os.path.join(inbox, job.source), Identity.of(stat)
            return Admitted(path, descriptor, identity, salvage, end.detail if cut_off else "")
        else:
            words = f"what is there of it can be had: watchconv retry --salvage {job.id}"
            if hopeless:
                words = "nothing can be had of it, for the index of its contents is missing"
            reason = f"the file is truncated: {end.detail}; {words}"
            refusal = Rejected(reason, cause=Cause.TRUNCATED)
    os.close(descriptor)
    return refusal


def _unreadable(error: OSError) -> Gone | Interrupted:
    """Return what it means that an original cannot be read: it is gone, or the disk fails."""
    return Gone() if error.errno in _GONE else read_error(error)

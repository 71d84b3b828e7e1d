"""A film that lies in several files, as one: its parts are copied behind one another.

The parts of a DVD's title set play as one only when they are read as one. The copy lies in the
job's work directory, and goes with it.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from watchconv.encode.engine import read_error
from watchconv.errors import EnvironmentTrouble
from watchconv.host.files import closing, open_folder, open_regular
from watchconv.media.dvd import first_part, further_parts
from watchconv.model import Identity, Interrupted, Stale

if TYPE_CHECKING:
    from watchconv.host.workdir import WorkDirectories
    from watchconv.intake.admit import Admitted
    from watchconv.model import Job
    from watchconv.process.stop import StopSignal

_BLOCK_BYTES = 64 << 20


def join_parts(
    inbox: str, job: Job, admitted: Admitted, work: WorkDirectories, stop: StopSignal
) -> Admitted | Stale | Interrupted:
    """Return a job's original together with its further parts, if it has any.

    The descriptor that was admitted is closed unless it is returned. Raises EnvironmentTrouble.
    """
    with ExitStack() as opened:
        opened.callback(os.close, admitted.descriptor)
        folder, name = os.path.split(job.source)
        try:
            names = _further_parts(os.path.join(inbox, folder), name)
            parts = [admitted.descriptor]
            for further in names:
                parts.append(open_regular(inbox, os.path.join(folder, further)))
                opened.callback(os.close, parts[-1])
        except OSError as error:
            return read_error(error)
        if not names:
            opened.pop_all()
            return admitted
        before = [Identity.of(os.fstat(part)) for part in parts]
        try:
            with work.create_joined(job.id) as writer:
                for part in parts:
                    at = 0
                    while sent := os.sendfile(writer.fileno(), part, at, _BLOCK_BYTES):
                        at += sent
                        if stop.wanted:
                            return Interrupted()
        except OSError as error:
            work.remove(job.id)  # it may be what fills the disk
            why = f"cannot join the parts of a film: {error.strerror}"
            raise EnvironmentTrouble(why) from error
        if before != [Identity.of(os.fstat(part)) for part in parts]:
            return Stale()
    joined = os.open(work.joined(job.id), os.O_RDONLY | os.O_CLOEXEC)
    identity = Identity.of(os.fstat(joined))
    return replace(admitted, path=work.joined(job.id), descriptor=joined, identity=identity)


def _further_parts(folder: str, name: str) -> list[str]:
    if not first_part(name):  # as nearly all: nothing is listed for them
        return []
    with closing(open_folder(folder.rstrip("/"))) as opened:
        return further_parts(name, frozenset(os.listdir(opened)))

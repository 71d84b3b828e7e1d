"""An original in the inbox: is it still the file that was converted, and how it is deleted.

Guarantees: no link in the place of a folder leads elsewhere; another file that came to lie under
its name in the last moment is never deleted, but put back under a free form of that name.
Does not decide what becomes of an original: ``outbox`` does. Errors: every ``OSError`` as it comes.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from stat import S_ISREG
from typing import TYPE_CHECKING

from watchconv.deliver import move as files
from watchconv.deliver.free_names import MOST_NAMES, all_taken
from watchconv.host.folders import closing, open_folder
from watchconv.model import Job, mtime_ns
from watchconv.names import numbered

if TYPE_CHECKING:
    from collections.abc import Iterator


def is_of(job: Job, path: str) -> bool:
    """Tell whether what lies at a path is a job's original, as it was converted."""
    try:
        stat = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return (stat.st_size, mtime_ns(stat)) == (job.size, job.mtime_ns) and S_ISREG(stat.st_mode)


@contextmanager
def held(inbox: str, job: Job) -> Iterator[str | None]:
    """Give a path to a job's original that stays in its folder, whatever becomes of the folder.

    None where there is no such folder.
    """
    folder, name = os.path.split(os.path.join(inbox, job.source))
    try:
        descriptor = open_folder(folder)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    with closing(descriptor):
        opened = f"/proc/self/fd/{descriptor}"
        try:
            yield os.path.join(opened, name)
        except OSError as error:
            if str(error.filename).startswith(opened):  # a person wants to read where
                error.filename = folder + error.filename.removeprefix(opened)
            raise


def delete(path: str, job: Job, *, wanted: bool) -> None:
    """Delete an original by way of a hidden name, for what has that is looked at in peace.

    Where that is not wanted, one that an earlier try has hidden is put back.
    """
    folder = os.path.dirname(path)
    hidden = files.scratch(folder, job.id)
    _unhide(hidden, path, job, delete=wanted)  # an earlier try's
    if wanted and is_of(job, path):
        os.rename(path, hidden)
        _unhide(hidden, path, job, delete=True)
    files.sync_folder(folder)


def _unhide(hidden: str, path: str, job: Job, *, delete: bool) -> None:
    """Delete what was hidden, if it is the original and to be deleted; else put it back."""
    if delete and is_of(job, hidden):
        os.unlink(hidden)
    elif os.path.lexists(hidden):
        for number in range(1, MOST_NAMES):
            with suppress(FileExistsError):
                files.move(hidden, numbered(path, number), hidden, ours=False)
                return
        raise all_taken(path)

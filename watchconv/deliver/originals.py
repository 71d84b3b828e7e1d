"""An original in the inbox: where it lies, and how it is deleted.

No link in the place of a folder leads elsewhere. Another file that came to lie under its name in
the last moment is never deleted, but put back under a free form of that name.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from watchconv.deliver.free_names import until_free
from watchconv.deliver.move import Expected, move, scratch_of
from watchconv.host.files import sync_folder
from watchconv.names import numbered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watchconv.host.files import OpenFolder, Place


@contextmanager
def place_of(inbox: OpenFolder, source: str) -> Iterator[Place | None]:
    """Give an original's place, in its folder, whatever becomes of the way to it.

    None where there is no such folder.
    """
    folder, name = os.path.split(source)
    try:
        opened = inbox.open(folder, links=False)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    with opened:
        yield opened.at(name)


def delete(place: Place, original: Expected, job_id: int, *, wanted: bool) -> None:
    """Delete an original by way of a hidden name, where nobody puts another file meanwhile.

    Where that is not wanted, one that an earlier try has hidden is put back.
    """
    hidden = scratch_of(place, job_id)
    _end_hiding(hidden, place, original, job_id, delete=wanted)  # an earlier try's
    if wanted and original.lies_at(place):
        place.rename(hidden, replace=True)
        _end_hiding(hidden, place, original, job_id, delete=True)
    sync_folder(place.folder.descriptor)


def _end_hiding(
    hidden: Place, place: Place, original: Expected, job_id: int, *, delete: bool
) -> None:
    """Delete what was hidden, if it is the original and to be deleted; else put it back."""
    if delete and original.lies_at(hidden):
        hidden.unlink()
    elif hidden.exists():

        def put_back(number: int) -> None:
            """Try one form of its name."""
            move(hidden, place.folder.at(numbered(place.name, number)), job_id, ours=False)

        until_free(place.path, put_back)

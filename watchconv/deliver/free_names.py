"""Free names below a folder, as the file system sees them now: nothing is reserved.

Errors: none; a folder that cannot be looked into is taken for empty.
"""

from __future__ import annotations

import errno
import os

from watchconv.names import numbered

MOST_NAMES = 1000  # that are tried for one file, each refused by a file system that calls it free


def free_name(root: str, wish: str, number: int = 1) -> str:
    """Find the first of a name's numbered forms that is not taken, as the file system sees it.

    Where a file has the name of one of the folders, that folder is numbered too.
    """
    folder, name = os.path.split(wish)
    if folder:
        folder = _free_folder(root, folder)
    while os.path.lexists(os.path.join(root, folder, choice := numbered(name, number))):
        number += 1
    return os.path.join(folder, choice)


def _free_folder(root: str, folder: str) -> str:
    path = ""
    for part in folder.split("/"):
        number = 1
        while os.path.lexists(
            os.path.join(root, path, choice := numbered(part, number))
        ) and not os.path.isdir(os.path.join(root, path, choice)):
            number += 1
        path = os.path.join(path, choice)
    return path


def all_taken(wish: str) -> OSError:
    """Make the error to raise when ``MOST_NAMES`` of a name's forms were refused."""
    return FileExistsError(errno.EEXIST, "every form of its name is taken", wish)

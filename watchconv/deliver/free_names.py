"""Free names below a folder, as the file system sees them now: nothing is reserved.

A folder that cannot be looked into is taken for empty.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, TypeVar

from watchconv.names import numbered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from watchconv.host.files import OpenFolder

T = TypeVar("T")

MOST_NAMES = 1000  # that are tried for one file, each refused by a file system that calls it free
TAKEN = (FileExistsError, NotADirectoryError)  # how a move says that a name is not free


def until_free(wish: str, attempt: Callable[[int], T]) -> T:
    """Return what attempt returns for the first number whose name it does not find taken.

    attempt raises one of ``TAKEN`` where it does. It is asked with 1, 2, 3 …, not for ever: a file
    server may refuse a name again and again that it shows as free.
    """
    for number in range(1, MOST_NAMES):
        try:
            return attempt(number)
        except TAKEN:
            continue
    raise FileExistsError(errno.EEXIST, "every form of its name is taken", wish)


def free_name(root: OpenFolder, wish: str, number: int = 1) -> str:
    """Return the first of a name's numbered forms that is not taken."""
    return free_names(root, [wish], number)[0]


def free_names(root: OpenFolder, wishes: Sequence[str], number: int = 1) -> list[str]:
    """Return the first of the numbered forms of a set of names of which none is taken.

    Where a file has the name of one of the folders, that folder is numbered too.
    """
    folders = [_free_folder(root, os.path.dirname(wish)) for wish in wishes]
    while True:
        names = [
            os.path.join(folder, numbered(os.path.basename(wish), number))
            for folder, wish in zip(folders, wishes, strict=True)
        ]
        if not any(root.at(name).exists() for name in names):
            return names
        number += 1


def _free_folder(root: OpenFolder, wish: str) -> str:
    path = ""
    for part in filter(None, wish.split("/")):
        number, place = 1, root.at(os.path.join(path, part))
        while place.exists() and not place.is_folder():
            number += 1
            place = root.at(os.path.join(path, numbered(part, number)))
        path = place.name
    return path

"""The steps of a delivery by whole paths: the folders are opened for one step, and closed."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from watchconv.deliver import move as files
from watchconv.deliver import ownership as owned
from watchconv.host.files import FOLDER, OpenFolder, Place, closing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watchconv.deliver.move import Expected
    from watchconv.deliver.ownership import Ownership

StrPath = str | os.PathLike[str]


def opened(path: StrPath) -> OpenFolder:
    """Open a folder, to be closed."""
    return OpenFolder(os.open(path, FOLDER), os.fspath(path))


@contextmanager
def places(*paths: StrPath) -> Iterator[list[Place]]:
    """Give places by their paths."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(opened(os.path.dirname(path))).at(os.path.basename(path))
            for path in paths
        ]


def move(
    source: StrPath,
    target: StrPath,
    *,
    ours: bool = True,
    job_id: int = 7,
    expected: Expected | None = None,
) -> None:
    """Move a file."""
    with places(source, target) as (here, there):
        files.move(here, there, job_id, ours=ours, expected=expected)


def copy(source: StrPath, target: StrPath) -> None:
    """Copy a file as a move across devices does."""
    with places(source, target) as (here, there), there.create() as writer:
        files.copy(here, writer)


def is_copy(path: StrPath, source: StrPath, original: os.stat_result) -> bool:
    """Compare a file with the one that it may be a copy of."""
    with places(path, source) as (here, there):
        return files.is_copy(here, there, original)


def publish_text(path: StrPath, text: str, ownership: Ownership) -> None:
    """Write a small file under a name that is free."""
    with places(path) as (place,):
        files.publish_text(place, text, 7, ownership)


def make_folder(root: StrPath, relative: str, ownership: Ownership) -> str:
    """Make the folders below root that are missing; return the path."""
    with opened(root) as here, owned.make_folder(here, relative, ownership) as made:
        return made.path


def own(path: StrPath, ownership: Ownership) -> None:
    """Give a file the owner, group and mode of its folder, or what is asked for."""
    with places(path) as (place,), closing(place.open(os.O_PATH)) as handle:
        owned.own(handle, ownership, place.folder)

"""Being nobody for a moment: to root every folder is open."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Act as a user without privileges; without any to give up, as the one we are."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@contextlib.contextmanager
def as_ourselves() -> Iterator[None]:
    """Take the privileges back inside ``as_nobody``."""
    user, _, ourselves = os.getresuid()
    os.setresuid(ourselves, ourselves, ourselves)
    try:
        yield
    finally:
        os.setresuid(user, user, ourselves)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder that nobody, too, can reach and write; pytest's are for their owner only."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o777)
        yield folder.resolve()
    finally:
        for path, names, _ in os.walk(folder):
            for name in names:
                Path(path, name).chmod(0o777)
        shutil.rmtree(folder)

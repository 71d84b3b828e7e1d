"""One box for all tests of the service, booted when the first one asks for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.service.box import TOOL, Box, build_environment

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def box() -> Iterator[Box]:
    """A running box with watchconv at /opt/watchconv."""
    if not TOOL.is_file():
        pytest.skip(f"no systemd-box: {TOOL}")
    if os.geteuid() != 0:
        pytest.skip("a box needs root")
    folder = Path(tempfile.mkdtemp(prefix="watchconv-box-"))
    folder.chmod(0o755)  # the service's user goes through it
    try:
        (folder / "srv").mkdir()
        booted = Box(f"watchconv-{os.getpid()}", build_environment(folder / "opt"), folder / "srv")
        try:
            booted.up()
            yield booted
        finally:
            booted.down()
    finally:
        shutil.rmtree(folder)

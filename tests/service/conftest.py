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
def environment() -> Iterator[Path]:
    """Watchconv installed in an environment of its own, for the boxes to see."""
    if not TOOL.is_file():
        pytest.skip(f"no systemd-box: {TOOL}")
    if os.geteuid() != 0:
        pytest.skip("a box needs root")
    folder = Path(tempfile.mkdtemp(prefix="watchconv-box-"))
    folder.chmod(0o755)  # the service's user goes through it
    try:
        yield build_environment(folder / "opt")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def box(environment: Path) -> Iterator[Box]:
    """The box that the tests share, each with services of its own."""
    yield from booted("shared", environment)


@pytest.fixture
def fresh_box(environment: Path) -> Iterator[Box]:
    """A box that nobody else has used."""
    yield from booted("fresh", environment)


def booted(name: str, environment: Path) -> Iterator[Box]:
    """Boot a box, and throw it away in the end."""
    srv = environment.parent / name
    srv.mkdir()
    found = Box(f"watchconv-{os.getpid()}-{name}", environment, srv)
    try:
        found.up()
        yield found
    finally:
        found.down()
        shutil.rmtree(srv)

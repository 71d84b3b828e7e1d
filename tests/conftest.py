"""What all tests share: two clips, a folder of gates, and that no test may be skipped in CI."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.daemon import tiny_clip
from tests.fake_place import FRAMES

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of two frames."""
    return tiny_clip(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of as many frames as a FakePlace is for."""
    return tiny_clip(tmp_path_factory.mktemp("clips"), "clip.mkv", FRAMES / 10)


@pytest.fixture
def gates(tmp_path: Path) -> Path:
    """The folder of the files that the fake ffmpeg waits for."""
    folder = tmp_path / "gates"
    folder.mkdir()
    return folder


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which a test that should have run was skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("WATCHCONV_NO_SKIPS") and reporter and reporter.stats.get("skipped"):
        reporter.write_line("\na test was skipped, and WATCHCONV_NO_SKIPS is set", red=True)
        session.exitstatus = 1

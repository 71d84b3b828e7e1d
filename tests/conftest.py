"""What all tests share: no test may be skipped where $WATCHCONV_NO_SKIPS says so."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which a test that should have run was skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("WATCHCONV_NO_SKIPS") and reporter and reporter.stats.get("skipped"):
        reporter.write_line("\na test was skipped, and WATCHCONV_NO_SKIPS is set", red=True)
        session.exitstatus = 1

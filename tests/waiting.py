"""Waiting for what has no event: look again and again, with a deadline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = 60.0  # seconds that no passing test comes near; a quiet machine needs a few
T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float = LONG, what: str = "") -> T:
    """Return the first true value that condition gives; fail when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        last = time.monotonic() >= deadline  # one more look after the deadline
        if value := condition():
            return value
        assert not last, f"not within {seconds} s: {what or condition}"
        time.sleep(0.02)

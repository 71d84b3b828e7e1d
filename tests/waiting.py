"""Waiting for what has no event: look again and again, with a deadline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = 60.0  # seconds that no passing test comes near; a quiet machine needs a few
T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], seconds: float = LONG, what: str | Callable[[], object] = ""
) -> T:
    """Return the first true value that condition gives; fail when there is none in time.

    what: the words to fail with, or a call that gives them then.
    """
    deadline = time.monotonic() + seconds
    while True:
        last = time.monotonic() >= deadline  # one more look after the deadline
        if value := condition():
            return value
        assert not last, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(0.02)

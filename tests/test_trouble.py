"""What is wrong with the surroundings is said once, whoever comes upon it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from watchconv.daemon.trouble import Troubles

if TYPE_CHECKING:
    import pytest


def test_what_several_causes_say_alike_is_said_once_and_over_with_the_last(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    troubles = Troubles()
    troubles.tell("look", "the disk is full", blocking=False)
    troubles.tell("journal", "the disk is full")

    assert troubles.sentences == ["the disk is full"]
    assert troubles.blocked

    troubles.end("journal")

    assert troubles.sentences == ["the disk is full"]
    assert not troubles.blocked

    troubles.end("look")

    assert troubles.sentences == []
    assert caplog.messages == ["the disk is full", "over: the disk is full"]

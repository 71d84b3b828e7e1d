"""What is wrong with the machine is said once, whoever comes upon it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.test_policy import JOB
from watchconv.daemon.trouble import Troubles
from watchconv.model import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

FULL = "the disk is full"


class Recorded(list[tuple[Trouble, str, bool]]):
    """What was handed over for the history."""

    def __call__(self, trouble: Trouble, sentence: str, over: bool) -> None:
        self.append((trouble, sentence, over))


@pytest.fixture
def recorded(caplog: pytest.LogCaptureFixture) -> Recorded:
    caplog.set_level(logging.WARNING)
    return Recorded()


@pytest.fixture
def troubles(recorded: Recorded) -> Troubles:
    return Troubles(recorded)


def test_a_trouble_is_said_and_recorded_when_it_begins_and_when_it_is_over(
    troubles: Troubles, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        troubles.report(Trouble.JOURNAL, FULL)

    assert troubles.has(Trouble.JOURNAL)
    assert not troubles.has(Trouble.SCAN)
    assert (troubles.sentences, troubles.degraded) == ([FULL], True)
    troubles.clear(Trouble.JOURNAL)
    troubles.clear(Trouble.JOURNAL)
    assert (troubles.sentences, troubles.degraded) == ([], False)
    assert caplog.messages == [FULL, f"over: {FULL}"]
    assert recorded == [(Trouble.JOURNAL, FULL, False), (Trouble.JOURNAL, FULL, True)]


def test_what_several_causes_say_alike_is_said_once_and_over_with_the_last(
    troubles: Troubles, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    troubles.report(Trouble.SCAN, FULL, blocks=False)
    troubles.report(Trouble.JOURNAL, FULL)

    assert troubles.sentences == [FULL]
    assert troubles.degraded

    troubles.clear(Trouble.JOURNAL)

    assert troubles.sentences == [FULL]
    assert not troubles.degraded

    troubles.clear(Trouble.SCAN)

    assert troubles.sentences == []
    assert caplog.messages == [FULL, f"over: {FULL}"]
    assert [over for _, _, over in recorded] == [False, True]


def test_another_sentence_of_the_same_trouble_takes_the_place_of_the_last(
    troubles: Troubles, caplog: pytest.LogCaptureFixture
) -> None:
    troubles.report(Trouble.RELOAD, "line 1 is wrong", blocks=False)
    troubles.report(Trouble.RELOAD, "line 2 is wrong", blocks=False)

    assert troubles.sentences == ["line 2 is wrong"]
    assert caplog.messages == ["line 1 is wrong", "line 2 is wrong"]


def test_each_job_has_its_own_trouble(troubles: Troubles) -> None:
    other = JOB.__class__(**{name: getattr(JOB, name) for name in JOB.__slots__} | {"id": 99})
    troubles.report(Trouble.DELIVERY, "job 7", blocks=False, job=JOB)
    troubles.report(Trouble.DELIVERY, "job 99", blocks=False, job=other)

    troubles.clear(Trouble.DELIVERY, JOB)
    assert troubles.sentences == ["job 99"]
    troubles.clear(Trouble.DELIVERY)
    assert troubles.has(Trouble.DELIVERY)


def test_all_troubles_of_a_kind_are_told_together_and_one_that_is_missing_is_over(
    troubles: Troubles, recorded: Recorded
) -> None:
    troubles.report(Trouble.SCAN, "another", blocks=False)

    assert not troubles.report_all(Trouble.FOLDERS, ["inbox", "outbox"], blocks=True)
    assert not troubles.report_all(Trouble.FOLDERS, ["inbox", "outbox"], blocks=True)
    assert troubles.report_all(Trouble.FOLDERS, ["outbox", "done"], blocks=True)
    assert troubles.sentences == ["another", "outbox", "done"]
    assert troubles.report_all(Trouble.FOLDERS, [], blocks=True)
    assert not troubles.has(Trouble.FOLDERS)
    assert troubles.sentences == ["another"]
    assert [told[1:] for told in recorded[1:]] == [
        ("inbox", False),
        ("outbox", False),
        ("done", False),
        ("inbox", True),
        ("outbox", True),
        ("done", True),
    ]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = 1000.0

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("watchconv.daemon.trouble.time.monotonic", lambda: now)
    return advance


def test_what_only_another_try_can_end_blocks_until_its_time(
    troubles: Troubles, clock: Callable[[float], None]
) -> None:
    assert troubles.blocked_seconds() == 0

    troubles.report(Trouble.ATTEMPT, "ffmpeg is gone", retry_seconds=30)
    troubles.report(Trouble.JOURNAL, FULL, retry_seconds=5)

    assert troubles.blocked_seconds() == 30

    clock(20)

    assert troubles.blocked_seconds() == 10

    clock(20)

    assert troubles.blocked_seconds() == 0
    assert troubles.degraded  # until it is known to be over


def test_a_trouble_without_a_time_blocks_until_it_is_cleared(
    troubles: Troubles, clock: Callable[[float], None]
) -> None:
    troubles.report(Trouble.ATTEMPT, "ffmpeg is gone", retry_seconds=30)
    troubles.report_all(Trouble.FOLDERS, ["inbox"], blocks=True)

    assert troubles.blocked_seconds() is None

    clock(3600)

    assert troubles.blocked_seconds() is None

    troubles.report_all(Trouble.FOLDERS, [], blocks=True)

    assert troubles.blocked_seconds() == 0


def test_what_does_not_block_holds_up_nobody(troubles: Troubles) -> None:
    troubles.report(Trouble.SPACE, FULL, blocks=False)
    troubles.report_all(Trouble.MOUNT_BELOW, ["a"], blocks=False)

    assert (troubles.blocked_seconds(), troubles.degraded) == (0, False)

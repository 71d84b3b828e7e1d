"""What wakes the daemon beside its inbox: the wake file and the mounts."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from tests.test_watch import resources, room_for_descriptors
from tests.waiting import wait_until
from watchconv.host import status_file as live
from watchconv.intake.wakeup import MountWatcher, WakeFileWatcher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Porch:
    """A state directory with a wake folder, and how often it rang."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        live.wake(str(self.state))
        self.rings: list[None] = []
        self.watch = WakeFileWatcher(
            str(self.state / live.WAKE_DIR), lambda: self.rings.append(None)
        )

    def ring(self) -> bool:
        """Touch the wake file; tell whether any ring was heard so far."""
        live.wake(str(self.state))
        return len(self.rings) > 0


@pytest.fixture
def porch(tmp_path: Path) -> Iterator[Porch]:
    """One that is listened to."""
    made = Porch(tmp_path)
    assert made.watch.start()
    yield made
    made.watch.stop()


def test_a_touched_wake_file_rings(porch: Porch) -> None:
    live.wake(str(porch.state))
    wait_until(lambda: porch.rings)


def test_what_the_daemon_writes_beside_it_does_not_ring(porch: Porch) -> None:
    for n in range(10):
        (porch.state / f"{n}").write_bytes(b"x")
    (porch.state / live.WAKE_DIR / live.WAKE_FILE).read_bytes()
    live.wake(str(porch.state))  # the last event: what came before would be heard before it
    wait_until(lambda: porch.rings)

    assert len(porch.rings) == 1


def test_without_a_wake_folder_it_cannot_be_listened_to(tmp_path: Path) -> None:
    before = resources()
    porch = Porch(tmp_path)
    shutil.rmtree(porch.state)
    for _ in range(3):
        assert not porch.watch.start()
    porch.watch.stop()

    assert wait_until(lambda: resources() == before)


def test_a_bell_that_is_not_listened_to_leaves_nothing_behind(tmp_path: Path) -> None:
    before = resources()
    for n in range(3):
        (tmp_path / f"{n}").mkdir()
        porch = Porch(tmp_path / f"{n}")
        assert porch.watch.start()
        wait_until(porch.ring)
        porch.watch.stop()
        porch.watch.stop()

    assert wait_until(lambda: resources() == before)


def test_too_few_descriptors_for_the_bell_are_a_no(tmp_path: Path) -> None:
    bell = WakeFileWatcher(str(tmp_path), lambda: None)
    with room_for_descriptors(0):
        assert not bell.start()
    assert bell.start()

    bell.stop()


def test_the_mounts_are_watched_by_one_thread_that_ends() -> None:
    before = resources()
    mounts = MountWatcher(lambda: None)
    mounts.start()
    mounts.start()

    assert len(threading.enumerate()) == len(before[0]) + 1

    mounts.stop()
    mounts.stop()

    assert wait_until(lambda: resources() == before)


@pytest.mark.parametrize("count", range(5))
def test_too_few_descriptors_leave_nothing_behind_of_the_mounts_watch(count: int) -> None:
    before = resources()
    mounts = MountWatcher(lambda: None)
    with room_for_descriptors(count):
        mounts.start()
    mounts.stop()

    assert wait_until(lambda: resources() == before, 10, lambda: (before, resources()))


def test_a_watch_that_is_closed_while_it_begins_is_closed(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    for _ in range(150):
        watch = WakeFileWatcher(str(tmp_path), lambda: None)
        beginning = threading.Thread(target=watch.start)
        beginning.start()
        watch.stop()
        beginning.join()

    assert set(threading.enumerate()) <= before

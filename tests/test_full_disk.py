"""A disk that is full costs no attempt, is said once, and work goes on when there is room."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.daemon import Daemon, drop
from tests.fake_place import FakePlace, files_in
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class FullDisk(NamedTuple):
    place: FakePlace
    daemon: Daemon
    marker: Path  # while it is there, the disk is full


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory, long_clip: Path) -> Iterator[FullDisk]:
    folder = tmp_path_factory.mktemp("full")
    marker = folder / "the disk is full"
    marker.touch()
    place = FakePlace(folder / "videos", otherwise=f"full-while:{marker}", max_attempts=1)
    with Daemon(place) as daemon:
        for name in ("a.mkv", "b.mkv"):
            drop(long_clip, place.inbox / name)
        wait_until(lambda: len(place.transitions("running→queued")) == 2, what=daemon.log)
        yield FullDisk(place, daemon, marker)


def test_a_full_disk_is_trouble_and_costs_no_job_an_attempt(full_disk: FullDisk) -> None:
    place = full_disk.place
    wait_until(lambda: place.live()["state"] == "trouble")

    status = place.status()
    assert status["state"] == "trouble"
    assert "no space left" in " ".join(status["trouble"])
    assert {"queued": 2, "failed": 0, "running": 0}.items() <= status["counts"].items()
    assert {(job["state"], job["attempt"]) for job in place.jobs()} == {("queued", 0)}
    assert files_in(place.error) == files_in(place.outbox) == set()
    assert full_disk.daemon.log().count("warning: no space left") == 1


def test_a_disk_that_stays_full_is_said_once(full_disk: FullDisk) -> None:
    """The daemon tried again once told it was over, each half minute, with the disk still full."""
    place, daemon = full_disk.place, full_disk.daemon
    failed_at = place.transitions("running→queued")[0].at
    wait_until(lambda: time.time() > failed_at + 35)

    assert full_disk.marker.exists()
    assert "over: no space left" not in daemon.log()
    assert "no space left" in " ".join(place.status()["trouble"])


def test_work_goes_on_by_itself_when_the_disk_has_room_again(full_disk: FullDisk) -> None:
    full_disk.marker.unlink(missing_ok=True)
    place = full_disk.place
    daemon = full_disk.daemon
    wait_until(lambda: len(place.transitions("delivering→done")) == 2, 100, what=daemon.log)
    wait_until(lambda: place.live()["state"] == "running")

    assert {(job["state"], job["attempt"]) for job in place.jobs()} == {("done", 1)}
    assert place.status()["trouble"] == []
    assert files_in(place.outbox) == {"a.webm", "b.webm"}

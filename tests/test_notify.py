"""What systemd hears of the real daemon: ready, what it does, that nothing hangs, that it stops."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.daemon import Daemon, Place, drop, tiny_clip
from tests.fake_place import GatedPlace
from tests.systemd import Unit
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PERIOD = 2.0  # seconds: what a unit of ours would call WatchdogSec
PINGS = 3  # so many in a row are no accident


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return tiny_clip(tmp_path, "tiny.mkv")


@pytest.fixture
def place(tmp_path: Path) -> GatedPlace:
    return GatedPlace(tmp_path / "videos")


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Unit]:
    with Unit(tmp_path, watchdog_seconds=PERIOD) as unit:
        yield unit


@contextlib.contextmanager
def service(place: Place, unit: Unit) -> Iterator[Daemon]:
    """A daemon that was started by the unit, and is ready."""
    daemon = Daemon(place, environment={**place.environment, **unit.environment})
    try:
        daemon.start()
        unit.wait_for("READY=1")
        yield daemon
    finally:
        daemon.kill()


def go_on_pinging(unit: Unit) -> bool:
    unit.wait_for("WATCHDOG=1", unit.count("WATCHDOG=1") + PINGS)
    return True


def stop_pinging(unit: Unit) -> bool:
    """Wait until no ping has come for longer than systemd would bear."""
    last, since = unit.count("WATCHDOG=1"), time.monotonic()

    def silent() -> bool:
        nonlocal last, since
        if (now := unit.count("WATCHDOG=1")) != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 1.5 * PERIOD

    return wait_until(silent)


# ready


def test_it_is_ready_when_what_was_left_is_taken_up_and_the_inbox_looked_at(
    unit: Unit, clip: Path, tmp_path: Path
) -> None:
    place = GatedPlace(tmp_path / "videos", max_attempts=3)
    drop(clip, place.inbox / "a.mkv")
    with Daemon(place) as daemon:
        wait_until(daemon.encodes)
    drop(clip, place.inbox / "b.mkv")
    drop(place.log_file, place.inbox / "c.txt")

    with service(place, unit):
        log = place.log()

        assert "job=1 profile=copy running→queued a.mkv: it was interrupted" in log
        assert "ignored c.txt" in log
        assert "queued b.mkv" in log


def test_a_full_inbox_is_looked_at_before_the_first_job_holds_it_up(
    tmp_path: Path, unit: Unit
) -> None:
    place = Place(tmp_path / "videos", {"settle_seconds": 0})
    for number in range(1000):
        (place.inbox / f"{number}.mkv").write_bytes(b"no video")
    with service(place, unit) as daemon:
        wait_until(lambda: "queued→running" in daemon.log(), what=daemon.log)
        before, _, _ = daemon.log().partition("queued→running")
    assert before.count(" queued ") == 1000


def test_in_trouble_it_is_ready_says_why_and_heals(
    place: GatedPlace, unit: Unit, clip: Path
) -> None:
    drop(clip, place.inbox / "a.mkv")
    shutil.rmtree(place.outbox)
    with service(place, unit):
        wait_until(lambda: unit.status.startswith("trouble: "), what=lambda: unit.heard)
        assert f"the outbox {place.outbox} does not exist" in unit.status
        assert go_on_pinging(unit), "a restart would not bring it back"

        place.outbox.mkdir()
        wait_until(lambda: unit.status == "1 running (50 %), 0 queued", what=lambda: unit.heard)
        place.let_through("a.mkv")
        wait_until(lambda: unit.status == "0 running, 0 queued")


# what it does


def test_the_status_counts(tmp_path: Path, unit: Unit, clip: Path) -> None:
    place = GatedPlace(tmp_path / "videos")
    with service(place, unit):
        wait_until(lambda: unit.status == "0 running, 0 queued")
        drop(place.log_file, place.inbox / "x.mkv")
        place.wait_for("x.mkv", "failed")
        for name in ("a.mkv", "b.mkv", "c.mkv"):
            drop(clip, place.inbox / name)
        wanted = "1 running (50 %), 2 queued, 1 failed"
        wait_until(lambda: unit.status == wanted, what=lambda: unit.heard)

        place.say("pause")
        wait_until(lambda: unit.status == f"paused: {wanted}", what=lambda: unit.heard)


def test_an_idle_daemon_says_and_writes_nothing_but_its_ping(place: GatedPlace, unit: Unit) -> None:
    with service(place, unit) as daemon:
        wait_until(lambda: unit.status == "0 running, 0 queued")
        go_on_pinging(unit)
        said = [line for line in unit.listen() if line != "WATCHDOG=1"]
        before, files = written(daemon.pid), condition(place.state)
        go_on_pinging(unit)

        assert [line for line in unit.listen() if line != "WATCHDOG=1"] == said
        assert condition(place.state) == files
        assert written(daemon.pid) == before


def written(pid: int) -> str:
    """Give how much a process has caused to be sent to disks."""
    with open(f"/proc/{pid}/io", encoding="ascii") as lines:
        return next(line for line in lines if line.startswith("write_bytes"))


def condition(folder: Path) -> dict[str, tuple[int, int]]:
    stats = {path.name: path.stat() for path in folder.iterdir()}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


# that nothing hangs


def test_a_long_encode_does_not_stop_the_pings(place: GatedPlace, unit: Unit, clip: Path) -> None:
    drop(clip, place.inbox / "a.mkv")
    with service(place, unit) as daemon:
        wait_until(daemon.encodes)

        assert go_on_pinging(unit)


def test_a_journal_that_does_not_answer_stops_the_pings(
    place: GatedPlace, unit: Unit, clip: Path
) -> None:
    """Held by somebody else, as by a disk that does not answer, it keeps its thread waiting."""
    with service(place, unit):
        assert go_on_pinging(unit)
        other = sqlite3.connect(place.state / "journal.sqlite", isolation_level=None)
        with contextlib.closing(other):
            other.execute("BEGIN IMMEDIATE")
            drop(clip, place.inbox / "a.mkv")
            assert stop_pinging(unit)
            wait_until(lambda: "no answer" in place.log())
            other.execute("ROLLBACK")

        assert go_on_pinging(unit)


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[Frozen]:
    if shutil.which("bindfs") is None or not os.path.exists("/dev/fuse"):
        pytest.skip("needs bindfs and FUSE")
    frozen = Frozen(tmp_path / "disk")
    yield frozen
    frozen.end()


class Frozen:
    """Mounts whose disk can be made to answer no more."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._mounts: list[tuple[Path, subprocess.Popen[bytes]]] = []

    def mount(self, folder: Path) -> None:
        disk = self._disk / folder.name
        disk.mkdir(parents=True)
        options = "attr_timeout=0,entry_timeout=0,negative_timeout=0"
        argv = ["bindfs", "-f", "-o", options, str(disk), str(folder)]
        self._mounts.append((folder, subprocess.Popen(argv)))
        wait_until(folder.is_mount)

    def freeze(self) -> None:
        for _, process in self._mounts:
            process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        for _, process in self._mounts:
            process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.thaw()
        for folder, process in self._mounts:
            subprocess.run(["umount", "-l", str(folder)], check=False)
            process.terminate()
            process.wait()


def test_a_scan_that_a_dead_disk_holds_stops_the_pings(
    tmp_path: Path, unit: Unit, clip: Path, frozen: Frozen
) -> None:
    place = GatedPlace(tmp_path / "videos", "copy", scan_seconds=1)
    frozen.mount(place.inbox)
    with service(place, unit):
        assert go_on_pinging(unit)
        frozen.freeze()
        assert stop_pinging(unit)
        wait_until(lambda: "the scan of the inbox: no answer" in place.log())
        frozen.thaw()
        assert go_on_pinging(unit)

        (place.inbox / "a.mkv").write_bytes(clip.read_bytes())
        place.wait_for("a.mkv", "done")


def test_a_delivery_that_takes_long_does_not_stop_the_pings(
    place: GatedPlace, unit: Unit, clip: Path, frozen: Frozen
) -> None:
    frozen.mount(place.done)
    drop(clip, place.inbox / "a.mkv")
    with service(place, unit) as daemon:
        wait_until(daemon.encodes)
        frozen.freeze()
        place.let_through("a.mkv")
        wait_until(lambda: not daemon.encodes())
        assert go_on_pinging(unit)
        frozen.thaw()
        place.wait_for("a.mkv", "done")


# that it stops


def test_an_idle_daemon_stops_at_once(place: GatedPlace, unit: Unit) -> None:
    with service(place, unit) as daemon:
        wait_until(lambda: unit.status == "0 running, 0 queued")
        began = time.monotonic()
        assert daemon.stop() == 0
        seconds = time.monotonic() - began

    print(f"\nstopped when idle after {seconds * 1000:.0f} ms")
    assert "STOPPING=1" in unit.listen()
    assert "EXTEND_TIMEOUT_USEC=47000000" in unit.heard  # with a grace of one second
    assert seconds < 5, "300 ms are promised, on a machine that has nothing else to do"


def test_an_encode_that_does_not_end_by_itself_is_ended_and_begun_again(
    place: GatedPlace, unit: Unit, clip: Path
) -> None:
    drop(clip, place.inbox / "a.mkv")
    with service(place, unit) as daemon:
        wait_until(daemon.encodes)
        assert daemon.stop() == 0
    assert place.job("a.mkv")["state"] == "queued"
    assert place.job("a.mkv")["attempt"] == 0

    with service(place, unit) as daemon:
        wait_until(daemon.encodes)
        place.let_through("a.mkv")
        place.wait_for("a.mkv", "done")

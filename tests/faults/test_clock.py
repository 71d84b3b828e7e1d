"""A wall clock that is stepped by a day, to and fro, under the real daemon: it stops nothing.

The daemon's own ``time.time`` is stepped, by a file that says how far: the machine's clock is
everybody's. The kernel's times of files then lie a day before or after the daemon's clock, as they
do after a real step.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import Daemon, drop, tiny_clip
from tests.fakes import write_fake
from tests.waiting import wait_until
from tests.wrapped import WrappedPlace

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 2
DAY = 86_400
SETTINGS: dict[str, Any] = {
    "settle_seconds": 0.5,
    "settle_network_seconds": 0.5,
    "min_free": 0,
    "profile": "copy",
    "profiles": {"copy": {"suffix": ".mkv", "args": "-c copy", "verify": "off"}},
}
STEPPED = """
import time
real, real_ns = time.time, time.time_ns
def step():
    try:
        return int(open({offset!r}).read() or 0)
    except (OSError, ValueError):
        return 0
time.time = lambda: real() + step()
time.time_ns = lambda: real_ns() + step() * 10**9
"""


class Clock:
    """The daemon's clock."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "offset"
        self.patch = STEPPED.format(offset=str(self._offset))
        self.step(0)

    def step(self, seconds: int) -> None:
        """Put it so far from the machine's."""
        new = self._offset.with_suffix(".new")
        new.write_text(str(seconds), encoding="ascii")
        new.rename(self._offset)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clips"), "clip.mp4", FRAMES / 10)


def place_in(folder: Path, clock: Clock, plan: dict[str, str], **settings: object) -> WrappedPlace:
    fake = write_fake(folder / "fake", plan, frames=FRAMES)
    place = WrappedPlace(folder / "videos", {**SETTINGS, **settings}, ffmpeg=fake)
    place.patch = clock.patch
    return place


STEPS = (DAY, -DAY, 0, 400 * DAY, -DAY, DAY)


def test_a_clock_that_is_stepped_to_and_fro_stops_nothing(
    tmp_path: Path, clock: Clock, clip: Path
) -> None:
    place = place_in(tmp_path, clock, {})
    with Daemon(place):
        for number, seconds in enumerate(STEPS):
            clock.step(seconds)
            drop(clip, place.inbox / f"renamed {number}.mp4")
            shutil.copyfile(clip, place.inbox / f"written {number}.mp4")
            place.wait_for(f"renamed {number}.mp4", "done")
            place.wait_for(f"written {number}.mp4", "done")

            wait_until(lambda: place.status()["trouble"] == [], what=place.log)

        jobs = place.jobs()
        clock.step(0)
        place.say("pause")
        wait_until(lambda: place.live()["state"] == "paused")

    assert [job["state"] for job in jobs] == ["done"] * 2 * len(STEPS)
    assert len(list(place.outbox.glob("*.mkv"))) == 2 * len(STEPS)


def test_jobs_that_run_or_wait_while_the_clock_is_stepped_go_on(
    tmp_path: Path, clock: Clock, clip: Path
) -> None:
    gate = tmp_path / "gate"
    gate.mkdir()
    plan = {"fails*": "exit:1", "*": f"gate:{gate}"}
    place = place_in(tmp_path, clock, plan, jobs=3, max_attempts=2)
    with Daemon(place):
        for seconds in (0, DAY, -DAY):
            clock.step(seconds)
            drop(clip, place.inbox / f"runs {seconds}.mp4")
            place.wait_for(f"runs {seconds}.mp4", "running")
            drop(clip, place.inbox / f"fails {seconds}.mp4") if seconds == 0 else None
        wait_until(lambda: place.job("fails 0.mp4")["attempt"] >= 1)
        for seconds in (0, DAY, -DAY):
            clock.step(-seconds)
            (gate / f"runs {seconds}.mp4").touch()
            place.wait_for(f"runs {seconds}.mp4", "done")
        place.wait_for("fails 0.mp4", "failed")

    # a backoff that the clock made long, or short, is no storm: two attempts, as configured
    assert place.log().count("queued→running fails 0.mp4") == 2


def test_a_file_in_the_making_is_not_judged_by_a_clock_that_is_put_forward(
    tmp_path: Path, clock: Clock, clip: Path
) -> None:
    """It ends too early and its writer has closed it, as between two parts of an upload."""
    place = place_in(tmp_path, clock, {}, incomplete_after_seconds=3600)
    content = clip.read_bytes()
    with Daemon(place):
        (place.inbox / "upload.mp4").write_bytes(content[: len(content) // 2])
        wait_until(lambda: "waiting for upload.mp4" in place.log())
        clock.step(DAY)
        drop(clip, place.inbox / "other.mp4")
        place.wait_for("other.mp4", "done")
        with (place.inbox / "upload.mp4").open("r+b") as upload:
            upload.write(content[: len(content) // 2])  # an event, and a look: still not whole
        wait_until(lambda: len(place.jobs()) == 1 and place.live()["waiting"] == 1)
        with (place.inbox / "upload.mp4").open("ab") as upload:
            upload.write(content[len(content) // 2 :])
        place.wait_for("upload.mp4", "done")

    assert list(place.error.iterdir()) == []


def test_a_daemon_that_starts_with_a_stepped_clock_takes_up_what_there_is(
    tmp_path: Path, clock: Clock, clip: Path
) -> None:
    """Kept originals are not converted again, though their jobs ended in the future or long ago."""
    place = place_in(tmp_path, clock, {}, on_success="keep", keep_history_days=30)
    for number, seconds in enumerate((0, 400 * DAY, -400 * DAY, 0)):
        clock.step(seconds)
        with Daemon(place) as daemon:
            drop(clip, place.inbox / f"{number}.mp4")
            place.wait_for(f"{number}.mp4", "done")

            assert daemon.stop() == 0

    assert len(place.jobs()) == 4
    assert len(list(place.outbox.glob("*.mkv"))) == 4

"""A disk that is full, for real: a small tmpfs under each of the folders in turn.

Whichever it is, it is said, nothing is claimed or nothing goes on, no attempt is charged, no part
of a file is visible, the original stays; and all goes on by itself when there is room again.
So that a test does not wait for minutes, the daemon tries again after parts of a second.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import av
import pytest

from tests import daemon as harness
from tests.clips import FFMPEG
from tests.daemon import Daemon, Place, drop, tiny_clip
from tests.fakes import write_fake
from tests.test_crash import files_in, frames_of, leftovers_in
from tests.waiting import wait_until
from watchconv.errors import JournalError
from watchconv.journal.database import SCHEMA_VERSION, WAL_PAGES, Database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HURRY = """
from tests.faults.steps import hurry
from watchconv.__main__ import main
hurry()
main()
"""
KIB, MIB = 1 << 10, 1 << 20
SETTINGS: dict[str, Any] = {
    "jobs": 1,
    "settle_seconds": 0,
    "settle_network_seconds": 0.2,
    "min_free": 0,
    "max_attempts": 1,  # so that one that is charged is the end
}
# each writes in its own way: as it goes, over its own beginning, all of it twice, in clusters
MUXERS = {
    ".avi": "-c:v rawvideo -pix_fmt yuv420p",
    ".mp4": "-c:v mpeg4 -qscale:v 1",
    ".mov": "-c:v mpeg4 -qscale:v 1 -movflags +faststart",
    ".mkv": "-c:v ffv1",
    ".ts": "-c:v mpeg2video -qscale:v 1",
    ".webm": "-c:v libvpx -b:v 8M -threads 1",
}

pytestmark = pytest.mark.timeout(240)


class Disk:
    """A tmpfs of a size that can be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, size: int) -> None:
        """Make it larger or smaller."""
        options = f"remount,size={size}"
        subprocess.run(["mount", "-o", options, str(self.folder)], check=True)

    def fill(self, leave: int = 0) -> Path:
        """Take all of the room, or all but so much; return the file that does."""
        filler = self.folder / ".filler"
        stat = os.statvfs(self.folder)
        with filler.open("wb") as writer:
            os.posix_fallocate(writer.fileno(), 0, stat.f_bavail * stat.f_frsize - leave)
        return filler


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path, int], Disk]]:
    """Give a way to put a small disk in a folder's place."""
    monkeypatch.setattr(harness, "PROGRAM", (sys.executable, "-W", "error", "-c", HURRY))
    with contextlib.ExitStack() as mounts:

        def mount(folder: Path, size: int) -> Disk:
            folder.mkdir(exist_ok=True)
            argv = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
            ended = subprocess.run(argv, capture_output=True, text=True, check=False)
            if ended.returncode:
                pytest.skip(f"no tmpfs can be mounted here: {ended.stderr.strip()}")
            mounts.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
            return Disk(folder)

        yield mount


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return tiny_clip(tmp_path, "tiny.ts", 0.5)


def place_with_fake(folder: Path, clip: Path, otherwise: str = "copy", **more: Any) -> Place:
    fake = write_fake(folder / "fake", otherwise=otherwise, frames=frames_of(clip))
    same = {"profile": "same", "profiles": {"same": {"suffix": ".ts", "args": "-c:v libvpx"}}}
    return Place(folder / "videos", {**SETTINGS, **same, "ffmpeg": fake, **more})


def wait_for(place: Place, words: str) -> None:
    wait_until(lambda: words in place.log(), what=lambda: f"{words}\n{place.log()}")


def wait_until_it_waits(place: Place, clip: Path) -> None:
    """Wait until trouble is shown, and the file is queued again with its attempt given back."""
    wait_until(lambda: place.status()["state"] == "trouble", what=place.log)
    wait_until(lambda: (job := place.job(clip.name))["state"] == "queued" and not job["attempt"])


def assert_untouched(place: Place, clip: Path) -> None:
    """Nothing is visible but the original, in the inbox."""
    assert files_in(place.inbox) == {clip.name: clip.read_bytes()}
    assert files_in(place.outbox) == files_in(place.done) == files_in(place.error) == {}


def assert_delivered(place: Place, clip: Path, output: str) -> None:
    """All is where it belongs, and it took one attempt."""
    job = place.job(clip.name)
    assert (job["state"], job["attempt"], job["output"]) == ("done", 1, output)
    assert files_in(place.done) == {clip.name: clip.read_bytes()}
    assert files_in(place.inbox) == files_in(place.error) == {}
    assert files_in(place.outbox).keys() == {output}
    assert [name for name in leftovers_in(place) if ".filler" not in name] == []
    assert "Traceback" not in place.log()


# the outbox


def noise(folder: Path) -> Path:
    """Make a clip that no encoder makes small: 1 MB of rawvideo, and somewhat less of others."""
    source = "nullsrc=size=160x120:rate=20:duration=2,geq=random(1)*255:128:128"
    path = folder / "noise.ts"
    words = ["-f", "lavfi", "-i", source, "-c:v", "mpeg2video", "-qscale:v", "2", str(path)]
    subprocess.run([FFMPEG, "-v", "error", *words], check=True, stdin=subprocess.DEVNULL)
    return path


@pytest.mark.parametrize("suffix", MUXERS)
@pytest.mark.parametrize("when", ["half", "end"])
def test_an_encode_that_fills_the_outbox_waits_for_room(
    tmp_path: Path, small: Callable[[Path, int], Disk], suffix: str, when: str
) -> None:
    """ffmpeg says it in the middle or only when it closes the file, with any exit status."""
    clip = noise(tmp_path)
    profile = {"suffix": suffix, "args": f"{MUXERS[suffix]} -an"}
    place = Place(tmp_path / "videos", {**SETTINGS, "profile": "big", "profiles": {"big": profile}})
    disk = small(place.outbox, 64 * MIB)
    drop(clip, place.inbox / "measured.ts")
    place.say("run", "--once")
    measured = place.outbox / f"measured{suffix}"
    size = measured.stat().st_size
    measured.unlink()
    (place.done / "measured.ts").unlink()
    assert size > 256 * KIB

    disk.resize(size // 2 if when == "half" else size - 4 * KIB)
    drop(clip, place.inbox / clip.name)
    with Daemon(place) as daemon:
        wait_for(place, "no space left in the outbox")
        wait_until_it_waits(place, clip)

        assert_untouched(place, clip)

        disk.resize(64 * MIB)
        place.wait_for(clip.name, "done")

        assert daemon.stop() == 0
    assert_delivered(place, clip, f"noise{suffix}")
    said = [line for line in place.log().splitlines() if "no space left" in line]
    assert sum("job=" not in line for line in said) == 2  # and that it is over
    with av.open(str(place.outbox / f"noise{suffix}")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 40


def test_min_free_pauses_before_the_outbox_is_full(
    tmp_path: Path, clip: Path, small: Callable[[Path, int], Disk]
) -> None:
    place = place_with_fake(tmp_path, clip, min_free="2MiB")
    disk = small(place.outbox, 4 * MIB)
    filler = disk.fill(leave=MIB)
    with Daemon(place) as daemon:
        drop(clip, place.inbox / clip.name)
        wait_for(place, "less than min_free (2 MiB) is free in the outbox")
        wait_until_it_waits(place, clip)

        assert "min_free" in place.status()["trouble"][0]
        assert "queued→running" not in place.log()
        assert_untouched(place, clip)

        filler.unlink()
        place.wait_for(clip.name, "done")

        assert daemon.stop() == 0
    assert_delivered(place, clip, clip.name)
    assert place.log().count("less than min_free") == 2  # and that it is over


def test_an_outbox_that_others_have_filled_heals(
    tmp_path: Path, clip: Path, small: Callable[[Path, int], Disk]
) -> None:
    place = place_with_fake(tmp_path, clip)
    filler = small(place.outbox, 4 * MIB).fill()
    with Daemon(place) as daemon:
        drop(clip, place.inbox / clip.name)
        wait_until_it_waits(place, clip)

        assert_untouched(place, clip)

        filler.unlink()
        place.wait_for(clip.name, "done")

        assert daemon.stop() == 0
    assert_delivered(place, clip, clip.name)


# done and error


def test_a_full_done_keeps_the_original_in_the_inbox_until_there_is_room(
    tmp_path: Path, clip: Path, small: Callable[[Path, int], Disk]
) -> None:
    place = place_with_fake(tmp_path, clip)
    filler = small(place.done, MIB).fill()
    with Daemon(place) as daemon:
        drop(clip, place.inbox / clip.name)
        wait_for(place, "cannot be delivered yet: No space left on device")

        assert place.job(clip.name)["state"] == "delivering"
        assert files_in(place.inbox) == {clip.name: clip.read_bytes()}
        assert files_in(place.done) == files_in(place.error) == {}
        assert files_in(place.outbox) == {clip.name: clip.read_bytes()}

        filler.unlink()
        place.wait_for(clip.name, "done")

        assert daemon.stop() == 0
    assert_delivered(place, clip, clip.name)
    assert place.log().count("queued→running") == 1


def test_a_full_error_keeps_the_original_in_the_inbox_until_there_is_room(
    tmp_path: Path, clip: Path, small: Callable[[Path, int], Disk]
) -> None:
    place = place_with_fake(tmp_path, clip, "exit:1")
    filler = small(place.error, MIB).fill()
    with Daemon(place) as daemon:
        drop(clip, place.inbox / clip.name)
        wait_for(place, "cannot be delivered yet: No space left on device")

        assert_untouched(place, clip)

        filler.unlink()
        place.wait_for(clip.name, "failed")

        assert daemon.stop() == 0
    assert files_in(place.error).keys() == {clip.name, f"{clip.name}.log"}
    assert (place.error / clip.name).read_bytes() == clip.read_bytes()
    assert files_in(place.inbox) == files_in(place.outbox) == {}
    assert [name for name in leftovers_in(place) if ".filler" not in name] == []


def test_a_retry_into_a_full_inbox_waits_for_room(
    tmp_path: Path, clip: Path, small: Callable[[Path, int], Disk]
) -> None:
    place = place_with_fake(tmp_path, clip, "exit:1")
    disk = small(place.inbox, MIB)
    shutil.copyfile(clip, place.inbox / clip.name)
    assert place.run("run", "--once").returncode == 1
    failed = {clip.name, f"{clip.name}.log"}
    place_with_fake(tmp_path, clip)
    filler = disk.fill()
    with Daemon(place) as daemon:
        place.say("retry", 1)
        wait_for(place, "job 1 cannot be retried yet: No space left on device")

        assert files_in(place.error).keys() == failed
        assert files_in(place.inbox) == {}

        filler.unlink()
        place.wait_for(clip.name, "done")

        assert daemon.stop() == 0
    assert_delivered(place, clip, clip.name)
    assert place.log().count("cannot be retried yet") == 2  # and that it is over


# the state directory


def test_a_full_state_holds_up_new_files_until_there_is_room(
    tmp_path: Path, clip: Path, small: Callable[[Path, int], Disk]
) -> None:
    place = place_with_fake(tmp_path, clip)
    disk = small(place.state, 2 * MIB)
    with Daemon(place) as daemon:
        filler = disk.fill()
        for number in range(20):  # what is left in the journal's last pages is soon used up
            drop(clip, place.inbox / f"{number:02}{'x' * 200}.ts")
        wait_for(place, "is the disk full?")

        filler.unlink()
        wait_until(lambda: len(files_in(place.done)) == 20, what=place.log)
        wait_until(lambda: place.status()["counts"]["done"] == 20)

        assert daemon.stop() == 0
    assert {job["attempt"] for job in place.jobs()} == {1}
    assert len(files_in(place.outbox)) == 20
    assert files_in(place.inbox) == files_in(place.error) == {}
    assert leftovers_in(place) == []


@contextlib.contextmanager
def reading(state: Path) -> Iterator[None]:
    """Look at the journal all the while, so that its log cannot begin anew in the room it has."""
    with contextlib.closing(sqlite3.connect(state / "journal.sqlite")) as db:
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM job").fetchall()
        yield


@pytest.mark.parametrize("size", [512 * KIB, 2 * MIB])
def test_a_small_state_is_not_filled_by_the_log_of_the_journal(
    tmp_path: Path, small: Callable[[Path, int], Disk], size: int
) -> None:
    small(tmp_path / "state", size)
    full = 0
    with contextlib.closing(Database(str(tmp_path / "state"))) as database:
        for count in range(1500):  # more in all than any of the disks holds
            try:
                with database.writing() as db:
                    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + count % 2}")
            except JournalError:
                full += 1
                with database.writing() as db:  # there is room when it is tried again
                    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    assert bool(full) is (size < WAL_PAGES * 4 * KIB)


def test_a_state_that_fills_during_an_encode_loses_no_work(
    tmp_path: Path, clip: Path, small: Callable[[Path, int], Disk]
) -> None:
    place = place_with_fake(tmp_path, clip, "slow:1")
    disk = small(place.state, 2 * MIB)
    with Daemon(place) as daemon:
        drop(clip, place.inbox / clip.name)
        wait_for(place, "queued→running")
        with reading(place.state):
            filler = disk.fill()
            wait_for(place, "is the disk full?")

            assert_untouched(place, clip)

        filler.unlink()
        place.wait_for(clip.name, "done")

        assert daemon.stop() == 0
    assert_delivered(place, clip, clip.name)
    assert place.log().count("queued→running") == 1


def test_a_start_on_a_full_state_says_so_and_the_next_one_is_well(
    tmp_path: Path, clip: Path, small: Callable[[Path, int], Disk]
) -> None:
    place = place_with_fake(tmp_path, clip)
    filler = small(place.state, MIB).fill()
    drop(clip, place.inbox / clip.name)
    ended = place.run("run", "--once")

    assert ended.returncode == 1
    assert "is the disk full?" in ended.stderr
    assert_untouched(place, clip)

    filler.unlink()
    place.say("run", "--once")
    assert_delivered(place, clip, clip.name)

"""Events that fail under the real daemon: files are found all the same, and it is said once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import Daemon, Place, drop
from tests.fakes import write_fake
from tests.waiting import wait_until
from tests.wrapped import WrappedPlace

if TYPE_CHECKING:
    from collections.abc import Mapping

FRAMES = 2
SETTINGS: dict[str, Any] = {
    "settle_seconds": 0.1,
    "settle_network_seconds": 0.5,
    "min_free": 0,
    "profile": "copy",
    "profiles": {"copy": {"suffix": ".mkv", "args": "-c copy", "verify": "off"}},
}
NEVER = 3600  # no test waits for a regular look so long


def place_in(folder: Path, settings: Mapping[str, Any]) -> WrappedPlace:
    fake = write_fake(folder / "fake", frames=FRAMES)
    return WrappedPlace(folder / "videos", {**SETTINGS, **settings}, ffmpeg=fake)


def convert(place: Place, clip: Path, name: str) -> None:
    """Drop a file, and wait until it is delivered."""
    drop(clip, place.inbox / name)
    place.wait_for(name, "done")


def warnings(place: Place) -> list[str]:
    lines = place.log().splitlines()
    return [line.partition(" warning: ")[2] for line in lines if " warning: " in line]


# the kernel's queue


def test_more_events_than_the_kernel_keeps_cost_nothing(tmp_path: Path, clip: Path) -> None:
    """The daemon stands still meanwhile; of what is dropped at the end there is no event."""
    place = place_in(tmp_path, {"scan_seconds": NEVER})
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))
    (place.inbox / "burst").mkdir()
    with Daemon(place) as daemon:
        convert(place, clip, "before.mkv")
        daemon.signal(signal.SIGSTOP)
        for number in range(most // 2 + 1000):  # two events each, no two of the same in a row
            (place.inbox / f"burst/{number % 50}.part").write_bytes(b"")
        drop(clip, place.inbox / "lost/during.mkv")
        drop(clip, place.inbox / "lost.mkv")
        daemon.signal(signal.SIGCONT)
        place.wait_for("lost.mkv", "done")
        place.wait_for("lost/during.mkv", "done")
        wait_until(lambda: len(warnings(place)) == 2, what=place.log)
        convert(place, clip, "lost/after.mkv")

        wait_until(lambda: place.status()["trouble"] == [], what=place.log)

    first, last = warnings(place)

    assert "events from the inbox were lost" in first
    assert "fs.inotify.max_queued_events" in first
    assert last == f"over: {first}"
    assert len(list(place.outbox.glob("**/*.mkv"))) == 4


# the limit of watches


def limited(most: int) -> tuple[str, ...]:
    """Give what begins a program with so many inotify watches, in a user namespace of its own."""
    script = f'echo {most} > /proc/sys/user/max_inotify_watches && exec "$@"'
    before = ("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces are not allowed here")
    return before


def test_without_any_watch_the_inbox_is_polled(tmp_path: Path, clip: Path) -> None:
    place = place_in(tmp_path, {"scan_seconds": 1})
    place.before = limited(0)
    with Daemon(place):
        convert(place, clip, "1.mkv")
        convert(place, clip, "trip/2.mkv")
        place.say("pause")  # the bell is not heard, but looked after
        wait_until(lambda: place.live()["state"] == "paused")

        assert "fs.inotify.max_user_watches" in place.status()["trouble"][0]

    assert len(warnings(place)) == 1


def test_folders_beyond_the_limit_of_watches_are_polled_until_there_are_fewer(
    tmp_path: Path, clip: Path
) -> None:
    place = place_in(tmp_path, {"scan_seconds": 1})
    place.before = limited(20)
    with Daemon(place):
        convert(place, clip, "before.mkv")

        assert warnings(place) == []

        for number in range(30):
            (place.inbox / f"{number}").mkdir()
        wait_until(lambda: place.live()["trouble"], what=place.log)
        for number in range(30):
            convert(place, clip, f"{number}/a.mkv") if number % 7 == 1 else None
        convert(place, clip, "29/a.mkv")
        for number in range(30):
            shutil.rmtree(place.inbox / f"{number}")
        wait_until(lambda: not place.live()["trouble"], what=place.log)
        convert(place, clip, "after.mkv")

    first, last = warnings(place)

    assert "the limit of inotify watches is reached" in first
    assert last == f"over: {first}"


# the inbox itself


def test_an_inbox_that_is_deleted_and_made_again_is_watched_again(
    tmp_path: Path, clip: Path
) -> None:
    place = place_in(tmp_path, {"scan_seconds": NEVER})
    with Daemon(place):
        for turn in range(3):
            convert(place, clip, f"{turn}.mkv")
            shutil.rmtree(place.inbox)
            wait_until(lambda: place.live()["state"] == "trouble", what=place.log)
            place.inbox.mkdir()
            wait_until(lambda: place.live()["state"] == "running", what=place.log)
            drop(clip, place.inbox / f"trip/{turn}.mkv")
            place.wait_for(f"trip/{turn}.mkv", "done")
        shutil.rmtree(place.inbox)
        place.inbox.mkdir()  # at once: no look sees it missing, or one does
        convert(place, clip, "last.mkv")

    said = warnings(place)

    assert len(said) in (6, 8)
    assert said[0] == f"the inbox {place.inbox} does not exist: make it, or mount what holds it"
    assert said[1::2] == [f"over: {sentence}" for sentence in said[0::2]]


VANISHING = """
import os, shutil
from watchconv.intake.inotify import InboxEvents
begin = InboxEvents.begin
def vanish(events):
    if os.path.exists(INBOX + "/vanish"):
        shutil.rmtree(INBOX)
        raise FileNotFoundError(2, "No such file or directory", INBOX)
    begin(events)
InboxEvents.begin = vanish
"""


def test_an_inbox_that_vanishes_while_it_is_begun_to_be_watched_is_missed(
    tmp_path: Path, clip: Path
) -> None:
    place = place_in(tmp_path, {"scan_seconds": NEVER})
    place.patch = f"INBOX = {str(place.inbox)!r}{VANISHING}"
    (place.inbox / "vanish").mkdir()
    with Daemon(place):
        wait_until(lambda: place.live()["state"] == "trouble", what=place.log)
        place.inbox.mkdir()
        convert(place, clip, "a.mkv")

        wait_until(lambda: place.status()["trouble"] == [], what=place.log)


def test_an_inbox_whose_parents_are_made_again_is_watched_again(tmp_path: Path, clip: Path) -> None:
    place = place_in(tmp_path, {"scan_seconds": NEVER, "inbox": str(tmp_path / "a/b/inbox")})
    place.inbox = tmp_path / "a/b/inbox"
    place.inbox.mkdir(parents=True)
    with Daemon(place):
        convert(place, clip, "1.mkv")
        shutil.rmtree(tmp_path / "a")
        wait_until(lambda: place.live()["state"] == "trouble", what=place.log)
        place.inbox.mkdir(parents=True)
        wait_until(lambda: place.live()["state"] == "running", what=place.log)
        convert(place, clip, "2.mkv")


# a thread that dies

POISONED = """
from watchdog.observers.inotify_c import InotifyFD
sound = InotifyFD.handle_event
def handle_event(self, event):
    if b"poison" in event.name:
        raise RuntimeError("poisoned")
    sound(self, event)
InotifyFD.handle_event = handle_event
"""


def test_a_watching_thread_that_dies_is_begun_anew(tmp_path: Path, clip: Path) -> None:
    place = place_in(tmp_path, {"scan_seconds": NEVER})
    place.patch = POISONED
    with Daemon(place):
        convert(place, clip, "before.mkv")
        for turn in (1, 2):
            (place.inbox / "poison.part").touch()
            drop(clip, place.inbox / f"{turn}.mkv")  # perhaps nobody is there to hear
            place.wait_for(f"{turn}.mkv", "done")
            (place.inbox / "poison.part").unlink()
            wait_until(lambda n=turn: place.log().count("RuntimeError: poisoned") > n)  # type: ignore[misc]
        convert(place, clip, "after.mkv")

        wait_until(lambda: place.status()["trouble"] == [], what=place.log)

    assert len(list(place.outbox.glob("*.mkv"))) == 4


# much at once

COUNT = 100_000 if os.environ.get("WATCHCONV_FAULTS") == "all" else 20_000


def test_a_great_tree_that_is_renamed_in_costs_no_event_for_each_file(
    tmp_path: Path, clip: Path
) -> None:
    """Names that are no videos, beside one that is."""
    place = place_in(tmp_path, {"scan_seconds": NEVER})
    tree = tmp_path / "tree"
    for folder in range(20):
        (tree / f"{folder}").mkdir(parents=True)
        for number in range(COUNT // 20):
            (tree / f"{folder}" / f"a name of a usual length {number:06}.txt").touch()
    shutil.copyfile(clip, tree / "19" / "a.mkv")
    with Daemon(place) as daemon:
        convert(place, clip, "before.mkv")
        before = resident(daemon.pid)
        tree.rename(place.inbox / "tree")
        place.wait_for("tree/19/a.mkv", "done")
        wait_until(lambda: place.live()["ignored"] == COUNT)
        grown = resident(daemon.pid) - before
        print(f"a tree of {COUNT:,} files renamed in: {grown / 1024:.1f} MB more")

        assert grown < 10 * 1024


def resident(pid: int) -> int:
    """Give the most memory that a process ever had, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

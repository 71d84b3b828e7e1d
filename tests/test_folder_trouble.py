"""Folders and mounts that are away, closed, or somebody else's: nothing is lost, all heals."""

from __future__ import annotations

import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.daemon import Daemon, drop
from tests.fake_place import CopyPlace
from tests.places import make_folder
from tests.waiting import wait_until
from watchconv.deliver.ownership import Ownership
from watchconv.deliver.reports import REPORT_MARK
from watchconv.host.folders import Folders
from watchconv.host.workdir import WorkDirectories
from watchconv.journal.jobs import MOUNTS, Journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_report_that_cannot_be_removed_does_not_end_the_daemon(
    tmp_path: Path, clip: Path
) -> None:
    """An original was taken out of error/ by hand, and its folder is somebody else's by now."""
    place = CopyPlace(tmp_path / "videos", unprivileged=True)
    sub = place.error / "sub"
    sub.mkdir()
    mark = json.dumps([77, "sub/a.mkv"])
    (sub / "a.mkv.log").write_text(f"why\n{REPORT_MARK}{mark}\n")
    sub.chmod(0o500)
    try:
        drop(clip, place.inbox / "sub/a.mkv")
        drop(clip, place.inbox / "b.mkv")

        assert place.once() == 0, place.log()
    finally:
        sub.chmod(0o755)

    assert (place.done / "sub/a.mkv").exists()
    assert (place.done / "b.mkv").exists()


def test_work_that_was_left_while_the_outbox_was_away_is_swept_when_it_is_back(
    tmp_path: Path,
) -> None:
    place = CopyPlace(tmp_path / "videos")
    away = place.outbox.with_name("away")
    with Daemon(place):
        wait_until(lambda: "watching" in place.log())
        place.outbox.rename(away)
        (place.inbox / "a.txt").touch()  # so that there is a look, and a check before it
        wait_until(lambda: place.live().get("state") == "trouble")
        (away / ".watchconv/77.1").mkdir(parents=True)
        away.rename(place.outbox)
        wait_until(lambda: not (place.outbox / ".watchconv/77.1").exists())


def test_a_pause_is_heard_while_a_folder_is_in_trouble(tmp_path: Path, clip: Path) -> None:
    place = CopyPlace(tmp_path / "videos")
    place.done.rmdir()
    drop(clip, place.inbox / "a.mkv")
    with Daemon(place):
        wait_until(lambda: place.live().get("state") == "trouble")
        place.say("pause")
        wait_until(lambda: "paused: no new job is claimed" in place.log())
        place.done.mkdir()
        wait_until(lambda: place.live().get("state") == "paused")
        place.wait_for_counts(queued=1)
        place.say("resume")
        place.wait_for("a.mkv", "done")

    assert place.log().index("paused: no") < place.log().index("queued→running")


def test_a_mount_that_is_gone_for_good_can_be_forgotten(tmp_path: Path, clip: Path) -> None:
    place = CopyPlace(tmp_path / "videos")
    place.state.mkdir(mode=0o700)
    journal = Journal(str(place.state))
    journal.remember(MOUNTS, json.dumps({str(place.inbox): str(place.inbox)}))
    journal.close()
    drop(clip, place.inbox / "a.mkv")

    assert place.once() == 1
    assert place.tree() == ["inbox/a.mkv"]
    assert "check --forget-mounts" in place.log()
    assert place.run("check").returncode == 1
    assert place.run("check", "--forget-mounts").returncode == 0
    assert place.once() == 0
    assert place.tree() == ["done/a.mkv", "outbox/a.mkv"]
    assert place.run("check").returncode == 0


def together(many: int, work: Callable[[int], object]) -> None:
    """Do the same on many threads at the same moment."""
    ready = threading.Barrier(many)

    def one(n: int) -> None:
        ready.wait(60)
        work(n)

    with ThreadPoolExecutor(many) as pool:
        for future in [pool.submit(one, n) for n in range(many)]:
            future.result()


def test_deliveries_make_the_same_folders_at_the_same_moment(tmp_path: Path) -> None:
    for n in range(100):
        together(4, lambda _, n=n: make_folder(tmp_path, f"{n}/a/b", Ownership()))  # type: ignore[misc]

    assert all((tmp_path / f"{n}/a/b").is_dir() for n in range(100))


def test_attempts_make_the_first_work_directories_at_the_same_moment(tmp_path: Path) -> None:
    folders = Folders(*(str(tmp_path / name) for name in ("inbox", "outbox", "done", "error")))
    folders.make()
    folders.check(str(tmp_path))
    work = WorkDirectories(folders)
    for _ in range(200):
        together(4, lambda k: work.make(k, 1, "/a.mkv"))

        assert sorted(os.listdir(tmp_path / "outbox/.watchconv")) == ["0", "1", "2", "3"]
        shutil.rmtree(tmp_path / "outbox/.watchconv")
    folders.unlock()


UNLOCKING = """
from watchconv.host.folders import Folders
check = Folders.check
calls = []
def check_in_a_bad_moment(folders, state):
    found = check(folders, state)
    calls.append(0)
    if len(calls) == 3:
        folders.unlock()
    return found
Folders.check = check_in_a_bad_moment
"""


def test_a_bad_moment_of_a_folder_s_lock_does_not_last(tmp_path: Path, clip: Path) -> None:
    """Without another look the folder was not locked again: the job was put off over and over."""
    place = CopyPlace(tmp_path / "videos", tweak=UNLOCKING, scan_seconds=86400)
    with Daemon(place):
        drop(clip, place.inbox / "a.mkv")
        place.wait_for("a.mkv", "done")

"""Files with odd times, names and neighbours, and more of them than are remembered."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.daemon import Daemon, Place, drop
from tests.fake_place import COPY, EAGER, CopyPlace
from tests.places import copy, move
from tests.waiting import wait_until
from watchconv.deliver.reports import REPORT_MARK

if TYPE_CHECKING:
    from collections.abc import Callable


FEW = "import watchconv.intake.settling as w; w.LIMIT = 3"


def test_more_files_than_are_remembered_are_all_converted_soon(tmp_path: Path, clip: Path) -> None:
    place = CopyPlace(tmp_path / "videos", tweak=FEW)
    for n in range(12):
        drop(clip, place.inbox / f"{n}.mkv")
    with Daemon(place):
        place.wait_for_counts(done=12)


def test_more_files_than_are_remembered_are_converted_soon_when_events_told_of_them(
    tmp_path: Path, clip: Path
) -> None:
    """A copy program writes them: nothing about them proves that they are whole at once."""
    place = CopyPlace(
        tmp_path / "videos",
        settle_seconds=1,
        tweak=FEW,
    )
    with Daemon(place):
        for n in range(12):
            shutil.copyfile(clip, place.inbox / f"{n}.mkv")
        place.wait_for_counts(done=12)


def test_a_file_from_the_year_2300_is_converted(tmp_path: Path, clip: Path) -> None:
    place = CopyPlace(tmp_path / "videos")
    drop(clip, place.inbox / "a.mkv")
    os.utime(place.inbox / "a.mkv", ns=(10**18, 10_400_000_000_000_000_000))
    kept = (place.inbox / "a.mkv").stat().st_mtime_ns

    assert place.once() == 0
    assert place.tree() == ["done/a.mkv", "outbox/a.mkv"]
    assert (place.done / "a.mkv").stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    "name",
    [
        "No space left on device.mkv",
        "No space left on device\n.mkv",
        "x: Disk quota exceeded\n.mkv",
    ],
)
def test_a_name_is_not_taken_for_a_full_disk(tmp_path: Path, clip: Path, name: str) -> None:
    """It would stop all other work, again and again, for ever."""
    settings = {**EAGER, **COPY, "jobs": 1}
    place = Place((tmp_path / "videos").resolve(), settings)
    drop(clip, place.inbox / name)
    with Daemon(place):
        wait_until(lambda: "running→" in place.log())
        drop(clip, place.inbox / "b.mkv")
        place.wait_for("b.mkv", "done")

        assert place.status()["trouble"] == []
        assert {job["state"] for job in place.jobs()} == {"done"}


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/none", path)])
def test_what_is_no_file_and_has_the_name_of_a_report_holds_up_nobody(
    tmp_path: Path, clip: Path, make: Callable[[Path], None]
) -> None:
    place = CopyPlace(tmp_path / "videos", jobs=1)
    make(place.error / "a.mkv.log")
    (place.inbox / "a.mkv").write_bytes(b"bad")
    drop(clip, place.inbox / "b.mkv")

    assert place.once() == 1
    assert place.tree() == [
        "done/b.mkv",
        "error/a (2).mkv",
        "error/a (2).mkv.log",
        "error/a.mkv.log",
        "outbox/b.mkv",
    ]


def test_a_link_with_the_name_of_a_scratch_file_is_not_followed(tmp_path: Path) -> None:
    place = CopyPlace(tmp_path / "videos")
    (tmp_path / "victim").write_text("precious")
    (place.error / ".watchconv-1.part").symlink_to(tmp_path / "victim")
    (place.inbox / "a.mkv").write_bytes(b"bad")

    assert place.once() == 1
    assert (tmp_path / "victim").read_text() == "precious"
    assert place.tree() == ["error/a.mkv", "error/a.mkv.log"]
    assert not (place.error / "a.mkv.log").is_symlink()


def test_a_file_in_the_place_of_a_folder_makes_the_folder_another(
    tmp_path: Path, clip: Path
) -> None:
    place = CopyPlace(tmp_path / "videos")
    drop(clip, place.inbox / "trip.mkv/b.mkv")
    (place.inbox / "trip.mkv/bad.mkv").write_bytes(b"bad")
    for folder in (place.outbox, place.done, place.error):
        (folder / "trip.mkv").write_text("somebody's")

    assert place.once() == 1
    assert place.tree() == [
        "done/trip (2).mkv/b.mkv",
        "done/trip.mkv",
        "error/trip (2).mkv/bad.mkv",
        "error/trip (2).mkv/bad.mkv.log",
        "error/trip.mkv",
        "outbox/trip (2).mkv/b.mkv",
        "outbox/trip.mkv",
    ]


def test_no_copy_carries_setuid_bits(tmp_path: Path) -> None:
    """The copy may belong to the daemon's user, root perhaps, and its content is a stranger's."""
    source = tmp_path / "a.mkv"
    source.write_bytes(b"moving pictures")
    source.chmod(0o6755)
    copy(source, tmp_path / "copy")

    assert (tmp_path / "copy").stat().st_mode & 0o7777 == 0o755

    with tempfile.TemporaryDirectory(dir="/dev/shm") as far:
        target = Path(far, "a.mkv")
        move(source, target, ours=False)

        assert target.read_bytes() == b"moving pictures"
        if os.stat(far).st_dev != os.stat(tmp_path).st_dev:
            assert target.stat().st_mode & 0o7777 == 0o755


NO_MARKS = ['["x", 1]', '[null, "y"]', '[1e999, "y"]', "[" * 30_000]


@pytest.mark.parametrize("mark", NO_MARKS, ids=["word", "null", "infinite", "deep"])
def test_a_file_that_only_looks_like_a_report_does_not_end_the_daemon(
    tmp_path: Path, mark: str
) -> None:
    place = CopyPlace(tmp_path / "videos")
    (place.error / "a.mkv.log").write_text(f"why\n{REPORT_MARK}{mark}\n")
    (place.inbox / "a.mkv").write_bytes(b"bad")

    assert place.once() == 1
    assert place.tree() == ["error/a (2).mkv", "error/a (2).mkv.log", "error/a.mkv.log"]

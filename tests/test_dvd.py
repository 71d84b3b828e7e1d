"""A DVD's folder: the parts of a title set become one film, its menus and tables none."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.clips import FFMPEG
from tests.daemon import Daemon, Place
from tests.test_admit import job_of
from tests.test_settling import settings
from watchconv.errors import EnvironmentTrouble
from watchconv.host.folders import WORK_DIR, Folders
from watchconv.host.workdir import WorkDirectories
from watchconv.intake.admit import Admitted, admit
from watchconv.intake.filters import NameFilter
from watchconv.intake.joining import join_parts
from watchconv.intake.settling import PendingFiles, PendingReason
from watchconv.media.dvd import first_part, further_parts
from watchconv.model import Interrupted
from watchconv.process.stop import StopSignal, StopStage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MENU = "a menu or a table of a DVD, and no film"
QUICK = {"settle_seconds": 0.1, "settle_network_seconds": 0.3, "min_free": 0, "profile": "remux"}


@pytest.mark.parametrize(
    ("name", "first", "reason"),
    [
        ("VIDEO_TS.VOB", None, MENU),
        ("VIDEO_TS.IFO", None, MENU),
        ("VTS_01_0.VOB", None, MENU),
        ("vts_01_0.vob", None, MENU),
        ("VTS_12_0.BUP", None, MENU),
        ("VTS_01_1.VOB", "VTS_01_1.VOB", None),
        ("VTS_01_9.VOB", "VTS_01_1.VOB", None),
        ("vts_02_3.vob", "vts_02_1.vob", None),
        ("VTS_01_10.VOB", None, None),
        ("MY_VTS_01_0.VOB", None, None),
        ("film.vob", None, None),
    ],
)
def test_names_of_a_dvd_say_what_is_a_film(
    name: str, first: str | None, reason: str | None
) -> None:
    assert first_part(name) == first
    assert NameFilter(None, []).reason(name) == reason


@pytest.mark.parametrize(
    ("names", "further"),
    [
        ("1", ""),
        ("123", "23"),
        ("124", "2"),
        ("13", ""),
    ],
)
def test_a_films_parts_follow_one_another(names: str, further: str) -> None:
    there = [f"VTS_01_{number}.VOB" for number in names]

    assert further_parts("VTS_01_1.VOB", there) == [f"VTS_01_{n}.VOB" for n in further]
    assert further_parts("VTS_01_2.VOB", there) == []


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    inbox = tmp_path.resolve() / "inbox"
    (inbox / "VIDEO_TS").mkdir(parents=True)
    return inbox


@pytest.fixture
def work(inbox: Path) -> Iterator[WorkDirectories]:
    root = inbox.parent
    folders = Folders(*(str(root / name) for name in ("inbox", "outbox", "done", "error")))
    folders.make()
    folders.check(str(root))
    yield WorkDirectories(folders)
    folders.unlock()


def put(inbox: Path, *parts: int) -> None:
    for number in parts:
        (inbox / f"VIDEO_TS/VTS_01_{number}.VOB").write_bytes(b"%d" % number * 5000)


def judge(inbox: Path, number: int, network: float) -> PendingReason | None:
    source = f"VIDEO_TS/VTS_01_{number}.VOB"
    files = PendingFiles(str(inbox))
    if files.has_settled(
        source, (inbox / source).lstat(), settings(0.0, network), own_scan=True, appeared=True
    ):
        return None
    return files.files[source].reason


@pytest.mark.parametrize(
    ("parts", "number", "network", "reason"),
    [
        ((1, 2, 3), 1, 3600.0, PendingReason.JOINING),  # more may come
        ((1, 2, 3), 1, 0.0, None),
        ((1, 2, 3), 2, 0.0, PendingReason.JOINING),
        ((1, 2, 3), 3, 0.0, PendingReason.JOINING),
        ((1, 3), 3, 0.0, None),  # it stands for itself
        ((2, 3), 2, 0.0, None),
    ],
)
def test_the_first_part_waits_for_all_and_the_others_for_it(
    inbox: Path,
    parts: tuple[int, ...],
    number: int,
    network: float,
    reason: PendingReason | None,
) -> None:
    put(inbox, *parts)

    assert judge(inbox, number, network) is reason


# what is given to ffmpeg


def admitted_of(inbox: Path) -> Admitted:
    admitted = admit(str(inbox), job_of(inbox, "VIDEO_TS/VTS_01_1.VOB"))
    assert isinstance(admitted, Admitted)
    return admitted


def test_the_parts_are_joined_in_the_jobs_work_directory(
    inbox: Path, work: WorkDirectories
) -> None:
    put(inbox, 1, 2, 3)
    job = job_of(inbox, "VIDEO_TS/VTS_01_1.VOB")
    for _ in range(2):  # a second attempt makes it anew
        joined = join_parts(str(inbox), job, admitted_of(inbox), work, StopSignal())

        assert isinstance(joined, Admitted)
        assert joined.path == f"{work.outbox}/{WORK_DIR}/{job.id}/joined"
        assert os.read(joined.descriptor, 99_999) == b"1" * 5000 + b"2" * 5000 + b"3" * 5000
        os.close(joined.descriptor)
    work.remove(job.id)

    assert not os.path.exists(work.joined(job.id))


def test_what_has_no_further_parts_is_left_as_it_is(inbox: Path, work: WorkDirectories) -> None:
    put(inbox, 1, 3)
    job = job_of(inbox, "VIDEO_TS/VTS_01_1.VOB")
    admitted = admitted_of(inbox)

    assert join_parts(str(inbox), job, admitted, work, StopSignal()) is admitted

    os.close(admitted.descriptor)


def test_joining_can_be_stopped(inbox: Path, work: WorkDirectories) -> None:
    put(inbox, 1, 2)
    stop = StopSignal()
    stop.request(StopStage.KILLED)
    job = job_of(inbox, "VIDEO_TS/VTS_01_1.VOB")

    assert join_parts(str(inbox), job, admitted_of(inbox), work, stop) == Interrupted()


def test_a_full_disk_fails_no_job_and_keeps_no_half_of_it(
    inbox: Path, work: WorkDirectories, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(inbox, 1, 2)
    job = job_of(inbox, "VIDEO_TS/VTS_01_1.VOB")

    def sendfile(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "sendfile", sendfile)
    with pytest.raises(EnvironmentTrouble, match="No space"):
        join_parts(str(inbox), replace(job), admitted_of(inbox), work, StopSignal())

    assert not os.path.exists(work.joined(job.id))


@pytest.mark.parametrize("on_success", ["move", "delete"])
def test_a_folder_of_a_dvd_becomes_one_film(tmp_path: Path, on_success: str) -> None:
    place = Place(tmp_path / "videos", {**QUICK, "on_success": on_success})
    film = tmp_path / "film.vob"
    made = ("testsrc2=s=320x240:r=25:d=4", "-f", "lavfi", "-i", "sine=d=4", "-c:v", "mpeg2video")
    argv = [FFMPEG, "-v", "error", "-f", "lavfi", "-i", *made, "-c:a", "mp2", "-b:v", "1M"]
    subprocess.run([*argv, "-f", "vob", str(film)], check=True, timeout=60)
    content = film.read_bytes()
    third = len(content) // 3 // 2048 * 2048
    folder = place.inbox / "disc/VIDEO_TS"
    folder.mkdir(parents=True)
    for number, end in enumerate((third, 2 * third, len(content)), start=1):
        (folder / f"VTS_01_{number}.VOB").write_bytes(content[(number - 1) * third : end])
    (folder / "VTS_01_0.VOB").write_bytes(content[:third])
    (folder / "VIDEO_TS.IFO").write_bytes(b"DVDVIDEO-VMG")
    with Daemon(place):
        job = place.wait_for("disc/VIDEO_TS/VTS_01_1.VOB", "done")

    (one,) = place.jobs()
    assert one["id"] == job["id"]
    (output,) = place.outbox.rglob("*.mkv")
    probed = subprocess.run(
        [FFMPEG, "-i", str(output), "-map", "0:v", "-c", "copy", "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "frame=  100" in probed.stderr
    left = {path.name for path in place.inbox.rglob("*") if path.is_file()}
    assert left == {"VTS_01_0.VOB", "VIDEO_TS.IFO"}
    moved = {path.name for path in place.done.rglob("*") if path.is_file()}
    assert {"VTS_01_2.VOB", "VTS_01_3.VOB"} <= moved

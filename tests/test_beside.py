"""What lies beside a file keeps it waiting: downloads under way, parts about to be joined."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.test_settling import settings
from watchconv.intake import beside
from watchconv.intake.beside import JOIN_SECONDS, LONE_SECONDS, Neighbours, download_of, is_part
from watchconv.intake.settling import PendingFiles, PendingReason

if TYPE_CHECKING:
    from pathlib import Path

LONG = 3600.0


@pytest.mark.parametrize(
    ("other", "found"),
    [
        ("movie.mp4.part", True),  # wget-like, Firefox of old
        ("movie.Xy12.mp4.part", True),  # Firefox
        ("movie.mp4.crdownload", True),  # Chrome
        ("movie.mp4.download", True),  # Safari, a folder
        ("movie.mp4.ocTransferId12.part", True),  # Nextcloud
        ("movie.mp4.PART", True),
        ("movie.mp4.aria2", True),
        ("movies.mp4.part", False),
        ("movie.mp4", False),
        ("movie.mkv", False),
        ("other.part", False),
        ("movie.part.mp4", False),
    ],
)
def test_a_download_is_known_by_its_name(other: str, *, found: bool) -> None:
    assert download_of("movie.mp4", ["a.txt", other]) == (other if found else None)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("film.f137.mp4", True),
        ("film.f140.m4a", True),
        ("a.b.f248-1.webm", True),
        ("film.fhls-audio-128.mp4", True),
        ("film.temp.mp4", True),
        ("film.mp4", False),
        ("film.final.mp4", False),
        ("film.fr.mp4", False),
        ("f137.mp4", False),
        (".f137.mp4", False),
        ("film.f137", False),
        ("film.1080p.mp4", False),
    ],
)
def test_a_part_is_known_by_the_code_of_its_format(name: str, *, part: bool) -> None:
    assert is_part(name) is part


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    inbox = tmp_path / "inbox"
    (inbox / "trip").mkdir(parents=True)
    return inbox


def judge(inbox: Path, source: str, incomplete: float = LONG) -> PendingReason | None:
    """Judge a file that has been left alone for long enough itself; None: it becomes a job."""
    files = PendingFiles(str(inbox))
    place = (inbox / source).lstat()
    if files.has_settled(source, place, settings(0.0, 0.0, incomplete), own_scan=True):
        return None
    return files.files[source].reason


def judge_empty(inbox: Path, source: str) -> PendingReason | None:
    """Judge an empty file in as many scans as it needs."""
    files, place = PendingFiles(str(inbox)), (inbox / source).lstat()
    for _ in range(3):
        if files.has_settled(source, place, settings(0.0, 0.0), own_scan=True):
            return None
    return files.files[source].reason


@pytest.mark.parametrize("folder", ["", "trip/"])
def test_an_empty_file_waits_as_long_as_its_download_lies_beside_it(
    inbox: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "LISTED_SECONDS", 0.0)
    (inbox / folder / "movie.mp4").touch()
    part = inbox / folder / "movie.Xy12.mp4.part"
    part.write_bytes(b"half of it")

    assert judge_empty(inbox, f"{folder}movie.mp4") is PendingReason.DOWNLOADING

    part.unlink()

    assert judge_empty(inbox, f"{folder}movie.mp4") is None


def test_a_file_that_a_program_says_it_is_loading_in_place_waits(inbox: Path) -> None:
    (inbox / "movie.mp4").write_bytes(b"x")
    (inbox / "movie.mp4.aria2").write_bytes(b"x")

    assert judge(inbox, "movie.mp4") is PendingReason.DOWNLOADING
    assert judge(inbox, "movie.mp4", incomplete=0.0) is None


def test_a_full_file_beside_an_abandoned_download_does_not_wait(inbox: Path) -> None:
    (inbox / "movie.mp4").write_bytes(b"x")
    (inbox / "movie.mp4.part").write_bytes(b"x")

    assert judge(inbox, "movie.mp4") is None


@pytest.mark.parametrize("others", [[], ["film.f140.m4a"], ["film.f140.m4a.part"]])
def test_a_part_waits_to_be_joined(inbox: Path, others: list[str]) -> None:
    for name in ["film.f137.mp4", *others]:
        (inbox / name).write_bytes(b"x")

    assert judge(inbox, "film.f137.mp4") is PendingReason.JOINING


def test_a_part_waits_no_longer_than_a_file_that_is_not_whole(inbox: Path) -> None:
    (inbox / "race.f1.mp4").write_bytes(b"x")

    assert judge(inbox, "race.f1.mp4", incomplete=0.0) is None


@pytest.mark.parametrize(
    ("others", "since", "alone", "left"),
    [
        ([], 0.0, 0.0, LONE_SECONDS),
        ([], LONE_SECONDS - 5, 0.0, 5.0),
        ([], LONE_SECONDS + 1, 0.0, 0.0),
        (["film.f140.m4a"], LONE_SECONDS, 0.0, JOIN_SECONDS - LONE_SECONDS),
        (["film.f140.m4a"], JOIN_SECONDS + 1, 0.0, 0.0),
        (["film.f140.m4a.part"], 5.0, LONG, JOIN_SECONDS - 5),
        (["other.f140.m4a"], LONE_SECONDS + 1, 0.0, 0.0),
        # the clock was set back: only what was seen counts
        ([], -LONG, 7.0, LONE_SECONDS - 7),
    ],
)
def test_the_last_part_that_changed_says_how_long_the_parts_are_left_alone(
    inbox: Path, others: list[str], since: float, alone: float, left: float
) -> None:
    for name in ["film.f137.mp4", *others]:
        (inbox / name).write_bytes(b"x")
    now = max((inbox / name).lstat().st_ctime for name in ["film.f137.mp4", *others])
    found = Neighbours(str(inbox)).join_seconds("film.f137.mp4", alone, now + since)

    assert found == pytest.approx(left, abs=0.5)


def test_a_folder_is_listed_once_for_many_files(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbours = Neighbours(str(inbox))
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    asked = []

    def listdir(folder: int) -> list[str]:
        asked.append(folder)
        return ["a.mp4.part"]

    monkeypatch.setattr(os, "listdir", listdir)

    assert {neighbours.download_of("a.mp4") for _ in range(5)} == {"a.mp4.part"}
    assert len(asked) == 1

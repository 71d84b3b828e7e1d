"""The work directories: whose work stays, and what a manifest tells of it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.test_policy import JOB
from watchconv.errors import EnvironmentTrouble
from watchconv.host.folders import Folders
from watchconv.host.workdir import Manifest, WorkDirectories, readable_name
from watchconv.model import JobState, JobWarning, OutputFile, WarningCause

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from watchconv.model import Job


@pytest.fixture
def work(tmp_path: Path) -> Iterator[WorkDirectories]:
    folders = Folders(*(str(tmp_path / name) for name in ("inbox", "outbox", "done", "error")))
    folders.make()
    folders.check(str(tmp_path))
    yield WorkDirectories(folders)
    folders.unlock()


PROVEN = Manifest(
    source="trip/a \udcff.mov",
    size=7,
    mtime_ns=10**18,
    plan=("-c:v", "libvpx", "-metadata", "title=é"),
    ffmpeg="/usr/bin/ffmpeg 7.1",
    run=1,
    outputs=(OutputFile("output.webm", ".webm", 9),),
    warnings=(JobWarning(WarningCause.ALPHA, "its alpha is gone"),),
    is_proven=False,
)


def left(work: WorkDirectories) -> list[str]:
    """List what lies in the work directories, two levels deep."""
    root = Path(work.path(0, 0)).parents[1]
    return sorted(str(p.relative_to(root)) for p in root.rglob("*"))


def none_open(_: Collection[int]) -> list[Job]:
    return []


def test_only_work_that_no_open_attempt_has_is_swept(work: WorkDirectories) -> None:
    assert work.sweep(none_open) == 0  # there is none at all

    for job_id, run in ((1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3)):
        work.make(job_id, run, "/a.mov")
    work.write_manifest(3, replace(PROVEN, run=2))
    (Path(work.path(0, 0)).parents[1] / "77.1").mkdir()  # as an older version named them

    def ask(_: Collection[int]) -> list[Job]:
        work.make(4, 1, "/a.mov")  # an attempt that begins meanwhile
        return [replace(JOB, id=2, run=2), replace(JOB, id=3, run=3)]

    assert work.sweep(ask) == 4
    assert left(work) == ["2", "2/2", "3", "3/2", "3/3", "3/manifest.json", "4", "4/1"]


def test_what_a_crashed_attempt_left_is_swept_while_its_job_is_queued_again(
    work: WorkDirectories,
) -> None:
    for job_id in (1, 2, 3):
        work.make(job_id, 1, "/a.mov")
    work.write_manifest(3, PROVEN)
    Path(work.path(1, 1)).parent.with_name("01").mkdir()  # nobody's

    def ask(_: Collection[int]) -> list[Job]:
        work.make(2, 2, "/a.mov")  # it is claimed just after it was asked for
        return [replace(JOB, id=n, run=1, state=JobState.QUEUED) for n in (1, 2, 3)]

    assert work.sweep(ask) == 3
    assert left(work) == ["1", "2", "2/2", "3", "3/1", "3/manifest.json"]


def test_a_manifest_is_read_as_it_was_written_and_goes_with_its_attempt(
    work: WorkDirectories,
) -> None:
    assert work.read_manifest(1) is None

    work.make(1, 1, "/a.mov")
    assert work.read_manifest(1) is None

    work.write_manifest(1, replace(PROVEN, run=7))
    work.write_manifest(1, PROVEN)
    assert work.read_manifest(1) == PROVEN

    work.make(1, 2, "/a.mov")
    work.remove_attempt(1, 2)
    assert left(work) == ["1", "1/1", "1/manifest.json"]

    work.remove_attempt(1, 1)
    work.remove_attempt(1, 1)
    assert left(work) == []


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"plan": 1}', '{"outputs": [[1]]}'])
def test_a_manifest_that_is_none_is_not_used(work: WorkDirectories, content: str) -> None:
    work.make(1, 1, "/a.mov")
    Path(work.path(1, 1)).with_name("manifest.json").write_text(content)

    assert work.read_manifest(1) is None
    work.write_manifest(1, PROVEN)
    assert work.read_manifest(1) == PROVEN


def test_a_work_directory_is_made_anew_with_a_link_where_a_name_has_line_breaks(
    work: WorkDirectories,
) -> None:
    source = "/in/a\nb.mov"
    path = work.make(1, 1, source)
    (Path(path) / "old").touch()
    again = work.make(1, 1, source)

    assert again == path == work.path(1, 1)
    assert [os.readlink(Path(path) / name) for name in os.listdir(path)] == [source]
    assert readable_name(path, source) == f"{path}/input"
    assert readable_name(path, "/a.mov") == "/a.mov"
    assert [oct(p.stat().st_mode & 0o777) for p in (Path(path), Path(path).parent)] == ["0o700"] * 2


def test_no_work_is_made_where_the_outbox_is_another_or_a_link_stands(
    work: WorkDirectories, tmp_path: Path
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "outbox/.watchconv").symlink_to(tmp_path / "theirs")
    with pytest.raises(EnvironmentTrouble, match="cannot make a work directory"):
        work.make(1, 1, "/a.mov")
    (tmp_path / "theirs/1").mkdir()
    work.remove(1)
    assert work.sweep(none_open) == 0
    (tmp_path / "outbox/.watchconv").unlink()
    work.make(1, 1, "/a.mov")
    (tmp_path / "outbox").rename(tmp_path / "away")
    (tmp_path / "outbox").mkdir()
    with pytest.raises(EnvironmentTrouble, match="no longer the folder"):
        work.make(1, 2, "/a.mov")
    work.remove(1)
    assert work.sweep(none_open) == 0

    assert os.listdir(tmp_path / "outbox") == []
    assert os.listdir(tmp_path / "theirs") == ["1"]
    assert os.listdir(tmp_path / "away/.watchconv/1") == ["1"]

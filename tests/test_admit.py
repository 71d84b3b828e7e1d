"""What an attempt gets: only the regular file that the job is about, untouched to the end."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.test_container import AVI, FTYP, HEADER, MDAT, MOOF, MOOV, SEGMENT
from tests.test_policy import JOB
from tests.test_watch import room_for_descriptors
from tests.unprivileged import as_nobody, open_folder
from tests.waiting import wait_until
from watchconv.encode.engine import compare
from watchconv.errors import EnvironmentTrouble
from watchconv.host.files import open_regular
from watchconv.intake.admit import Admitted, admit
from watchconv.model import Cause, Gone, Identity, Incomplete, Job, Rejected, Stale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE = "trip/a.mov"


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """An inbox with one file."""
    folder = tmp_path.resolve() / "inbox"
    (folder / "trip").mkdir(parents=True)
    (folder / SOURCE).write_bytes(b"moving pictures")
    return folder


def job_of(inbox: Path, source: str = SOURCE) -> Job:
    found = (inbox / source).lstat()
    return replace(JOB, source=source, size=found.st_size, mtime_ns=found.st_mtime_ns)


@pytest.fixture
def admitted(inbox: Path) -> Iterator[Admitted]:
    """That file, under an attempt."""
    door = admit(str(inbox), job_of(inbox))
    assert isinstance(door, Admitted)
    yield door
    os.close(door.descriptor)


def test_the_file_that_the_job_is_about_is_opened(inbox: Path, admitted: Admitted) -> None:
    assert admitted.path == str(inbox / SOURCE)
    assert os.read(admitted.descriptor, 99) == b"moving pictures"
    assert admitted.identity == Identity.of((inbox / SOURCE).stat())
    assert not os.get_inheritable(admitted.descriptor)
    assert compare(admitted.path, admitted.identity) is None


def test_reading_a_file_changes_nothing_about_it(inbox: Path, admitted: Admitted) -> None:
    os.utime(inbox / SOURCE, ns=(1, admitted.identity.mtime_ns))  # atime only, but ctime follows

    assert compare(admitted.path, admitted.identity) == Stale()


def test_a_file_that_changed_since_it_was_queued_is_stale(inbox: Path) -> None:
    job = job_of(inbox)

    assert admit(str(inbox), replace(job, size=job.size + 1)) == Stale()
    assert admit(str(inbox), replace(job, mtime_ns=job.mtime_ns + 1)) == Stale()


def test_an_empty_file_is_rejected(inbox: Path) -> None:
    (inbox / SOURCE).write_bytes(b"")

    assert admit(str(inbox), job_of(inbox)) == Rejected("the file is empty", cause=Cause.EMPTY)


def test_a_truncated_file_is_rejected_with_what_it_lacks(inbox: Path) -> None:
    (inbox / SOURCE).write_bytes((100).to_bytes(4, "big") + b"ftyp" + b"x" * 50)

    assert admit(str(inbox), job_of(inbox)) == Rejected(
        "the file is truncated: the mp4 box ftyp needs 42 bytes more than the file has;"
        " nothing can be had of it, for the index of its contents is missing",
        cause=Cause.TRUNCATED,
    )


@pytest.mark.parametrize("incomplete", Incomplete)
@pytest.mark.parametrize(
    ("content", "taken"),
    [
        (FTYP + MDAT + MOOV[:-1], ()),
        (FTYP + MDAT[:-1], ()),
        (FTYP + MOOV + MDAT[:-1], ("salvage",)),
        (FTYP + MOOV + MOOF + MDAT + MOOF[:-1], ("salvage", "auto")),
        (FTYP + MOOV + MOOF + MDAT[:-1], ("salvage", "auto")),
        (FTYP + MOOV + MOOF[:-1], ("salvage",)),
        (HEADER + SEGMENT[:-1], ("salvage",)),
        (AVI[:-1], ("salvage",)),
    ],
)
def test_what_is_not_whole_is_admitted_where_it_is_wanted_and_something_can_be_had(
    inbox: Path, content: bytes, taken: tuple[str, ...], incomplete: Incomplete
) -> None:
    (inbox / SOURCE).write_bytes(content)
    job = job_of(inbox)
    found = admit(str(inbox), job, incomplete)
    if incomplete in taken:
        assert isinstance(found, Admitted)
        os.close(found.descriptor)
        assert found.lacks.endswith("than the file has")
    else:
        assert isinstance(found, Rejected)
        assert found.cause is Cause.TRUNCATED
        assert (not taken) == ("nothing can be had" in found.reason)
        assert bool(taken) == (f"watchconv retry --salvage {job.id}" in found.reason)


def test_a_whole_file_lacks_nothing_whether_salvaging_is_wanted_or_not(inbox: Path) -> None:
    (inbox / SOURCE).write_bytes(FTYP + MOOV + MDAT)
    found = admit(str(inbox), job_of(inbox), Incomplete.SALVAGE)

    assert isinstance(found, Admitted)
    os.close(found.descriptor)
    assert found.lacks == ""


def put_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def put_pipe(path: Path) -> None:
    os.mkfifo(path)


def put_socket(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(f"/proc/self/fd/{here}/{path.name}")  # the name of a socket must be short
    os.close(here)


def put_folder(path: Path) -> None:
    path.mkdir()


def put_nothing(path: Path) -> None:
    assert not path.exists()


STRANGERS = [put_link, put_pipe, put_socket, put_folder, put_nothing]


@pytest.mark.parametrize("put", STRANGERS)
def test_what_is_no_regular_file_is_gone(inbox: Path, put: Callable[[Path], None]) -> None:
    job = job_of(inbox)
    (inbox / SOURCE).unlink()
    put(inbox / SOURCE)

    assert admit(str(inbox), job) == Gone()
    with pytest.raises(OSError, match=r"regular|symbolic|No such"):
        open_regular(str(inbox), SOURCE)


@pytest.mark.parametrize("put", STRANGERS)
def test_an_original_that_was_replaced_meanwhile_counts_for_nothing(
    inbox: Path, admitted: Admitted, put: Callable[[Path], None]
) -> None:
    (inbox / SOURCE).unlink()
    put(inbox / SOURCE)

    assert compare(admitted.path, admitted.identity) in (Gone(), Stale())


def test_a_folder_that_is_gone_takes_its_files_along(inbox: Path, admitted: Admitted) -> None:
    job = job_of(inbox)
    shutil.rmtree(inbox / "trip")

    assert admit(str(inbox), job) == Gone()
    assert compare(admitted.path, admitted.identity) == Gone()

    (inbox / "trip").touch()

    assert admit(str(inbox), job) == Gone()


def test_in_an_inbox_that_is_gone_every_original_is(inbox: Path, admitted: Admitted) -> None:
    """What that means for a job is for the folder guard to say, whom the worker asks."""
    job = job_of(inbox)
    inbox.rename(inbox.with_name("elsewhere"))

    assert admit(str(inbox), job) == Gone()
    assert compare(admitted.path, admitted.identity) == Gone()


def test_a_machine_out_of_descriptors_is_no_jobs_fault(inbox: Path) -> None:
    job = job_of(inbox)
    with room_for_descriptors(0), pytest.raises(EnvironmentTrouble, match="cannot open files"):
        admit(str(inbox), job)


def test_what_lies_behind_a_link_is_not_ours(inbox: Path, tmp_path: Path) -> None:
    """Rejecting it would move somebody's file, through the link, to error/."""
    job = job_of(inbox)
    (inbox / "trip").rename(tmp_path / "private")
    (inbox / "trip").symlink_to(tmp_path / "private")

    assert admit(str(inbox), job) == Gone()
    with pytest.raises(OSError, match="a folder on the way to it is a link"):
        open_regular(str(inbox), SOURCE)


CHANGES: list[Callable[[Path], object]] = [
    lambda path: path.write_bytes(b"moving pictures"),
    lambda path: path.write_bytes(b"more moving pictures"),
    lambda path: os.truncate(path, 3),
    lambda path: path.chmod(0o600),
    lambda path: path.touch(),
    lambda path: os.link(path, path.with_suffix(".link")),
    lambda path: path.rename(path.with_suffix(".old")).rename(path),
    lambda path: os.replace(shutil.copy2(path, path.with_suffix(".copy")), path),
]


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_during_the_attempt_is_stale(
    inbox: Path, admitted: Admitted, change: Callable[[Path], object]
) -> None:
    change(inbox / SOURCE)

    assert compare(admitted.path, admitted.identity) == Stale()


@pytest.mark.parametrize(
    "name",
    ["-i.mov", "line\nbreak.mov", "%03d.mov", "concat:x.mov", os.fsdecode(b"\xff\xe9.mov")],
)
def test_names_are_only_names(inbox: Path, name: str) -> None:
    (inbox / name).write_bytes(b"x")
    door = admit(str(inbox), job_of(inbox, name))

    assert isinstance(door, Admitted)
    assert compare(door.path, door.identity) is None

    os.close(door.descriptor)


def test_a_file_that_may_not_be_read_is_rejected_with_the_reason() -> None:
    with open_folder() as inbox:
        path = inbox / "a.mov"
        path.write_bytes(b"x")
        path.chmod(0)
        with as_nobody():
            answer = admit(str(inbox), job_of(inbox, "a.mov"))

        reason = "it cannot be read: Permission denied"
        assert answer == Rejected(reason, cause=Cause.UNREADABLE)


def test_a_refused_file_is_closed_again(inbox: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for put in STRANGERS:
        job = job_of(inbox)
        (inbox / SOURCE).unlink()
        put(inbox / SOURCE)
        admit(str(inbox), job)
        shutil.rmtree(inbox / "trip")
        (inbox / "trip").mkdir()
        (inbox / SOURCE).write_bytes(b"x")
        admit(str(inbox), replace(job, size=99))

    assert os.listdir("/proc/self/fd") == before


def test_a_pipe_is_not_opened_even_for_a_moment(inbox: Path) -> None:
    """Who waits to write into it would be let in."""
    (inbox / SOURCE).unlink()
    put_pipe(inbox / SOURCE)
    with subprocess.Popen(["sh", "-c", 'exec 3> "$0"', inbox / SOURCE]) as writer:
        wait_until(lambda: Path(f"/proc/{writer.pid}/stat").read_text().split()[2] == "S")
        for _ in range(100):
            with pytest.raises(OSError, match="regular"):
                open_regular(str(inbox), SOURCE)

        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(0.3)
        writer.kill()


def test_a_device_is_gone(inbox: Path) -> None:
    job = job_of(inbox)
    (inbox / SOURCE).unlink()
    try:
        os.mknod(inbox / SOURCE, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("making a device takes privileges")
    os.utime(inbox / SOURCE, ns=(5, 5))

    assert admit(str(inbox), job) == Gone()

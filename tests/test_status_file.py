"""The status file is whole whenever it is read, and no other process's; wake reaches the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from tests.unprivileged import as_nobody, open_folder
from tests.waiting import LONG, wait_until
from watchconv.daemon.wakeup import WakeFifo
from watchconv.host import status_file
from watchconv.host.status_file import FILE_NAME, WAKE_DIR, WAKE_FIFO, WAKE_FILE, wake
from watchconv.views import RunningJob, Status


def mine(waiting: int = 0, ignored: int = 0) -> Status:
    start = status_file.start_of(os.getpid())
    assert start
    return Status(os.getpid(), start, "running", waiting=waiting, ignored=ignored)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    now = mine(waiting=3, ignored=4)
    now.trouble = ["the inbox /x does not exist"]
    now.running = [
        RunningJob(7, "caf\udce9/🎬\n.mov", "webm", 0.5, 2.0, 25.0, 9.0, 4.5),
        RunningJob(8, "b.mov", "mp4"),
    ]
    status_file.write(str(tmp_path), now)

    assert status_file.read(str(tmp_path)) == now
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_a_user_wakes_the_daemon_where_root_did_before() -> None:
    with open_folder() as folder:
        with as_nobody():
            wake(str(folder))
        path = folder / WAKE_FILE
        path.unlink()
        path.touch(mode=0o444)

        with as_nobody():
            wake(str(folder))

        assert path.stat().st_mode & 0o200


def test_nothing_is_read_where_nothing_is(tmp_path: Path) -> None:
    assert status_file.read(str(tmp_path)) is None
    assert status_file.read(str(tmp_path / "nowhere")) is None


def test_the_file_is_removed_as_often_as_one_likes(tmp_path: Path) -> None:
    status_file.write(str(tmp_path), mine())
    status_file.remove(str(tmp_path))
    status_file.remove(str(tmp_path))

    assert status_file.read(str(tmp_path)) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b"\xff\xfe",
        b'{"pid": 1}',
        b'{"pid": 1, "started": 1, "state": "running", "running": 7}',
        b'{"pid": 1, "started": 1, "state": "running", "running": [7]}',
        b'{"pid": 1, "started": 1, "state": "running", "running": [], "new": 1}',
    ],
)
def test_a_damaged_file_is_no_present(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)

    assert status_file.read(str(tmp_path)) is None


def test_another_programs_pid_fools_nobody(tmp_path: Path) -> None:
    now = mine()
    now.started += 1
    status_file.write(str(tmp_path), now)

    assert status_file.read(str(tmp_path)) is None


def written_by(child: subprocess.Popen[bytes], folder: Path) -> None:
    start = status_file.start_of(child.pid)
    assert start
    status_file.write(str(folder), Status(pid=child.pid, started=start, state="running"))


def test_a_daemon_that_was_killed_is_not_there(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "600"])
    written_by(child, tmp_path)

    assert status_file.read(str(tmp_path)) is not None

    child.kill()
    child.wait()

    assert status_file.start_of(child.pid) is None
    assert status_file.read(str(tmp_path)) is None


def test_a_killed_daemon_whose_parent_does_not_care_is_not_there(tmp_path: Path) -> None:
    """Its pid and start time stay until it is waited for, in a container perhaps for ever."""
    child = subprocess.Popen(["sleep", "600"])
    written_by(child, tmp_path)
    child.kill()
    wait_until(lambda: ") Z " in Path(f"/proc/{child.pid}/stat").read_text())
    seen = status_file.read(str(tmp_path))
    child.wait()

    assert seen is None


def test_a_process_with_any_name_has_a_start(tmp_path: Path) -> None:
    program = tmp_path / ") R 1 (x"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "600"]) as child:
        wait_until(lambda: b"(x" in Path(f"/proc/{child.pid}/stat").read_bytes())
        start, own = status_file.start_of(child.pid), status_file.start_of(os.getpid())
        child.kill()

    assert start and own
    assert start >= own


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    now = mine()
    now.running = [RunningJob(n, "x" * 200, "webm") for n in range(50)]
    status_file.write(str(tmp_path), now)
    ended = threading.Event()

    def write_on() -> None:
        while not ended.is_set():
            status_file.write(str(tmp_path), now)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        for _ in range(300):
            assert status_file.read(str(tmp_path)) == now
    finally:
        ended.set()
        writer.join()


def test_other_programs_can_read_it(tmp_path: Path) -> None:
    status_file.write(str(tmp_path), mine(waiting=2))

    assert json.loads((tmp_path / FILE_NAME).read_bytes())["waiting"] == 2


def test_a_wake_touches_a_file_in_a_folder_of_its_own(tmp_path: Path) -> None:
    wake(str(tmp_path))
    wake(str(tmp_path))

    assert os.listdir(tmp_path) == [WAKE_DIR]
    assert len(os.listdir(tmp_path / WAKE_DIR)) == 1


def test_a_wake_is_read_from_the_fifo_and_touches_the_file_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / WAKE_FIFO)
    reader = os.open(tmp_path / WAKE_FIFO, os.O_RDONLY | os.O_NONBLOCK)
    try:
        wake(str(tmp_path))
        wake(str(tmp_path))

        assert len(os.read(reader, 100)) == 2
        assert (tmp_path / WAKE_FILE).exists()

        writer = os.open(tmp_path / WAKE_FIFO, os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while os.write(writer, bytes(4096)):
                pass
        os.close(writer)
        wake(str(tmp_path))  # a command never waits for the daemon to read
    finally:
        os.close(reader)


@pytest.mark.parametrize("kind", ["nobody reads", "no fifo", "a file", "a folder", "closed"])
def test_a_wake_without_a_reader_touches_the_file(kind: str) -> None:
    with open_folder() as folder:
        if kind in ("nobody reads", "closed"):
            os.mkfifo(folder / WAKE_FIFO, 0o600 if kind == "nobody reads" else 0)
        elif kind == "a file":
            (folder / WAKE_FIFO).touch()
        elif kind == "a folder":
            (folder / WAKE_FIFO).mkdir()
        with as_nobody():
            wake(str(folder))

        assert (folder / WAKE_FILE).exists()


def test_a_state_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        status_file.write(str(tmp_path / "gone"), mine())


@pytest.mark.parametrize("has_fifo", [True, False])
def test_the_daemon_is_woken_with_and_without_a_fifo(tmp_path: Path, *, has_fifo: bool) -> None:
    if not has_fifo:
        (tmp_path / WAKE_FIFO).mkdir()

    async def life() -> None:
        woken = asyncio.Event()
        fifo = WakeFifo(str(tmp_path), woken.set)
        wake(str(tmp_path))
        async with asyncio.timeout(LONG):
            await woken.wait()
        fifo.close()

    asyncio.run(life())

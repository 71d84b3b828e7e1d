"""What wakes the daemon from outside the inbox: a command's byte in a FIFO, a change of mounts."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mounted import Disks
from tests.waiting import LONG
from watchconv.daemon import wakeup
from watchconv.daemon.wakeup import MountWatcher, WakeFifo
from watchconv.host import status_file
from watchconv.host.status_file import WAKE_FIFO, WAKE_FILE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SECONDS = 30.0


class Woken:
    """Counts how often somebody was woken."""

    def __init__(self) -> None:
        self.times, self._event = 0, asyncio.Event()

    def __call__(self) -> None:
        self.times += 1
        self._event.set()

    async def wait(self) -> int:
        """Wait until it happens again, and let all that follows from it happen; say how often."""
        self._event.clear()
        async with asyncio.timeout(SECONDS):
            await self._event.wait()
        return await self.rest()

    async def rest(self) -> int:
        """Let some turns of the loop go by; say how often so far."""
        for _ in range(20):
            await asyncio.sleep(0.001)
        return self.times


def with_fifo(state: Path, steps: Callable[[Woken], Awaitable[None]]) -> None:
    async def live() -> None:
        woken = Woken()
        fifo = WakeFifo(str(state), woken)
        try:
            await steps(woken)
        finally:
            fifo.close()
            fifo.close()

    asyncio.run(live())


def test_a_command_wakes_through_the_fifo_and_nothing_else_does(tmp_path: Path) -> None:
    async def steps(woken: Woken) -> None:
        assert stat.S_ISFIFO((tmp_path / WAKE_FIFO).stat().st_mode)
        assert await woken.rest() == 0
        status_file.wake(str(tmp_path))
        assert await woken.wait() == 1
        status_file.wake(str(tmp_path))
        assert await woken.wait() == 2

    with_fifo(tmp_path, steps)


def test_many_commands_at_once_wake_once_or_few_times_and_leave_silence(tmp_path: Path) -> None:
    async def steps(woken: Woken) -> None:
        for _ in range(200):
            status_file.wake(str(tmp_path))
        times = await woken.wait()
        assert times < 5
        assert await woken.rest() == times

    with_fifo(tmp_path, steps)


@pytest.mark.parametrize("left", ["fifo", "file", "link"])
def test_what_lies_in_the_place_of_the_fifo_is_used_or_replaced(tmp_path: Path, left: str) -> None:
    path, victim = tmp_path / WAKE_FIFO, tmp_path / "victim"
    victim.write_text("precious")
    if left == "fifo":
        os.mkfifo(path)
    elif left == "file":
        path.write_text("not ours")
    else:
        path.symlink_to(victim)

    async def steps(woken: Woken) -> None:
        assert stat.S_ISFIFO(path.lstat().st_mode)
        status_file.wake(str(tmp_path))
        assert await woken.wait() == 1

    with_fifo(tmp_path, steps)

    assert victim.read_text() == "precious"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup, "POLL_SECONDS", 0.002)


def no_fifos(path: str, mode: int = 0) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("before", [True, False])
def test_where_no_fifo_can_be_made_the_touched_file_wakes(
    tmp_path: Path, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system may have none."""
    monkeypatch.setattr(os, "mkfifo", no_fifos)
    if before:
        status_file.wake(str(tmp_path))

    async def steps(woken: Woken) -> None:
        assert await woken.rest() == 0
        status_file.wake(str(tmp_path))
        assert await woken.wait() == 1
        assert await woken.rest() == 1
        os.utime(tmp_path / WAKE_FILE, (1, 1))
        assert await woken.wait() == 2

    with_fifo(tmp_path, steps)

    assert not (tmp_path / WAKE_FIFO).exists()


@pytest.mark.usefixtures("quick")
def test_a_folder_in_the_place_of_the_fifo_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / WAKE_FIFO).mkdir()

    async def steps(woken: Woken) -> None:
        status_file.wake(str(tmp_path))
        assert await woken.wait() == 1

    with_fifo(tmp_path, steps)


def test_nobody_is_woken_after_the_end(tmp_path: Path) -> None:
    async def live() -> int:
        woken = Woken()
        fifo = WakeFifo(str(tmp_path), woken)
        status_file.wake(str(tmp_path))
        fifo.close()
        status_file.wake(str(tmp_path))
        return await woken.rest()

    assert asyncio.run(live()) == 0


# mounts

WATCHING = """
import asyncio, sys
from watchconv.daemon.wakeup import MountWatcher

async def watch():
    loop, lines = asyncio.get_running_loop(), asyncio.Queue()
    loop.add_reader(0, lambda: lines.put_nowait(sys.stdin.readline()))
    times = 0
    def changed():
        nonlocal times
        times += 1
    watcher = MountWatcher(changed)
    print("watching", flush=True)
    while await lines.get():
        for _ in range(20):
            await asyncio.sleep(0.001)
        print(times, flush=True)
    watcher.close()
    watcher.close()

asyncio.run(watch())
"""


def test_a_mount_and_its_end_wake_and_nothing_else_does(tmp_path: Path) -> None:
    with Disks(tmp_path, {}) as disks:
        child = subprocess.Popen(
            [*disks.place.inside, sys.executable, "-W", "error", "-c", WATCHING],
            env={**os.environ, "PYTHONPATH": str(Path(wakeup.__file__).parents[2])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdin
        assert child.stdout

        def times() -> int:
            assert child.stdin and child.stdout
            child.stdin.write("how often?\n")
            child.stdin.flush()
            return int(child.stdout.readline())

        try:
            assert child.stdout.readline() == "watching\n"
            assert [times(), times()] == [0, 0]
            disks.attach("inbox")
            attached = times()
            assert attached > 0
            (disks.disk("inbox") / "a.mkv").touch()
            assert times() == attached
            disks.pull("inbox")
            pulled = times()
            assert pulled > attached
            assert times() == pulled
        finally:
            child.stdin.close()
            assert child.wait(LONG) == 0
            child.stdout.close()


def test_without_a_table_of_mounts_nobody_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise FileNotFoundError(2, "No such file or directory")

    async def live() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", fail)
            watcher = MountWatcher(lambda: None)
        watcher.close()

    asyncio.run(live())

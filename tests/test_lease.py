"""The kernel's word on who writes a file, by real leases and real writers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from watchconv.intake.lease import Writers, writers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["disk", "memory"])
def clip(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file on the temporary folder's file system, and one on tmpfs."""
    parent = {"disk": str(tmp_path), "memory": "/dev/shm"}[request.param]
    with tempfile.TemporaryDirectory(dir=parent) as name:
        path = Path(name, "clip.mp4")
        path.write_bytes(b"picture" * 1000)
        yield path


@pytest.fixture
def fd(clip: Path) -> Iterator[int]:
    with opened(clip) as number:
        yield number


@contextlib.contextmanager
def opened(path: Path | str) -> Iterator[int]:
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        yield number
    finally:
        os.close(number)


@contextlib.contextmanager
def other_process(code: str, path: Path) -> Iterator[None]:
    """Run code in a child; inside the block it has run, after the block the child is gone."""
    script = (
        f"import mmap, os, sys\npath = sys.argv[1]\n{code}\nprint('there', flush=True)\ninput()"
    )
    command = [sys.executable, "-S", "-c", script, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "there\n"
        yield
        child.communicate("go\n", timeout=30)


def run_script(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, with the signals as a new process has them."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    root = str(Path(__file__).parents[1])
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=root, check=False
    )


def test_nobody_writes_a_file_that_is_only_read(fd: int, clip: Path) -> None:
    with other_process("held = os.open(path, os.O_RDONLY)", clip):
        answers = [writers(fd) for _ in range(3)]

    assert answers == [Writers.NONE] * 3


@pytest.mark.parametrize("how", ["os.O_WRONLY", "os.O_RDWR", "os.O_WRONLY | os.O_APPEND"])
def test_a_writer_is_seen_until_it_closes(how: str, fd: int, clip: Path) -> None:
    with other_process(f"held = os.open(path, {how})", clip):
        while_open = writers(fd)

    assert while_open == Writers.SOME
    assert writers(fd) == Writers.NONE


def test_a_file_mapped_for_writing_has_a_writer_even_when_it_is_closed(fd: int, clip: Path) -> None:
    code = "held = os.open(path, os.O_RDWR)\nmapped = mmap.mmap(held, 100)\nos.close(held)"
    with other_process(code, clip):
        answer = writers(fd)

    assert answer == Writers.SOME


def test_our_own_writing_descriptor_counts(fd: int, clip: Path) -> None:
    with clip.open("ab"):
        assert writers(fd) == Writers.SOME


def test_the_lease_is_given_back_at_once(fd: int, clip: Path) -> None:
    writers(fd)

    assert fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_UNLCK
    with other_process("held = os.open(path, os.O_WRONLY | os.O_NONBLOCK)", clip):
        assert writers(fd) == Writers.SOME


# a writer comes exactly while the lease is held: the one moment that matters, made sure of
WRITER_COMES = """
import fcntl, os, subprocess, sys, threading
from watchconv.intake.lease import writers
path, signal_is_chosen, in_main_thread = sys.argv[1:]
fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
writer = "import os, sys; os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK)"
real = fcntl.fcntl
def slow_fcntl(fd, command, argument):
    if command == fcntl.F_SETSIG and signal_is_chosen == "False":
        return 0
    if (command, argument) == (fcntl.F_SETLEASE, fcntl.F_UNLCK):
        came = subprocess.run([sys.executable, "-S", "-c", writer, path], stderr=subprocess.PIPE)
        print("BlockingIOError" in came.stderr.decode())
    return real(fd, command, argument)
fcntl.fcntl = slow_fcntl
def ask():
    print(writers(fd), writers(fd))
if in_main_thread == "True":
    ask()
else:
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
"""


@pytest.mark.parametrize("in_main_thread", [True, False])
def test_a_broken_lease_does_not_kill_the_process(in_main_thread: bool, clip: Path) -> None:
    ours = run_script(WRITER_COMES, clip, True, in_main_thread)

    assert (ours.stdout, ours.returncode) == ("True\nTrue\nnone none\n", 0), ours.stderr


@pytest.mark.parametrize("in_main_thread", [True, False])
def test_a_broken_lease_would_kill_without_our_choice_of_signal(
    in_main_thread: bool, clip: Path
) -> None:
    naive = run_script(WRITER_COMES, clip, False, in_main_thread)

    assert naive.returncode == -signal.SIGIO


def test_asking_leaves_the_signals_of_the_process_alone(clip: Path) -> None:
    script = """
import os, signal, sys
from watchconv.intake.lease import writers
print(writers(os.open(sys.argv[1], os.O_RDONLY)))
print(signal.getsignal(signal.SIGIO), signal.getsignal(signal.SIGURG))
"""

    assert run_script(script, clip).stdout.split() == ["none"] + ["0"] * 2


RACE = """
import os, sys, threading
from watchconv.intake.lease import writers
path, main_thread_asks = sys.argv[1:]
fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
done = threading.Event()
def ask():
    while not done.is_set():
        writers(fd)
def write():
    for _ in range(3000):
        os.close(os.open(path, os.O_WRONLY))
    done.set()
here, there = (ask, write) if main_thread_asks == "True" else (write, ask)
thread = threading.Thread(target=there)
thread.start()
here()
thread.join()
print(writers(fd))
"""


@pytest.mark.parametrize("main_thread_asks", [True, False])
def test_writers_that_open_while_we_ask_all_get_the_file(
    main_thread_asks: bool, clip: Path
) -> None:
    race = run_script(RACE, clip, main_thread_asks)

    assert (race.stdout, race.returncode) == ("none\n", 0), race.stderr


@pytest.mark.parametrize("path", ["/", "/dev/null"])
def test_what_cannot_be_leased_is_unknown(path: str) -> None:
    with opened(path) as number:
        assert writers(number) == Writers.UNKNOWN


def test_a_file_of_another_user_is_unknown() -> None:
    script = """
import os
from watchconv.intake.lease import writers
fd = os.open("/etc/passwd", os.O_RDONLY | os.O_NONBLOCK)
if os.geteuid() == 0:
    os.setuid(65534)
print(writers(fd))
"""

    assert run_script(script).stdout == "unknown\n"


def test_a_closed_descriptor_is_a_bug_and_loud(clip: Path) -> None:
    with opened(clip) as number:
        pass

    with pytest.raises(OSError, match="Bad file descriptor"):
        writers(number)

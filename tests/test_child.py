from __future__ import annotations

import asyncio
import os
import re
import resource
import select
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.waiting import wait_until
from watchconv.process import child as child_module
from watchconv.process import spawn
from watchconv.process.child import Child, ChildExit, Command, ExitCause
from watchconv.process.spawn import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONG = 60.0  # no test waits for it: a pass never depends on it
HANG = "import time; time.sleep(60)"
SAY_PID = f"import os; print(os.getpid(), flush=True); {HANG}"
PYTHON = (sys.executable, "-I", "-S", "-c")
pidfd_open = os.pidfd_open  # one test takes it away from the module


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def join_children() -> None:
    for thread in threading.enumerate():
        if thread.name == "watchconv-child":
            thread.join(LONG)
            assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    spawn.launcher()
    before = descriptors()
    yield
    join_children()

    assert descriptors() == before
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)


@pytest.fixture
def base(tmp_path: Path) -> Command:
    env = spawn.environment(str(tmp_path), str(tmp_path))
    return Command((), str(tmp_path), env, LONG, lambda: LONG, LONG)


@dataclass
class Ear:
    """Hears a child; ``spoke`` is set by its first word of progress."""

    advances: bool = True
    progress: bytes = b""
    stderr: bytes = b""
    spoke: threading.Event = field(default_factory=threading.Event)

    def on_progress(self, chunk: bytes) -> bool:
        self.progress += chunk
        self.spoke.set()
        return self.advances

    def on_stderr(self, chunk: bytes) -> None:
        self.stderr += chunk


def python(base: Command, code: str) -> Command:
    return replace(base, argv=(*PYTHON, code))


def child_of(command: Command, ear: Ear | None = None) -> Child:
    ear = ear or Ear()
    return Child(command, ear.on_progress, ear.on_stderr)


def run(command: Command, ear: Ear | None = None) -> ChildExit:
    return child_of(command, ear).start().result(LONG)


def start_speaking(command: Command) -> Child:
    """Start a child and wait for its first word."""
    ear = Ear()
    child = child_of(command, ear)
    child.start()
    assert ear.spoke.wait(LONG)
    return child


def is_gone(pidfd: int) -> bool:
    """Wait until a process that is not ours to reap has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(LONG * 1000))


def test_a_child_that_exits_well_has_status_0(base: Command) -> None:
    ended = run(python(base, "x = sum(range(10**6))"))

    assert (ended.cause, ended.status, ended.signal) == (ExitCause.EXITED, 0, None)
    assert ended.detail.endswith("exited with status 0")


def test_a_child_that_fails_keeps_its_status_and_its_words(base: Command) -> None:
    ear = Ear()
    code = "import os, sys; print('frame=1'); sys.stderr.write('no\\n'); sys.exit(3)"
    ended = run(python(base, code), ear)

    assert (ended.cause, ended.status, ended.signal) == (ExitCause.EXITED, 3, None)
    assert (ear.progress, ear.stderr) == (b"frame=1\n", b"no\n")


def test_a_signal_that_is_not_ours_is_an_exit_with_that_signal(base: Command) -> None:
    ended = run(python(base, "import os; os.kill(os.getpid(), 11)"))

    assert (ended.cause, ended.status, ended.signal) == (ExitCause.EXITED, None, 11)
    assert "killed by signal 11 (Segmentation fault)" in ended.detail


def test_a_child_that_says_nothing_stalls(base: Command) -> None:
    ended = run(replace(python(base, HANG), stall_seconds=0.3))

    assert (ended.cause, ended.signal) == (ExitCause.STALLED, signal.SIGTERM)
    assert ended.detail == f"{os.path.basename(sys.executable)} made no progress for 0.3 seconds"
    assert ended.seconds >= 0.3


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_child_that_talks_without_getting_further_stalls(base: Command, stream: str) -> None:
    ear = Ear(advances=False)
    code = f"""
import sys, time
while True:
    print("out_time_us=7", file=sys.{stream}, flush=True)
    time.sleep(0.01)
"""
    ended = run(replace(python(base, code), stall_seconds=1.0), ear)

    assert ended.cause is ExitCause.STALLED
    assert len(ear.progress + ear.stderr) > 0


def test_a_child_that_gets_further_does_not_stall(base: Command) -> None:
    code = """
import time
for n in range(26):
    print(n, flush=True)
    time.sleep(0.1)
"""
    ended = run(replace(python(base, code), stall_seconds=2.0))

    assert (ended.cause, ended.status) == (ExitCause.EXITED, 0)
    assert ended.seconds > 2.0


def test_a_child_that_gets_further_for_ever_runs_out_of_time(base: Command) -> None:
    code = "import time\nwhile True: print(1, flush=True); time.sleep(0.01)"
    ended = run(replace(python(base, code), time_limit=lambda: 0.4))

    assert ended.cause is ExitCause.OVERTIME
    assert ended.detail.endswith("ran longer than its limit of 0.4 seconds")


def test_a_time_limit_may_grow_while_the_child_runs(base: Command) -> None:
    began = time.monotonic()
    limits: list[float] = []

    def grow() -> float:
        limits.append(time.monotonic() - began + 0.05)
        return limits[-1]

    ended = run(replace(python(base, "import time; time.sleep(0.4)"), time_limit=grow))

    assert (ended.cause, ended.status) == (ExitCause.EXITED, 0)
    assert limits[0] < ended.seconds


@pytest.mark.parametrize("endless", [float("inf"), 1e9])
def test_a_limit_beyond_what_poll_takes_is_no_error(base: Command, endless: float) -> None:
    command = replace(python(base, ""), stall_seconds=endless, time_limit=lambda: endless)

    assert run(command).status == 0


def test_an_idle_child_costs_no_wake_ups(base: Command) -> None:
    asked: list[None] = []

    def limit() -> float:
        asked.append(None)
        return LONG

    ended = run(replace(python(base, "import time; time.sleep(1)"), time_limit=limit))

    assert ended.status == 0
    assert len(asked) <= 5  # once at first, twice for each pipe that ends before the child does


def test_a_stopped_child_may_end_in_its_own_way_within_the_grace(base: Command) -> None:
    code = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(255))
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""
    child = start_speaking(python(base, code))
    child.stop()
    child.stop()
    ended = child.ended.result(LONG / 2)

    assert (ended.cause, ended.status, ended.signal) == (ExitCause.STOPPED, 255, None)


def test_a_child_that_ignores_term_is_killed_after_the_grace(base: Command) -> None:
    code = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""
    child = start_speaking(replace(python(base, code), grace_seconds=0.3))
    child.stop()
    ended = child.ended.result(LONG / 2)

    assert (ended.cause, ended.signal) == (ExitCause.STOPPED, signal.SIGKILL)
    assert ended.seconds >= 0.3


def test_a_frozen_child_is_killed_after_the_grace(base: Command) -> None:
    ear = Ear()
    child = child_of(replace(python(base, SAY_PID), grace_seconds=0.2), ear)
    child.start()
    assert ear.spoke.wait(LONG)
    pid = int(ear.progress)
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    child.stop()
    ended = child.ended.result(LONG / 2)

    assert (ended.cause, ended.signal) == (ExitCause.STOPPED, signal.SIGKILL)


def test_a_second_thought_kills_without_waiting_for_the_grace(base: Command) -> None:
    code = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""
    child = start_speaking(replace(python(base, code), grace_seconds=LONG))
    child.stop()
    child.stop(kill=True)
    ended = child.ended.result(LONG / 2)

    assert (ended.cause, ended.signal) == (ExitCause.STOPPED, signal.SIGKILL)


# the child moves on as long as it is not frozen
COUNTS = """
import itertools, os, time
print(os.getpid(), flush=True)
for n in itertools.count():
    print(n, flush=True)
    time.sleep(0.01)
"""


@dataclass
class Counting(Ear):
    """Hears a child that counts; tells whether it does."""

    def state(self) -> str:
        """Read what the kernel says the child does: T is stopped."""
        pid = int(self.progress.split()[0])
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    def count(self) -> int:
        return len(self.progress.splitlines())


def start_counting(command: Command) -> tuple[Child, Counting]:
    ear = Counting()
    child = child_of(python(command, COUNTS), ear)
    child.start()
    wait_until(lambda: ear.count() > 1)
    return child, ear


def test_a_paused_child_stands_still_until_it_is_resumed(base: Command) -> None:
    child, ear = start_counting(base)
    child.pause()
    child.pause()
    wait_until(lambda: ear.state() == "T")
    child.resume()
    before = ear.count()
    wait_until(lambda: ear.count() > before)
    child.stop()
    ended = child.ended.result(LONG / 2)

    assert (ended.cause, ended.signal) == (ExitCause.STOPPED, signal.SIGTERM)


@pytest.mark.parametrize("limits", [{"stall_seconds": 0.5}, {"time_limit": lambda: 0.5}])
def test_the_time_of_a_pause_counts_for_no_limit(base: Command, limits: dict[str, Any]) -> None:
    child = child_of(replace(python(base, f"print(1, flush=True); {HANG}"), **limits))
    child.pause()
    began = time.monotonic()
    child.start()
    with pytest.raises(TimeoutError):
        child.ended.result(1)
    child.resume()
    ended = child.ended.result(LONG / 2)

    assert ended.cause in (ExitCause.STALLED, ExitCause.OVERTIME)
    assert 0.5 <= ended.seconds <= time.monotonic() - began - 0.9


@pytest.mark.parametrize("kill", [False, True])
def test_a_paused_child_can_be_stopped(base: Command, kill: bool) -> None:
    child, ear = start_counting(base)
    child.pause()
    wait_until(lambda: ear.state() == "T")
    child.stop(kill)
    ended = child.ended.result(LONG / 2)

    assert ended.cause is ExitCause.STOPPED
    assert ended.signal in ({signal.SIGTERM} if not kill else {signal.SIGTERM, signal.SIGKILL})


def test_a_child_on_its_way_out_is_not_paused_any_more(base: Command) -> None:
    code = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: time.sleep(0.3) or os._exit(7))
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""
    child = start_speaking(python(base, code))
    child.stop()
    child.pause()

    assert child.ended.result(LONG / 2).status == 7


def test_pausing_a_child_that_is_gone_or_was_never_there_does_nothing(base: Command) -> None:
    child = child_of(python(base, ""))
    child.resume()
    child.start().result(LONG)
    child.pause()
    child.resume()


def test_what_a_child_costs_is_known(base: Command) -> None:
    code = """
import time
taken = bytearray(300 << 20)
while time.process_time() < 0.3: pass
"""
    ended = run(python(base, code))

    assert ended.cpu_seconds is not None
    assert ended.peak_memory_bytes is not None
    assert 0.3 <= ended.cpu_seconds < 30
    assert 300 << 20 <= ended.peak_memory_bytes < 1 << 30


def test_what_a_child_that_never_ran_costs_is_not_known(base: Command) -> None:
    ended = run(replace(base, argv=("/nowhere/ffmpeg",)))

    assert (ended.cpu_seconds, ended.peak_memory_bytes) == (None, None)


def test_many_threads_may_stop_one_child(base: Command) -> None:
    child = start_speaking(python(base, f"print(1, flush=True); {HANG}"))
    threads = [threading.Thread(target=child.stop, args=(True,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    ended = child.ended.result(LONG / 2)
    for thread in threads:
        thread.join(LONG)
    child.stop(kill=True)

    assert (ended.cause, ended.status) == (ExitCause.STOPPED, None)
    assert ended.signal in (signal.SIGTERM, signal.SIGKILL)


def test_a_child_stopped_before_its_start_never_runs(base: Command, tmp_path: Path) -> None:
    child = child_of(python(base, f"open({str(tmp_path / 'ran')!r}, 'w')"))
    child.stop()
    ended = child.start().result(LONG)

    assert (ended.cause, ended.status, ended.signal) == (ExitCause.STOPPED, None, None)
    assert not (tmp_path / "ran").exists()


def test_a_child_may_be_stopped_while_it_starts(base: Command) -> None:
    children = [child_of(python(base, HANG)) for _ in range(10)]
    for child in children:
        child.start()
        child.stop()

    assert {child.ended.result(LONG).cause for child in children} == {ExitCause.STOPPED}


GRANDCHILD = """
import os, sys, time
reading, writing = os.pipe()
if not (pid := os.fork()):
    {session}
    os.write(writing, b"x")
    time.sleep(60)
    os._exit(0)
os.read(reading, 1)
print(pid, flush=True)
"""


def run_with_grandchild(base: Command, session: str) -> tuple[ChildExit, int]:
    """Run a child that leaves a grandchild with both pipes; give the grandchild's pidfd too."""
    opened: list[int] = []

    def open_it(chunk: bytes) -> bool:
        opened.append(pidfd_open(int(chunk)))
        return True

    child = Child(python(base, GRANDCHILD.format(session=session)), open_it, len)
    ended = child.start().result(LONG)
    return ended, opened[0]


def test_a_grandchild_that_holds_the_pipes_dies_with_the_child(base: Command) -> None:
    ended, pidfd = run_with_grandchild(base, "pass")

    assert (ended.cause, ended.status) == (ExitCause.EXITED, 0)
    assert is_gone(pidfd)
    os.close(pidfd)


def test_a_grandchild_in_another_session_holds_nothing_up(base: Command) -> None:
    ended, pidfd = run_with_grandchild(base, "os.setsid()")
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    assert (ended.cause, ended.status) == (ExitCause.EXITED, 0)
    assert ended.seconds < LONG / 2
    assert is_gone(pidfd)
    os.close(pidfd)


def test_a_grandchild_that_talks_for_ever_holds_nothing_up(base: Command) -> None:
    chatter = 'os.setsid(); os.write(writing, b"x")\n    while True: os.write(2, b"x" * 65536)'
    ended, pidfd = run_with_grandchild(base, chatter)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    assert ended.status == 0
    assert is_gone(pidfd)
    os.close(pidfd)


def test_a_child_that_closes_its_pipes_is_still_watched(base: Command) -> None:
    code = f"import os; os.close(1); os.close(2); {HANG}"
    ended = run(replace(python(base, code), stall_seconds=0.5))

    assert ended.cause is ExitCause.STALLED


def test_a_child_that_closes_its_pipes_keeps_its_status(base: Command) -> None:
    code = "import os, time; os.close(1); os.close(2); time.sleep(0.3); os._exit(4)"

    assert run(python(base, code)).status == 4


def test_every_byte_arrives_in_order(base: Command) -> None:
    ear = Ear()
    code = "import os\nfor n in range(100_000): os.write(1 + n % 2, b'%09d\\n' % n)"
    run(python(base, code), ear)

    assert ear.progress == b"".join(b"%09d\n" % n for n in range(0, 100_000, 2))
    assert ear.stderr == b"".join(b"%09d\n" % n for n in range(1, 100_000, 2))


def test_the_last_words_of_a_dead_child_all_arrive(base: Command) -> None:
    words: list[int] = []

    def wait_until_it_is_dead(chunk: bytes) -> bool:
        pidfd = pidfd_open(int(chunk))
        assert is_gone(pidfd)
        os.close(pidfd)
        return True

    code = """
import fcntl, os
fcntl.fcntl(2, fcntl.F_SETPIPE_SZ, 2**19)
os.write(1, b"%d" % os.getpid())
os.write(2, b"x" * 300_000)
"""
    child = Child(python(base, code), wait_until_it_is_dead, lambda c: words.append(len(c)))
    child.start().result(LONG)

    assert sum(words) == 300_000


def test_fifty_megabytes_of_stderr_need_no_memory(base: Command) -> None:
    count = 0

    def add(chunk: bytes) -> None:
        nonlocal count
        count += len(chunk)

    code = "import os\nfor _ in range(800): os.write(2, b'x' * 65536)"
    tracemalloc.start()
    ended = Child(python(base, code), bool, add).start().result(LONG)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert ended.status == 0
    assert count == 800 * 65536
    assert peak_bytes < 4 * 2**20


@pytest.fixture(params=["setpriv", "direct"])
def either_start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to start a child: with the parent-death signal, and where setpriv is missing."""
    if request.param == "direct":
        monkeypatch.setattr(child_module, "launcher", tuple)
    elif not spawn.launcher():
        pytest.skip("no setpriv here")
    return str(request.param)


@pytest.mark.usefixtures("either_start")
def test_a_program_that_does_not_exist_is_unstarted(base: Command) -> None:
    ended = run(replace(base, argv=("/nowhere/ffmpeg", "-version")))

    assert (ended.cause, ended.status, ended.signal) == (ExitCause.UNSTARTED, None, None)
    assert ended.detail.startswith("ffmpeg could not be started: ")
    assert "/nowhere/ffmpeg: No such file or directory" in ended.detail


@pytest.mark.usefixtures("either_start")
def test_a_file_without_execute_bit_is_unstarted(base: Command, tmp_path: Path) -> None:
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\n")
    ended = run(replace(base, argv=(str(tmp_path / "ffmpeg"),)))

    assert ended.cause is ExitCause.UNSTARTED
    assert f"{tmp_path}/ffmpeg: Permission denied" in ended.detail


@pytest.mark.usefixtures("either_start")
@pytest.mark.parametrize("status", [126, 127])
def test_a_status_of_the_program_is_not_taken_for_the_launchers(base: Command, status: int) -> None:
    ended = run(python(base, f"import sys; sys.stderr.write('no'); sys.exit({status})"))

    assert (ended.cause, ended.status) == (ExitCause.EXITED, status)


@pytest.mark.usefixtures("either_start")
def test_a_missing_work_directory_is_unstarted(base: Command) -> None:
    ended = run(replace(python(base, ""), cwd="/nowhere"))

    assert ended.cause is ExitCause.UNSTARTED
    assert "/nowhere: No such file or directory" in ended.detail


def test_arguments_that_no_program_can_take_are_unstarted(base: Command) -> None:
    null = run(replace(base, argv=("/bin/true", "a\0b")))
    long = run(replace(base, argv=("/bin/true", "x" * 2**20)))

    assert (null.cause, long.cause) == (ExitCause.UNSTARTED, ExitCause.UNSTARTED)
    assert "Argument list too long" in long.detail


@pytest.mark.parametrize("free", range(13))
def test_a_machine_short_of_descriptors_starts_a_child_or_says_why(
    base: Command, free: int
) -> None:
    used = {int(name) for name in descriptors()}
    unused = [fd for fd in range(1000) if fd not in used]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (unused[free], hard))
    try:
        ended = run(python(base, ""))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    if ended.cause is ExitCause.UNSTARTED:
        assert "Too many open files" in ended.detail
    else:
        assert (ended.cause, ended.status) == (ExitCause.EXITED, 0)
        assert free >= 6  # four pipe ends, the null device, the stop signal


def test_confinement_holds_the_child_and_leaves_us_free(base: Command) -> None:
    def confine() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)

    ear = Ear()
    run(replace(python(base, "import os; print(os.nice(0))"), prepare=confine), ear)

    assert ear.progress == b"19\n"
    assert os.nice(0) < 19


def test_a_confinement_that_fails_starts_nothing(base: Command, tmp_path: Path) -> None:
    def confine() -> None:
        raise RuntimeError("this kernel has no Landlock")

    code = f"open({str(tmp_path / 'ran')!r}, 'w')"
    ended = run(replace(python(base, code), prepare=confine))

    assert ended.cause is ExitCause.UNSTARTED
    assert ended.detail.endswith("could not be started: this kernel has no Landlock")
    assert not (tmp_path / "ran").exists()


def test_limits_are_set(base: Command) -> None:
    code = """
import resource, time
while resource.getrlimit(resource.RLIMIT_CORE) != (0, 0) or \
    resource.getrlimit(resource.RLIMIT_NOFILE) != (77, 77): time.sleep(0.01)
print(resource.getrlimit(resource.RLIMIT_AS)[1], resource.getrlimit(resource.RLIMIT_FSIZE)[1])
"""
    ear = Ear()
    limits = Limits(address_space_bytes=2**31, file_size_bytes=2**20, open_files=77)
    run(replace(python(base, code), limits=limits, stall_seconds=10), ear)

    assert ear.progress == b"2147483648 1048576\n"


HOG = """
import time
held = bytearray(b"x" * (96 << 20))
print("held", flush=True)
time.sleep(60)
"""
# it uses nothing itself, and what it started does
HOG_BELOW = f"import subprocess; subprocess.run({[*PYTHON, HOG]!r})"


@pytest.mark.parametrize("code", [HOG, HOG_BELOW], ids=["itself", "below"])
def test_a_child_that_uses_too_much_memory_is_killed(base: Command, code: str) -> None:
    """Also a confined one, whose thread cannot look into /proc."""
    shut = replace(python(base, code), limits=Limits(memory_bytes=64 << 20))
    ended = run(shut)

    assert ended.cause is ExitCause.MEMORY
    assert ended.signal in (signal.SIGTERM, signal.SIGKILL)
    assert re.search(r"used [\d.]+ MiB of memory, more than 64 MiB", ended.detail)


def test_memory_that_is_mapped_and_not_used_counts_for_nothing(base: Command) -> None:
    code = "import mmap; held = mmap.mmap(-1, 8 << 30); print(len(held))"
    ended = run(replace(python(base, code), limits=Limits(memory_bytes=64 << 20)))

    assert (ended.cause, ended.status) == (ExitCause.EXITED, 0)


def test_a_frozen_child_that_outgrew_is_killed(base: Command) -> None:
    limits = Limits(memory_bytes=1 << 30)
    child = start_speaking(replace(python(base, SAY_PID), limits=limits))
    child.pause()
    child.outgrow(2 << 30)

    assert child.ended.result(LONG).cause is ExitCause.MEMORY


def test_the_watch_on_memory_ends_with_its_child(base: Command) -> None:
    def watches() -> int:
        return sum(thread.name == "watchconv-memory" for thread in threading.enumerate())

    limits = Limits(memory_bytes=1 << 30)
    run(replace(python(base, "pass"), limits=limits))
    run(replace(base, argv=("/nowhere",), limits=limits))
    stopped = child_of(replace(python(base, HANG), limits=limits))
    stopped.stop(kill=True)
    stopped.start().result(LONG)

    wait_until(lambda: watches() == 0)


def test_a_callback_that_raises_kills_the_child_and_is_loud(base: Command) -> None:
    pidfds: list[int] = []

    def fail(chunk: bytes) -> bool:
        pidfds.append(pidfd_open(int(chunk)))
        raise ZeroDivisionError

    child = Child(python(base, SAY_PID), fail, len)
    with pytest.raises(ZeroDivisionError):
        child.start().result(LONG)

    assert is_gone(pidfds[0])
    os.close(pidfds[0])


def test_a_child_that_survives_kill_is_given_up_and_reaped_later(
    base: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "KILL_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(os, "killpg", lambda *_: None)
    ear = Ear()
    child = child_of(replace(python(base, SAY_PID), grace_seconds=0.1), ear)
    child.start()
    assert ear.spoke.wait(LONG)
    child.stop()
    ended = child.ended.result(LONG / 2)

    assert (ended.cause, ended.status, ended.signal) == (ExitCause.STOPPED, None, None)
    assert "survives SIGKILL" in ended.detail
    os.kill(int(ear.progress), signal.SIGKILL)  # _nothing_is_left_behind sees it reaped


def test_a_python_without_pidfd_will_do(base: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")

    assert run(python(base, "raise SystemExit(3)")).status == 3
    assert run(replace(python(base, HANG), stall_seconds=0.3)).cause is ExitCause.STALLED


def test_ignored_signals_change_nothing(base: Command) -> None:
    before = [(n, signal.signal(n, signal.SIG_IGN)) for n in (signal.SIGIO, signal.SIGPIPE)]
    try:
        ended = run(replace(base, argv=("/bin/sh", "-c", "kill -PIPE $$; exit 1")))
        stopped = run(replace(python(base, HANG), stall_seconds=0.3))
    finally:
        for number, disposition in before:
            signal.signal(number, disposition)

    assert (ended.cause, ended.signal) == (ExitCause.EXITED, signal.SIGPIPE)
    assert stopped.cause is ExitCause.STALLED


def test_a_child_can_be_awaited(base: Command) -> None:
    async def wait() -> ChildExit:
        return await asyncio.wrap_future(child_of(python(base, "raise SystemExit(5)")).start())

    assert asyncio.run(wait()).status == 5


def test_fifty_children_at_once_leave_nothing_behind(base: Command) -> None:
    children = [child_of(replace(base, argv=("/bin/sh", "-c", f"exit {n}"))) for n in range(50)]
    for child in children:
        child.start()

    assert [child.ended.result(LONG).status for child in children] == list(range(50))


PARENT = """
import os, signal, sys, threading
from watchconv.process.spawn import environment
from watchconv.process.child import Child, Command
{before}
def say(chunk):
    os.write(1, chunk)
    return True
env = environment("test", "/")
command = Command(({python}, "-I", "-S", "-c", {code!r}), "/", env, 60, lambda: 60, 60)
child = Child(command, say, len)
"""


def parent(code: str, before: str, after: str) -> subprocess.Popen[bytes]:
    text = PARENT.format(python=repr(sys.executable), code=code, before=before) + after
    return subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def first_line(program: subprocess.Popen[bytes]) -> bytes:
    assert program.stdout
    return program.stdout.readline()


@pytest.mark.skipif(not spawn.launcher(), reason="no setpriv here")
@pytest.mark.parametrize("last", ["threading.Event().wait()", "child.ended.result(60)"])
def test_a_child_dies_with_a_daemon_that_is_killed(last: str) -> None:
    with parent(SAY_PID, "", f"child.start()\n{last}") as program:
        pidfd = pidfd_open(int(first_line(program)))
        program.kill()

        assert is_gone(pidfd)
    os.close(pidfd)


@pytest.mark.skipif(not spawn.launcher(), reason="no setpriv here")
def test_a_child_does_not_hold_up_the_end_of_the_program() -> None:
    with parent(SAY_PID, "", "child.start()\nsys.stdin.readline()") as program:
        pidfd = pidfd_open(int(first_line(program)))
        program.communicate(timeout=LONG)

        assert program.returncode == 0
        assert is_gone(pidfd)
    os.close(pidfd)


def test_a_daemon_started_with_sigchld_ignored_says_that_the_status_is_lost() -> None:
    before = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    after = "e = child.start().result(60); print(e.cause, e.status, e.detail)"
    with parent("raise SystemExit(3)", before, after) as program:
        line = first_line(program).decode()

    assert line.startswith("exited None ")
    assert "SIGCHLD" in line


def test_the_environment_holds_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {
        "PATH": "/bin",
        "AWS_SECRET_ACCESS_KEY": "x",
        "LIBVA_DRIVER_NAME": "iHD",
        "HOME": "/h",
    }
    monkeypatch.setattr(os, "environ", ours)

    assert spawn.environment("/state", "/work") == {
        "PATH": "/bin",
        "LIBVA_DRIVER_NAME": "iHD",
        "HOME": "/work",
        "TMPDIR": "/work",
        "LANG": "C.UTF-8",
        "WATCHCONV_CHILD": "/state",
    }


@pytest.fixture
def tagged(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start processes that carry a tag, as a dead daemon would leave them."""
    started: list[subprocess.Popen[bytes]] = []

    def start(tag: str) -> subprocess.Popen[bytes]:
        env = spawn.environment(tag, str(tmp_path))
        started.append(subprocess.Popen([*PYTHON, HANG], env=env, start_new_session=True))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait(LONG)


@pytest.mark.parametrize("pidfd", [True, False])
def test_orphans_are_ended_and_strangers_are_not(
    tagged: Callable[[str], subprocess.Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pidfd: bool,
) -> None:
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open")
    tag = str(tmp_path / "st\udcffate")
    ours = [tagged(tag), tagged(tag)]
    stranger = tagged(tag + "2")

    assert set(spawn.find_orphans(tag)) == {one.pid for one in ours}
    assert spawn.end_orphans(tag) == 2
    assert [one.wait(LONG) for one in ours] == [-signal.SIGKILL, -signal.SIGKILL]
    assert spawn.end_orphans(tag) == 0
    assert stranger.poll() is None


def test_we_are_no_orphan_of_our_own_state_directory() -> None:
    code = """
import os
from watchconv.process import spawn
print(spawn.end_orphans(os.environ["WATCHCONV_CHILD"]))
"""
    env = {**os.environ, "WATCHCONV_CHILD": "/state of a test"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)

    assert done.stdout == b"0\n"

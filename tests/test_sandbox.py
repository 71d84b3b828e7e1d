from __future__ import annotations

import codecs
import errno
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.clips import FFMPEG, MEDIA
from watchconv.config import Sandbox
from watchconv.errors import EnvironmentTrouble
from watchconv.process.sandbox import kernel, seccomp
from watchconv.process.sandbox import rules as rules_module
from watchconv.process.sandbox.programs import system_reads
from watchconv.process.sandbox.rules import SandboxRules, confine, try_to_escape
from watchconv.process.sandbox.support import SandboxMode, ready, support
from watchconv.process.spawn import lower_priority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

SUPPORT = support()
codecs.lookup("idna")  # a confined thread cannot load it, and would remember that there is none
needs_landlock = pytest.mark.skipif(not SUPPORT.landlock_abi, reason="this kernel has no Landlock")
needs_seccomp = pytest.mark.skipif(not SUPPORT.seccomp, reason="no pyseccomp or no libseccomp")
needs_all = pytest.mark.skipif(bool(SUPPORT.missing), reason=" ".join(SUPPORT.missing))

FFMPEGS = sorted({FFMPEG, shutil.which("ffmpeg") or FFMPEG})
CLIP = MEDIA / "media-sample.flv"
CODECS = [
    pytest.param(["-c:v", "libvpx", "-b:v", "1M", "-c:a", "libvorbis"], "a.webm", id="vp8"),
    pytest.param(["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"], "a.mp4", id="h264"),
    pytest.param(["-c:v", "libsvtav1", "-preset", "12", "-c:a", "libopus"], "a.mkv", id="av1"),
]


@dataclass(frozen=True)
class Place:
    """An inbox with an input and its neighbour, a work folder, and somebody else's folder."""

    input: Path
    neighbour: Path
    work: Path
    outside: Path
    descriptor: int

    def rules(self, program: str = "/bin/cat") -> SandboxRules:
        return SandboxRules((self.descriptor,), (str(self.work),), system_reads(program))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    for name in ("inbox", "work", "outside"):
        (tmp_path / name).mkdir()
    source, neighbour = tmp_path / "inbox" / "a.mp4", tmp_path / "inbox" / "b.mp4"
    source.write_text("the input")
    neighbour.write_text("the neighbour")
    descriptor = os.open(source, os.O_RDONLY)
    yield Place(source, neighbour, tmp_path / "work", tmp_path / "outside", descriptor)
    os.close(descriptor)


def confined(rules: SandboxRules, act: Callable[[], T]) -> T:
    def confine_and_act() -> T:
        confine(rules)
        return act()

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(confine_and_act).result()


def run(place: Place, *argv: str, program: str | None = None) -> subprocess.CompletedProcess[str]:
    def start() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", "--", *argv],
            cwd=place.work, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return confined(place.rules(program or argv[0]), start)


def errno_of(act: Callable[[], object]) -> int:
    try:
        act()
    except OSError as refusal:
        return refusal.errno or 0
    return 0


def write_program(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@needs_landlock
def test_a_confined_child_cannot_read_etc_passwd(place: Place) -> None:
    ended = run(place, "/bin/cat", "/etc/passwd")

    assert ended.returncode != 0
    assert ended.stdout == ""
    assert "Permission denied" in ended.stderr


@needs_landlock
def test_a_confined_child_cannot_read_the_home_folder_or_the_state(
    place: Place, tmp_path: Path
) -> None:
    state = tmp_path / "state" / "journal.db"
    state.parent.mkdir()
    state.write_text("jobs")

    ended = run(place, "/bin/cat", str(state))
    home = run(place, "/bin/ls", str(Path.home()))

    assert ended.stdout == ""
    assert "Permission denied" in ended.stderr
    assert "Permission denied" in home.stderr


def test_a_confined_child_reads_its_input(place: Place) -> None:
    assert run(place, "/bin/cat", str(place.input)).stdout == "the input"


def test_the_input_is_known_by_its_inode_and_not_by_its_name(place: Place) -> None:
    moved = place.input.rename(place.input.with_name("renamed.mp4"))

    assert run(place, "/bin/cat", str(moved)).stdout == "the input"


@needs_landlock
def test_a_newcomer_under_the_name_of_the_input_is_refused(place: Place) -> None:
    place.input.rename(place.input.with_name("renamed.mp4"))
    place.input.write_text("a newcomer")

    assert run(place, "/bin/cat", str(place.input)).stdout == ""


@needs_landlock
def test_a_file_beside_the_input_is_refused(place: Place) -> None:
    ended = run(place, "/bin/cat", str(place.neighbour))

    assert (ended.returncode != 0, ended.stdout) == (True, "")


@needs_landlock
def test_the_input_cannot_be_written_or_cut(place: Place) -> None:
    refusals = confined(
        place.rules(),
        lambda: [
            errno_of(lambda: os.open(place.input, os.O_WRONLY)),
            errno_of(lambda: os.truncate(place.input, 0)),
            errno_of(lambda: os.open(place.input, os.O_RDONLY | os.O_TRUNC)),
            errno_of(lambda: os.unlink(place.input)),
        ],
    )

    assert set(refusals) <= {errno.EACCES, errno.EPERM}
    assert place.input.read_text() == "the input"


def test_the_work_folder_can_be_written_changed_and_emptied(place: Place) -> None:
    def work() -> None:
        (place.work / "deep").mkdir()
        (place.work / "deep" / "a").write_text("long text")
        (place.work / "deep" / "a").rename(place.work / "b")
        os.truncate(place.work / "b", 4)
        (place.work / "c").write_text("")
        (place.work / "c").unlink()
        (place.work / "deep").rmdir()

    confined(place.rules(), work)

    assert [path.name for path in place.work.iterdir()] == ["b"]
    assert (place.work / "b").read_text() == "long"


@needs_landlock
def test_nothing_can_be_written_elsewhere(place: Place) -> None:
    refusals = confined(
        place.rules(),
        lambda: [
            errno_of(lambda: (place.outside / "a").write_text("")),
            errno_of((place.outside / "d").mkdir),
            errno_of(lambda: (place.input.parent / "a.part").write_text("")),
            errno_of(place.neighbour.unlink),
        ],
    )

    assert refusals == [errno.EACCES] * 4
    assert list(place.outside.iterdir()) == []


@needs_landlock
def test_no_link_or_pipe_can_be_left_in_the_work_folder(place: Place) -> None:
    refusals = confined(
        place.rules(),
        lambda: [
            errno_of(lambda: os.symlink("/etc/passwd", place.work / "out.mp4")),
            errno_of(lambda: os.mkfifo(place.work / "out.mp4")),
        ],
    )

    assert refusals == [errno.EACCES] * 2


@needs_landlock
def test_nothing_is_renamed_or_linked_across_the_border(place: Place) -> None:
    (place.work / "out").write_text("")
    refusals = confined(
        place.rules(),
        lambda: [
            errno_of(lambda: os.rename(place.work / "out", place.outside / "out")),
            errno_of(lambda: os.rename(place.neighbour, place.work / "b")),
            errno_of(lambda: os.link(place.neighbour, place.work / "b")),
            errno_of(lambda: os.link(place.input, place.outside / "a")),
        ],
    )

    assert set(refusals) <= {errno.EACCES, errno.EXDEV}
    assert [path.name for path in place.work.iterdir()] == ["out"]


@needs_seccomp
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK])
def test_no_socket_to_a_network_can_be_made(place: Place, family: int) -> None:
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW)
    refusals = confined(
        place.rules(),
        lambda: [errno_of(lambda kind=kind: socket.socket(family, kind)) for kind in kinds],  # type: ignore[misc]
    )

    assert refusals == [errno.EPERM] * 3


@pytest.mark.skipif(SUPPORT.landlock_abi < 4, reason="Landlock knows TCP from ABI 4")
def test_landlock_alone_refuses_tcp(place: Place) -> None:
    def connect() -> int:
        kernel.forbid_new_privileges()
        kernel.landlock((), SUPPORT.landlock_abi)
        return errno_of(lambda: socket.create_connection(listener.getsockname()))

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        assert pool.submit(connect).result() == errno.EACCES


def test_unix_sockets_can_be_made_and_paired(place: Place) -> None:
    def talk() -> bytes:
        socket.socket(socket.AF_UNIX).close()
        here, there = socket.socketpair()
        with here, there:
            here.send(b"hello")
            return there.recv(10)

    assert confined(place.rules(), talk) == b"hello"


@needs_seccomp
def test_another_programs_unix_socket_cannot_be_reached(place: Place) -> None:
    path = str(place.work / "bus")

    def connect() -> int:
        with socket.socket(socket.AF_UNIX) as caller:
            return errno_of(lambda: caller.connect(path))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        assert confined(place.rules(), connect) == errno.EPERM


@needs_seccomp
def test_modes_owners_times_and_attributes_are_out_of_reach(place: Place) -> None:
    before = place.neighbour.stat()
    refusals = confined(
        place.rules(),
        lambda: [
            errno_of(lambda: place.neighbour.chmod(0o777)),
            errno_of(lambda: os.chown(place.neighbour, os.getuid(), os.getgid())),
            errno_of(lambda: os.utime(place.neighbour)),
            errno_of(lambda: os.setxattr(place.neighbour, "user.a", b"")),
        ],
    )

    assert refusals == [errno.EPERM] * 4
    assert place.neighbour.stat() == before


@needs_seccomp
def test_io_uring_and_other_processes_memory_are_out_of_reach(place: Place) -> None:
    refusals = confined(
        place.rules(),
        lambda: [errno_of(lambda n=n: kernel.syscall(n, 1)) for n in (425, 426, 427, 438)],  # type: ignore[misc]
    )

    assert refusals == [errno.EPERM] * 4


@pytest.mark.skipif(SUPPORT.landlock_abi < 6, reason="Landlock knows signals from ABI 6")
def test_a_confined_child_cannot_signal_the_daemon(place: Place) -> None:
    ended = run(place, "/bin/sh", "-c", f"kill -0 {os.getpid()}")

    assert ended.returncode != 0


@needs_seccomp
def test_the_filter_for_an_old_landlock_refuses_truncation_too(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("text")

    def cut() -> list[int]:
        kernel.forbid_new_privileges()
        seccomp.install(seccomp.child_filter(2))
        (tmp_path / "new").write_text("an open for writing may cut")
        (tmp_path / "new").write_text("twice")
        return [
            errno_of(lambda: os.truncate(file, 0)),
            errno_of(lambda: os.open(file, os.O_RDONLY | os.O_TRUNC)),
        ]

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(cut).result() == [errno.EPERM] * 2
    assert file.read_text() == "text"


@needs_landlock
@pytest.mark.parametrize("version", range(1, SUPPORT.landlock_abi + 1))
def test_every_older_landlock_confines_reading(
    place: Place, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = replace(SUPPORT, landlock_abi=version, seccomp=False)
    monkeypatch.setattr(rules_module, "support", lambda: older)

    assert run(place, "/bin/cat", str(place.input)).stdout == "the input"
    assert run(place, "/bin/cat", str(place.neighbour)).stdout == ""


@needs_all
@pytest.mark.parametrize("version", range(1, SUPPORT.landlock_abi + 1))
def test_no_escape_works_under_any_older_landlock(
    place: Place, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below ABI 3 truncation, below 4 TCP, and UDP always are the filter's to refuse."""
    monkeypatch.setattr(rules_module, "support", lambda: replace(SUPPORT, landlock_abi=version))

    assert [escape for escape in try_to_escape(place.rules()) if not escape.refused] == []


@needs_seccomp
def test_an_encode_works_under_the_filter_for_an_old_landlock(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = replace(SUPPORT, landlock_abi=min(2, SUPPORT.landlock_abi))
    monkeypatch.setattr(rules_module, "support", lambda: old)
    source = ("-f", "lavfi", "-i", "testsrc=size=64x48:duration=0.2")

    for _ in range(2):  # the second time the output is there, to be opened with O_TRUNC
        ended = run(place, FFMPEG, "-v", "error", "-y", *source, "-c:v", "libvpx", "a.webm")
        assert (ended.returncode, ended.stderr) == (0, "")


@needs_seccomp
def test_ptrace_and_other_processes_memory_are_out_of_reach(place: Place) -> None:
    numbers = {"x86_64": (101, 310, 311, 312), "aarch64": (117, 270, 271, 272)}
    calls = numbers.get(os.uname().machine)
    if calls is None:
        pytest.skip("the numbers of ptrace and process_vm_readv are not known for this machine")
    refusals = confined(
        place.rules(),
        lambda: [errno_of(lambda n=n: kernel.syscall(n, os.getppid())) for n in calls],  # type: ignore[misc]
    )

    assert refusals == [errno.EPERM] * 4


@needs_seccomp
def test_the_machine_is_out_of_reach_even_for_root(place: Place) -> None:
    """Each call here does nothing as it is made, but without the filter it is not refused so."""
    numbers = {  # reboot, unshare, setns, bpf, perf_event_open
        "x86_64": (169, 272, 308, 321, 298),
        "aarch64": (142, 97, 268, 280, 241),
    }
    calls = numbers.get(os.uname().machine)
    if calls is None:
        pytest.skip("the numbers of these calls are not known for this machine")
    refusals = confined(
        place.rules(),
        lambda: [errno_of(lambda n=n: kernel.syscall(n, 0)) for n in calls],  # type: ignore[misc]
    )

    assert refusals == [errno.EPERM] * 5


def test_a_confined_child_gains_no_rights(place: Place) -> None:
    pr_get_no_new_privs = 39  # what exec hands down

    assert confined(place.rules(), lambda: kernel.prctl(pr_get_no_new_privs)) == 1


@needs_all
def test_confining_and_launching_a_child_costs_less_than_four_milliseconds(place: Place) -> None:
    """Processor time, ours and the child's: what else the machine does counts for nothing."""
    rules = place.rules(FFMPEG)
    allowed = replace(rules, execute=(*rules.execute, "/bin/true"))

    def seconds(before: Callable[[], object], *argv: str) -> float:
        def start() -> float:
            begin = time.thread_time()
            before()
            subprocess.run(argv, check=True)
            return time.thread_time() - begin

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(start).result()

    def each(before: Callable[[], object], *argv: str) -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = sum(seconds(before, *argv) for _ in range(50))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        theirs = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
        return (ours + theirs) / 50

    free = each(lambda: None, "/bin/true")
    full = each(
        lambda: confine(allowed),
        "setpriv", "--pdeathsig", "KILL", "--", "/bin/true",
    )  # fmt: skip
    print(f"confinement with setpriv: {(full - free) * 1000:.2f} ms a child")

    assert full - free < 0.004


def test_the_rest_of_the_process_stays_free(place: Place) -> None:
    is_confined, may_end = threading.Event(), threading.Event()

    def stay_confined() -> None:
        confine(place.rules())
        is_confined.set()
        may_end.wait(30)

    thread = threading.Thread(target=stay_confined)
    thread.start()
    try:
        assert is_confined.wait(30)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(place.neighbour.read_text).result() == "the neighbour"
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
        assert "root" in Path("/etc/passwd").read_text()
    finally:
        may_end.set()
        thread.join()


def test_priorities_arrive_in_the_child() -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as child:
        lower_priority(child.pid, nice=11, io_class="idle")
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        io_class = subprocess.run(
            ["ionice", "-p", str(child.pid)], capture_output=True, text=True, check=True
        ).stdout

    assert (int(fields[16]), io_class.strip()) == (11, "idle")


def test_a_child_of_a_nicer_daemon_is_not_made_less_nice() -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as child:
        os.setpriority(os.PRIO_PROCESS, child.pid, 15)
        lower_priority(child.pid, nice=10, io_class="none")

        assert os.getpriority(os.PRIO_PROCESS, child.pid) == 15


def test_the_daemon_can_still_signal_a_confined_child(place: Place) -> None:
    def start() -> subprocess.Popen[bytes]:
        confine(place.rules())
        return subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, start_new_session=True)

    with ThreadPoolExecutor(1) as pool, pool.submit(start).result() as child:
        os.killpg(child.pid, signal.SIGTERM)

        assert child.wait(10) == -signal.SIGTERM


def test_a_confined_child_dies_with_its_thread(place: Place) -> None:
    def start() -> subprocess.Popen[str]:
        confine(place.rules())
        child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", "/bin/cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        assert child.stdin
        assert child.stdout
        child.stdin.write("exec done\n")  # before setpriv's exec nothing would answer
        child.stdout.readline()
        return child

    with ThreadPoolExecutor(1) as pool:
        child = pool.submit(start).result()
    with child:
        assert child.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("ffmpeg", FFMPEGS, ids=lambda path: Path(path).name[:12])
@pytest.mark.parametrize(("codecs", "output"), CODECS)
def test_ffmpeg_encodes_under_confinement(
    place: Place, ffmpeg: str, codecs: list[str], output: str
) -> None:
    known = subprocess.run([ffmpeg, "-encoders"], capture_output=True, text=True, check=True).stdout
    if not all(encoder in known for encoder in (codecs[1], codecs[-1])):
        pytest.skip(f"this ffmpeg lacks {codecs[1]} or {codecs[-1]}")

    descriptor = os.open(CLIP, os.O_RDONLY)
    try:
        ended = run(
            replace(place, descriptor=descriptor),
            ffmpeg, "-v", "error", "-i", f"file:{CLIP}", "-t", "0.3", *codecs, output,
        )  # fmt: skip
    finally:
        os.close(descriptor)

    assert ended.returncode == 0, ended.stderr
    assert (place.work / output).stat().st_size > 1000


def test_drawing_text_finds_the_fonts(place: Place) -> None:
    drawing = "color=c=black:s=64x64:d=0.1,drawtext=text=a:font=Sans"
    argv = (FFMPEG, "-v", "error", "-f", "lavfi", "-i", drawing, "-c:v", "libvpx", "a.webm")
    free = subprocess.run([*argv, "-y"], cwd=place.outside, capture_output=True, check=False)
    if free.returncode:
        pytest.skip("this ffmpeg cannot draw text, or there are no fonts")

    assert run(place, *argv).returncode == 0


def test_a_shell_script_around_ffmpeg_works(place: Place, tmp_path: Path) -> None:
    script = f'#!/bin/sh\ncat /dev/null > started\nexec {FFMPEG} "$@"\n'
    wrapper = write_program(tmp_path / "programs" / "ffmpeg", script)
    drawing = ("-v", "error", "-f", "lavfi", "-i", "color=s=64x64:d=0.1", "-c:v", "libvpx")

    ended = run(place, wrapper, *drawing, "a.webm")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert sorted(path.name for path in place.work.iterdir()) == ["a.webm", "started"]


def test_a_script_finds_the_interpreter_that_it_names_and_its_library(
    place: Place, tmp_path: Path
) -> None:
    first_line = f"#!{sys.executable}"
    script = f"{first_line}\nimport json, sys, yaml\njson.dump(sys.argv[1:], open('said', 'w'))\n"
    target = write_program(tmp_path / "programs" / "fake-ffmpeg.py", script)
    (tmp_path / "ffmpeg").symlink_to(target)

    ended = run(place, str(tmp_path / "ffmpeg"), "-i", "a b")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert (place.work / "said").read_text() == '["-i", "a b"]'


@needs_landlock
def test_a_script_starts_what_it_names_by_absolute_path_and_nothing_else(
    place: Place, tmp_path: Path
) -> None:
    named = write_program(tmp_path / "named", "#!/bin/sh\necho named\n")
    write_program(tmp_path / "other", "#!/bin/sh\necho other\n")
    text = f'#!/usr/bin/env sh\n"{named}"; cd "{tmp_path}"; ./other\n'
    script = write_program(tmp_path / "ffmpeg", text)

    ended = run(place, script)

    assert ended.stdout == "named\n"
    assert "Permission denied" in ended.stderr


@needs_landlock
def test_a_compiled_ffmpeg_gets_no_shell(place: Place) -> None:
    ended = run(place, "/bin/sh", "-c", "exit 7", program=FFMPEG)

    assert ended.returncode not in {0, 7}


def test_an_ffmpeg_in_a_home_folder_does_not_open_that_home(tmp_path: Path) -> None:
    program = write_program(tmp_path / "bin" / "ffmpeg", "#!/bin/sh\n")
    (tmp_path / "secret").write_text("")
    (tmp_path / "lib").mkdir()

    ours = [path for path in system_reads(program) if path.startswith(str(tmp_path))]

    assert ours == [program, str(tmp_path / "lib")]


def test_a_work_folder_that_is_gone_is_trouble_and_not_a_free_child(place: Place) -> None:
    place.work.rmdir()

    with pytest.raises(EnvironmentTrouble, match="cannot be confined"):
        confined(place.rules(), lambda: None)


@needs_all
def test_every_escape_is_tried_and_refused(place: Place) -> None:
    tried = try_to_escape(place.rules())

    assert [escape.name for escape in tried] == ["read", "write", "truncate", "tcp", "udp"]
    assert [escape for escape in tried if not escape.refused] == []


def test_an_escape_that_works_is_told(place: Place) -> None:
    tried = try_to_escape(replace(place.rules(), write=("/",)))

    found = {escape.name: escape.refused for escape in tried}
    assert (found["read"], found["write"], found["truncate"]) == (False, False, False)


def test_require_is_content_where_nothing_is_missing_and_off_asks_for_nothing() -> None:
    if not SUPPORT.missing:
        assert ready(SandboxMode.REQUIRE) == ()
    assert ready(SandboxMode.AUTO) == SUPPORT.missing
    assert ready(SandboxMode.OFF) == ()


def test_the_setting_and_its_mode_have_the_same_words() -> None:
    assert [mode.value for mode in Sandbox] == [mode.value for mode in SandboxMode]


WITHOUT_LANDLOCK = """
import errno, sys
import pyseccomp
refusal = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
refusal.add_rule(pyseccomp.ERRNO(errno.ENOSYS), 444)
refusal.load()
"""
WITHOUT_SECCOMP = """
import sys
sys.modules["pyseccomp"] = None
"""
ASK = """
from watchconv.process.sandbox.rules import SandboxRules, confine
from watchconv.process.sandbox.support import ready, support
from watchconv.errors import ConfigError
confine(SandboxRules((), (), ()))
print(len(ready("auto")), *ready("auto"))
try:
    ready("require")
except ConfigError as refusal:
    print(refusal)
"""


@needs_all
@pytest.mark.parametrize(
    ("lack", "said"),
    [
        (WITHOUT_LANDLOCK, "No Landlock: this kernel is older"),
        (WITHOUT_SECCOMP, "pip install pyseccomp"),
    ],
    ids=["Landlock", "seccomp"],
)
def test_what_is_missing_degrades_auto_and_stops_require(lack: str, said: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", lack + ASK], capture_output=True, text=True, check=True
    ).stdout.splitlines()

    assert answer[0].startswith("1 No ")
    assert said in answer[0]
    assert "does not start" in answer[1]


WORKER = """
import errno, os, socket, sys, threading
import av, av.subtitles.stream  # loaded by av.open, too late for us
from watchconv.process.sandbox.rules import confine_to_nothing

line = socket.socket(fileno=int(sys.argv[1]))
secret = sys.argv[2]
missing = confine_to_nothing()

def refused(act):
    try:
        act()
    except PermissionError:
        return True
    return False

acts = {
    "read": lambda: open(secret),
    "write": lambda: open(secret + ".new", "w"),
    "remove": lambda: os.unlink(secret),
    "list": lambda: os.listdir("/"),
    "mode": lambda: os.chmod(secret, 0),
    "times": lambda: os.utime(secret),
    "inet": lambda: socket.socket(socket.AF_INET),
    "unix": lambda: socket.socket(socket.AF_UNIX),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "fork": lambda: os.fork() or os._exit(1),
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "signal": lambda: os.kill(os.getppid(), 0),
}
allowed = [name for name, act in acts.items() if not refused(act)]
_, descriptors, _, _ = socket.recv_fds(line, 1, 1)
with open(descriptors[0], "rb") as file, av.open(file) as clip:
    clip.streams.video[0].thread_type = "AUTO"
    clip.streams.video[0].codec_context.thread_count = 4
    frames = sum(1 for _ in clip.decode(video=0))
started = []
thread = threading.Thread(target=started.append, args=(1,))
thread.start()
thread.join()
line.send(repr((missing, allowed, frames, started)).encode())
"""


@needs_all
@pytest.mark.parametrize("name", ["media-sample.flv", "bear-vp9-odd-dimensions.webm"])
def test_the_probe_worker_may_touch_nothing_and_still_decodes_with_threads(
    tmp_path: Path, name: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("")
    ours, theirs = socket.socketpair()
    with ours, theirs, (MEDIA / name).open("rb") as clip:
        argv = [sys.executable, "-c", WORKER, str(theirs.fileno()), str(secret)]
        with subprocess.Popen(argv, pass_fds=[theirs.fileno()]) as worker:
            theirs.close()
            ours.settimeout(30)
            socket.send_fds(ours, [b"x"], [clip.fileno()])
            answer = ours.recv(4096).decode()
        assert worker.returncode == 0

    assert answer == repr(((), [], 30, [1]))


@needs_seccomp
def test_a_worker_without_landlock_says_so_and_still_opens_nothing() -> None:
    asked = (
        "from watchconv.process.sandbox.rules import confine_to_nothing\n"
        "print(confine_to_nothing())\n"
        "try:\n    open('/etc/hostname')\nexcept PermissionError:\n    print('refused')\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", WITHOUT_LANDLOCK + asked], capture_output=True, text=True, check=True
    ).stdout.splitlines()

    assert answer == [
        "('Landlock does not confine the probe worker: the kernel has none.',)",
        "refused",
    ]

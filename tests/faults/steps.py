"""Every step that a program takes on files, stopped before it is taken: counted, killed, refused.

Run as a program, this is watchconv that asks a watcher before each step (the calls in ``CALLS``),
through seccomp's user notification: the kernel holds the thread that made the call until the
watcher has answered. ``Seen`` is the watcher: it lets the call pass, has it fail with an error,
or kills the program before the call has done anything. What the program's children do passes.

Why not ``strace -e inject=…:when=N``: it counts for each thread and each call by itself, so where
two threads make the same call, the one that is first is hit every time and the other one never;
its -P knows whole paths and no folders. Here a step has a name of its own: thread, call, paths,
and the how many-eth of these it is. So each can be chosen, and it shows whether it was hit.

So that a test does not wait for minutes, the program that is seen retries after parts of a
second instead of up to a minute, and copies in small pieces. All else of it is as it is.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# A call's arguments: d a folder's descriptor and the p of a path, f a file's descriptor, . neither.
CALLS = {
    "open": "p", "openat": "dp", "creat": "p", "mkdir": "p", "mkdirat": "dp",
    "rename": "pp", "renameat": "dpdp", "renameat2": "dpdp", "link": "pp", "linkat": "dpdp",
    "symlink": ".p", "symlinkat": ".dp", "unlink": "p", "unlinkat": "dp", "rmdir": "p",
    "write": "f", "pwrite64": "f", "writev": "f", "pwritev": "f", "sendfile": "f",
    "copy_file_range": "..f", "truncate": "p", "ftruncate": "f", "fallocate": "f",
    "fsync": "f", "fdatasync": "f", "chmod": "p", "fchmod": "f", "fchmodat": "dp",
    "chown": "p", "lchown": "p", "fchown": "f", "fchownat": "dp", "utimensat": "dp",
}  # fmt: skip
OPENS = {"open": 1, "openat": 2}  # and where their flags are
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
HELD = re.compile(r"^/proc/self/fd/(\d+)")  # a folder that the program keeps open
LOOKS = "open to read"  # the name of a step that changes nothing

_NOTIFY, _ALLOW = 0x7FC00000, 0x7FFF0000  # SCMP_ACT_…
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_…
_CONTINUE = 1
_QUESTION = struct.Struct("QIIiIQ6Q")  # id, thread, flags, call, architecture, where, arguments
_ANSWER = struct.Struct("QqiI")  # id, value, error, flags
_AT_FDCWD = 0xFFFFFF9C
_IDLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Step:
    """One step. The paths begin with the name that their folder was given."""

    thread: str
    call: str
    paths: tuple[str, ...]
    number: int = 1  # among those that are equal but for this

    @property
    def changes(self) -> bool:
        return self.call != LOOKS

    @property
    def folder(self) -> str:
        """Name the folder that counts, of its first path that lies in one."""
        return next(filter(None, self.paths)).partition("/")[0]

    def __str__(self) -> str:
        return f"{self.thread:8} {self.call} {' → '.join(self.paths)} #{self.number}"


Answer = int | signal.Signals | None  # let it fail with this errno; kill the program; let it pass


class Seen:
    """A watchconv whose every step is asked for before it is taken.

    folders: what counts, by its path; the name that it is given stands in the steps.
    """

    def __init__(
        self,
        words: Sequence[str],
        folders: Mapping[Path, str],
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        """Start it; it waits for ``watch`` as soon as it wants to do anything."""
        self._folders = {str(path): name for path, name in folders.items()}
        self.steps: list[Step] = []
        self._counts: Counter[tuple[str, str, tuple[str, ...]]] = Counter()
        ours, theirs = socket.socketpair()
        with ours, theirs, log.open("ab") as said:
            argv = [sys.executable, "-W", "error", "-m", __name__, str(theirs.fileno()), *words]
            self.process = subprocess.Popen(
                argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=[theirs.fileno()],
            )
            theirs.close()
            _, found, _, _ = socket.recv_fds(ours, 1, 1)
        assert found, f"the program did not begin\n{log.read_text()}"
        self._listener = found[0]

    def watch(
        self,
        decide: Callable[[Step], Answer],
        seconds: float,
        idle: Callable[[], None] = lambda: None,
    ) -> int:
        """Answer until the program and all that it started are gone; return its exit code.

        decide is asked before each step, idle is called from time to time.
        """
        deadline, next_idle = time.monotonic() + seconds, 0.0
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        try:
            while True:
                events = poll.poll(_IDLE_SECONDS * 1000)
                now = time.monotonic()
                if events and events[0][1] & select.POLLIN:
                    self._answer(decide)
                elif events and self.process.poll() is not None:
                    return self.process.returncode  # nobody is left who could ask
                if now >= next_idle and self.process.poll() is None:
                    idle()
                    next_idle = now + _IDLE_SECONDS
                assert now < deadline, f"it does not end, or leaves a child: {self.steps[-5:]}"
        finally:
            os.close(self._listener)  # without anybody to ask, all calls fail
            self.process.kill()
            self.process.wait()

    def _answer(self, decide: Callable[[Step], Answer]) -> None:
        question = bytearray(_QUESTION.size)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, question)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return  # who asked is gone
            raise
        asked, thread, _, call, _, _, *arguments = _QUESTION.unpack(question)
        answer = None
        if os.path.exists(f"/proc/{self.process.pid}/task/{thread}"):
            try:
                step = self._step(thread, _names()[call], arguments)
            except (FileNotFoundError, ProcessLookupError):
                step = None  # it dies meanwhile
            answer = decide(step) if step else None
        if isinstance(answer, signal.Signals):
            self.process.send_signal(answer)
            return
        refused = (-answer, 0) if answer else (0, _CONTINUE)
        with suppress(FileNotFoundError):
            fcntl.ioctl(self._listener, _SEND, _ANSWER.pack(asked, 0, *refused))

    def _step(self, thread: int, call: str, arguments: Sequence[int]) -> Step | None:
        """Give the step that a call is; None when it is none on the folders that count."""
        paths = tuple(map(self._short, _paths(thread, CALLS[call], arguments)))
        if not any(paths):
            return None
        if call in OPENS:
            call = "open" if arguments[OPENS[call]] & CHANGES else LOOKS
        name = Path(f"/proc/{thread}/comm").read_text().strip()
        key = (name, call, paths)
        self._counts[key] += 1
        step = Step(*key, self._counts[key])
        self.steps.append(step)
        return step

    def _short(self, path: str) -> str:
        """Give the path below the folder that counts; nothing for one that is not in any."""
        for folder, name in self._folders.items():
            if path == folder or path.startswith(f"{folder}/"):
                return name + path.removeprefix(folder)
        return ""


def _paths(thread: int, shape: str, arguments: Sequence[int]) -> list[str]:
    """Read the paths that a call names."""
    found = []
    base = f"/proc/{thread}/cwd"
    for kind, value in zip(shape, arguments, strict=False):
        descriptor = value & 0xFFFFFFFF
        if kind == "d":
            at_cwd = descriptor == _AT_FDCWD
            base = f"/proc/{thread}/" + ("cwd" if at_cwd else f"fd/{descriptor}")
        elif kind == "p":
            path = os.path.join(os.readlink(base), _text(thread, value)).rstrip("/")
            found.append(HELD.sub(lambda m: _target(f"/proc/{thread}/fd/{m[1]}"), path))
        elif kind == "f":
            found.append(_target(f"/proc/{thread}/fd/{descriptor}"))
    return found


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""  # a descriptor that is not open


def _text(thread: int, address: int) -> str:
    """Read a string from a thread's memory; a null pointer means the descriptor itself."""
    if not address:
        return ""
    memory = os.open(f"/proc/{thread}/mem", os.O_RDONLY)
    try:
        text = b""
        while b"\0" not in text:
            at = address + len(text)
            piece = os.pread(memory, 4096 - at % 4096, at)  # the next page may not be there
            if not piece:
                raise ProcessLookupError("it has died: a zombie has no memory")
            text += piece
    finally:
        os.close(memory)
    return os.fsdecode(text.split(b"\0", 1)[0])


@cache
def _libseccomp() -> ctypes.CDLL:
    """Load it. Raises OSError where it is missing."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    for call in (library.seccomp_load, library.seccomp_notify_fd):
        call.argtypes = [ctypes.c_void_p]
    rule: list[Any] = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint]
    library.seccomp_rule_add_array.argtypes = [*rule, ctypes.c_void_p]
    return library


@cache
def _names() -> dict[int, str]:
    """Name the calls of this machine by their numbers; not every machine has all of them."""
    resolve = _libseccomp().seccomp_syscall_resolve_name
    return {number: name for name in CALLS if (number := resolve(name.encode())) >= 0}


def _ask_before_each_step() -> int:
    """Put this process under the filter; return what the watcher listens on."""
    library = _libseccomp()
    rules = library.seccomp_init(ctypes.c_uint32(_ALLOW))
    for number in _names():
        assert library.seccomp_rule_add_array(rules, _NOTIFY, number, 0, None) == 0
    code = library.seccomp_load(rules)
    assert code == 0, os.strerror(-code)
    return int(library.seccomp_notify_fd(rules))


def _name_threads() -> None:
    """Let the kernel know the names of Python's threads, without their numbers."""
    run = threading.Thread.run

    def named(thread: threading.Thread) -> None:
        Path("/proc/thread-self/comm").write_text(thread.name.split("_")[0])
        run(thread)

    threading.Thread.run = named  # type: ignore[assignment, method-assign]
    Path("/proc/thread-self/comm").write_text("main")


def hurry() -> None:
    """Shorten every wait for better times."""
    from watchconv import policy
    from watchconv.daemon import control, deliveries, dispatcher, maintenance, scan_loop, worker
    from watchconv.deliver import move
    from watchconv.encode import engine
    from watchconv.journal import jobs

    waits = {
        control: ["RETRY_SECONDS"],
        deliveries: ["RETRY_SECONDS", "JOURNAL_SECONDS"],
        scan_loop: ["TROUBLE_SECONDS", "UNREAD_SECONDS"],
        dispatcher: ["JOURNAL_SECONDS", "SPACE_SECONDS"],
        worker: ["TROUBLE_SECONDS", "UNMOUNTED_SECONDS"],
        maintenance: ["RETRY_SECONDS"],
        engine: ["LATER_SECONDS"],
        jobs: ["BACKOFF_LIMIT_SECONDS"],
        policy: ["BACKOFF_LIMIT_SECONDS"],
    }
    for room, names in waits.items():
        for name in names:
            assert hasattr(room, name), name
            setattr(room, name, 0.2)
    assert move._COPY_BYTES
    move._COPY_BYTES = 4096  # so that a copy of a small clip takes several


@cache
def why_unseen() -> str:
    """Say why this machine lets no program be seen; nothing if it does."""
    argv = [sys.executable, "-m", __name__, "try"]
    tried = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    words = (tried.stderr or f"exit status {tried.returncode}").splitlines()
    return f"no seccomp user notification: {words[-1]}" if tried.returncode else ""


def main() -> None:
    """Run watchconv, seen. The first word is the socket that the listener is sent over."""
    if sys.argv[1] == "try":
        os.close(_ask_before_each_step())
        os._exit(0)
    from watchconv.__main__ import main as watchconv
    from watchconv.commands import run

    assert run
    channel = socket.socket(fileno=int(sys.argv.pop(1)))
    _name_threads()
    hurry()
    listener = _ask_before_each_step()
    # not the write() of a step: that would wait for a watcher who waits for this
    socket.send_fds(channel, [b"!"], [listener])
    os.close(listener)
    channel.close()
    watchconv()


if __name__ == "__main__":
    main()

"""How a child is started, and how one that an earlier daemon left behind is found and ended.

A child has a session of its own and nothing of ours open but its standard streams; with setpriv the
kernel kills it when the thread that started it ends. From its first instruction on it carries the
tag of its state directory in its environment, so no crash leaves one that is not found, unless it
replaced its own environment. A process is killed only while it carries the tag, never by its number
alone; one of somebody else cannot be looked into and is left alone.
"""

from __future__ import annotations

import functools
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL
from typing import TYPE_CHECKING

from watchconv.process.sandbox import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OWNER_VARIABLE = "WATCHCONV_CHILD"
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "TZ", "FONTCONFIG_FILE", "FONTCONFIG_PATH")
KEPT_PREFIXES = ("LIBVA_", "CUDA_", "NVIDIA_", "VK_", "OCL_")  # which GPU, which driver

IO_CLASSES = {"none": None, "best-effort": 2 << 13 | 7, "idle": 3 << 13}  # each at its lowest
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "loongarch64": 30, "ppc64le": 273}
_IOPRIO_SET |= {"s390x": 282}
_WHO_PROCESS = 1
ORPHANS_WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits of a child; 0 leaves one as it is. Core files are always off."""

    address_space_bytes: int = 0
    memory_bytes: int = 0  # in use, of the child and all that it starts
    file_size_bytes: int = 0
    open_files: int = 1024
    nice: int = 0
    io_class: str = "none"  # one of IO_CLASSES


def environment(owner_tag: str, work: str) -> dict[str, str]:
    """Return a child's environment: a few variables of ours, and none of our secrets.

    By ``owner_tag``, the state directory, the next start recognises orphans. ``work`` is where the
    child may write, if anywhere: its home and its temporary files are there.
    """
    told = {"HOME": work, "TMPDIR": work, "LANG": "C.UTF-8", OWNER_VARIABLE: owner_tag}
    ours = os.environ.items()
    return told | {k: v for k, v in ours if k in KEPT_VARIABLES or k.startswith(KEPT_PREFIXES)}


@functools.cache
def launcher() -> tuple[str, ...]:
    """Return what stands before a child's argv so that the kernel kills it when its thread ends.

    Nothing where setpriv is missing or too small (BusyBox): then a child may outlive a daemon that
    is killed, until ``end_orphans`` finds it at the next start.
    """
    if found := shutil.which("setpriv"):
        prefix = (found, "--pdeathsig", "KILL", "--")
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run([*prefix, found, "-V"], capture_output=True, check=True, timeout=10)
            return prefix
    return ()


def spawn(
    argv: Sequence[str], cwd: str, env: Mapping[str, str], stdin: int, output: int = DEVNULL
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own; the caller is to reap it by its pid.

    ``output`` may be PIPE: one each for standard output and error, unbuffered.
    """
    process = subprocess.Popen(
        argv, 0, None, stdin, output, output, cwd=cwd, env=env, start_new_session=True
    )
    process.returncode = 0  # the caller reaps; Popen must neither wait nor complain
    return process


def open_end(pid: int, stack: ExitStack) -> int:
    """Open a descriptor that becomes readable when the child has ended, before it is reaped."""
    if (pidfd := open_pidfd(pid, stack)) is not None:
        return pidfd
    end, other = os.pipe()
    stack.callback(os.close, end)

    def close_at_end() -> None:
        """Wait for the child without reaping it."""
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        os.close(other)

    threading.Thread(target=close_at_end, daemon=True).start()
    return end


def open_pidfd(pid: int, stack: ExitStack) -> int | None:
    """Open a pidfd; None where the kernel, its filters or this Python's build have none."""
    try:
        pidfd = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
    stack.callback(os.close, pidfd)
    return pidfd


def limit(pid: int, limits: Limits) -> None:
    """Set the limits and the priority of a process that has just begun.

    The priority is not set on the starting thread, to be inherited: that thread goes on reading
    what the child writes, holding Python's lock, and must not wait behind it for a processor.
    """
    lower_priority(pid, nice=limits.nice, io_class=limits.io_class)
    for kind, number in (
        (resource.RLIMIT_AS, limits.address_space_bytes),
        (resource.RLIMIT_FSIZE, limits.file_size_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        if number or kind == resource.RLIMIT_CORE:
            hard = resource.getrlimit(kind)[1]
            value = number if hard == resource.RLIM_INFINITY else min(number, hard)
            with suppress(ProcessLookupError):
                resource.prlimit(pid, kind, (value, value))


def lower_priority(pid: int, *, nice: int, io_class: str) -> None:
    """Give a process that has no threads yet a niceness (absolute, -20..19) and an I/O class.

    The niceness is never made better: a daemon that runs nicer than asked stays so. The class stays
    as it is where the kernel has none, or we do not know the architecture.
    """
    with suppress(ProcessLookupError):
        if nice > os.getpriority(os.PRIO_PROCESS, pid):
            os.setpriority(os.PRIO_PROCESS, pid, nice)
    number = _IOPRIO_SET.get(platform.machine()) if sys.maxsize > 1 << 32 else None
    value = IO_CLASSES[io_class]
    if value is not None and number is not None:
        with suppress(OSError):
            kernel.syscall(number, _WHO_PROCESS, pid, value)


def find_orphans(owner_tag: str) -> list[int]:
    """List the processes that carry the tag: before the first child, those of a dead daemon."""
    return [int(n) for n in os.listdir("/proc") if n.isdigit() and _carries(int(n), owner_tag)]


def end_orphans(owner_tag: str) -> int:
    """Kill every process that carries the tag, wait until they are gone, and count them.

    Waits at most ``ORPHANS_WAIT_SECONDS``; ``find_orphans`` then names those that would not go.
    """
    seen: set[int] = set()
    deadline = time.monotonic() + ORPHANS_WAIT_SECONDS
    while (found := find_orphans(owner_tag)) and time.monotonic() < deadline:
        for pid in found:
            with ExitStack() as stack, suppress(ProcessLookupError, PermissionError):
                pidfd = open_pidfd(pid, stack)
                # Looked at again now that the number cannot come to mean another process.
                if not _carries(pid, owner_tag):
                    continue
                if pidfd is None:
                    os.kill(pid, signal.SIGKILL)
                else:
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        seen.update(found)
        time.sleep(0.01)
    return len(seen.difference(found))


def _carries(pid: int, owner_tag: str) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone, or not ours
        return False
    tag = os.fsencode(f"{OWNER_VARIABLE}={owner_tag}")
    return tag in environ.split(b"\0") and pid != os.getpid()

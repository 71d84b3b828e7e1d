"""How a child is started: its launcher, its environment, its pipes, its limits.

Guarantees: the child has a session of its own and nothing of ours open but its standard streams;
with setpriv the kernel kills it when the thread that started it ends.
Does not wait for it: ``process`` does. Errors: ``OSError`` when it cannot be started.
"""

from __future__ import annotations

import functools
import os
import resource
import shutil
import subprocess
import threading
from contextlib import ExitStack, suppress
from io import FileIO
from typing import TYPE_CHECKING

from watchconv.process.priority import lower_priority

if TYPE_CHECKING:
    from collections.abc import Mapping

    from watchconv.process.command import Command, Limits

MARK = "WATCHCONV_CHILD"
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "TZ", "FONTCONFIG_FILE", "FONTCONFIG_PATH")
KEPT_PREFIXES = ("LIBVA_", "CUDA_", "NVIDIA_", "VK_", "OCL_")  # which GPU, which driver


def environment(mark: str, work: str) -> dict[str, str]:
    """Make a child's environment: a few variables of ours, and none of our secrets.

    ``mark`` names the state directory; by it the next start recognises leftovers. ``work`` is
    where the child may write, if anywhere: its home and its temporary files are there.
    """
    return _kept() | {"HOME": work, "TMPDIR": work, "LANG": "C.UTF-8", MARK: mark}


@functools.cache  # ours does not change while we live
def _kept() -> dict[str, str]:
    return keep(os.environ)


def keep(source: Mapping[str, str]) -> dict[str, str]:
    """Choose what a child is told of an environment."""
    return {k: v for k, v in source.items() if k in KEPT_VARIABLES or k.startswith(KEPT_PREFIXES)}


@functools.cache
def launcher() -> tuple[str, ...]:
    """Give what stands before a child's argv so that the kernel kills it when its thread dies.

    Empty where setpriv is missing or too small (BusyBox): then a child may outlive a daemon that
    is killed, until ``end_orphans`` finds it at the next start.
    """
    if found := shutil.which("setpriv"):
        prefix = (found, "--pdeathsig", "KILL", "--")
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run([*prefix, found, "-V"], capture_output=True, check=True, timeout=10)
            return prefix
    return ()


def open_end(pid: int, stack: ExitStack) -> int:
    """Open a descriptor that becomes readable when the child has ended, before it is reaped."""
    if (pidfd := open_pidfd(pid, stack)) is not None:
        return pidfd
    end, other = os.pipe()
    stack.callback(os.close, end)
    threading.Thread(target=_close_at_end, args=(other, pid), daemon=True).start()
    return end


def open_pidfd(pid: int, stack: ExitStack) -> int | None:
    """Open a pidfd; None where the kernel, its filters or this Python's build have none."""
    try:
        pidfd = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
    stack.callback(os.close, pidfd)
    return pidfd


def _close_at_end(fd: int, pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    os.close(fd)


def open_pipe(stack: ExitStack) -> tuple[FileIO, FileIO]:
    """Open a pipe: our end, which does not block, and the child's."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    return stack.enter_context(FileIO(ours)), stack.enter_context(FileIO(theirs, "w"))


def spawn(prefix: tuple[str, ...], command: Command, null: FileIO, out: FileIO, err: FileIO) -> int:
    """Start a command in a session of its own and give its pid; the caller reaps it."""
    process = subprocess.Popen(
        [*prefix, *command.argv],
        cwd=command.cwd,
        env=command.env,
        stdin=null,
        stdout=out,
        stderr=err,
        start_new_session=True,
    )
    process.returncode = 0  # we reap; Popen must neither wait nor complain
    return process.pid


def limit(pid: int, limits: Limits) -> None:
    """Set the limits of a process that has just begun.

    Its priority too, and not the starting thread's before: that one goes on reading what the
    child says, holding Python's lock, and must not wait behind the children for a processor.
    """
    lower_priority(pid, nice=limits.nice, io_class=limits.io_class)
    wanted = (
        (resource.RLIMIT_AS, limits.address_space_bytes),
        (resource.RLIMIT_FSIZE, limits.file_size_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, number in wanted:
        if number or kind == resource.RLIMIT_CORE:
            hard = resource.getrlimit(kind)[1]
            value = number if hard == resource.RLIM_INFINITY else min(number, hard)
            with suppress(ProcessLookupError):
                resource.prlimit(pid, kind, (value, value))

"""seccomp: refuse the system calls that Landlock has no word for.

A filter is compiled once by libseccomp (through pyseccomp) and is then plain bytes that each thread
installs for itself. A refused call fails with EPERM, never kills. pyseccomp is loaded when a filter
is first asked for: its import starts two processes to find libseccomp (about 15 ms).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import socket
from typing import Any

from watchconv.process.sandbox import kernel

_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_INSTRUCTION_BYTES = 8
_CLONE_THREAD = 0x10000

# By number where libseccomp may be older than the call; these are equal on every architecture.
_CLONE3, _OPENAT2, _PIDFD_GETFD, _FCHMODAT2 = 435, 437, 438, 452
_SETXATTRAT, _REMOVEXATTRAT, _FILE_SETATTR = 463, 466, 469
_IO_URING = (425, 426, 427)

# io_uring does the same work past any filter; the others look into other processes.
_SPYING = (*_IO_URING, "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", _PIDFD_GETFD)
# Landlock leaves these alone on every file that the user owns.
_METADATA = (
    "chmod", "fchmodat", _FCHMODAT2, "chown", "lchown", "fchownat", "utime", "utimes", "futimesat",
    "setxattr", "lsetxattr", "removexattr", "lremovexattr",
    _SETXATTRAT, _REMOVEXATTRAT, _FILE_SETATTR,
)  # fmt: skip
# What root may do to the whole machine, and no file is involved.
_MACHINE = (
    "init_module", "finit_module", "delete_module", "kexec_load", "reboot", "swapon", "swapoff",
    "mount", "umount2", "pivot_root", "unshare", "setns", "bpf", "perf_event_open", "keyctl",
    "add_key", "request_key", "settimeofday", "clock_settime", "sethostname", "setdomainname",
    "acct", "quotactl",
)  # fmt: skip
_PATHS = (
    "open", "openat", _OPENAT2, "creat", "open_by_handle_at", "truncate", "mkdir", "mkdirat",
    "mknod", "mknodat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2",
    "link", "linkat", "symlink", "symlinkat", "chroot",
)  # fmt: skip
_SOCKETS = ("socket", "socketpair", "socketcall", "connect", "bind", "listen")
_PROCESSES = ("execve", "execveat", "fork", "vfork")
_SIGNALS = ("kill", "tkill", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo")


class FilterMissing(Exception):  # noqa: N818 (a state of affairs, caught by ``support``)
    """There is no seccomp filter on this machine; its sentence says why."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def install(instructions: bytes) -> None:
    """Put the calling thread, and what it starts, under a compiled filter. Irrevocable.

    Needs ``kernel.forbid_new_privileges`` before.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    program = _Program(len(instructions) // _INSTRUCTION_BYTES, ctypes.addressof(code))
    kernel.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(program))


@functools.cache
def child_filter(landlock_abi: int) -> bytes:
    """Compile what ffmpeg is refused; more of it where Landlock is too old for truncation.

    UNIX sockets can be made (pairs are how programs talk to themselves) but not connected: the
    message bus or a container engine behind one would do anything for us.
    """
    rules = _Rules()
    where, is_not, masked = rules.conditions
    rules.refuse("socket", where(0, is_not, socket.AF_UNIX))
    for call in ("socketcall", "connect", *_SPYING, *_METADATA, *_MACHINE):
        rules.refuse(call)
    rules.refuse("utimensat", where(1, is_not, 0))  # 0: the times of an open descriptor
    if landlock_abi < 3:  # cutting needs no right to write there: refuse it, also as open does it
        cutting = os.O_ACCMODE | os.O_TRUNC
        rules.refuse("truncate")
        rules.refuse("open", where(1, masked, cutting, os.O_TRUNC))
        rules.refuse("openat", where(2, masked, cutting, os.O_TRUNC))
        rules.refuse(_OPENAT2, error=errno.ENOSYS)
    return rules.compiled()


def worker_filter() -> bytes:
    """Compile what the probe worker is refused, for the calling process and no other."""
    rules = _Rules()
    where, is_not, masked = rules.conditions
    for call in (*_SOCKETS, *_PROCESSES, *_SPYING, *_METADATA, *_MACHINE, *_PATHS, *_SIGNALS):
        rules.refuse(call)
    rules.refuse("utimensat")
    rules.refuse("tgkill", where(0, is_not, os.getpid()))  # abort() is one to ourselves
    # Threads only. Flags behind a pointer cannot be judged: the C library then falls back to clone.
    rules.refuse(_CLONE3, error=errno.ENOSYS)
    flags = 1 if platform.machine().startswith("s390") else 0
    rules.refuse("clone", where(flags, masked, _CLONE_THREAD, 0))
    return rules.compiled()


class _Rules:
    """libseccomp's builder: everything is allowed but what is refused."""

    def __init__(self) -> None:
        try:
            import pyseccomp
        except ImportError as why:
            raise FilterMissing("pyseccomp is not installed; pip install pyseccomp") from why
        except (RuntimeError, OSError, AttributeError) as why:
            raise FilterMissing(
                f"libseccomp cannot be loaded ({why}); install it (Debian: libseccomp2)"
            ) from why
        self._library: Any = pyseccomp
        self._filter = self._library.SyscallFilter(self._library.ALLOW)
        # what is said of an argument (counted from 0): it is not a value, it is one under a mask
        self.conditions = self._library.Arg, self._library.NE, self._library.MASKED_EQ

    def refuse(self, call: str | int, *conditions: Any, error: int = errno.EPERM) -> None:
        """Refuse a call where all conditions hold; without any, always. Raises FilterMissing."""
        try:
            self._filter.add_rule(self._library.ERRNO(error), call, *conditions)
        except (OSError, ValueError) as why:
            raise FilterMissing(f"this libseccomp cannot refuse the call {call} ({why})") from why

    def compiled(self) -> bytes:
        """Return the program that the kernel loads."""
        with os.fdopen(os.memfd_create("seccomp"), "w+b") as file:
            self._filter.export_bpf(file)
            file.seek(0)
            return file.read()

"""The kernel's doors that Python does not have: syscall and prctl.

A failing call raises OSError with its errno (ENOSYS where the kernel is too old), as Python's own
calls do. Everything here acts on the calling thread alone.
"""

from __future__ import annotations

import ctypes
import os
import signal

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.argtypes = [ctypes.c_long] * 5
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def syscall(number: int, *arguments: int) -> int:
    """Make a system call of at most four arguments; pointers are addresses."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return _checked(int(_libc.syscall(number, *padded)))


def prctl(option: int, *arguments: int) -> int:
    """Make a prctl call, its unused arguments zero as the kernel wants them."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return _checked(int(_libc.prctl(option, *padded)))


def forbid_new_privileges() -> None:
    """Let no later exec gain rights (setuid programs, file capabilities); repeatable."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

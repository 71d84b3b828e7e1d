"""The kernel's doors that Python does not have: syscall, prctl and Landlock.

A failing call raises OSError with its errno (ENOSYS where the kernel is too old). Everything here
acts on the calling thread alone.

Landlock takes every right to files away that its ABI knows; a rule gives some back for one file or
for all below one folder, by inode, not by name. From ABI 4 TCP is refused, from ABI 6 also signals
to, and abstract sockets of, everything outside. Truncation below ABI 3, UDP at any, and modes,
owners and times of files are beyond it: see ``seccomp``.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import stat
import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.argtypes = [ctypes.c_long] * 5
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << n for n in range(6))
_MAKE_DIR, _MAKE_FILE = 1 << 7, 1 << 8
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE

READ = _READ_FILE | _READ_DIR
EXECUTE = READ | _EXECUTE
DEVICE = READ | _WRITE_FILE | _IOCTL_DEVICE
# No links, pipes or sockets: whoever delivers the output must not be led astray by one.
WRITE = (
    READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_FILE | _REFER | _TRUNCATE
)

_TCP = 0b11  # bind, connect
_SCOPES = 0b11  # abstract UNIX sockets, signals


def _call(function: Callable[..., int], *arguments: int) -> int:
    """Call with a number and at most four arguments, the unused ones 0; a pointer is an address."""
    result = int(function(*(*arguments, 0, 0, 0, 0)[:5]))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


syscall = functools.partial(_call, _libc.syscall)
prctl = functools.partial(_call, _libc.prctl)
# Let no later exec gain rights (setuid programs, file capabilities); repeatable.
forbid_new_privileges = functools.partial(prctl, _PR_SET_NO_NEW_PRIVS, 1)
# Have the kernel kill this process when the thread that started it ends.
die_with_parent = functools.partial(prctl, _PR_SET_PDEATHSIG, signal.SIGKILL)
# Return the kernel's version of Landlock, 1 or more; OSError says why there is none.
landlock_abi = functools.partial(syscall, _CREATE_RULESET, 0, 0, _VERSION_FLAG)


def landlock(rules: Iterable[tuple[int | str, int]], abi: int) -> None:
    """Take every right to files from the calling thread but those of the rules. Irrevocable.

    A rule is a path or a descriptor, and the rights to it that stay; rights that this ABI does not
    know, or that a plain file cannot have, are left out by themselves. A path that is not there is
    passed over, but not one to be written to. Needs ``forbid_new_privileges`` before.
    """
    handled = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1
    tcp, scopes = _TCP if abi >= 4 else 0, _SCOPES if abi >= 6 else 0
    attributes = ctypes.create_string_buffer(struct.pack("=QQQ", handled, tcp, scopes), 24)
    with ExitStack() as opened:
        ruleset = syscall(_CREATE_RULESET, ctypes.addressof(attributes), 24, 0)
        opened.callback(os.close, ruleset)
        for place, rights in rules:
            if isinstance(place, int):
                descriptor = place
            else:
                try:
                    descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
                except (FileNotFoundError, PermissionError, NotADirectoryError):
                    if rights == WRITE:
                        raise
                    continue
                opened.callback(os.close, descriptor)
            is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            known = rights & handled & (handled if is_folder else _FILE_RIGHTS)
            rule = ctypes.create_string_buffer(struct.pack("=Qi", known, descriptor), 12)
            syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.addressof(rule), 0)
        syscall(_RESTRICT_SELF, ruleset, 0)

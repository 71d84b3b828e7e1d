"""Landlock: the calling thread keeps only the rights to files that its rules name.

Every right that this kernel's ABI knows is taken away; a rule gives some back for one file or
for all below one folder, by inode, not by name. From ABI 4 TCP is refused, from ABI 6 also
signals to, and abstract sockets of, everything outside. Truncation below ABI 3, UDP at any, and
modes, owners and times of files are beyond it: see ``seccomp``. OSError comes as the kernel gives
it.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from typing import TYPE_CHECKING

from watchconv.process.sandbox import kernel

if TYPE_CHECKING:
    from collections.abc import Iterable

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


def abi() -> int:
    """Return the kernel's version of Landlock, 1 or more; OSError says why there is none."""
    return kernel.syscall(_CREATE_RULESET, 0, 0, _VERSION_FLAG)


def restrict(rules: Iterable[tuple[int, int]]) -> None:
    """Take every right from the calling thread but (descriptor, rights) as the rules say.

    Irrevocable; needs ``kernel.forbid_new_privileges`` before. Rights that this kernel does
    not know, or that a plain file cannot have, are left out by themselves.
    """
    version = abi()
    handled = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    tcp, scopes = _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0
    attributes = ctypes.create_string_buffer(struct.pack("=QQQ", handled, tcp, scopes), 24)
    ruleset = kernel.syscall(_CREATE_RULESET, ctypes.addressof(attributes), 24, 0)
    try:
        for descriptor, rights in rules:
            is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            known = rights & handled & (handled if is_folder else _FILE_RIGHTS)
            rule = ctypes.create_string_buffer(struct.pack("=Qi", known, descriptor), 12)
            kernel.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.addressof(rule), 0)
        kernel.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)

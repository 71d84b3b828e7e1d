"""Niceness and I/O class of a child.

Only ever lowers: a daemon that already runs nicer than asked stays so. Where the kernel or the
architecture has no I/O classes that we know the number of, the class is left as it is.

Both belong to a thread, on Linux, and are inherited: set them before a child has threads.

Errors: ValueError for an unknown class is a bug; the configuration knows ``IO_CLASSES``.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys

from watchconv.process.sandbox import kernel

_LOWEST_BEST_EFFORT = 2 << 13 | 7
_IDLE = 3 << 13
IO_CLASSES = {"none": None, "best-effort": _LOWEST_BEST_EFFORT, "idle": _IDLE}

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "loongarch64": 30, "ppc64le": 273}
_IOPRIO_SET |= {"s390x": 282}
_WHO_PROCESS = 1


def lower_priority(pid: int, *, nice: int, io_class: str) -> None:
    """Give a process that has just begun a niceness and I/O class.

    nice is absolute, -20..19, and never made better than it is; io_class is one of ``IO_CLASSES``.
    """
    if io_class not in IO_CLASSES:
        raise ValueError(f"unknown I/O class {io_class!r}: one of {', '.join(IO_CLASSES)}")
    with contextlib.suppress(ProcessLookupError):
        if nice > os.getpriority(os.PRIO_PROCESS, pid):
            os.setpriority(os.PRIO_PROCESS, pid, nice)
    _set_io_priority(pid, IO_CLASSES[io_class])


def _set_io_priority(pid: int, value: int | None) -> None:
    number = _IOPRIO_SET.get(platform.machine()) if sys.maxsize > 1 << 32 else None
    if value is None or number is None:
        return
    with contextlib.suppress(OSError):
        kernel.syscall(number, _WHO_PROCESS, pid, value)

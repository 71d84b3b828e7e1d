"""Confine the calling thread, and with it the ffmpeg child that it is about to start.

After ``confine`` the thread has no way to gain rights, Landlock's rules and the seccomp filter, as
far as ``support()`` found them here. It cannot be undone: the thread is a
throw-away one that lives as long as its child.

Does not start the child. The thread itself is confined too: what it needs beyond the allowance
(pipes, the input's descriptor, log files) must be open before.

Errors: ``EnvironmentTrouble`` where the work folder is gone or the kernel refuses a step that it
took when tried; the child must not be started then.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from watchconv.errors import EnvironmentTrouble
from watchconv.process.sandbox import kernel, landlock, seccomp
from watchconv.process.sandbox.support import support

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class SandboxRules:
    """What one child may touch; all else is refused."""

    read: tuple[int | str, ...]  # files and folders; a descriptor means that very file
    write: tuple[str, ...]  # folders: make, change, rename, cut and remove files below
    execute: tuple[str, ...]  # programs, libraries and devices, as ``system_reads`` lists them


def confine(allowance: SandboxRules) -> None:
    """Confine the calling thread and all that it will start, irrevocably. About 0.3 ms.

    Paths of ``read`` and ``execute`` that do not exist are passed over.
    """
    found = support()
    try:
        kernel.forbid_new_privileges()
        if found.landlock_abi:
            _apply_landlock(allowance)
        if found.seccomp:
            seccomp.install(seccomp.child_filter(found.landlock_abi))
    except OSError as why:
        raise EnvironmentTrouble(
            f"ffmpeg cannot be confined ({why}), so it is not started; is the outbox still "
            "there? `sandbox: off` would run it without confinement."
        ) from why


def _apply_landlock(allowance: SandboxRules) -> None:
    with contextlib.ExitStack() as opened:
        landlock.restrict(list(_rules(allowance, opened)))


def _rules(allowance: SandboxRules, opened: contextlib.ExitStack) -> Iterator[tuple[int, int]]:
    for folder in allowance.write:
        yield _open(folder, opened), landlock.WRITE
    for path in allowance.execute:
        with contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError):
            yield _open(path, opened), _system_rights(path)
    for file in allowance.read:
        if isinstance(file, int):
            yield file, landlock.READ
            continue
        with contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError):
            yield _open(file, opened), landlock.READ


def _system_rights(path: str) -> int:
    return landlock.DEVICE if path.startswith("/dev/") else landlock.EXECUTE


def _open(path: str, opened: contextlib.ExitStack) -> int:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    opened.callback(os.close, descriptor)
    return descriptor

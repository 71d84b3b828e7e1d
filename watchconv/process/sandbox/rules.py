"""Confine a thread to what an ffmpeg may touch, or the probe worker's process to nothing.

Neither can be undone. ``confine`` acts on the calling thread, a throw-away one that starts a child
and lives as long as it: whatever the thread itself needs beyond the rules (pipes, the input's
descriptor, log files) must be open before.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from watchconv.errors import EnvironmentTrouble
from watchconv.process.sandbox import kernel, landlock, seccomp
from watchconv.process.sandbox.support import support

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class SandboxRules:
    """What one child may touch; all else is refused."""

    read: tuple[int | str, ...]  # files and folders; a descriptor means that very file
    write: tuple[str, ...]  # folders: make, change, rename, cut and remove files below
    execute: tuple[str, ...]  # programs, libraries and devices, as ``system_reads`` lists them


def confine(rules: SandboxRules) -> None:
    """Confine the calling thread and all that it will start, as far as ``support()`` goes here.

    About 0.3 ms. Paths of ``read`` and ``execute`` that do not exist are passed over. Raises
    EnvironmentTrouble where the work folder is gone or the kernel refuses a step that it took when
    tried; the child must not be started then.
    """
    found = support()
    try:
        kernel.forbid_new_privileges()
        if found.landlock_abi:
            with contextlib.ExitStack() as opened:
                landlock.restrict(_landlock_rules(rules, opened))
        if found.seccomp:
            seccomp.install(seccomp.child_filter(found.landlock_abi))
    except OSError as why:
        raise EnvironmentTrouble(
            f"ffmpeg cannot be confined ({why}), so it is not started; is the outbox still "
            "there? `sandbox: off` would run it without confinement."
        ) from why


def _landlock_rules(rules: SandboxRules, opened: contextlib.ExitStack) -> list[tuple[int, int]]:
    """Open what the rules name, until ``opened`` is closed, and say which rights to it stay."""
    found = [(place, landlock.READ) for place in rules.read if isinstance(place, int)]
    paths = [(folder, landlock.WRITE) for folder in rules.write]
    paths += [(place, landlock.READ) for place in rules.read if isinstance(place, str)]
    for path in rules.execute:
        paths += [(path, landlock.DEVICE if path.startswith("/dev/") else landlock.EXECUTE)]
    for path, rights in paths:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            if rights == landlock.WRITE:
                raise
        else:
            opened.callback(os.close, descriptor)
            found.append((descriptor, rights))
    return found


def confine_to_nothing() -> tuple[str, ...]:
    """Take everything from this process that it does not hold open already.

    Afterwards no path can be opened, made, changed or removed, no process or socket made, no
    program started, no other process signalled or looked into. Open descriptors go on working, and
    so do threads: the decoders need them. Threads that exist already are not reached: call it in
    the only one, with everything imported. Returns a sentence for each part of the confinement that
    this machine does not have.
    """
    kernel.forbid_new_privileges()
    lacks: list[str] = []
    steps: list[tuple[str, Callable[[], None]]] = [
        ("Landlock does not", lambda: landlock.restrict(()))
    ]
    try:
        instructions = seccomp.worker_filter()  # reads libseccomp's file: before Landlock
        steps.append(("No seccomp filter can", lambda: seccomp.install(instructions)))
    except seccomp.FilterMissing as why:
        lacks.append(f"No seccomp filter can confine the probe worker: {why}.")
    for what, apply in steps:
        try:
            apply()
        except OSError as why:
            reason = "the kernel has none" if why.errno == errno.ENOSYS else str(why.strerror)
            lacks.append(f"{what} confine the probe worker: {reason}.")
    return tuple(lacks)

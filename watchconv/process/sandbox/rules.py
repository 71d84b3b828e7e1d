"""Confine a thread to what an ffmpeg may touch, or the probe worker's process to nothing; prove it.

Confinement cannot be undone: whatever the confined thread itself needs beyond the rules (pipes, the
input's descriptor, log files) must be open before.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

from watchconv.errors import EnvironmentTrouble
from watchconv.process.sandbox import kernel, seccomp
from watchconv.process.sandbox.support import in_throwaway_thread, support

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

    Paths of ``read`` and ``execute`` that do not exist are passed over. Raises EnvironmentTrouble
    where the work folder is gone or the kernel refuses a step that it took when tried.
    """
    found = support()
    rights = [*zip(rules.write, repeat(kernel.WRITE)), *zip(rules.read, repeat(kernel.READ))]
    for path in rules.execute:
        rights += [(path, kernel.DEVICE if path.startswith("/dev/") else kernel.EXECUTE)]
    try:
        kernel.forbid_new_privileges()
        if found.landlock_abi:
            kernel.landlock(rights, found.landlock_abi)
        if found.seccomp:
            seccomp.install(seccomp.child_filter(found.landlock_abi))
    except OSError as why:
        raise EnvironmentTrouble(
            f"ffmpeg cannot be confined ({why}), so it is not started; is the outbox still "
            "there? `sandbox: off` would run it without confinement."
        ) from why


def confine_to_nothing() -> tuple[str, ...]:
    """Take everything from this process that it does not hold open already.

    No path can be opened, made, changed or removed, no process or socket made, no program started,
    no other process signalled or looked into. Open descriptors go on working, and so do threads,
    which decoders need; those that exist already are not reached: call it in the only one, with
    everything imported. Returns a sentence for each part that this machine does not have.
    """
    kernel.forbid_new_privileges()
    lacks: list[str] = []
    steps: list[tuple[str, Callable[[], None]]] = [
        ("Landlock does not", lambda: kernel.landlock((), kernel.landlock_abi()))
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


@dataclass(frozen=True, slots=True)
class Escape:
    """One forbidden act that was tried."""

    name: str  # read, write, truncate, tcp, udp
    refused: bool
    detail: str  # one phrase for a person


def try_to_escape(rules: SandboxRules) -> list[Escape]:
    """Try a forbidden read, write, truncate, TCP connection and UDP packet, in that order.

    A throw-away thread tries: what it cannot do, its children cannot either. Each act is on a file
    or socket of our own, so a refusal is the sandbox's. The rules must not cover the folder for
    temporary files; OSError where none can be made there.
    """
    import tempfile  # late, for the probe worker's start

    with (
        tempfile.TemporaryDirectory(prefix="watchconv-check-") as folder,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        canary = Path(folder, "canary")
        canary.write_text("private", encoding="ascii")
        receiver.bind(("127.0.0.1", 0))

        def send() -> None:
            """Send a packet to the receiver, from a socket that is made here."""
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"out", receiver.getsockname())

        acts: dict[str, Callable[[], object]] = {
            "read": canary.read_bytes,
            "write": Path(folder, "new").touch,
            "truncate": lambda: os.truncate(canary, 0),
            "tcp": lambda: socket.create_connection(listener.getsockname(), timeout=5).close(),
            "udp": send,
        }

        def try_all() -> list[Escape]:
            """Try them one after the other, confined."""
            confine(rules)
            tried = {name: Escape(name, False, "not refused") for name in acts}
            for name, act in acts.items():
                try:
                    act()
                except PermissionError as refusal:
                    tried[name] = Escape(name, True, f"refused ({refusal.strerror})")
                except OSError as why:
                    detail = f"not refused, but failed ({why.strerror or why})"
                    tried[name] = Escape(name, False, detail)
            return list(tried.values())

        return in_throwaway_thread(try_all)

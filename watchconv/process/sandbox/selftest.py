"""Prove the confinement: confine a throw-away thread and let it try what must be refused.

Each attempt is on something that this user could touch without the sandbox (files of our own in a
fresh folder, sockets of our own on the loopback), so a refusal is the sandbox's and not the
file system's.

Does not start a program; what the thread cannot do, its children cannot.

Errors: ``EnvironmentTrouble`` from ``confine``; OSError where no temporary folder can be made.
"""

from __future__ import annotations

import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from watchconv.process.sandbox.rules import SandboxRules, confine
from watchconv.process.sandbox.support import in_throwaway_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Escape:
    """One forbidden act that was tried."""

    name: str  # read, write, truncate, tcp, udp
    refused: bool
    detail: str  # one phrase for a person


def try_to_escape(allowance: SandboxRules) -> list[Escape]:
    """Try a forbidden read, write, truncate, TCP connection and UDP packet, in that order.

    The allowance must not cover the folder for temporary files.
    """
    with (
        tempfile.TemporaryDirectory(prefix="watchconv-check-") as folder,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        canary = Path(folder, "canary")
        canary.write_text("private", encoding="ascii")
        receiver.bind(("127.0.0.1", 0))
        acts: Mapping[str, Callable[[], None]] = {
            "read": lambda: _read(canary),
            "write": lambda: _write(Path(folder, "new")),
            "truncate": lambda: os.truncate(canary, 0),
            "tcp": lambda: socket.create_connection(listener.getsockname(), timeout=5).close(),
            "udp": lambda: _send(receiver.getsockname()),
        }
        return in_throwaway_thread(lambda: _try_all(allowance, acts))


def _try_all(allowance: SandboxRules, acts: Mapping[str, Callable[[], None]]) -> list[Escape]:
    confine(allowance)
    return [_attempt(name, act) for name, act in acts.items()]


def _attempt(name: str, act: Callable[[], None]) -> Escape:
    try:
        act()
    except PermissionError as refusal:
        return Escape(name, True, f"refused ({refusal.strerror})")
    except OSError as why:
        return Escape(name, False, f"not refused, but failed ({why.strerror or why})")
    return Escape(name, False, "not refused")


def _read(path: Path) -> None:
    os.close(os.open(path, os.O_RDONLY))


def _write(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def _send(address: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"out", address)

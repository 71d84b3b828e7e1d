"""Prove the confinement: confine a throw-away thread and let it try what must be refused.

Each attempt is on something that this user could touch without the sandbox (files of our own in a
fresh folder, sockets of our own on the loopback), so a refusal is the sandbox's and not the
file system's. What the thread cannot do, the children that it starts cannot either.
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


def try_to_escape(rules: SandboxRules) -> list[Escape]:
    """Try a forbidden read, write, truncate, TCP connection and UDP packet, in that order.

    The rules must not cover the folder for temporary files; OSError where none can be made there.
    """
    with (
        tempfile.TemporaryDirectory(prefix="watchconv-check-") as folder,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        canary = Path(folder, "canary")
        canary.write_text("private", encoding="ascii")
        receiver.bind(("127.0.0.1", 0))

        def send() -> None:
            """Send a packet to the receiver."""
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"out", receiver.getsockname())

        acts: Mapping[str, Callable[[], object]] = {
            "read": canary.read_bytes,
            "write": Path(folder, "new").touch,
            "truncate": lambda: os.truncate(canary, 0),
            "tcp": lambda: socket.create_connection(listener.getsockname(), timeout=5).close(),
            "udp": send,
        }

        def try_all() -> list[Escape]:
            """Try them one after the other, confined."""
            confine(rules)
            return [_try(name, act) for name, act in acts.items()]

        return in_throwaway_thread(try_all)


def _try(name: str, act: Callable[[], object]) -> Escape:
    try:
        act()
    except PermissionError as refusal:
        return Escape(name, True, f"refused ({refusal.strerror})")
    except OSError as why:
        return Escape(name, False, f"not refused, but failed ({why.strerror or why})")
    return Escape(name, False, "not refused")

"""The end of systemd's that a unit talks to: the words of sd_notify, in order.

with Unit(tmp_path, watchdog_seconds=2) as unit:
    with Daemon(place, environment={**place.environment, **unit.environment}):
        unit.wait_for("READY=1")
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Self

from tests.waiting import LONG, wait_until

if TYPE_CHECKING:
    from pathlib import Path


class Unit:
    """Hears what a service tells."""

    def __init__(self, folder: Path, *, watchdog_seconds: float | None = None) -> None:
        address = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(address))
        self.heard: list[str] = []  # every line so far
        self.environment = {"NOTIFY_SOCKET": str(address)}
        if watchdog_seconds:
            self.environment["WATCHDOG_USEC"] = str(int(watchdog_seconds * 1e6))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def listen(self) -> list[str]:
        """Hear what came meanwhile; give all that was heard."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard += self._socket.recv(1 << 16).decode().splitlines()
        return self.heard

    def count(self, line: str) -> int:
        return self.listen().count(line)

    @property
    def status(self) -> str:
        """The last status line."""
        said = [line for line in self.listen() if line.startswith("STATUS=")]
        return said[-1].removeprefix("STATUS=") if said else ""

    def wait_for(self, line: str, times: int = 1, seconds: float = LONG) -> None:
        """Wait until a line was heard so often."""
        wait_until(
            lambda: self.count(line) >= times,
            seconds,
            what=lambda: f"{times} times {line}: {self.heard}",
        )

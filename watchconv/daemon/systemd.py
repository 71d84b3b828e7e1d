"""What systemd hears (sd_notify): that we are ready, how we are, and that nothing hangs.

READY comes only after recovery and the first scan, however long that takes while it gets on. A
watchdog ping comes only when scan loop, journal and dispatcher have each answered since the last
one. A scan that a dead mount holds, or a loop that is stuck, stops the pings; a long encode, copy
or scan does not, and a trouble that is known is an answer. systemd ends a daemon that no longer
pings, and the next start takes everything up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING

from watchconv.daemon.context import wait_at_most
from watchconv.errors import JournalError
from watchconv.journal.jobs import PAUSED, Journal

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from watchconv.daemon.dispatcher import Dispatcher
    from watchconv.daemon.scan_loop import ScanLoop
    from watchconv.journal.thread import JournalThread

log = logging.getLogger(__name__)

START_SECONDS = 10.0  # how often a long first scan says that it gets on


def is_wanted() -> bool:
    """Return whether anybody wants to hear how we are."""
    return "NOTIFY_SOCKET" in os.environ


def notify(*lines: str) -> None:
    """Send lines such as ``READY=1`` or ``STATUS=…``; does nothing where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
    ):
        sender.sendto("\n".join(lines).encode("utf-8", "replace"), address)


def watchdog_seconds() -> float | None:
    """Return how often systemd wants to hear from us; None when it does not."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 1e6 or None
    except (KeyError, ValueError):
        return None


class Watchdog:
    """Says that we are ready, and then that nothing hangs."""

    def __init__(self, scan_loop: ScanLoop, journal: JournalThread, dispatcher: Dispatcher) -> None:
        self._scan_loop, self._journal, self._dispatcher = scan_loop, journal, dispatcher

    async def run(self) -> None:
        """Say that we are ready, then ping for ever, where pings are wanted."""
        first_done = self._scan_loop.first_done
        while not first_done.is_set():
            before = self._scan_loop.steps
            await wait_at_most(first_done, START_SECONDS)
            if self._scan_loop.steps != before:
                notify(f"EXTEND_TIMEOUT_USEC={int(3 * START_SECONDS * 1e6)}")
        notify("READY=1")
        period = watchdog_seconds()
        while period:
            if await self._all_answer(period / 2):
                notify("WATCHDOG=1")
                await asyncio.sleep(period / 2)

    async def _all_answer(self, seconds: float) -> bool:
        parts: dict[str, Awaitable[None]] = {
            "the scan of the inbox": self._scan_loop.answer(),
            "the journal": self._ask_journal(),
            "the dispatcher": self._dispatcher.answer(),
        }
        asked = {name: asyncio.ensure_future(part) for name, part in parts.items()}
        try:
            await asyncio.wait(asked.values(), timeout=seconds)
            hung = [name for name, answer in asked.items() if not answer.done()]
        finally:
            for answer in asked.values():
                answer.cancel()
        if hung:
            log.error("%s: no answer for %g s; systemd is not pinged", ", ".join(hung), seconds)
        return not hung

    async def _ask_journal(self) -> None:
        with contextlib.suppress(JournalError):
            await self._journal.ask(Journal.setting, PAUSED)

"""Tell systemd how we are (sd_notify): a datagram to the socket it names; nothing elsewhere.

Guarantees: does nothing, quickly, where NOTIFY_SOCKET is not set; never raises.
"""

from __future__ import annotations

import os
import socket


def is_wanted() -> bool:
    """Tell whether anybody wants to hear how we are."""
    return "NOTIFY_SOCKET" in os.environ


def notify(*lines: str) -> None:
    """Send lines such as ``READY=1`` or ``STATUS=…``."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto("\n".join(lines).encode("utf-8", "replace"), address)
    except OSError:
        return


def watchdog_seconds() -> float | None:
    """Say how often systemd wants to hear from us; None when it does not."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 1e6 or None
    except (KeyError, ValueError):
        return None

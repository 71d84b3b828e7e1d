"""The daemon: ``watchconv run``.

In the order of their beginning: the locks (one daemon per state directory, inbox and outbox);
recovery, which is the normal start; the scan loop; the dispatcher, which claims a job for a free
slot and starts a worker; deliveries; what people ask for; the status, for those who look; and in
the end the stop: no more scans and claims, a grace, TERM, KILL.

An idle daemon sleeps: no tick, no write. Whatever task dies ends the daemon, loudly.
"""

from __future__ import annotations

from watchconv.daemon.lifecycle import Daemon
from watchconv.daemon.status import Display

__all__ = ["Daemon", "Display"]

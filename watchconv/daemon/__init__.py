"""The daemon ties the pieces together, and does nothing else.

Its concerns, in the order of their beginning:

1. the locks: one daemon per state directory, inbox and outbox;
2. recovery, which is the normal start: children of a dead daemon are ended, RUNNING jobs go back
   to the queue, leftovers of work are swept;
3. the look: at start, on events, when an unsettled file is due, and from time to time;
4. the workers, the deliveries, DELIVERING jobs of before first, and what people ask for;
5. the present, for those who look: the live file, systemd, a listener;
6. the stop ladder: no more looks and claims, a grace, TERM, KILL.

Guarantees: an idle daemon sleeps: no tick, no write. Whatever task dies ends the daemon, loudly.
Errors: those of ``Daemon.run`` at the start; later only bugs, and ``AlreadyRunning`` where another
daemon has taken a folder that was away.
"""

from __future__ import annotations

from watchconv.daemon.lifecycle import Daemon
from watchconv.daemon.status import Listener

__all__ = ["Daemon", "Listener"]

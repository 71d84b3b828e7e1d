"""How other parts of the daemon ask for a scan: of one name, or of everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from watchconv.intake.watch import Watcher


class ScanRequest:
    """What is to be scanned soon: what events told the watcher, and what parts ask for.

    Belongs to the event loop; ``due`` wakes the scan loop.
    """

    def __init__(self, watcher: Watcher, due: asyncio.Event) -> None:
        self.watcher, self.due = watcher, due
        self._everything = False

    def name(self, source: str) -> None:
        """Ask for one name."""
        self.watcher.add_hint(source)
        self.due.set()

    def everything(self) -> None:
        """Ask for the whole inbox."""
        self._everything = True
        self.due.set()

    def take_everything(self) -> bool:
        """Return whether the whole inbox was asked for, and forget it."""
        asked, self._everything = self._everything, False
        return asked

"""How many ffmpeg may live at once: slots, whose number may change while they are taken.

Guarantees: no slot is given while as many are taken as there are; with fewer slots than before,
nobody loses one, and none is given until enough have come back.
Does not know what a slot is used for. Errors: none.
"""

from __future__ import annotations

import asyncio


class Slots:
    """A number of slots, to be taken one by one."""

    def __init__(self, size: int) -> None:
        self.size, self.taken = size, 0
        self._freed = asyncio.Event()

    @property
    def all_taken(self) -> bool:
        """Tell whether whoever wants one must wait."""
        return self.taken >= self.size

    async def take(self) -> Slot:
        """Wait for a free slot and take it."""
        while self.all_taken:
            self._freed.clear()
            await self._freed.wait()
        self.taken += 1
        return Slot(self)

    def resize(self, size: int) -> None:
        """Have more slots, or fewer."""
        self.size = size
        self._freed.set()

    def give_back(self) -> None:
        """Have one more free slot; for ``Slot`` alone."""
        self.taken -= 1
        self._freed.set()


class Slot:
    """The right to have an ffmpeg alive; given back once, however often it is freed."""

    def __init__(self, slots: Slots) -> None:
        self._slots: Slots | None = slots

    def free(self) -> None:
        """Give the slot back."""
        slots, self._slots = self._slots, None
        if slots:
            slots.give_back()

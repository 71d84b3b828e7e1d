"""What the daemon does once a day, and that it lets go of it at any moment."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from watchconv.daemon.maintenance import maintain
from watchconv.daemon.trouble import Troubles
from watchconv.host.folders import Folders
from watchconv.journal.thread import JournalThread

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("turns", range(6))
def test_a_cancel_that_comes_with_news_of_the_mounts_is_heard(tmp_path: Path, turns: int) -> None:
    def config() -> Any:
        return SimpleNamespace(keep_history_days=90.0)

    async def scene(journal: JournalThread) -> None:
        looking = SimpleNamespace(learnt=asyncio.Event(), look_at_all=lambda: None)
        folders = Folders(*(str(tmp_path / name) for name in "abcd"))
        house = asyncio.create_task(
            maintain(config, journal, folders, Troubles(), cast("Any", looking))
        )
        while not looking.learnt._waiters:  # noqa: ASYNC110 (it has no event for that)
            await asyncio.sleep(0.001)
        looking.learnt.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        house.cancel()
        ended, _ = await asyncio.wait({house}, timeout=5)
        assert ended

    journal = JournalThread(str(tmp_path))
    asyncio.run(scene(journal))
    journal.close()

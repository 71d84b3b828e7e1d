"""A daemon at rest: it has done its work, and holds little."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.daemon import QUICK, Daemon, Place, drop, tiny_clip
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_THREADS = 8
REST_SECONDS = 5.0  # longer than it publishes a last status, or a thread takes to its end


def threads_of(pid: int) -> list[str]:
    """Name the threads of a process."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            found.append(Path(f"/proc/{pid}/task/{task}/comm").read_text().strip())
        except OSError:  # it has just ended
            continue
    return sorted(found)


def stays(condition: Callable[[], object]) -> bool:
    """Return whether something is so at the end of a time in which all may come to rest."""
    wait_until(condition, REST_SECONDS)
    return bool(condition())


def test_an_idle_daemon_has_few_threads(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos", QUICK)
    clip = tiny_clip(tmp_path)
    with Daemon(place) as daemon:
        for name in ("a.mkv", "b.mkv"):
            drop(clip, place.inbox / name)
        for name in ("a.mkv", "b.mkv"):
            place.wait_for(name, "done")
        wait_until(lambda: place.live()["running"] == [])

        assert stays(lambda: len(threads_of(daemon.pid)) <= MOST_THREADS), threads_of(daemon.pid)
        assert daemon.encodes() == []

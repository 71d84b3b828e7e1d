"""A daemon that was killed, or stopped: the next one does each job once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.daemon import Daemon, drop, tiny_clip
from tests.fake_place import FakePlace, files_in, is_alive
from tests.waiting import LONG, wait_until

if TYPE_CHECKING:
    from pathlib import Path


def test_a_killed_daemon_takes_its_child_along_and_the_next_does_the_job_once(
    tmp_path: Path, long_clip: Path
) -> None:
    place = FakePlace(tmp_path / "videos", otherwise="stubborn", max_attempts=3)
    drop(long_clip, place.inbox / "a.mkv")
    with Daemon(place) as daemon:
        wait_until(place.children)
        daemon.signal(signal.SIGKILL)
        daemon.wait()
        wait_until(lambda: not place.children(), what="the child died with its daemon")
        assert place.status()["state"] == "stopped"
        assert place.job("a.mkv")["state"] == "running"
    place.plan()
    with Daemon(place) as daemon:
        place.wait_for("a.mkv", "done")
        daemon.stop()

        (job,) = place.jobs()
        assert (job["state"], job["attempt"]) == ("done", 2)
        assert files_in(place.outbox) == {"a.webm"}  # nothing is left of the first attempt
        assert files_in(place.inbox) == files_in(place.error) == set()


def test_a_file_that_takes_the_daemon_down_runs_out_of_attempts(
    tmp_path: Path, long_clip: Path
) -> None:
    place = FakePlace(tmp_path / "videos", {"bad*": "hang"}, max_attempts=2)
    drop(long_clip, place.inbox / "bad.mkv")
    for _ in (1, 2):
        with Daemon(place) as daemon:
            wait_until(place.children)
            daemon.signal(signal.SIGKILL)
            daemon.wait()
            wait_until(lambda: not place.children())
    with Daemon(place):
        drop(long_clip, place.inbox / "good.mkv")
        place.wait_for("good.mkv", "done")
        place.wait_for("bad.mkv", "failed")

        first, *rest = place.report("bad.mkv")
        assert "went down" in first
        assert "attempts: 2" in rest
        assert place.states() == {"bad.mkv": ["failed"], "good.mkv": ["done"]}
        assert files_in(place.outbox) == {"good.webm"}


def test_what_an_earlier_daemon_left_behind_is_ended_at_the_start_and_nothing_else(
    tmp_path: Path, long_clip: Path
) -> None:
    place = FakePlace(tmp_path / "videos", otherwise="escapes")
    sleeper = [sys.executable, "-IS", "-c", "import time; time.sleep(3600)"]
    with contextlib.ExitStack() as stack:

        def start(mark: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(sleeper, env={"WATCHCONV_CHILD": mark})
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        with Daemon(place) as daemon:
            drop(long_clip, place.inbox / "a.mkv")
            place.wait_for("a.mkv", "done")
            (stray,) = place.children()  # it has left the group, and does not die with the daemon
            daemon.stop()
        assert is_alive(stray)
        ours = start(os.path.realpath(place.state))
        other = start(f"{os.path.realpath(place.state)}-of-another")
        with Daemon(place) as daemon:
            assert ours.wait(LONG) == -signal.SIGKILL
            assert not is_alive(stray)
            assert other.poll() is None
            assert "ended 2 processes" in daemon.log()


def test_originals_that_are_kept_are_not_done_again_after_a_restart(
    tmp_path: Path, long_clip: Path
) -> None:
    place = FakePlace(tmp_path / "videos", on_success="keep", frames=None)
    with Daemon(place) as daemon:
        drop(long_clip, place.inbox / "a.mkv")
        wait_until((place.outbox / "a.webm").exists)
        wait_until(lambda: place.transitions("delivering→done"))
        daemon.stop()
    with Daemon(place):
        drop(long_clip, place.inbox / "b.mkv")  # when it is done, the inbox has been looked at
        place.wait_for("b.mkv", "done")
        assert files_in(place.inbox) == {"a.mkv", "b.mkv"}
        assert files_in(place.outbox) == {"a.webm", "b.webm"}

        drop(tiny_clip(tmp_path, "other.mkv", 1.0), place.inbox / "a.mkv")  # a new order
        wait_until((place.outbox / "a (2).webm").exists)
        wait_until(lambda: place.states() == {"a.mkv": ["done", "done"], "b.mkv": ["done"]})

"""A stop comes to its end: the grace, TERM, KILL; whatever hangs."""

from __future__ import annotations

import re
import signal
import time
from typing import TYPE_CHECKING

from tests.daemon import Daemon, drop
from tests.fake_place import NEVER, CopyPlace, FakePlace, files_in
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


def test_a_stop_gives_the_grace_then_terms_then_kills_and_refunds(
    tmp_path: Path, long_clip: Path
) -> None:
    notes = tmp_path / "notes"
    place = FakePlace(
        tmp_path / "videos", otherwise=f"notes-term:{notes}", sandbox="off", stop_grace_seconds=1
    )
    drop(long_clip, place.inbox / "a.mkv")
    with Daemon(place) as daemon:
        wait_until(lambda: notes.exists() and "ready" in notes.read_text())
        began = time.monotonic()
        code = daemon.stop()
        ended = time.monotonic()

        assert code == 0
        (said,) = re.findall(r"TERM (\S+)", notes.read_text())
        assert float(said) - began >= 1  # the grace
        assert ended - float(said) >= 1  # and as long from TERM to KILL
        assert place.children() == []
        job = place.job("a.mkv")
        assert (job["state"], job["attempt"], job["reason"]) == ("queued", 0, None)
        assert files_in(place.inbox) == {"a.mkv"}
        assert files_in(place.outbox) == set()


def test_a_second_signal_stops_at_once(tmp_path: Path, long_clip: Path) -> None:
    place = FakePlace(tmp_path / "videos", otherwise="stubborn", stop_grace_seconds=NEVER)
    drop(long_clip, place.inbox / "a.mkv")
    with Daemon(place) as daemon:
        wait_until(place.children)
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in daemon.log())
        daemon.signal(signal.SIGINT)
        code = daemon.wait()

        assert code == 0
        assert place.children() == []
        job = place.job("a.mkv")
        assert (job["state"], job["attempt"]) == ("queued", 0)


def test_a_job_that_finishes_within_the_grace_is_delivered_and_no_other_begins(
    tmp_path: Path, long_clip: Path, gates: Path
) -> None:
    plan = {"a*": f"gate:{gates}"}
    place = FakePlace(tmp_path / "videos", plan, jobs=1, stop_grace_seconds=NEVER)
    drop(long_clip, place.inbox / "a.mkv")
    with Daemon(place) as daemon:
        wait_until(place.children)
        drop(long_clip, place.inbox / "b.mkv")
        wait_until(lambda: len(re.findall(r"queued b.mkv", daemon.log())) == 1)
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in daemon.log())
        (gates / "all").touch()
        code = daemon.wait()

        assert code == 0
        assert place.states() == {"a.mkv": ["done"], "b.mkv": ["queued"]}
        assert files_in(place.outbox) == {"a.webm"}
        assert place.job("b.mkv")["attempt"] == 0


HANGING = """
import pathlib, sys, threading
from watchconv.intake.scan import InboxScanner
scan = InboxScanner.scan
def hang(*arguments):
    result = scan(*arguments)
    if pathlib.Path(sys.argv[2]).with_name("dead").exists():
        pathlib.Path(sys.argv[2]).with_name("hung").touch()
        threading.Event().wait()
    return result
InboxScanner.scan = hang
"""


def test_a_daemon_whose_scan_hangs_on_a_dead_mount_can_be_stopped(
    tmp_path: Path, long_clip: Path
) -> None:
    """It waited for the thread of the scan, for ever: only SIGKILL was left."""
    place = CopyPlace(tmp_path / "videos", tweak=HANGING)
    with Daemon(place) as daemon:
        (place.root / "dead").touch()
        drop(long_clip, place.inbox / "a.mkv")
        wait_until((place.root / "hung").exists)

        assert daemon.stop() == 0

    assert place.log().splitlines()[-1].endswith("stopped")

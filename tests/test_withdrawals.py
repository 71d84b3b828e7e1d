"""Originals that go, change or cannot be read while there is a job for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import Daemon, drop, tiny_clip
from tests.fake_place import CopyPlace, FakePlace, files_in
from tests.waiting import wait_until
from watchconv.host.folders import Folders
from watchconv.intake.filters import NameFilter
from watchconv.intake.scan import InboxScanner, ScanRules
from watchconv.intake.settling import SettleSettings
from watchconv.journal.jobs import Journal
from watchconv.model import Candidate, Job, JobState

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_backlog_that_is_deleted_while_workers_take_from_it_is_withdrawn(
    tmp_path: Path, clip: Path
) -> None:
    place = CopyPlace(tmp_path / "videos", jobs=4)

    def fill() -> int:
        for n in range(150):
            drop(clip, place.inbox / f"{n}.mkv")
        return 150

    with place.paused(fill) as daemon:
        place.say("resume")
        wait_until(lambda: "queued→running" in place.log())
        for path in list(place.inbox.iterdir()):
            path.unlink(missing_ok=True)
        wait_until(lambda: not set(place.counts()) - {"done", "withdrawn"})
        drop(clip, place.inbox / "after.mkv")
        place.wait_for("after.mkv", "done")

        assert daemon.stop() == 0

    counts = place.counts()

    assert sum(counts.values()) == 151
    assert counts["withdrawn"] > 0
    assert len(list(place.outbox.glob("*.mkv"))) == counts["done"]
    assert len(list(place.done.iterdir())) <= counts["done"]  # some went during their delivery
    assert os.listdir(place.outbox / ".watchconv") == []


class Claiming(Journal):
    """A journal in which a worker claims the first job before a scan ends it."""

    def withdraw(self, *args: Any, **kwargs: Any) -> Job | None:
        self.claim(2.0)
        return super().withdraw(*args, **kwargs)

    def supersede(self, *args: Any, **kwargs: Any) -> Job | None:
        self.claim(2.0)
        return super().supersede(*args, **kwargs)


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(b"new content")])
def test_a_job_that_is_claimed_between_scan_and_withdrawal_is_left_to_its_worker(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    journal = Claiming(str(tmp_path))
    folders = Folders(
        *(str(tmp_path.resolve() / name) for name in ("inbox", "outbox", "done", "error"))
    )
    inbox = tmp_path.resolve() / "inbox"
    folders.make()
    folders.check(str(tmp_path))
    (inbox / "a.mkv").write_bytes(b"old")
    stat = (inbox / "a.mkv").stat()
    journal.add([Candidate("a.mkv", stat.st_size, stat.st_mtime_ns, "webm")], 1.0)
    change(inbox / "a.mkv")
    scanner = InboxScanner(str(inbox), journal, folders)
    settings = SettleSettings(0.0, 60.0, 60.0, leases_prove=True)
    rules = ScanRules(NameFilter(["mkv"], []), settings, {"webm"}, "webm")
    scanner.scan(None, rules, lambda: None)
    folders.unlock()

    assert [job.state for job in journal.jobs()] == [JobState.RUNNING]

    journal.close()


def test_a_folder_that_is_moved_away_takes_its_jobs_along(tmp_path: Path, clip: Path) -> None:
    place = CopyPlace(tmp_path / "videos")

    def fill() -> int:
        for n in range(5):
            drop(clip, place.inbox / f"trip/deep/{n}.mkv")
        drop(clip, place.inbox / "stays.mkv")
        return 6

    with place.paused(fill):
        (place.inbox / "trip").rename(place.root / "elsewhere")
        place.wait_for_counts(queued=1, withdrawn=5)

    assert len(list((place.root / "elsewhere/deep").iterdir())) == 5


def test_a_folder_that_is_closed_when_its_job_is_taken_loses_nothing(
    tmp_path: Path, clip: Path
) -> None:
    place = CopyPlace(
        tmp_path / "videos",
        tweak="import watchconv.daemon.deliveries as d; d.RETRY_SECONDS = 0.3",
        unprivileged=True,
    )
    sub = place.inbox / "sub"

    def fill() -> int:
        drop(clip, sub / "a.mkv")
        return 1

    try:
        with place.paused(fill) as daemon:
            sub.chmod(0)
            place.say("resume")
            wait_until(lambda: "queued→running" in place.log())
            drop(clip, place.inbox / "b.mkv")
            place.wait_for("b.mkv", "done")
            sub.chmod(0o755)
            drop(clip, sub / "next.mkv")
            place.wait_for("sub/next.mkv", "done")
            wait_until(lambda: not set(place.counts()) - {"done", "failed", "queued"})

            assert daemon.stop() == 0
    finally:
        sub.chmod(0o755)
    originals = [name for name in place.tree() if name.endswith("sub/a.mkv")]

    assert set(originals) < {
        "inbox/sub/a.mkv",
        "error/sub/a.mkv",
        "done/sub/a.mkv",
        "outbox/sub/a.mkv",
    }
    assert any(not name.startswith("outbox") for name in originals)


def test_a_kept_original_in_a_folder_that_was_closed_for_a_moment_is_not_done_again(
    tmp_path: Path, clip: Path
) -> None:
    place = CopyPlace(tmp_path / "videos", on_success="keep", scan_seconds=1, unprivileged=True)
    sub = place.inbox / "sub"
    try:
        with Daemon(place) as daemon:
            drop(clip, sub / "a.mkv")
            place.wait_for("sub/a.mkv", "done")
            sub.chmod(0)
            wait_until(lambda: "cannot look into sub" in place.log())
            drop(clip, place.inbox / "b.mkv")
            place.wait_for("b.mkv", "done")
            sub.chmod(0o755)
            drop(clip, sub / "c.mkv")
            place.wait_for("sub/c.mkv", "done")

            assert daemon.stop() == 0
    finally:
        sub.chmod(0o755)

    assert sorted(job["source"] for job in place.jobs()) == ["b.mkv", "sub/a.mkv", "sub/c.mkv"]
    assert not list(place.outbox.rglob("* (2)*"))


def test_an_original_under_anothers_write_lease_at_the_claim_is_taken_later(
    tmp_path: Path, clip: Path
) -> None:
    """Samba holds such leases; opening the file breaks them, which takes its client a moment."""
    place = CopyPlace(tmp_path / "videos")
    path = place.inbox / "a.mkv"
    code = (
        "import fcntl, os, signal, sys\n"
        "signal.signal(signal.SIGIO, signal.SIG_IGN)\n"
        "fcntl.fcntl(os.open(sys.argv[1], os.O_RDWR), fcntl.F_SETLEASE, fcntl.F_WRLCK)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )

    def fill() -> int:
        drop(clip, path)
        return 1

    with place.paused(fill):
        holder = subprocess.Popen(
            [sys.executable, "-c", code, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert holder.stdout and holder.stdout.readline() == "held\n"
            place.say("resume")
            wait_until(lambda: "running→queued a.mkv" in place.log())
            job = place.job("a.mkv")
        finally:
            holder.communicate()

    assert (job["state"], job["attempt"]) == ("queued", 0)
    assert job["reason"].startswith("it cannot be read now")
    assert place.tree() == ["inbox/a.mkv"]


def test_a_second_drop_of_a_name_that_is_being_delivered_is_picked_up(
    tmp_path: Path, clip: Path
) -> None:
    place = CopyPlace(
        tmp_path / "videos",
        tweak="import watchconv.daemon.deliveries as d; d.RETRY_SECONDS = 0.3",
        unprivileged=True,
    )
    (place.done / "sub").mkdir(mode=0o500)
    second = tmp_path / "second.mkv"
    second.write_bytes(clip.read_bytes() + bytes(8))
    with Daemon(place):
        drop(clip, place.inbox / "sub/a.mkv")
        wait_until(lambda: "cannot be delivered yet" in place.log())
        drop(second, place.inbox / "sub/a.mkv")
        wait_until(lambda: "over: job 1" in place.log())  # its original is gone: it is done
        (place.done / "sub").chmod(0o755)
        place.wait_for_counts(done=2)

    assert not list(place.inbox.rglob("*.mkv"))
    assert (place.done / "sub/a.mkv").read_bytes() == second.read_bytes()
    assert sorted(path.name for path in (place.outbox / "sub").iterdir()) == ["a (2).mkv", "a.mkv"]


def test_what_was_made_of_an_original_that_changed_is_dropped(
    tmp_path: Path, long_clip: Path, gates: Path
) -> None:
    plan = {"gone*": "hang", "moved*": "hang", "new name*": "copy"}
    place = FakePlace(tmp_path / "videos", plan, otherwise=f"gate:{gates}", jobs=6, frames=None)
    inbox = place.inbox
    names = ("appended", "replaced", "touched", "shut", "gone", "moved")
    other = tiny_clip(tmp_path, "other.mkv", 1.0)
    longer = long_clip.read_bytes() + b"\xec\x84free"  # an EBML element that says nothing
    for name in names:
        drop(long_clip, inbox / f"{name}.mkv")
    with Daemon(place) as daemon:
        wait_until(lambda: len(place.children()) == len(names), what=daemon.log)
        with (inbox / "appended.mkv").open("ab") as writer:
            writer.write(longer[-6:])
        drop(other, inbox / "replaced.mkv")
        os.utime(inbox / "touched.mkv", (1e9, 1e9))
        (inbox / "shut.mkv").chmod(0o600)
        (inbox / "gone.mkv").unlink()
        (inbox / "moved.mkv").rename(inbox / "new name.mkv")
        for name in ("gone.mkv", "moved.mkv"):  # they hang: nobody but the daemon ends them
            wait_until(lambda name=name: not place.children(name))  # type: ignore[misc]
        (gates / "all").touch()
        kept = {"appended.mkv", "replaced.mkv", "touched.mkv", "shut.mkv", "new name.mkv"}
        for name in kept:
            place.wait_for(name, "done")

        assert place.states() == {
            "appended.mkv": ["superseded", "done"],
            "replaced.mkv": ["superseded", "done"],
            "touched.mkv": ["superseded", "done"],
            "shut.mkv": ["superseded", "done"],
            "gone.mkv": ["withdrawn"],
            "moved.mkv": ["withdrawn"],
            "new name.mkv": ["done"],
        }
        made = {name: (place.outbox / name).read_bytes() for name in files_in(place.outbox)}
        assert made == {
            "appended.webm": longer,
            "replaced.webm": other.read_bytes(),
            "touched.webm": long_clip.read_bytes(),
            "shut.webm": long_clip.read_bytes(),
            "new name.webm": long_clip.read_bytes(),
        }
        assert files_in(place.error) == files_in(inbox) == set()


def test_an_original_that_changes_each_time_runs_out_of_attempts(
    tmp_path: Path, long_clip: Path, gates: Path
) -> None:
    """Three times in a row cost one attempt; then it is failed as others are, file and report."""
    place = FakePlace(tmp_path / "videos", otherwise=f"gate:{gates}", max_attempts=1)
    drop(long_clip, place.inbox / "a.mkv")
    with Daemon(place) as daemon:
        for number in (1, 2, 3):
            wait_until(place.children, what=daemon.log)
            os.utime(place.inbox / "a.mkv", (number, number))
            (gates / f"{number}.1").touch()
            wait_until(lambda: not place.children())
        wait_until(lambda: place.transitions("delivering→failed"), what=daemon.log)

        assert files_in(place.error) == {"a.mkv", "a.mkv.log"}
        assert "changed each time" in place.report("a.mkv")[0]
        assert place.states() == {"a.mkv": ["superseded"] * 3 + ["failed"]}
        assert files_in(place.outbox) == files_in(place.inbox) == set()

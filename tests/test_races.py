"""Races and rough hands: what once broke the program, each provoked again on real files."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import Daemon, Place, drop, tiny_clip
from tests.fakes import write_fake
from tests.places import copy, make_folder, move
from tests.waiting import wait_until
from tests.wrapped import WrappedPlace
from watchconv.config.load import load_config
from watchconv.daemon import Daemon as Life
from watchconv.daemon.deliveries import AT_ONCE, Deliveries
from watchconv.daemon.slots import Slots
from watchconv.daemon.trouble import Troubles
from watchconv.deliver.destination import DeliveryOrder, DeliveryResult, DeliverySettings
from watchconv.deliver.ownership import Ownership
from watchconv.deliver.reports import REPORT_MARK
from watchconv.host.folders import Folders
from watchconv.host.workdir import WorkDirectories
from watchconv.intake.filters import NameFilter
from watchconv.intake.scan import InboxScanner, ScanResult, ScanRules
from watchconv.intake.settling import SettleSettings
from watchconv.journal import requests
from watchconv.journal.jobs import MOUNTS, Journal
from watchconv.journal.thread import JournalThread
from watchconv.model import (
    Candidate,
    Intent,
    Job,
    JobState,
    OnSuccess,
    Rejected,
    Request,
    Verdict,
)
from watchconv.policy import Deliver, Requeue

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from watchconv.daemon import Listener
    from watchconv.policy import Decision

FRAMES = 2  # of the clip
EAGER: dict[str, Any] = {
    "settle_seconds": 0.1,
    "settle_network_seconds": 0.3,
    "min_free": 0,
    "nice": 0,
    "ionice": "none",
    "max_attempts": 1,
    "jobs": 2,
    "profile": "copy",
    "profiles": {"copy": {"suffix": ".mkv", "args": "-c copy", "verify": "off"}},
}
SETTINGS = DeliverySettings(OnSuccess.MOVE, True, Ownership())
BEGIN = "import sys\nfrom watchconv.cli import main\nsys.exit(main(sys.argv[1:]))"


class Scene(Place):
    """A place with a fake ffmpeg, whose program may be tweaked, or held to the rules of users."""

    def __init__(
        self,
        root: Path,
        settings: Mapping[str, Any] | None = None,
        *,
        plan: Mapping[str, str] | None = None,
        tweak: str = "",
        unprivileged: bool = False,
    ) -> None:
        self._tweak, self._prefix = tweak, without_override() if unprivileged else []
        self._programs = root.with_name(f"{root.name}.ffmpeg")
        ffmpeg = self.plan(plan)
        super().__init__(root.resolve(), {**EAGER, **(settings or {})}, ffmpeg=ffmpeg)

    def plan(self, plan: Mapping[str, str] | None = None) -> str:
        """Write the fake, now or anew."""
        return write_fake(self._programs, plan, frames=FRAMES)

    def command(self, *words: str | int) -> list[str]:
        code = f"{self._tweak}\n{BEGIN}"
        python = (*self._prefix, sys.executable, "-W", "error", "-c", code)
        return [*python, *self.options, *map(str, words)]

    def once(self, seconds: float = 60.0) -> int:
        """Work the inbox off; return the exit code."""
        with self.log_file.open("ab") as log:
            ended = subprocess.run(
                self.command("run", "--once"),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=seconds,
                check=False,
            )
        return ended.returncode

    def counts(self) -> Counter[str]:
        """Count the jobs by state."""
        return Counter(job["state"] for job in self.jobs())

    def tree(self) -> list[str]:
        """List what lies in the four folders."""
        return sorted(
            str(path.relative_to(self.root))
            for folder in (self.inbox, self.outbox, self.done, self.error)
            for path in folder.rglob("*")
            if not path.is_dir() and ".watchconv" not in path.parts
        )

    def wait_for_counts(self, **counts: int) -> None:
        """Wait until there are so many jobs in each state, and none in another."""
        wait_until(lambda: self.counts() == counts, what=lambda: f"{self.counts()}\n{self.log()}")

    @contextmanager
    def paused(self, inbox: Callable[[], int]) -> Iterator[Daemon]:
        """Run a daemon that has queued what was put into the inbox, and is paused."""
        self.say("pause")
        expected = inbox()
        with Daemon(self) as daemon:
            self.wait_for_counts(queued=expected)
            yield daemon


def without_override() -> list[str]:
    """Begin a program to which, be it root's, folders can be closed."""
    if os.geteuid() != 0:
        return []
    rights = "-dac_override,-dac_read_search,-fowner"
    return ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of two frames."""
    return tiny_clip(tmp_path_factory.mktemp("clips"))


# the inbox changes under the workers


def test_a_backlog_that_is_deleted_while_workers_take_from_it_is_withdrawn(
    tmp_path: Path, clip: Path
) -> None:
    scene = Scene(tmp_path / "videos", {"jobs": 4})

    def fill() -> int:
        for n in range(150):
            drop(clip, scene.inbox / f"{n}.mkv")
        return 150

    with scene.paused(fill) as daemon:
        scene.say("resume")
        wait_until(lambda: "queued→running" in scene.log())
        for path in list(scene.inbox.iterdir()):
            path.unlink(missing_ok=True)
        wait_until(lambda: not set(scene.counts()) - {"done", "withdrawn"})
        drop(clip, scene.inbox / "after.mkv")
        scene.wait_for("after.mkv", "done")

        assert daemon.stop() == 0

    counts = scene.counts()

    assert sum(counts.values()) == 151
    assert counts["withdrawn"] > 0
    assert len(list(scene.outbox.glob("*.mkv"))) == counts["done"]
    assert len(list(scene.done.iterdir())) <= counts["done"]  # some went during their delivery
    assert os.listdir(scene.outbox / ".watchconv") == []


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
    folders.lock(str(tmp_path))
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
    scene = Scene(tmp_path / "videos")

    def fill() -> int:
        for n in range(5):
            drop(clip, scene.inbox / f"trip/deep/{n}.mkv")
        drop(clip, scene.inbox / "stays.mkv")
        return 6

    with scene.paused(fill):
        (scene.inbox / "trip").rename(scene.root / "elsewhere")
        scene.wait_for_counts(queued=1, withdrawn=5)

    assert len(list((scene.root / "elsewhere/deep").iterdir())) == 5


def test_a_folder_that_is_closed_when_its_job_is_taken_loses_nothing(
    tmp_path: Path, clip: Path
) -> None:
    scene = Scene(
        tmp_path / "videos",
        tweak="import watchconv.daemon.deliveries as d; d.RETRY_SECONDS = 0.3",
        unprivileged=True,
    )
    sub = scene.inbox / "sub"

    def fill() -> int:
        drop(clip, sub / "a.mkv")
        return 1

    try:
        with scene.paused(fill) as daemon:
            sub.chmod(0)
            scene.say("resume")
            wait_until(lambda: "queued→running" in scene.log())
            drop(clip, scene.inbox / "b.mkv")
            scene.wait_for("b.mkv", "done")
            sub.chmod(0o755)
            drop(clip, sub / "next.mkv")
            scene.wait_for("sub/next.mkv", "done")
            wait_until(lambda: not set(scene.counts()) - {"done", "failed", "queued"})

            assert daemon.stop() == 0
    finally:
        sub.chmod(0o755)
    originals = [name for name in scene.tree() if name.endswith("sub/a.mkv")]

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
    scene = Scene(tmp_path / "videos", {"on_success": "keep", "scan_seconds": 1}, unprivileged=True)
    sub = scene.inbox / "sub"
    try:
        with Daemon(scene) as daemon:
            drop(clip, sub / "a.mkv")
            scene.wait_for("sub/a.mkv", "done")
            sub.chmod(0)
            wait_until(lambda: "cannot look into sub" in scene.log())
            drop(clip, scene.inbox / "b.mkv")
            scene.wait_for("b.mkv", "done")
            sub.chmod(0o755)
            drop(clip, sub / "c.mkv")
            scene.wait_for("sub/c.mkv", "done")

            assert daemon.stop() == 0
    finally:
        sub.chmod(0o755)

    assert sorted(job["source"] for job in scene.jobs()) == ["b.mkv", "sub/a.mkv", "sub/c.mkv"]
    assert not list(scene.outbox.rglob("* (2)*"))


def test_an_original_under_anothers_write_lease_at_the_claim_is_taken_later(
    tmp_path: Path, clip: Path
) -> None:
    """Samba holds such leases; opening the file breaks them, which takes its client a moment."""
    scene = Scene(tmp_path / "videos")
    path = scene.inbox / "a.mkv"
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

    with scene.paused(fill):
        holder = subprocess.Popen(
            [sys.executable, "-c", code, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert holder.stdout and holder.stdout.readline() == "held\n"
            scene.say("resume")
            wait_until(lambda: "running→queued a.mkv" in scene.log())
            job = scene.job("a.mkv")
        finally:
            holder.communicate()

    assert (job["state"], job["attempt"]) == ("queued", 0)
    assert job["reason"].startswith("it cannot be read now")
    assert scene.tree() == ["inbox/a.mkv"]


def test_a_second_drop_of_a_name_that_is_being_delivered_is_picked_up(
    tmp_path: Path, clip: Path
) -> None:
    scene = Scene(
        tmp_path / "videos",
        tweak="import watchconv.daemon.deliveries as d; d.RETRY_SECONDS = 0.3",
        unprivileged=True,
    )
    (scene.done / "sub").mkdir(mode=0o500)
    second = tmp_path / "second.mkv"
    second.write_bytes(clip.read_bytes() + bytes(8))
    with Daemon(scene):
        drop(clip, scene.inbox / "sub/a.mkv")
        wait_until(lambda: "cannot be delivered yet" in scene.log())
        drop(second, scene.inbox / "sub/a.mkv")
        wait_until(lambda: "over: job 1" in scene.log())  # its original is gone: it is done
        (scene.done / "sub").chmod(0o755)
        scene.wait_for_counts(done=2)

    assert not list(scene.inbox.rglob("*.mkv"))
    assert (scene.done / "sub/a.mkv").read_bytes() == second.read_bytes()
    assert sorted(path.name for path in (scene.outbox / "sub").iterdir()) == ["a (2).mkv", "a.mkv"]


def test_more_files_than_are_remembered_are_all_converted_soon(tmp_path: Path, clip: Path) -> None:
    scene = Scene(tmp_path / "videos", tweak="import watchconv.intake.settling as w; w.LIMIT = 3")
    for n in range(12):
        drop(clip, scene.inbox / f"{n}.mkv")
    with Daemon(scene):
        scene.wait_for_counts(done=12)


def test_more_files_than_are_remembered_are_converted_soon_when_events_told_of_them(
    tmp_path: Path, clip: Path
) -> None:
    """A copy program writes them: nothing about them proves that they are whole at once."""
    scene = Scene(
        tmp_path / "videos",
        {"settle_seconds": 1},
        tweak="import watchconv.intake.settling as w; w.LIMIT = 3",
    )
    with Daemon(scene):
        for n in range(12):
            shutil.copyfile(clip, scene.inbox / f"{n}.mkv")
        scene.wait_for_counts(done=12)


# strange files


def test_a_file_from_the_year_2300_is_converted(tmp_path: Path, clip: Path) -> None:
    scene = Scene(tmp_path / "videos")
    drop(clip, scene.inbox / "a.mkv")
    os.utime(scene.inbox / "a.mkv", ns=(10**18, 10_400_000_000_000_000_000))
    kept = (scene.inbox / "a.mkv").stat().st_mtime_ns

    assert scene.once() == 0
    assert scene.tree() == ["done/a.mkv", "outbox/a.mkv"]
    assert (scene.done / "a.mkv").stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    "name",
    [
        "No space left on device.mkv",
        "No space left on device\n.mkv",
        "x: Disk quota exceeded\n.mkv",
    ],
)
def test_a_name_is_not_taken_for_a_full_disk(tmp_path: Path, clip: Path, name: str) -> None:
    """It would stop all other work, again and again, for ever."""
    settings = {**EAGER, "jobs": 1}
    place = Place((tmp_path / "videos").resolve(), settings)
    drop(clip, place.inbox / name)
    with Daemon(place):
        wait_until(lambda: "running→" in place.log())
        drop(clip, place.inbox / "b.mkv")
        place.wait_for("b.mkv", "done")

        assert place.status()["trouble"] == []
        assert {job["state"] for job in place.jobs()} == {"done"}


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/none", path)])
def test_what_is_no_file_and_has_the_name_of_a_report_holds_up_nobody(
    tmp_path: Path, clip: Path, make: Callable[[Path], None]
) -> None:
    scene = Scene(tmp_path / "videos", {"jobs": 1})
    make(scene.error / "a.mkv.log")
    (scene.inbox / "a.mkv").write_bytes(b"bad")
    drop(clip, scene.inbox / "b.mkv")

    assert scene.once() == 1
    assert scene.tree() == [
        "done/b.mkv",
        "error/a (2).mkv",
        "error/a (2).mkv.log",
        "error/a.mkv.log",
        "outbox/b.mkv",
    ]


def test_a_link_with_the_name_of_a_scratch_file_is_not_followed(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "videos")
    (tmp_path / "victim").write_text("precious")
    (scene.error / ".watchconv-1.part").symlink_to(tmp_path / "victim")
    (scene.inbox / "a.mkv").write_bytes(b"bad")

    assert scene.once() == 1
    assert (tmp_path / "victim").read_text() == "precious"
    assert scene.tree() == ["error/a.mkv", "error/a.mkv.log"]
    assert not (scene.error / "a.mkv.log").is_symlink()


def test_a_file_in_the_place_of_a_folder_makes_the_folder_another(
    tmp_path: Path, clip: Path
) -> None:
    scene = Scene(tmp_path / "videos")
    drop(clip, scene.inbox / "trip.mkv/b.mkv")
    (scene.inbox / "trip.mkv/bad.mkv").write_bytes(b"bad")
    for folder in (scene.outbox, scene.done, scene.error):
        (folder / "trip.mkv").write_text("somebody's")

    assert scene.once() == 1
    assert scene.tree() == [
        "done/trip (2).mkv/b.mkv",
        "done/trip.mkv",
        "error/trip (2).mkv/bad.mkv",
        "error/trip (2).mkv/bad.mkv.log",
        "error/trip.mkv",
        "outbox/trip (2).mkv/b.mkv",
        "outbox/trip.mkv",
    ]


def test_no_copy_carries_setuid_bits(tmp_path: Path) -> None:
    """The copy may belong to the daemon's user, root perhaps, and its content is a stranger's."""
    source = tmp_path / "a.mkv"
    source.write_bytes(b"moving pictures")
    source.chmod(0o6755)
    copy(source, tmp_path / "copy")

    assert (tmp_path / "copy").stat().st_mode & 0o7777 == 0o755

    with tempfile.TemporaryDirectory(dir="/dev/shm") as far:
        target = Path(far, "a.mkv")
        move(source, target, ours=False)

        assert target.read_bytes() == b"moving pictures"
        if os.stat(far).st_dev != os.stat(tmp_path).st_dev:
            assert target.stat().st_mode & 0o7777 == 0o755


# the folders


def test_a_report_that_cannot_be_removed_does_not_end_the_daemon(
    tmp_path: Path, clip: Path
) -> None:
    """An original was taken out of error/ by hand, and its folder is somebody else's by now."""
    scene = Scene(tmp_path / "videos", unprivileged=True)
    sub = scene.error / "sub"
    sub.mkdir()
    mark = json.dumps([77, "sub/a.mkv"])
    (sub / "a.mkv.log").write_text(f"why\n{REPORT_MARK}{mark}\n")
    sub.chmod(0o500)
    try:
        drop(clip, scene.inbox / "sub/a.mkv")
        drop(clip, scene.inbox / "b.mkv")

        assert scene.once() == 0, scene.log()
    finally:
        sub.chmod(0o755)

    assert (scene.done / "sub/a.mkv").exists()
    assert (scene.done / "b.mkv").exists()


NO_MARKS = ['["x", 1]', '[null, "y"]', '[1e999, "y"]', "[" * 30_000]


@pytest.mark.parametrize("mark", NO_MARKS, ids=["word", "null", "infinite", "deep"])
def test_a_file_that_only_looks_like_a_report_does_not_end_the_daemon(
    tmp_path: Path, mark: str
) -> None:
    scene = Scene(tmp_path / "videos")
    (scene.error / "a.mkv.log").write_text(f"why\n{REPORT_MARK}{mark}\n")
    (scene.inbox / "a.mkv").write_bytes(b"bad")

    assert scene.once() == 1
    assert scene.tree() == ["error/a (2).mkv", "error/a (2).mkv.log", "error/a.mkv.log"]


def test_work_that_was_left_while_the_outbox_was_away_is_swept_when_it_is_back(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path / "videos")
    away = scene.outbox.with_name("away")
    with Daemon(scene):
        wait_until(lambda: "watching" in scene.log())
        scene.outbox.rename(away)
        (scene.inbox / "a.txt").touch()  # so that there is a look, and a check before it
        wait_until(lambda: scene.live().get("state") == "trouble")
        (away / ".watchconv/77.1").mkdir(parents=True)
        away.rename(scene.outbox)
        wait_until(lambda: not (scene.outbox / ".watchconv/77.1").exists())


def test_a_pause_is_heard_while_a_folder_is_in_trouble(tmp_path: Path, clip: Path) -> None:
    scene = Scene(tmp_path / "videos")
    scene.done.rmdir()
    drop(clip, scene.inbox / "a.mkv")
    with Daemon(scene):
        wait_until(lambda: scene.live().get("state") == "trouble")
        scene.say("pause")
        wait_until(lambda: "paused: no new job is claimed" in scene.log())
        scene.done.mkdir()
        wait_until(lambda: scene.live().get("state") == "paused")
        scene.wait_for_counts(queued=1)
        scene.say("resume")
        scene.wait_for("a.mkv", "done")

    assert scene.log().index("paused: no") < scene.log().index("queued→running")


def test_a_mount_that_is_gone_for_good_can_be_forgotten(tmp_path: Path, clip: Path) -> None:
    scene = Scene(tmp_path / "videos")
    scene.state.mkdir(mode=0o700)
    journal = Journal(str(scene.state))
    journal.remember(MOUNTS, json.dumps({str(scene.inbox): str(scene.inbox)}))
    journal.close()
    drop(clip, scene.inbox / "a.mkv")

    assert scene.once() == 1
    assert scene.tree() == ["inbox/a.mkv"]
    assert "check --forget-mounts" in scene.log()
    assert scene.run("check").returncode == 1
    assert scene.run("check", "--forget-mounts").returncode == 0
    assert scene.once() == 0
    assert scene.tree() == ["done/a.mkv", "outbox/a.mkv"]
    assert scene.run("check").returncode == 0


def together(many: int, work: Callable[[int], object]) -> None:
    """Do the same on many threads at the same moment."""
    ready = threading.Barrier(many)

    def one(n: int) -> None:
        ready.wait(60)
        work(n)

    with ThreadPoolExecutor(many) as pool:
        for future in [pool.submit(one, n) for n in range(many)]:
            future.result()


def test_deliveries_make_the_same_folders_at_the_same_moment(tmp_path: Path) -> None:
    for n in range(100):
        together(4, lambda _, n=n: make_folder(tmp_path, f"{n}/a/b", Ownership()))  # type: ignore[misc]

    assert all((tmp_path / f"{n}/a/b").is_dir() for n in range(100))


def test_attempts_make_the_first_work_directories_at_the_same_moment(tmp_path: Path) -> None:
    folders = Folders(*(str(tmp_path / name) for name in ("inbox", "outbox", "done", "error")))
    folders.make()
    folders.check(str(tmp_path))
    work = WorkDirectories(folders)
    for _ in range(200):
        together(4, lambda k: work.make(k, 1, "/a.mkv"))

        assert sorted(os.listdir(tmp_path / "outbox/.watchconv")) == ["0", "1", "2", "3"]
        shutil.rmtree(tmp_path / "outbox/.watchconv")
    folders.unlock()


# retries


def test_a_retry_and_a_move_back_by_hand_make_one_job(tmp_path: Path, clip: Path) -> None:
    scene = Scene(tmp_path / "videos", plan={"*": "exit:1"})
    drop(clip, scene.inbox / "a.mkv")

    assert scene.once() == 1

    scene.say("retry", 1)
    (scene.error / "a.mkv").rename(scene.inbox / "a.mkv")
    scene.plan()

    assert scene.once() == 0
    assert scene.tree() == ["done/a.mkv", "outbox/a.mkv"]
    assert [job["state"] for job in scene.jobs()] == ["done", "failed"]
    assert scene.once() == 0
    assert len(scene.jobs()) == 2


def test_a_failed_file_moved_into_the_folder_of_a_profile_leaves_no_report(
    tmp_path: Path, clip: Path
) -> None:
    scene = Scene(tmp_path / "videos", plan={"*": "exit:1"})
    drop(clip, scene.inbox / "trip/a.mkv")
    assert scene.once() == 1
    (scene.inbox / "webm/trip").mkdir(parents=True)
    (scene.error / "trip/a.mkv").rename(scene.inbox / "webm/trip/a.mkv")
    scene.plan()

    assert scene.once() == 0
    assert scene.tree() == ["done/webm/trip/a.mkv", "outbox/webm/trip/a.webm"]


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_retry_takes_no_report_away_but_its_own(
    tmp_path: Path, clip: Path, is_folder: bool
) -> None:
    scene = Scene(tmp_path / "videos", plan={"*": "exit:1"})
    drop(clip, scene.inbox / "a.mkv")
    assert scene.once() == 1
    report = scene.error / "a.mkv.log"
    report.unlink()
    if is_folder:
        report.mkdir()
    else:
        report.write_text("somebody's notes")
    scene.say("retry", 1)
    scene.plan()

    assert scene.once() == 0
    assert report.is_dir() if is_folder else report.read_text() == "somebody's notes"
    assert (scene.done / "a.mkv").exists()


# run --once


def test_run_once_does_not_end_before_the_file_that_changed_is_done(
    tmp_path: Path, clip: Path
) -> None:
    scene = Scene(tmp_path / "videos", plan={"*": "slow:0.7"})
    drop(clip, scene.inbox / "a.mkv")
    daemon = Daemon(scene, "--once")
    try:
        daemon.start()
        wait_until((scene.outbox / ".watchconv/1/1/output.mkv").exists)
        with (scene.inbox / "a.mkv").open("ab") as file:
            file.write(bytes(8))

        assert daemon.wait() == 0
    finally:
        daemon.kill()

    assert [job["state"] for job in scene.jobs()] == ["done", "superseded"]
    assert (scene.done / "a.mkv").read_bytes() == clip.read_bytes() + bytes(8)
    assert scene.tree() == ["done/a.mkv", "outbox/a.mkv"]


def in_parts(
    scene: Scene,
    steps: Callable[[Any], Coroutine[Any, Any, None]],
    listener: Listener | None = None,
) -> None:
    """Run steps with the parts of a daemon that does not live."""

    async def begin() -> None:
        life: Any = Life(load_config(str(scene.config)), listener=listener)
        life._parts = await life._begin()
        try:
            await steps(life)
        finally:
            await life._end()

    asyncio.run(begin())


async def claim(life: Any, order: Candidate) -> Job:
    """Give the job of a settled file, claimed."""
    await life._journal.ask(Journal.add, [order], 1.0)
    job: Job = await life._journal.ask(Journal.claim, 2.0)
    return job


def settled(scene: Scene, clip: Path, name: str = "a.mkv") -> Candidate:
    """Drop a clip, and give what a look makes of it."""
    drop(clip, scene.inbox / name)
    found = (scene.inbox / name).stat()
    return Candidate(name, found.st_size, found.st_mtime_ns, "copy")


@contextmanager
def slow_disk(journal: Any) -> Iterator[Callable[[], Any]]:
    """Hold the journal's thread up. What is given tells how many questions wait behind it."""
    begun, over = threading.Event(), threading.Event()

    def stall() -> None:
        begun.set()
        over.wait(60)

    journal._executor.submit(stall)
    assert begun.wait(60)
    try:
        yield journal._executor._work_queue.qsize
    finally:
        over.set()


def run_at_the_end(scene: Scene, step: Callable[[Any, Job], Any]) -> bool:
    """Ask whether a ``run --once`` is over while one step of its last job is being written."""
    answers = []

    async def ask_meanwhile(life: Any) -> None:
        job = await claim(life, Candidate("a.mkv", 1, 1, "copy"))
        with slow_disk(life._journal) as waiting:
            ending = asyncio.create_task(step(life, job))
            await asyncio.to_thread(wait_until, lambda: waiting() == 1)
            over = asyncio.create_task(life._parts.once._is_done())
            await asyncio.to_thread(wait_until, lambda: over.done() or waiting() == 2)
        await ending
        answers.append(await over)

    in_parts(scene, ask_meanwhile)
    return bool(answers.pop())


def test_run_once_is_not_over_while_a_changed_file_is_still_to_be_told_of(tmp_path: Path) -> None:
    """The row of an original that is gone is ended before anybody is told to look again."""
    scene = Scene(tmp_path / "videos")

    async def step(life: Any, job: Job) -> None:
        await life._parts.pool._work_on((job, 1), await Slots(1).take())

    assert not run_at_the_end(scene, step)


def test_run_once_is_not_over_while_the_end_of_a_delivery_is_still_to_be_told_of(
    tmp_path: Path,
) -> None:
    """The row says failed, but it is not counted yet, nor is its name looked at again."""
    scene = Scene(tmp_path / "videos")

    async def step(life: Any, job: Job) -> None:
        intent = Intent(Verdict.FAILED, original="a.mkv", reason="why", report="report")
        after = life._journal._journal.intend(job, intent)  # its thread is held up
        await life._parts.deliveries.begin(after)
        assert await life._parts.deliveries.finish(60, asyncio.Event())

    assert not run_at_the_end(scene, step)


@pytest.mark.parametrize(
    "decision",
    [
        Requeue(refund=True, wait_seconds=60.0, report="what ffmpeg said"),
        Deliver(Verdict.ENCODED, (OutputFile("output.mkv", ".mkv", 1),)),
        Deliver(Verdict.FAILED, reason="no video", report="what ffmpeg said"),
    ],
)
def test_a_cancel_that_comes_when_an_attempt_has_just_ended_is_carried_out(
    tmp_path: Path, clip: Path, decision: Decision
) -> None:
    """No worker takes a job with a request, and nobody looks at one in the queue again."""
    scene = Scene(tmp_path / "videos")
    order = settled(scene, clip)

    async def steps(life: Any) -> None:
        journal, parts = life._journal, life._parts
        job = await claim(life, order)
        assert await journal.ask(requests.note, job.id, Request.CANCEL) is None
        await parts.pool._carry_out(job, decision)
        assert await parts.deliveries.finish(60, asyncio.Event())

    in_parts(scene, steps)

    assert [(job["state"], job["reason"]) for job in scene.jobs()] == [("failed", "cancelled")]
    assert scene.tree() == ["error/a.mkv", "error/a.mkv.log"]
    said = "what ffmpeg said" in (scene.error / "a.mkv.log").read_text(encoding="utf-8")
    assert said == ("said" in str(decision))


def test_a_look_at_everything_that_is_asked_for_during_one_is_not_lost(tmp_path: Path) -> None:
    """What the first has passed already is seen by the second, not by the next regular look."""
    scene = Scene(tmp_path / "videos", {"scan_seconds": 86400})
    looks = []

    async def steps(life: Any) -> None:
        looking, loop = life._parts.looking, asyncio.get_running_loop()

        async def ask() -> None:
            looking.look_at_all()

        def scan(hints: object, *_: object) -> ScanResult:
            looks.append(hints)
            if len(looks) == 1:
                asyncio.run_coroutine_threadsafe(ask(), loop).result()
            return ScanResult()

        looking._intake.scan = scan
        for _ in range(3):
            await looking._look()

    in_parts(scene, steps)

    everything, again, hints = looks
    assert everything is None
    assert again is None
    assert hints is not None


def test_a_folder_that_cannot_be_read_is_looked_at_again_by_one_timer(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "videos", {"scan_seconds": 86400})

    async def steps(life: Any) -> None:
        looking, timers = life._parts.looking, asyncio.get_running_loop()
        looking._intake.scan = lambda *_: ScanResult(unread={"closed"})
        for _ in range(5):
            await looking._look()
        assert sum(not timer.cancelled() for timer in timers._scheduled) == 1  # type: ignore[attr-defined]

    in_parts(scene, steps)


def test_a_file_that_is_refused_holds_no_slot_while_it_is_delivered(
    tmp_path: Path, clip: Path
) -> None:
    """Slots are for ffmpeg; a delivery may have to wait for slow copies."""
    scene = Scene(tmp_path / "videos")
    order = settled(scene, clip)

    async def refuse(given: object) -> Rejected:
        return Rejected("no video")

    async def steps(life: Any) -> None:
        parts = life._parts
        slots, held, arrived = Slots(1), asyncio.Event(), asyncio.Event()

        async def begin(job: Job) -> None:
            arrived.set()
            await held.wait()

        parts.engine.run, parts.deliveries.begin = refuse, begin
        job = await claim(life, order)
        working = asyncio.create_task(parts.pool._work_on((job, 1), await slots.take()))
        await arrived.wait()
        assert slots.taken == 0
        held.set()
        await working

    in_parts(scene, steps)


class Ears:
    """A listener that notes what it heard of jobs."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def job_changed(self, job: Job) -> None:
        self.heard.append(f"{job.source} {job.state}")

    def present(self, now: Status) -> None:
        """Not asked for here."""


def test_a_listener_hears_of_every_change_of_state_whoever_made_it(
    tmp_path: Path, clip: Path
) -> None:
    scene, ears = Scene(tmp_path / "videos"), Ears()
    order = settled(scene, clip, "b.mkv")

    async def steps(life: Any) -> None:
        journal, parts = life._journal, life._parts
        await journal.ask(Journal.add, [replace(order, source="a.mkv"), order], 1.0)
        await journal.ask(Journal.withdraw, 1, JobState.QUEUED, 2.0)  # as a look does
        await journal.ask(Journal.claim, 3.0)
        await recover(journal, life._folders, parts.work, parts.pool, 3)
        await journal.ask(requests.note, 2, Request.CANCEL)
        await parts.requests.carry_out()
        assert await parts.deliveries.finish(60, asyncio.Event())

    in_parts(scene, steps, ears)

    assert ears.heard == [
        "a.mkv queued",
        "b.mkv queued",
        "a.mkv withdrawn",
        "b.mkv running",
        "b.mkv queued",
        "b.mkv delivering",
        "b.mkv failed",
    ]


HANGING = """
import pathlib, sys, threading
from watchconv.intake.scan import InboxScanner
look = InboxScanner.look
def hang(intake, hints):
    looked = look(intake, hints)
    if pathlib.Path(sys.argv[2]).with_name("dead").exists():
        pathlib.Path(sys.argv[2]).with_name("hung").touch()
        threading.Event().wait()
    return looked
InboxScanner.look = hang
"""


def test_a_daemon_whose_look_hangs_on_a_dead_mount_can_be_stopped(
    tmp_path: Path, clip: Path
) -> None:
    """It waited for the thread of the look, for ever: only SIGKILL was left."""
    scene = Scene(tmp_path / "videos", tweak=HANGING)
    with Daemon(scene) as daemon:
        (scene.root / "dead").touch()
        drop(clip, scene.inbox / "a.mkv")
        wait_until((scene.root / "hung").exists)

        assert daemon.stop() == 0

    assert scene.log().splitlines()[-1].endswith("stopped")


# deliveries


def test_a_second_signal_does_not_wait_for_deliveries(delivering: JournalThread) -> None:
    release = threading.Event()

    class Slow(Counting):
        def deliver(self, order: DeliveryOrder, retarget: object) -> DeliveryResult:
            release.wait(60)
            return super().deliver(order, retarget)

    async def finish() -> bool:
        deliveries = Deliveries(
            Slow(),  # type: ignore[arg-type]
            delivering,
            Troubles(),
            lambda: SETTINGS,
            ended=lambda job: None,
        )
        (job, *_) = await delivering.ask(Journal.in_state, JobState.DELIVERING)
        await deliveries.begin(job)
        hurry = asyncio.Event()
        asyncio.get_running_loop().call_later(0.1, hurry.set)
        ended = await deliveries.finish(3600, hurry)
        release.set()
        assert await deliveries.finish(60, asyncio.Event())
        return ended

    assert not asyncio.run(finish())


class Counting:
    """An outlet that notes each delivery and takes its time."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.at_work: Counter[int] = Counter()
        self.doubled: list[int] = []

    def deliver(self, order: DeliveryOrder, retarget: object) -> DeliveryResult:
        self.began.append(order.job_id)
        self.at_work[order.job_id] += 1
        if self.at_work[order.job_id] > 1:
            self.doubled.append(order.job_id)
        time.sleep(0.02)
        self.at_work[order.job_id] -= 1
        return DeliveryResult(JobState.DONE)

    def clear(self, job: Job) -> None:
        pass


@pytest.fixture
def delivering(tmp_path: Path) -> Iterator[JournalThread]:
    """A journal with more deliveries than are carried out at once."""
    journal = JournalThread(str(tmp_path))
    clips = [Candidate(f"{n}.mkv", 1, 1, "copy") for n in range(5 * AT_ONCE)]
    for job in journal.ask_blocking(Journal.add, clips, 1.0):
        claimed = journal.ask_blocking(Journal.claim, 2.0)
        assert claimed and claimed.id == job.id
        journal.ask_blocking(Journal.intend, claimed, Intent(Verdict.ENCODED, original="p"))
    yield journal
    journal.close()


def test_no_delivery_is_carried_out_twice_however_often_it_is_begun(
    delivering: JournalThread,
) -> None:
    outlet, ended = Counting(), Counter[int]()
    jobs = delivering.ask_blocking(Journal.in_state, JobState.DELIVERING)

    async def begin_all() -> None:
        deliveries = Deliveries(
            outlet,  # type: ignore[arg-type]
            delivering,
            Troubles(),
            lambda: SETTINGS,
            ended=lambda job: ended.update([job.id]),
        )

        async def worker() -> None:
            for job in jobs:
                await deliveries.begin(job)

        await asyncio.gather(worker(), deliveries.resume())
        assert await deliveries.finish(60, asyncio.Event())

    asyncio.run(begin_all())

    assert outlet.doubled == []
    assert Counter(ended) == Counter(job.id for job in jobs)
    assert Counter(outlet.began) == Counter(job.id for job in jobs)


def test_run_once_ends_where_a_delivery_cannot_be_done(tmp_path: Path, clip: Path) -> None:
    scene = Scene(tmp_path / "videos", unprivileged=True)
    (scene.done / "sub").mkdir(mode=0o500)
    drop(clip, scene.inbox / "sub/a.mkv")

    assert scene.once() == 1
    assert "cannot be delivered yet" in scene.log()
    assert [job["state"] for job in scene.jobs()] == ["delivering"]


UNLOCKING = """
from watchconv.host.folders import Folders
check = Folders.check
calls = []
def check_in_a_bad_moment(folders, state):
    found = check(folders, state)
    calls.append(0)
    if len(calls) == 3:
        folders._let_go(folders.outbox)
    return found
Folders.check = check_in_a_bad_moment
"""


def test_a_bad_moment_of_a_folder_s_lock_does_not_last(tmp_path: Path, clip: Path) -> None:
    """Without another look the folder was not locked again: the job was put off over and over."""
    place = WrappedPlace((tmp_path / "videos").resolve(), {**EAGER, "scan_seconds": 86400})
    place.patch = UNLOCKING
    with Daemon(place):
        drop(clip, place.inbox / "a.mkv")
        place.wait_for("a.mkv", "done")

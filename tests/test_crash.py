"""The daemon is killed at random moments, again and again, and nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import av
import pytest

from tests import daemon as harness
from tests.clips import FFMPEG
from tests.daemon import Daemon, Place, drop, tiny_clip
from tests.fakes import write_fake
from tests.waiting import LONG, wait_until
from watchconv.host.mounts import mount_of
from watchconv.journal.jobs import Journal
from watchconv.model import JobState
from watchconv.process.spawn import find_orphans

if TYPE_CHECKING:
    from pathlib import Path

SEED = int(os.environ.get("WATCHCONV_TEST_SEED") or random.SystemRandom().randrange(10**6))
KILLS_WITH_FAKE = 44
KILLS_WITH_FFMPEG = 10
CALM: dict[str, Any] = {
    "jobs": 4,
    "max_attempts": 1000,  # a crash costs an attempt: here none may run out
    "settle_seconds": 0,
    "settle_network_seconds": 0.2,
    "min_free": 0,
}
SLOW_DISK = """
import os, time
fsync = os.fsync
os.fsync = lambda descriptor: (time.sleep(0.2), fsync(descriptor))[1]
from watchconv.__main__ import main
main()
"""
AS_IT_IS = {"profile": "same", "profiles": {"same": {"suffix": ".ts", "args": "-c:v libvpx"}}}

pytestmark = pytest.mark.timeout(400)


class Watched(Daemon):
    """A daemon whose every word is heard at once."""

    def start(self) -> None:
        """Start it; does not wait."""
        self.place.log_file.touch()
        self.words_said: queue.Queue[str] = queue.Queue()
        self.process = subprocess.Popen(
            self.place.command("run", *self.words),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self.process.stderr
        self._ear = threading.Thread(target=self._listen, args=(self.process.stderr,), daemon=True)
        self._ear.start()

    def _listen(self, stderr: IO[bytes]) -> None:
        with self.place.log_file.open("ab", buffering=0) as log, stderr:
            for line in stderr:
                log.write(line)
                self.words_said.put(line.decode(errors="replace"))

    def hear(self, word: str, seconds: float) -> bool:
        """Wait for a line with this word; tell whether it came in time."""
        deadline = time.monotonic() + seconds
        with contextlib.suppress(queue.Empty):
            while word not in self.words_said.get(timeout=max(0.0, deadline - time.monotonic())):
                continue
            return True
        return False

    def strike(self) -> None:
        """SIGKILL the daemon alone; what it had started must go by itself."""
        assert self.process
        children = find_orphans(mark_of(self.place))
        self.process.kill()
        assert self.process.wait(LONG) == -signal.SIGKILL
        for pid in children:
            assert is_gone(pid), f"{pid} outlives its daemon"
        self._ear.join(LONG)
        wait_until(
            lambda: not find_orphans(mark_of(self.place)), what="no child outlives its daemon"
        )


def mark_of(place: Place) -> str:
    return os.path.realpath(place.state)


def is_gone(pid: int) -> bool:
    """Wait for the end of a process that is not our child."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    ended = bool(poll.poll(LONG * 1000))
    os.close(pidfd)
    return ended


@dataclass
class Batch:
    """A batch of files, dropped bit by bit, and what has become of them."""

    place: Place
    clip: bytes
    suffix: str
    draw: random.Random
    unique: bool = True
    dropped: dict[str, bytes] = field(default_factory=dict)
    taken: dict[str, bytes] = field(default_factory=dict)  # outputs that a person took away
    writing: tuple[str, IO[bytes]] | None = None
    kills: int = 0

    def drop(self) -> None:
        """Drop one file, by rename."""
        name, content = self._next()
        hidden = self.place.root / ".dropping"
        hidden.write_bytes(content)
        (self.place.inbox / name).parent.mkdir(exist_ok=True)
        hidden.rename(self.place.inbox / name)

    def begin_upload(self) -> None:
        """Write the first half of a file, and keep it open."""
        if self.writing or not mount_of(str(self.place.inbox)).proves_writers:
            return
        name, content = self._next()
        (self.place.inbox / name).parent.mkdir(exist_ok=True)
        writer = (self.place.inbox / name).open("wb", buffering=0)
        writer.write(content[: len(content) // 2])
        self.writing = name, writer

    def end_upload(self) -> None:
        """Write the other half."""
        if self.writing:
            name, writer = self.writing
            content = self.dropped[name]
            writer.write(content[len(content) // 2 :])
            writer.close()
            self.writing = None

    def _next(self) -> tuple[str, bytes]:
        folder = self.draw.choice(["", "sub dir/", "other/"])
        name = f"{folder}clip {len(self.dropped):03d}{self.suffix}"
        self.dropped[name] = self.clip + (self._filler(name) if self.unique else b"")
        return name, self.dropped[name]

    def _filler(self, name: str) -> bytes:
        """Make packets of a transport stream that hold nothing but the name: each file differs."""
        packet = b"\x47\x1f\xff\x10" + name.encode()
        return packet.ljust(188, b"\xff") * self.draw.randint(1, 20)

    def look(self) -> None:
        """See what holds at every moment: no output twice, none torn; take some away."""
        for name, content in files_in(self.place.outbox).items():
            assert name not in self.taken, f"{name} was delivered again"
            self.decide(name, content)
            if self.draw.random() < 0.3:
                self.taken[name] = content
                (self.place.outbox / name).unlink()

    def decide(self, name: str, content: bytes) -> None:
        """Tell whether an output is whole."""
        assert self.dropped[name] == content, f"{name} is not whole"

    def outputs(self) -> set[str]:
        """Say what the outputs are to be called."""
        return set(self.dropped)

    def go(self, kills: int) -> None:
        """Drop files, kill the daemon so many times, and let it come to the end."""
        for _ in range(kills):
            for _ in range(self.draw.randint(0, 2)):
                self.drop()
            self._live_and_die()
            self.kills += 1
            self.look()
        with Watched(self.place) as daemon:
            self.end_upload()
            self.drop()
            wait_until(self.is_through, what="all is converted")

            assert daemon.stop() == 0

    def is_through(self) -> bool:
        return len(files_in(self.place.done)) >= len(self.dropped) and not self.open_jobs()

    def open_jobs(self) -> int:
        journal = Journal(str(self.place.state), create=False)
        counts = journal.counts()
        journal.close()
        return sum(counts[s] for s in (JobState.QUEUED, JobState.RUNNING, JobState.DELIVERING))

    def _live_and_die(self) -> None:
        daemon, draw = Watched(self.place), self.draw
        daemon.start()
        try:
            if draw.random() < 0.15:  # while it starts
                time.sleep(draw.uniform(0, 0.7))
            else:
                daemon.wait_until_ready()
                (self.end_upload if self.writing else self.begin_upload)()
                self.drop()
                word = draw.choice(["", "", "→running", "→delivering", "→delivering", "→done"])
                if not word or daemon.hear(word, 1.0):
                    time.sleep(draw.uniform(0, 0.04 if word else 0.7))
            daemon.strike()
        finally:
            daemon.kill()

    def check(self) -> None:
        """Check the promise."""
        place = self.place
        outputs = files_in(place.outbox)
        assert outputs.keys() & self.taken.keys() == set()
        delivered = outputs | self.taken
        jobs = place.jobs()
        done = [job for job in jobs if job["state"] == "done"]

        assert files_in(place.done) == self.dropped
        assert delivered.keys() == self.outputs()
        for name, content in delivered.items():
            self.decide(name, content)
        assert files_in(place.inbox) == files_in(place.error) == {}
        assert leftovers_in(place) == []
        assert sorted(job["source"] for job in done) == sorted(self.dropped)
        assert {job["output"] for job in done} == self.outputs()
        # an upload that goes on in the moment when it is judged is seen as changed
        assert {job["state"] for job in jobs} <= {"done", "superseded"}

    def tell(self, began: float) -> None:
        attempts = sum(job["attempt"] for job in self.place.jobs())
        print(
            f"\n{self.kills} kills, {len(self.dropped)} files, {attempts} attempts,"
            f" seed {SEED}, {time.monotonic() - began:.1f} s"
        )


class Encoded(Batch):
    """A batch whose outputs are videos of their own."""

    frames = 0

    def outputs(self) -> set[str]:
        return {name.removesuffix(self.suffix) + ".webm" for name in self.dropped}

    def decide(self, name: str, content: bytes) -> None:
        path = self.place.root / ".judged"
        path.write_bytes(content)
        with av.open(str(path)) as video:
            assert sum(1 for _ in video.decode(video=0)) == self.frames


def files_in(root: Path) -> dict[str, bytes]:
    """Read the files below a folder, by relative name; hidden ones do not count."""
    found = (p for p in root.rglob("*") if p.is_file())
    names = {str(p.relative_to(root)): p for p in found}
    return {
        name: path.read_bytes()
        for name, path in names.items()
        if not any(part.startswith(".") for part in name.split("/"))
    }


def leftovers_in(place: Place) -> list[str]:
    """List what work has left in the four folders."""
    roots = (place.inbox, place.outbox, place.done, place.error)
    hidden = [p for root in roots for p in root.rglob(".*")]
    hidden += (place.outbox / ".watchconv").rglob("*")
    return sorted(str(p) for p in hidden if p != place.outbox / ".watchconv")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return tiny_clip(tmp_path, "tiny.ts", 0.5)


def frames_of(clip: Path) -> int:
    with av.open(str(clip)) as video:
        return sum(1 for _ in video.decode(video=0))


@pytest.fixture
def draw() -> random.Random:
    print(f"seed {SEED}: WATCHCONV_TEST_SEED={SEED} repeats it")
    return random.Random(SEED)


def test_killed_at_any_moment_it_loses_and_doubles_nothing(
    tmp_path: Path, clip: Path, draw: random.Random
) -> None:
    began = time.monotonic()
    fake = write_fake(tmp_path / "fake", otherwise="slow:0-0.3", frames=frames_of(clip))
    place = Place(tmp_path / "videos", {**CALM, **AS_IT_IS}, ffmpeg=fake)
    batch = Batch(place, clip.read_bytes(), ".ts", draw)
    for _ in range(10):
        batch.drop()
    batch.go(KILLS_WITH_FAKE)
    batch.check()
    batch.tell(began)


def test_killed_with_a_real_ffmpeg_at_work_it_loses_and_doubles_nothing(
    tmp_path: Path, clip: Path, draw: random.Random
) -> None:
    began = time.monotonic()
    place = Place(tmp_path / "videos", CALM, ffmpeg=FFMPEG)
    batch = Encoded(place, clip.read_bytes(), ".ts", draw, unique=False)
    batch.frames = frames_of(clip)
    for _ in range(8):
        batch.drop()
    batch.go(KILLS_WITH_FFMPEG)
    batch.check()
    batch.tell(began)


def test_a_file_that_takes_the_daemon_down_each_time_runs_out_of_tries(
    tmp_path: Path, clip: Path
) -> None:
    fake = write_fake(tmp_path / "fake", {"deadly*": "hang"}, frames=frames_of(clip))
    place = Place(tmp_path / "videos", {**CALM, **AS_IT_IS, "max_attempts": 3}, ffmpeg=fake)
    work = place.outbox / ".watchconv"
    shutil.copyfile(clip, place.inbox / "deadly.ts")
    for attempt in (1, 2, 3):
        daemon = Watched(place)
        daemon.start()
        try:
            wait_until((work / "1" / str(attempt) / "output.ts").exists, what="the encode hangs")
            daemon.strike()
        finally:
            daemon.kill()
    shutil.copyfile(clip, place.inbox / "harmless.ts")
    with Watched(place) as daemon:
        wait_until((place.error / "deadly.ts").exists)
        wait_until((place.done / "harmless.ts").exists)

        assert daemon.stop() == 0
    report = (place.error / "deadly.ts.log").read_text()
    deadly = place.job("deadly.ts")

    assert report.startswith("watchconv or the machine went down each time")
    assert "attempts: 3" in report
    assert (deadly["state"], deadly["attempt"]) == ("failed", 3)
    assert files_in(place.outbox).keys() == {"harmless.ts"}
    assert (place.error / "deadly.ts").read_bytes() == clip.read_bytes()
    assert files_in(place.inbox) == {}
    assert leftovers_in(place) == []


def test_a_name_that_is_dropped_again_while_the_last_one_is_delivered_is_a_new_order(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A camera writes the next file as soon as it sees that the last one is gone."""
    monkeypatch.setattr(harness, "PROGRAM", (sys.executable, "-c", SLOW_DISK))
    fake = write_fake(tmp_path / "fake", otherwise="slow:0.4", frames=frames_of(clip))
    place = Place(tmp_path / "videos", {**CALM, **AS_IT_IS}, ffmpeg=fake)
    camera = place.inbox / "camera.ts"
    with Daemon(place):
        for _ in range(2):
            drop(clip, camera)
            wait_until(lambda: not camera.exists(), 30, "it leaves the inbox")

    assert files_in(place.done).keys() == {"camera.ts", "camera (2).ts"}

"""Delivery with the N-th step failing, for every N: nothing lost, doubled, overwritten or torn.

Real files, a real journal, the daemon's own order of steps. Each step that changes something (a
rename, link, unlink, mkdir, fsync, sendfile, commit …) in turn fails before or after its effect,
or the process dies there; then the daemon's recovery runs until the job has ended.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import random
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.test_files import on_another_device
from watchconv.deliver import move
from watchconv.deliver.destination import DeliverySettings, order_of
from watchconv.deliver.outbox import LocalFolders
from watchconv.deliver.ownership import Ownership
from watchconv.errors import EnvironmentTrouble, JournalError
from watchconv.host.folders import Folders
from watchconv.host.workdir import WorkDirectories
from watchconv.journal.jobs import Journal
from watchconv.model import (
    AttemptEnd,
    AttemptOutcome,
    Candidate,
    JobState,
    OnSuccess,
    OutputFile,
    Verdict,
)
from watchconv.names import report_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from watchconv.deliver.destination import DeliveryOrder

SEED = 20_261_124
SOURCE = "sub dir/a clip.mp4"
WISH = "sub dir/a clip.webm"
ORIGINAL = b"original" * 1500
OUTPUT = b"output" * 1500
REASON = "it will never work"
REPORT = "the report, whole\n"
MTIME_NS = 10**18 + 123_456_789
MOST_STEPS = 500
PAIRS = 25  # of each scenario


class Died(BaseException):
    """The process ends here: nothing catches it."""


class How(Enum):
    """What happens at the step whose turn it is."""

    FAILS = "fails before its effect"  # an I/O error and a full disk in turn
    FAILS_LATE = "fails after its effect"
    DIES = "dies before its effect"
    DIES_LATE = "dies after its effect"


@dataclass(slots=True)
class Steps:
    """Counts the steps that change something, and lets the chosen ones fail."""

    plan: dict[int, How] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    armed: bool = False

    def take(self, name: str, act: Callable[[], Any], *, commits: bool = False) -> Any:
        if not self.armed:
            return act()
        self.taken.append(name)
        how = self.plan.get(len(self.taken))
        if how in (How.FAILS_LATE, How.DIES_LATE, None):
            result = act()
        if how is None:
            return result
        if name == "open" and how in (How.FAILS_LATE, How.DIES_LATE):
            os.close(result)
        if how in (How.DIES, How.DIES_LATE):
            raise Died
        if commits:
            raise sqlite3.OperationalError("disk I/O error")
        code = errno.ENOSPC if how is How.FAILS and len(self.taken) % 2 else errno.EIO
        raise OSError(code, os.strerror(code), name)


STEPS = Steps()
_real = {
    name: getattr(os, name)
    for name in (
        "open", "rename", "replace", "link", "unlink", "rmdir", "mkdir", "fsync", "sendfile",
        "ftruncate", "fchmod", "fchown", "utime", "chmod", "chown",
    )
}  # fmt: skip


def _step(name: str) -> Callable[..., Any]:
    def take(*arguments: Any, **options: Any) -> Any:
        return STEPS.take(name, lambda: _real[name](*arguments, **options))

    return take


def _open_step(path: Any, flags: int, *arguments: Any, **options: Any) -> Any:
    act = _real["open"]
    if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return STEPS.take("open", lambda: act(path, flags, *arguments, **options))
    return act(path, flags, *arguments, **options)


class Libc:
    """The C library, counted; or one that knows no RENAME_NOREPLACE."""

    def __init__(self, libc: ctypes.CDLL, *, knows: bool) -> None:
        self._libc, self._knows = libc, knows

    def renameat2(self, *arguments: Any) -> int:
        if not self._knows:
            devices = {os.fstat(folder).st_dev for folder in arguments[:4:2]}
            ctypes.set_errno(errno.EXDEV if len(devices) > 1 else errno.EINVAL)
            return -1
        result = -1

        def act() -> int:
            nonlocal result
            result = int(self._libc.renameat2(*arguments))
            return result

        try:
            STEPS.take("renameat2", act)
        except OSError as error:
            ctypes.set_errno(cast("int", error.errno))
            return -1
        return result


class CountedDb:
    """A connection whose commits are steps."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def execute(self, sql: str, values: Sequence[object] = ()) -> Any:
        if sql == "COMMIT":
            return STEPS.take("commit", lambda: self._db.execute(sql), commits=True)
        return self._db.execute(sql, values)

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def close(self) -> None:
        self._db.close()


@dataclass(frozen=True, slots=True)
class Scene:
    """One kind of delivery."""

    verdict: Verdict = Verdict.ENCODED
    on_success: str = "move"
    away: bool = False  # done and error are on another device
    taken: str = ""  # by strangers: "before" the names are chosen, "after", or "twice"
    moves: str = "renameat2"  # what the file system knows: link, or neither: reservation

    def __str__(self) -> str:
        words = (self.verdict, self.on_success, "away" * self.away, self.taken, self.moves)
        return "-".join(word for word in words if word)


class World:
    """The four folders, the journal and a daemon's delivery on them."""

    def __init__(self, base: Path, away: Path, scene: Scene) -> None:
        self.scene, self.base = scene, base
        roots = [away if scene.away and n in ("done", "error") else base for n in FOLDERS]
        self.paths = {name: root / name for name, root in zip(FOLDERS, roots, strict=True)}
        for path in (*self.paths.values(), base / "state"):
            path.mkdir()
        self.strangers: dict[Path, bytes] = {}
        self._put(self.paths["inbox"] / SOURCE, ORIGINAL)
        os.utime(self.paths["inbox"] / SOURCE, ns=(MTIME_NS, MTIME_NS))
        self.start()
        self.look()
        if scene.taken == "before":
            self.take_names(WISH, SOURCE)

    def start(self) -> None:
        """Start the daemon: open the journal, forget everything else."""
        self.journal = Journal(str(self.base / "state"))
        self.db = self.journal._db
        self.journal._db = cast("sqlite3.Connection", CountedDb(self.db))
        self.folders = Folders(*(str(self.paths[name]) for name in FOLDERS))
        self.folders.check(str(self.base / "state"))
        self.work = WorkDirectories(self.folders)
        self.outbox = LocalFolders(self.folders, self.work)

    def settings(self) -> DeliverySettings:
        return DeliverySettings(OnSuccess(self.scene.on_success), True, Ownership())

    def roll_forward(self) -> None:
        """Deliver as the daemon does: carry out the order, remember the end, remove the work."""
        job = self.journal.get(self.job.id)
        if job is None or job.state is not JobState.DELIVERING:
            return
        state, held = self.outbox.deliver(order_of(job, self.settings()), self._retarget)
        if state is JobState.SUPERSEDED:
            self.journal.supersede(job.id, JobState.DELIVERING, 4.0, stale=False)
        else:
            self.journal.finish(job.id, state, 4.0, held=held)
        self.outbox.clear(job)

    def _retarget(self, order: DeliveryOrder) -> None:
        self.journal.retarget(order.job_id, outputs=order.names, original=order.original)
        if self.scene.taken == "twice" and len(self.strangers) < 6:
            self.take_names(order.names[0] if order.names else None, order.original)

    def close(self) -> None:
        self.db.close()
        self.folders.unlock()

    def look(self) -> None:
        """Queue the original, as a look at the inbox does."""
        stat = (self.paths["inbox"] / SOURCE).stat()
        candidate = Candidate(SOURCE, stat.st_size, stat.st_mtime_ns, "webm")
        (self.job,) = self.journal.add([candidate], 1.0)

    def take_names(self, output: str | None, original: str | None) -> None:
        """Let strangers take names everywhere."""
        if output:
            self._put_stranger(self.paths["outbox"] / output)
        for root in (self.paths["done"], self.paths["error"]) if original else ():
            assert original is not None
            self._put_stranger(root / original)
        if original and self.scene.taken == "before":
            self._put_stranger(self.paths["error"] / report_of(original))

    def _put_stranger(self, path: Path) -> None:
        if not path.exists():
            self.strangers[path] = f"a stranger's {path.name}".encode()
            self._put(path, self.strangers[path])

    def _put(self, path: Path, content: bytes) -> None:
        armed, STEPS.armed = STEPS.armed, False
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        STEPS.armed = armed

    # what the daemon does

    def roll(self) -> None:
        """Take the job one state further, as the worker and the deliveries do."""
        match self.job.state:
            case JobState.QUEUED:
                claimed = self.journal.claim(2.0)
                assert claimed
                self.job = claimed
            case JobState.RUNNING:
                self._intend()
            case JobState.DELIVERING:
                STEPS.armed = True
                self.roll_forward()

    def _intend(self) -> None:
        encoded = self.scene.verdict is Verdict.ENCODED
        outputs = []
        if encoded:
            work = self.work.make(self.job.id, self.job.run, SOURCE)
            self._put(Path(work) / "output.webm", OUTPUT)
            outputs = [OutputFile("output.webm", ".webm", len(OUTPUT))]
        STEPS.armed = True
        intent = self.outbox.plan(self.job, self.scene.verdict, outputs, self.settings())
        if not encoded:
            intent = intent._replace(reason=REASON, report=REPORT)
        self.journal.intend(self.job, intent, AttemptEnd(AttemptOutcome.ENCODED))
        STEPS.armed = False
        if self.scene.taken in ("after", "twice"):
            self.take_names(intent.outputs[0].name if encoded else None, intent.original)

    def recover(self, *, armed: bool = True) -> None:
        """Die, and start again as the daemon does."""
        STEPS.armed = False
        self.close()
        self.start()
        STEPS.armed = armed
        self.work.sweep(self.journal.open_among)
        for job in self.journal.in_state(JobState.RUNNING):
            crashed = AttemptEnd(AttemptOutcome.CRASHED)
            self.journal.requeue(
                job.id, crashed, refund=False, not_before=0.0, wait_reason=None, reason=None
            )

    def run(self) -> None:
        """Go on until the job has ended, whatever fails on the way."""
        dead = False
        while True:
            try:
                if dead:
                    self.recover()
                    dead = False
                self._refresh()
                if self.job.state in (JobState.DONE, JobState.FAILED):
                    break
                assert self.job.state is not JobState.SUPERSEDED, "finished work was lost"
                self.roll()
            except (OSError, EnvironmentTrouble, JournalError):
                self.check_now()
            except Died:
                self.check_now()
                dead = True
            STEPS.armed = False
            assert len(STEPS.taken) < MOST_STEPS, "it does not come to an end"
        self.recover(armed=False)  # some later start sweeps what a failed removal left

    def _refresh(self) -> None:
        job = self.journal.get(self.job.id)
        assert job
        self.job = job

    # the promise

    def visible(self) -> dict[Path, bytes]:
        """Read every file that lies under a final name."""
        found: dict[Path, bytes] = {}
        for root in self.paths.values():
            for folder, folders, names in os.walk(root):
                folders[:] = [name for name in folders if not name.startswith(".")]
                for name in names:
                    if not name.startswith("."):
                        path = Path(folder, name)
                        found[path] = path.read_bytes()
        return found

    def check_now(self) -> None:
        """Check what holds at every moment: nothing torn, lost or overwritten."""
        STEPS.armed = False
        found = self.visible()
        assert {p: found.get(p) for p in self.strangers} == self.strangers, "overwritten"
        ours = [content for path, content in found.items() if path not in self.strangers]
        whole = ["the original", "the output", "the report"]
        if self.scene.moves != "renameat2":
            whole.append("nothing")  # there is no other way to take a name there
        torn = [content[:99] for content in ours if _word(content) not in whole]

        assert torn == [], "partial under a final name"
        assert ours.count(OUTPUT) <= 1, "the output is there twice"
        deleted = self.scene.on_success == "delete" and OUTPUT in ours
        assert ORIGINAL in ours or deleted, "the original is lost"

    def check_end(self) -> None:
        """Check what holds at the end: each file once, at the place that the journal says."""
        self.check_now()
        found = {p: c for p, c in self.visible().items() if p not in self.strangers}

        assert {str(p): _word(c) for p, c in found.items()} == self._expected()
        original = next((p for p, c in found.items() if c == ORIGINAL), None)
        failed = {STEPS.taken[n - 1] for n in STEPS.plan if n <= len(STEPS.taken)}
        if original and "utime" not in failed:
            assert original.stat().st_mtime_ns == MTIME_NS
        hidden = [p for root in self.paths.values() for p in root.rglob(".*")]
        hidden += [p for h in hidden if h.is_dir() for p in h.iterdir()]
        assert [p for p in hidden if p != self.paths["outbox"] / ".watchconv"] == []

    def _expected(self) -> dict[str, str]:
        job, paths = self.job, self.paths
        if self.scene.verdict is not Verdict.ENCODED:
            assert job.original and job.state is JobState.FAILED
            original = str(paths["error"] / job.original)
            return {original: "the original", f"{original}.log": "the report"}
        assert job.output and job.state is JobState.DONE
        expected = {str(paths["outbox"] / job.output): "the output"}
        if self.scene.on_success == "move":
            assert job.original
            expected[str(paths["done"] / job.original)] = "the original"
        elif self.scene.on_success == "keep":
            expected[str(paths["inbox"] / SOURCE)] = "the original"
        return expected


def _word(content: bytes) -> str:
    if content.startswith(f"{REASON}\n".encode()) and content.endswith(REPORT.encode()):
        return "the report"
    words = {ORIGINAL: "the original", OUTPUT: "the output", b"": "nothing"}
    return words.get(content, repr(content[:99]))


FOLDERS = ("inbox", "outbox", "done", "error")
TAKEN = ("", "before", "after", "twice")
SCENES = [
    *(Scene(taken=taken) for taken in TAKEN),
    *(Scene(away=True, taken=taken) for taken in TAKEN),
    *(Scene(moves=moves, taken=t) for moves in ("link", "reservation") for t in ("", "after")),
    *(Scene(moves=moves, away=True) for moves in ("link", "reservation")),
    *(Scene(on_success=choice, taken=t) for choice in ("delete", "keep") for t in ("", "twice")),
    *(Scene(Verdict.FAILED, away=a, taken=t) for a in (False, True) for t in TAKEN),
    *(Scene(Verdict.FAILED, moves=moves) for moves in ("link", "reservation")),
    *(Scene(Verdict.CANCELLED, away=away) for away in (False, True)),
]


@dataclass(slots=True)
class Room:
    """Makes worlds, and counts them."""

    fast: Path
    other: Path
    runs: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def world(self, scene: Scene, plan: dict[int, How]) -> Iterator[World]:
        self.runs[f"{len(plan)} failing"] += 1
        base = Path(tempfile.mkdtemp(dir=self.fast))
        away = Path(tempfile.mkdtemp(dir=self.other))
        STEPS.armed, STEPS.plan, STEPS.taken = False, {}, []
        world = World(base, away, scene)
        STEPS.plan = plan
        try:
            yield world
        finally:
            STEPS.armed = False
            world.close()
            shutil.rmtree(base)
            shutil.rmtree(away)

    def run(self, scene: Scene, plan: dict[int, How]) -> list[str]:
        """Run a delivery with these steps failing; return the steps that were taken."""
        with self.world(scene, plan) as world:
            try:
                world.run()
                taken = list(STEPS.taken)
                world.check_end()
            except (AssertionError, OSError) as failure:
                at = [f"step {n} ({dict(enumerate(STEPS.taken, 1)).get(n)}) {how.value}"
                      for n, how in plan.items()]  # fmt: skip
                failure.add_note(f"{scene}: {'; '.join(at) or 'nothing fails'}")
                failure.add_note(f"steps: {' '.join(STEPS.taken)}")
                raise
        return taken


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """Give two folders on two devices; the quicker one, where no sync waits, is for most."""
    here = tmp_path_factory.mktemp("delivery")
    there = on_another_device(here)
    if there is None:
        pytest.skip("no second writable file system")
    made = Room(there, here)
    began = time.monotonic()
    yield made
    shutil.rmtree(there)
    told = ", ".join(f"{runs} with {what}" for what, runs in sorted(made.runs.items()))
    print(f"\ndeliveries: {told}; seed {SEED}; {time.monotonic() - began:.1f} s")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Count each step that changes something."""
    for name in _real:
        monkeypatch.setattr(os, name, _step(name))
    monkeypatch.setattr(os, "open", _open_step)
    monkeypatch.setattr(move, "_libc", Libc(move._libc, knows=True))
    monkeypatch.setattr(move, "_COPY_BYTES", 5000)  # so that a copy takes several
    return monkeypatch


def apply(scene: Scene, patch: pytest.MonkeyPatch) -> None:
    """Let the file system know only what it knows in this scene."""
    if scene.moves != "renameat2":
        patch.setattr(move, "_libc", Libc(move._libc, knows=False))
    if scene.moves == "reservation":

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        patch.setattr(os, "link", refuse)


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_a_delivery_where_nothing_fails_keeps_the_promise(
    scene: Scene, room: Room, counted: pytest.MonkeyPatch
) -> None:
    apply(scene, counted)

    assert "commit" in room.run(scene, {})


@pytest.mark.parametrize("how", How, ids=lambda how: how.name.lower())
@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_a_delivery_with_any_step_failing_keeps_the_promise(
    scene: Scene, how: How, room: Room, counted: pytest.MonkeyPatch
) -> None:
    apply(scene, counted)
    for number in itertools.count(1):
        if len(room.run(scene, {number: how})) < number:
            break

    assert number > 5


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_a_delivery_with_two_steps_failing_keeps_the_promise(
    scene: Scene, room: Room, counted: pytest.MonkeyPatch
) -> None:
    apply(scene, counted)
    draw = random.Random(f"{SEED} {scene}")
    length = len(room.run(scene, {}))
    for _ in range(PAIRS):
        first = draw.randint(1, length)
        second = first + draw.randint(1, length)
        room.run(scene, {first: draw.choice(list(How)), second: draw.choice(list(How))})


@pytest.mark.parametrize("folder", ["outbox", "done", "error"])
@pytest.mark.parametrize("how", [How.FAILS, How.DIES])
def test_a_name_that_could_not_be_synced_is_synced_by_the_next_try(
    folder: str, how: How, room: Room, counted: pytest.MonkeyPatch
) -> None:
    """Else a power cut takes an output away whose original is gone already."""
    verdict = Verdict.FAILED if folder == "error" else Verdict.ENCODED
    synced = 0  # since the file had its name
    fsync = os.fsync

    def note(descriptor: int) -> None:
        nonlocal synced
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.endswith(f"/{folder}/sub dir") and {".webm", ".mp4"} & set(suffixes_in(path)):
            synced += 1
            if synced == 1:
                STEPS.plan = {len(STEPS.taken) + 1: how}
        fsync(descriptor)

    counted.setattr(os, "fsync", note)
    room.run(Scene(verdict), {})

    assert synced > 1


def suffixes_in(folder: str) -> list[str]:
    return [os.path.splitext(name)[1] for name in os.listdir(folder)]

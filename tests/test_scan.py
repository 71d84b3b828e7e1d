"""Scans of an inbox: real folders and a real journal; with hints and without, the same end."""

from __future__ import annotations

import errno
import logging
import os
import random
import shutil
import socket
import stat
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from watchdog.events import FileOpenedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver

from tests.test_watch import resources, room_for_descriptors
from tests.unprivileged import as_nobody, as_ourselves, open_folder
from tests.waiting import wait_until
from watchconv.host import files
from watchconv.host.folders import Missing
from watchconv.intake import scan
from watchconv.intake.filters import NameFilter
from watchconv.intake.scan import InboxScanner, ScanResult, ScanRules
from watchconv.intake.settling import SettleSettings
from watchconv.intake.watch import Hints
from watchconv.journal import requests
from watchconv.journal.jobs import Journal
from watchconv.model import Intent, Job, JobState, Verdict

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

NOW = 1_700_000_000.0
LONG = 3600.0
PROFILES = ("webm", "mp4")


class InboxFolder:
    """Stands for the folders of a daemon: the inbox is well while it is there."""

    def __init__(self, inbox: Path) -> None:
        self._inbox = inbox

    def why_missing(self, source: str) -> Missing:
        """Return whether what is not there is really gone."""
        return Missing.GONE if self._inbox.is_dir() else Missing.FOLDERS


class Doing(Journal):
    """A journal that does something before each question."""

    before: Callable[[], object] = staticmethod(lambda: None)

    def read(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        self.before()
        with as_ourselves():
            return super().read(sql, values)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        self.before()
        with as_ourselves(), super().writing() as db:
            yield db


@dataclass
class House:
    """An inbox, the journal beside it, and what scans the one for the other."""

    inbox: Path
    journal: Doing
    scanner: InboxScanner
    rules: ScanRules
    wakes: list[None]  # the workers were told of new jobs
    last: ScanResult

    @classmethod
    def at(cls, folder: Path, settle: float = 0.0) -> House:
        inbox = folder / "inbox"
        inbox.mkdir(exist_ok=True)
        journal = Doing(str(folder))
        journal.read("PRAGMA synchronous = OFF")
        known: Any = InboxFolder(inbox)
        scanner = InboxScanner(str(inbox), journal, known)
        settings = SettleSettings(settle, LONG, LONG, leases_prove=True)
        names = NameFilter(["mov", "mp4"], [])
        rules = ScanRules(names, settings, profiles=PROFILES, profile="webm")
        return cls(inbox, journal, scanner, rules, [], ScanResult())

    def scan(self, hints: Hints | None = None) -> ScanResult:
        self.last = self.scanner.scan(hints, self.rules, lambda: self.wakes.append(None))
        return self.last

    def is_due(self) -> bool:
        """Tell whether a pending file is to be looked at now."""
        return self.last.next_due is not None and self.last.next_due <= time.monotonic()

    def put(self, source: str, content: bytes = b"moving pictures", age: int = 0) -> Path:
        path = self.inbox / source
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(age, age))
        return path

    def job(self, job_id: int) -> Job:
        job = self.journal.get(job_id)
        assert job
        return job

    def states(self) -> list[tuple[str, str]]:
        """Name every job, oldest first, with its state."""
        return [(job.source, job.state.value) for job in reversed(list(self.journal.jobs()))]

    def held(self) -> dict[str, tuple[int, int, str]]:
        """Say what holds names of the inbox: the jobs that count."""
        return {
            job.source: (job.size, job.mtime_ns, job.state.value)
            for state in (JobState.QUEUED, JobState.RUNNING)
            for job in self.journal.in_state(state)
        }

    def finish(self, job_id: int, *, held: bool) -> None:
        """Convert a job, as the daemon would."""
        claimed = self.journal.claim(NOW)
        assert claimed and claimed.id == job_id
        self.journal.intend(self.job(job_id), Intent(Verdict.ENCODED))
        self.journal.finish(job_id, JobState.DONE, NOW, held=held)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A house in which every file that nobody writes is settled."""
    made = House.at(tmp_path.resolve())
    yield made
    made.journal.close()


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[House]:
    """A house in which nothing is settled for an hour."""
    made = House.at(tmp_path.resolve(), settle=LONG)
    yield made
    made.journal.close()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged."""
    caplog.set_level(logging.INFO, "watchconv")
    return caplog


def did_nothing(result: ScanResult) -> bool:
    return result == replace(ScanResult(), pending=result.pending, ignored=result.ignored)


def names(folder: str, *found: str, appeared: bool = False) -> Hints:
    hints = Hints()
    for name in found:
        hints.add_name(os.path.join(folder, name), appeared=appeared)
    return hints


# what becomes of a file


def test_a_new_file_becomes_a_job_of_its_profile(house: House) -> None:
    house.put("a.mov", age=5)
    house.put("mp4/trip/b.mp4", b"xyz", age=6)
    result = house.scan()
    jobs = list(house.journal.jobs())

    assert result.added == 2
    assert len(house.wakes) > 0
    assert {(j.source, j.size, j.mtime_ns, j.profile) for j in jobs} == {
        ("a.mov", 15, 5, "webm"),
        ("mp4/trip/b.mp4", 3, 6, "mp4"),
    }
    assert did_nothing(house.scan())
    assert len(house.states()) == 2


def test_a_file_that_is_not_settled_waits(patient: House) -> None:
    patient.put("a.mov")
    patient.scan()

    assert patient.states() == []
    assert patient.last.pending == 1

    patient.scan(names("", "a.mov", appeared=True))

    assert patient.states() == [("a.mov", "queued")]
    assert patient.last.pending == 0


def test_files_age_side_by_side(tmp_path: Path) -> None:
    house = House.at(tmp_path.resolve(), settle=0.5)
    for number in range(50):
        house.put(f"{number}.mov")
    house.scan()
    pending = house.scanner.pending_files()
    wait_until(lambda: all(file.due <= time.monotonic() for file in pending))
    house.scan(Hints())

    assert len(house.states()) == 50
    house.journal.close()


def test_a_file_is_announced_when_it_is_first_seen(patient: House) -> None:
    patient.put("a.mov")
    patient.put("a.txt")

    assert [patient.scan().first_seen for _ in range(3)] == [1, 0, 0]
    assert patient.wakes == []


def test_a_result_tells_what_is_left_in_the_inbox(patient: House) -> None:
    patient.put("a.mov")
    patient.put("a.txt")
    before = time.monotonic()
    result = patient.scan()

    assert (result.added, result.pending, result.overflow, result.ignored) == (0, 1, 0, 1)
    assert result.next_due
    assert LONG - 60 < result.next_due - before < LONG + 60
    assert [file.source for file in patient.scanner.pending_files()] == ["a.mov"]


def test_a_due_file_is_scanned_without_a_hint(tmp_path: Path) -> None:
    house = House.at(tmp_path.resolve(), settle=0.1)
    house.put("a.mov")
    house.scan()

    wait_until(lambda: house.scan(Hints()).added)

    assert house.states() == [("a.mov", "queued")]

    house.journal.close()


def test_a_file_that_somebody_writes_waits_and_then_becomes_a_job(house: House) -> None:
    with house.put("a.mov").open("ab"):
        house.scan()

        assert house.states() == []

    house.scan(names("", "a.mov"))

    assert house.states() == [("a.mov", "queued")]


def test_an_incomplete_file_waits_and_is_named(house: House) -> None:
    house.put("a.mov", (100).to_bytes(4, "big") + b"ftyp" + b"x" * 50)
    house.scan()

    assert house.states() == []
    assert list(house.last.incomplete) == ["a.mov"]


SCANS: list[Callable[[str], Hints | None]] = [
    lambda name: None,
    lambda name: names("", name),
    lambda name: Hints(folders={""}),
    lambda name: Hints(trees={""}),
]


@pytest.mark.parametrize("hint", SCANS)
def test_a_file_that_is_gone_withdraws_its_job(
    house: House, hint: Callable[[str], Hints | None]
) -> None:
    house.put("a.mov")
    house.put("b.mov")
    house.scan()
    (house.inbox / "a.mov").unlink()
    house.scan(hint("a.mov"))

    assert dict(house.states()) == {"a.mov": "withdrawn", "b.mov": "queued"}


@pytest.mark.parametrize("hint", SCANS)
def test_a_file_that_changed_supersedes_its_job(
    house: House, hint: Callable[[str], Hints | None]
) -> None:
    house.put("a.mov", age=1)
    house.scan()
    house.put("a.mov", age=2)
    result = house.scan(hint("a.mov"))

    assert result.added == 1
    assert house.states() == [("a.mov", "superseded"), ("a.mov", "queued")]
    assert [job.stale for job in house.journal.jobs()] == [0, 0]


def test_a_change_hides_no_neighbour_that_is_gone(patient: House) -> None:
    patient.put("a.mov", age=1)
    patient.put("b.mov", age=1)
    patient.scan(names("", "a.mov", "b.mov", appeared=True))
    patient.put("a.mov", age=2)
    (patient.inbox / "b.mov").unlink()
    patient.scan()

    assert dict(patient.states()) == {"a.mov": "superseded", "b.mov": "withdrawn"}


def test_a_file_that_waited_and_is_gone_is_forgotten(patient: House) -> None:
    patient.put("a.mov")
    patient.put("trip/b.mov")
    patient.scan()
    (patient.inbox / "a.mov").unlink()
    patient.scan(names("", "a.mov"))

    assert patient.last.pending == 1

    shutil.rmtree(patient.inbox / "trip")
    patient.scan()

    assert patient.last.pending == 0


def test_a_running_job_whose_file_is_gone_is_named_not_closed(house: House) -> None:
    house.put("a.mov")
    house.scan()
    house.journal.claim(NOW)
    (house.inbox / "a.mov").unlink()

    assert house.scan().taken_away == [1]
    assert house.states() == [("a.mov", "running")]


def test_a_running_job_whose_file_changed_is_left_to_its_engine(house: House) -> None:
    house.put("a.mov", age=1)
    house.scan()
    house.journal.claim(NOW)
    house.put("a.mov", age=2)

    assert did_nothing(house.scan())
    assert house.states() == [("a.mov", "running")]


def test_a_kept_original_is_not_converted_again(house: House) -> None:
    house.put("a.mov", age=1)
    house.scan()
    house.finish(1, held=True)
    house.scan()
    house.scan(names("", "a.mov", appeared=True))

    assert house.states() == [("a.mov", "done")]

    house.put("a.mov", age=2)
    house.scan()

    assert house.states() == [("a.mov", "done"), ("a.mov", "queued")]


def test_a_kept_original_that_went_and_came_back_is_a_new_order(house: House) -> None:
    house.put("a.mov", age=1)
    house.scan()
    house.finish(1, held=True)
    (house.inbox / "a.mov").unlink()
    house.scan()
    house.put("a.mov", age=1)
    house.scan()

    assert house.states() == [("a.mov", "done"), ("a.mov", "queued")]


def test_a_delivery_keeps_its_name_until_it_is_over(house: House) -> None:
    house.put("a.mov", age=1)
    house.scan()
    house.journal.claim(NOW)
    house.journal.intend(house.job(1), Intent(Verdict.ENCODED, original="a.mov"))
    house.put("a.mov", age=2)
    house.scan()

    assert house.states() == [("a.mov", "delivering")]

    house.journal.finish(1, JobState.DONE, NOW)
    house.scan()

    assert house.states() == [("a.mov", "done"), ("a.mov", "queued")]


def test_a_retry_under_way_is_no_new_order(house: House) -> None:
    house.put("a.mov", age=1)
    house.scan()
    house.journal.claim(NOW)
    house.journal.intend(house.job(1), Intent(Verdict.FAILED, original="a.mov", reason="r"))
    house.journal.finish(1, JobState.FAILED, NOW)
    requests.begin_retry(house.journal, 1, "a.mov")
    house.scan()

    assert house.states() == [("a.mov", "failed")]


# folders


@pytest.mark.parametrize("many", [3, 300, 1300])
def test_a_deleted_folder_withdraws_its_jobs_at_a_whole_scan(house: House, many: int) -> None:
    for n in range(many):
        house.put(f"trip/deep/{n}.mov")
    house.put("stays.mov")
    house.scan()
    shutil.rmtree(house.inbox / "trip")
    house.scan()
    counts = house.journal.counts()

    assert (counts[JobState.QUEUED], counts[JobState.WITHDRAWN]) == (1, many)


@pytest.mark.parametrize(
    "hints",
    [Hints(trees={"trip"}), Hints(folders={"trip"}), Hints(trees={""})],
    ids=["moved away", "more names than hints hold", "deleted"],
)
def test_a_folder_that_is_gone_withdraws_its_jobs_when_a_hint_names_it(
    house: House, hints: Hints
) -> None:
    house.put("trip/a.mov")
    house.put("stays.mov")
    house.scan()
    shutil.rmtree(house.inbox / "trip")
    house.scan(hints)

    assert dict(house.states()) == {"trip/a.mov": "withdrawn", "stays.mov": "queued"}


def test_a_folder_hint_does_not_go_deeper_and_a_tree_hint_does(house: House) -> None:
    house.put("trip/a.mov")
    house.put("trip/deep/b.mov")
    house.scan(Hints(folders={"trip"}))

    assert house.states() == [("trip/a.mov", "queued")]

    house.scan(Hints(trees={"trip"}))

    assert len(house.states()) == 2


@pytest.mark.parametrize(
    ("hints", "ignored"),
    [
        (None, 2),
        (Hints(trees={""}), 2),
        (Hints(trees={"@eaDir"}), 1),
        (names("", "@eaDir"), 1),
        (Hints(folders={"@eaDir/x"}), 0),
        (names("@eaDir/x", "a.mov"), 0),
        (names(".git", "a.mov"), 0),
    ],
)
def test_folders_of_ignored_names_are_never_scanned(
    house: House, hints: Hints | None, ignored: int
) -> None:
    house.put("@eaDir/x/a.mov")
    house.put(".git/a.mov")
    house.scan(hints)

    assert house.states() == []
    assert house.last.ignored == ignored


def test_a_folder_of_an_ignored_name_is_counted_as_one_and_logged_once(
    house: House, said: pytest.LogCaptureFixture
) -> None:
    house.put("trip/@eaDir/a.mov")
    house.put("trip/@eaDir/b.mov")
    for hints in (None, Hints(trees={"trip/@eaDir"}), names("trip", "@eaDir"), None):
        house.scan(hints)

    assert house.last.ignored == 1
    assert said.messages == [
        "ignored trip/@eaDir: a folder that is passed over with all that is in it"
    ]

    shutil.rmtree(house.inbox / "trip/@eaDir")
    house.scan(Hints(trees={"trip/@eaDir"}))

    assert house.last.ignored == 0


def test_hints_of_what_is_not_there_do_no_harm(house: House) -> None:
    hints = names("no/where", "a.mov", "b.txt")
    hints.trees.add("gone")
    hints.folders.add("gone too")

    assert did_nothing(house.scan(hints))


def test_a_path_of_three_thousand_bytes_becomes_a_job(house: House) -> None:
    here = os.open(house.inbox, os.O_RDONLY)
    parts = ["d" * 240] * 12
    for part in parts:
        os.mkdir(part, dir_fd=here)
        below = os.open(part, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("a.mov", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    with open(os.open("a.mov", os.O_WRONLY, dir_fd=here), "wb") as file:
        file.write(b"x")
    os.close(here)
    source = "/".join([*parts, "a.mov"])
    house.scan()

    assert len(source) > 2800
    assert house.states() == [(source, "queued")]


def test_a_path_longer_than_the_kernel_takes_stops_no_scan(house: House) -> None:
    here = os.open(house.inbox, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 240, dir_fd=here)
        below = os.open("d" * 240, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("a.mov", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    house.put("b.mov")
    house.scan()

    assert house.states() == [("b.mov", "queued")]


STRANGE = ["-i.mov", "line\nbreak.mov", "%03d.mov", "concat:x.mov", "e\u0301.mov", "\u00e9.mov"]


def test_names_are_bytes(house: House) -> None:
    strange = [*STRANGE, os.fsdecode(b"\xff\xe9/\xfe.mov")]
    for name in strange:
        house.put(name)
    house.scan()

    assert sorted(strange) == sorted(source for source, _ in house.states())

    for name in strange:
        (house.inbox / name).unlink()
    house.scan()

    assert {state for _, state in house.states()} == {"withdrawn"}


# what is no video


def test_ignored_files_are_counted_and_logged_once(
    house: House, said: pytest.LogCaptureFixture
) -> None:
    house.put("a.txt")
    house.put("trip/b.mov.part")
    for hints in (None, names("", "a.txt"), Hints(trees={""}), names("trip", "b.mov.part"), None):
        house.scan(hints)

    assert house.last.ignored == 2
    assert sorted(said.messages) == [
        "ignored a.txt: no video by name",
        "ignored trip/b.mov.part: its name is that of a partial or system file",
    ]

    (house.inbox / "a.txt").unlink()
    house.scan(names("", "a.txt"))

    assert house.last.ignored == 1

    shutil.rmtree(house.inbox / "trip")
    house.scan()

    assert house.last.ignored == 0


def test_a_partial_file_that_gets_its_name_becomes_a_job(house: House) -> None:
    path = house.put("a.mov.part")
    house.scan()
    path.rename(house.inbox / "a.mov")
    house.scan(names("", "a.mov.part", "a.mov"))

    assert house.states() == [("a.mov", "queued")]
    assert house.last.ignored == 0


def put_strangers(house: House, target: Path) -> list[str]:
    """Put all that is no regular file into the inbox, under the names of videos."""
    house.put("real.mov")
    (target / "a.mov").write_bytes(b"x")
    (house.inbox / "link.mov").symlink_to(house.inbox / "real.mov")
    (house.inbox / "zero.mov").symlink_to("/dev/zero")
    (house.inbox / "dangling.mov").symlink_to("nowhere")
    (house.inbox / "trip").symlink_to(target)
    os.mkfifo(house.inbox / "pipe.mov")
    here = os.open(house.inbox, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(f"/proc/self/fd/{here}/socket.mov")
    os.close(here)
    (house.inbox / "folder.mov").mkdir()
    found = ["link.mov", "zero.mov", "dangling.mov", "pipe.mov", "socket.mov"]
    if os.geteuid() == 0:
        os.mknod(house.inbox / "device.mov", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        found.append("device.mov")
    return found


class Opened(FileSystemEventHandler):
    """Hears what is opened in a folder."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def on_any_event(self, event: FileSystemEvent) -> None:
        self.names.add(os.path.basename(os.fsdecode(event.src_path)))


def test_links_pipes_sockets_and_devices_are_counted_and_never_opened(
    house: House, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir()
    strangers = put_strangers(house, target)
    opened = Opened()
    observer = InotifyObserver()
    observer.schedule(opened, str(house.inbox), event_filter=[FileOpenedEvent])
    observer.start()
    try:
        house.scan()
        house.scan(names("", *strangers, "folder.mov", "trip", appeared=True))
        (house.inbox / "real.mov").read_bytes()
        wait_until(lambda: "real.mov" in opened.names)
    finally:
        observer.stop()
        observer.join()

    assert opened.names == {"real.mov"}
    assert [source for source, _ in house.states() if source != "real.mov"] == []
    assert house.last.ignored == len(strangers) + 1  # the link to a folder
    assert len([m for m in said.messages if m.startswith("ignored")]) == len(strangers) + 1
    assert "ignored zero.mov: a link" in said.messages
    assert "ignored pipe.mov: no regular file" in said.messages


@pytest.mark.parametrize(
    "hints",
    [names("trip", "a.mov", appeared=True), Hints(folders={"trip"}), Hints(trees={"trip"})],
    ids=["name", "folder", "tree"],
)
def test_a_hint_does_not_lead_through_a_link(house: House, tmp_path: Path, hints: Hints) -> None:
    """A folder was replaced by a link after its events came: what lies there is not ours."""
    target = tmp_path / "private"
    target.mkdir()
    (target / "a.mov").write_bytes(b"x")
    (house.inbox / "trip").symlink_to(target)
    house.scan(hints)

    assert house.states() == []


REPLACEMENTS: list[Callable[[Path], object]] = [
    lambda path: path.symlink_to("/dev/zero"),
    os.mkfifo,
    lambda path: path.mkdir(),
]


@pytest.mark.parametrize("replace", REPLACEMENTS, ids=["link", "pipe", "folder"])
@pytest.mark.parametrize("hint", SCANS[:2], ids=["whole", "hinted"])
def test_a_file_that_was_replaced_by_something_else_is_gone(
    house: House, replace: Callable[[Path], object], hint: Callable[[str], Hints | None]
) -> None:
    path = house.put("a.mov")
    house.scan()
    path.unlink()
    replace(path)
    house.scan(hint("a.mov"))

    assert house.states() == [("a.mov", "withdrawn")]


@pytest.mark.parametrize("replace", REPLACEMENTS, ids=["link", "pipe", "folder"])
def test_a_waiting_file_that_was_replaced_by_something_else_makes_no_job(
    tmp_path: Path, replace: Callable[[Path], object]
) -> None:
    house = House.at(tmp_path.resolve(), settle=0.05)
    path = house.put("a.mov")
    house.scan()
    path.unlink()
    replace(path)
    wait_until(house.is_due)
    house.scan(Hints())
    if house.last.next_due:  # seen as changed, and looked at once more
        wait_until(house.is_due)
        house.scan(Hints())

    assert house.states() == []

    house.journal.close()


# what cannot be read is not gone


@pytest.fixture
def guarded() -> Iterator[House]:
    """A house that scans as a user without privileges."""
    with open_folder() as folder:
        house = House.at(folder)
        house.inbox.chmod(0o777)
        yield house
        house.journal.close()


@pytest.mark.parametrize("hints", [None, Hints(trees={"trip"}), names("trip", "a.mov")])
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_what_lies_in_a_folder_that_cannot_be_read_waits(
    guarded: House, hints: Hints | None, mode: int
) -> None:
    guarded.put("trip/a.mov")
    guarded.put("trip/kept.mov")
    guarded.scan(names("trip", "kept.mov"))
    guarded.finish(1, held=True)
    guarded.scan()
    (guarded.inbox / "trip").chmod(mode)
    with as_nobody():
        guarded.scan(hints)
    (guarded.inbox / "trip").chmod(0o777)
    guarded.scan()

    assert guarded.states() == [("trip/kept.mov", "done"), ("trip/a.mov", "queued")]


@pytest.mark.parametrize("hints", [None, Hints(trees={"trip"}), names("trip", "a.mov")])
def test_a_folder_that_a_failing_disk_does_not_show_is_named_to_be_scanned_again(
    house: House, hints: Hints | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str) -> int:
        if path.endswith("trip"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return files.open_folder(path)

    house.put("trip/a.mov")
    monkeypatch.setattr(scan, "open_folder", fail)
    result = house.scan(hints)

    assert result.unread == {"trip"}

    monkeypatch.undo()

    assert house.scan(Hints(trees=result.unread)).unread == set()
    assert house.states() == [("trip/a.mov", "queued")]


def test_a_folder_that_cannot_be_read_is_logged_once_and_passed_over(
    guarded: House, said: pytest.LogCaptureFixture
) -> None:
    guarded.put("trip/a.mov")
    guarded.put("b.mov").chmod(0o666)  # not nobody's: no lease, so it waits
    (guarded.inbox / "trip").chmod(0)
    with as_nobody():
        guarded.scan()
        guarded.scan()

    assert len(guarded.states()) + guarded.last.pending == 1
    assert [m for m in said.messages if "cannot" in m] == [
        "cannot look into trip: Permission denied; what is in it waits"
    ]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_descriptors_take_nothing_for_gone_and_leave_none_open(
    house: House, count: int
) -> None:
    house.put("a.mov")
    house.scan()
    before = resources()
    with room_for_descriptors(count):
        result = house.scan()

    assert result.unread == {""}
    assert house.states() == [("a.mov", "queued")]
    assert resources() == before


def test_links_that_go_round_in_circles_are_not_followed(house: House) -> None:
    house.put("a/b.mov")
    (house.inbox / "loop").symlink_to(".")
    (house.inbox / "a/up").symlink_to("..")
    house.scan()
    house.scan(Hints(trees={"a"}))

    assert house.states() == [("a/b.mov", "queued")]


def kept_and_queued(house: House) -> None:
    house.put("trip/kept.mov")
    house.scan()
    house.finish(1, held=True)
    house.put("a.mov")
    house.put("trip/b.mov")
    house.scan()


def test_an_inbox_that_is_gone_is_not_an_empty_one(house: House) -> None:
    """A mount that was pulled: what lay there comes back, and is not converted twice."""
    kept_and_queued(house)
    before = sorted(house.states())
    house.inbox.rename(house.inbox.with_name("pulled"))
    house.scan()
    house.scan(names("trip", "b.mov", "kept.mov"))
    house.inbox.with_name("pulled").rename(house.inbox)
    house.scan()

    assert sorted(house.states()) == before


def test_an_inbox_that_goes_during_a_scan_takes_nothing_along(house: House) -> None:
    kept_and_queued(house)
    before = sorted(house.states())

    def pull() -> None:
        if house.inbox.exists():
            house.inbox.rename(house.inbox.with_name("pulled"))

    house.journal.before = pull
    house.scan()
    house.journal.before = lambda: None
    house.inbox.with_name("pulled").rename(house.inbox)
    house.scan()

    assert sorted(house.states()) == before


def test_a_folder_that_goes_during_a_scan_stops_nothing(house: House) -> None:
    for n in range(5):
        house.put(f"{n}/a.mov")
    house.journal.before = lambda: shutil.rmtree(house.inbox / "3", ignore_errors=True)
    house.scan()
    house.scan()

    assert sorted(s for s, state in house.states() if state == "queued") == [
        f"{n}/a.mov" for n in (0, 1, 2, 4)
    ]


# many


def test_more_names_than_a_batch_are_all_met(house: House) -> None:
    many = 2 * scan.BATCH + 7
    for n in range(many):
        (house.inbox / f"{n}.mov").write_bytes(b"x")

    assert house.scan().added == many
    assert len(house.wakes) == 3  # work starts before a long scan is over
    assert did_nothing(house.scan())

    for n in range(0, many, 2):
        (house.inbox / f"{n}.mov").unlink()
    house.scan()

    assert house.journal.counts()[JobState.WITHDRAWN] == (many + 1) // 2


def test_what_cannot_be_remembered_is_met_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchconv.intake.settling.LIMIT", 10)
    house = House.at(tmp_path.resolve(), settle=0.2)
    for n in range(45):
        house.put(f"{n}.mov")
    house.scan()

    assert house.last.pending == 45

    wait_until(lambda: time.time() - max(p.stat().st_ctime for p in house.inbox.iterdir()) > 0.3)
    house.scan()

    assert house.journal.counts()[JobState.QUEUED] == 45
    assert house.last.pending == 0

    house.journal.close()


# hints decide nothing


def stir(inbox: Path, chance: random.Random) -> Hints:
    """Do something in the inbox; return what an event would hint at."""
    folders = ["", "mp4", "trip", "trip/deep", "@eaDir"]
    folder, name = chance.choice(folders), chance.choice(["a.mov", "b.mp4", "c.txt", "d.mov.part"])
    path = inbox / folder / name
    hints = Hints()
    deed = chance.randrange(8)
    if deed <= 3:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or path.exists():
            path.unlink()
        path.write_bytes(b"x" * chance.randrange(1, 5))
        os.utime(path, ns=(0, chance.randrange(3)))
        hints.add_name(os.path.join(folder, name), appeared=chance.random() < 0.5)
    elif deed == 4:
        path.unlink(missing_ok=True)
        hints.add_name(os.path.join(folder, name))
    elif deed == 5:
        other = chance.choice(folders)
        if path.exists() and (inbox / other).is_dir():
            path.replace(inbox / other / "b.mp4")
        hints.add_name(os.path.join(folder, name))
        hints.add_name(os.path.join(other, "b.mp4"), appeared=True)
    elif deed == 6:
        if (inbox / "trip").exists():
            shutil.rmtree(inbox / "mp4", ignore_errors=True)
            (inbox / "trip").rename(inbox / "mp4")
        hints.trees.add("trip")
        hints.trees.add("mp4")
    else:
        shutil.rmtree(inbox / (folder or "trip"), ignore_errors=True)
        hints.trees.add(os.path.dirname(folder))
    return hints


def wanted(inbox: Path) -> dict[str, tuple[int, int, str]]:
    """Say what must be queued in the end: what lies in the inbox."""
    found = {}
    for path in inbox.rglob("*"):
        source = str(path.relative_to(inbox))
        if path.is_file() and path.suffix in (".mov", ".mp4") and "@" not in source:
            found[source] = (path.stat().st_size, path.stat().st_mtime_ns, "queued")
    return found


@pytest.mark.parametrize("seed", range(8))
def test_whatever_hints_were_lost_one_whole_scan_ends_in_the_same(house: House, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        hints = stir(house.inbox, chance)
        if chance.random() < 0.6:
            house.scan(hints)
        if chance.random() < 0.1:
            house.scan(Hints(trees={chance.choice(["", "nowhere", "trip"])}))
    house.scan()

    assert house.held() == wanted(house.inbox)
    assert house.last.pending == 0

"""Which files have settled: the rules alone, then real files with real writers."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unprivileged import as_nobody, open_folder
from tests.waiting import wait_until
from watchconv.intake import settling
from watchconv.intake.settling import (
    BEING_WRITTEN,
    INCOMPLETE_CHECK_SECONDS,
    SCANS_WITHOUT_PROOF,
    WRITER_CHECK_SECONDS,
    Observation,
    PendingFiles,
    PendingReason,
    SettleSettings,
    observe,
    wait_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHORT, LONG = 0.05, 3600.0
CUT = (100).to_bytes(4, "big") + b"ftyp" + b"x" * 50
LACKS = "the mp4 box ftyp needs 42 bytes more than the file has"
NOW, WALL = 1_000.0, 1_700_000_000.0  # monotonic, and since the epoch


def settings(
    settle: float = SHORT,
    network: float = LONG,
    incomplete: float = LONG,
    *,
    leases_prove: bool = True,
) -> SettleSettings:
    return SettleSettings(settle, network, incomplete, leases_prove)


def see(
    last: Observation | None = None,
    *,
    after: float = 0.0,
    changed: float = WALL,
    stepped: float = 0.0,
    size: int = 5,
    mtime_ns: int = 77,
    own_scan: bool = True,
    appeared: bool = False,
) -> Observation:
    """See a file that was changed at a wall clock's time; the clock may have been stepped."""
    times = {"st_mtime_ns": mtime_ns, "st_ctime_ns": int(changed * 1e9)}
    stat = os.stat_result((0o100644, 1, 1, 1, 0, 0, size, 0, 0, 0), times)
    wall = WALL + after + stepped
    return observe(last, stat, NOW + after, wall, own_scan=own_scan, appeared=appeared)


def with_proof(seen: Observation, settle: float) -> float:
    return wait_seconds(seen, settings(settle), proven=True)


def without_proof(seen: Observation, settle: float) -> float:
    return wait_seconds(seen, settings(network=settle), proven=False)


@pytest.mark.parametrize(
    ("watched", "changed", "quiet"),
    [
        (0.0, WALL, 0.0),
        (3.0, WALL, 3.0),
        (0.0, WALL - 90, 90.0),
        (3.0, WALL - 1, 4.0),
        (0.0, WALL + 86_400, 0.0),
        (3.0, WALL + 86_400, 3.0),
    ],
)
def test_age_counts_from_ctime_or_the_first_observation(
    watched: float, changed: float, quiet: float
) -> None:
    seen = see(see(changed=changed), after=watched, changed=changed)

    assert with_proof(seen, 100.0) == pytest.approx(100.0 - quiet, abs=1e-3)


def test_a_clock_that_is_stepped_ages_nothing() -> None:
    """A file is seen just after it was written, then the clock is put forward by a day."""
    seen = see(see(changed=WALL - 0.5), after=1.0, changed=WALL - 0.5, stepped=86_400)

    assert with_proof(seen, 3600.0) == pytest.approx(3600 - 1.5, abs=1e-3)


def test_a_file_that_changed_is_no_older_than_its_last_observation() -> None:
    """The clock that is put forward is not the one that its ctime comes from."""
    before = see(see(changed=WALL - 0.5), after=1.0, changed=WALL - 0.5)
    seen = see(before, after=3.0, changed=WALL + 2.5, size=6, stepped=86_400)

    assert with_proof(seen, 3600.0) == pytest.approx(3600 - 2.0, abs=1e-3)


def test_mtime_counts_for_nothing() -> None:
    assert with_proof(see(mtime_ns=0), 2.0) == 2.0


def test_a_file_left_alone_long_enough_is_settled() -> None:
    assert with_proof(see(see(), after=2.0), 2.0) == 0.0
    assert with_proof(see(changed=WALL - 2), 2.0) == 0.0


def test_a_name_that_appeared_by_move_or_link_is_settled_at_once() -> None:
    assert with_proof(see(appeared=True), 2.0) == 0.0


@pytest.mark.parametrize("change", [{"size": 6}, {"mtime_ns": 78}, {"changed": 1.0}])
def test_any_change_begins_anew(change: dict[str, Any]) -> None:
    before = replace(see(appeared=True), since=NOW - 9, watched=9.0, scans=5)

    assert see(before, **change) == see(**change)


def test_a_file_that_grows_is_not_settled() -> None:
    seen: Observation | None = None
    for second in range(100):
        seen = see(seen, after=second, changed=WALL + second, size=second)

        assert with_proof(seen, 2.0) == 2.0
        assert without_proof(seen, 10.0) > 0


def test_an_observation_that_lasts_keeps_its_beginning_and_gains_a_scan() -> None:
    before = replace(see(), scans=2)

    assert see(before, after=4.0) == replace(before, watched=4.0, scans=3)
    assert see(before, after=4.0, own_scan=False) == replace(before, watched=4.0)


def test_an_appearance_is_remembered_from_either_observation() -> None:
    plain, appeared = see(), see(appeared=True)

    assert see(plain, appeared=True).appeared
    assert see(appeared).appeared
    assert not see(plain).appeared


def test_many_events_of_one_moment_are_not_several_scans() -> None:
    seen = see()
    for _ in range(50):
        seen = see(seen, after=60.0, own_scan=False)

    assert without_proof(seen, 10.0) > 0


@given(st.floats(0, 3600), st.floats(0, 1))
def test_without_proof_three_scans_over_the_whole_time_are_enough(
    settle_seconds: float, late_seconds: float
) -> None:
    after = 0.0
    seen = see()
    scans = 1
    while (wait := without_proof(seen, settle_seconds)) > 0:
        after += wait + late_seconds
        seen = see(seen, after=after)
        scans += 1

        assert scans < 10

    assert seen.scans >= SCANS_WITHOUT_PROOF
    assert after == pytest.approx(seen.watched)
    assert seen.watched >= settle_seconds


@given(st.floats(0, 1e6), st.floats(-1e9, 1e9), st.floats(0, 1e5), st.integers(1, 9), st.booleans())
def test_a_wait_is_never_negative_nor_longer_than_asked(
    watched: float, wall_age: float, settle_seconds: float, scans: int, appeared: bool
) -> None:
    """The wall clock may step however it likes."""
    first = replace(see(changed=WALL - wall_age, appeared=appeared), scans=scans)
    seen = see(first, after=watched, changed=WALL - wall_age)

    assert 0 <= with_proof(seen, settle_seconds) <= settle_seconds
    assert without_proof(seen, settle_seconds) >= 0


# real files


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """An inbox with one file."""
    folder = tmp_path.resolve() / "inbox"
    folder.mkdir()
    (folder / "a.mov").write_bytes(b"moving pictures")
    return folder


class Waiting(PendingFiles):
    """Pending files with settings of their own."""

    def __init__(
        self,
        inbox: Path,
        settle: float = SHORT,
        network: float = LONG,
        incomplete: float = LONG,
        *,
        leases_prove: bool = True,
    ) -> None:
        super().__init__(str(inbox))
        self.settings = settings(settle, network, incomplete, leases_prove=leases_prove)

    def takes(self, source: str, stat: os.stat_result, *, appeared: bool = False) -> bool:
        """Judge a file that a scan lists; True: it may become a job."""
        return self.has_settled(source, stat, self.settings, own_scan=True, appeared=appeared)

    def reasons(self) -> dict[str, PendingReason]:
        return {source: file.reason for source, file in self.files.items()}

    def lacks(self) -> dict[str, str]:
        return {source: file.lacks for source, file in self.files.items() if file.lacks}

    def due_in(self) -> float:
        (file,) = self.files.values()
        return file.due - time.monotonic()


def is_ready(waiting: Waiting, inbox: Path, name: str = "a.mov", *, appeared: bool = False) -> bool:
    return waiting.takes(name, (inbox / name).lstat(), appeared=appeared)


def test_a_fresh_file_waits_until_it_is_left_alone(inbox: Path) -> None:
    waiting = Waiting(inbox, settle=0.3)

    assert not is_ready(waiting, inbox)
    assert list(waiting.files) == ["a.mov"]
    assert 0 < waiting.due_in() <= 0.3

    wait_until(lambda: is_ready(waiting, inbox))

    assert waiting.files == {}


def test_a_name_that_appeared_by_move_or_link_is_ready_at_once(inbox: Path) -> None:
    assert is_ready(Waiting(inbox, settle=LONG), inbox, appeared=True)


def test_an_old_file_is_ready_at_once_though_its_mtime_is_new(inbox: Path) -> None:
    waiting = Waiting(inbox, settle=0.2)
    wait_until(lambda: time.time() - (inbox / "a.mov").stat().st_ctime > 0.25)

    assert is_ready(waiting, inbox)


def test_an_old_mtime_alone_settles_nothing(inbox: Path) -> None:
    os.utime(inbox / "a.mov", (1, 1))

    assert not is_ready(Waiting(inbox, settle=LONG), inbox)


def test_where_leases_prove_nothing_even_a_move_takes_three_scans(inbox: Path) -> None:
    waiting = Waiting(inbox, settle=0.0, network=0.2, leases_prove=False)
    scans = 0

    def scan() -> bool:
        nonlocal scans
        scans += 1
        return is_ready(waiting, inbox, appeared=True)

    wait_until(scan)

    assert scans >= 3


@pytest.mark.parametrize("appeared", [False, True])
def test_a_file_that_somebody_writes_is_not_ready(inbox: Path, *, appeared: bool) -> None:
    waiting = Waiting(inbox, settle=0.0)
    with (inbox / "a.mov").open("ab"):
        assert not is_ready(waiting, inbox, appeared=appeared)
        assert waiting.lacks() == {"a.mov": BEING_WRITTEN}
        assert WRITER_CHECK_SECONDS - 5 < waiting.due_in() <= WRITER_CHECK_SECONDS

    assert is_ready(waiting, inbox, appeared=appeared)
    assert waiting.lacks() == {}


def test_a_file_under_anothers_write_lease_is_being_written(inbox: Path) -> None:
    """Samba takes such leases for its clients; opening the file would break them."""
    waiting = Waiting(inbox, settle=0.0)
    holder = os.open(inbox / "a.mov", os.O_RDWR)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)

        assert not is_ready(waiting, inbox)
        assert waiting.lacks() == {"a.mov": BEING_WRITTEN}
    finally:
        os.close(holder)
        signal.signal(signal.SIGIO, before)


def test_an_empty_file_is_waited_for_as_where_nothing_is_proven(inbox: Path) -> None:
    (inbox / "a.mov").write_bytes(b"")
    waiting = Waiting(inbox, settle=0.0, network=LONG)

    assert not is_ready(waiting, inbox, appeared=True)
    assert waiting.lacks() == {}

    patient = Waiting(inbox, settle=0.0, network=0.1)
    wait_until(lambda: is_ready(patient, inbox))


def test_a_file_that_ends_too_early_is_waited_for_and_logged_once(
    inbox: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "watchconv")
    (inbox / "a.mov").write_bytes(CUT)
    waiting = Waiting(inbox, settle=0.0)

    assert not is_ready(waiting, inbox)
    assert not is_ready(waiting, inbox)
    assert waiting.lacks() == {"a.mov": LACKS}
    assert waiting.due_in() <= INCOMPLETE_CHECK_SECONDS
    assert caplog.messages == [f"waiting for a.mov: {LACKS}"]

    (inbox / "a.mov").write_bytes(CUT + b"x" * 42 + (8).to_bytes(4, "big") + b"moov")

    assert is_ready(waiting, inbox)


def test_a_file_that_never_gets_whole_is_ready_in_the_end(inbox: Path) -> None:
    (inbox / "a.mov").write_bytes(CUT)
    waiting = Waiting(inbox, settle=0.0, incomplete=0.2)

    wait_until(lambda: is_ready(waiting, inbox))


def test_all_files_age_side_by_side(inbox: Path) -> None:
    waiting = Waiting(inbox, settle=0.2)
    for n in range(50):
        (inbox / f"{n}.mov").write_bytes(b"x")
        is_ready(waiting, inbox, f"{n}.mov")
    last = max(file.due for file in waiting.files.values())
    wait_until(lambda: time.monotonic() >= last)

    assert all(is_ready(waiting, inbox, f"{n}.mov") for n in range(50))


def test_what_is_gone_is_forgotten(inbox: Path) -> None:
    waiting = Waiting(inbox, settle=LONG)
    (inbox / "b.mov").write_bytes(b"x")
    is_ready(waiting, inbox)
    is_ready(waiting, inbox, "b.mov")
    (inbox / "b.mov").unlink()
    waiting.forget_missing()

    assert list(waiting.files) == ["a.mov"]


def test_no_more_than_the_limit_is_remembered_but_all_are_counted(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "LIMIT", 10)
    waiting = Waiting(inbox, settle=LONG)
    found = (inbox / "a.mov").lstat()
    for n in range(30):
        waiting.takes(f"{n}.mov", found)

    assert len(waiting.files) == 10
    assert waiting.overflow == 20

    waiting.takes("3.mov", found)

    assert waiting.overflow == 20


SPOILS: list[Callable[[Path], None]] = [
    lambda path: None,
    lambda path: path.symlink_to("/dev/zero"),
    os.mkfifo,
    lambda path: path.mkdir(),
]


@pytest.mark.parametrize("spoil", SPOILS, ids=["nothing", "link", "pipe", "folder"])
def test_a_file_that_cannot_be_opened_waits_as_where_nothing_is_proven(
    inbox: Path, spoil: Callable[[Path], None]
) -> None:
    before = os.listdir("/proc/self/fd")
    found = (inbox / "a.mov").lstat()
    (inbox / "a.mov").unlink()
    spoil(inbox / "a.mov")

    assert not Waiting(inbox, settle=0.0).takes("a.mov", found)

    waiting = Waiting(inbox, settle=0.0, network=0.1)
    wait_until(lambda: waiting.takes("a.mov", found))

    assert os.listdir("/proc/self/fd") == before


def test_a_file_that_only_its_owner_may_read_is_not_settled_by_a_short_pause() -> None:
    """An FTP server with umask 077: what is closed to us may well be written still."""
    with open_folder() as inbox, as_nobody():
        (inbox / "a.mov").write_bytes(b"moving pictures")
        (inbox / "a.mov").chmod(0o000)
        waiting = Waiting(inbox, settle=0.0)

        assert not is_ready(waiting, inbox)
        assert waiting.due_in() > WRITER_CHECK_SECONDS


# why a file waits, and since when


def test_each_pending_file_names_why_it_waits(inbox: Path) -> None:
    waiting = Waiting(inbox, settle=0.0)
    patient = Waiting(inbox, settle=LONG)
    unsure = Waiting(inbox, settle=0.0, network=0.1, leases_prove=False)
    (inbox / "empty.mov").write_bytes(b"")
    (inbox / "cut.mov").write_bytes(CUT)
    found = (inbox / "a.mov").lstat()
    with (inbox / "a.mov").open("ab"):
        for name in ("a.mov", "empty.mov", "cut.mov"):
            is_ready(waiting, inbox, name)
    is_ready(patient, inbox)
    is_ready(unsure, inbox)
    (inbox / "a.mov").unlink()
    waiting.takes("gone.mov", found)

    assert waiting.reasons() == {
        "a.mov": PendingReason.BEING_WRITTEN,
        "empty.mov": PendingReason.EMPTY,
        "cut.mov": PendingReason.INCOMPLETE,
        "gone.mov": PendingReason.UNPROVEN,
    }
    assert patient.reasons() == unsure.reasons() == {"a.mov": PendingReason.SETTLING}


def test_a_pending_file_names_since_when_it_waits_for_the_same(inbox: Path) -> None:
    waiting = Waiting(inbox, settle=0.0)
    with (inbox / "a.mov").open("ab") as writer:
        is_ready(waiting, inbox)
        first = waiting.files["a.mov"].since
        writer.write(b"more")
        writer.flush()
        is_ready(waiting, inbox)

        assert waiting.files["a.mov"].since == first <= time.time()

        writer.truncate(0)
    wait_until(lambda: time.time() > first)
    is_ready(waiting, inbox)

    assert waiting.reasons() == {"a.mov": PendingReason.EMPTY}
    assert waiting.files["a.mov"].since > first

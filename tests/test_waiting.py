"""The files that are seen but not settled, on real files with real writers."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.unprivileged import as_nobody, open_folder
from tests.waiting import wait_until
from watchconv.intake import settling as room
from watchconv.intake.settling import (
    BEING_WRITTEN,
    INCOMPLETE_CHECK_SECONDS,
    WRITER_CHECK_SECONDS,
    PendingFiles,
    SettleSettings,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHORT, LONG = 0.05, 3600.0
CUT = (100).to_bytes(4, "big") + b"ftyp" + b"x" * 50
LACKS = "the mp4 box ftyp needs 42 bytes more than the file has"


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """An inbox with one file."""
    folder = tmp_path.resolve() / "inbox"
    folder.mkdir()
    (folder / "a.mov").write_bytes(b"moving pictures")
    return folder


def room_of(
    inbox: Path, settle: float = SHORT, network: float = LONG, incomplete: float = LONG
) -> PendingFiles:
    return PendingFiles(str(inbox), SettleSettings(settle, network, incomplete))


def is_ready(
    waiting: PendingFiles, inbox: Path, name: str = "a.mov", *, appeared: bool = False
) -> bool:
    return waiting.is_ready(name, (inbox / name).lstat(), own_look=True, appeared=appeared)


def due_in(waiting: PendingFiles) -> float:
    due = waiting.next_due()
    assert due is not None
    return due - time.monotonic()


def test_a_fresh_file_waits_until_it_is_left_alone(inbox: Path) -> None:
    waiting = room_of(inbox, settle=0.3)

    assert not is_ready(waiting, inbox)
    assert len(waiting) == 1
    assert 0 < due_in(waiting) <= 0.3
    assert waiting.due() == []

    wait_until(lambda: is_ready(waiting, inbox))

    assert len(waiting) == 0
    assert waiting.next_due() is None


def test_a_file_is_due_when_its_time_has_come(inbox: Path) -> None:
    waiting = room_of(inbox)
    is_ready(waiting, inbox)

    assert wait_until(waiting.due) == ["a.mov"]


def test_a_name_that_appeared_by_move_or_link_is_ready_at_once(inbox: Path) -> None:
    assert is_ready(room_of(inbox, settle=LONG), inbox, appeared=True)


def test_an_old_file_is_ready_at_once_though_its_mtime_is_new(inbox: Path) -> None:
    waiting = room_of(inbox, settle=0.2)
    wait_until(lambda: time.time() - (inbox / "a.mov").stat().st_ctime > 0.25)

    assert is_ready(waiting, inbox)


def test_an_old_mtime_alone_settles_nothing(inbox: Path) -> None:
    os.utime(inbox / "a.mov", (1, 1))

    assert not is_ready(room_of(inbox, settle=LONG), inbox)


def test_where_leases_prove_nothing_even_a_move_takes_three_looks(inbox: Path) -> None:
    waiting = room_of(inbox, settle=0.0, network=0.2)
    waiting.leases_prove = False
    looks = 0

    def look() -> bool:
        nonlocal looks
        looks += 1
        return is_ready(waiting, inbox, appeared=True)

    wait_until(look)

    assert looks >= 3


@pytest.mark.parametrize("appeared", [False, True])
def test_a_file_that_somebody_writes_is_not_ready(inbox: Path, *, appeared: bool) -> None:
    waiting = room_of(inbox, settle=0.0)
    with (inbox / "a.mov").open("ab"):
        assert not is_ready(waiting, inbox, appeared=appeared)
        assert waiting.lacking() == {"a.mov": BEING_WRITTEN}
        assert WRITER_CHECK_SECONDS - 5 < due_in(waiting) <= WRITER_CHECK_SECONDS

    assert is_ready(waiting, inbox, appeared=appeared)
    assert waiting.lacking() == {}


def test_a_file_under_anothers_write_lease_is_being_written(inbox: Path) -> None:
    """Samba takes such leases for its clients; opening the file would break them."""
    waiting = room_of(inbox, settle=0.0)
    holder = os.open(inbox / "a.mov", os.O_RDWR)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)

        assert not is_ready(waiting, inbox)
        assert waiting.lacking() == {"a.mov": BEING_WRITTEN}
    finally:
        os.close(holder)
        signal.signal(signal.SIGIO, before)


def test_an_empty_file_is_waited_for_as_where_nothing_is_proven(inbox: Path) -> None:
    (inbox / "a.mov").write_bytes(b"")
    waiting = room_of(inbox, settle=0.0, network=LONG)

    assert not is_ready(waiting, inbox, appeared=True)
    assert waiting.lacking() == {}

    patient = room_of(inbox, settle=0.0, network=0.1)
    wait_until(lambda: is_ready(patient, inbox))


def test_a_file_that_ends_too_early_is_waited_for_and_said_once(
    inbox: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "watchconv")
    (inbox / "a.mov").write_bytes(CUT)
    waiting = room_of(inbox, settle=0.0)

    assert not is_ready(waiting, inbox)
    assert not is_ready(waiting, inbox)
    assert waiting.lacking() == {"a.mov": LACKS}
    assert due_in(waiting) <= INCOMPLETE_CHECK_SECONDS
    assert caplog.messages == [f"waiting for a.mov: {LACKS}"]

    (inbox / "a.mov").write_bytes(CUT + b"x" * 42 + (8).to_bytes(4, "big") + b"moov")

    assert is_ready(waiting, inbox)


def test_a_file_that_never_gets_whole_is_ready_in_the_end(inbox: Path) -> None:
    (inbox / "a.mov").write_bytes(CUT)
    waiting = room_of(inbox, settle=0.0, incomplete=0.2)

    wait_until(lambda: is_ready(waiting, inbox))


def test_all_files_age_side_by_side(inbox: Path) -> None:
    waiting = room_of(inbox, settle=0.2)
    for n in range(50):
        (inbox / f"{n}.mov").write_bytes(b"x")
        is_ready(waiting, inbox, f"{n}.mov")
    wait_until(lambda: len(waiting.due()) == 50)

    assert all(is_ready(waiting, inbox, f"{n}.mov") for n in range(50))


def test_what_is_gone_is_forgotten(inbox: Path) -> None:
    waiting = room_of(inbox, settle=LONG)
    (inbox / "b.mov").write_bytes(b"x")
    is_ready(waiting, inbox)
    is_ready(waiting, inbox, "b.mov")
    (inbox / "b.mov").unlink()
    waiting.forget_missing()

    assert len(waiting) == 1

    waiting.forget("a.mov")
    waiting.forget("a.mov")

    assert len(waiting) == 0


def test_no_more_than_the_limit_is_remembered_but_all_are_counted(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "LIMIT", 10)
    waiting = room_of(inbox, settle=LONG)
    found = (inbox / "a.mov").lstat()
    for n in range(30):
        waiting.is_ready(f"{n}.mov", found, own_look=True)

    assert len(waiting) == 30
    assert waiting.overflow == 20

    waiting.is_ready("3.mov", found, own_look=True)

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

    assert not room_of(inbox, settle=0.0).is_ready("a.mov", found, own_look=True)

    waiting = room_of(inbox, settle=0.0, network=0.1)
    wait_until(lambda: waiting.is_ready("a.mov", found, own_look=True))

    assert os.listdir("/proc/self/fd") == before


def test_a_file_that_only_its_owner_may_read_is_not_settled_by_a_short_pause() -> None:
    """An FTP server with umask 077: what is closed to us may well be written still."""
    with open_folder() as inbox, as_nobody():
        (inbox / "a.mov").write_bytes(b"moving pictures")
        (inbox / "a.mov").chmod(0o000)
        waiting = room_of(inbox, settle=0.0)

        assert not is_ready(waiting, inbox)
        assert due_in(waiting) > WRITER_CHECK_SECONDS

"""What is probed before its turn: once, and only for the file that was seen."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

from watchconv.daemon.ahead import Ahead
from watchconv.encode.foresight import Foresight
from watchconv.journal.jobs import Journal
from watchconv.journal.thread import JournalThread
from watchconv.media.probe_protocol import ProbeFailed
from watchconv.model import Candidate, Identity, MediaInfo

if TYPE_CHECKING:
    from pathlib import Path


class FakeProbe:
    """Answers with what is in the file; counts how often it was asked; fails on order."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False

    def probe(self, fd: int, **_: object) -> MediaInfo:
        """Say what the file is: its content is the answer's demuxer."""
        self.asked += 1
        if self.fails:
            raise ProbeFailed("no", hopeless=True)
        return MediaInfo(os.pread(fd, 100, 0).decode(), None, ())


class Eye:
    """A foresight on files of one folder."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.probe = folder, FakeProbe()
        self.foresight = Foresight(self.probe, lambda: keep)  # type: ignore[arg-type]

    def foresee(self, name: str) -> None:
        with (self.folder / name).open("rb") as file:
            identity = Identity.of(os.fstat(file.fileno()))
            asyncio.run(self.foresight.foresee(file.fileno(), identity))

    def media(self, name: str) -> str:
        with (self.folder / name).open("rb") as file:
            identity = Identity.of(os.fstat(file.fileno()))
            return asyncio.run(self.foresight.media(file.fileno(), identity)).demuxer


def test_what_was_foreseen_is_not_asked_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("avi")
    eye = Eye(tmp_path)

    eye.foresee("a")
    eye.foresee("a")

    assert eye.media("a") == "avi"
    assert eye.probe.asked == 1


def test_a_file_that_changed_since_is_asked_about_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("avi")
    eye = Eye(tmp_path)
    eye.foresee("a")

    (tmp_path / "a").write_text("matroska")

    assert eye.media("a") == "matroska"


def test_what_was_foreseen_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("avi")
    eye = Eye(tmp_path)
    eye.foresee("a")

    assert eye.media("a") == eye.media("a") == "avi"
    assert eye.probe.asked == 2


def test_a_failure_is_left_to_the_attempt(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("avi")
    eye = Eye(tmp_path)
    eye.probe.fails = True
    eye.foresee("a")
    eye.foresee("a")

    eye.probe.fails = False

    assert eye.media("a") == "avi"
    assert eye.probe.asked == 2


def test_only_the_last_few_are_kept(tmp_path: Path) -> None:
    eye = Eye(tmp_path, keep=2)
    for name in "abc":
        (tmp_path / name).write_text(name)
        eye.foresee(name)

    assert [eye.media(name) for name in "bca"] == ["b", "c", "a"]
    assert eye.probe.asked == 4


def test_looking_ahead_ends_nothing_whatever_is_the_matter_with_the_disk(tmp_path: Path) -> None:
    """What went wrong was raised in the worker that looked ahead the next time."""
    new = []
    for name in ("a.mkv", "b.mkv"):
        (tmp_path / name).write_text("avi")
        found = (tmp_path / name).stat()
        new.append(Candidate(name, found.st_size, found.st_mtime_ns, "copy"))
    looks = []

    async def foresee(*_: object) -> None:
        looks.append(1)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    async def look() -> None:
        journal = JournalThread(str(tmp_path))
        await journal.ask(Journal.add, new, 1.0)
        ahead = Ahead(str(tmp_path), journal, foresee, lambda: 2)
        for _ in range(2):
            ahead.begin()
            assert ahead._look
            await asyncio.wait({ahead._look})
        journal.close()

    asyncio.run(look())

    assert len(looks) == 2

"""Records reach systemd's journal by its own protocol, whole and with their fields."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.daemon import CHECKOUT, drop, tiny_clip
from tests.fake_place import GatedPlace as Scene
from tests.waiting import LONG
from watchconv.logs.format import TextFormat, log_job, log_transition
from watchconv.logs.journald import JournalSink
from watchconv.model import Cause, Job, JobState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGE = 1 << 20  # bytes; no datagram takes so much
RUN = """
import sys
from watchconv.logs import journald
journald.JournalSink.__init__.__defaults__ = (sys.argv.pop(1),)
from watchconv.cli import main
sys.exit(main(sys.argv[1:]))
"""


class Journal:
    """The journal's end of the socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open()

    def open(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(LONG)

    def close(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def take(self) -> dict[str, str]:
        """Take one record, as a datagram or as a memory file that nobody can change."""
        message, descriptors, _, _ = socket.recv_fds(self._socket, 1 << 20, 1)
        for descriptor in descriptors:
            assert message == b""
            with open(descriptor, "r+b", buffering=0) as file:
                with pytest.raises(PermissionError):
                    file.write(b"x")
                file.seek(0)
                message = file.readall()
        return fields(message)


def fields(message: bytes) -> dict[str, str]:
    """Read a record as the protocol says: NAME=value, or NAME, length and value."""
    found = {}
    while message:
        line, _, message = message.partition(b"\n")
        name, is_short, value = line.partition(b"=")
        if not is_short:
            length = int.from_bytes(message[:8], "little")
            value, message = message[8 : 8 + length], message[8 + length + 1 :]
        assert name.decode() not in found
        found[name.decode()] = value.decode()
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal")
    yield journal
    journal.close()


class Lines(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(TextFormat("priority"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def stderr() -> Lines:
    return Lines()


@pytest.fixture
def log(journal: Journal, stderr: Lines) -> Iterator[logging.Logger]:
    sink = JournalSink(stderr, str(journal.path))
    sink.setFormatter(TextFormat("none"))
    log = logging.Logger("watchconv.test")
    log.addHandler(sink)
    yield log
    sink.close()


def a_job(source: str = "a.mov") -> Job:
    nothing = (None,) * 7
    return Job(17, source, 1, 1, "my phone", JobState.RUNNING, 1, 1, 0, 0.0, 0.0, *nothing)


def test_a_change_of_state_is_found_by_job_profile_and_state(
    log: logging.Logger, journal: Journal, stderr: Lines
) -> None:
    log_transition(log, a_job(), JobState.RUNNING, JobState.QUEUED, "it stalled")

    assert journal.take() == {
        "MESSAGE": "job=17 profile=my phone running→queued a.mov: it stalled",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "watchconv",
        "JOB_ID": "17",
        "PROFILE": "my phone",
        "SOURCE": "a.mov",
        "STATE": "queued",
    }
    assert stderr.lines == []


def test_a_failure_has_its_cause(log: logging.Logger, journal: Journal) -> None:
    job = replace(a_job(), cause=Cause.STALL)
    log_transition(log, job, JobState.DELIVERING, JobState.FAILED, "it stalled")

    assert journal.take()["CAUSE"] == "stall"


def test_words_about_a_job_have_no_state_and_others_no_job(
    log: logging.Logger, journal: Journal
) -> None:
    log_job(log, a_job(), "left out: a track", level=logging.WARNING)
    log.error("no job at all: job=%d STATE=done", 3)

    found = journal.take()
    assert found["JOB_ID"] == "17"
    assert found["PRIORITY"] == "4"
    assert "STATE" not in found
    assert journal.take().keys() == {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER"}


def test_a_name_forges_no_field(log: logging.Logger, journal: Journal) -> None:
    name = "a\nJOB_ID=1\nSTATE=done\udce9.mov"
    log_transition(log, a_job(name), JobState.QUEUED, JobState.RUNNING)

    found = journal.take()
    assert found["JOB_ID"] == "17"
    assert found["STATE"] == "running"
    assert found["MESSAGE"].endswith(r"a\nJOB_ID=1\nSTATE=done\xe9.mov")


def test_a_traceback_keeps_its_lines(log: logging.Logger, journal: Journal) -> None:
    try:
        raise ValueError("a bug")
    except ValueError:
        log.exception("it broke")

    found = journal.take()
    assert found["MESSAGE"].splitlines()[0] == "error: it broke"
    assert found["MESSAGE"].splitlines()[-1] == "ValueError: a bug"
    assert found["PRIORITY"] == "3"


def test_what_no_datagram_takes_is_handed_over_as_a_file(
    log: logging.Logger, journal: Journal, stderr: Lines
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    log.info("%s", "x" * LARGE)

    found = journal.take()
    assert found["MESSAGE"] == "x" * LARGE
    assert found["PRIORITY"] == "6"
    assert stderr.lines == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_a_journal_the_line_goes_to_stderr_with_its_priority(
    log: logging.Logger, journal: Journal, stderr: Lines
) -> None:
    journal.close()
    log.warning("nobody is there")
    assert stderr.lines == ["<4>warning: nobody is there"]

    journal.open()
    log.info("it came back")
    assert journal.take()["MESSAGE"] == "it came back"


def start(scene: Scene, journal: Journal, stream: str | None) -> subprocess.Popen[bytes]:
    """Start the daemon as systemd does, its stderr being the stream that is named, or not."""
    with scene.log_file.open("ab") as stderr:
        stat = os.fstat(stderr.fileno())
        where = {"JOURNAL_STREAM": stream or f"{stat.st_dev}:{stat.st_ino}"}
        argv = [sys.executable, "-W", "error", "-c", RUN, str(journal.path)]
        return subprocess.Popen(
            [*argv, *scene.options, "run", "--once"],
            env={**scene.environment, **where},
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stderr=stderr,
        )


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_each_step_of_a_job_is_in_the_journal(
    tmp_path: Path, journal: Journal, log_format: str
) -> None:
    scene = Scene(tmp_path / "videos", "copy", log_format=log_format)
    drop(tiny_clip(tmp_path), scene.inbox / "copy/a.mkv")
    daemon = start(scene, journal, None)
    said: list[dict[str, str]] = []
    while not (said and said[-1].get("STATE") == "done"):
        said.append(journal.take())
    assert daemon.wait(LONG) == 0

    found = [line["STATE"] for line in said if line.get("JOB_ID") == "1" and "STATE" in line]
    assert found == ["queued", "running", "delivering", "done"]
    assert {line["PROFILE"] for line in said if "JOB_ID" in line} == {"copy"}
    assert all(line["MESSAGE"].startswith("{") == (log_format == "json") for line in said)
    assert scene.log() == ""


def test_a_stderr_that_is_not_the_journals_gets_the_lines(tmp_path: Path, journal: Journal) -> None:
    scene = Scene(tmp_path / "videos", "copy")
    drop(tiny_clip(tmp_path), scene.inbox / "a.mkv")

    assert start(scene, journal, "8:1").wait(LONG) == 0
    assert " job=1 profile=copy delivering→done a.mkv" in scene.log()

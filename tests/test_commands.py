"""Every command and exit code, as a person or a script meets them."""

from __future__ import annotations

import errno
import json
import os
import re
import select
import shlex
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import (
    QUICK,
    Daemon,
    Place,
    descendants,
    drop,
    is_ffmpeg,
    run_program,
    tiny_clip,
)
from tests.unprivileged import as_nobody, open_folder
from tests.waiting import LONG, wait_until
from tests.wrapped import without_seccomp
from watchconv.commands import check
from watchconv.encode import program, trial
from watchconv.errors import ConfigError, EnvironmentTrouble
from watchconv.host import status_file
from watchconv.host.folders import find_state, make_state
from watchconv.journal.jobs import Journal
from watchconv.model import (
    Candidate,
    Cause,
    Intent,
    JobState,
    JobWarning,
    OutputFile,
    Verdict,
    WarningCause,
)
from watchconv.process.sandbox.support import support
from watchconv.views import RunningJob, Status, show_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WRONG = {"suffix": ".webm", "args": "-c:v libvpx -vf scale=7:nonsense -an"}
SETTINGS: dict[str, Any] = {
    **QUICK,
    "jobs": 2,
    "max_attempts": 1,
    "profiles": {**QUICK["profiles"], "wrong": WRONG},
}
STATUS_KEYS = {"state", "pid", "counts", "running", "trouble", "saved_bytes"}
STATUS_KEYS |= {"warned", "warned_jobs"}
STATUS_KEYS |= {"waiting", "waiting_files"}
COUNT_KEYS = {"waiting", "queued", "running", "done", "failed", "ignored"}
RUNNING_KEYS = {"id", "source", "profile", "progress", "speed", "fps", "eta_seconds"}
JOB_KEYS = {
    "id",
    "source",
    "profile",
    "state",
    "attempt",
    "output",
    "reason",
    "queued_at",
    "started_at",
    "ended_at",
    "cause",
    "warnings",
    "size",
    "output_size",
    "outputs",
    "priority",
    "media_seconds",
    "encode_seconds",
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def clip(clips: Path) -> Path:
    return tiny_clip(clips)


@pytest.fixture(scope="module")
def minute(clips: Path) -> Path:
    """A clip that the profile ``slow`` works on for a minute."""
    return tiny_clip(clips, "minute.mkv", 60)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon that is asked for many things."""
    with Daemon(Place(tmp_path_factory.mktemp("asked") / "videos", SETTINGS)) as daemon:
        yield daemon


@pytest.fixture
def place(daemon: Daemon) -> Iterator[Place]:
    yield daemon.place
    assert daemon.process is not None and daemon.process.poll() is None, daemon.log()


@pytest.fixture
def quiet(tmp_path: Path) -> Place:
    """A place where no daemon runs until a test starts one."""
    return Place(tmp_path / "videos", SETTINGS)


def running(place: Place, source: str) -> dict[str, Any]:
    """Wait until a job runs; give its row of ``status``."""
    rows: list[dict[str, Any]] = []

    def is_shown() -> bool:
        rows[:] = [row for row in place.live().get("running", []) if row["source"] == source]
        return bool(rows)

    wait_until(is_shown, what=place.log)
    return rows[0]


def in_shell(place: Place, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, for what a shell does to the streams of a command."""
    return subprocess.run(
        ["bash", "-c", line],
        env=place.environment,
        timeout=LONG,
        capture_output=True,
        text=True,
        check=False,
    )


def failed(place: Place, clip: Path, name: str) -> int:
    """Have a job fail; give its id."""
    drop(clip, place.inbox / f"wrong/{name}")
    return int(place.wait_for(f"wrong/{name}", "failed")["id"])


# status and jobs


def test_status_has_exactly_the_documented_keys_and_types(place: Place, minute: Path) -> None:
    drop(minute, place.inbox / "slow/status.mkv")
    running(place, "slow/status.mkv")
    wait_until(lambda: running(place, "slow/status.mkv")["progress"], what=place.live)
    status = json.loads(place.say("status", "--json"))

    assert set(status) == STATUS_KEYS
    assert (status["state"], status["trouble"]) == ("running", [])
    assert type(status["pid"]) is int
    assert set(status["counts"]) == COUNT_KEYS
    assert {type(count) for count in status["counts"].values()} == {int}
    assert status["counts"]["running"] == len(status["running"]) == 1
    row = status["running"][0]
    assert set(row) == RUNNING_KEYS
    assert (row["source"], row["profile"]) == ("slow/status.mkv", "slow")
    assert type(row["id"]) is int
    assert 0 < row["progress"] < 1
    assert row["speed"] > 0
    assert 0 < row["eta_seconds"] < 600
    place.say("cancel", row["id"])
    place.wait_for("slow/status.mkv", "failed")


def test_jobs_have_exactly_the_documented_keys_and_types(place: Place, clip: Path) -> None:
    before = datetime.now().astimezone()
    drop(clip, place.inbox / "sub/jobs.mkv")
    place.wait_for("sub/jobs.mkv", "done")
    failed(place, clip, "jobs.mkv")
    told = json.loads(place.say("jobs", "--json"))
    good, bad = (
        next(job for job in told if job["source"] == source)
        for source in ("sub/jobs.mkv", "wrong/jobs.mkv")
    )

    assert set(good) == set(bad) == JOB_KEYS
    assert type(good["id"]) is int
    assert (good["profile"], good["state"], good["attempt"]) == ("webm", "done", 1)
    assert (good["output"], good["reason"]) == ("sub/jobs.webm", None)
    assert (bad["output"], bad["state"]) == (None, "failed")
    assert isinstance(bad["reason"], str) and bad["reason"]
    assert bad["cause"] in set(Cause)
    assert (good["cause"], good["warnings"], good["priority"]) == (None, [], 0)
    assert (good["outputs"], bad["outputs"], bad["output_size"]) == (["sub/jobs.webm"], [], None)
    made = place.outbox / "sub/jobs.webm"
    assert (good["size"], good["output_size"]) == (clip.stat().st_size, made.stat().st_size)
    assert good["encode_seconds"] > 0
    for job in (good, bad):
        times = [
            datetime.fromisoformat(job[key]) for key in ("queued_at", "started_at", "ended_at")
        ]
        assert {moment.utcoffset() for moment in times} == {timedelta(0)}
        assert before - timedelta(seconds=1) <= times[0] <= times[1] <= times[2]


def test_status_shows_people_what_is_delivered_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path / "videos", SETTINGS)
    make_state(str(place.state))
    with closing(Journal(str(place.state))) as journal:
        journal.add([Candidate("a.mkv", 1, 1, "webm")], 1.0)
        job = journal.claim(2.0)
        assert job
        journal.intend(job, Intent(Verdict.FAILED, reason="why"))

    assert "job 1 [webm] a.mkv: delivering" in place.say("status")
    assert re.search(r"1 1970-01-01 00:00:02 UTC delivering", place.say("jobs"))


def test_jobs_can_be_asked_by_state(place: Place, clip: Path) -> None:
    drop(clip, place.inbox / "by-state.mkv")
    place.wait_for("by-state.mkv", "done")
    job_id = failed(place, clip, "by-state.mkv")

    assert "by-state.mkv" in {job["source"] for job in place.jobs("--state", "done")}
    assert {job["state"] for job in place.jobs("--state", "done")} == {"done"}
    assert job_id in {job["id"] for job in place.jobs("--state", "failed")}
    assert place.jobs("--state", "queued") == []


def test_jobs_of_a_state_that_does_not_exist_is_usage(place: Place) -> None:
    ended = place.run("jobs", "--state", "sleeping")

    assert ended.returncode == 2
    assert "failed" in ended.stderr  # names those that do


def test_status_and_jobs_speak_to_people_too(place: Place, clip: Path) -> None:
    drop(clip, place.inbox / "people.mkv")
    place.wait_for("people.mkv", "done")

    assert "running" in place.say("status")
    assert "people.mkv" in place.say("jobs")


def test_status_watch_shows_it_until_it_is_interrupted(place: Place) -> None:
    screen, terminal = os.openpty()
    watching = subprocess.Popen(
        place.command("status", "--watch"),
        env={**place.environment, "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    shown = b""

    def is_shown() -> bool:
        nonlocal shown
        if select.select([screen], [], [], 0.1)[0]:
            shown += os.read(screen, 65536)
        return b"watchconv is running" in shown

    try:
        wait_until(is_shown, what=lambda: shown)
        watching.send_signal(signal.SIGINT)
        code = watching.wait(LONG)
    finally:
        watching.kill()
        watching.wait()
        os.close(screen)

    assert code in (0, 130)
    assert b"Traceback" not in shown


@pytest.mark.parametrize("words", [(), ("--json",)], ids=str)
def test_status_watch_into_a_pipe_tells_as_it_goes(place: Place, words: tuple[str, ...]) -> None:
    watching = subprocess.Popen(
        place.command("status", "--watch", *words),
        env=place.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with watching:
        assert watching.stdout and watching.stderr
        blocks = [list(iter(watching.stdout.readline, "\n")) for _ in range(0 if words else 2)]
        lines = [watching.stdout.readline() for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        said = watching.stderr.read()

    assert (watching.returncode, said) == (0, "")
    if words:
        assert {json.loads(line)["pid"] for line in lines} == {place.live()["pid"]}
    for head, *rest in blocks:
        assert head.startswith("watchconv is running (")
        assert rest[0].startswith("0 waiting, ")


def test_a_daemon_says_where_it_watches_and_that_it_has_stopped(quiet: Place) -> None:
    with Daemon(quiet) as daemon:
        watching = f"watching {quiet.inbox}; outputs go to {quiet.outbox}\n"
        wait_until(lambda: watching in daemon.log(), what=daemon.log)
        assert daemon.stop() == 0

    ends = [line.split(" ", 2)[2] for line in daemon.log().splitlines()[-2:]]
    assert ends == ["stopping", "stopped"]


def test_a_reader_that_has_seen_enough_is_no_error(place: Place) -> None:
    words = shlex.join(place.command("jobs", "--json"))
    ended = in_shell(place, f"set -o pipefail; {words} | true")

    assert "Traceback" not in ended.stderr
    assert ended.stderr == ""


@pytest.mark.parametrize("words", ["jobs", "jobs --json", "status --json"])
def test_an_answer_that_cannot_be_written_is_said_in_a_sentence(
    quiet: Place, clip: Path, words: str
) -> None:
    drop(clip, quiet.inbox / "a.mkv")
    quiet.run("run", "--once")
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            quiet.command(*words.split()),
            env=quiet.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert ended.returncode == 1
    assert ended.stderr == ("watchconv: the answer cannot be written: No space left on device\n")


def test_a_terminal_that_knows_no_arrows_gets_them_spelled(quiet: Place, clip: Path) -> None:
    drop(clip, quiet.inbox / "a.mkv")
    quiet.run("run", "--once")
    quiet.environment["PYTHONIOENCODING"] = "ascii"

    assert "a.mkv \\u2192 a." in quiet.say("jobs")


def test_status_works_when_the_daemon_is_down(quiet: Place, clip: Path) -> None:
    never = quiet.status()
    drop(clip, quiet.inbox / "a.mkv")
    with Daemon(quiet) as daemon:
        quiet.wait_for("a.mkv", "done")
        assert daemon.stop() == 0
    down = quiet.status()

    nothing = dict.fromkeys(COUNT_KEYS, 0)
    assert (never["state"], never["pid"], never["counts"]) == ("stopped", None, nothing)
    assert (down["state"], down["pid"]) == ("stopped", None)
    assert down["counts"] == {**nothing, "done": 1}
    assert "stopped" in quiet.say("status")
    assert [job["state"] for job in quiet.jobs()] == ["done"]


def test_status_lists_what_it_counts_though_the_daemon_said_something_else_a_second_ago(
    quiet: Place,
) -> None:
    make_state(str(quiet.state))
    journal = Journal(str(quiet.state), migrate=True)
    journal.add([Candidate(f"{n}.mkv", 1, 1, "webm") for n in "abc"], 1.0)
    ended, began = journal.claim(2.0), journal.claim(2.0)
    assert ended
    assert began
    said = [RunningJob(job.id, job.source, "webm", progress=0.5) for job in (ended, began)]
    pid = os.getpid()
    started = status_file.start_of(pid) or 0
    status_file.write(str(quiet.state), Status(pid, started, "running", running=said))
    assert journal.withdraw(ended.id, JobState.RUNNING, 3.0)
    fresh = journal.claim(4.0)
    journal.close()
    status = quiet.status()

    assert fresh
    assert status["counts"]["running"] == 2
    assert [(row["id"], row["progress"]) for row in status["running"]] == [
        (began.id, 0.5),
        (fresh.id, None),
    ]


def test_what_jobs_saved_is_summed_and_outlives_the_history(quiet: Place) -> None:
    nothing = quiet.say("jobs", "--saved")
    make_state(str(quiet.state))
    with closing(Journal(str(quiet.state))) as journal:
        for name, size, made in (("a.mkv", 4 << 30, 1 << 30), ("b.mkv", 1000, 1200)):
            journal.add([Candidate(name, size, 1, "webm")], 1.0)
            job = journal.claim(2.0)
            assert job
            output = OutputFile("output.webm", ".webm", made, name=f"{name}.webm")
            warning = JobWarning(WarningCause.TRACK_LEFT_OUT, "left out: a track")
            journal.intend(job, Intent(Verdict.ENCODED, (output,), warnings=(warning,)))
            journal.finish(job.id, JobState.DONE, 3.0)
        lines, status = quiet.say("jobs"), quiet.say("status")
        rows = quiet.jobs()
        assert journal.trim(0, 4.0) == 2
    told = quiet.say("jobs", "--saved")
    saved = (3 << 30) - 200

    assert nothing.splitlines()[0] == "in     0 bytes, 0 B, of 0 done jobs"
    assert lines.splitlines()[0].endswith("b.mkv → b.mkv.webm; 1 warning")
    assert rows[0]["warnings"] == [{"cause": "track-left-out", "text": "left out: a track"}]
    assert "2 done with warnings" in status
    assert "    job 2 [webm] b.mkv: left out: a track" in status.splitlines()
    assert quiet.say("jobs") == ""
    assert told.splitlines() == [
        f"in     {(4 << 30) + 1000} bytes, 4.0 GiB, of 2 done jobs",
        f"out    {(1 << 30) + 1200} bytes, 1.0 GiB",
        f"saved  {saved} bytes, 3.0 GiB (75%)",
        "  [webm] 2 jobs: 4.0 GiB in, 1.0 GiB out, 3.0 GiB saved (75%)",
    ]
    sums = {
        "jobs": 2,
        "input_bytes": (4 << 30) + 1000,
        "output_bytes": (1 << 30) + 1200,
        "saved_bytes": saved,
    }
    told_json = json.loads(quiet.say("jobs", "--saved", "--json"))
    assert told_json == {**sums, "profiles": {"webm": sums}}
    assert quiet.status()["saved_bytes"] == saved


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (-1536, "-1.5 KiB"),
        (3 << 30, "3.0 GiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_a_size_is_shown_in_its_largest_unit(size: int, shown: str) -> None:
    assert show_size(size) == shown


def test_status_after_a_sigkill_says_stopped(quiet: Place, minute: Path) -> None:
    drop(minute, quiet.inbox / "slow/a.mkv")
    with Daemon(quiet) as daemon:
        running(quiet, "slow/a.mkv")
        daemon.kill()
        status = quiet.status()

    assert (status["state"], status["pid"], status["running"]) == ("stopped", None, [])


# retry


def test_retry_keeps_the_id_removes_the_log_and_starts_to_count_anew(
    quiet: Place, clip: Path
) -> None:
    with Daemon(quiet):
        job_id = failed(quiet, clip, "sub/a.mkv")
        assert (quiet.error / "wrong/sub/a.mkv.log").exists()
        quiet.say("pause")
        quiet.say("retry", job_id)
        job = quiet.wait_for("wrong/sub/a.mkv", "queued")

        assert (job["id"], job["attempt"]) == (job_id, 0)
        assert (quiet.inbox / "wrong/sub/a.mkv").exists()
        assert [path for path in quiet.error.rglob("*") if path.is_file()] == []
    right = {**WRONG, "args": "-c:v libvpx -an"}
    quiet.configure({**SETTINGS, "profiles": {"wrong": right}})
    quiet.say("resume")
    with Daemon(quiet):
        job = quiet.wait_for("wrong/sub/a.mkv", "done")

    assert (job["id"], job["attempt"], job["reason"]) == (job_id, 1, None)
    assert (quiet.outbox / "wrong/sub/a.webm").exists()
    assert len(quiet.jobs()) == 1


def test_retry_all_takes_every_failed_job(quiet: Place, clip: Path) -> None:
    with Daemon(quiet):
        ids = [failed(quiet, clip, f"{number}.mkv") for number in range(3)]
        quiet.say("pause")
        quiet.say("retry", "--all")
        wait_until(lambda: len(quiet.jobs("--state", "queued")) == 3)

        assert {job["id"] for job in quiet.jobs()} == set(ids)
        assert {job["attempt"] for job in quiet.jobs()} == {0}


def test_retry_all_passes_over_what_was_taken_out_of_error(quiet: Place, clip: Path) -> None:
    with Daemon(quiet):
        for name in ("stays.mkv", "back.mkv", "gone.mkv"):
            failed(quiet, clip, name)
        quiet.say("pause")
        for name in ("back.mkv", "gone.mkv"):
            (quiet.error / f"wrong/{name}").unlink()
        told = quiet.say("retry", "--all")

        assert re.fullmatch(r"2 failed jobs are passed over: .*\njob 1 will be retried\n", told)


def test_a_file_that_was_repaired_in_error_is_taken_back(place: Place, clip: Path) -> None:
    (place.root / "no-video.mkv").write_text("no video\n" * 100)
    drop(place.root / "no-video.mkv", place.inbox / "slow/repaired.mkv")
    job = place.wait_for("slow/repaired.mkv", "failed")
    shutil.copyfile(clip, place.error / "slow/repaired.mkv")
    place.say("retry", job["id"])
    after = place.wait_for("slow/repaired.mkv", "done")

    assert after["id"] == job["id"]
    assert (place.done / "slow/repaired.mkv").read_bytes() == clip.read_bytes()
    assert not (place.error / "slow/repaired.mkv.log").exists()


def test_a_retry_never_takes_the_original_of_another_job(place: Place, clip: Path) -> None:
    first = failed(place, clip, "twice.mkv")
    (place.error / "wrong/twice.mkv").unlink()
    longer = place.root / "longer.mkv"
    longer.write_bytes(clip.read_bytes() + bytes(100))
    drop(longer, place.inbox / "wrong/twice.mkv")
    second = wait_until(
        lambda: (
            (job := place.job("wrong/twice.mkv"))["id"] != first
            and job["state"] == "failed"
            and job["id"]
        )
    )
    place.run("retry", first)
    told = f"job={first} profile=wrong cannot be retried: under its original's name lies that"
    wait_until(lambda: f"{told} of job {second} now" in place.log(), what=place.log)

    assert (place.error / "wrong/twice.mkv").read_bytes() == longer.read_bytes()


def test_a_retry_that_fails_again_is_told_by_a_new_log(place: Place, clip: Path) -> None:
    job_id = failed(place, clip, "again.mkv")
    first = (place.error / "wrong/again.mkv.log").stat().st_mtime_ns
    ended_at = place.job("wrong/again.mkv")["ended_at"]
    place.say("retry", job_id)
    wait_until(lambda: (place.job("wrong/again.mkv")["ended_at"] or ended_at) > ended_at)

    assert (place.error / "wrong/again.mkv").exists()
    assert (place.error / "wrong/again.mkv.log").stat().st_mtime_ns > first
    assert place.job("wrong/again.mkv")["id"] == job_id


def test_retry_while_the_daemon_is_down_takes_effect_when_it_starts(
    quiet: Place, clip: Path
) -> None:
    with Daemon(quiet) as daemon:
        job_id = failed(quiet, clip, "a.mkv")
        assert daemon.stop() == 0
    told = quiet.say("retry", "--salvage", job_id)
    quiet.say("pause")
    with Daemon(quiet):
        assert quiet.wait_for("wrong/a.mkv", "queued")["id"] == job_id

    assert f"job {job_id} will be retried, and what is there of its original salvaged" in told
    with closing(Journal(str(quiet.state))) as journal:
        assert [job.salvage for job in journal.jobs()] == [True]


def test_a_retry_does_not_overwrite_what_was_dropped_meanwhile(quiet: Place, clip: Path) -> None:
    with Daemon(quiet):
        job_id = failed(quiet, clip, "a.mkv")
        quiet.say("pause")
        (quiet.inbox / "wrong/a.mkv").write_text("another film")
        quiet.say("retry", job_id)
        wait_until(lambda: not (quiet.error / "wrong/a.mkv").exists())

        assert (quiet.inbox / "wrong/a.mkv").read_text() == "another film"
        assert (quiet.inbox / "wrong/a (2).mkv").read_bytes() == clip.read_bytes()


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_a_job_that_nobody_knows_is_trouble(place: Place, command: str) -> None:
    ended = place.run(command, 4711)

    assert ended.returncode == 1
    assert "4711" in ended.stderr


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_a_job_in_the_wrong_state_is_trouble(place: Place, clip: Path, command: str) -> None:
    drop(clip, place.inbox / f"wrong-state-{command}.mkv")
    job_id = place.wait_for(f"wrong-state-{command}.mkv", "done")["id"]
    ended = place.run(command, job_id)

    assert ended.returncode == 1
    assert "done" in ended.stderr


def test_one_unknown_job_does_not_keep_the_others_from_being_retried(
    place: Place, clip: Path
) -> None:
    job_id = failed(place, clip, "one-of-two.mkv")
    place.say("pause")
    ended = place.run("retry", 4711, job_id)

    assert ended.returncode == 1
    assert place.wait_for("wrong/one-of-two.mkv", "queued")["id"] == job_id
    place.say("resume")
    place.wait_for("wrong/one-of-two.mkv", "failed")


def test_a_retry_of_an_original_that_is_gone_is_trouble(place: Place, clip: Path) -> None:
    job_id = failed(place, clip, "gone.mkv")
    (place.error / "wrong/gone.mkv").unlink()
    ended = place.run("retry", job_id)

    assert ended.returncode == 1
    assert "gone" in ended.stderr
    assert place.job("wrong/gone.mkv")["state"] == "failed"


# cancel


def test_cancel_ends_a_running_job(place: Place, daemon: Daemon, minute: Path) -> None:
    drop(minute, place.inbox / "slow/cancel.mkv")
    row = running(place, "slow/cancel.mkv")
    wait_until(daemon.encodes)
    before = len(daemon.encodes())
    place.say("cancel", row["id"])
    job = place.wait_for("slow/cancel.mkv", "failed")

    assert job["reason"] == "cancelled"
    assert (place.error / "slow/cancel.mkv").exists()
    report = (place.error / "slow/cancel.mkv.log").read_text()
    assert report.split("\n")[0] == "cancelled"
    assert "\ncommand: " in report
    assert "\nend: " in report
    assert not (place.outbox / "slow/cancel.webm").exists()
    wait_until(lambda: len(daemon.encodes()) < before)


def test_cancel_ends_a_queued_job_and_retry_brings_it_back(quiet: Place, clip: Path) -> None:
    quiet.say("pause")
    with Daemon(quiet):
        drop(clip, quiet.inbox / "a.mkv")
        job_id = quiet.wait_for("a.mkv", "queued")["id"]
        quiet.say("cancel", job_id)

        assert quiet.wait_for("a.mkv", "failed")["reason"] == "cancelled"
        assert (quiet.error / "a.mkv").exists()

        quiet.say("retry", job_id)
        quiet.say("resume")
        assert quiet.wait_for("a.mkv", "done")["id"] == job_id


# pause and resume


def test_pause_lets_running_jobs_go_on_and_claims_no_other(
    quiet: Place, clips: Path, clip: Path
) -> None:
    with Daemon(quiet):
        drop(tiny_clip(clips, "four.mkv", 4), quiet.inbox / "slow/runs.mkv")
        running(quiet, "slow/runs.mkv")
        quiet.say("pause")
        wait_until(lambda: quiet.live()["state"] == "paused")
        drop(clip, quiet.inbox / "waits.mkv")
        quiet.wait_for("waits.mkv", "queued")
        quiet.wait_for("slow/runs.mkv", "done")

        assert quiet.job("waits.mkv")["state"] == "queued"
        assert quiet.status()["state"] == "paused"
        quiet.say("resume")
        quiet.wait_for("waits.mkv", "done")
        wait_until(lambda: quiet.status()["state"] == "running")  # shown once a second at most


def test_pause_survives_a_restart_and_can_be_asked_while_the_daemon_is_down(
    quiet: Place, clip: Path
) -> None:
    quiet.say("pause")
    for _ in range(2):
        with Daemon(quiet) as daemon:
            wait_until(lambda: quiet.live()["state"] == "paused", what=daemon.log)
            assert quiet.status()["state"] == "paused"
            assert daemon.stop() == 0
    drop(clip, quiet.inbox / "a.mkv")
    quiet.say("resume")
    with Daemon(quiet):
        quiet.wait_for("a.mkv", "done")


# run --once


def test_run_once_converts_what_is_there_and_ends_with_0(quiet: Place, clip: Path) -> None:
    for name in ("a.mkv", "sub/b.mkv"):
        (quiet.inbox / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(clip, quiet.inbox / name)  # still to settle
    ended = quiet.run("run", "--once")

    assert ended.returncode == 0, ended.stderr
    assert (quiet.outbox / "a.webm").exists() and (quiet.outbox / "sub/b.webm").exists()
    assert (quiet.done / "a.mkv").exists() and (quiet.done / "sub/b.mkv").exists()
    assert quiet.status()["state"] == "stopped"


def test_run_once_with_an_empty_inbox_ends_with_0(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos")
    ended = place.run("run", "--once")

    assert ended.returncode == 0, ended.stderr
    assert place.inbox.is_dir() and place.outbox.is_dir()


def test_run_once_ends_with_1_if_anything_failed(quiet: Place, clip: Path) -> None:
    shutil.copyfile(clip, quiet.inbox / "good.mkv")
    (quiet.inbox / "bad.mp4").write_text("no video")
    ended = quiet.run("run", "--once")

    assert ended.returncode == 1, ended.stderr
    assert (quiet.outbox / "good.webm").exists()
    assert (quiet.error / "bad.mp4.log").exists()


def test_run_once_leaves_and_names_a_file_that_is_incomplete(quiet: Place, clips: Path) -> None:
    whole = tiny_clip(clips, "whole.mp4", 1).read_bytes()
    (quiet.inbox / "half.mp4").write_bytes(whole[: len(whole) // 2])
    ended = quiet.run("run", "--once")

    assert ended.returncode == 0, ended.stderr
    assert "half.mp4" in ended.stdout + ended.stderr
    assert (quiet.inbox / "half.mp4").exists()


def test_run_once_that_is_stopped_before_the_end_is_1(quiet: Place, minute: Path) -> None:
    drop(minute, quiet.inbox / "slow/a.mkv")
    daemon = Daemon(quiet, "--once")
    daemon.start()
    try:
        wait_until(daemon.encodes)

        assert daemon.stop() == 1
    finally:
        daemon.kill()
    assert quiet.job("slow/a.mkv")["state"] == "queued"


def test_an_old_failure_does_not_fail_a_later_run_once(quiet: Place, clip: Path) -> None:
    (quiet.inbox / "bad.mp4").write_text("no video")
    first = quiet.run("run", "--once")
    shutil.copyfile(clip, quiet.inbox / "good.mkv")
    second = quiet.run("run", "--once")

    assert (first.returncode, second.returncode) == (1, 0)


def test_run_once_says_what_it_did_in_one_line_for_each_change(quiet: Place, clip: Path) -> None:
    shutil.copyfile(clip, quiet.inbox / "a.mkv")
    ended = quiet.run("run", "--once")

    lines = [line for line in ended.stderr.splitlines() if "job=1 " in line]
    assert ended.stdout == ""
    assert (
        len([line for line in lines if "a.mkv" in line]) == 4
    )  # queued, running, delivering, done
    assert len(lines) == 5  # and what is decided of its picture
    assert all("profile=webm" in line for line in lines)


def test_log_format_json_is_one_object_a_line(tmp_path: Path, clip: Path) -> None:
    place = Place(tmp_path / "videos", {**SETTINGS, "log_format": "json"})
    shutil.copyfile(clip, place.inbox / "a\nb.mkv")
    ended = place.run("run", "--once")

    records = [json.loads(line) for line in ended.stderr.splitlines()]
    assert ended.returncode == 0
    assert len(records) >= 4
    assert all(isinstance(record, dict) for record in records)


# Exit codes of a start


def test_config_and_root_together_is_usage(quiet: Place) -> None:
    ended = run_program("--config", str(quiet.config), "--root", str(quiet.root), "status")

    assert ended.returncode == 2


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("convert",),
        ("status", "--loud"),
        ("retry",),
        ("retry", "--all", "1"),
        ("retry", "one"),
        ("cancel",),
        ("--root",),
        ("--root", "", "status"),
        ("--config", "", "status"),
    ],
    ids=" ".join,
)
def test_what_is_no_command_is_usage(quiet: Place, words: tuple[str, ...]) -> None:
    ended = quiet.run(*words)

    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert ended.stderr


def test_no_configuration_found_names_the_places_and_the_way_without(tmp_path: Path) -> None:
    if Path("/etc/watchconv/config.yaml").exists():
        pytest.skip("this machine has a configuration of its own")
    (tmp_path / "empty").mkdir()
    place = Place(tmp_path / "videos")
    for command in ("run", "status", "check"):
        ended = run_program(command, environment=place.environment, folder=tmp_path / "empty")

        assert ended.returncode == 78
        for named in ("WATCHCONV_CONFIG", "config.yaml", ".config/watchconv", "/etc/", "--root"):
            assert named in ended.stderr


@pytest.mark.parametrize("where", ["$WATCHCONV_CONFIG", "./", "~/.config/watchconv/"])
def test_a_configuration_is_found_where_it_is_documented(quiet: Place, where: str) -> None:
    environment, folder = dict(quiet.environment), quiet.root / "elsewhere"
    folder.mkdir()
    if where == "$WATCHCONV_CONFIG":
        environment["WATCHCONV_CONFIG"] = str(quiet.config)
    elif where == "./":
        quiet.config.rename(folder / "config.yaml")
    else:
        home = Path(environment["HOME"], ".config/watchconv")
        home.mkdir(parents=True)
        quiet.config.rename(home / "config.yaml")
    ended = run_program("pause", environment=environment, folder=folder)

    assert ended.returncode == 0, ended.stderr
    assert quiet.state.is_dir()  # it is our configuration that was found


BAD_CONFIGURATION = """\
inbox: {root}/inbox
outbox: {root}/inbox/out
done: {root}/done
error: {root}/error
state: {root}/.state
settle_second: 3
jobs: many
profile: fax
profiles:
  phone:
    args: -c:v libx264
"""


@pytest.mark.parametrize("words", [("run",), ("run", "--once"), ("check",), ("status",)], ids=str)
def test_every_error_of_a_configuration_is_told_at_once(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    place = Place(tmp_path / "videos", {})
    place.config.write_text(BAD_CONFIGURATION.format(root=place.root))
    ended = place.run(*words)

    assert ended.returncode == 78
    for told in (
        "settle_seconds",  # the near miss
        "jobs",
        "fax",
        "phone",
        "suffix",
        "outbox",
        str(place.config),
    ):
        assert told in ended.stderr + ended.stdout
    for line in (6, 7):
        assert re.search(rf"\b{line}\b", ended.stderr + ended.stdout)
    assert not place.state.exists()
    assert list(place.inbox.iterdir()) == []


def test_an_encoder_that_this_ffmpeg_lacks_is_bad_configuration(tmp_path: Path) -> None:
    profiles = {"odd": {"suffix": ".mkv", "args": "-c:v libnonsense"}}
    place = Place(tmp_path / "videos", {**SETTINGS, "profiles": profiles})
    for words in (("run",), ("check",)):
        ended = place.run(*words)

        assert ended.returncode == 78, ended
        assert "libnonsense" in ended.stderr + ended.stdout
        assert "odd" in ended.stderr + ended.stdout


def test_what_ffmpeg_lacks_is_told_with_all_other_mistakes(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos", {})
    place.config.write_text(
        f"inbox: {place.inbox}\noutbox: {place.outbox}\ndone: {place.done}\n"
        f"error: {place.error}\nstate: {place.state}\nsettle_secnds: 2\nprofiles:\n"
        "  odd: {suffix: .mkv, args: -c:v libnonsense -c:a libnoise}\n  broken: {args: -an}\n"
        "  strange: {suffix: .xyz, args: -c copy}\n  named: {suffix: .xyz, args: -f matroska}\n"
    )
    for words in (("run",), ("check",)):
        ended = place.run(*words)
        said = ended.stderr.replace(f"watchconv: {place.config}:", "")

        assert ended.returncode == 78
        lines = said.splitlines()
        assert [line.split(": ")[:2] for line in lines] == [
            ["6", "settle_secnds"],
            ["8", "profiles.odd.args"],
            ["9", "profiles.broken.suffix"],
            ["10", "profiles.strange.suffix"],
        ]
        assert "has no encoder libnoise, libnonsense;" in lines[1]
        assert "has no container for names in .xyz" in lines[3]


def test_what_is_no_ffmpeg_is_bad_configuration(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos", {**SETTINGS, "ffmpeg": "/bin/true"})
    for words in (("run",), ("check",)):
        ended = place.run(*words)

        assert ended.returncode == 78
        line = place.config.read_text().splitlines().index("ffmpeg: /bin/true") + 1
        told = f"watchconv: {place.config}:{line}: ffmpeg: /bin/true is no ffmpeg: "
        assert ended.stderr.startswith(told)
    assert place.run("status").returncode == 0  # it has no need of one


def test_an_ffmpeg_that_gives_no_answer_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mute = tmp_path / "ffmpeg"
    mute.write_text("#!/bin/sh\nexec sleep 600\n")
    mute.chmod(0o755)
    monkeypatch.setattr(trial, "ASK_SECONDS", 0.2)

    with pytest.raises(ConfigError, match=r"does not run: it gave no answer to -version within"):
        program.examine_program(str(mute), str(tmp_path))


def test_an_ffmpeg_that_is_not_there_is_told_with_how_to_get_one(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos", {**SETTINGS, "ffmpeg": str(tmp_path / "nowhere/ffmpeg")})
    for words in (("run",), ("run", "--once"), ("check",)):
        ended = place.run(*words)

        assert ended.returncode in (1, 78), ended
        assert str(tmp_path / "nowhere/ffmpeg") in ended.stderr + ended.stdout
        assert "Traceback" not in ended.stderr


def test_the_embedded_ffmpeg_is_used_where_there_is_none_on_path(
    tmp_path: Path, clip: Path
) -> None:
    pytest.importorskip("imageio_ffmpeg")
    place = Place(tmp_path / "videos", SETTINGS)
    Path(place.root, ".bin", "ffmpeg").unlink()
    Path(place.root, ".bin", "imageio_ffmpeg.py").unlink()  # what hides it
    place.environment["PATH"] = str(place.root / ".bin")
    shutil.copyfile(clip, place.inbox / "a.mkv")
    ended = place.run("run", "--once")

    assert ended.returncode == 0, ended.stderr
    assert (place.outbox / "a.webm").exists()


# One daemon


def test_a_second_daemon_on_the_same_state_is_75(daemon: Daemon) -> None:
    for words in (("run",), ("run", "--once")):
        ended = daemon.place.run(*words)

        assert ended.returncode == 75, ended
        assert str(daemon.place.state) in ended.stderr
    assert daemon.place.status()["pid"] == daemon.pid


@pytest.mark.parametrize("shared", ["inbox", "outbox"])
def test_a_second_daemon_on_the_same_folder_is_75(
    daemon: Daemon, tmp_path: Path, shared: str
) -> None:
    other = Place(tmp_path / "other", {**SETTINGS, shared: str(daemon.place.root / shared)})
    ended = other.run("run")

    assert ended.returncode == 75, ended
    assert str(daemon.place.root / shared) in ended.stderr
    assert daemon.place.status()["pid"] == daemon.pid


def test_two_daemons_may_share_done_and_error(daemon: Daemon, tmp_path: Path, clip: Path) -> None:
    shared = {name: str(daemon.place.root / name) for name in ("done", "error")}
    other = Place(tmp_path / "other", {**SETTINGS, **shared})
    shutil.copyfile(clip, other.inbox / "shared-done.mkv")
    ended = other.run("run", "--once")

    assert ended.returncode == 0, ended.stderr
    assert (daemon.place.done / "shared-done.mkv").exists()


def test_after_a_sigkill_the_next_start_is_not_locked_out(quiet: Place, clip: Path) -> None:
    with Daemon(quiet) as daemon:
        daemon.kill()
    with Daemon(quiet):
        drop(clip, quiet.inbox / "a.mkv")
        quiet.wait_for("a.mkv", "done")


# check, explain, profiles


def test_check_says_how_much_must_be_free_and_what_to_do(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos", {**SETTINGS, "min_free": "8000PiB"})
    ended = place.run("check")

    assert ended.returncode == 1
    assert re.search(
        r"^TROUBLE \S+ .iB are free in the outbox, and min_free is 8\.192e\+06 TiB; no job",
        ended.stdout,
        re.MULTILINE,
    ), ended.stdout


def test_check_is_content_with_a_good_place(quiet: Place) -> None:
    ended = quiet.run("check")

    assert ended.returncode == 0, ended
    assert "ffmpeg" in ended.stdout
    assert not quiet.state.exists() or not list(quiet.state.glob("*.db*"))
    for folder in (quiet.inbox, quiet.outbox, quiet.done, quiet.error):
        assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_check_proves_the_sandbox_by_trying_to_escape(quiet: Place) -> None:
    said = quiet.run("check").stdout
    found = support()

    assert f"Landlock ABI {found.landlock_abi or 'none'}, seccomp {found.seccomp}" in said
    for act in ("read", "write", "truncate", "tcp", "udp"):
        (line,) = [line for line in said.splitlines() if f" {act}: " in line]
        assert found.missing or re.fullmatch(rf"ok +{act}: refused \(.+\)", line)


def test_a_sandbox_that_is_required_and_cannot_be_had_starts_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos", {**QUICK, "sandbox": "require"})
    without_seccomp(place)

    ended = place.run("run", "--once")

    assert ended.returncode == 78
    assert "sandbox: require cannot be met" in ended.stderr
    assert "pip install pyseccomp" in ended.stderr
    assert place.run("check").returncode == 78


def test_a_sandbox_that_can_be_had_in_part_is_said_once(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos", {**QUICK, "profile": "remux"})
    without_seccomp(place)
    for name in ("a.mkv", "b.mkv"):
        drop(tiny_clip(tmp_path), place.inbox / name)

    ended = place.run("run", "--once")

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("No seccomp filter") == 1


def test_check_works_beside_a_running_daemon(daemon: Daemon) -> None:
    assert daemon.place.run("check").returncode == 0
    assert daemon.place.status()["pid"] == daemon.pid


def test_check_tries_the_moves_that_are_made_and_tells_the_limits(quiet: Place) -> None:
    told = quiet.say("check")

    for way in ("inbox to done", "inbox to error", "outbox/.watchconv to outbox"):
        assert f"can be renamed from {way}" in told
    assert "from outbox to done" not in told
    assert re.search(r"inotify allows a user \d+ instances", told)


@pytest.mark.parametrize(
    ("number", "well", "words"),
    [(errno.EXDEV, None, "files are copied"), (errno.EDQUOT, False, "Disk quota exceeded")],
)
def test_check_tells_two_file_systems_from_other_trouble(
    number: int, well: bool | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "rename", refuse)
    found, sentence = check.try_rename("inbox", str(tmp_path), "done", str(tmp_path))

    assert found is well
    assert words in sentence
    assert list(tmp_path.iterdir()) == []


def test_check_tells_every_folder_in_trouble(quiet: Place) -> None:
    quiet.inbox.rmdir()
    quiet.done.rmdir()
    quiet.done.write_text("in the way")
    ended = quiet.run("check")

    assert ended.returncode == 1
    assert str(quiet.inbox) in ended.stdout + ended.stderr
    assert str(quiet.done) in ended.stdout + ended.stderr


ASKING = [("pause",), ("resume",), ("retry", "1"), ("cancel", "1"), ("jobs",), ("status",)]


@pytest.mark.parametrize("where", ["a file", "below a file"])
def test_a_state_that_cannot_be_used_is_told_in_a_sentence(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("in the way")
    state = tmp_path / "file" if where == "a file" else tmp_path / "file/state"
    place = Place(tmp_path / "videos", {**SETTINGS, "state": str(state)})
    for words in (("run",), ("run", "--once"), *ASKING):
        ended = place.run(*words)

        assert ended.returncode == 1, ended
        [line] = ended.stderr.splitlines()
        assert line.startswith(f"watchconv: the state {state} "), line
    checked = place.run("check")
    assert checked.returncode == 1
    assert f"TROUBLE the state {state} " in checked.stdout
    assert "ok      the folders are there" in checked.stdout  # the rest is told as well


def test_a_state_of_another_user_is_told_with_who_may_use_it() -> None:
    with open_folder() as folder:
        (folder / "state").mkdir(mode=0o700)
        (folder / "shut").mkdir(mode=0o755)
        with as_nobody():
            if os.access(folder / "state", os.W_OK):
                pytest.skip("there is no other user to be")
            with pytest.raises(EnvironmentTrouble, match="be the user of the daemon"):
                find_state(str(folder / "state"))
            with pytest.raises(EnvironmentTrouble, match="cannot be made: Permission denied"):
                make_state(str(folder / "shut/state"))


def test_check_tells_a_state_that_is_and_one_that_can_be_made(quiet: Place) -> None:
    assert f"ok      the state {quiet.state} is not there yet" in quiet.say("check")
    quiet.say("pause")
    assert f"ok      the state {quiet.state} is there and can be written" in quiet.say("check")


@pytest.mark.parametrize("kind", ["no database", "a folder", "of a newer version"])
def test_check_tells_a_journal_that_no_daemon_can_open(quiet: Place, kind: str) -> None:
    quiet.say("pause")
    journal = quiet.state / "journal.sqlite"
    if kind == "of a newer version":
        with closing(sqlite3.connect(journal)) as database:
            database.execute("PRAGMA user_version = 99")
    else:
        journal.unlink()
        journal.mkdir() if kind == "a folder" else journal.write_bytes(b"no database" * 99)
    ended = quiet.run("check")

    assert ended.returncode == 1
    assert f"TROUBLE cannot open the journal {journal}" in ended.stdout or (
        f"TROUBLE the journal {journal} was written by a newer watchconv" in ended.stdout
    )


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_caller_that_closes_the_standard_streams_is_served_all_the_same(
    quiet: Place, clip: Path, closed: str
) -> None:
    drop(clip, quiet.inbox / "a.mkv")
    words = shlex.join(quiet.command("run", "--once"))
    ended = in_shell(quiet, f"{words} {closed}")

    assert ended.returncode == 0
    assert quiet.job("a.mkv")["state"] == "done"


def test_an_answer_that_nobody_can_read_is_no_bug(quiet: Place) -> None:
    words = shlex.join(quiet.command("status"))
    ended = in_shell(quiet, f"{words} >&-")

    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("number", [0, -1, 2**63, -(2**70)])
@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_a_number_that_no_job_can_have_is_an_unknown_job(
    quiet: Place, command: str, number: int
) -> None:
    quiet.say("pause")
    ended = quiet.run(command, number)

    assert (ended.returncode, ended.stderr) == (1, f"watchconv: there is no job {number}\n")


def test_status_says_that_a_stopped_daemon_will_start_paused(quiet: Place) -> None:
    quiet.say("pause")
    assert quiet.say("status").startswith("watchconv is stopped, and paused; inbox ")
    assert quiet.status()["state"] == "stopped"

    quiet.say("resume")
    assert quiet.say("status").startswith("watchconv is stopped; inbox ")


def test_a_request_for_nothing_leaves_nothing_behind(quiet: Place) -> None:
    ended = quiet.run("retry", 99)

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert not quiet.state.exists()


def test_explain_tells_the_command_and_touches_nothing(quiet: Place, clip: Path) -> None:
    shutil.copyfile(clip, quiet.inbox / "a b.mkv")
    told = quiet.say("explain", str(quiet.inbox / "a b.mkv"))

    assert "webm" in told
    assert "-c:v libvpx -b:v 1M" in told
    assert f"'file:{quiet.inbox / 'a b.mkv'}'" in told  # as a shell takes it
    assert (quiet.inbox / "a b.mkv").exists()
    assert list(quiet.outbox.iterdir()) == []


def test_explain_takes_a_profile_and_any_file(quiet: Place, clip: Path) -> None:
    told = quiet.say("explain", str(clip), "--profile", "mp4")

    assert "libx264" in told


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "there is no such file"),
        (
            lambda path: path.symlink_to("/etc/passwd"),
            "it is a link, and links stay where they are",
        ),
        (lambda path: path.mkdir(), "it is a folder: what is in it would be looked at"),
        (os.mkfifo, "it is no regular file, and stays where it is"),
    ],
    ids=["missing", "link", "folder", "pipe"],
)
def test_explain_says_in_words_why_it_takes_no_such_thing(
    quiet: Place, make: Callable[[Path], None], why: str
) -> None:
    make(quiet.root / "a.mp4")
    ended = quiet.run("explain", str(quiet.root / "a.mp4"))

    assert (ended.returncode, ended.stdout) == (1, f"It would not be converted: {why}.\n")


@pytest.mark.parametrize("what", ["missing", "text", "folder", "unknown profile"])
def test_explain_says_what_is_wrong(quiet: Place, clip: Path, what: str) -> None:
    (quiet.root / "text.mp4").write_text("no video")
    words = {
        "missing": [str(quiet.root / "missing.mkv")],
        "text": [str(quiet.root / "text.mp4")],
        "folder": [str(quiet.inbox)],
        "unknown profile": [str(clip), "--profile", "fax"],
    }[what]
    ended = quiet.run("explain", *words)

    assert "Traceback" not in ended.stderr
    assert ended.returncode in (1, 2)
    assert ended.stdout + ended.stderr


def test_explain_tells_a_file_that_is_not_there_from_one_that_is_no_video_by_name(
    quiet: Place,
) -> None:
    (quiet.root / "b.txt").touch()
    (quiet.root / "link.mp4").symlink_to(quiet.root)
    said = [quiet.run("explain", str(quiet.root / name)).stdout for name in ("a", "b.txt")]
    said.append(quiet.run("explain", str(quiet.root / "link.mp4")).stdout)

    assert said == [
        "It would not be converted: there is no such file.\n",
        "It would not be converted: in the inbox it would be ignored: no video by name.\n",
        "It would not be converted: it is a link, and links stay where they are.\n",
    ]


def test_explain_takes_a_file_by_whatever_path(quiet: Place, clip: Path) -> None:
    (quiet.inbox / "mp4").mkdir()
    shutil.copyfile(clip, quiet.inbox / "mp4/a.mkv")
    (quiet.root / "way in").symlink_to(quiet.inbox)

    assert "libx264" in quiet.say("explain", str(quiet.root / "way in/mp4/a.mkv"))


def test_explain_knows_frames_that_are_too_large(tmp_path: Path, clip: Path) -> None:
    place = Place(tmp_path / "videos", {**SETTINGS, "max_pixels": 100})
    ended = place.run("explain", str(clip))

    assert ended.returncode == 1
    assert "max_pixels allows 100" in ended.stdout


LIMITED = """#!/bin/sh
case "$*" in
*-codecs*) ffmpeg -hide_banner -codecs | sed '/ffv1\\|vp8\\|h264\\|mpeg4/ s/^ D/ ./' ;;
*) exec ffmpeg "$@" ;;
esac
"""


def test_explain_says_when_this_ffmpeg_cannot_decode_it(tmp_path: Path, clip: Path) -> None:
    limited = tmp_path / "ffmpeg-old"
    limited.write_text(LIMITED)
    limited.chmod(0o755)
    place = Place(tmp_path / "videos", {**SETTINGS, "ffmpeg": str(limited)})
    ended = place.run("explain", str(clip))

    assert ended.returncode == 1
    assert re.search(r"not be converted: this ffmpeg cannot decode \w+\.$", ended.stdout)
    assert place.run("explain", str(clip), "--profile", "remux").returncode == 0


def test_profiles_are_told_without_a_configuration_and_the_schema_with_a_bad_one(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path / "videos")
    ended = run_program("profiles", environment=place.environment, folder=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert "webm (.webm, verify: full, the default)" in ended.stdout

    (tmp_path / "config.yaml").write_text("inboks: 7\n")
    ended = run_program("check", "--schema", environment=place.environment, folder=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["properties"]["inbox"]


def test_profiles_names_the_built_in_and_the_configured_ones(quiet: Place) -> None:
    told = quiet.say("profiles")

    for name in ("webm", "mp4", "hevc", "av1", "remux", "slow", "wrong"):
        assert re.search(rf"(?m)^\W*{name}\b", told), told
    assert "scale=7:nonsense" in told
    assert "-c:v libvpx -b:v 1M" in told


def test_version_and_help_are_told_without_a_configuration(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos")
    for word in ("--version", "--help"):
        ended = run_program(word, environment=place.environment, folder=tmp_path)

        assert ended.returncode == 0
        assert "watchconv" in ended.stdout


# Stopping


def test_sigterm_ends_an_idle_daemon(quiet: Place) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with Daemon(quiet) as daemon:
            started = time.monotonic()
            daemon.signal(number)

            assert daemon.wait() == 0
            assert time.monotonic() - started < 30
    assert quiet.status()["state"] == "stopped"


def stopped(place: Place, minute: Path, stop: Callable[[Daemon], None]) -> tuple[int, float]:
    """Stop a daemon that is at work; give its exit code and the seconds that took."""
    with Daemon(place) as daemon:
        drop(minute, place.inbox / "slow/a.mkv")
        wait_until(daemon.encodes)
        children = descendants(daemon.pid)
        started = time.monotonic()
        stop(daemon)
        code = daemon.wait()
        seconds = time.monotonic() - started
        wait_until(lambda: not any(is_ffmpeg(child) for child in children))
    return code, seconds


def test_sigterm_when_busy_gives_time_then_requeues_and_refunds(
    tmp_path: Path, minute: Path
) -> None:
    place = Place(tmp_path / "videos", {**SETTINGS, "stop_grace_seconds": 1})
    code, seconds = stopped(place, minute, lambda daemon: daemon.signal(signal.SIGTERM))
    job = place.job("slow/a.mkv")

    assert code == 0
    assert 1 <= seconds < 40
    assert (job["state"], job["attempt"], job["reason"]) == ("queued", 0, None)
    assert (place.inbox / "slow/a.mkv").exists()
    assert not list(place.outbox.glob("*.webm"))


def test_a_job_that_ends_within_the_grace_is_delivered(tmp_path: Path, clips: Path) -> None:
    place = Place(tmp_path / "videos", {**SETTINGS, "stop_grace_seconds": 40})
    three = tiny_clip(clips, "three.mkv", 3)
    code, _ = stopped(place, three, lambda daemon: daemon.signal(signal.SIGTERM))

    assert code == 0
    assert place.job("slow/a.mkv")["state"] == "done"
    assert (place.outbox / "slow/a.webm").exists()


def test_a_second_signal_does_not_wait(tmp_path: Path, minute: Path) -> None:
    place = Place(tmp_path / "videos", {**SETTINGS, "stop_grace_seconds": 600})

    def twice(daemon: Daemon) -> None:
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in daemon.log())
        daemon.signal(signal.SIGTERM)

    _, seconds = stopped(place, minute, twice)
    job = place.job("slow/a.mkv")

    assert seconds < 40
    assert (job["state"], job["attempt"]) == ("queued", 0)


def test_sigkill_leaves_no_ffmpeg_and_the_next_start_goes_on(
    tmp_path: Path, minute: Path, clip: Path
) -> None:
    place = Place(tmp_path / "videos", {**SETTINGS, "max_attempts": 3})

    def kill(daemon: Daemon) -> None:
        assert daemon.process is not None
        daemon.process.kill()

    stopped(place, minute, kill)
    with Daemon(place) as daemon:
        running(place, "slow/a.mkv")

        assert place.job("slow/a.mkv")["attempt"] == 2
        # the leftover is swept
        wait_until(lambda: len(list((place.outbox / ".watchconv").glob("*/*"))) == 1)
        place.say("cancel", place.job("slow/a.mkv")["id"])
        place.wait_for("slow/a.mkv", "failed")
        drop(clip, place.inbox / "b.mkv")
        place.wait_for("b.mkv", "done")
        assert daemon.stop() == 0


def test_attempts_that_crash_the_daemon_run_out(tmp_path: Path, minute: Path) -> None:
    """max_attempts 1: a file that took the machine down once is not tried again."""
    place = Place(tmp_path / "videos", SETTINGS)

    def kill(daemon: Daemon) -> None:
        assert daemon.process is not None
        daemon.process.kill()

    stopped(place, minute, kill)
    with Daemon(place):
        job = place.wait_for("slow/a.mkv", "failed")

    assert job["attempt"] == 1
    assert job["reason"]
    assert (place.error / "slow/a.mkv.log").exists()

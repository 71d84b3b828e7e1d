"""An ffmpeg that stalls, fails, lies, floods or goes over a limit: each end is the one promised."""

from __future__ import annotations

import os
import re
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.daemon import Daemon, drop
from tests.fake_place import FRAMES, FakePlace, files_in, is_alive
from tests.waiting import LONG, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


class Bad(NamedTuple):
    stalled: FakePlace
    ended: FakePlace


STALLING = {
    "hang.mkv": "hang",
    "mute.mkv": "mute",
    "stubborn.mkv": "stubborn",
    "repeat.mkv": "repeat",
}


ENDING = {
    "status.mkv": ("exit:3", ["status 3", "this fake fails on order"], "exit status: 3"),
    "killed.mkv": ("signal:9", ["SIGKILL"], "signal: 9"),
    "crash.mkv": ("signal:11", ["SIGSEGV"], "signal: 11"),
    "none.mkv": ("none", ["made no output"], "exit status: 0"),
    "empty.mkv": ("empty", ["made no output"], "exit status: 0"),
    "truncated.mkv": ("truncated", ["output", f"of the {FRAMES} packets"], "exit status: 0"),
    "silent.mkv": ("silent-film", ["0 of 1 audio streams"], "exit status: 0"),
    "few.mkv": ("few-frames", ["frames", f"{FRAMES} were decoded"], "exit status: 0"),
}


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, long_clip: Path) -> Iterator[Bad]:
    folder = tmp_path_factory.mktemp("bad")
    limits: dict[str, Any] = {"max_attempts": 2, "jobs": len(ENDING)}
    stalled = FakePlace(folder / "stalled", STALLING, stall_seconds=1, **limits)
    plan = {name: behaviour for name, (behaviour, *_) in ENDING.items()}
    ended = FakePlace(folder / "ended", plan, **limits)
    with Daemon(stalled), Daemon(ended):
        for place, names in ((stalled, STALLING), (ended, ENDING)):
            for name in names:
                drop(long_clip, place.inbox / name)
        for place, names in ((stalled, STALLING), (ended, ENDING)):
            wait_until(
                lambda place=place, names=names: (  # type: ignore[misc]
                    len(place.transitions("delivering→failed")) == len(names)
                ),
                what=place.log,
            )
        yield Bad(stalled, ended)


@pytest.mark.parametrize("name", STALLING)
def test_a_child_that_gets_no_further_is_ended_and_reported(bad: Bad, name: str) -> None:
    place = bad.stalled
    first, *rest = place.report(name)

    assert "no progress for 1 seconds" in first
    assert "attempts: 2" in rest
    assert any(line.startswith("command: ") for line in rest)
    assert place.children(name) == []


@pytest.mark.parametrize("name", ENDING)
def test_a_bad_end_is_reported_with_its_reason_command_status_and_attempts(
    bad: Bad, name: str
) -> None:
    _, words, status = ENDING[name]
    first, *rest = bad.ended.report(name)

    assert [word for word in words if word not in first] == [], first
    assert {"attempts: 2", status} <= set(rest)
    assert any(line.startswith("command: ") and name in line for line in rest)


def test_nothing_of_a_bad_end_reaches_the_outbox_or_done(bad: Bad) -> None:
    for place in (bad.stalled, bad.ended):
        assert files_in(place.outbox) == files_in(place.done) == files_in(place.inbox) == set()
        assert not any((place.outbox / ".watchconv").iterdir())


def test_a_failed_attempt_is_tried_again_after_five_seconds(bad: Bad) -> None:
    starts: dict[int, list[float]] = {}
    for step in bad.ended.transitions("queued→running"):
        starts.setdefault(step.job, []).append(step.at)

    assert [2] * len(ENDING) == [len(times) for times in starts.values()]
    assert min(second - first for first, second in starts.values()) >= 5


def test_a_job_over_its_time_limit_fails_at_once_and_the_figure_is_told(
    tmp_path: Path, long_clip: Path
) -> None:
    limit = {"seconds": 1, "per_second": 0.25}  # the clip takes 2 s
    place = FakePlace(tmp_path / "videos", {"long*": "slow:600"}, time_limit=limit, max_attempts=3)
    with Daemon(place):
        drop(long_clip, place.inbox / "long.mkv")
        place.wait_for("long.mkv", "failed")

        first, *rest = place.report("long.mkv")
        assert "limit of 1.5 seconds" in first
        assert "time_limit" in first
        assert "attempts: 1" in rest
        assert place.children() == []


def test_an_output_over_its_limit_fails_at_once_and_the_figure_is_told(
    tmp_path: Path, long_clip: Path
) -> None:
    place = FakePlace(tmp_path / "videos", {"bomb*": "swell"}, max_output="1MiB", max_attempts=3)
    with Daemon(place):
        drop(long_clip, place.inbox / "bomb.mkv")
        place.wait_for("bomb.mkv", "failed")

        first, *rest = place.report("bomb.mkv")
        assert "max_output allows 1048576 bytes" in first
        assert "attempts: 1" in rest
        assert files_in(place.outbox) == set()


@pytest.mark.parametrize(("filters", "limited"), [("null", True), ("hwupload", False)])
def test_a_child_has_its_limits_but_no_address_space_where_hardware_encodes(
    tmp_path: Path, long_clip: Path, gates: Path, filters: str, limited: bool
) -> None:
    profile = {"suffix": ".mkv", "args": f"-vf {filters} -c:v libx264"}
    place = FakePlace(
        tmp_path / "videos", {"a*": f"gate:{gates}"}, address_space="1GiB", max_output="3GiB",
        nice=12, profile="own", profiles={"own": profile},
    )  # fmt: skip
    with Daemon(place) as daemon:
        drop(long_clip, place.inbox / "a.mkv")
        (pid,) = wait_until(lambda: place.children("a.mkv"))
        wait_until(lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] == 1024)

        assert resource.prlimit(pid, resource.RLIMIT_FSIZE)[0] == 3 << 30
        assert (resource.prlimit(pid, resource.RLIMIT_AS)[0] == 1 << 30) is limited
        assert resource.prlimit(pid, resource.RLIMIT_CORE)[0] == 0
        assert os.getpriority(os.PRIO_PROCESS, pid) == 12
        (gates / "all").touch()
        wait_until((place.done / "a.mkv").exists, what=daemon.log)


def test_a_child_that_uses_more_memory_than_it_may_ends_with_the_key_named(
    tmp_path: Path, long_clip: Path
) -> None:
    plan = {"a*": "eats:200"}
    place = FakePlace(tmp_path / "videos", plan, memory_limit="128MiB", max_attempts=3)
    drop(long_clip, place.inbox / "a.mkv")
    drop(long_clip, place.inbox / "b.mkv")
    assert place.once() == 1

    job = place.job("a.mkv")
    assert (job["state"], job["cause"]) == ("failed", "memory")
    first, *rest = place.report("a.mkv")
    assert "more than 128 MiB; see memory_limit" in first
    assert "attempts: 1" in rest, "it would fail again"
    assert place.job("b.mkv")["state"] == "done"


def test_a_deprecated_key_holds_and_is_said(tmp_path: Path) -> None:
    place = FakePlace(tmp_path / "videos", address_space="1GiB")
    assert place.once() == 0

    assert "warning: address_space is deprecated" in place.log()
    assert "address_space is deprecated" in place.run("check").stdout


def test_floods_of_words_leave_the_memory_of_the_daemon_flat(
    tmp_path: Path, long_clip: Path
) -> None:
    plan = {"1mb*": "flood", "deluge*": "deluge", "torrent*": "torrent"}
    place = FakePlace(tmp_path / "videos", plan)
    with Daemon(place) as daemon:
        drop(long_clip, place.inbox / "before.mkv")
        place.wait_for("before.mkv", "done")
        before = resident_mb(daemon.pid)
        for name in ("1mb.mkv", "deluge.mkv", "torrent.mkv"):
            drop(long_clip, place.inbox / name)
        most = before
        ended = [place.done / "1mb.mkv", place.error / "deluge.mkv", place.done / "torrent.mkv"]
        deadline = time.monotonic() + LONG
        while not all(path.exists() for path in ended):
            most = max(most, resident_mb(daemon.pid))
            assert time.monotonic() < deadline, daemon.log()
            time.sleep(0.05)

        assert max(most, resident_mb(daemon.pid)) - before < 15
        assert (place.error / "deluge.mkv.log").stat().st_size < 100_000
        assert place.report("deluge.mkv")[-1].startswith("[fake @ 0x1] noise")


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


def test_a_grandchild_that_is_left_behind_is_dead_after_the_job(
    tmp_path: Path, long_clip: Path, gates: Path
) -> None:
    place = FakePlace(tmp_path / "videos", otherwise=f"leaves:{gates}")
    with Daemon(place):
        drop(long_clip, place.inbox / "a.mkv")
        wait_until(lambda: len(place.children()) == 2)
        both = place.children()
        (gates / "all").touch()
        place.wait_for("a.mkv", "done")

        assert [pid for pid in both if is_alive(pid)] == []
        assert files_in(place.outbox) == {"a.webm"}


IMPORTS = """
import sys, threading

def tell(event, arguments):
    if event == "import" and threading.current_thread().name == "watchconv-child":
        if arguments[0] not in sys.modules:
            sys.stderr.write(f"LATE IMPORT {arguments[0]}\\\\n")

sys.addaudithook(tell)
"""


def test_the_thread_of_a_child_loads_no_module_once_it_is_confined(
    tmp_path: Path, long_clip: Path
) -> None:
    """It could not read it, and the attempt would end with the wrong words, each time."""
    plan = {
        "copy": "copy",
        "odd": "odd-words",
        "exit": "exit:3",
        "killed": "signal:9",
        "hang": "hang",
        "eats": "eats:200",
        "swell": "swell",
        "overrun": "overrun:/nowhere",
    }
    place = FakePlace(
        tmp_path / "videos",
        {f"{name}*": behaviour for name, behaviour in plan.items()},
        tweak=IMPORTS,
        memory_limit="128MiB",
        stall_seconds=2,
        max_output="4MiB",
        time_limit={"seconds": 4, "per_second": 0},
    )
    for name in plan:
        drop(long_clip, place.inbox / f"{name}.mkv")
    place.once()

    assert "LATE IMPORT" not in place.log()
    assert {job["state"] for job in place.jobs()} == {"done", "failed"}

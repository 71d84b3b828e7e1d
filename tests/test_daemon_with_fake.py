"""The real program with an ffmpeg that misbehaves on order: each end is the one promised."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.daemon import CHECKOUT, Daemon, Place, drop, run_program, tiny_clip
from tests.fakes import write_fake
from tests.waiting import LONG, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FRAMES = 20  # of the clip
NEVER = 300  # seconds; what would take so long must not have been waited for
EAGER: dict[str, Any] = {
    "settle_seconds": 0.1,
    "min_free": 0,
    "nice": 0,
    "ionice": "none",
    "max_attempts": 1,
    "jobs": 2,
    "stall_seconds": NEVER,
    "stop_grace_seconds": 1,
}

# More behaviours, in the manner of tests.fakes; ``value`` is what follows the first colon.
_MORE = r'''
import json

usual = encode
_LINE = b"[fake @ 0x1] " + b"noise " * 19 + b"\n"


def encode(source, target):
    name = os.path.basename(source)
    choice = next((b for p, b in PLAN.items() if fnmatch.fnmatchcase(name, p)), OTHERWISE)
    kind, _, value = choice.partition(":")
    if kind not in MORE:
        return usual(source, target)
    with open(source, "rb") as original:
        content = original.read()
    beat(0.1, len(content))
    mapping()
    return MORE[kind](content, target, value)


def finish(content, target):
    """End as a good encode does."""
    put(target, content)
    beat(1, len(content), end=True)
    closing()
    return 0


def repeat(content, target, value):
    """The same beat again and again, for ever."""
    while True:
        beat(0.5, len(content))
        time.sleep(0.02)


def gate(content, target, value):
    """A started output, and its end when the folder holds a file named all, or job.attempt."""
    put(target, content[: len(content) // 2])
    job, run = target.split("/")[-3:-1]
    name = f"{job}.{run}"
    while not any(os.path.exists(f"{value}/{key}") for key in (name, "all")):
        time.sleep(0.01)
    return finish(content, target)


def silent_film(content, target, value):
    """It speaks of a sound track that the output has not."""
    finish(content, target)
    say("  Output stream #0:1 (audio): 9 frames encoded (9 samples); 9 packets muxed (1 bytes);\n")
    return 0


def few_frames(content, target, value):
    """It confesses that it encoded less than it decoded."""
    put(target, content)
    beat(1, len(content), end=True)
    say(f"  Input stream #0:0 (video): {FRAMES} packets read (1 bytes); {FRAMES} frames decoded;\n")
    say("  Output stream #0:0 (video): 5 frames encoded; 5 packets muxed (1 bytes);\n")
    return 0


def child(content, target, value):
    """It leaves a child behind, in its own group or (away) in a session of its own."""
    if os.fork() == 0:
        if value == "away":
            os.setsid()
        while True:
            time.sleep(3600)
    return gate(content, target, value) if value != "away" else finish(content, target)


def tell(content, target, value):
    """It says its arguments, and fails."""
    say("argv " + json.dumps(sys.argv[1:]) + "\n")
    return 3


def deluge(content, target, value):
    """50 MB of lines, and a failure."""
    for _ in range((50 << 20) // len(_LINE)):
        os.write(2, _LINE)
    return 3


def torrent(content, target, value):
    """50 MB without a line break on both streams."""
    for _ in range(50 << 3):
        os.write(2, b"x" * (1 << 16))
        os.write(1, b"y" * (1 << 16))
    os.write(1, b"\n")
    return finish(content, target)


def overrun(content, target, value):
    """Beats that run far past the end of the input, then a gate."""
    for step in range(60):
        beat(0.1 * step, len(content))
        time.sleep(0.03)
    return gate(content, target, value)


def swell(content, target, value):
    """An output that grows for ever."""
    with open(target, "wb") as output:
        for step in range(1 << 20):
            output.write(b"x" * 65536)
            beat(0.1, step << 16)
    return 0


def full_while(content, target, value):
    """No space while a file exists."""
    if not os.path.exists(value):
        return finish(content, target)
    put(target, content[:9])
    say("av_interleaved_write_frame(): No space left on device\n")
    return 1


def ladder(content, target, value):
    """It notes when TERM came, and goes on."""

    def note(*_):
        with open(value, "a") as notes:
            notes.write(f"TERM {time.monotonic()}\n")

    signal.signal(signal.SIGTERM, note)
    with open(value, "a") as notes:
        notes.write("ready\n")
    while True:
        time.sleep(3600)


MORE = {
    "repeat": repeat, "gate": gate, "silent-film": silent_film, "few-frames": few_frames,
    "child": child, "tell": tell, "deluge": deluge, "torrent": torrent, "overrun": overrun,
    "full-while": full_while, "swell": swell, "ladder": ladder,
}
'''
_END = "\nsys.exit(main(sys.argv[1:]))\n"


def fake(
    folder: Path,
    plan: Mapping[str, str] | None = None,
    *,
    otherwise: str = "copy",
    frames: int | None = FRAMES,
) -> str:
    """Write the fake of tests.fakes, with the behaviours above besides its own."""
    path = write_fake(folder, plan, otherwise=otherwise, frames=frames)
    text = Path(path).read_text(encoding="utf-8")
    assert text.endswith(_END)
    Path(path).write_text(text.removesuffix(_END) + _MORE + _END, encoding="utf-8")
    return path


def place_with(
    folder: Path,
    plan: Mapping[str, str] | None = None,
    *,
    otherwise: str = "copy",
    frames: int | None = FRAMES,
    **settings: Any,
) -> Place:
    """Make a place whose ffmpeg is a fake with this plan, at folder/bin/ffmpeg."""
    program = fake(folder / "bin", plan, otherwise=otherwise, frames=frames)
    return Place(folder / "videos", {**EAGER, "ffmpeg": program, **settings})


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clips"), "clip.mkv", FRAMES / 10)


@pytest.fixture
def gates(tmp_path: Path) -> Path:
    folder = tmp_path / "gates"
    folder.mkdir()
    return folder


def alive(place: Place, name: str = "") -> list[int]:
    """List the living fakes of a place, whoever their parents are; of one input, if named."""
    mark = os.fsencode(f"WATCHCONV_CHILD={os.path.realpath(place.state)}")
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            source = os.fsencode(f"file:{place.inbox}/{name}")
            if mark in environ and b"-progress" in words and (not name or source in words):
                found.append(int(pid))
    return found


def is_alive(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def files_in(folder: Path) -> set[str]:
    """List the files below a folder, work in progress included."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def report(place: Place, name: str) -> list[str]:
    """Read the .log of a failed original, which lies beside it."""
    assert (place.error / name).is_file()
    return (place.error / f"{name}.log").read_text(encoding="utf-8").splitlines()


class Step(NamedTuple):
    """One change of state in the daemon's log."""

    at: float
    job: int
    what: str


def steps(daemon: Daemon, what: str) -> list[Step]:
    """Find the changes of state of one kind in the log."""
    found = re.findall(r"^(\S+ \S+) job=(\d+) profile=\S+ (\S+)", daemon.log(), re.MULTILINE)
    return [
        Step(datetime.fromisoformat(at).timestamp(), int(job), said)
        for at, job, said in found
        if said == what
    ]


def states(place: Place) -> dict[str, list[str]]:
    """Give the states of the jobs of each source, in the order of the jobs."""
    found: dict[str, list[str]] = {}
    for job in sorted(place.jobs(), key=lambda job: int(job["id"])):
        found.setdefault(job["source"], []).append(job["state"])
    return found


# A disk that is full: it is tried again after a minute. Begun first, looked at last.


class FullDisk(NamedTuple):
    place: Place
    daemon: Daemon
    marker: Path  # while it is there, the disk is full


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Iterator[FullDisk]:
    folder = tmp_path_factory.mktemp("full")
    marker = folder / "the disk is full"
    marker.touch()
    place = place_with(folder, otherwise=f"full-while:{marker}", max_attempts=1)
    with Daemon(place) as daemon:
        for name in ("a.mkv", "b.mkv"):
            drop(clip, place.inbox / name)
        wait_until(lambda: len(steps(daemon, "running→queued")) == 2, what=daemon.log)
        yield FullDisk(place, daemon, marker)


def test_a_full_disk_is_trouble_and_costs_no_job_an_attempt(full_disk: FullDisk) -> None:
    place = full_disk.place
    wait_until(lambda: place.live()["state"] == "trouble")

    status = place.status()
    assert status["state"] == "trouble"
    assert "no space left" in " ".join(status["trouble"])
    assert {"queued": 2, "failed": 0, "running": 0}.items() <= status["counts"].items()
    assert {(job["state"], job["attempt"]) for job in place.jobs()} == {("queued", 0)}
    assert files_in(place.error) == files_in(place.outbox) == set()
    assert full_disk.daemon.log().count("warning: no space left") == 1


# What ends badly is tried again, then goes to error/ with a reason.


class Bad(NamedTuple):
    stalled: Place
    ended: Place
    daemon: Daemon  # of ended


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
def bad(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Iterator[Bad]:
    folder = tmp_path_factory.mktemp("bad")
    limits: dict[str, Any] = {"max_attempts": 2, "jobs": len(ENDING)}
    stalled = place_with(folder / "stalled", STALLING, stall_seconds=1, **limits)
    plan = {name: behaviour for name, (behaviour, *_) in ENDING.items()}
    ended = place_with(folder / "ended", plan, **limits)
    with Daemon(stalled) as one, Daemon(ended) as other:
        for place, names in ((stalled, STALLING), (ended, ENDING)):
            for name in names:
                drop(clip, place.inbox / name)
        for daemon, names in ((one, STALLING), (other, ENDING)):
            wait_until(
                lambda daemon=daemon, names=names: (  # type: ignore[misc]
                    len(steps(daemon, "delivering→failed")) == len(names)
                ),
                what=daemon.log,
            )
        yield Bad(stalled, ended, other)


@pytest.mark.parametrize("name", STALLING)
def test_a_child_that_gets_no_further_is_ended_and_reported(bad: Bad, name: str) -> None:
    place = bad.stalled
    first, *rest = report(place, name)

    assert "no progress for 1 seconds" in first
    assert "attempts: 2" in rest
    assert any(line.startswith("command: ") for line in rest)
    assert alive(place, name) == []


@pytest.mark.parametrize("name", ENDING)
def test_a_bad_end_is_reported_with_its_reason_command_status_and_attempts(
    bad: Bad, name: str
) -> None:
    _, words, status = ENDING[name]
    first, *rest = report(bad.ended, name)

    assert [word for word in words if word not in first] == [], first
    assert {"attempts: 2", status} <= set(rest)
    assert any(line.startswith("command: ") and name in line for line in rest)


def test_nothing_of_a_bad_end_reaches_the_outbox_or_done(bad: Bad) -> None:
    for place in (bad.stalled, bad.ended):
        assert files_in(place.outbox) == files_in(place.done) == files_in(place.inbox) == set()
        assert not any((place.outbox / ".watchconv").iterdir())


def test_a_failed_attempt_is_tried_again_after_five_seconds(bad: Bad) -> None:
    starts: dict[int, list[float]] = {}
    for step in steps(bad.daemon, "queued→running"):
        starts.setdefault(step.job, []).append(step.at)

    assert [2] * len(ENDING) == [len(times) for times in starts.values()]
    assert min(second - first for first, second in starts.values()) >= 5


def test_a_job_over_its_time_limit_fails_at_once_and_the_figure_is_told(
    tmp_path: Path, clip: Path
) -> None:
    limit = {"seconds": 1, "per_second": 0.25}  # the clip takes 2 s
    place = place_with(tmp_path, {"long*": "slow:600"}, time_limit=limit, max_attempts=3)
    with Daemon(place):
        drop(clip, place.inbox / "long.mkv")
        place.wait_for("long.mkv", "failed")

        first, *rest = report(place, "long.mkv")
        assert "limit of 1.5 seconds" in first
        assert "time_limit" in first
        assert "attempts: 1" in rest
        assert alive(place) == []


def test_an_output_over_its_limit_fails_at_once_and_the_figure_is_told(
    tmp_path: Path, clip: Path
) -> None:
    place = place_with(tmp_path, {"bomb*": "swell"}, max_output="1MiB", max_attempts=3)
    with Daemon(place):
        drop(clip, place.inbox / "bomb.mkv")
        place.wait_for("bomb.mkv", "failed")

        first, *rest = report(place, "bomb.mkv")
        assert "max_output allows 1048576 bytes" in first
        assert "attempts: 1" in rest
        assert files_in(place.outbox) == set()


@pytest.mark.parametrize(("filters", "limited"), [("null", True), ("hwupload", False)])
def test_a_child_has_its_limits_but_no_address_space_where_hardware_encodes(
    tmp_path: Path, clip: Path, gates: Path, filters: str, limited: bool
) -> None:
    profile = {"suffix": ".mkv", "args": f"-vf {filters} -c:v libx264"}
    place = place_with(
        tmp_path, {"a*": f"gate:{gates}"}, address_space="1GiB", max_output="3GiB",
        nice=12, profile="own", profiles={"own": profile},
    )  # fmt: skip
    with Daemon(place) as daemon:
        drop(clip, place.inbox / "a.mkv")
        (pid,) = wait_until(lambda: alive(place, "a.mkv"))
        wait_until(lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] == 1024)

        assert resource.prlimit(pid, resource.RLIMIT_FSIZE)[0] == 3 << 30
        assert (resource.prlimit(pid, resource.RLIMIT_AS)[0] == 1 << 30) is limited
        assert resource.prlimit(pid, resource.RLIMIT_CORE)[0] == 0
        assert os.getpriority(os.PRIO_PROCESS, pid) == 12
        (gates / "all").touch()
        wait_until((place.done / "a.mkv").exists, what=daemon.log)


def test_floods_of_words_leave_the_memory_of_the_daemon_flat(tmp_path: Path, clip: Path) -> None:
    plan = {"1mb*": "flood", "deluge*": "deluge", "torrent*": "torrent"}
    place = place_with(tmp_path, plan)
    with Daemon(place) as daemon:
        drop(clip, place.inbox / "before.mkv")
        place.wait_for("before.mkv", "done")
        before = resident_mb(daemon.pid)
        for name in ("1mb.mkv", "deluge.mkv", "torrent.mkv"):
            drop(clip, place.inbox / name)
        most = before
        ended = [place.done / "1mb.mkv", place.error / "deluge.mkv", place.done / "torrent.mkv"]
        deadline = time.monotonic() + LONG
        while not all(path.exists() for path in ended):
            most = max(most, resident_mb(daemon.pid))
            assert time.monotonic() < deadline, daemon.log()
            time.sleep(0.05)

        assert max(most, resident_mb(daemon.pid)) - before < 15
        assert (place.error / "deluge.mkv.log").stat().st_size < 100_000
        assert report(place, "deluge.mkv")[-1].startswith("[fake @ 0x1] noise")


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


def test_a_grandchild_that_is_left_behind_is_dead_after_the_job(
    tmp_path: Path, clip: Path, gates: Path
) -> None:
    place = place_with(tmp_path, otherwise=f"child:{gates}")
    with Daemon(place):
        drop(clip, place.inbox / "a.mkv")
        wait_until(lambda: len(alive(place)) == 2)
        both = alive(place)
        (gates / "all").touch()
        place.wait_for("a.mkv", "done")

        assert [pid for pid in both if is_alive(pid)] == []
        assert files_in(place.outbox) == {"a.webm"}


# What is shown of a running job.


def test_progress_has_percent_speed_and_eta_and_never_passes_the_whole(
    tmp_path: Path, clip: Path, gates: Path
) -> None:
    place = place_with(tmp_path, {"steady*": f"gate:{gates}", "over*": f"overrun:{gates}"})
    shares: list[float] = []

    def shown(name: str) -> dict[str, Any]:
        rows: list[dict[str, Any]] = place.live()["running"]
        shares.extend(row["progress"] for row in rows if row["progress"] is not None)
        return next((row for row in rows if row["source"] == name), {})

    with Daemon(place):
        drop(clip, place.inbox / "over.mkv")
        # far past the end of the input no percent is true
        row = wait_until(lambda: (row := shown("over.mkv")).get("out_seconds", 0) > 3.5 and row)
        assert row
        drop(clip, place.inbox / "steady.mkv")
        wait_until(lambda: shown("steady.mkv").get("speed"))
        rows = {row["source"]: row for row in place.status()["running"]}
        (gates / "all").touch()
        wait_until(lambda: files_in(place.done) == {"over.mkv", "steady.mkv"})

    assert (row["progress"], row["eta_seconds"]) == (None, None)
    assert all(0 <= share < 1 for share in shares)
    assert rows["over.mkv"]["progress"] is None
    # a tenth of a second of two is done
    steady = rows["steady.mkv"]
    assert steady["progress"] == pytest.approx(0.05, abs=0.005)
    assert steady["eta_seconds"] == pytest.approx(1.9, abs=0.2)
    assert (steady["speed"], steady["fps"], steady["profile"]) == (1.0, 25.0, "webm")
    assert isinstance(steady["id"], int)


def test_a_job_of_unknown_length_shows_no_percent(tmp_path: Path, gates: Path) -> None:
    once = tiny_clip(tmp_path, "once.ts", 12.0)
    twice = tmp_path / "twice.ts"  # its clock begins anew in the middle
    twice.write_bytes(2 * once.read_bytes())
    place = place_with(tmp_path, otherwise=f"gate:{gates}", frames=None)
    with Daemon(place):
        drop(twice, place.inbox / "twice.ts")
        shown = wait_until(lambda: [r for r in place.live()["running"] if r["speed"] is not None])
        (row,) = place.status()["running"]
        (gates / "all").touch()
        place.wait_for("twice.ts", "done")

    assert (shown[0]["progress"], shown[0]["eta_seconds"]) == (None, None)
    assert (row["progress"], row["eta_seconds"], row["speed"]) == (None, None, 1.0)


# The pool.


@pytest.mark.parametrize("sandbox", ["auto", "off"])
def test_never_more_children_than_jobs_are_alive(tmp_path: Path, clip: Path, sandbox: str) -> None:
    place = place_with(tmp_path, otherwise="slow:0.2-0.4", jobs=3, sandbox=sandbox)
    names = {f"{number:02}.mkv" for number in range(20)}
    for name in names:
        drop(clip, place.inbox / name)
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, len(alive(place)))
        return len(steps(daemon, "delivering→done")) == len(names)

    with Daemon(place) as daemon:
        wait_until(done, what=daemon.log)

    assert most == 3
    assert files_in(place.done) == names
    assert files_in(place.outbox) == {name.replace(".mkv", ".webm") for name in names}
    assert files_in(place.error) == set()


# The original changes while it is read.


def test_what_was_made_of_an_original_that_changed_is_dropped(
    tmp_path: Path, clip: Path, gates: Path
) -> None:
    plan = {"gone*": "hang", "moved*": "hang", "new name*": "copy"}
    place = place_with(tmp_path, plan, otherwise=f"gate:{gates}", jobs=6, frames=None)
    inbox = place.inbox
    names = ("appended", "replaced", "touched", "shut", "gone", "moved")
    other = tiny_clip(tmp_path, "other.mkv", 1.0)
    longer = clip.read_bytes() + b"\xec\x84free"  # an EBML element that says nothing
    for name in names:
        drop(clip, inbox / f"{name}.mkv")
    with Daemon(place) as daemon:
        wait_until(lambda: len(alive(place)) == len(names), what=daemon.log)
        with (inbox / "appended.mkv").open("ab") as writer:
            writer.write(longer[-6:])
        drop(other, inbox / "replaced.mkv")
        os.utime(inbox / "touched.mkv", (1e9, 1e9))
        (inbox / "shut.mkv").chmod(0o600)
        (inbox / "gone.mkv").unlink()
        (inbox / "moved.mkv").rename(inbox / "new name.mkv")
        for name in ("gone.mkv", "moved.mkv"):  # they hang: nobody but the daemon ends them
            wait_until(lambda name=name: not alive(place, name))  # type: ignore[misc]
        (gates / "all").touch()
        kept = {"appended.mkv", "replaced.mkv", "touched.mkv", "shut.mkv", "new name.mkv"}
        for name in kept:
            place.wait_for(name, "done")

        assert states(place) == {
            "appended.mkv": ["superseded", "done"],
            "replaced.mkv": ["superseded", "done"],
            "touched.mkv": ["superseded", "done"],
            "shut.mkv": ["superseded", "done"],
            "gone.mkv": ["withdrawn"],
            "moved.mkv": ["withdrawn"],
            "new name.mkv": ["done"],
        }
        made = {name: (place.outbox / name).read_bytes() for name in files_in(place.outbox)}
        assert made == {
            "appended.webm": longer,
            "replaced.webm": other.read_bytes(),
            "touched.webm": clip.read_bytes(),
            "shut.webm": clip.read_bytes(),
            "new name.webm": clip.read_bytes(),
        }
        assert files_in(place.error) == files_in(inbox) == set()


def test_an_original_that_changes_each_time_runs_out_of_attempts(
    tmp_path: Path, clip: Path, gates: Path
) -> None:
    """Three times in a row cost one attempt; then it is failed as others are, file and report."""
    place = place_with(tmp_path, otherwise=f"gate:{gates}", max_attempts=1)
    drop(clip, place.inbox / "a.mkv")
    with Daemon(place) as daemon:
        for number in (1, 2, 3):
            wait_until(lambda: alive(place), what=daemon.log)
            os.utime(place.inbox / "a.mkv", (number, number))
            (gates / f"{number}.1").touch()
            wait_until(lambda: not alive(place))
        wait_until(lambda: steps(daemon, "delivering→failed"), what=daemon.log)

        assert files_in(place.error) == {"a.mkv", "a.mkv.log"}
        assert "changed each time" in report(place, "a.mkv")[0]
        assert states(place) == {"a.mkv": ["superseded"] * 3 + ["failed"]}
        assert files_in(place.outbox) == files_in(place.inbox) == set()


# What people ask for.


def test_a_cancelled_job_ends_at_once_even_when_its_child_ignores_term(
    tmp_path: Path, clip: Path
) -> None:
    place = place_with(tmp_path, otherwise="stubborn", jobs=1, stop_grace_seconds=NEVER)
    for name in ("a.mkv", "b.mkv"):
        drop(clip, place.inbox / name)
    with Daemon(place):
        wait_until(lambda: alive(place))
        wait_until(lambda: {"queued", "running"} == {job["state"] for job in place.jobs()})
        ids = {job["state"]: job["id"] for job in place.jobs()}
        place.say("cancel", ids["queued"], ids["running"])
        for name in ("a.mkv", "b.mkv"):
            place.wait_for(name, "failed")

        assert {report(place, name)[0] for name in ("a.mkv", "b.mkv")} == {"cancelled"}
        assert states(place) == {"a.mkv": ["failed"], "b.mkv": ["failed"]}
        assert alive(place) == []
        assert files_in(place.outbox) == set()


def test_a_failed_job_is_done_when_it_is_retried_with_a_better_ffmpeg(
    tmp_path: Path, clip: Path
) -> None:
    place = place_with(tmp_path, otherwise="exit:3")
    with Daemon(place):
        drop(clip, place.inbox / "a.mkv")
        place.wait_for("a.mkv", "failed")
        failed = place.job("a.mkv")
        fake(tmp_path / "bin")
        place.say("retry", failed["id"])
        place.wait_for("a.mkv", "done")

        (job,) = place.jobs()
        assert (failed["id"], "done", 1, None) == tuple(
            job[key] for key in ("id", "state", "attempt", "reason")
        )
        assert files_in(place.error) == set()
        assert files_in(place.outbox) == {"a.webm"}


def test_a_pause_lets_the_running_job_finish_and_starts_no_other(
    tmp_path: Path, clip: Path, gates: Path
) -> None:
    place = place_with(tmp_path, otherwise=f"gate:{gates}", jobs=1)
    for name in ("a.mkv", "b.mkv"):
        drop(clip, place.inbox / name)
    with Daemon(place) as daemon:
        (child,) = wait_until(lambda: alive(place))
        place.say("pause")
        wait_until(lambda: place.live()["state"] == "paused")
        assert alive(place) == [child]
        (gates / "all").touch()
        (finished,) = wait_until(lambda: steps(daemon, "delivering→done"))
        status = place.status()
        assert (status["state"], status["counts"]["queued"]) == ("paused", 1)
        assert len(steps(daemon, "queued→running")) == 1
        place.say("resume")
        wait_until(lambda: files_in(place.done) == {"a.mkv", "b.mkv"})

        assert [finished.job] == [step.job for step in steps(daemon, "queued→running")][:1]


# The stop ladder.


def test_a_stop_gives_the_grace_then_terms_then_kills_and_refunds(
    tmp_path: Path, clip: Path
) -> None:
    notes = tmp_path / "notes"
    place = place_with(tmp_path, otherwise=f"ladder:{notes}", sandbox="off", stop_grace_seconds=1)
    drop(clip, place.inbox / "a.mkv")
    with Daemon(place) as daemon:
        wait_until(lambda: notes.exists() and "ready" in notes.read_text())
        began = time.monotonic()
        code = daemon.stop()
        ended = time.monotonic()

        assert code == 0
        (said,) = re.findall(r"TERM (\S+)", notes.read_text())
        assert float(said) - began >= 1  # the grace
        assert ended - float(said) >= 1  # and as long from TERM to KILL
        assert alive(place) == []
        job = place.job("a.mkv")
        assert (job["state"], job["attempt"], job["reason"]) == ("queued", 0, None)
        assert files_in(place.inbox) == {"a.mkv"}
        assert files_in(place.outbox) == set()


def test_a_second_signal_stops_at_once(tmp_path: Path, clip: Path) -> None:
    place = place_with(tmp_path, otherwise="stubborn", stop_grace_seconds=NEVER)
    drop(clip, place.inbox / "a.mkv")
    with Daemon(place) as daemon:
        wait_until(lambda: alive(place))
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in daemon.log())
        daemon.signal(signal.SIGINT)
        code = daemon.wait()

        assert code == 0
        assert alive(place) == []
        job = place.job("a.mkv")
        assert (job["state"], job["attempt"]) == ("queued", 0)


def test_a_job_that_finishes_within_the_grace_is_delivered_and_no_other_begins(
    tmp_path: Path, clip: Path, gates: Path
) -> None:
    plan = {"a*": f"gate:{gates}"}
    place = place_with(tmp_path, plan, jobs=1, stop_grace_seconds=NEVER)
    drop(clip, place.inbox / "a.mkv")
    with Daemon(place) as daemon:
        wait_until(lambda: alive(place))
        drop(clip, place.inbox / "b.mkv")
        wait_until(lambda: len(re.findall(r"queued b.mkv", daemon.log())) == 1)
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in daemon.log())
        (gates / "all").touch()
        code = daemon.wait()

        assert code == 0
        assert states(place) == {"a.mkv": ["done"], "b.mkv": ["queued"]}
        assert files_in(place.outbox) == {"a.webm"}
        assert place.job("b.mkv")["attempt"] == 0


# The daemon is killed.


def test_a_killed_daemon_takes_its_child_along_and_the_next_does_the_job_once(
    tmp_path: Path, clip: Path
) -> None:
    place = place_with(tmp_path, otherwise="stubborn", max_attempts=3)
    drop(clip, place.inbox / "a.mkv")
    with Daemon(place) as daemon:
        wait_until(lambda: alive(place))
        daemon.signal(signal.SIGKILL)
        daemon.wait()
        wait_until(lambda: not alive(place), what="the child died with its daemon")
        assert place.status()["state"] == "stopped"
        assert place.job("a.mkv")["state"] == "running"
    fake(tmp_path / "bin")
    with Daemon(place) as daemon:
        place.wait_for("a.mkv", "done")
        daemon.stop()

        (job,) = place.jobs()
        assert (job["state"], job["attempt"]) == ("done", 2)
        assert files_in(place.outbox) == {"a.webm"}  # nothing is left of the first attempt
        assert files_in(place.inbox) == files_in(place.error) == set()


def test_a_file_that_takes_the_daemon_down_runs_out_of_attempts(tmp_path: Path, clip: Path) -> None:
    place = place_with(tmp_path, {"bad*": "hang"}, max_attempts=2)
    drop(clip, place.inbox / "bad.mkv")
    for _ in (1, 2):
        with Daemon(place) as daemon:
            wait_until(lambda: alive(place))
            daemon.signal(signal.SIGKILL)
            daemon.wait()
            wait_until(lambda: not alive(place))
    with Daemon(place):
        drop(clip, place.inbox / "good.mkv")
        place.wait_for("good.mkv", "done")
        place.wait_for("bad.mkv", "failed")

        first, *rest = report(place, "bad.mkv")
        assert "went down" in first
        assert "attempts: 2" in rest
        assert states(place) == {"bad.mkv": ["failed"], "good.mkv": ["done"]}
        assert files_in(place.outbox) == {"good.webm"}


def test_what_an_earlier_daemon_left_behind_is_ended_at_the_start_and_nothing_else(
    tmp_path: Path, clip: Path
) -> None:
    place = place_with(tmp_path, otherwise="child:away")
    sleeper = [sys.executable, "-IS", "-c", "import time; time.sleep(3600)"]
    with contextlib.ExitStack() as stack:

        def start(mark: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(sleeper, env={"WATCHCONV_CHILD": mark})
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        with Daemon(place) as daemon:
            drop(clip, place.inbox / "a.mkv")
            place.wait_for("a.mkv", "done")
            (stray,) = alive(place)  # it has left the group, and does not die with the daemon
            daemon.stop()
        assert is_alive(stray)
        ours = start(os.path.realpath(place.state))
        other = start(f"{os.path.realpath(place.state)}-of-another")
        with Daemon(place) as daemon:
            assert ours.wait(LONG) == -signal.SIGKILL
            assert not is_alive(stray)
            assert other.poll() is None
            assert "ended 2 processes" in daemon.log()


def test_originals_that_are_kept_are_not_done_again_after_a_restart(
    tmp_path: Path, clip: Path
) -> None:
    place = place_with(tmp_path, on_success="keep", frames=None)
    with Daemon(place) as daemon:
        drop(clip, place.inbox / "a.mkv")
        wait_until((place.outbox / "a.webm").exists)
        wait_until(lambda: steps(daemon, "delivering→done"))
        daemon.stop()
    with Daemon(place):
        drop(clip, place.inbox / "b.mkv")  # when it is done, the inbox has been looked at
        wait_until((place.outbox / "b.webm").exists)
        assert files_in(place.inbox) == {"a.mkv", "b.mkv"}
        assert files_in(place.outbox) == {"a.webm", "b.webm"}

        drop(tiny_clip(tmp_path, "other.mkv", 1.0), place.inbox / "a.mkv")  # a new order
        wait_until((place.outbox / "a (2).webm").exists)
        wait_until(lambda: states(place) == {"a.mkv": ["done", "done"], "b.mkv": ["done"]})


# Profiles, and what ffmpeg is told.


def test_a_profile_decides_how_much_an_output_must_prove(tmp_path: Path, clip: Path) -> None:
    levels = {"nothing": "off", "streams": "streams", "everything": "full"}
    profiles = {
        name: {"suffix": ".mkv", "args": "-c:v libx264", "verify": level}
        for name, level in levels.items()
    }
    plan = {"half*": "truncated", "few*": "few-frames", "none*": "empty"}
    place = place_with(tmp_path, plan, profiles=profiles)
    names = {f"{profile}/{what}.mkv" for profile in levels for what in ("half", "few", "none")}
    for name in names:
        drop(clip, place.inbox / name)
    with Daemon(place):
        good = {"nothing/half.mkv", "nothing/few.mkv", "streams/few.mkv"}
        for name in names:
            place.wait_for(name, "done" if name in good else "failed")

        assert files_in(place.done) == good
        assert files_in(place.outbox) == good


def test_the_arguments_of_a_profile_reach_ffmpeg_as_they_are_written(
    tmp_path: Path, clip: Path
) -> None:
    args = [
        "-c:v",
        "libx264",
        "-metadata",
        "title=a 'b' $HOME \"c\" %03d",
        "-vf",
        "scale=w=32:h=-2",
    ]
    own = {"suffix": ".mkv", "args": args}
    place = place_with(tmp_path, otherwise="tell", profiles={"own": own}, profile="own")
    name = "-f concat:x 'y' %03d.mkv"
    with Daemon(place):
        drop(clip, place.inbox / name)
        place.wait_for(name, "failed")
    (said,) = [line for line in report(place, name) if line.startswith("argv ")]
    argv = json.loads(said.removeprefix("argv "))
    (told,) = [line for line in report(place, name) if line.startswith("command: ")]

    assert [str(tmp_path / "bin" / "ffmpeg"), *argv] == shlex.split(told.removeprefix("command: "))
    at = argv.index("-i")
    assert argv[at + 1] == f"file:{place.inbox}/{name}"
    assert argv[at + 2 : at + 2 + len(args)] == args
    assert argv[-1] == f"file:{place.outbox}/.watchconv/1/1/output.mkv"
    before = argv[:at]
    options = dict(itertools.pairwise(before))
    assert (options["-protocol_whitelist"], options["-f"]) == ("file", "matroska")
    assert "matroska" in options["-format_whitelist"].split(",")
    assert {"hls", "concat", "image2", "dash"}.isdisjoint(options["-format_whitelist"].split(","))
    assert options["-progress"] == "pipe:1"
    assert "-nostdin" in before
    explained = place.say("explain", str(clip))
    assert shlex.join(args) in explained


# No ffmpeg, or not the right one.


def test_a_configured_ffmpeg_that_is_not_there_is_bad_configuration(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos", {"ffmpeg": "/nope"})
    plain = tmp_path / "plain"
    plain.touch()
    for path in ("/nope", str(plain)):
        place.configure({"ffmpeg": path})
        for command in ("run", "check"):
            ended = place.run(command)

            assert ended.returncode == 78
            assert f"ffmpeg: {path}" in ended.stderr
            assert "Traceback" not in ended.stderr


def test_without_any_ffmpeg_the_daemon_says_how_to_get_one(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos")
    nothing, hidden = tmp_path / "nothing", tmp_path / "hidden"
    nothing.mkdir()
    hidden.mkdir()
    (hidden / "imageio_ffmpeg.py").write_text("raise ImportError('the test hides it')\n")
    environment = {
        **place.environment,
        "PATH": str(nothing),
        "PYTHONPATH": f"{hidden}{os.pathsep}{CHECKOUT}",
    }
    for command in ("run", "check"):
        ended = run_program(*place.options, command, environment=environment)

        assert ended.returncode == 1
        said = ended.stdout + ended.stderr
        assert "there is no ffmpeg" in said
        assert "pip install 'watchconv[ffmpeg]'" in said
        assert "Traceback" not in said


def test_a_profile_that_needs_an_encoder_which_ffmpeg_lacks_is_bad_configuration(
    tmp_path: Path,
) -> None:
    odd = {"suffix": ".ogv", "args": "-c:v libtheora -c:a libvorbis"}
    place = place_with(tmp_path, profiles={"odd": odd})
    for command in ("run", "check"):
        ended = place.run(command)

        assert ended.returncode == 78
        assert "profiles.odd.args" in ended.stderr
        assert "libtheora" in ended.stderr
        assert "libvorbis" not in ended.stderr


def test_an_ffmpeg_that_vanishes_is_trouble_and_costs_no_attempt(
    tmp_path: Path, clip: Path
) -> None:
    place = place_with(tmp_path, max_attempts=1)
    with Daemon(place) as daemon:
        (tmp_path / "bin" / "ffmpeg").unlink()
        drop(clip, place.inbox / "a.mkv")
        wait_until(lambda: steps(daemon, "running→queued"), what=daemon.log)
        wait_until(lambda: place.live()["state"] == "trouble")
        assert "could not be started" in " ".join(place.status()["trouble"])
        job = place.job("a.mkv")
        assert (job["state"], job["attempt"]) == ("queued", 0)
        assert daemon.stop() == 0
    fake(tmp_path / "bin")
    with Daemon(place) as daemon:  # what failed waits for a minute, so that others go first
        drop(clip, place.inbox / "b.mkv")
        place.wait_for("b.mkv", "done")

        assert place.job("b.mkv")["state"] == "done"
        assert place.status()["trouble"] == []
        assert files_in(place.error) == set()


def test_a_disk_that_stays_full_is_said_once(full_disk: FullDisk) -> None:
    """The daemon tried again once told it was over, each half minute, with the disk still full."""
    place, daemon = full_disk.place, full_disk.daemon
    failed_at = steps(daemon, "running→queued")[0].at
    wait_until(lambda: time.time() > failed_at + 35)

    assert full_disk.marker.exists()
    assert "over: no space left" not in daemon.log()
    assert "no space left" in " ".join(place.status()["trouble"])


def test_work_goes_on_by_itself_when_the_disk_has_room_again(full_disk: FullDisk) -> None:
    full_disk.marker.unlink(missing_ok=True)
    place = full_disk.place
    daemon = full_disk.daemon
    wait_until(lambda: len(steps(daemon, "delivering→done")) == 2, 100, what=daemon.log)
    wait_until(lambda: place.live()["state"] == "running")

    assert {(job["state"], job["attempt"]) for job in place.jobs()} == {("done", 1)}
    assert place.status()["trouble"] == []
    assert files_in(place.outbox) == {"a.webm", "b.webm"}

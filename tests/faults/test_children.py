"""An ffmpeg of every bad kind, all of them side by side: each ends as promised, alone.

What one of them alone does to its job is told in ``tests.test_bad_endings``.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import daemon as harness
from tests.clips import FFMPEG
from tests.daemon import Daemon, Place, drop, is_ffmpeg, most_megabytes
from tests.fakes import write_fake
from tests.waiting import wait_until
from watchconv.process.spawn import find_orphans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FRAMES = 20
SETTINGS: dict[str, Any] = {
    "settle_seconds": 0.1,
    "min_free": 0,
    "nice": 0,
    "ionice": "none",
    "jobs": 4,
    "max_attempts": 2,
    "stall_seconds": 3,
    "stop_grace_seconds": 0.5,
    "address_space": "512MiB",
}
GOOD = [f"good {n}.mkv" for n in range(20)]
ENDS_WELL = {"flood": "flood:100", "heir": "heir"}
# what it does, and what the first line of its report says
ENDS_BADLY = {
    "mute": ("mute", "no progress for 3 seconds"),
    "hang": ("hang", "no progress for 3 seconds"),
    "late": ("late", "no progress for 3 seconds"),
    "stubborn": ("stubborn", "no progress for 3 seconds"),
    "frozen": ("frozen", "no progress for 3 seconds"),
    "grandchild": ("grandchild", "no progress for 3 seconds"),
    "truncated": ("truncated", f"of the {FRAMES} packets written"),
    "nothing": ("none", "made no output"),
    "empty": ("empty", "made no output"),
    "killed": ("signal:9", "killed by SIGKILL (was the memory used up?)"),
    "hog": ("hog", "ffmpeg ran out of memory"),
}


def plan() -> dict[str, str]:
    told = {name: behaviour for name, (behaviour, _) in ENDS_BADLY.items()}
    return {f"{name}.mkv": behaviour for name, behaviour in (ENDS_WELL | told).items()}


@dataclass(frozen=True)
class Resting:
    """What a daemon that has nothing to do holds."""

    most_megabytes: float
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> Resting:
        return cls(most_megabytes(pid), len(os.listdir(f"/proc/{pid}/fd")))


@dataclass(frozen=True)
class ChildExit:
    place: Place
    before: Resting
    after: Resting
    children: list[int]  # that are left


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, long_clip: Path) -> Iterator[ChildExit]:
    """All have come to their end, and the daemon still lives."""
    folder = tmp_path_factory.mktemp("children")
    program = write_fake(folder / "bin", plan(), frames=FRAMES)
    place = Place(folder / "videos", {**SETTINGS, "ffmpeg": program})
    with Daemon(place) as daemon:
        drop(long_clip, place.inbox / "first.mkv")
        place.wait_for("first.mkv", "done")
        before = Resting.of(daemon.pid)
        for name in (*plan(), *GOOD):
            drop(long_clip, place.inbox / name)
        wait_until(lambda: is_through(place, len(GOOD) + len(plan()) + 1), what=daemon.log)
        after = Resting.of(daemon.pid)

        marked = find_orphans(os.path.realpath(place.state))
        yield ChildExit(place, before, after, [pid for pid in marked if is_ffmpeg(pid)])


def is_through(place: Place, count: int) -> bool:
    counts = place.status()["counts"]
    return bool(counts["done"] + counts["failed"] == count)


@pytest.mark.parametrize("name", ENDS_BADLY)
def test_a_child_that_ends_badly_has_its_attempts_and_is_reported(
    ended: ChildExit, name: str
) -> None:
    job = ended.place.job(f"{name}.mkv")
    report = (ended.place.error / f"{name}.mkv.log").read_text(encoding="utf-8").splitlines()

    assert (job["state"], job["attempt"]) == ("failed", 2)
    assert ENDS_BADLY[name][1] in report[0]
    assert "attempts: 2" in report


def test_the_others_are_done_at_their_first_attempt(ended: ChildExit, long_clip: Path) -> None:
    names = {*GOOD, *(f"{name}.mkv" for name in ENDS_WELL), "first.mkv"}
    jobs = {job["source"]: job for job in ended.place.jobs() if job["state"] == "done"}
    outputs = [path for path in ended.place.outbox.rglob("*") if path.is_file()]

    assert jobs.keys() == names
    assert {job["attempt"] for job in jobs.values()} == {1}
    assert {path.name for path in outputs} == {name.replace(".mkv", ".webm") for name in names}
    assert all(path.read_bytes().startswith(long_clip.read_bytes()) for path in outputs)


def test_a_hundred_megabytes_of_words_leave_memory_flat(ended: ChildExit) -> None:
    grown = ended.after.most_megabytes - ended.before.most_megabytes
    print(f"the most it ever held: {ended.after.most_megabytes:.1f} MB, {grown:.1f} MB more")

    assert grown < 15


def test_no_child_and_no_descriptor_is_left(ended: ChildExit) -> None:
    assert ended.children == []
    assert ended.after.descriptors <= ended.before.descriptors


# The stall limit is for an encode that stands still, not for what takes its time.

SLOW_DISK = """
import os, time
fsync = os.fsync
os.fsync = lambda descriptor: (time.sleep(0.8), fsync(descriptor))[1]
from watchconv.__main__ import main
main()
"""


def test_an_output_that_is_still_written_and_a_slow_disk_are_no_stall(
    tmp_path: Path, long_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is +faststart, and so are a busy NAS and a copy to another disk."""
    monkeypatch.setattr(harness, "PROGRAM", (sys.executable, "-c", SLOW_DISK))
    program = write_fake(tmp_path / "bin", otherwise="rewrites:5", frames=FRAMES)
    settings = {**SETTINGS, "max_attempts": 1, "ffmpeg": program}
    place = Place(tmp_path / "videos", settings)
    with Daemon(place):
        drop(long_clip, place.inbox / "a.mkv")
        place.wait_for("a.mkv", "done")

        assert (place.outbox / "a.webm").read_bytes() == long_clip.read_bytes()


# An ffmpeg that cannot be started is the machine's fault: no job pays for it.


def forbid(program: Path) -> None:
    program.chmod(0o644)


def empty(program: Path) -> None:
    program.write_bytes(b"")


def spoil(program: Path) -> None:
    program.write_bytes(b"\x00\x01 no program\n\xff" * 100)


def cut(program: Path) -> None:
    program.write_bytes(Path(FFMPEG).read_bytes()[:100_000])


def lose_its_interpreter(program: Path) -> None:
    program.write_text("#!/no/such/python\n")


def lose_its_libraries(program: Path) -> None:
    program.write_text(
        "#!/bin/sh\n"
        "echo 'ffmpeg: error while loading shared libraries: libx264.so.164: cannot open' >&2\n"
        "exit 127\n"
    )


HARMS = [forbid, empty, spoil, cut, lose_its_interpreter, lose_its_libraries]


@pytest.mark.parametrize(
    ("harm", "sandbox"), [*((harm, "off") for harm in HARMS), (forbid, "auto"), (spoil, "auto")]
)
def test_a_program_that_cannot_be_started_costs_no_job_an_attempt(
    tmp_path: Path, long_clip: Path, harm: Callable[[Path], None], sandbox: str
) -> None:
    program = Path(write_fake(tmp_path / "bin", frames=FRAMES))
    settings = {**SETTINGS, "max_attempts": 1, "sandbox": sandbox, "ffmpeg": str(program)}
    place = Place(tmp_path / "videos", settings)
    with Daemon(place) as daemon:
        harm(program)
        drop(long_clip, place.inbox / "a.mkv")
        wait_until(lambda: "running→" in daemon.log(), what=daemon.log)
        wait_until(lambda: place.live()["state"] == "trouble", what=daemon.log)
        job = place.job("a.mkv")

        assert (job["state"], job["attempt"]) == ("queued", 0)
        assert str(program) in " ".join(place.status()["trouble"])
        assert daemon.log().partition("→running")[2].count(" warning: ") == 1
        assert (place.inbox / "a.mkv").exists()


def test_a_program_that_does_not_run_at_the_start_is_bad_configuration(tmp_path: Path) -> None:
    program = Path(write_fake(tmp_path / "bin"))
    lose_its_libraries(program)
    place = Place(tmp_path / "videos", {"ffmpeg": str(program)})
    for command in ("run", "check"):
        ended = place.run(command)

        assert ended.returncode == 78
        assert f"{program} does not run" in ended.stderr
        assert "libx264.so.164" in ended.stderr

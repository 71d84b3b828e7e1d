"""Mounts that go and come under the real daemon: nothing lost, nothing doubled, nothing misplaced.

Each test has a mount namespace of its own, see ``tests.mounted``.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import FOLDERS, Daemon
from tests.fakes import write_fake
from tests.mounted import Disks
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAMES = 20
SETTINGS: dict[str, Any] = {
    "settle_seconds": 0.1,
    "settle_network_seconds": 0.5,
    "min_free": 0,
    "jobs": 1,
    "nice": 0,
    "ionice": "none",
    "stop_grace_seconds": 0.5,
    "profile": "copy",
    "profiles": {"copy": {"suffix": ".mkv", "args": "-c copy", "verify": "off"}},
}


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A folder: the encode of x ends when x is in it."""
    folder = tmp_path / "gate"
    folder.mkdir()
    return folder


@pytest.fixture
def disks(tmp_path: Path, gate: Path) -> Iterator[Disks]:
    fake = write_fake(tmp_path / "fake", otherwise=f"gate:{gate}", frames=FRAMES)
    with Disks(tmp_path, SETTINGS, ffmpeg=fake) as disks:
        yield disks


def put(long_clip: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    hidden = target.with_name(f".{target.name}.part")
    shutil.copyfile(long_clip, hidden)
    hidden.rename(target)


def open_gate(gate: Path, *names: str) -> None:
    for name in names:
        (gate / name).touch()


def told(disks: Disks, sentence: str) -> int:
    return disks.place.log().count(sentence)


def check_said_once(disks: Disks) -> None:
    """Each trouble once, and its end once."""
    lines = [
        line.split(" ", 2)[2] for line in disks.place.log().splitlines() if " warning: " in line
    ]
    often = {line: n for line, n in Counter(lines).items() if n > 1}

    assert often == {}, disks.place.log()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_is_pulled_and_comes_back_costs_nothing(
    disks: Disks, gate: Path, long_clip: Path, name: str
) -> None:
    """One job runs, two are queued; then the disk is gone, for longer than the encode takes."""
    place = disks.place
    for folder in FOLDERS:
        disks.attach(folder)
    inbox = disks.see(place.inbox)
    for number in (1, 2, 3):
        put(long_clip, inbox / f"trip/{number}.mkv")
    with Daemon(place) as daemon:
        wait_until(lambda: daemon.encodes() and len(place.jobs("--state", "queued")) == 2)
        disks.pull(name)
        disks.wait_for_state("trouble")

        assert f"the {name} {place.root / name} is not mounted" in place.live()["trouble"][0]

        open_gate(gate, "1.mkv", "2.mkv", "3.mkv")
        # what could be delivered without the disk would be by now
        wait_until(lambda: not place.live().get("running") or told(disks, "cannot be delivered"))
        seen = disks.bare()
        disks.attach(name)
        for number in (1, 2, 3):
            place.wait_for(f"trip/{number}.mkv", "done")

        assert seen == []

    jobs = place.jobs()

    assert sorted((job["source"], job["state"], job["attempt"]) for job in jobs) == [
        (f"trip/{number}.mkv", "done", 1) for number in (1, 2, 3)
    ]
    assert disks.bare() == []
    assert disks.tree() == [
        f"{folder}/trip/{number}.mkv" for folder in ("done", "outbox") for number in (1, 2, 3)
    ]
    check_said_once(disks)


def test_an_inbox_that_goes_and_comes_without_end_withdraws_nothing(
    disks: Disks, gate: Path, long_clip: Path
) -> None:
    """Looks are under way at every moment, some of them between going and coming."""
    place = disks.place
    for folder in FOLDERS:
        disks.attach(folder)
    names = [f"{number}.mkv" for number in range(40)]
    for name in names:
        put(long_clip, disks.see(place.inbox) / name)
    with Daemon(place):
        wait_until(lambda: len(place.jobs("--state", "queued")) == 39)
        for _ in range(25):
            disks.pull("inbox")
            disks.attach("inbox")
        disks.wait_for_state("running")
        open_gate(gate, *names)
        wait_until(lambda: len(place.jobs("--state", "done")) == 40, what=place.log)

        assert Counter((job["state"], job["attempt"]) for job in place.jobs()) == {("done", 1): 40}

    assert disks.tree() == sorted(f"{folder}/{n}" for folder in ("done", "outbox") for n in names)
    assert disks.bare() == []


# below the inbox


def test_a_mount_below_the_inbox_takes_its_jobs_along_and_brings_them_back(
    disks: Disks, gate: Path, long_clip: Path
) -> None:
    place = disks.place
    (place.inbox / "camera").mkdir()
    disks.attach("inbox/camera")
    camera = disks.see(place.inbox) / "camera"
    for name in ("1.mkv", "2.mkv"):
        put(long_clip, camera / name)
    with Daemon(place) as daemon:
        wait_until(lambda: daemon.encodes() and len(place.jobs("--state", "queued")) == 1)
        disks.pull("inbox/camera")
        wait_until(lambda: told(disks, f"{place.inbox}/camera is not mounted"))
        put(long_clip, disks.see(place.inbox) / "other.mkv")
        open_gate(gate, "1.mkv", "2.mkv", "other.mkv")
        place.wait_for("other.mkv", "done")  # nobody waits for the camera
        wait_until(lambda: len(place.jobs("--state", "queued")) == 2)
        reasons = {job["reason"] for job in place.jobs("--state", "queued")}
        disks.attach("inbox/camera")
        place.wait_for("camera/1.mkv", "done")
        place.wait_for("camera/2.mkv", "done")

    assert reasons == {"the file system that holds it is not mounted"}
    assert Counter((job["state"], job["attempt"]) for job in place.jobs()) == {("done", 1): 3}
    assert len([name for name in disks.tree() if name.startswith("outbox/")]) == 3
    check_said_once(disks)


def test_originals_that_are_kept_below_a_mount_are_not_converted_again(
    disks: Disks, gate: Path, long_clip: Path
) -> None:
    """Over a restart too: the daemon that comes later knows what was mounted."""
    place = disks.place
    place.configure({**SETTINGS, "on_success": "keep"})
    (place.inbox / "camera").mkdir()
    disks.attach("inbox/camera")
    put(long_clip, disks.see(place.inbox) / "camera/1.mkv")
    open_gate(gate, "1.mkv", "other.mkv")
    with Daemon(place) as daemon:
        place.wait_for("camera/1.mkv", "done")
        disks.pull("inbox/camera")
        wait_until(lambda: told(disks, "camera is not mounted") == 1)
        daemon.stop()
    with Daemon(place):
        wait_until(lambda: told(disks, "camera is not mounted") == 2)
        disks.attach("inbox/camera")
        wait_until(lambda: told(disks, "over: below the inbox") == 1)
        put(long_clip, disks.see(place.inbox) / "other.mkv")
        place.wait_for("other.mkv", "done")

        assert Counter(job["source"] for job in place.jobs()) == {
            "camera/1.mkv": 1,
            "other.mkv": 1,
        }


def test_a_mount_that_is_gone_for_good_is_forgotten_while_the_daemon_runs(
    disks: Disks, gate: Path, long_clip: Path
) -> None:
    place = disks.place
    (place.inbox / "camera").mkdir()
    disks.attach("inbox/camera")
    put(long_clip, disks.see(place.inbox) / "first.mkv")
    with Daemon(place):
        place.wait_for("first.mkv", "running")
        put(long_clip, disks.see(place.inbox) / "camera/1.mkv")
        wait_until(lambda: len(place.jobs()) == 2)
        disks.pull("inbox/camera")
        wait_until(lambda: told(disks, "camera is not mounted"))
        forget = place.command("check", "--forget-mounts")
        subprocess.run(forget, env=place.environment, stdout=subprocess.DEVNULL, check=True)
        wait_until(lambda: told(disks, "over: below the inbox"))
        open_gate(gate, "first.mkv", "1.mkv")
        place.wait_for("first.mkv", "done")
        place.wait_for("camera/1.mkv", "withdrawn")


def test_what_is_mounted_below_a_running_inbox_is_found_at_once(
    disks: Disks, gate: Path, long_clip: Path
) -> None:
    place = disks.place
    (place.inbox / "camera").mkdir()
    put(long_clip, disks.disk("inbox/camera") / "1.mkv")
    open_gate(gate, "1.mkv", "2.mkv")
    with Daemon(place):
        disks.attach("inbox/camera")
        place.wait_for("camera/1.mkv", "done")
        put(long_clip, disks.see(place.inbox) / "camera/2.mkv")
        place.wait_for("camera/2.mkv", "done")


# read-only


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_becomes_read_only_is_waited_for(
    disks: Disks, gate: Path, long_clip: Path, name: str
) -> None:
    place = disks.place
    for folder in FOLDERS:
        disks.attach(folder)
    with Daemon(place):
        put(long_clip, disks.see(place.inbox) / "1.mkv")
        if name in ("done", "error"):
            place.wait_for("1.mkv", "running")
        else:
            open_gate(gate, "1.mkv")
            place.wait_for("1.mkv", "done")
        disks.run("mount", "-o", "remount,bind,ro", place.root / name)
        open_gate(gate, "1.mkv", "2.mkv")
        put(long_clip, disks.disk("inbox") / "2.mkv")
        disks.wait_for_state("trouble")

        assert place.live()["trouble"][0].endswith("its file system is mounted read-only")

        disks.run("mount", "-o", "remount,bind,rw", place.root / name)
        place.wait_for("1.mkv", "done")
        place.wait_for("2.mkv", "done")

    assert disks.tree() == [f"{f}/{n}.mkv" for f in ("done", "outbox") for n in (1, 2)]
    assert Counter((job["state"], job["attempt"]) for job in place.jobs()) == {("done", 1): 2}
    check_said_once(disks)


# without events


@pytest.fixture
def passthrough(disks: Disks) -> Disks:
    """An inbox behind FUSE, whose files are changed underneath."""
    if shutil.which("bindfs") is None:
        pytest.skip("needs bindfs")
    disks.disk("share").mkdir()
    disks.run("bindfs", disks.store / "share", disks.place.inbox)
    return disks


def test_a_share_without_events_is_polled_by_itself(
    passthrough: Disks, gate: Path, long_clip: Path
) -> None:
    """The wait is the real one: the configuration says nothing of polling."""
    disks, place = passthrough, passthrough.place
    open_gate(gate, "1.mkv")
    with Daemon(place):
        put(long_clip, disks.disk("share") / "trip/1.mkv")
        place.wait_for("trip/1.mkv", "done")

    assert (
        f"the inbox is on fuse ({place.inbox}), where not every change makes an event:"
        " it is scanned every 30 s"
    ) in place.log()
    assert disks.tree() == ["done/trip/1.mkv", "outbox/trip/1.mkv"]


def test_a_share_whose_server_dies_is_trouble_until_it_is_there_again(
    passthrough: Disks, gate: Path, long_clip: Path
) -> None:
    disks, place = passthrough, passthrough.place
    place.configure({**SETTINGS, "scan_seconds": 1})
    open_gate(gate, "1.mkv", "2.mkv")
    with Daemon(place):
        put(long_clip, disks.disk("share") / "1.mkv")
        place.wait_for("1.mkv", "done")
        end_servers(disks.store / "share")
        disks.wait_for_state("trouble")
        put(long_clip, disks.disk("share") / "2.mkv")
        disks.pull("inbox")
        disks.run("bindfs", disks.store / "share", place.inbox)
        place.wait_for("2.mkv", "done")

    assert Counter(job["state"] for job in place.jobs()) == {"done": 2}


def end_servers(share: Path) -> None:
    """Kill the bindfs that serves a share; this test began it."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"bindfs") and bytes(share) in words:
            subprocess.run(["kill", "-9", process.name], check=True)


# at the start


HELD = """
import os, time
import {module}, watchconv.daemon.lifecycle
watchconv.daemon.lifecycle.FIRST_LOOK_SECONDS = 3600
really = {module}.{function}

def held(*args):
    open({gate!r} + "/held", "w").close()
    while not os.path.exists({gate!r} + "/go"):
        time.sleep(0.01)
    return really(*args)

{module}.{function} = held
"""


def hold_start(disks: Disks, gate: Path, module: str, function: str) -> None:
    """Have the next daemon wait at a function until the gate is opened for "go"."""
    disks.place.patch = HELD.format(module=module, function=function, gate=str(gate))


def test_a_daemon_is_not_running_before_it_knows_its_folders(disks: Disks, gate: Path) -> None:
    disks.attach("outbox")
    hold_start(disks, gate, "watchconv.host.folders", "Folders.check")
    daemon = Daemon(disks.place)
    daemon.start()
    try:
        wait_until((gate / "held").exists)
        disks.place.say("pause")  # so much later, it does other things already
        assert disks.place.live() == {}

        disks.place.say("resume")
        open_gate(gate, "go")
        disks.wait_for_state("running")
        disks.pull("outbox")
        disks.wait_for_state("trouble")
    finally:
        daemon.kill()


def test_a_mount_that_goes_while_the_daemon_begins_is_noticed(disks: Disks, gate: Path) -> None:
    disks.attach("outbox")
    hold_start(disks, gate, "watchconv.intake.watch", "Watcher.start")
    with Daemon(disks.place):
        wait_until((gate / "held").exists)
        disks.pull("outbox")
        open_gate(gate, "go")
        disks.wait_for_state("trouble")


# at rest


def test_a_daemon_in_trouble_hardly_works(disks: Disks) -> None:
    place = disks.place
    disks.attach("outbox")
    with Daemon(place) as daemon:
        disks.wait_for_state("running")
        disks.pull("outbox")
        disks.wait_for_state("trouble")
        lines = len(place.log().splitlines())
        before, began = cpu_seconds(daemon.pid), time.monotonic()
        wait_until(lambda: time.monotonic() - began > 12)
        share = (cpu_seconds(daemon.pid) - before) / (time.monotonic() - began)
        print(f"a daemon in trouble: {100 * share:.2f} % of one processor")

        assert share < 0.02
        assert len(place.log().splitlines()) == lines


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100

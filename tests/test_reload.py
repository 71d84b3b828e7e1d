"""SIGHUP: the configuration is read again, by the real daemon with an ffmpeg that obeys orders."""

from __future__ import annotations

import os
import pty
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.daemon import Daemon, Place, drop, tiny_clip
from tests.fake_place import COPY_PROFILE as COPY
from tests.fake_place import GatedPlace
from tests.fakes import write_fake
from tests.systemd import Unit
from tests.waiting import wait_until
from tests.wrapped import without_seccomp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROVEN = {"copy": {**COPY, "verify": "full"}}  # what an original is deleted for


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return tiny_clip(tmp_path, "tiny.mkv")


@pytest.fixture
def place(tmp_path: Path) -> GatedPlace:
    return GatedPlace(tmp_path / "videos")


@pytest.fixture
def daemon(place: GatedPlace) -> Iterator[Daemon]:
    with Daemon(place) as daemon:
        yield daemon


def tree(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and ".watchconv" not in p.parts)


def test_a_new_profile_is_used_and_a_running_job_keeps_its_own(
    place: GatedPlace, daemon: Daemon, clip: Path
) -> None:
    drop(clip, place.inbox / "a.mkv")
    wait_until(lambda: place.running() == {"a.mkv"})
    changed = {"copy": {**COPY, "suffix": ".mov"}, "phone": {**COPY, "suffix": ".mp4"}}

    assert place.change(daemon, profiles=changed).endswith("changed: profiles\n")
    drop(clip, place.inbox / "b.mkv")
    drop(clip, place.inbox / "phone/c.mkv")
    for name in ("a.mkv", "b.mkv", "c.mkv"):
        place.let_through(name)
    for source in ("a.mkv", "b.mkv", "phone/c.mkv"):
        place.wait_for(source, "done")

    assert tree(place.outbox) == ["a.mkv", "b.mov", "c.mp4"]
    assert tree(place.done) == ["a.mkv", "b.mkv", "c.mkv"]


def test_the_daemon_stays_small_whatever_it_reads(place: GatedPlace, daemon: Daemon) -> None:
    """pydantic and yaml take 10 MB; children of a moment read the configuration with them."""
    for text in ("jobs: 2", "jobs: many"):
        place.config.write_text(place.config.read_text(encoding="utf-8") + f"{text}\n")
        daemon.signal(signal.SIGHUP)
    wait_until(lambda: "jobs" in place.log())
    assert daemon.process is not None
    mapped = Path(f"/proc/{daemon.process.pid}/maps").read_text(encoding="utf-8")

    assert "sqlite" in mapped
    assert [name for name in ("pydantic", "yaml") if name in mapped] == []


def test_a_running_job_whose_profile_is_taken_away_is_delivered(
    place: GatedPlace, daemon: Daemon, clip: Path
) -> None:
    drop(clip, place.inbox / "a.mkv")
    wait_until(lambda: place.running() == {"a.mkv"})

    place.change(daemon, profiles={"other": COPY}, profile="other")
    place.let_through("a.mkv")
    place.wait_for("a.mkv", "done")

    assert tree(place.outbox) == ["a.mkv"]


def test_the_number_of_jobs_goes_up_and_down_while_jobs_run(
    place: GatedPlace, daemon: Daemon, clip: Path
) -> None:
    names = [f"{n}.mkv" for n in range(6)]
    for name in names:
        drop(clip, place.inbox / name)
    wait_until(lambda: len(daemon.encodes()) == 1)

    place.change(daemon, jobs=3)
    wait_until(lambda: len(daemon.encodes()) == 3)
    place.change(daemon, jobs=1)
    for name in names[:2]:
        place.let_through(name)
        place.wait_for(name, "done")
    began = [job["source"] for job in place.jobs() if job["started_at"]]
    assert sorted(began) == names[:3], "a slot that was taken away was given to a job"
    for name in names[2:]:
        wait_until(lambda: len(daemon.encodes()) == 1)
        place.let_through(name)
        place.wait_for(name, "done")

    assert tree(place.outbox) == names


def test_what_counts_as_a_video_is_judged_anew_and_an_order_stays_one(
    place: GatedPlace, daemon: Daemon, clip: Path
) -> None:
    """What is no video by name any more was one when it was ordered."""
    drop(clip, place.inbox / "a.mkv")
    drop(clip, place.inbox / "b.mkv")
    drop(clip, place.inbox / "c.film")
    wait_until(lambda: len(place.jobs()) == 2 and place.live()["ignored"] == 1)

    place.change(daemon, extensions=["film"], ignore=["d.*"])
    wait_until(lambda: len(place.jobs()) == 3)
    for name in ("a.mkv", "b.mkv", "c.film"):
        place.let_through(name)
    for name in ("a.mkv", "b.mkv", "c.film"):
        place.wait_for(name, "done")
    drop(clip, place.inbox / "d.film")
    drop(clip, place.inbox / "e.mkv")
    wait_until(lambda: place.live()["ignored"] == 2)

    assert tree(place.outbox) == ["a.mkv", "b.mkv", "c.mkv"]
    assert "withdrawn" not in place.log()


def test_how_long_files_are_left_alone_is_counted_anew(tmp_path: Path, clip: Path) -> None:
    place = GatedPlace(
        tmp_path / "videos", "copy", settle_seconds=3000, settle_network_seconds=3000
    )
    with Daemon(place) as daemon:
        (place.inbox / "a.mkv").write_bytes(clip.read_bytes())
        wait_until(lambda: place.live().get("waiting") == 1)

        place.change(daemon, settle_seconds=0, settle_network_seconds=0.1)
        place.wait_for("a.mkv", "done")


def test_limits_are_those_of_the_new_configuration(tmp_path: Path, clip: Path) -> None:
    place = GatedPlace(tmp_path / "videos", "exit:1", max_attempts=1)
    with Daemon(place) as daemon:
        drop(clip, place.inbox / "a.mkv")
        assert place.wait_for("a.mkv", "failed")["attempt"] == 1

        place.change(daemon, max_attempts=2)
        drop(clip, place.inbox / "b.mkv")
        wait_until(lambda: "running→queued b.mkv" in place.log())
        place.change(daemon, max_pixels=100)
        drop(clip, place.inbox / "c.mkv")
        place.wait_for("c.mkv", "failed")

    assert "max_pixels allows 100" in (place.error / "c.mkv.log").read_text()


def test_what_becomes_of_originals_is_that_of_the_new_configuration(
    tmp_path: Path, clip: Path
) -> None:
    place = GatedPlace(tmp_path / "videos", "copy", on_success="keep", profiles=PROVEN)
    with Daemon(place) as daemon:
        drop(clip, place.inbox / "a.mkv")
        place.wait_for("a.mkv", "done")

        place.change(daemon, on_success="delete", mode="0640")
        drop(clip, place.inbox / "b.mkv")
        place.wait_for("b.mkv", "done")

    assert tree(place.inbox) == ["a.mkv"]
    assert tree(place.done) == []
    assert (place.outbox / "b.mkv").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("before", "after"), [("keep", "move"), ("keep", "delete"), ("delete", "keep")]
)
def test_an_original_that_is_left_by_a_change_of_mind_is_not_converted_again(
    tmp_path: Path, clip: Path, before: str, after: str
) -> None:
    """What becomes of it was decided before its delivery, which had to wait, and changed then."""
    place = GatedPlace(
        tmp_path / "videos",
        tweak="import watchconv.daemon.deliveries as d; d.RETRY_SECONDS = 0.3",
        unprivileged=True,
        on_success=before,
        profiles=PROVEN,
    )
    closed = place.outbox / "sub"
    closed.mkdir(mode=0o500)
    with Daemon(place) as daemon:
        drop(clip, place.inbox / "sub/a.mkv")
        place.let_through("a.mkv")
        wait_until(lambda: "cannot be delivered yet" in place.log(), what=place.log)
        place.change(daemon, on_success=after)
        closed.chmod(0o700)
        place.wait_for("sub/a.mkv", "done")
        place.let_through("b.mkv")
        drop(clip, place.inbox / "b.mkv")
        place.wait_for("b.mkv", "done")
        place.change(daemon, jobs=2)  # and all is scanned
        drop(clip, place.inbox / "c.mkv")
        place.let_through("c.mkv")
        place.wait_for("c.mkv", "done")

        assert (place.inbox / "sub/a.mkv").exists()
        assert len(place.jobs()) == 3
        assert tree(place.outbox) == ["a.mkv", "b.mkv", "c.mkv"]


def test_a_full_disk_that_no_longer_matters_is_over(tmp_path: Path, clip: Path) -> None:
    place = GatedPlace(tmp_path / "videos", "copy", min_free="1000PiB")
    with Daemon(place) as daemon:
        drop(clip, place.inbox / "a.mkv")
        wait_until(lambda: place.live().get("state") == "trouble")

        place.change(daemon, min_free=0)
        place.wait_for("a.mkv", "done")
        wait_until(lambda: place.status()["trouble"] == [])


def test_a_broken_configuration_changes_nothing_and_every_error_is_said(
    place: GatedPlace, daemon: Daemon, clip: Path
) -> None:
    lacking = {**COPY, "args": "-c:v libnobody"}
    wrong = {"jobs": 0, "profil": "x", "profile": "nobody", "profiles": {"lacking": lacking}}
    place.configure({**place.settings, **wrong})

    said = place.reload(daemon, "the new configuration is not used")
    assert ": jobs: " in said
    assert "profiles.lacking.args: " in said
    assert ": profil: unknown key; did you mean profile?" in said
    assert ": profile: there is no profile 'nobody'" in said
    assert "the old one stays" in wait_until(lambda: "".join(place.live()["trouble"]))
    drop(clip, place.inbox / "a.mkv")
    place.let_through("a.mkv")
    wait_until(lambda: "delivering→done a.mkv" in place.log())

    assert (
        place.change(daemon).endswith("changed: nothing\n")
        or "over: the new configuration" in place.log()
    )
    wait_until(lambda: place.status()["trouble"] == [])


@pytest.mark.parametrize("what", ["gone", "no yaml"])
def test_a_configuration_that_cannot_be_read_changes_nothing(
    place: GatedPlace, daemon: Daemon, what: str
) -> None:
    if what == "gone":
        place.config.unlink()
    else:
        place.config.write_text("a: [", encoding="utf-8")

    place.reload(daemon, "the new configuration is not used")

    assert daemon.process is not None
    assert daemon.process.poll() is None


def test_a_profile_that_needs_what_this_ffmpeg_lacks_is_refused(
    place: GatedPlace, daemon: Daemon
) -> None:
    before = place.settings
    place.configure({**before, "profiles": {"copy": {**COPY, "args": "-c:v libnobody"}}})

    said = place.reload(daemon, "the new configuration is not used")

    assert "profiles.copy.args" in said
    assert "libnobody" in said


def test_an_ffmpeg_that_is_gone_meanwhile_is_told_and_ends_nobody(
    place: GatedPlace, daemon: Daemon
) -> None:
    os.rename(place.ffmpeg, place.ffmpeg + ".away")
    said = place.reload(daemon, "the new configuration is not used")
    assert f": ffmpeg: {place.ffmpeg} is no program" in said

    os.rename(place.ffmpeg + ".away", place.ffmpeg)
    assert "changed: nothing" in place.change(daemon)


@pytest.mark.parametrize("key", ["inbox", "done", "state", "ffmpeg", "log_format"])
def test_what_needs_a_restart_is_named_and_left(
    place: GatedPlace, daemon: Daemon, clip: Path, tmp_path: Path, key: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = write_fake(tmp_path / "other")
    new = {"ffmpeg": other, "log_format": "json"}.get(key, str(tmp_path / "elsewhere"))

    said = place.change(daemon, **{key: new}, max_attempts=5)
    assert f"{key} is another one now: that takes effect with the next start" in said
    assert said.endswith("changed: max_attempts\n")
    drop(clip, place.inbox / "a.mkv")
    place.let_through("a.mkv")
    wait_until(lambda: "delivering→done a.mkv" in place.log())

    assert tree(place.done) == ["a.mkv"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_the_sandbox_lacks_is_said_once_however_often_the_configuration_is_read(
    place: GatedPlace,
) -> None:
    without_seccomp(place)
    with Daemon(place) as daemon:
        place.change(daemon, jobs=2)
        assert place.log().count("No seccomp filter") == 1

        place.change(daemon, sandbox="off")
        place.change(daemon, sandbox="auto")
        assert place.log().count("No seccomp filter") == 2


def test_without_a_file_nothing_is_read(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos", ffmpeg=write_fake(tmp_path / "fake"))
    with Daemon(place) as daemon:
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: "with --root there is no file" in place.log())

        assert daemon.stop() == 0


def test_a_found_configuration_is_read_again_where_it_was_found(
    place: GatedPlace, clip: Path
) -> None:
    place.environment["WATCHCONV_CONFIG"] = str(place.config)
    place.options = ()
    with Daemon(place) as daemon:
        options, place.options = place.options, ()
        assert place.change(daemon, jobs=2).endswith("changed: jobs\n")
        assert options == ()


def test_a_closed_terminal_ends_the_daemon_in_order(place: GatedPlace) -> None:
    leader, terminal = pty.openpty()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(terminal, 0)
        os.dup2(terminal, 1)
        os.dup2(terminal, 2)
        os.close(leader)
        os.closerange(3, 10)
        argv = place.command("run")
        os.execve(argv[0], argv, place.environment)
    os.close(terminal)
    try:
        wait_until(lambda: place.live().get("pid") == pid)
        os.close(leader)
        os.kill(pid, signal.SIGHUP)
        _, status = os.waitpid(pid, 0)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise

    assert os.waitstatus_to_exitcode(status) == 0
    assert not (place.state / "live.json").exists()


def test_systemd_hears_of_a_reload_and_of_its_end(tmp_path: Path) -> None:
    place = GatedPlace(tmp_path / "videos")
    with Unit(tmp_path) as unit:
        environment: Mapping[str, str] = {**place.environment, **unit.environment}
        with Daemon(place, environment=dict(environment)) as daemon:
            unit.wait_for("READY=1")
            place.change(daemon, jobs=2)
            unit.wait_for("READY=1", 2)
            place.configure({"jobs": "many"})
            place.reload(daemon, "the new configuration is not used")
            unit.wait_for("READY=1", 3)

    said = [line.partition("=")[0] for line in unit.heard]
    wanted = ("READY", "RELOADING", "MONOTONIC_USEC")
    again = ["RELOADING", "MONOTONIC_USEC", "READY"]
    assert [word for word in said if word in wanted] == ["READY", *again, *again]

"""SIGHUP: the configuration is read again, by the real daemon with an ffmpeg that obeys orders."""

from __future__ import annotations

import os
import pty
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import Daemon, Place, drop, tiny_clip
from tests.fakes import write_fake
from tests.systemd import Unit
from tests.waiting import wait_until
from tests.wrapped import WrappedPlace, without_seccomp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FRAMES = 2  # of the clip
COPY: dict[str, Any] = {"suffix": ".mkv", "args": "-c copy", "verify": "off"}
EAGER: dict[str, Any] = {
    "settle_seconds": 0.1,
    "settle_network_seconds": 0.3,
    "min_free": 0,
    "nice": 0,
    "ionice": "none",
    "jobs": 1,
    "max_attempts": 1,
    "stop_grace_seconds": 1,
    "profile": "copy",
    "profiles": {"copy": COPY},
}
READ_AGAIN = "the configuration was read again; changed: "


class Scene(WrappedPlace):
    """A place whose ffmpeg waits at a gate: a job ends when its name is let through."""

    def __init__(self, root: Path, otherwise: str = "gate", **settings: Any) -> None:
        self.gate = root / "gate"
        self.gate.mkdir(parents=True)
        plan = f"gate:{self.gate}" if otherwise == "gate" else otherwise
        self.ffmpeg = write_fake(root / "fake", otherwise=plan, frames=FRAMES)
        self.settings: dict[str, Any] = {**EAGER, "ffmpeg": self.ffmpeg, **settings}
        super().__init__(root, self.settings)

    def change(self, daemon: Daemon, **settings: Any) -> str:
        """Change the configuration, tell the daemon, and give what it said to it."""
        self.settings = {**self.settings, **settings}
        self.configure(self.settings)
        return self.reload(daemon, READ_AGAIN)

    def reload(self, daemon: Daemon, expected: str) -> str:
        """Tell the daemon to read again; wait for the words; give all it said since."""
        before = len(self.log())
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: expected in self.log()[before:], what=self.log)
        return self.log()[before:]

    def let_through(self, name: str) -> None:
        (self.gate / name).touch()

    def running(self) -> set[str]:
        return {row["source"] for row in self.live().get("running", [])}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return tiny_clip(tmp_path, "tiny.mkv")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "videos")


@pytest.fixture
def daemon(scene: Scene) -> Iterator[Daemon]:
    with Daemon(scene) as daemon:
        yield daemon


def tree(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and ".watchconv" not in p.parts)


def test_a_new_profile_is_used_and_a_running_job_keeps_its_own(
    scene: Scene, daemon: Daemon, clip: Path
) -> None:
    drop(clip, scene.inbox / "a.mkv")
    wait_until(lambda: scene.running() == {"a.mkv"})
    changed = {"copy": {**COPY, "suffix": ".mov"}, "phone": {**COPY, "suffix": ".mp4"}}

    assert scene.change(daemon, profiles=changed).endswith("changed: profiles\n")
    drop(clip, scene.inbox / "b.mkv")
    drop(clip, scene.inbox / "phone/c.mkv")
    for name in ("a.mkv", "b.mkv", "c.mkv"):
        scene.let_through(name)
    for source in ("a.mkv", "b.mkv", "phone/c.mkv"):
        scene.wait_for(source, "done")

    assert tree(scene.outbox) == ["a.mkv", "b.mov", "c.mp4"]
    assert tree(scene.done) == ["a.mkv", "b.mkv", "c.mkv"]


def test_the_daemon_stays_small_whatever_it_reads(scene: Scene, daemon: Daemon) -> None:
    """pydantic and yaml take 10 MB; children of a moment read the configuration with them."""
    for text in ("jobs: 2", "jobs: many"):
        scene.config.write_text(scene.config.read_text(encoding="utf-8") + f"{text}\n")
        daemon.signal(signal.SIGHUP)
    wait_until(lambda: "jobs" in scene.log())
    assert daemon.process is not None
    mapped = Path(f"/proc/{daemon.process.pid}/maps").read_text(encoding="utf-8")

    assert "sqlite" in mapped
    assert [name for name in ("pydantic", "yaml") if name in mapped] == []


def test_a_running_job_whose_profile_is_taken_away_is_delivered(
    scene: Scene, daemon: Daemon, clip: Path
) -> None:
    drop(clip, scene.inbox / "a.mkv")
    wait_until(lambda: scene.running() == {"a.mkv"})

    scene.change(daemon, profiles={"other": COPY}, profile="other")
    scene.let_through("a.mkv")
    scene.wait_for("a.mkv", "done")

    assert tree(scene.outbox) == ["a.mkv"]


def test_the_number_of_jobs_goes_up_and_down_while_jobs_run(
    scene: Scene, daemon: Daemon, clip: Path
) -> None:
    names = [f"{n}.mkv" for n in range(6)]
    for name in names:
        drop(clip, scene.inbox / name)
    wait_until(lambda: len(daemon.encodes()) == 1)

    scene.change(daemon, jobs=3)
    wait_until(lambda: len(daemon.encodes()) == 3)
    scene.change(daemon, jobs=1)
    for name in names[:2]:
        scene.let_through(name)
        scene.wait_for(name, "done")
    began = [job["source"] for job in scene.jobs() if job["started_at"]]
    assert sorted(began) == names[:3], "a slot that was taken away was given to a job"
    for name in names[2:]:
        wait_until(lambda: len(daemon.encodes()) == 1)
        scene.let_through(name)
        scene.wait_for(name, "done")

    assert tree(scene.outbox) == names


def test_what_counts_as_a_video_is_judged_anew_and_an_order_stays_one(
    scene: Scene, daemon: Daemon, clip: Path
) -> None:
    """What is no video by name any more was one when it was ordered."""
    drop(clip, scene.inbox / "a.mkv")
    drop(clip, scene.inbox / "b.mkv")
    drop(clip, scene.inbox / "c.film")
    wait_until(lambda: len(scene.jobs()) == 2 and scene.live()["ignored"] == 1)

    scene.change(daemon, extensions=["film"], ignore=["d.*"])
    wait_until(lambda: len(scene.jobs()) == 3)
    for name in ("a.mkv", "b.mkv", "c.film"):
        scene.let_through(name)
    for name in ("a.mkv", "b.mkv", "c.film"):
        scene.wait_for(name, "done")
    drop(clip, scene.inbox / "d.film")
    drop(clip, scene.inbox / "e.mkv")
    wait_until(lambda: scene.live()["ignored"] == 2)

    assert tree(scene.outbox) == ["a.mkv", "b.mkv", "c.mkv"]
    assert "withdrawn" not in scene.log()


def test_how_long_files_are_left_alone_is_counted_anew(tmp_path: Path, clip: Path) -> None:
    scene = Scene(tmp_path / "videos", "copy", settle_seconds=3000, settle_network_seconds=3000)
    with Daemon(scene) as daemon:
        (scene.inbox / "a.mkv").write_bytes(clip.read_bytes())
        wait_until(lambda: scene.live().get("waiting") == 1)

        scene.change(daemon, settle_seconds=0, settle_network_seconds=0.1)
        scene.wait_for("a.mkv", "done")


def test_limits_are_those_of_the_new_configuration(tmp_path: Path, clip: Path) -> None:
    scene = Scene(tmp_path / "videos", "exit:1", max_attempts=1)
    with Daemon(scene) as daemon:
        drop(clip, scene.inbox / "a.mkv")
        assert scene.wait_for("a.mkv", "failed")["attempt"] == 1

        scene.change(daemon, max_attempts=2)
        drop(clip, scene.inbox / "b.mkv")
        wait_until(lambda: "running→queued b.mkv" in scene.log())
        scene.change(daemon, max_pixels=100)
        drop(clip, scene.inbox / "c.mkv")
        scene.wait_for("c.mkv", "failed")

    assert "max_pixels allows 100" in (scene.error / "c.mkv.log").read_text()


def test_what_becomes_of_originals_is_that_of_the_new_configuration(
    tmp_path: Path, clip: Path
) -> None:
    scene = Scene(tmp_path / "videos", "copy", on_success="keep")
    with Daemon(scene) as daemon:
        drop(clip, scene.inbox / "a.mkv")
        scene.wait_for("a.mkv", "done")

        scene.change(daemon, on_success="delete", mode="0640")
        drop(clip, scene.inbox / "b.mkv")
        scene.wait_for("b.mkv", "done")

    assert tree(scene.inbox) == ["a.mkv"]
    assert tree(scene.done) == []
    assert (scene.outbox / "b.mkv").stat().st_mode & 0o777 == 0o640


HELD_UP = """
import os
from watchconv.daemon import deliveries
from watchconv.deliver import outbox
really = outbox.move
def move(*arguments, **options):
    if os.path.exists({marker!r}):
        raise OSError(5, "Input/output error")
    really(*arguments, **options)
deliveries.RETRY_SECONDS, outbox.move = 0.3, move
"""


@pytest.mark.parametrize(
    ("before", "after"), [("keep", "move"), ("keep", "delete"), ("delete", "keep")]
)
def test_an_original_that_is_left_by_a_change_of_mind_is_not_converted_again(
    tmp_path: Path, clip: Path, before: str, after: str
) -> None:
    """What becomes of it was decided before its delivery, which had to wait, and changed then."""
    scene = Scene(tmp_path / "videos", on_success=before)
    marker = tmp_path / "the disk fails"
    marker.touch()
    scene.patch = HELD_UP.format(marker=str(marker))
    with Daemon(scene) as daemon:
        drop(clip, scene.inbox / "a.mkv")
        scene.let_through("a.mkv")
        wait_until(lambda: "cannot be delivered yet" in scene.log())
        scene.change(daemon, on_success=after)
        marker.unlink()
        scene.wait_for("a.mkv", "done")
        scene.let_through("b.mkv")
        drop(clip, scene.inbox / "b.mkv")
        scene.wait_for("b.mkv", "done")
        scene.change(daemon, jobs=2)  # and all is looked at
        drop(clip, scene.inbox / "c.mkv")
        scene.let_through("c.mkv")
        scene.wait_for("c.mkv", "done")

        assert (scene.inbox / "a.mkv").exists()
        assert len(scene.jobs()) == 3
        assert tree(scene.outbox) == ["a.mkv", "b.mkv", "c.mkv"]


def test_a_full_disk_that_no_longer_matters_is_over(tmp_path: Path, clip: Path) -> None:
    scene = Scene(tmp_path / "videos", "copy", min_free="1000PiB")
    with Daemon(scene) as daemon:
        drop(clip, scene.inbox / "a.mkv")
        wait_until(lambda: scene.live().get("state") == "trouble")

        scene.change(daemon, min_free=0)
        scene.wait_for("a.mkv", "done")
        wait_until(lambda: scene.status()["trouble"] == [])


def test_a_broken_configuration_changes_nothing_and_every_error_is_said(
    scene: Scene, daemon: Daemon, clip: Path
) -> None:
    lacking = {**COPY, "args": "-c:v libnobody"}
    wrong = {"jobs": 0, "profil": "x", "profile": "nobody", "profiles": {"lacking": lacking}}
    scene.configure({**scene.settings, **wrong})

    said = scene.reload(daemon, "the new configuration is not used")
    assert ": jobs: " in said
    assert "profiles.lacking.args: " in said
    assert ": profil: unknown key; did you mean profile?" in said
    assert ": profile: there is no profile 'nobody'" in said
    assert "the old one stays" in wait_until(lambda: "".join(scene.live()["trouble"]))
    drop(clip, scene.inbox / "a.mkv")
    scene.let_through("a.mkv")
    wait_until(lambda: "delivering→done a.mkv" in scene.log())

    assert (
        scene.change(daemon).endswith("changed: nothing\n")
        or "over: the new configuration" in scene.log()
    )
    wait_until(lambda: scene.status()["trouble"] == [])


@pytest.mark.parametrize("what", ["gone", "no yaml"])
def test_a_configuration_that_cannot_be_read_changes_nothing(
    scene: Scene, daemon: Daemon, what: str
) -> None:
    if what == "gone":
        scene.config.unlink()
    else:
        scene.config.write_text("a: [", encoding="utf-8")

    scene.reload(daemon, "the new configuration is not used")

    assert daemon.process is not None
    assert daemon.process.poll() is None


def test_a_profile_that_needs_what_this_ffmpeg_lacks_is_refused(
    scene: Scene, daemon: Daemon
) -> None:
    before = scene.settings
    scene.configure({**before, "profiles": {"copy": {**COPY, "args": "-c:v libnobody"}}})

    said = scene.reload(daemon, "the new configuration is not used")

    assert "profiles.copy.args" in said
    assert "libnobody" in said


def test_an_ffmpeg_that_is_gone_meanwhile_is_told_and_ends_nobody(
    scene: Scene, daemon: Daemon
) -> None:
    os.rename(scene.ffmpeg, scene.ffmpeg + ".away")
    said = scene.reload(daemon, "the new configuration is not used")
    assert f": ffmpeg: {scene.ffmpeg} is no program" in said

    os.rename(scene.ffmpeg + ".away", scene.ffmpeg)
    assert "changed: nothing" in scene.change(daemon)


@pytest.mark.parametrize("key", ["inbox", "done", "state", "ffmpeg", "log_format"])
def test_what_needs_a_restart_is_named_and_left(
    scene: Scene, daemon: Daemon, clip: Path, tmp_path: Path, key: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = write_fake(tmp_path / "other")
    new = {"ffmpeg": other, "log_format": "json"}.get(key, str(tmp_path / "elsewhere"))

    said = scene.change(daemon, **{key: new}, max_attempts=5)
    assert f"{key} is another one now: that takes effect with the next start" in said
    assert said.endswith("changed: max_attempts\n")
    drop(clip, scene.inbox / "a.mkv")
    scene.let_through("a.mkv")
    wait_until(lambda: "delivering→done a.mkv" in scene.log())

    assert tree(scene.done) == ["a.mkv"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_the_sandbox_lacks_is_said_once_however_often_the_configuration_is_read(
    scene: Scene,
) -> None:
    without_seccomp(scene)
    with Daemon(scene) as daemon:
        scene.change(daemon, jobs=2)
        assert scene.log().count("No seccomp filter") == 1

        scene.change(daemon, sandbox="off")
        scene.change(daemon, sandbox="auto")
        assert scene.log().count("No seccomp filter") == 2


def test_without_a_file_nothing_is_read(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos", ffmpeg=write_fake(tmp_path / "fake"))
    with Daemon(place) as daemon:
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: "with --root there is no file" in place.log())

        assert daemon.stop() == 0


def test_a_found_configuration_is_read_again_where_it_was_found(scene: Scene, clip: Path) -> None:
    scene.environment["WATCHCONV_CONFIG"] = str(scene.config)
    scene.options = ()
    with Daemon(scene) as daemon:
        options, scene.options = scene.options, ()
        assert scene.change(daemon, jobs=2).endswith("changed: jobs\n")
        assert options == ()


def test_a_closed_terminal_ends_the_daemon_in_order(scene: Scene) -> None:
    leader, terminal = pty.openpty()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(terminal, 0)
        os.dup2(terminal, 1)
        os.dup2(terminal, 2)
        os.close(leader)
        os.closerange(3, 10)
        argv = scene.command("run")
        os.execve(argv[0], argv, scene.environment)
    os.close(terminal)
    try:
        wait_until(lambda: scene.live().get("pid") == pid)
        os.close(leader)
        os.kill(pid, signal.SIGHUP)
        _, status = os.waitpid(pid, 0)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise

    assert os.waitstatus_to_exitcode(status) == 0
    assert not (scene.state / "live.json").exists()


def test_systemd_hears_of_a_reload_and_of_its_end(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "videos")
    with Unit(tmp_path) as unit:
        environment: Mapping[str, str] = {**scene.environment, **unit.environment}
        with Daemon(scene, environment=dict(environment)) as daemon:
            unit.wait_for("READY=1")
            scene.change(daemon, jobs=2)
            unit.wait_for("READY=1", 2)
            scene.configure({"jobs": "many"})
            scene.reload(daemon, "the new configuration is not used")
            unit.wait_for("READY=1", 3)

    said = [line.partition("=")[0] for line in unit.heard]
    wanted = ("READY", "RELOADING", "MONOTONIC_USEC")
    again = ["RELOADING", "MONOTONIC_USEC", "READY"]
    assert [word for word in said if word in wanted] == ["READY", *again, *again]

"""No ffmpeg, or not the right one."""

from __future__ import annotations

import os
from pathlib import Path

from tests.daemon import CHECKOUT, Daemon, Place, drop, run_program
from tests.fake_place import FakePlace, files_in
from tests.waiting import wait_until


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
    place = FakePlace(tmp_path / "videos", profiles={"odd": odd})
    for command in ("run", "check"):
        ended = place.run(command)

        assert ended.returncode == 78
        assert "profiles.odd.args" in ended.stderr
        assert "libtheora" in ended.stderr
        assert "libvorbis" not in ended.stderr


def test_an_ffmpeg_that_vanishes_is_trouble_and_costs_no_attempt(
    tmp_path: Path, long_clip: Path
) -> None:
    place = FakePlace(tmp_path / "videos", max_attempts=1)
    with Daemon(place) as daemon:
        Path(place.ffmpeg).unlink()
        drop(long_clip, place.inbox / "a.mkv")
        wait_until(lambda: place.transitions("running→queued"), what=daemon.log)
        wait_until(lambda: place.live()["state"] == "trouble")
        assert "could not be started" in " ".join(place.status()["trouble"])
        job = place.job("a.mkv")
        assert (job["state"], job["attempt"]) == ("queued", 0)
        assert daemon.stop() == 0
    place.plan()
    with Daemon(place) as daemon:  # what failed waits for a minute, so that others go first
        drop(long_clip, place.inbox / "b.mkv")
        place.wait_for("b.mkv", "done")

        assert place.job("b.mkv")["state"] == "done"
        assert place.status()["trouble"] == []
        assert files_in(place.error) == set()

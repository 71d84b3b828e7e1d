"""What is there of recordings that were cut off: by a profile, by a retry; and what is said."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.clips import FFMPEG
from tests.daemon import Daemon, Place
from watchconv.encode.salvage import is_of_the_original, salvaged
from watchconv.media.facts import Content, Gap
from watchconv.model import Broke, Cause, Rejected, WarningCause

if TYPE_CHECKING:
    from pathlib import Path

CLIP = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=4", "-f", "lavfi", "-i", "sine=d=4")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "12", "-c:a", "aac")
# name -> how much of 4 s is left, at least, when the file is cut at six tenths
CUT = {
    "a.mkv": X264,
    "b.mov": (*X264, "-movflags", "+faststart"),
    "c.mp4": (*X264, "-movflags", "frag_keyframe+empty_moov"),
    "d.avi": ("-c:v", "mpeg4", "-c:a", "mp3"),
    "e.webm": ("-c:v", "libvpx", "-cpu-used", "16", "-c:a", "libvorbis"),
}
SETTINGS = {
    "settle_seconds": 0.1,
    "settle_network_seconds": 0.2,
    "incomplete_after_seconds": 0.3,
    "min_free": 0,
}
SALVAGING = {
    "copy": {"suffix": ".mkv", "args": "-map auto -c copy", "incomplete": "salvage"},
    "encode": {
        "suffix": ".mp4",
        "args": "-map auto -c:v libx264 -preset ultrafast -c:a aac",
        "incomplete": "salvage",
    },
}


def make(path: Path, args: tuple[str, ...], share: float = 0.6) -> None:
    """Make a recording that was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_name(f".{path.name}")
    subprocess.run([FFMPEG, "-v", "error", *CLIP, *args, str(whole)], check=True, timeout=60)
    os.truncate(whole, int(whole.stat().st_size * share))
    whole.rename(path)


def test_a_profile_may_ask_for_what_is_there_of_a_recording(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos", {**SETTINGS, "profiles": SALVAGING, "on_success": "delete"})
    for profile in SALVAGING:
        for name, args in CUT.items():
            make(place.inbox / profile / name, args)
    time.sleep(0.4)
    place.run("run", "--once")
    jobs = place.jobs()

    assert len(jobs) == len(SALVAGING) * len(CUT)
    for job in jobs:
        assert job["state"] == "done", job
        (said,) = [w["text"] for w in job["warnings"] if w["cause"] == "salvaged"]
        assert said.startswith("the original is not whole: ")
        seconds = float(said.rpartition("; ")[2].split(" s ")[0])
        assert 1 < seconds < 3.9, job
    # what was made of half a film is no reason to delete it
    assert len(list(place.done.rglob("*.*"))) == len(jobs)


def test_a_retry_may_ask_for_it_and_without_it_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos", {**SETTINGS, "profile": "remux"})
    make(place.inbox / "a.mkv", X264)
    make(place.inbox / "hopeless.mp4", X264)
    with Daemon(place):
        job = place.wait_for("a.mkv", "failed")
        hopeless = place.wait_for("hopeless.mp4", "failed")

        assert f"watchconv retry --salvage {job['id']}" in job["reason"]

        place.say("retry", "--salvage", job["id"])
        done = place.wait_for("a.mkv", "done")
        place.say("retry", "--salvage", hopeless["id"])
        again = place.wait_for("hopeless.mp4", "failed")

    assert [warning["cause"] for warning in done["warnings"]] == ["salvaged"]
    assert "nothing can be had of it" in again["reason"]
    assert (place.outbox / "a.mkv").exists()


def content(kind: str = "video", *, end: float | None = 9.0, gaps: tuple[Gap, ...] = ()) -> Content:
    return Content(0, kind, "h264", 100, decodes=True, start=1.0, end=end, gaps=gaps)


@pytest.mark.parametrize(
    ("outputs", "duplicated", "seconds"),
    [
        ((content(),), 0, "8.0"),
        ((content(gaps=(Gap(2.0, 1.5), Gap(5.0, 0.5))),), 0, "6.0"),
        ((content("audio", end=99.0), content()), 0, "8.0"),
        ((content(),), 50, "4.0"),
        ((content(end=None),), 0, "7.0"),
        ((), 0, "7.0"),
    ],
)
def test_the_seconds_that_are_there_are_those_with_pictures(
    outputs: tuple[Content, ...], duplicated: int, seconds: str
) -> None:
    cause, text = salvaged("it is cut", outputs, 7.0, duplicated)

    assert cause is WarningCause.SALVAGED
    assert (
        text
        == f"the original is not whole: it is cut; {seconds} s of it are there and were converted"
    )


@pytest.mark.parametrize(
    ("fault", "forgiven"),
    [
        (Rejected("x", cause=Cause.TRUNCATED), True),
        (Rejected("x", cause=Cause.DAMAGED), True),
        (Rejected("x", cause=Cause.NOT_VIDEO), False),
        (Broke("x", cause=Cause.OUTPUT), False),
        (Broke("x", cause=Cause.TRUNCATED), False),
    ],
)
def test_only_what_the_original_lacks_is_no_fault(
    fault: Rejected | Broke, *, forgiven: bool
) -> None:
    assert is_of_the_original(fault) is forgiven

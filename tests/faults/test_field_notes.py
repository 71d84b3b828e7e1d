"""What users of other watch folders report (FIELD-NOTES B4, B5) and no other test tells of."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.clips import MEDIA
from tests.daemon import QUICK, Daemon, Place, drop, tiny_clip
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REMUX = {**QUICK, "profile": "remux", "jobs": 1}
LONG_AGO_NS = 1_000_000_000 * 10**9
WITH_PICTURE_SUBTITLES = MEDIA / "media-sample_with_pgs_subtitles.mkv"


@contextmanager
def immovable(file: Path) -> Iterator[None]:
    """Make a file that can be read and not be moved: it is mounted onto itself."""
    mounted = subprocess.run(["mount", "--bind", file, file], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", file], check=True)


def test_an_original_that_cannot_be_moved_is_converted_once_and_moved_when_it_can_be(
    tmp_path: Path,
) -> None:
    """Row 42: others encode it again and again, or stop."""
    place = Place(tmp_path / "videos", REMUX)
    drop(tiny_clip(tmp_path), place.inbox / "stuck.mkv")
    with immovable(place.inbox / "stuck.mkv"):
        with Daemon(place) as daemon:
            wait_until(lambda: place.status()["trouble"], what=daemon.log)
            made = (place.outbox / "stuck.mkv").stat()
            drop(tiny_clip(tmp_path), place.inbox / "other.mkv")
            place.wait_for("other.mkv", "done")

            assert "stuck.mkv" in str(place.status()["trouble"])
            assert place.job("stuck.mkv")["state"] == "delivering"
            assert daemon.stop() == 0
        with Daemon(place):
            wait_until(lambda: place.status()["trouble"])

            assert place.job("stuck.mkv")["state"] == "delivering"
    with Daemon(place):
        place.wait_for("stuck.mkv", "done")

    assert (place.done / "stuck.mkv").exists()
    assert sorted(os.listdir(place.outbox)) == [".watchconv", "other.mkv", "stuck.mkv"]
    assert (place.outbox / "stuck.mkv").stat().st_ino == made.st_ino
    assert place.log().count("queued→running stuck.mkv") == 1


@pytest.mark.parametrize("preserve", [True, False])
def test_an_output_keeps_the_time_of_its_original_where_that_is_wished(
    tmp_path: Path, preserve: bool
) -> None:
    """Row 45."""
    place = Place(tmp_path / "videos", {**REMUX, "preserve_mtime": preserve})
    (tmp_path / "old").mkdir()
    old = shutil.copy(tiny_clip(tmp_path), tmp_path / "old" / "a.mkv")
    os.utime(old, ns=(LONG_AGO_NS, LONG_AGO_NS))
    os.rename(old, place.inbox / "a.mkv")

    assert place.run("run", "--once").returncode == 0
    assert ((place.outbox / "a.mkv").stat().st_mtime_ns == LONG_AGO_NS) is preserve
    assert (place.done / "a.mkv").stat().st_mtime_ns == LONG_AGO_NS


@pytest.mark.skipif(not MEDIA.is_dir(), reason=f"the real clips are not at {MEDIA}")
def test_a_track_that_the_output_cannot_hold_is_told(tmp_path: Path) -> None:
    """Row 46: others drop subtitles without a word."""
    place = Place(tmp_path / "videos", {**QUICK, "profile": "mp4"})
    drop(WITH_PICTURE_SUBTITLES, place.inbox / "a.mkv")

    ended = place.run("run", "--once")

    assert ended.returncode == 0, ended.stderr
    assert re.search(r"warning: job=1 .*subtitle track.*mp4 holds no picture", ended.stderr)


def test_a_state_on_a_network_file_system_is_told_once(tmp_path: Path) -> None:
    """Row 55; FUSE stands for all of them."""
    place = Place(tmp_path / "videos", REMUX)
    drop(tiny_clip(tmp_path), place.inbox / "a.mkv")
    (tmp_path / "behind").mkdir()
    place.state.mkdir()
    if shutil.which("bindfs") is None or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("bindfs and /dev/fuse are needed")
    subprocess.run(["bindfs", tmp_path / "behind", place.state], check=True)
    try:
        ended = place.run("run", "--once")
        checked = place.run("check")
    finally:
        subprocess.run(["umount", "--lazy", place.state], check=True)

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("is on a network file system") == 1
    assert "is on a network file system: a local one is safer" in checked.stdout

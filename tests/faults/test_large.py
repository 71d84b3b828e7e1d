"""Pictures of 4K and 8K with the threads of large machines: they pass through every encoder.

A few frames through the one that needs most; WATCHCONV_FAULTS=all takes every encoder and size.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.clips import FFMPEG
from tests.daemon import Place

if TYPE_CHECKING:
    from pathlib import Path

FFMPEGS = sorted({FFMPEG, shutil.which("ffmpeg") or FFMPEG})
ALL = os.environ.get("WATCHCONV_FAULTS") == "all"
THREADS = (16, 32) if ALL else (16,)
ENCODERS = {
    "libsvtav1": "-c:v libsvtav1 -preset 8 -crf 40 -svtav1-params"
    " fps-num=30:fps-denom=1:lp={threads}",
    "libx265": "-c:v libx265 -preset medium -crf 30 -x265-params pools={threads}",
    "libx264": "-c:v libx264 -preset medium -crf 30 -threads {threads}",
    "libvpx": "-c:v libvpx -b:v 1M -cpu-used 5 -threads {threads}",
}
SIZES = {"4k": ("3840x2160", 12), "8k": ("7680x4320", 4)} if ALL else {"4k": ("3840x2160", 4)}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ffmpeg", FFMPEGS)
def test_large_pictures_are_encoded_with_many_threads(
    tmp_path: Path, ffmpeg: str, size: str
) -> None:
    """With the limits that nobody has set."""
    shape, frames = SIZES[size]
    clip = tmp_path / "clip.mkv"
    source = ["-f", "lavfi", "-i", f"testsrc2=size={shape}:rate=30", "-frames:v", str(frames)]
    output = ["-c:v", "libx264", "-preset", "ultrafast", str(clip)]
    subprocess.run([FFMPEG, "-v", "error", *source, *output], check=True)
    profiles = {
        f"{encoder} {threads}": {"suffix": ".mkv", "args": args.format(threads=threads)}
        for encoder, args in list(ENCODERS.items())[: None if ALL else 1]
        for threads in THREADS
    }
    settings = {"ffmpeg": ffmpeg, "settle_seconds": 0.2, "min_free": 0, "profiles": profiles}
    place = Place(tmp_path / "videos", settings)
    for name in profiles:
        (place.inbox / name).mkdir()
        shutil.copyfile(clip, place.inbox / name / "a.mkv")  # a link would share its times

    ended = place.run("run", "--once", seconds=1700)

    assert ended.returncode == 0, ended.stderr
    assert {job["state"] for job in place.jobs()} == {"done"}
    assert len(place.jobs()) == len(profiles)

"""The real thing: every real clip dropped at once into a real daemon with a real ffmpeg."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import av
import pytest

from tests.clips import FFMPEG, MEDIA, manifest

if TYPE_CHECKING:
    from pathlib import Path

# six minutes long: it is for tests that stop a job, not for one that waits for its end
TOO_LONG = {"long_1080p_lowbitrate.mp4"}
# whose sounds were cut off: ffmpeg fails over them, but the film goes without, and says so
MENDED = {"file-type-fixture.ogm"}
# what a person is to understand from the first line of the .log
REASONS = {
    "media-sample_audio_only.mp4": "no video",
    "invalid-bitstream.webm": "decode",
    "file-type-fixture-corrupt.mkv": "no video",
    "file-type-fixture2.mkv": "truncated",
    "file-type-fixture.ogm": "invalid data",
    "broken.mp4": "truncated",
}


def ffmpeg_version() -> int:
    said = subprocess.run([FFMPEG, "-version"], capture_output=True, text=True, check=True)
    digits = said.stdout.split()[2].lstrip("n").split(".")[0]
    return int(digits)


def converts(expected: str) -> bool:
    """Read the manifest's word on a clip; its truncated one is to be reported, not converted."""
    if "TRUNCATED" in expected:
        return False
    if "9.0.2 yes" in expected:
        return ffmpeg_version() >= 7
    return expected.startswith("yes")


@pytest.mark.timeout(900)
@pytest.mark.skipif(not MEDIA.is_dir(), reason=f"the real clips are not at {MEDIA}")
def test_every_real_clip_is_converted_or_fails_with_a_reason(tmp_path: Path) -> None:
    rows = {row["file"]: row for row in manifest() if row["file"] not in TOO_LONG}
    for folder in ("inbox", "outbox", "done", "error"):
        (tmp_path / folder).mkdir()
    for name in rows:
        shutil.copy(MEDIA / name, tmp_path / "inbox" / name)
    config = tmp_path / "config.yaml"
    config.write_text(
        "inbox: inbox\noutbox: outbox\ndone: done\nerror: error\nstate: state\njobs: 2\n"
        f"incomplete_after_seconds: 3\nmin_free: 0\nffmpeg: {FFMPEG}\n"
    )
    command = [sys.executable, "-m", "watchconv", "--config", str(config)]

    run = subprocess.run([*command, "run", "--once"], capture_output=True, text=True, check=False)
    jobs = subprocess.run([*command, "jobs", "--json"], capture_output=True, text=True, check=True)

    assert run.returncode == 1, run.stderr  # some of the clips are broken
    assert "Traceback" not in run.stderr
    good = {name for name, row in rows.items() if converts(row["expected"])} | MENDED
    assert set(os.listdir(tmp_path / "done")) == good
    assert os.listdir(tmp_path / "inbox") == []
    failed = {n for n in os.listdir(tmp_path / "error") if not n.endswith(".log")}
    assert failed == rows.keys() - good
    for name in failed:
        reason = (tmp_path / "error" / f"{name}.log").read_text().splitlines()[0]
        assert REASONS.get(name, "decoder") in reason
    outputs = {job["source"]: job["output"] for job in json.loads(jobs.stdout) if job["output"]}
    assert sorted(outputs.values()) == sorted(
        str(p.relative_to(tmp_path / "outbox")) for p in (tmp_path / "outbox").rglob("*.webm")
    )
    assert outputs.keys() == good
    for name in good:
        assert_whole(tmp_path / "outbox" / outputs[name], rows[name])


def assert_whole(output: Path, row: dict[str, str]) -> None:
    """Decode an output from end to end; it holds as many frames as the manifest counted."""
    with av.open(str(output)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    announced = row["decoded_5.1_full"].split(" ")[0]
    if announced.isdigit() and "FAIL" not in row["ffmpeg_5.1"]:
        assert abs(frames - int(announced)) <= max(2, int(announced) // 10), output.name
    assert frames > 0, output.name

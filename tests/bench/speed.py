"""What a speed setting costs and gives: processor time beside VMAF, for built-in profiles."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.figures import CannotMeasure
from tests.clips import MEDIA

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.bench.bench import Bench

SECONDS = 4  # of each clip
# real clips, and the heights that they are brought to
CLIPS = (
    ("long_1080p_lowbitrate.mp4", (1080, 480)),  # a screen
    ("file-type-fixture-raw.mts", (2160, 1080)),  # a camcorder, made larger
    ("hdr10-av1.mp4", (720,)),  # a phone
)
# profile, what all of it is encoded with, and the settings that are compared
SETTINGS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "webm",
        "-c:v libvpx -b:v 1M",
        (
            "-threads 1",
            "-threads 1 -cpu-used 2",
            "-threads 1 -cpu-used 4",
            "-threads 1 -cpu-used 5",
            "-threads 1 -deadline realtime -cpu-used 6",
            "-threads 2 -cpu-used 4",
        ),
    ),
    ("mp4", "-c:v libx264 -crf 21", ("-preset slow", "-preset medium", "-preset fast")),
    ("hevc", "-c:v libx265 -crf 24", ("-preset medium", "-preset fast", "-preset faster")),
    ("av1", "-c:v libsvtav1 -crf 32", ("-preset 6", "-preset 8", "-preset 10")),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one encode took and gave."""

    cpu_seconds: float
    wall_seconds: float
    kilobytes: float
    vmaf: float


def speed(bench: Bench) -> None:
    """Print a line for each setting and clip."""
    for name, heights in CLIPS:
        for height in heights:
            source = bench.folder / f"{height}.mkv"
            picture = f"scale=-2:{height}:flags=lanczos,format=yuv420p"
            seconds = 1 if bench.quick else SECONDS
            run(bench, "-i", MEDIA / name, "-t", seconds, "-an", "-sn", "-dn", "-vf", picture,
                "-c:v", "ffv1", source)  # fmt: skip
            for profile, words, settings in SETTINGS:
                bench.report.section(f"speed: {profile}, {name}, {height} lines ({bench.static})")
                for setting in settings:
                    try:
                        cost = measure(bench, source, f"{words} {setting}".split())
                    except CannotMeasure as why:
                        bench.report.cannot(why)
                        continue
                    bench.report.note(
                        f"{setting:<44} {cost.cpu_seconds:7.1f} s of processor,"
                        f" {cost.wall_seconds:6.1f} s, {cost.kilobytes:8.0f} kB,"
                        f" VMAF {cost.vmaf:5.1f}"
                    )


def measure(bench: Bench, source: Path, words: Sequence[str]) -> Cost:
    """Encode once, and compare what came out."""
    output, log = bench.folder / "speed.mkv", bench.folder / "vmaf.json"
    before, began = os.times(), os.times().elapsed
    run(bench, "-i", source, "-fps_mode", "vfr", *words, output)
    after = os.times()
    graph = f"[0:v][1:v]libvmaf=n_subsample=2:log_fmt=json:log_path={log}"
    run(bench, "-i", output, "-i", source, "-lavfi", graph, "-f", "null", "-")
    return Cost(
        cpu_seconds=(after.children_user + after.children_system)
        - (before.children_user + before.children_system),
        wall_seconds=after.elapsed - began,
        kilobytes=output.stat().st_size / 1000,
        vmaf=json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"],
    )


def run(bench: Bench, *words: object) -> None:
    """Run ffmpeg, the one that has libvmaf."""
    command = [bench.static, "-v", "error", "-y", *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise CannotMeasure((ended.stderr.strip().splitlines() or ["ffmpeg failed"])[-1])

"""The same clips through ``xargs -P<jobs> ffmpeg``: plain, or with watchconv's own arguments."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from tests.bench.figures import CannotMeasure
from tests.bench.house import RUN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.bench.clips import Clips
    from tests.bench.house import Place

# what a busy machine would give the daemon's children and take from xargs' (nice: 10, ionice: idle)
SAME_PRIORITY = ("nice", "-n", "10", "ionice", "-c", "3")
_MORE = re.compile(r"^ *\((-.*) before the output while")


def xargs(
    argv: Sequence[str], clips: Clips, out: Path, jobs: int, before: Sequence[str] = ()
) -> float:
    """Run argv for each clip, ``{}`` standing for its stem; return the wall seconds."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    os.sync()
    began = time.perf_counter()
    process = subprocess.Popen(
        [*before, "xargs", f"-P{jobs}", "-I{}", *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.communicate("".join(f"{stem}\n" for stem in clips.stems).encode(), RUN_SECONDS)
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    seconds = time.perf_counter() - began
    made = sum(path.stat().st_size > 0 for path in out.iterdir())
    if process.returncode or made != len(clips):
        raise CannotMeasure(f"{' '.join(argv)}: {made} of {len(clips)}, {process.returncode}")
    return seconds


def plain(ffmpeg: str, clips: Clips, out: Path, args: str, suffix: str) -> list[str]:
    """Compose what a person would write."""
    source = str(clips.folder / "{}.mp4")
    return [ffmpeg, "-nostdin", "-i", source, *args.split(), str(out / f"{{}}{suffix}")]


def same_arguments(place: Place, profile: str, clips: Clips, out: Path) -> list[str]:
    """Take the command that ``explain`` shows, the pool's threads included."""
    lines = place.say("explain", str(clips.path()), "--profile", profile).splitlines()
    at = lines.index("command:") + 1
    *argv, output = shlex.split(lines[at])
    for line in lines[at + 1 :]:
        if found := _MORE.match(line):
            argv += shlex.split(found[1])
    suffix = output[output.rindex(".") :]
    source = f"file:{clips.path()}"
    if source not in argv:
        raise CannotMeasure(f"explain names no {source}: {lines[at]}")
    argv[argv.index(source)] = f"file:{clips.folder}/{{}}.mp4"
    return [*argv, f"file:{out}/{{}}{suffix}"]

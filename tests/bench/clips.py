"""The clips that are converted, made once with ffmpeg's own test pictures."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.figures import CannotMeasure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Clips:
    """Some clips of one kind in one folder, named ``clip-000.mp4`` and so on."""

    folder: Path
    stems: Sequence[str]

    def __len__(self) -> int:
        return len(self.stems)

    def copy(self, target: Path) -> None:
        """Copy them all into a folder, which is made."""
        target.mkdir(parents=True)
        for stem in self.stems:
            shutil.copyfile(self.path(stem), target / f"{stem}.mp4")

    def path(self, stem: str | None = None) -> Path:
        """Give the path of one of them."""
        return self.folder / f"{stem or self.stems[0]}.mp4"


def make_clips(
    ffmpeg: str, folder: Path, count: int, size: str, seconds: float, kinds: int = 6
) -> Clips:
    """Make clips of H.264 and AAC in mp4; only so many kinds are different, the rest are copies."""
    made = Clips(folder, [f"clip-{number:03}" for number in range(count)])
    clips = Clips(folder.with_name(f"{folder.name}.part"), made.stems)
    shutil.rmtree(clips.folder, ignore_errors=True)
    clips.folder.mkdir(parents=True)
    for number, stem in enumerate(clips.stems):
        if number < kinds:
            _make(ffmpeg, clips.path(stem), number, size, seconds)
        else:
            shutil.copyfile(clips.path(clips.stems[number % kinds]), clips.path(stem))
    clips.folder.rename(folder)
    return made


def _make(ffmpeg: str, path: Path, number: int, size: str, seconds: float) -> None:
    if number % 2:
        picture = f"mandelbrot=size={size}:rate=25:start_scale={3 / (1 + number)}"
    else:
        picture = f"testsrc2=size={size}:rate=25,hue=h={40 * number}"
    sound = f"sine=frequency={300 + 50 * number}:sample_rate=48000"
    argv = [ffmpeg, "-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", picture]
    argv += ["-f", "lavfi", "-i", sound, "-t", str(seconds), "-c:v", "libx264"]
    argv += ["-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac", str(path)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    if ended.returncode:
        raise CannotMeasure(f"{ffmpeg} cannot make the clips: {ended.stderr.strip()[-300:]}")

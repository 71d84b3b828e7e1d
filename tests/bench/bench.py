"""What every section is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.bench.clips import Clips, make_clips
from tests.bench.house import Place

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.figures import Report


@dataclass(frozen=True, slots=True)
class Bench:
    """Where, with which ffmpeg and how often is measured, and where it is written down."""

    folder: Path
    environment: dict[str, str]
    ffmpeg: str  # for encodes: as the daemon finds it
    static: str  # for what the daemon adds: starts quickly, needs no libraries
    runs: int
    quick: bool
    same_priority: bool
    report: Report

    def place(self, ffmpeg: str, **settings: Any) -> Place:
        """Make fresh folders; those of before are gone."""
        return Place.make(self.folder / "place", self.environment, ffmpeg=ffmpeg, **settings)

    def clips(self, count: int, size: str, seconds: float, kinds: int = 6) -> Clips:
        """Give clips, making them when they are not there yet."""
        folder = self.folder / f"clips-{count}-{size}-{seconds:g}"
        if folder.exists():
            return Clips(folder, sorted(path.stem for path in folder.iterdir()))
        return make_clips(self.static, folder, count, size, seconds, kinds)

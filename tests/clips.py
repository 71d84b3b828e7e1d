"""Where the tests find real clips and a real ffmpeg."""

from __future__ import annotations

import csv
import functools
import os
import shutil
from pathlib import Path

MEDIA = Path(
    os.environ.get("WATCHCONV_MEDIA") or Path(__file__).parents[2] / "shared" / "media"
).resolve()


@functools.cache
def ffmpeg_path() -> str:
    """Give the ffmpeg that the tests use: $WATCHCONV_TEST_FFMPEG, the embedded one, or PATH's."""
    if chosen := os.environ.get("WATCHCONV_TEST_FFMPEG"):
        return chosen
    try:
        import imageio_ffmpeg
    except ImportError:
        found = shutil.which("ffmpeg")
        assert found, "no ffmpeg: pip install 'watchconv[test]'"
        return found
    return str(imageio_ffmpeg.get_ffmpeg_exe())


FFMPEG = ffmpeg_path()


def manifest() -> list[dict[str, str]]:
    """Read MANIFEST.tsv: one row a clip, with what it is and whether it can be converted."""
    with (MEDIA / "MANIFEST.tsv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))

"""What ffmpeg's libraries print about an open file: the only place where PyAV shows much of it.

Programmes, codecs that nothing decodes, and what stands in a container's headers beside the
streams. The lines are ffmpeg's, some of the words in them a stranger's: what is understood is
bounded, what is not is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_PROGRAM = re.compile(r" {2,4}(?:Program (\d{1,9})|(No Program))(?: |$)")
_STREAM = re.compile(r" {2,6}Stream #0:(\d{1,6})(?:\[[^\]]*\])?(?:\([^)]*\))?: (\w+): ([\w-]+)(.*)")
_PART = re.compile(r" {4,8}(Metadata|Side data):$")
_DOLBY = re.compile(r"profile: (\d{1,3}).* compatibility id: (\d{1,3})")
_TURNED = re.compile(r"rotation of (-?\d{1,3})")


@dataclass(slots=True)
class Announced:
    """One stream as ffmpeg's libraries print it."""

    codec: str = ""
    words: str = ""  # the rest of its line
    programs: set[int] = field(default_factory=set)
    side_data: list[str] = field(default_factory=list)

    @property
    def dolby_vision(self) -> tuple[int, int] | None:
        """The profile and what its base layer is."""
        for line in self.side_data:
            if line.startswith("DOVI") and (found := _DOLBY.search(line)):
                return int(found[1]), int(found[2])
        return None

    @property
    def rotation(self) -> int:
        """Degrees clockwise, of a display matrix."""
        for line in self.side_data:
            if line.startswith("Display Matrix") and (found := _TURNED.search(line)):
                return round(-int(found[1]) / 90) % 4 * 90
        return 0

    @property
    def spherical(self) -> bool:
        """Whether the picture is one of all directions."""
        return any(line.lower().startswith("spherical") for line in self.side_data)


def read_announced(dump: str) -> dict[int, Announced]:
    """Return the streams by their index."""
    streams: dict[int, Announced] = {}
    program: int | None = None
    stream = Announced()
    in_side_data = False
    for line in dump.splitlines():
        if found := _STREAM.match(line):
            stream = streams.setdefault(int(found[1]), Announced())
            stream.codec = "" if found[3] == "none" else found[3]
            stream.words = found[4]
            stream.side_data.clear()
            if program is not None:
                stream.programs.add(program)
        elif found := _PROGRAM.match(line):
            program = int(found[1]) if found[1] else None
        elif found := _PART.match(line):
            in_side_data = found[1] == "Side data"
        elif in_side_data and len(stream.side_data) < 20:
            stream.side_data.append(line.strip()[:300])
    return streams

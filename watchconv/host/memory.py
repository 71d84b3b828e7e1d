"""How much memory encodes may use together: a share of what the machine or our cgroup has."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

# What is left is for the system, for others, and for the page cache, which encodes live from too.
MACHINE_SHARE = 0.75
CGROUP_SHARE = 0.9  # who set the limit has thought of the others
_V1_NAME, _V1_FOLDER = "memory.limit_in_bytes", "memory"
_V2_NAMES = ("memory.max", "memory.high")  # above the second one is slowed down


def usable_memory(proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> int:
    """Return bytes, the swap left out; 0 where nobody tells."""
    amounts = []
    with suppress(OSError):
        text = Path(proc, "meminfo").read_text(encoding="ascii")
        if found := re.search(r"^MemTotal: *(\d+) kB", text, re.MULTILINE):
            amounts.append(int(found[1]) * 1024 * MACHINE_SHARE)
    with suppress(OSError):
        for line in Path(proc, "self/cgroup").read_text(encoding="utf-8").splitlines():
            _, kinds, path = line.split(":", 2)
            if not kinds:
                amounts += _limits(cgroups, path, _V2_NAMES)
            elif "memory" in kinds.split(","):
                amounts += _limits(os.path.join(cgroups, _V1_FOLDER), path, (_V1_NAME,))
    return int(min(amounts, default=0))


def _limits(top: str, path: str, names: tuple[str, ...]) -> list[float]:
    """Return our share of each limit from a cgroup up to the top; a container sees its own as it.

    One without a limit says "max", or in version 1 a number beyond all memory.
    """
    found = []
    folder = Path(top, path.lstrip("/"))
    for place in (folder, *folder.parents):
        if not place.is_relative_to(top):
            break
        for name in names:
            with suppress(OSError, ValueError):
                found.append(int((place / name).read_text(encoding="ascii")) * CGROUP_SHARE)
    return found

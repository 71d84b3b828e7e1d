"""What the machine has for encodes: memory, and processors that nobody else wants."""

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
    """Return how many bytes encodes may use together, the swap left out; 0 where nobody tells.

    They are a share of what the machine or our cgroup has.
    """
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


def processor_pressure(proc: str = "/proc") -> float:
    """Return the share of the last ten seconds in which somebody waited for a processor.

    0 where the kernel does not tell.
    """
    with suppress(OSError):
        text = Path(proc, "pressure/cpu").read_text(encoding="ascii")
        if found := re.search(r"^some avg10=([\d.]+)", text, re.MULTILINE):
            return float(found[1]) / 100
    return 0.0

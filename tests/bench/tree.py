"""What a process and all below it use, as /proc tells."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Use:
    """Sums over a tree of processes: memory now, the rest since their start."""

    processes: int = 0
    threads: int = 0
    rss_bytes: int = 0
    pss_bytes: int = 0
    peak_bytes: int = 0
    cpu_seconds: float = 0.0
    switches: int = 0  # voluntary: how often a thread went to sleep
    written_bytes: int = 0
    writes: int = 0

    def __add__(self, other: Use) -> Use:
        return Use(*(getattr(self, name) + getattr(other, name) for name in Use.__slots__))


def tree(pid: int) -> list[int]:
    """Give a process and all that live below it, the deepest first."""
    found: list[int] = []
    for task in _tasks(pid):
        for child in _text(task / "children").split():
            found += tree(int(child))
    return [*found, pid]


def use_of_tree(pid: int) -> Use:
    """Add up what a tree uses."""
    total = Use()
    for each in tree(pid):
        total += use_of(each)
    return total


def use_of(pid: int) -> Use:
    """Tell what one process uses."""
    proc = Path(f"/proc/{pid}")
    status, io = _fields(proc / "status"), _fields(proc / "io")
    tasks = _tasks(pid)
    return Use(
        processes=1,
        threads=len(tasks),
        rss_bytes=status.get("VmRSS", 0) << 10,
        pss_bytes=_fields(proc / "smaps_rollup").get("Pss", 0) << 10,
        peak_bytes=status.get("VmHWM", 0) << 10,
        cpu_seconds=sum(_cpu_seconds(task) for task in tasks),
        switches=sum(_fields(t / "status").get("voluntary_ctxt_switches", 0) for t in tasks),
        written_bytes=io.get("write_bytes", 0),
        writes=io.get("syscw", 0),
    )


def _cpu_seconds(task: Path) -> float:
    """Give the exact time on a processor; the ticks of ``stat`` are as coarse as the target."""
    with contextlib.suppress(ValueError, IndexError):
        return int(_text(task / "schedstat").split()[0]) / 1e9
    return 0.0


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _fields(path: Path) -> dict[str, int]:
    found = {}
    for line in _text(path).splitlines():
        name, _, words = line.partition(":")
        with contextlib.suppress(ValueError, IndexError):
            found[name] = int(words.split()[0])
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

"""From a file's arrival, or the daemon's start, to the moment when ffmpeg is executed."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.events import CREATED, MOVED_IN, OPENED, Event, Watch
from tests.bench.figures import CannotMeasure
from tests.bench.house import SETTLE_SECONDS, Daemon, litter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bench.bench import Bench
    from tests.bench.house import Place

PAUSE_SECONDS = 1.0  # between two drops: the daemon is idle again


@dataclass(slots=True)
class Drops:
    """Clips dropped one by one into a running daemon."""

    bench: Bench
    place: Place
    daemon: Daemon
    program: Path
    count: int = 0

    def renamed(self) -> float:
        """Rename a clip in; return the milliseconds until ffmpeg is executed."""
        return self._measure(self._rename)

    def written(self) -> float:
        """Write a clip in place; return the milliseconds from its close."""
        return self._measure(self._write)

    def _rename(self, clip: Path, name: str) -> float:
        staged = self.place.root / "staging" / name
        shutil.copyfile(clip, staged)
        at = time.perf_counter()
        staged.rename(self.place.inbox / name)
        return at

    def _write(self, clip: Path, name: str) -> float:
        with open(self.place.inbox / name, "wb") as writer:
            writer.write(clip.read_bytes())
        return time.perf_counter()

    def _measure(self, drop: Callable[[Path, str], float]) -> float:
        clip = tiny_clip(self.bench)
        self.count += 1
        with Watch(OPENED, self.program) as execs, self.place.arrivals() as arrivals:
            at = drop(clip, f"drop-{self.count:03}.mp4")
            self.daemon.wait_for_all(arrivals, 1)
            last = last_exec(execs)
        time.sleep(PAUSE_SECONDS)
        return (last.at - at) * 1000


def tiny_clip(bench: Bench) -> Path:
    """Give a clip whose encode takes next to nothing."""
    return bench.clips(1, "128x72", 0.4).path()


def last_exec(execs: Watch) -> Event:
    """Give the last opening of the program so far: before it may come one that only looks."""
    return execs.wait(bool, 10.0, "the program was never opened")[-1]


def own_copy(bench: Bench) -> Path:
    """Copy ffmpeg, so that nobody else executes that very file."""
    path = bench.folder / "bin" / "ffmpeg"
    if not path.exists():
        path.parent.mkdir()
        shutil.copy(bench.static, path)
    return path


def latency(bench: Bench) -> None:
    """How long an idle daemon takes to begin."""
    empty = _latency(bench, littered=False)
    full = _latency(bench, littered=True)
    bench.report.section("latency: what 20,000 ignored files add")
    for name, value in empty.items():
        added = full[name] - value
        bench.report.figure(f"rename → exec, {name} probe worker", added, "ms", target=60)


def _latency(bench: Bench, *, littered: bool) -> dict[str, float]:
    inbox = "20,000 ignored files" if littered else "an empty inbox"
    bench.report.section(f"latency: an idle daemon, {inbox} ({bench.static})")
    program = own_copy(bench)
    warm, closed, cold = (5, 2, 1) if bench.quick else (15, 4, bench.runs)
    place = bench.place(str(program))
    if littered:
        litter(place.inbox)
    medians = {}
    with Daemon(place) as daemon:
        drops = Drops(bench, place, daemon, program)
        bench.report.figure("rename → exec, a daemon's first job", drops.renamed(), "ms")
        times = [drops.renamed() for _ in range(warm)]
        medians["warm"] = _print(bench, "rename → exec, warm probe worker", times, 30, littered)
        times = [drops.written() - SETTLE_SECONDS * 1000 for _ in range(closed)]
        _print(bench, "close → exec, less settle_seconds", times, 30, littered)
        times = []
        for _ in range(cold):
            daemon.wait_until_alone()
            times.append(drops.renamed())
        medians["cold"] = _print(bench, "rename → exec, cold probe worker", times, 200, littered)
    return medians


def _print(bench: Bench, name: str, times: list[float], most: float, littered: bool) -> float:
    median = statistics.median(times)
    return bench.report.figure(name, median, "ms", target=most + 60 * littered, runs=times)


def start(bench: Bench) -> None:
    """How long a start takes until the first ffmpeg is executed."""
    bench.report.section(f"start: 20,000 ignored files and one video ({bench.static})")
    program = own_copy(bench)
    fresh, again = [], []
    for _ in range(1 if bench.quick else max(3, bench.runs)):
        place = bench.place(str(program))
        litter(place.inbox)
        fresh.append(_start(bench, place, program, "fresh.mp4"))
        again.append(_start(bench, place, program, "again.mp4"))
    for name, times in (
        ("start → exec, ffmpeg known from an earlier start", again),
        ("start → exec, the very first start", fresh),
    ):
        bench.report.figure(name, statistics.median(times), "s", target=1.0, runs=times)


def _start(bench: Bench, place: Place, program: Path, name: str) -> float:
    shutil.copyfile(tiny_clip(bench), place.inbox / "folder-100" / name)
    os.sync()
    time.sleep(SETTLE_SECONDS + 0.5)
    for folder in (place.outbox, place.done):
        (folder / "folder-100").mkdir(exist_ok=True)
    stem = name.partition(".")[0]
    target = place.outbox / "folder-100"
    with (
        Watch(OPENED, program) as execs,
        Watch(MOVED_IN | CREATED, target) as arrivals,
        Daemon(place, ready=False) as daemon,
    ):
        arrivals.wait(
            lambda events: any(event.name.startswith(stem) for event in events),
            60.0,
            "the first output",
            daemon.trouble,
        )
        seconds = last_exec(execs).at - daemon.started_at
    if seconds < 0:
        raise CannotMeasure("ffmpeg was executed before the start")
    return seconds

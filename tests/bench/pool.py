"""The pool against xargs: whole batches, wall time."""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.bench.figures import CannotMeasure
from tests.bench.house import RUN_SECONDS, SETTLE_SECONDS, Daemon
from tests.bench.rivals import SAME_PRIORITY, plain, same_arguments, xargs

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.bench import Bench
    from tests.bench.clips import Clips

JOBS = 2
WEBM = "-c:v libvpx -b:v 1M -c:a libvorbis"


@dataclass(slots=True)
class Batch:
    """One kind of clips, converted in several ways by turns."""

    bench: Bench
    clips: Clips
    profile: str
    ffmpeg: str
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def daemon(self) -> float:
        """Rename all clips into an idle daemon's inbox; wait for the last output and original."""
        place = self.bench.place(self.ffmpeg, jobs=JOBS, profile=self.profile)
        staged = place.fill(self.clips)
        os.sync()
        with Daemon(place) as daemon, place.arrivals() as arrivals:
            began = time.perf_counter()
            for path in staged:
                path.rename(place.inbox / path.name)
            daemon.wait_for_all(arrivals, len(staged))
            return time.perf_counter() - began

    def once(self) -> float:
        """Run ``run --once`` on clips that have lain there for a while."""
        place = self.bench.place(self.ffmpeg, jobs=JOBS, profile=self.profile)
        for path in place.fill(self.clips):
            path.rename(place.inbox / path.name)
        os.sync()
        time.sleep(SETTLE_SECONDS + 0.5)
        with Daemon(place, "--once", ready=False) as daemon:
            try:
                code = daemon.process.wait(RUN_SECONDS)
            except subprocess.TimeoutExpired:
                raise CannotMeasure(f"run --once: not within {RUN_SECONDS:g} s") from None
            seconds = time.perf_counter() - daemon.started_at
        if code:
            raise CannotMeasure(f"run --once: exit code {code}; {place.last_words()}")
        return seconds

    def plain(self, args: str, suffix: str) -> float:
        """Run xargs with what a person would write."""
        out = self.bench.folder / "xargs"
        return self._xargs(plain(self.ffmpeg, self.clips, out, args, suffix))

    def same(self) -> float:
        """Run xargs with the arguments that watchconv uses."""
        place = self.bench.place(self.ffmpeg, jobs=JOBS)
        out = self.bench.folder / "xargs"
        return self._xargs(same_arguments(place, self.profile, self.clips, out))

    def _xargs(self, argv: list[str]) -> float:
        before = SAME_PRIORITY if self.bench.same_priority else ()
        return xargs(argv, self.clips, self.bench.folder / "xargs", JOBS, before)

    def measure(self, ways: dict[str, Callable[[], float]], rounds: int) -> None:
        """Go through the ways in turn, so often, and print their medians."""
        for _ in range(rounds):
            for name, way in ways.items():
                self.seconds.setdefault(name, []).append(way())
        for name in ways:
            self.bench.report.runs(name, self.seconds[name], "s")

    def ratio(self, name: str, to: str, target: float | None = None) -> None:
        """Print the ratio of two medians, with those of each round."""
        pairs = zip(self.seconds[name], self.seconds[to], strict=True)
        value = statistics.median(self.seconds[name]) / statistics.median(self.seconds[to])
        runs = [ours / theirs for ours, theirs in pairs]
        self.bench.report.figure(f"{name} / {to}", value, target=target, runs=runs)


def pool(bench: Bench) -> None:
    """VP8 in the pool, where the plan of threads counts."""
    many = (12, 1.0) if bench.quick else (60, 1.0)
    few = (2, 2.0) if bench.quick else (8, 6.0)
    for (count, seconds), size, most in (
        (many, "320x180", (0.75, 1.05)),
        (few, "854x480", (0.6, 1.03)),
    ):
        title = f"pool: {count} clips of {seconds:g} s, {size}, webm, jobs {JOBS}"
        bench.report.section(f"{title} ({bench.ffmpeg})")
        batch = Batch(bench, bench.clips(count, size, seconds, 4), "webm", bench.ffmpeg)
        ways: dict[str, Callable[[], float]] = {
            "watchconv": batch.daemon,
            f"xargs -P{JOBS} ffmpeg": functools.partial(batch.plain, WEBM, ".webm"),
            f"xargs -P{JOBS}, the same arguments": batch.same,
            "watchconv run --once, its start included": batch.once,
        }
        ours, rival, same, once = ways
        try:
            batch.measure(ways, bench.runs)
        except CannotMeasure as why:
            bench.report.cannot(why)
            continue
        batch.ratio(ours, rival, most[0])
        batch.ratio(ours, same, most[1])
        batch.ratio(once, rival)


def encoders(bench: Bench) -> None:
    """The other encoders: none may get slower than its default."""
    count, seconds = (2, 1.0) if bench.quick else (4, 3.0)
    for profile in ("mp4", "hevc", "av1"):
        title = f"encoders: {count} clips of {seconds:g} s, 640x360, {profile}, jobs {JOBS}"
        bench.report.section(f"{title} ({bench.ffmpeg})")
        batch = Batch(bench, bench.clips(count, "640x360", seconds, 4), profile, bench.ffmpeg)
        same = f"xargs -P{JOBS}, the encoder's default threads"
        try:
            batch.measure({"watchconv": batch.daemon, same: batch.same}, bench.runs)
            batch.ratio("watchconv", same)
        except CannotMeasure as why:
            bench.report.cannot(why)


def adds(bench: Bench) -> None:
    """What the daemon adds to a job that itself takes next to nothing."""
    count = 20 if bench.quick else 60
    bench.report.section(f"adds: {count} remuxes of tiny clips, jobs {JOBS} ({bench.static})")
    batch = Batch(bench, bench.clips(count, "320x180", 1.0, 4), "remux", bench.static)
    ours, rival = "watchconv", f"xargs -P{JOBS} ffmpeg -c copy"
    batch.measure(
        {
            ours: batch.daemon,
            rival: functools.partial(batch.plain, "-c copy", ".mkv"),
            f"xargs -P{JOBS}, the same arguments": batch.same,
        },
        1 if bench.quick else 3 * bench.runs,
    )
    batch.ratio(ours, rival, 2.0)
    medians = {name: statistics.median(runs) for name, runs in batch.seconds.items()}
    added = (medians[ours] - medians[rival]) / count * 1000
    bench.report.figure("added to the wall time, a job", added, "ms")

"""What an idle daemon costs, what a backlog adds, and how quickly the status is there."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from typing import TYPE_CHECKING

from tests.bench.figures import CannotMeasure
from tests.bench.house import SETTLE_SECONDS, Daemon, litter
from tests.bench.latency import Drops, own_copy
from tests.bench.tree import Use, use_of, use_of_tree

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.bench import Bench
    from tests.bench.house import Place

MB = 1_000_000
QUEUE_SECONDS = 600.0


def idle(bench: Bench) -> None:
    """An idle daemon sleeps: memory, processor, wake-ups, writes."""
    bench.report.section("idle: 20,000 ignored files in 200 folders, after one job")
    program = own_copy(bench)
    place = bench.place(str(program))
    litter(place.inbox)
    seconds = 10.0 if bench.quick else 30.0
    with Daemon(place) as daemon:
        fresh = use_of_tree(daemon.pid)
        Drops(bench, place, daemon, program).renamed()
        bench.report.figure("RSS before the first job", fresh.rss_bytes / MB, "MB")
        bench.report.figure("RSS with the probe worker", _rss(daemon) / MB, "MB")
        daemon.wait_until_alone()
        before, began = use_of_tree(daemon.pid), time.monotonic()
        time.sleep(seconds)
        after, passed = use_of_tree(daemon.pid), time.monotonic() - began
    _print_idle(bench, before, after, passed)


def _rss(daemon: Daemon) -> int:
    return use_of_tree(daemon.pid).rss_bytes


def _print_idle(bench: Bench, before: Use, after: Use, seconds: float) -> None:
    report = bench.report
    report.note(f"{after.processes} process, {after.threads} threads; {seconds:.0f} s")
    if after.processes != before.processes:
        raise CannotMeasure("a child was started or ended meanwhile")
    report.figure("RSS of the tree", after.rss_bytes / MB, "MB", target=45)
    report.figure("PSS of the tree", after.pss_bytes / MB, "MB")
    cpu_seconds = (after.cpu_seconds - before.cpu_seconds) * 30 / seconds
    report.figure("processor, for 30 s", cpu_seconds, "s", target=0.01)
    switches = (after.switches - before.switches) / seconds
    report.figure("voluntary context switches", switches, "/s", target=0.2)
    report.figure("written", after.written_bytes - before.written_bytes, "bytes", target=0)
    report.figure("calls to write", after.writes - before.writes, "", target=0)


def status(bench: Bench) -> None:
    """How quickly ``watchconv status`` answers."""
    bench.report.section("status: beside an idle daemon")
    place = bench.place(str(own_copy(bench)))
    with Daemon(place):
        times = _status_times(place, 10)
    bench.report.figure("status", statistics.median(times), "ms", target=300, runs=times)


def _status_times(place: Place, count: int) -> list[float]:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        subprocess.run(
            place.command("status"),
            cwd=place.root,
            env=place.environment,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=60,
        )
        times.append((time.perf_counter() - began) * 1000)
    return times


def memory(bench: Bench) -> None:
    """What a backlog adds: it lives in the journal."""
    few, many = 100, 20_000 if bench.quick else 100_000
    bench.report.section(f"memory: {many:,} queued files against {few}, paused")
    arrived, waiting = {}, {}
    for count in (few, many):
        arrived[count], waiting[count] = _backlog(bench, count)
    for how, found in (("they arrive", arrived), ("they wait at the start", waiting)):
        for count, use in found.items():
            name = f"RSS with {count:,} queued, {how}"
            bench.report.figure(name, use.rss_bytes / MB, "MB")
        here, there = found[few], found[many]
        added = (there.rss_bytes - here.rss_bytes) / MB
        bench.report.figure(f"RSS added, {how}", added, "MB", target=10)
        peak = (there.peak_bytes - here.peak_bytes) / MB
        bench.report.figure(f"peak added, {how}", peak, "MB")


def _backlog(bench: Bench, count: int) -> tuple[Use, Use]:
    """Queue files in a running daemon, then start another one on them; give both's use.

    The daemon's alone: a probe worker may have been started for what comes, and ends again.
    """
    place = bench.place(str(own_copy(bench)))
    staged = place.root / "staging" / "all"
    _make_files(staged, count)
    place.say("pause")
    time.sleep(SETTLE_SECONDS + 0.5)
    with Daemon(place) as daemon:
        began = time.perf_counter()
        staged.rename(place.inbox / "all")
        _wait_for_queue(place, count)
        seconds = time.perf_counter() - began
        bench.report.note(f"{count:,} queued after {seconds:.1f} s")
        arrived = use_of(daemon.pid)
    with Daemon(place) as daemon:
        began = time.perf_counter()
        _wait_for_queue(place, count)
        time.sleep(2.0)
        if count > 1000:
            median = statistics.median(_status_times(place, 5))
            bench.report.figure(f"status with {count:,} queued", median, "ms", target=300)
        return arrived, use_of(daemon.pid)


def _make_files(folder: Path, count: int) -> None:
    """Make files without a block, half of them in one folder, the rest in folders of 500."""
    for number in range(count):
        here = folder if number < count // 2 else folder / f"{number // 500:04}"
        if number in (0, count // 2) or number % 500 == 0:
            here.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(here / f"clip-{number:06}.mp4", os.O_CREAT | os.O_WRONLY)
        os.truncate(descriptor, 64)
        os.close(descriptor)


def _wait_for_queue(place: Place, count: int) -> None:
    deadline = time.monotonic() + QUEUE_SECONDS
    while (counts := place.counts())["queued"] < count or counts["waiting"]:
        if time.monotonic() > deadline:
            raise CannotMeasure(f"{counts} after {QUEUE_SECONDS:g} s; {place.last_words()}")
        time.sleep(1.0)
    time.sleep(2.0)

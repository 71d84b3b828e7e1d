"""``python -m tests.bench [SECTION…]``: measure, and print the figures beside their targets."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import latency, pool, resting, speed
from tests.bench.bench import Bench
from tests.bench.figures import CannotMeasure, Report
from tests.bench.house import CHECKOUT, install
from tests.clips import FFMPEG

SECTIONS = {
    "pool": pool.pool,
    "encoders": pool.encoders,
    "adds": pool.adds,
    "latency": latency.latency,
    "idle": resting.idle,
    "start": latency.start,
    "status": resting.status,
    "memory": resting.memory,
    "speed": speed.speed,
}
ASKED_FOR = {"speed"}  # it takes long, and measures no program of ours


def main() -> int:
    """Measure what was asked for."""
    arguments = _arguments()
    wanted = arguments.sections or SECTIONS.keys() - ASKED_FOR
    chosen = [name for name in SECTIONS if name in wanted]
    report = Report(quick=arguments.quick)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="watchconv-bench-", dir=arguments.dir) as folder:
        bench = _bench(arguments, Path(folder).resolve(), report)
        _print_head(bench)
        for name in chosen:
            try:
                SECTIONS[name](bench)
            except (CannotMeasure, subprocess.SubprocessError, OSError) as why:
                report.cannot(CannotMeasure(f"{type(why).__name__}: {why}"))
            report.note(f"({_load()})")
    report.close()
    print(f"{time.monotonic() - began:.0f} s")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}")
    parser.add_argument("--runs", type=int, default=3, help="rounds of the long ones (3)")
    parser.add_argument("--quick", action="store_true", help="few clips: does it work at all?")
    parser.add_argument("--ffmpeg", help="for all sections; else PATH's, and the embedded one")
    parser.add_argument("--dir", help="where the folders are made; else the system's place")
    parser.add_argument(
        "--same-priority",
        action="store_true",
        help="xargs steps back as watchconv's children do: fairer on a busy machine",
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - SECTIONS.keys():
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    return arguments


def _bench(arguments: argparse.Namespace, folder: Path, report: Report) -> Bench:
    return Bench(
        folder=folder,
        environment=install(folder),
        ffmpeg=arguments.ffmpeg or shutil.which("ffmpeg") or FFMPEG,
        static=arguments.ffmpeg or FFMPEG,
        runs=max(1, 1 if arguments.quick else arguments.runs),
        quick=arguments.quick,
        same_priority=arguments.same_priority,
        report=report,
    )


def _print_head(bench: Bench) -> None:
    """Say on what is measured."""
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, Linux {platform.release()}, Python {platform.python_version()}")
    print(f"{_file_system(bench.folder)} below {bench.folder.parent}; {_load()}")
    print(f"watchconv {CHECKOUT / 'watchconv'}, byte-compiled as by an installation")
    for name in dict.fromkeys((bench.ffmpeg, bench.static)):
        print(f"{name}: {_first_line(name, '-version')}")
    if bench.same_priority:
        print("xargs with nice 10 and ionice idle, as watchconv's children")


def _first_line(*argv: str) -> str:
    answer = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    return answer.stdout.partition("\n")[0]


def _file_system(folder: Path) -> str:
    return _first_line("stat", "-f", "-c", "%T", str(folder))


def _load() -> str:
    return "load " + " ".join(f"{load:.2f}" for load in os.getloadavg())


if __name__ == "__main__":
    sys.exit(main())

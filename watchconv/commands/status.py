"""``status``: what the daemon does now. Works when it is down; changes nothing."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, NoReturn

from watchconv.commands.jobs import open_journal
from watchconv.host import status_file
from watchconv.journal.jobs import PAUSED
from watchconv.model import JobState, Savings
from watchconv.names import printable
from watchconv.views import Present, describe_progress, show_clock, status_json, warned_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from watchconv.config import Config

NAMED = 10  # waiting files; --json has more
WARNED = 3  # of the done jobs with warnings, that many are named


def status(config: Config, arguments: argparse.Namespace) -> int:
    """Print what the daemon does now; with ``--watch`` once a second, until it is interrupted."""
    try:
        if arguments.watch and not arguments.json and sys.stdout.isatty():
            _draw(config)
        while arguments.watch:
            end = "\n" if arguments.json else "\n\n"
            print(_text(config, as_json=arguments.json), end=end, flush=True)
            time.sleep(1)
    except KeyboardInterrupt:
        return 0
    print(_text(config, as_json=arguments.json))
    return 0


def _draw(config: Config) -> NoReturn:
    """Draw the status over itself."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(highlight=False), auto_refresh=False) as screen:
        while True:
            screen.update(Text(_text(config, as_json=False)), refresh=True)
            time.sleep(1)


def _text(config: Config, *, as_json: bool) -> str:
    shown = status_file.read(config.state)
    present = Present(shown, dict.fromkeys(JobState, 0), [], Savings(0, 0, 0), is_paused=False)
    if journal := open_journal(config):
        with closing(journal):
            # a running job of a daemon that is down does not run
            states = [JobState.DELIVERING, *([JobState.RUNNING] if shown else [])]
            present = Present(
                shown,
                journal.counts(),
                [job for state in states for job in journal.in_state(state)],
                journal.savings(),
                is_paused=journal.setting(PAUSED) is not None,
                warned=journal.count_warned(),
                last_warned=journal.last_warned(WARNED),
            )
    return json.dumps(status_json(present)) if as_json else "\n".join(_lines(config, present))


def _lines(config: Config, present: Present) -> Iterator[str]:
    now = status_json(present)
    pid = f" (pid {now['pid']})" if now["pid"] else ""
    state = "in trouble" if now["state"] == "trouble" else now["state"]
    if present.is_paused and state != "paused":
        state += ", and paused"
    yield f"watchconv is {state}{pid}; inbox {printable(config.inbox)}"
    yield ", ".join(f"{count} {name}" for name, count in now["counts"].items())
    delivering = {job.id for job in present.jobs if job.state is JobState.DELIVERING}
    for row in present.running:
        progress = "delivering" if row.id in delivering else describe_progress(row)
        yield printable(f"  job {row.id} [{row.profile}] {row.source}: {progress}")
    named = now["waiting"][:NAMED]
    for file in named:
        since = show_clock(file["seconds"])
        yield printable(f"  waiting for {since}: {file['source']}: {file['reason']}")
    if (more := now["counts"]["waiting"] - len(named)) > 0:
        yield f"  and {more} more wait"
    if present.warned:
        yield f"  {present.warned} done with warnings; the last (`watchconv receipt JOB` has all):"
    for job in present.last_warned:
        yield f"    {warned_line(job)}"
    for sentence in now["trouble"]:
        yield f"  trouble: {printable(sentence)}"

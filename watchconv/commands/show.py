"""``status`` and ``jobs``: what is, and what was. Both work when the daemon is down.

Guarantees: the JSON is as README says; a history of any length is printed in little memory, and who
reads it slowly holds up no daemon. Changes nothing. Errors: ``JournalError``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from watchconv.commands.format import describe_progress, moment
from watchconv.host import status_file as live
from watchconv.host.folders import find_state
from watchconv.journal.database import FILE_NAME
from watchconv.journal.jobs import PAUSED, Journal
from watchconv.model import JobState
from watchconv.names import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from watchconv.config import Config
    from watchconv.model import Job


def open_journal(config: Config) -> Journal | None:
    """Open the journal of a daemon that has run here; None when none has."""
    if not find_state(config.state) or not os.path.exists(os.path.join(config.state, FILE_NAME)):
        return None
    return Journal(config.state, create=False)


def status(config: Config, arguments: argparse.Namespace) -> int:
    """Print what the daemon does now."""
    if arguments.watch:
        try:
            _watch(config, as_json=arguments.json)
        except KeyboardInterrupt:
            return 0
    present = _present(config)
    if arguments.json:
        print(json.dumps(present.now))
    else:
        print("\n".join(_lines(config, present)))
    return 0


class _Present(NamedTuple):
    """What is shown to programs, and what people see besides."""

    now: dict[str, Any]
    running: list[live.Running]
    is_paused: bool
    delivering: set[int]  # those of them that are no longer encoded


def _present(config: Config) -> _Present:
    journal = open_journal(config)
    shown = live.read(config.state)
    counts = dict.fromkeys(JobState, 0)
    paused = False
    jobs: list[Job] = []
    if journal:
        counts = journal.counts()
        paused = journal.setting(PAUSED) is not None
        jobs = journal.in_state(JobState.DELIVERING)
        jobs += journal.in_state(JobState.RUNNING) if shown else []
        journal.close()
    # the journal says which: what the daemon shows of itself may be a second old
    known = {row.id: row for row in (shown.running if shown else [])}
    running = [
        known.get(job.id) or live.Running(job.id, job.source, job.profile)
        for job in sorted(jobs, key=lambda job: job.id)
    ]
    state = shown.state if shown else "stopped"
    if state in ("running", "paused"):
        state = "paused" if paused else "running"
    now = {
        "state": state,
        "pid": shown.pid if shown else None,
        "counts": {
            "waiting": shown.waiting if shown else 0,
            "queued": counts[JobState.QUEUED],
            "running": counts[JobState.RUNNING] + counts[JobState.DELIVERING],
            "done": counts[JobState.DONE],
            "failed": counts[JobState.FAILED],
            "ignored": shown.ignored if shown else 0,
        },
        "running": [
            {
                "id": row.id,
                "source": row.source,
                "profile": row.profile,
                "progress": row.progress,
                "speed": row.speed,
                "fps": row.fps,
                "eta_seconds": row.eta_seconds,
            }
            for row in running
        ],
        "trouble": shown.trouble if shown else [],
    }
    delivering = {job.id for job in jobs if job.state is JobState.DELIVERING}
    return _Present(now, running, paused, delivering)


def _lines(config: Config, present: _Present) -> Iterator[str]:
    now, running, is_paused, delivering = present
    pid = f" (pid {now['pid']})" if now["pid"] else ""
    state = "in trouble" if now["state"] == "trouble" else now["state"]
    if is_paused and state != "paused":
        state += ", and paused"
    yield f"watchconv is {state}{pid}; inbox {printable(config.inbox)}"
    yield ", ".join(f"{count} {name}" for name, count in now["counts"].items())
    for job in running:
        progress = "delivering" if job.id in delivering else describe_progress(job)
        yield printable(f"  job {job.id} [{job.profile}] {job.source}: {progress}")
    for sentence in now["trouble"]:
        yield f"  trouble: {printable(sentence)}"


def _watch(config: Config, *, as_json: bool) -> NoReturn:
    """Show it once a second: drawn over on a terminal, else one block or JSON line after another.

    Raises KeyboardInterrupt in the end.
    """
    if as_json or not sys.stdout.isatty():
        while True:
            present = _present(config)
            text = json.dumps(present.now) if as_json else "\n".join([*_lines(config, present), ""])
            print(text, flush=True)
            time.sleep(1)
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False) as screen:
        while True:
            lines = "\n".join(_lines(config, _present(config)))
            screen.update(Text(lines), refresh=True)
            time.sleep(1)


def jobs(config: Config, arguments: argparse.Namespace) -> int:
    """Print the history, newest first."""
    state = _state(arguments.state)
    journal = open_journal(config)
    if journal is None:
        print("[]" if arguments.json else "no jobs yet")
        return 0
    with closing(journal), closing(journal.jobs(state)) as rows:
        if arguments.json:
            _print_json(map(_row, rows))
        else:
            for job in rows:
                print(_line(job))
    return 0


def _state(name: str | None) -> JobState | None:
    if name is None:
        return None
    try:
        return JobState(name)
    except ValueError:
        known = ", ".join(JobState)
        print(f"watchconv: there is no state {name}; the states are {known}", file=sys.stderr)
        raise SystemExit(2) from None


def _print_json(rows: Iterator[dict[str, Any]]) -> None:
    """Print a list without holding it."""
    print("[", end="")
    for number, row in enumerate(rows):
        print(("," if number else "") + "\n" + json.dumps(row), end="")
    print("]")


def _row(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "source": job.source,
        "profile": job.profile,
        "state": job.state,
        "attempt": job.attempt,
        "output": job.output,
        "reason": job.reason,
        "queued_at": moment(job.queued_at),
        "started_at": moment(job.started_at),
        "ended_at": moment(job.ended_at),
    }


def _line(job: Job) -> str:
    when = (moment(job.ended_at or job.started_at or job.queued_at) or "")[:19].replace("T", " ")
    more = f" → {job.output}" if job.output else ""
    why = f": {job.reason}" if job.reason else ""
    return printable(
        f"{job.id:>6} {when} UTC {job.state:<10} [{job.profile}] {job.source}{more}{why}"
    )

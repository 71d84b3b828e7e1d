"""``retry``, ``cancel``, ``pause``, ``resume``: noted in the journal, carried out by the daemon.

A request is kept until it is carried out, whether a daemon runs or not. No file of the inbox or of
error/ is touched here.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from watchconv.commands.jobs import open_journal
from watchconv.host import status_file
from watchconv.host.folders import make_state
from watchconv.journal import requests
from watchconv.journal.jobs import PAUSED, Journal
from watchconv.model import JobState, Request

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from watchconv.config import Config
    from watchconv.model import Job


def retry(config: Config, arguments: argparse.Namespace) -> int:
    """Send failed originals back into the inbox."""
    if bool(arguments.jobs) == arguments.all:
        print("watchconv: name the jobs to retry, or --all, not both", file=sys.stderr)
        return 2
    journal = open_journal(config)
    ids = arguments.jobs
    if arguments.all:
        failed = list(journal.jobs(JobState.FAILED)) if journal else []
        ids = [job.id for job in failed if not _is_gone(config, job)]
        if gone := len(failed) - len(ids):
            print(f"{gone} failed jobs are passed over: their originals are not in error/ any more")
        if not ids:
            print("no failed jobs" if not gone else "no other failed jobs")
            return 0
    return _request(config, journal, ids, Request.RETRY, salvage=arguments.salvage)


def cancel(config: Config, arguments: argparse.Namespace) -> int:
    """End queued or running jobs."""
    return _request(config, open_journal(config), arguments.jobs, Request.CANCEL)


def _request(
    config: Config,
    journal: Journal | None,
    ids: Sequence[int],
    request: Request,
    *,
    salvage: bool = False,
) -> int:
    problems = 0
    done = "retried" if request is Request.RETRY else "cancelled"
    if salvage:
        done += ", and what is there of its original salvaged"
    for job_id in ids:
        problem = _problem(config, journal, job_id, request)
        if problem is None and journal:
            problem = requests.note(journal, job_id, request, salvage=salvage)
        if problem:
            print(f"watchconv: {problem}", file=sys.stderr)
            problems += 1
        else:
            print(f"job {job_id} will be {done}")
    if journal:
        journal.close()
    if problems < len(ids):
        _wake(config)
    return 1 if problems else 0


def _problem(config: Config, journal: Journal | None, job_id: int, request: Request) -> str | None:
    if journal is None:
        return f"there is no job {job_id}: no watchconv has run with the state {config.state}"
    if abs(job_id) >= 1 << 63:  # more than a journal can number, or be asked about
        return f"there is no job {job_id}"
    job = journal.get(job_id)
    if job and request is Request.RETRY and _is_gone(config, job):
        original = os.path.join(config.error, job.original or "")
        return f"job {job_id} cannot be retried: its original {original} is gone"
    return None


def _is_gone(config: Config, job: Job) -> bool:
    """Return whether a failed job's original has left error/, but for a retry that has begun."""
    if job.state is not JobState.FAILED or job.request is not None:
        return False
    return not os.path.lexists(os.path.join(config.error, job.original or ""))


def pause(config: Config, arguments: argparse.Namespace) -> int:
    """Claim no new jobs until ``resume``."""
    return _remember_pause(config, "1", "paused: no new job is started")


def resume(config: Config, arguments: argparse.Namespace) -> int:
    """Claim jobs again."""
    return _remember_pause(config, None, "resumed")


def _remember_pause(config: Config, value: str | None, said: str) -> int:
    make_state(config.state, status_file.WAKE_DIR)
    with closing(Journal(config.state)) as journal:
        journal.remember(PAUSED, value)
    print(said)
    _wake(config)
    return 0


def _wake(config: Config) -> None:
    status_file.wake(config.state)
    if status_file.read(config.state) is None:
        print("no watchconv is running; this takes effect when it starts")

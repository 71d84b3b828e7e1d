"""What people asked of jobs, kept in the journal until the daemon has done it.

A request is noted only if it fits its job's state. The name that a retry takes in the inbox is
reserved before the original is moved to it. ``daemon.control`` carries the requests out.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from watchconv.model import JobState, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.journal.jobs import Journal
    from watchconv.model import Job


def note(journal: Journal, job_id: int, request: Request, *, salvage: bool = False) -> str | None:
    """Note a request for the daemon. Returns why it cannot be noted, as a sentence, or None.

    salvage goes with a retry: what is there of the original is wanted, be it not whole.
    """
    if request is Request.RETRY:
        wants, done = [JobState.FAILED], "retried"
    else:
        wants, done = [JobState.QUEUED, JobState.RUNNING], "cancelled"
    with journal.writing() as db:
        row = db.execute("SELECT state FROM job WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            return f"there is no job {job_id}"
        if row[0] not in wants:
            return f"job {job_id} is {row[0]}: only a {' or '.join(wants)} job can be {done}"
        values = (request, salvage, job_id)
        db.execute("UPDATE job SET request = ?, salvage = ? WHERE id = ?", values)
    return None


def noted(journal: Journal) -> list[Job]:
    """Return the jobs with a request that is not yet carried out, oldest first."""
    return journal.select("request IS NOT NULL ORDER BY id")


def drop(journal: Journal, job_id: int) -> None:
    """Forget a request that cannot be carried out; release the name that it may have reserved."""
    with journal.writing() as db:
        columns = "request = NULL, held = held AND state <> 'failed'"
        db.execute(f"UPDATE job SET {columns} WHERE id = ?", (job_id,))


def begin_retry(journal: Journal, job_id: int, source: str) -> bool:
    """Reserve the name under which a failed original goes back; False when a job holds it."""
    name = os.fsencode(source)
    with journal.writing() as db:
        reserved = db.execute(
            "UPDATE job SET source = ?, folder = ?, held = 1 WHERE id = ? AND NOT EXISTS"
            " (SELECT 1 FROM job other WHERE other.held AND other.source = ? AND other.id <> ?)",
            (name, os.path.dirname(name), job_id, name, job_id),
        )
        return reserved.rowcount > 0


def has_begun(journal: Journal, job_id: int) -> bool:
    """Return whether a failed job's retry has begun: it holds a name in the inbox."""
    return bool(journal.read("SELECT 1 FROM job WHERE id = ? AND held", (job_id,)))


def newest_failed(journal: Journal, original: str) -> int | None:
    """Return the last of the failed jobs whose originals had this name in error/."""
    where = "INDEXED BY job_failed_as WHERE state = 'failed' AND original = ?"
    rows = journal.read(f"SELECT max(id) FROM job {where}", (os.fsencode(original),))
    newest: int | None = rows[0][0]
    return newest


def failed_as(journal: Journal, originals: Sequence[str]) -> list[str]:
    """Return which of these names in error/ failed jobs gave to their originals."""
    where = f"state = 'failed' AND original IN ({', '.join('?' * len(originals))})"
    sql = f"SELECT DISTINCT original FROM job INDEXED BY job_failed_as WHERE {where}"
    return [os.fsdecode(row[0]) for row in journal.read(sql, list(map(os.fsencode, originals)))]

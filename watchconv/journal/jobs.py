"""The journal: every job and its state, in one SQLite file. It is the queue.

Guarantees: a job is claimed by one worker only; a file of the inbox has at most one job that
holds its name; what was committed survives a power cut (WAL with ``synchronous=FULL``); every
change of state is one of ``model.TRANSITIONS``.
Does not know the file system, ffmpeg or time limits; it is synchronous, and its owner calls it
from one thread.
Errors: ``JournalError`` when the file cannot be opened, read or written. A change of state that
TRANSITIONS does not allow is a bug and raises ``AssertionError``; one that came too late, because
the job has moved on, changes nothing and returns None.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from watchconv.journal.database import Database
from watchconv.journal.rows import COLUMNS, blob, job_of
from watchconv.model import (
    BACKOFF_LIMIT_SECONDS,
    OPEN,
    STALES_PER_ATTEMPT,
    TRANSITIONS,
    Candidate,
    Intent,
    Job,
    JobState,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

TRIM_JOBS = 500
PAUSED, MOUNTS = "paused", "mounts"  # the settings that it remembers


class Journal(Database):
    """The jobs of one state directory. Close it when done.

    ``changed`` is called with each job whose state was changed, new ones too, once that is
    committed, on the owner's thread.
    """

    changed: Callable[[Job], None] = staticmethod(lambda job: None)

    # what the inbox holds

    def held(self, sources: Sequence[str]) -> dict[str, Job]:
        """Find the jobs that hold these names; at most a few hundred names a call."""
        marks = ",".join("?" * len(sources))
        rows = self.read(
            f"SELECT {COLUMNS} FROM job WHERE held AND source IN ({marks})",
            [os.fsencode(s) for s in sources],
        )
        return {job.source: job for job in map(job_of, rows)}

    def held_in(self, folder: str, after: str, limit: int = 500) -> list[str]:
        """Page through the names that jobs hold directly in a folder, in their order."""
        rows = self.read(
            "SELECT source FROM job WHERE held AND folder = ? AND source > ?"
            " ORDER BY source LIMIT ?",
            (os.fsencode(folder), os.fsencode(after), limit),
        )
        return [os.fsdecode(row[0]) for row in rows]

    def held_counts(self, folder: str | None = None) -> dict[str, int]:
        """Count the jobs that hold names directly in each folder, or in one of them."""
        where = "" if folder is None else " AND folder = ?"
        values = () if folder is None else (os.fsencode(folder),)
        sql = f"SELECT folder, count(*) FROM job WHERE held{where} GROUP BY folder"
        return {os.fsdecode(name): int(count) for name, count in self.read(sql, values)}

    def add(self, candidates: Sequence[Candidate], now: float) -> list[Job]:
        """Queue settled files; a name that a job already holds is passed over (idempotent).

        A file that changed under the attempt before brings the count of such changes in a row
        along: some of them count as an attempt.
        """
        added = []
        with self.writing() as db:
            for new in candidates:
                source = os.fsencode(new.source)
                last = db.execute(
                    "SELECT state, stale FROM job WHERE source = ? ORDER BY id DESC LIMIT 1",
                    (source,),
                ).fetchone()
                count = last[1] if last and last[0] == JobState.SUPERSEDED else 0
                row = db.execute(
                    "INSERT INTO job (source, folder, size, mtime_ns, profile, state, queued_at,"
                    " stale, attempt) VALUES (?, ?, ?, ?, ?, 'queued', ?, ?, ?)"
                    f" ON CONFLICT DO NOTHING RETURNING {COLUMNS}",
                    (
                        source,
                        os.path.dirname(source),
                        new.size,
                        new.mtime_ns,
                        new.profile,
                        now,
                        count,
                        count // STALES_PER_ATTEMPT,
                    ),
                ).fetchone()
                if row:
                    added.append(job_of(row))
        for job in added:
            self.changed(job)
        return added

    def release(self, job_id: int) -> None:
        """Let an ended job go of its name: the original that it kept is gone or changed."""
        with self.writing() as db:
            db.execute("UPDATE job SET held = 0 WHERE id = ?", (job_id,))

    # the queue

    def claim(self, now: float) -> Job | None:
        """Take the oldest ready job and mark it RUNNING.

        now is wall clock, seconds since the epoch; jobs with a later not_before are passed over,
        unless it lies so far ahead that only a stepped clock explains it.
        One attempt is charged here, not at failure: a file that takes the machine down
        must still run out of tries.

        Returns the job as it now stands, or None when nothing is ready.
        """
        with self.writing() as db:
            row = db.execute(
                "UPDATE job SET state = 'running', attempt = attempt + 1, run = run + 1,"
                " started_at = ?, ended_at = NULL, reason = NULL WHERE id ="
                " (SELECT id FROM job INDEXED BY job_queued"
                " WHERE state = 'queued' AND request IS NULL"
                " AND (not_before <= ? OR not_before > ?)"
                f" ORDER BY id LIMIT 1) RETURNING {COLUMNS}",
                (now, now, now + 2 * BACKOFF_LIMIT_SECONDS),
            ).fetchone()
        return self._told(row)

    def next_ready(self, now: float, limit: int) -> list[Job]:
        """List the jobs that ``claim`` would take next, oldest first, without taking them."""
        return [
            job_of(row)
            for row in self.read(
                f"SELECT {COLUMNS} FROM job INDEXED BY job_queued WHERE state = 'queued'"
                " AND request IS NULL AND not_before <= ? ORDER BY id LIMIT ?",
                (now, limit),
            )
        ]

    def next_ready_at(self) -> float | None:
        """Say when the next queued job may be claimed (wall clock), or None without any."""
        rows = self.read(
            "SELECT min(not_before) FROM job INDEXED BY job_ready"
            " WHERE state = 'queued' AND request IS NULL"
        )
        return None if rows[0][0] is None else float(rows[0][0])

    def requeue(
        self, job_id: int, *, refund: bool, not_before: float, reason: str | None
    ) -> Job | None:
        """Put a running job back (RUNNING → QUEUED); refund gives the attempt back."""
        columns = "attempt = attempt - ?, not_before = ?, reason = ?"
        values = (int(refund), not_before, reason)
        return self._advance(job_id, JobState.RUNNING, JobState.QUEUED, columns, values)

    def hurry(self, reason: str) -> None:
        """Let the queued jobs that were put off for this reason be claimed now."""
        with self.writing() as db:
            db.execute(
                "UPDATE job SET not_before = 0 WHERE state = 'queued' AND reason = ?", (reason,)
            )

    def intend(self, job: Job, intent: Intent) -> Job | None:
        """Commit what will be moved where, before it is (QUEUED or RUNNING → DELIVERING).

        None also where a cancel was asked for meanwhile, unless this is its answer.
        """
        columns = (
            "verdict = ?, output = ?, original = ?, on_success = ?, reason = ?, report = ?,"
            " request = NULL"
        )
        values = (
            intent.verdict,
            blob(intent.output),
            blob(intent.original),
            intent.on_success,
            intent.reason,
            intent.report,
        )
        answers = intent.verdict is Verdict.CANCELLED
        also = "" if answers else " AND request IS NULL"
        return self._advance(job.id, job.state, JobState.DELIVERING, columns, values, also)

    def retarget(self, job_id: int, *, output: str | None, original: str | None) -> Job:
        """Change the names that a delivery intends, because one was taken."""
        with self.writing() as db:
            row = db.execute(
                "UPDATE job SET output = ?, original = ? WHERE id = ? AND state = 'delivering'"
                f" RETURNING {COLUMNS}",
                (blob(output), blob(original), job_id),
            ).fetchone()
        return job_of(row)

    def finish(self, job_id: int, state: JobState, now: float, *, held: bool = False) -> Job | None:
        """Close a delivery; held when its original stays in the inbox."""
        columns = "ended_at = ?, held = ?, report = NULL, request = NULL"
        return self._advance(job_id, JobState.DELIVERING, state, columns, (now, int(held)))

    def withdraw(self, job_id: int, expected: JobState, now: float) -> Job | None:
        """Close a job whose original was taken away."""
        columns = "ended_at = ?, held = 0, request = NULL, reason = 'the original was taken away'"
        return self._advance(job_id, expected, JobState.WITHDRAWN, columns, (now,))

    def supersede(self, job_id: int, expected: JobState, now: float, *, stale: bool) -> Job | None:
        """Close a job whose original changed; stale when that happened while it was read."""
        columns = (
            "ended_at = ?, held = 0, request = NULL, stale = stale + ?,"
            " reason = 'the original changed'"
        )
        values = (now, int(stale))
        return self._advance(job_id, expected, JobState.SUPERSEDED, columns, values)

    def retry(self, job_id: int, size: int, mtime_ns: int, profile: str, now: float) -> Job | None:
        """Queue a failed job again, its original being back (FAILED → QUEUED)."""
        columns = (
            "size = ?, mtime_ns = ?, profile = ?, attempt = 0, stale = 0, not_before = 0,"
            " queued_at = ?, started_at = NULL, ended_at = NULL, verdict = NULL, output = NULL,"
            " original = NULL, on_success = NULL, reason = NULL, report = NULL, request = NULL"
        )
        values = (size, mtime_ns, profile, now)
        return self._advance(job_id, JobState.FAILED, JobState.QUEUED, columns, values)

    def _advance(
        self,
        job_id: int,
        expected: JobState,
        to: JobState,
        columns: str,
        values: Sequence[object],
        also: str = "",
    ) -> Job | None:
        """Change a job's state; None when it is no longer what is expected."""
        assert to in TRANSITIONS[expected], (job_id, expected, to)
        with self.writing() as db:
            row = db.execute(
                f"UPDATE job SET state = ?, {columns} WHERE id = ? AND state = ?{also}"
                f" RETURNING {COLUMNS}",
                (to, *values, job_id, expected),
            ).fetchone()
        return self._told(row)

    def _told(self, row: Sequence[Any] | None) -> Job | None:
        """Give the job of a row that was changed, if one was, and tell of it."""
        if row is None:
            return None
        job = job_of(row)
        self.changed(job)
        return job

    # the whole

    def get(self, job_id: int) -> Job | None:
        """Look one job up."""
        rows = self.read(f"SELECT {COLUMNS} FROM job WHERE id = ?", (job_id,))
        return job_of(rows[0]) if rows else None

    def jobs(self, state: JobState | None = None) -> Generator[Job]:
        """Yield the history, newest first."""
        where = f"state = '{state}' AND " if state else ""
        sql = f"SELECT {COLUMNS} FROM job WHERE {where}id < ? ORDER BY id DESC LIMIT ?"
        yield from map(job_of, self.pages(sql))

    def in_state(self, state: JobState) -> list[Job]:
        """List the jobs in one of the open states, oldest first; few, unless it is QUEUED."""
        assert state in OPEN
        # each has its index: the history may be long
        index = f"INDEXED BY job_{state}"
        sql = f"SELECT {COLUMNS} FROM job {index} WHERE state = '{state}' ORDER BY id"
        return [job_of(row) for row in self.read(sql)]

    def counts(self) -> dict[JobState, int]:
        """Count the jobs by state, without reading them."""
        counts = {JobState(s): int(n) for s, n in self.read("SELECT * FROM tally")}
        return {state: counts.get(state, 0) for state in JobState}

    def trim(self, keep_days: float, now: float) -> int:
        """Delete the history that ended before; never of files that are still in the inbox.

        At most ``TRIM_JOBS`` a call, lest all who wait for the journal wait for a long history.
        Returns how many; 0 when nothing is left to delete.
        """
        old = "ended_at IS NOT NULL AND NOT held AND ended_at < ?"
        before = now - keep_days * 86400
        if not self.read(f"SELECT 1 FROM job WHERE {old} LIMIT 1", (before,)):
            return 0
        some = f"SELECT id FROM job INDEXED BY job_ended WHERE {old} LIMIT {TRIM_JOBS}"
        with self.writing() as db:
            return db.execute(f"DELETE FROM job WHERE id IN ({some})", (before,)).rowcount

    def setting(self, name: str) -> str | None:
        """Read a remembered setting, such as ``paused``."""
        rows = self.read("SELECT value FROM setting WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def remember(self, name: str, value: str | None) -> None:
        """Write a setting, or forget it with None."""
        with self.writing() as db:
            if value is None:
                db.execute("DELETE FROM setting WHERE name = ?", (name,))
            else:
                db.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))

"""What the journal remembers: jobs and their attempts, events, sums for each day, settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watchconv.journal.database import Database
from watchconv.journal.rows import ATTEMPT, EVENT, JOB, STATISTIC
from watchconv.model import OPEN, EventKind, JobState, Savings

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

    from watchconv.model import Attempt, Event, Job, Statistic, Trouble

PAGE_ROWS = 200
TRIM_JOBS = 500
TRIM_EVENTS = 5000
PAUSED, MOUNTS = "paused", "mounts"  # names of settings
_LARGEST_ID = 2**63 - 1


class History(Database):
    """The reading half of the journal, and what is kept beside the jobs."""

    def get(self, job_id: int) -> Job | None:
        """Return one job."""
        rows = self.read(f"SELECT {JOB.columns} FROM job WHERE id = ?", (job_id,))
        return JOB.value(rows[0]) if rows else None

    def jobs(self, state: JobState | None = None) -> Generator[Job]:
        """Yield the history, newest first.

        It is read in pages, and no statement stays open between two: a slow reader does not keep
        the log of writes from being checkpointed.
        """
        where, values = ("", ()) if state is None else ("state = ? AND ", (state,))
        sql = f"SELECT {JOB.columns} FROM job WHERE {where}id < ? ORDER BY id DESC LIMIT ?"
        below = _LARGEST_ID
        while page := [JOB.value(row) for row in self.read(sql, (*values, below, PAGE_ROWS))]:
            yield from page
            below = page[-1].id

    def in_state(self, state: JobState) -> list[Job]:
        """Return the jobs in one of the open states, oldest first; few, unless it is QUEUED."""
        assert state in OPEN
        sql = f"SELECT {JOB.columns} FROM job WHERE state = ? ORDER BY id"
        return [JOB.value(row) for row in self.read(sql, (state,))]

    def open_among(self, job_ids: Collection[int]) -> list[Job]:
        """Return which of these jobs are open; thousands of ids are many."""
        marks = ", ".join("?" * len(job_ids))
        sql = f"SELECT {JOB.columns} FROM job WHERE id IN ({marks})"
        jobs = [JOB.value(row) for row in self.read(sql, tuple(job_ids))]
        return [job for job in jobs if job.state in OPEN]

    def counts(self) -> dict[JobState, int]:
        """Return the number of jobs in each state, without reading them."""
        counts = {JobState(s): int(n) for s, n in self.read("SELECT state, jobs FROM tally")}
        return {state: counts.get(state, 0) for state in JobState}

    def attempts(self, job_id: int) -> list[Attempt]:
        """Return all attempts at a job, oldest first, those before a retry too."""
        sql = f"SELECT {ATTEMPT.columns} FROM attempt WHERE job = ? ORDER BY run"
        return [ATTEMPT.value(row) for row in self.read(sql, (job_id,))]

    def events(self, after_id: int, limit: int) -> list[Event]:
        """Return the next events after one, in their order. Ids may have gaps, but only grow."""
        sql = f"SELECT {EVENT.columns} FROM event WHERE id > ? ORDER BY id LIMIT ?"
        return [EVENT.value(row) for row in self.read(sql, (after_id, limit))]

    def record_trouble(self, trouble: Trouble, sentence: str, now: float, *, cleared: bool) -> None:
        """Write the event that a trouble began or, with cleared, that it is over."""
        kind = EventKind.CLEARED if cleared else EventKind.TROUBLE
        sql = "INSERT INTO event (at, kind, cause, sentence) VALUES (?, ?, ?, ?)"
        with self.writing() as db:
            db.execute(sql, (now, kind, trouble, sentence))

    def statistics(self) -> list[Statistic]:
        """Return the sums of all days, oldest first."""
        sql = f"SELECT {STATISTIC.columns} FROM stat ORDER BY day, profile, outcome, cause"
        return [STATISTIC.value(row) for row in self.read(sql)]

    def savings(self) -> Savings:
        """Return what all jobs that are done came to."""
        sums = "ifnull(sum(jobs), 0), ifnull(sum(input_bytes), 0), ifnull(sum(output_bytes), 0)"
        (row,) = self.read(f"SELECT {sums} FROM stat WHERE outcome = 'done'")
        return Savings(*row)

    def trim(self, keep_days: float, now: float) -> int:
        """Delete jobs that ended before, with their attempts and events, and old troubles.

        Jobs of files that are still in the inbox stay. At most ``TRIM_JOBS`` are deleted in one
        call, so that others who wait for the journal get their turn. Returns how many jobs were
        deleted; 0 when none is left to delete.
        """
        before = (now - keep_days * 86400,)
        jobs = (
            "SELECT id FROM job INDEXED BY job_ended WHERE ended_at IS NOT NULL AND NOT held"
            f" AND ended_at < ? LIMIT {TRIM_JOBS}"
        )
        troubles = (
            "SELECT id FROM event INDEXED BY event_trouble WHERE job IS NULL AND at < ?"
            f" LIMIT {TRIM_EVENTS}"
        )
        if not self.read(jobs, before) and not self.read(troubles, before):
            return 0
        with self.writing() as db:
            db.execute(f"DELETE FROM event WHERE id IN ({troubles})", before)
            return db.execute(f"DELETE FROM job WHERE id IN ({jobs})", before).rowcount

    def setting(self, name: str) -> str | None:
        """Return a remembered setting, such as ``paused``."""
        rows = self.read("SELECT value FROM setting WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def remember(self, name: str, value: str | None) -> None:
        """Write a setting, or forget it with None."""
        with self.writing() as db:
            db.execute("DELETE FROM setting WHERE name = ?", (name,))
            if value is not None:
                db.execute("INSERT INTO setting VALUES (?, ?)", (name, value))

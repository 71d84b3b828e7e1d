"""What the journal remembers: jobs and their attempts, events, sums for each day, settings."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from typing import TYPE_CHECKING

from watchconv.journal.database import Database
from watchconv.model import (
    OPEN,
    Attempt,
    AttemptOutcome,
    Cause,
    Event,
    EventKind,
    Job,
    JobState,
    JobWarning,
    OnSuccess,
    OutputFile,
    OutputRole,
    OutputState,
    Request,
    Savings,
    Statistic,
    Verdict,
    WaitReason,
    WarningCause,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Sequence

    from watchconv.model import Trouble

PAGE_ROWS = 200
TRIM_JOBS = 500
TRIM_EVENTS = 5000
PAUSED, MOUNTS = "paused", "mounts"  # names of settings

_FIELDS = [field.name for field in fields(Job)]
# how what the file holds becomes what a job has; paths are bytes in the file
_KINDS = {
    "source": os.fsdecode,
    "original": os.fsdecode,
    "state": JobState,
    "verdict": Verdict,
    "request": Request,
    "on_success": OnSuccess,
    "cause": Cause,
    "wait_reason": WaitReason,
}
# the names are in hexadecimal digits: JSON holds no bytes
_OUTPUTS = """
    (SELECT json_group_array(json_array(hex(file), hex(suffix), hex(name), size, role, state))
        FROM (SELECT * FROM output WHERE output.job = job.id ORDER BY ordinal))
"""
_WARNED = "INDEXED BY job_warned WHERE state = 'done' AND warnings IS NOT NULL"
_COLUMNS = ", ".join(_OUTPUTS if name == "outputs" else name for name in _FIELDS)


class History(Database):
    """The reading half of the journal, and what is kept beside the jobs."""

    def select(self, where: str, values: Sequence[object] = ()) -> list[Job]:
        """Return the jobs that meet a condition, written as SQL."""
        jobs = []
        for row in self.read(f"SELECT {_COLUMNS} FROM job WHERE {where}", values):
            job = dict(zip(_FIELDS, row, strict=True))
            for name, kind in _KINDS.items():
                if job[name] is not None:
                    job[name] = kind(job[name])
            job["salvage"] = bool(job["salvage"])
            job["warnings"] = tuple(
                JobWarning(WarningCause(cause), text)
                for cause, text in json.loads(job["warnings"] or "[]")
            )
            outputs = []
            for *names, size, role, state in json.loads(job["outputs"]):
                file, suffix, name = map(os.fsdecode, map(bytes.fromhex, names))
                output = (file, suffix, size or 0, OutputRole(role), name, OutputState(state))
                outputs.append(OutputFile(*output))
            job["outputs"] = tuple(outputs)
            jobs.append(Job(**job))
        return jobs

    def get(self, job_id: int) -> Job | None:
        """Return one job."""
        jobs = self.select("id = ?", (job_id,))
        return jobs[0] if jobs else None

    def jobs(self, state: JobState | None = None) -> Generator[Job]:
        """Yield the history, newest first.

        It is read in pages, and no statement stays open between two: a slow reader does not keep
        the log of writes from being checkpointed.
        """
        where, values = ("", ()) if state is None else ("state = ? AND ", (state,))
        where += "id < ? ORDER BY id DESC LIMIT ?"
        below = 2**63 - 1
        while page := self.select(where, (*values, below, PAGE_ROWS)):
            yield from page
            below = page[-1].id

    def in_state(self, state: JobState) -> list[Job]:
        """Return the jobs in one of the open states, oldest first; few, unless it is QUEUED."""
        assert state in OPEN
        return self.select("state = ? ORDER BY id", (state,))

    def open_among(self, job_ids: Collection[int]) -> list[Job]:
        """Return which of these jobs are open; thousands of ids are many."""
        jobs = self.select(f"id IN ({', '.join('?' * len(job_ids))})", tuple(job_ids))
        return [job for job in jobs if job.state in OPEN]

    def counts(self) -> dict[JobState, int]:
        """Return the number of jobs in each state, without reading them."""
        counts = dict.fromkeys(JobState, 0)
        for state, jobs in self.read("SELECT state, jobs FROM tally"):
            counts[JobState(state)] = jobs
        return counts

    def receipt(self, job_id: int) -> str | None:
        """Return what a job's last attempt found, as it was intended with; None: nothing."""
        rows = self.read("SELECT receipt FROM job WHERE id = ?", (job_id,))
        receipt: str | None = rows[0][0] if rows else None
        return receipt

    def count_warned(self) -> int:
        """Return how many done jobs have warnings, without reading them."""
        count: int = self.read(f"SELECT count(*) FROM job {_WARNED}")[0][0]
        return count

    def last_warned(self, limit: int) -> list[Job]:
        """Return the newest done jobs with warnings, the newest first."""
        ids = self.read(f"SELECT id FROM job {_WARNED} ORDER BY id DESC LIMIT ?", (limit,))
        found = [self.get(row[0]) for row in ids]
        return [job for job in found if job]

    def attempts(self, job_id: int) -> list[Attempt]:
        """Return all attempts at a job, oldest first, those before a retry too."""
        sql = f"SELECT {', '.join(Attempt._fields)} FROM attempt WHERE job = ? ORDER BY run"
        return [
            Attempt._make((*r[:6], r[6] and AttemptOutcome(r[6]), r[7] and Cause(r[7]), *r[8:]))
            for r in self.read(sql, (job_id,))
        ]

    def events(self, after_id: int, limit: int) -> list[Event]:
        """Return the next events after one, in their order. Ids may have gaps, but only grow."""
        sql = f"SELECT {', '.join(Event._fields)} FROM event WHERE id > ? ORDER BY id LIMIT ?"
        return [
            Event._make((*r[:3], EventKind(r[3]), *[s and JobState(s) for s in r[4:6]], *r[6:]))
            for r in self.read(sql, (after_id, limit))
        ]

    def record_trouble(self, trouble: Trouble, sentence: str, now: float, *, cleared: bool) -> None:
        """Write the event that a trouble began or, with cleared, that it is over."""
        kind = EventKind.CLEARED if cleared else EventKind.TROUBLE
        sql = "INSERT INTO event (at, kind, cause, sentence) VALUES (?, ?, ?, ?)"
        with self.writing() as db:
            db.execute(sql, (now, kind, trouble, sentence))

    def statistics(self) -> list[Statistic]:
        """Return the sums of all days, oldest first."""
        sql = f"SELECT {', '.join(Statistic._fields)} FROM stat"
        rows = self.read(f"{sql} ORDER BY day, profile, outcome, cause")
        return [Statistic._make((*r[:3], Cause(r[3]) if r[3] else None, *r[4:])) for r in rows]

    def savings(self) -> Savings:
        """Return what all jobs that are done came to."""
        sums = ", ".join(f"ifnull(sum({name}), 0)" for name in Savings._fields)
        return Savings(*self.read(f"SELECT {sums} FROM stat WHERE outcome = 'done'")[0])

    def savings_by_profile(self) -> dict[str, Savings]:
        """Return the same for each profile of which a job is done, by name."""
        sums = ", ".join(f"sum({name})" for name in Savings._fields)
        done = "FROM stat WHERE outcome = 'done' GROUP BY profile ORDER BY profile"
        return {row[0]: Savings(*row[1:]) for row in self.read(f"SELECT profile, {sums} {done}")}

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

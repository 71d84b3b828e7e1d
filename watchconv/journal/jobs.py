"""The journal: every job and its state, in one SQLite file. It is the queue.

Guarantees: a job is claimed once; a file of the inbox has at most one job that holds its name;
every change of state is one of ``model.TRANSITIONS``, and its event, its attempt, its outputs and
the sums of its day are written in the same transaction.
Errors: ``JournalError`` when the file cannot be read or written. A change of state that TRANSITIONS
does not allow is a bug and raises ``AssertionError``; one that came too late, because the job has
moved on, changes nothing and returns None.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import astuple
from typing import TYPE_CHECKING

from watchconv.journal.history import MOUNTS, PAUSED, TRIM_JOBS, History
from watchconv.model import (
    BACKOFF_LIMIT_SECONDS,
    STALES_PER_ATTEMPT,
    TRANSITIONS,
    AttemptEnd,
    Candidate,
    Intent,
    Job,
    JobState,
    Verdict,
    WaitReason,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MOUNTS", "PAUSED", "TRIM_JOBS", "Journal"]

# the jobs that may be claimed, in order: ready now, or put off so far that the clock was set since
_CLAIMABLE = """
    SELECT id FROM job INDEXED BY job_claim WHERE state = 'queued' AND request IS NULL
        AND (not_before <= ? OR not_before > ?)
    ORDER BY priority DESC, id LIMIT 1
"""
_CLOSED = "ended_at = ?, held = 0, request = NULL, wait_reason = NULL, reason = ?"
_NO_END = (None, None, 0.0, None, None, None)
# in the order of AttemptEnd
_END_ATTEMPT = """
    UPDATE attempt SET ended = ?, outcome = ?, cause = ?, seconds = ?, cpu_seconds = ?,
        peak_memory_bytes = ?, media_seconds = ?
    WHERE job = ? AND ended IS NULL
"""
_ADD_SECONDS = """
    UPDATE job SET encode_seconds = encode_seconds + ?, media_seconds = ifnull(?, media_seconds)
    WHERE id = ?
"""
# no bytes count where the size of an output is not known
_COUNT = """
    INSERT INTO stat
    SELECT ifnull(date(ended_at, 'unixepoch'), ''), profile,
        CASE verdict WHEN 'cancelled' THEN 'cancelled' ELSE state END, ifnull(cause, ''), 1,
        CASE WHEN unknown THEN 0 ELSE size END, CASE WHEN unknown THEN 0 ELSE made END,
        ifnull(media_seconds, 0), encode_seconds, max(0, ifnull(began, ended_at) - queued_at)
    FROM job,
        (SELECT ifnull(sum(size), 0) made, count(*) > count(size) unknown
            FROM output WHERE job = ? AND role <> 'receipt'),
        (SELECT min(began) began FROM attempt JOIN job ON id = job WHERE job = ?
            AND began >= queued_at)
    WHERE id = ?
    ON CONFLICT (day, profile, outcome, cause) DO UPDATE SET
        jobs = jobs + 1,
        input_bytes = input_bytes + excluded.input_bytes,
        output_bytes = output_bytes + excluded.output_bytes,
        media_seconds = media_seconds + excluded.media_seconds,
        encode_seconds = encode_seconds + excluded.encode_seconds,
        wait_seconds = wait_seconds + excluded.wait_seconds
"""
_SEEN = 256  # queued jobs whose sizes stand for all


class Journal(History):
    """The jobs of one state directory. Close it when done."""

    # what the inbox holds

    def held(self, sources: Sequence[str]) -> dict[str, Job]:
        """Return the jobs that hold these names, by name; ask for a few hundred names at most."""
        where = f"held AND source IN ({', '.join('?' * len(sources))})"
        jobs = self.select(where, list(map(os.fsencode, sources)))
        return {job.source: job for job in jobs}

    def held_in(self, folder: str, after: str, limit: int = 500) -> list[str]:
        """Return the next names after one, in their order, that jobs hold directly in a folder."""
        where = "held AND folder = ? AND source > ? ORDER BY source LIMIT ?"
        values = (os.fsencode(folder), os.fsencode(after), limit)
        rows = self.read(f"SELECT source FROM job WHERE {where}", values)
        return [os.fsdecode(row[0]) for row in rows]

    def held_counts(self, folder: str | None = None) -> dict[str, int]:
        """Return how many jobs hold names directly in each folder, or in one of them."""
        where = "" if folder is None else " AND folder = ?"
        values = () if folder is None else (os.fsencode(folder),)
        sql = f"SELECT folder, count(*) FROM job WHERE held{where} GROUP BY folder"
        return {os.fsdecode(name): int(count) for name, count in self.read(sql, values)}

    def add(self, candidates: Sequence[Candidate], now: float) -> list[Job]:
        """Queue settled files, and return their jobs; a name that a job holds is passed over.

        A file that changed under the attempt before brings the count of such changes in a row
        along: some of them count as an attempt.
        """
        added: list[Job] = []
        with self.writing() as db:
            for new in candidates:
                source = os.fsencode(new.source)
                sql = "SELECT state, stale FROM job WHERE source = ? ORDER BY id DESC LIMIT 1"
                last = db.execute(sql, (source,)).fetchone()
                stale = last[1] if last and last[0] == JobState.SUPERSEDED else 0
                found = (source, os.path.dirname(source), new.size, new.mtime_ns, new.profile)
                row = db.execute(
                    "INSERT INTO job (source, folder, size, mtime_ns, profile, state, queued_at,"
                    " stale, attempt) VALUES (?, ?, ?, ?, ?, 'queued', ?, ?, ?)"
                    " ON CONFLICT DO NOTHING RETURNING id",
                    (*found, now, stale, stale // STALES_PER_ATTEMPT),
                ).fetchone()
                if row:
                    added += self.select("id = ?", row)
        return added

    def release(self, job_id: int) -> None:
        """Let an ended job's name go: the original that it kept is gone or has changed."""
        with self.writing() as db:
            db.execute("UPDATE job SET held = 0 WHERE id = ?", (job_id,))

    # the queue

    def claim(self, now: float, *, engine: str = "local", owner: str = "") -> Job | None:
        """Mark the first ready job RUNNING and begin its attempt; None when nothing is ready.

        A higher priority comes first, then the older job. now is wall clock, seconds since the
        epoch; a job with a later not_before is passed over, unless that lies so far ahead that
        only a stepped clock explains it. One attempt is charged here, not at failure: a file that
        takes the machine down must still run out of attempts.
        """
        ready = (now, now + 2 * BACKOFF_LIMIT_SECONDS)
        if not self.read(_CLAIMABLE, ready):  # the usual answer takes no lock
            return None
        with self.writing() as db:
            row = db.execute(
                "UPDATE job SET state = 'running', attempt = attempt + 1, run = run + 1,"
                " started_at = ?, ended_at = NULL, reason = NULL, wait_reason = NULL"
                f" WHERE id = ({_CLAIMABLE}) RETURNING id, run",
                (now, *ready),
            ).fetchone()
            if row is None:
                return None
            db.execute(
                "INSERT INTO attempt (job, run, engine, owner, began) VALUES (?, ?, ?, ?, ?)",
                (*row, engine, owner, now),
            )
            return self.select("id = ?", row[:1])[0]

    def company(self, job: Job) -> float:
        """Return how many other jobs are encoded while one is, on an average over its encode.

        By their sizes: a film that is left with a few small clips soon has the machine to itself,
        while each of those has the film beside it for all of its time.
        """
        share = "coalesce(sum(min(1.0, size * 1.0 / ?)), 0.0), count(*)"
        running = self.read(
            f"SELECT {share} FROM job WHERE state = 'running' AND id <> ?",
            (max(1, job.size), job.id),
        )[0]
        seen = self.read(
            f"SELECT {share} FROM (SELECT size FROM job INDEXED BY job_claim"
            " WHERE state = 'queued' AND request IS NULL ORDER BY priority DESC, id LIMIT ?)",
            (max(1, job.size), _SEEN),
        )[0]
        # the others of a long queue are taken to be as these
        queued = self.counts()[JobState.QUEUED] if seen[1] == _SEEN else seen[1]
        return float(running[0] + seen[0] * queued / max(1, seen[1]))

    def next_ready_at(self) -> float | None:
        """Return when the next queued job may be claimed (wall clock), or None without any."""
        rows = self.read(
            "SELECT min(not_before) FROM job INDEXED BY job_ready"
            " WHERE state = 'queued' AND request IS NULL"
        )
        return None if rows[0][0] is None else float(rows[0][0])

    def requeue(
        self,
        job_id: int,
        ended: AttemptEnd,
        *,
        refund: bool,
        not_before: float,
        wait_reason: WaitReason | None,
        reason: str | None,
    ) -> Job | None:
        """Put a running job back (RUNNING → QUEUED); refund gives the attempt back."""
        columns = "attempt = attempt - ?, not_before = ?, wait_reason = ?, reason = ?"
        values = (int(refund), not_before, wait_reason, reason)
        return self._advance(job_id, JobState.RUNNING, JobState.QUEUED, columns, values, ended)

    def release_delayed(self, wait_reason: WaitReason) -> int:
        """Let the queued jobs that wait for this reason be claimed now; return how many."""
        waiting = "state = 'queued' AND wait_reason = ?"
        if not self.read(f"SELECT 1 FROM job WHERE {waiting} LIMIT 1", (wait_reason,)):
            return 0
        with self.writing() as db:
            sql = f"UPDATE job SET not_before = 0, wait_reason = NULL WHERE {waiting}"
            return db.execute(sql, (wait_reason,)).rowcount

    def intend(self, job: Job, intent: Intent, ended: AttemptEnd | None = None) -> Job | None:
        """Commit what will be moved where, before it is (QUEUED or RUNNING → DELIVERING).

        ended is how the attempt of a running job ended. Returns None also where a cancel was
        asked for meanwhile, unless this is its answer.
        """
        columns = (
            "verdict = ?, original = ?, on_success = ?, cause = ?, wait_reason = NULL, reason = ?,"
            " report = ?, warnings = ?, receipt = ?, request = NULL"
        )
        values = (
            intent.verdict,
            None if intent.original is None else os.fsencode(intent.original),
            intent.on_success,
            intent.cause,
            intent.reason,
            intent.report,
            json.dumps(intent.warnings) if intent.warnings else None,
            intent.receipt,
        )
        return self._advance(job.id, job.state, JobState.DELIVERING, columns, values, ended, intent)

    def retarget(self, job_id: int, *, outputs: Sequence[str], original: str | None) -> Job:
        """Change the names that a delivery intends, because one was taken; outputs in order."""
        with self.writing() as db:
            place = None if original is None else os.fsencode(original)
            where = "id = ? AND state = 'delivering'"
            db.execute(f"UPDATE job SET original = ? WHERE {where}", (place, job_id))
            where = "job = ? AND ordinal = ? AND state = 'intended'"
            for ordinal, name in enumerate(outputs):
                values = (os.fsencode(name), job_id, ordinal)
                db.execute(f"UPDATE output SET name = ? WHERE {where}", values)
            return self.select("id = ?", (job_id,))[0]

    def finish(self, job_id: int, state: JobState, now: float, *, held: bool = False) -> Job | None:
        """Close a delivery; held when its original stays in the inbox."""
        columns = "ended_at = ?, held = ?, report = NULL, request = NULL"
        return self._advance(job_id, JobState.DELIVERING, state, columns, (now, int(held)))

    def withdraw(
        self, job_id: int, expected: JobState, now: float, ended: AttemptEnd | None = None
    ) -> Job | None:
        """Close a job whose original was taken away."""
        values = (now, "the original was taken away")
        return self._advance(job_id, expected, JobState.WITHDRAWN, _CLOSED, values, ended)

    def supersede(
        self,
        job_id: int,
        expected: JobState,
        now: float,
        *,
        stale: bool,
        ended: AttemptEnd | None = None,
    ) -> Job | None:
        """Close a job whose original changed; stale when that happened while it was read."""
        columns, values = f"{_CLOSED}, stale = stale + ?", (now, "the original changed", int(stale))
        return self._advance(job_id, expected, JobState.SUPERSEDED, columns, values, ended)

    def retry(self, job_id: int, size: int, mtime_ns: int, profile: str, now: float) -> Job | None:
        """Queue a failed job again, its original being back (FAILED → QUEUED)."""
        columns = (
            "size = ?, mtime_ns = ?, profile = ?, attempt = 0, stale = 0, not_before = 0,"
            " queued_at = ?, started_at = NULL, ended_at = NULL, verdict = NULL, original = NULL,"
            " on_success = NULL, cause = NULL, reason = NULL, report = NULL, request = NULL,"
            " warnings = NULL, receipt = NULL, encode_seconds = 0, media_seconds = NULL"
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
        ended: AttemptEnd | None = None,
        intent: Intent | None = None,
    ) -> Job | None:
        """Change a job's state and all that goes with it; None when it is not as expected."""
        assert to in TRANSITIONS[expected], (job_id, expected, to)
        unless = ""
        if intent and intent.verdict is not Verdict.CANCELLED:  # a cancel comes first
            unless = " AND request IS NULL"
        with self.writing() as db:
            changed = db.execute(
                f"UPDATE job SET state = ?, {columns} WHERE id = ? AND state = ?{unless}",
                (to, *values, job_id, expected),
            ).rowcount
            if not changed:
                return None
            if expected is JobState.RUNNING:
                end = astuple(ended) if ended else _NO_END
                db.execute(_END_ATTEMPT, (time.time(), *end, job_id))
                db.execute(_ADD_SECONDS, (end[2], end[-1], job_id))
            for ordinal, made in enumerate(intent.outputs if intent else ()):
                assert made.name, intent
                names = map(os.fsencode, (made.file, made.suffix, made.name))
                db.execute(
                    "INSERT INTO output (job, ordinal, role, size, file, suffix, name, state)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, 'intended')",
                    (job_id, ordinal, made.role, made.size, *names),
                )
            if to is JobState.DONE:
                db.execute("UPDATE output SET state = 'delivered' WHERE job = ?", (job_id,))
            elif expected is JobState.DELIVERING:  # what was intended has not come about
                db.execute("DELETE FROM output WHERE job = ?", (job_id,))
            if to in (JobState.DONE, JobState.FAILED):
                db.execute(_COUNT, (job_id,) * 3)
            return self.select("id = ?", (job_id,))[0]

"""The journal's tables, as a row of steps: each brings a journal from one version to the next.

Guarantees: a step that was released is never changed again; what changes is a further step, and a
frozen journal of each version is among the tests' data.
Does not carry the steps out: ``store`` does.
"""

from __future__ import annotations

# Statements end with ;; (a trigger holds single ones).
# held: the row stands for the file that lies at inbox/source. One such row per name.
_FIRST = """
CREATE TABLE job (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source BLOB NOT NULL,
    folder BLOB NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    profile TEXT NOT NULL,
    state TEXT NOT NULL,
    held INTEGER NOT NULL DEFAULT 1,
    attempt INTEGER NOT NULL DEFAULT 0,
    run INTEGER NOT NULL DEFAULT 0,
    stale INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0,
    queued_at REAL NOT NULL,
    started_at REAL,
    ended_at REAL,
    verdict TEXT,
    output BLOB,
    original BLOB,
    reason TEXT,
    report TEXT,
    request TEXT
);;
CREATE UNIQUE INDEX job_held ON job (source) WHERE held;;
CREATE INDEX job_held_folder ON job (folder, source) WHERE held;;
CREATE INDEX job_source ON job (source, id);;
CREATE INDEX job_queued ON job (id) WHERE state = 'queued';;
CREATE INDEX job_ready ON job (not_before) WHERE state = 'queued' AND request IS NULL;;
CREATE INDEX job_running ON job (id) WHERE state = 'running';;
CREATE INDEX job_delivering ON job (id) WHERE state = 'delivering';;
CREATE INDEX job_failed ON job (id) WHERE state = 'failed';;
CREATE INDEX job_request ON job (id) WHERE request IS NOT NULL;;
CREATE INDEX job_ended ON job (ended_at) WHERE ended_at IS NOT NULL AND NOT held;;

-- counted as it changes: a status must not read a million rows
CREATE TABLE tally (state TEXT PRIMARY KEY, jobs INTEGER NOT NULL) WITHOUT ROWID;;
CREATE TRIGGER job_added AFTER INSERT ON job BEGIN
    INSERT INTO tally VALUES (new.state, 1)
        ON CONFLICT (state) DO UPDATE SET jobs = jobs + 1;
END;;
CREATE TRIGGER job_removed AFTER DELETE ON job BEGIN
    UPDATE tally SET jobs = jobs - 1 WHERE state = old.state;
END;;
CREATE TRIGGER job_moved AFTER UPDATE OF state ON job WHEN old.state <> new.state BEGIN
    UPDATE tally SET jobs = jobs - 1 WHERE state = old.state;
    INSERT INTO tally VALUES (new.state, 1)
        ON CONFLICT (state) DO UPDATE SET jobs = jobs + 1;
END;;

CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID
"""

# What an older version meant to do with an original that it names nowhere is not known: it stays.
_DISPOSAL = """
ALTER TABLE job ADD COLUMN on_success TEXT;;
UPDATE job SET on_success = CASE WHEN original IS NULL THEN 'keep' ELSE 'move' END
    WHERE state = 'delivering' AND verdict = 'encoded'
"""

MIGRATIONS: tuple[str, ...] = (_FIRST, _DISPOSAL)  # the first makes version 1 of nothing

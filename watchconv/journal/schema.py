"""The journal's tables, as steps: each brings a journal from one version to the next.

A step that was released is never changed again: what changes is a further step. The tests hold a
frozen journal of each version.
"""

from __future__ import annotations

# Statements end with ;; (a trigger holds single ones).
# held: the row stands for the file that lies at inbox/source. One such row per name.
_FIRST = """
CREATE TABLE job (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source BLOB NOT NULL, folder BLOB NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, profile TEXT NOT NULL,
    state TEXT NOT NULL, held INTEGER NOT NULL DEFAULT 1, attempt INTEGER NOT NULL DEFAULT 0,
    run INTEGER NOT NULL DEFAULT 0, stale INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0, queued_at REAL NOT NULL, started_at REAL, ended_at REAL,
    verdict TEXT, output BLOB, original BLOB, reason TEXT, report TEXT, request TEXT
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

# The file of an older output is named after its suffix, which is what its name ends with. Its size
# is not known, so the bytes of its job do not count: they would all seem to be saved.
_HISTORY = """
ALTER TABLE job ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;;
ALTER TABLE job ADD COLUMN cause TEXT;;
ALTER TABLE job ADD COLUMN wait_reason TEXT;;
ALTER TABLE job ADD COLUMN warnings TEXT;;
ALTER TABLE job ADD COLUMN encode_seconds REAL NOT NULL DEFAULT 0;;
ALTER TABLE job ADD COLUMN media_seconds REAL;;
UPDATE job SET wait_reason = CASE
        WHEN reason = 'the file system that holds it, or the outbox, is not mounted'
        THEN 'unmounted' WHEN not_before > 0 THEN 'backoff' END
    WHERE state = 'queued';;
UPDATE job SET cause = CASE
        WHEN verdict = 'cancelled' THEN 'cancelled'
        WHEN reason = 'it changed each time it was converted' THEN 'changed'
        WHEN reason = 'watchconv or the machine went down each time while this was converted'
        THEN 'crashed' END
    WHERE verdict IN ('failed', 'cancelled');;

CREATE TABLE output (
    job INTEGER NOT NULL, ordinal INTEGER NOT NULL,
    role TEXT NOT NULL, file BLOB NOT NULL, suffix BLOB NOT NULL, name BLOB NOT NULL,
    size INTEGER, state TEXT NOT NULL,
    PRIMARY KEY (job, ordinal)
) WITHOUT ROWID;;
INSERT INTO output
    SELECT id, 0, 'video', CAST('output' || suffix AS BLOB), CAST(suffix AS BLOB), output, NULL,
        CASE state WHEN 'done' THEN 'delivered' ELSE 'intended' END
    FROM (
        SELECT id, state, output, substr(name, length(rtrim(name, replace(name, '.', '')))) suffix
        FROM (SELECT id, state, output, CAST(output AS TEXT) name FROM job)
        WHERE output IS NOT NULL AND state IN ('delivering', 'done')
    );;
ALTER TABLE job DROP COLUMN output;;

CREATE TABLE attempt (
    job INTEGER NOT NULL, run INTEGER NOT NULL, engine TEXT NOT NULL, owner TEXT NOT NULL,
    began REAL NOT NULL, ended REAL, outcome TEXT, cause TEXT, seconds REAL NOT NULL DEFAULT 0,
    cpu_seconds REAL, peak_memory_bytes INTEGER, media_seconds REAL,
    PRIMARY KEY (job, run)
) WITHOUT ROWID;;
INSERT INTO attempt (job, run, engine, owner, began)
    SELECT id, run, 'local', '', ifnull(started_at, queued_at) FROM job WHERE state = 'running';;

CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, job INTEGER, kind TEXT NOT NULL,
    from_state TEXT, to_state TEXT, cause TEXT, sentence TEXT
);;
CREATE INDEX event_job ON event (job) WHERE job IS NOT NULL;;
CREATE INDEX event_trouble ON event (at) WHERE job IS NULL;;
CREATE TRIGGER event_added AFTER INSERT ON job BEGIN
    INSERT INTO event (at, job, kind, to_state)
        VALUES ((julianday('now') - 2440587.5) * 86400.0, new.id, 'state', new.state);
END;;
CREATE TRIGGER event_moved AFTER UPDATE OF state ON job WHEN old.state <> new.state BEGIN
    INSERT INTO event (at, job, kind, from_state, to_state, cause, sentence)
        VALUES ((julianday('now') - 2440587.5) * 86400.0, new.id, 'state', old.state, new.state,
            ifnull(new.cause, new.wait_reason), new.reason);
END;;
CREATE TRIGGER job_forgotten AFTER DELETE ON job BEGIN
    DELETE FROM attempt WHERE job = old.id;
    DELETE FROM output WHERE job = old.id;
    DELETE FROM event WHERE job = old.id;
END;;

CREATE TABLE stat (
    day TEXT NOT NULL, profile TEXT NOT NULL, outcome TEXT NOT NULL, cause TEXT NOT NULL,
    jobs INTEGER NOT NULL, input_bytes INTEGER NOT NULL, output_bytes INTEGER NOT NULL,
    media_seconds REAL NOT NULL, encode_seconds REAL NOT NULL, wait_seconds REAL NOT NULL,
    PRIMARY KEY (day, profile, outcome, cause)
) WITHOUT ROWID;;
INSERT INTO stat
    SELECT ifnull(date(ended_at, 'unixepoch'), ''), profile,
        CASE verdict WHEN 'cancelled' THEN 'cancelled' ELSE state END, ifnull(cause, ''),
        count(*), sum(CASE state WHEN 'done' THEN 0 ELSE size END), 0, 0, 0,
        sum(CASE run WHEN 1 THEN max(0, started_at - queued_at) ELSE 0 END)
    FROM job WHERE state IN ('done', 'failed') AND ended_at IS NOT NULL GROUP BY 1, 2, 3, 4;;

DROP INDEX job_queued;;
DROP INDEX job_running;;
DROP INDEX job_delivering;;
DROP INDEX job_failed;;
CREATE INDEX job_state ON job (state, id);;
CREATE INDEX job_failed_as ON job (original, id) WHERE state = 'failed';;
CREATE INDEX job_claim ON job (priority DESC, id) WHERE state = 'queued' AND request IS NULL;;
CREATE INDEX job_waiting ON job (wait_reason) WHERE state = 'queued' AND wait_reason IS NOT NULL
"""

# The receipt comes last: SQLite reads a row up to the column that is asked for.
_RECEIPT = """
ALTER TABLE job ADD COLUMN salvage INTEGER NOT NULL DEFAULT 0;;
ALTER TABLE job ADD COLUMN receipt TEXT;;
CREATE INDEX job_warned ON job (id) WHERE state = 'done' AND warnings IS NOT NULL
"""

# the first makes version 1 of nothing
MIGRATIONS: tuple[str, ...] = (_FIRST, _DISPOSAL, _HISTORY, _RECEIPT)

"""The file behind the journal: opened, brought to the present schema, written in transactions.

Guarantees: WAL with ``synchronous=FULL``: what was committed survives a power cut; a transaction
counts as a whole or not at all; several processes may use the file.
Does not know what the rows mean: that is ``journal``.
Errors: ``JournalError``, with what to do about it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from watchconv.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FILE_NAME = "journal.sqlite"
SCHEMA_VERSION = 1
BUSY_SECONDS = 10

# Statements end with ;; (a trigger holds single ones).
# held: the row stands for the file that lies at inbox/source. One such row per name.
_SCHEMA = """
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


class Store:
    """One connection to the file in a state directory, for one thread at a time."""

    def __init__(self, state_dir: str, *, create: bool = True) -> None:
        """Open the file; where it is missing, create it or raise JournalError."""
        self.path = os.path.join(state_dir, FILE_NAME)
        try:
            mode = "rwc" if create else "rw"
            self._db = sqlite3.connect(
                f"file:{quote(os.fsencode(self.path))}?mode={mode}",
                uri=True,
                isolation_level=None,
                timeout=BUSY_SECONDS,
                check_same_thread=False,
            )
            self._use_wal()
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA cache_size = -1024")
            self._migrate()
        except sqlite3.Error as error:
            raise _journal_error("open", self.path, error) from error

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._db.close()

    def _use_wal(self) -> None:
        """Switch a new file to WAL; SQLite does not wait for others who do the same."""
        deadline = time.monotonic() + BUSY_SECONDS
        while self._db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _migrate(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise JournalError(
                f"the journal {self.path} was written by a newer watchconv (schema {version},"
                f" this one knows {SCHEMA_VERSION}): run that version, or name another state"
            )
        if version == 0:
            with self.writing() as db:
                if db.execute("PRAGMA user_version").fetchone()[0] == 0:  # else another was quicker
                    for statement in _SCHEMA.split(";;"):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction that commits as a whole or not at all."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise _journal_error("write", self.path, error) from error

    def read(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run a query and take all of its rows."""
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _journal_error("read", self.path, error) from error

    def stream(self, sql: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Run a query and yield its rows one by one."""
        try:
            yield from self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise _journal_error("read", self.path, error) from error


def _journal_error(verb: str, path: str, error: sqlite3.Error) -> JournalError:
    hint = {
        "SQLITE_FULL": "is the disk full?",
        "SQLITE_READONLY": "is the state directory writable?",
        "SQLITE_CANTOPEN": "does the state directory exist, and may this user write there?",
        "SQLITE_CORRUPT": "move the file away to begin a new history; no video is in it",
        "SQLITE_NOTADB": "move the file away to begin a new history; no video is in it",
    }.get(getattr(error, "sqlite_errorname", "")[:15].rstrip("_"), "")
    said = f"cannot {verb} the journal {path}: {error}"
    return JournalError(f"{said}; {hint}" if hint else said)

"""The file behind the journal: opened, brought to the present schema, written in transactions.

Guarantees: WAL with ``synchronous=FULL``: what was committed survives a power cut; a transaction
counts as a whole or not at all; several connections and processes may use the file. The file of
an older version is migrated in one transaction, by its daemon alone, and a copy of it as it was is
kept beside it. Errors: ``JournalError``, with what to do about it.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from watchconv.errors import JournalError
from watchconv.host.files import sync_file, sync_folder
from watchconv.journal.schema import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

log = logging.getLogger(__name__)

FILE_NAME = "journal.sqlite"
SCHEMA_VERSION = len(MIGRATIONS)
BUSY_SECONDS = 10
WAL_PAGES = 256  # 1 MiB, a quarter of what SQLite lets the log grow to: state may be a small disk
_HINTS = {
    sqlite3.SQLITE_FULL: "is the disk full?",
    sqlite3.SQLITE_READONLY: "is the state directory writable?",
    sqlite3.SQLITE_CANTOPEN: "does the state directory exist, and may this user write there?",
    sqlite3.SQLITE_CORRUPT: "move the file away to begin a new history; no video is in it",
    sqlite3.SQLITE_NOTADB: "move the file away to begin a new history; no video is in it",
}


class Database:
    """One connection to the file in a state directory, for one thread at a time."""

    migrations: ClassVar[tuple[str, ...]] = MIGRATIONS

    def __init__(self, state_dir: str, *, create: bool = True, migrate: bool = False) -> None:
        """Open the file; where it is missing, create it or raise JournalError.

        migrate is for the daemon, which has the state to itself: without it the file of an older
        version raises JournalError, so that it is not changed under a daemon of that version.
        """
        self.path = os.path.join(state_dir, FILE_NAME)
        try:
            self._db = _connect(self.path, create=create)
            try:
                self._set_up()
                self._bring_up_to_date(migrate=migrate)
            except BaseException:
                self._db.close()
                raise
        except sqlite3.Error as error:
            raise _journal_error("open", self.path, error) from error

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._db.close()

    def _set_up(self) -> None:
        """Switch the file to WAL; SQLite does not wait for others who do the same."""
        deadline = time.monotonic() + BUSY_SECONDS
        while self._db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA cache_size = -1024")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")

    def _bring_up_to_date(self, *, migrate: bool) -> None:
        """Carry out the migrations that are missing, in one transaction."""
        version, newest = self.read("PRAGMA user_version")[0][0], len(self.migrations)
        if version == newest:
            return
        if version > newest:
            raise JournalError(
                f"the journal {self.path} was written by a newer watchconv (schema {version},"
                f" this one knows {newest}): run that version, or name another state"
            )
        if version and not migrate:
            raise JournalError(
                f"the journal {self.path} was written by an older watchconv (schema {version},"
                f" this one has {newest}): the daemon brings it up to date when it is started"
            )
        copy = self._back_up(version) if version else None
        with self.writing() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            for step in self.migrations[version:]:  # asked again: another may have been quicker
                for statement in step.split(";;"):
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {newest}")
        self._empty_log()
        if copy:
            log.info("the journal is now of schema %d; as it was, it is in %s", newest, copy)

    def _back_up(self, version: int) -> str:
        """Write a copy beside the file, synced to disk, and return its path."""
        path = f"{self.path}.v{version}.backup"
        scratch = f"{path}.new"
        try:
            with suppress(FileNotFoundError):
                os.unlink(scratch)
            with closing(_connect(scratch, create=True)) as copy:
                self._db.backup(copy)
            sync_file(scratch)
            os.replace(scratch, path)
            sync_folder(os.path.dirname(path))
        except OSError as error:
            raise JournalError(
                f"the journal {self.path} is of an older version and is not migrated, for it"
                f" cannot be copied to {path}: {error.strerror}; it is as it was"
            ) from error
        return path

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction that commits as a whole or not at all."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:  # on a full or failing disk SQLite has ended it already
                self._db.execute("ROLLBACK")
            if not isinstance(error, sqlite3.Error):
                raise
            if _code(error) == sqlite3.SQLITE_READONLY:
                self._open_again()
            elif _code(error) == sqlite3.SQLITE_FULL:
                self._empty_log()
            raise _journal_error("write", self.path, error) from error

    def _open_again(self) -> None:
        """Open the file anew: SQLite never tries to write what it could once only open to read."""
        before = self._db
        try:
            self._db = _connect(self.path, create=False)
            self._set_up()
        except sqlite3.Error:
            before, self._db = self._db, before
        if before is not self._db:
            before.close()

    def _empty_log(self) -> None:
        """Write what is committed into the file, so that the log begins anew in the room it has.

        SQLite does this after a commit alone: a log that fills the disk would stay for ever.
        """
        with suppress(sqlite3.Error):  # there may be no room for this either
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def read(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run a query and return all of its rows."""
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _journal_error("read", self.path, error) from error


def _connect(path: str, *, create: bool) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode={'rwc' if create else 'rw'}",
        uri=True,
        isolation_level=None,
        timeout=BUSY_SECONDS,
        check_same_thread=False,
    )


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary error code; 0 for an error that Python raises by itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _journal_error(verb: str, path: str, error: sqlite3.Error) -> JournalError:
    hint = _HINTS.get(_code(error))
    return JournalError(
        f"cannot {verb} the journal {path}: {error}" + (f"; {hint}" if hint else "")
    )

"""How the log is written: text for people and for systemd's journal, JSON for collectors.

A record is one line but for a bug's traceback, whatever bytes a name holds; each change of a job's
state is one record. Under systemd's journal there are no time stamps, but priorities and the fields
JOB_ID, PROFILE, SOURCE, STATE and CAUSE. A stream that went away is no error.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from watchconv.logs.journald import PRIORITIES, JournalSink, fields_of
from watchconv.names import printable

if TYPE_CHECKING:
    from watchconv.model import Job, JobState

Stamp = Literal["time", "priority", "none"]


def log_job(log: logging.Logger, job: Job, text: str, *, level: int = logging.INFO) -> None:
    """Log something about a job."""
    log.log(level, "job=%d profile=%s %s", job.id, job.profile, text, extra={"job": job})


def log_transition(
    log: logging.Logger,
    job: Job,
    before: JobState | None,
    after: JobState,
    reason: str | None = None,
) -> None:
    """Log that a job changed its state, or with before None that there is a new job."""
    text = f"{before}→{after}" if before else str(after)
    text += f" {printable(job.source)}"
    if reason:
        text += f": {printable(reason)}"
    extra = {"job": job, "state": after}
    log.info("job=%d profile=%s %s", job.id, job.profile, text, extra=extra)


class TextFormat(logging.Formatter):
    """One line of text a record."""

    def __init__(self, stamp: Stamp = "time") -> None:
        """Begin lines with the local time, with the priority as systemd reads it, or nothing."""
        super().__init__()
        self._stamp = stamp

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line; control characters are escaped, a traceback keeps its lines."""
        line = printable(record.getMessage())
        if record.levelno > logging.INFO:
            line = f"{record.levelname.lower()}: {line}"
        if record.exc_info:
            lines = self.formatException(record.exc_info).splitlines()
            line = "\n".join([line, *map(printable, lines)])
        if self._stamp == "priority":
            return f"<{PRIORITIES.get(record.levelno, 5)}>{line}"
        if self._stamp == "time":
            moment = datetime.fromtimestamp(record.created)
            return f"{moment.isoformat(sep=' ', timespec='milliseconds')} {line}"
        return line


class JsonFormat(logging.Formatter):
    """A JSON object a record: time, level, message; job, profile, source, state, cause if known."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line."""
        row: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            row["traceback"] = self.formatException(record.exc_info)
        return json.dumps(row)


def set_up(log_format: str, sink: logging.Handler | None = None) -> None:
    """Send the log to stderr, or to a sink of the caller's, in one of the two formats."""
    target = sink or logging.StreamHandler(sys.stderr)
    stamp: Stamp = "time"
    stat = os.fstat(sys.stderr.fileno()) if sink is None else None
    if stat and os.environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}":
        target.setFormatter(_format(log_format, "priority"))
        target, stamp = JournalSink(target), "none"
    target.setFormatter(_format(log_format, stamp))
    logging.raiseExceptions = False
    # none of our formats shows these: do not look them up for each record
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [target]
    root.setLevel(logging.WARNING)
    logging.getLogger("watchconv").setLevel(logging.INFO)
    # it logs its own orderly stop as an error; the watcher notices by itself what really died
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)


def _format(log_format: str, stamp: Stamp) -> logging.Formatter:
    return JsonFormat() if log_format == "json" else TextFormat(stamp)

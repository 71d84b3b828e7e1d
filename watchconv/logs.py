"""How the log is written: text for people and the system's journal, JSON for collectors.

Guarantees: one line a record but for a bug's traceback, whatever bytes a name holds; under
systemd's journal no time stamps, and the priority it reads from ``<N>``.
Errors: none; a stream that went away is left at that.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime

from watchconv.names import printable

_FIELDS = re.compile(r"\b(job|profile)=(\S+)")
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


class TextFormat(logging.Formatter):
    """One line of text a record."""

    def __init__(self, *, for_journal: bool) -> None:
        super().__init__()
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        """Write a record; control characters are escaped, a traceback keeps its lines."""
        line = printable(record.getMessage())
        if record.levelno > logging.INFO:
            line = f"{record.levelname.lower()}: {line}"
        if record.exc_info:
            lines = self.formatException(record.exc_info).splitlines()
            line = "\n".join([line, *map(printable, lines)])
        if self._for_journal:
            return f"<{_PRIORITIES.get(record.levelno, 5)}>{line}"
        moment = datetime.fromtimestamp(record.created)
        return f"{moment.isoformat(sep=' ', timespec='milliseconds')} {line}"


class JsonFormat(logging.Formatter):
    """One JSON object a record: time, level, message, and job and profile where it has them."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        message = record.getMessage()
        row: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": message,
        }
        for name, value in _FIELDS.findall(message):
            row.setdefault(name, int(value) if name == "job" and value.isdigit() else value)
        if record.exc_info:
            row["traceback"] = self.formatException(record.exc_info)
        return json.dumps(row)


def set_up(log_format: str, sink: logging.Handler | None = None) -> None:
    """Send the log to stderr, or to a sink of the caller's, in one of the two formats."""
    target = sink or logging.StreamHandler(sys.stderr)
    under_journal = sink is None and "JOURNAL_STREAM" in os.environ and not sys.stderr.isatty()
    formatter = JsonFormat() if log_format == "json" else TextFormat(for_journal=under_journal)
    target.setFormatter(formatter)
    logging.raiseExceptions = False
    root = logging.getLogger()
    root.handlers[:] = [target]
    root.setLevel(logging.WARNING)
    logging.getLogger("watchconv").setLevel(logging.INFO)
    # it calls its own orderly stop an error; what really dies there, the watcher finds out
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)

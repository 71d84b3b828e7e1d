"""The reports in the error folder: each a ``.log`` beside the original that it tells of.

A report's second line is a mark: whose it is, and which original it belongs to. One whose original
is gone, taken out by hand or never come by a crash, counts for nothing.

Guarantees: no file is replaced or removed that does not carry such a mark; of two jobs that fail
at once, neither takes the other's name.
Does not move originals.
Errors: ``FileExistsError`` when a report's name is taken; every other ``OSError`` as it comes.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from contextlib import contextmanager, suppress
from stat import S_ISREG
from typing import TYPE_CHECKING

from watchconv.deliver import move as files
from watchconv.names import report_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watchconv.deliver.ownership import Ownership
    from watchconv.model import Job

REPORT_MARK = "watchconv report of: "
_MARK_BYTES = 32 << 10  # a path of 4 KiB, escaped
# how a link, a socket, somebody else's file or none answers to being opened
_NOT_OURS = frozenset({errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM, errno.ENOENT})


class Reports:
    """The reports of one error folder; safe from any thread."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._filing = threading.Lock()  # never held through the move of an original
        self._on_their_way: set[str] = set()  # originals whose report is there already

    @contextmanager
    def written(self, job: Job, original: str, ownership: Ownership) -> Iterator[None]:
        """Write a job's report, and let it count while its original is brought.

        Raises FileExistsError or NotADirectoryError when its name is taken.
        """
        with self._filing:
            self._write(job, original, ownership)
            self._on_their_way.add(original)
        try:
            yield
        finally:
            self._on_their_way.discard(original)

    def _write(self, job: Job, original: str, ownership: Ownership) -> None:
        if not self.is_free(original, job.id):
            raise FileExistsError(errno.EEXIST, "the report's name is taken", original)
        folder, name = os.path.split(original)
        path = files.make_folder(self._root, folder, ownership)
        mark = f"{REPORT_MARK}{json.dumps([job.id, original])}"
        text = f"{job.reason}\n{mark}\n{job.report or ''}"
        report = os.path.join(path, report_of(name))
        files.remove(report)  # ours, or an orphan: anybody's else was refused above
        files.publish_text(report, text, files.scratch(path, job.id), ownership)

    def drop_stale(self, original: str) -> None:
        """Remove the report of an original that somebody has taken out of error/ by hand."""
        report = self._path(original)
        if not os.path.lexists(report) or os.path.lexists(os.path.join(self._root, original)):
            return
        with self._filing, suppress(OSError):
            if _read_mark(report) and self.is_free(original):
                files.remove(report)

    def is_free(self, original: str, job_id: int = 0) -> bool:
        """Tell whether an original's report may be written: none is there that still counts."""
        report = self._path(original)
        if not os.path.lexists(report) or files.is_reservation(report):
            return True
        mark = _read_mark(report)
        if mark is None:
            return False
        # asked in this order: it is on its way until it is there
        return mark[0] == job_id or not (
            mark[1] in self._on_their_way or os.path.lexists(os.path.join(self._root, mark[1]))
        )

    def _path(self, original: str) -> str:
        return os.path.join(self._root, report_of(original))


def remove_report(error: str, job: Job) -> None:
    """Remove the report of a job's original from the error folder, if there is one of this job."""
    assert job.original is not None
    report = os.path.join(error, report_of(job.original))
    mark = _read_mark(report)
    if mark and mark[0] == job.id:
        files.remove(report)


def _read_mark(path: str) -> tuple[int, str] | None:
    """Read of a report whose it is, (job, original); None for a file that came to lie here.

    Raises OSError when that cannot be told now.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NOT_OURS:
            return None
        raise
    if not S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with open(descriptor, encoding="utf-8", errors="replace") as lines:
        lines.readline(_MARK_BYTES)
        line = lines.readline(_MARK_BYTES)
    if not line.startswith(REPORT_MARK):
        return None
    try:
        job_id, original = json.loads(line.removeprefix(REPORT_MARK))
        return int(job_id), str(original)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None  # whoever wrote it, we did not

"""The reports in the error folder: each a ``.log`` beside the original that it tells of.

A report's second line is a mark: whose it is, and which original it belongs to. One whose original
is gone, taken out by hand or never come by a crash, counts for nothing. No file is replaced or
removed that does not carry such a mark. Of two jobs that fail at once, neither takes the other's
name.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from contextlib import contextmanager, suppress
from stat import S_ISREG
from typing import TYPE_CHECKING

from watchconv.deliver.move import is_reservation, publish_text
from watchconv.deliver.ownership import make_folder
from watchconv.names import report_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watchconv.deliver.destination import ToError
    from watchconv.host.files import OpenFolder, Place

REPORT_MARK = "watchconv report of: "
_MARK_BYTES = 32 << 10  # a path of 4 KiB, escaped
# how a link, a socket, somebody else's file or none answers to being opened
_NOT_OURS = frozenset({errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM, errno.ENOENT})


class Reports:
    """The reports of one error folder, which is given open. May be used from any thread."""

    def __init__(self) -> None:
        self._filing = threading.Lock()  # never held through the move of an original
        self._on_their_way: set[str] = set()  # originals whose report is there already

    @contextmanager
    def written(self, error: OpenFolder, order: ToError) -> Iterator[None]:
        """Write a report, and let it count while its original is brought.

        Raises FileExistsError or NotADirectoryError when its name is taken.
        """
        original = order.original
        with self._filing:
            if not self.is_free(error, original, order.job_id):
                raise FileExistsError(errno.EEXIST, "the report's name is taken", original)
            mark = f"{REPORT_MARK}{json.dumps([order.job_id, original])}"
            text, owner = f"{order.reason}\n{mark}\n{order.report}", order.settings.ownership
            folder, name = os.path.split(report_of(original))
            with make_folder(error, folder, owner) as beside:
                place = beside.at(name)
                place.remove()  # ours, or an orphan: anybody's else was refused above
                publish_text(place, text, order.job_id, owner)
            self._on_their_way.add(original)
        try:
            yield
        finally:
            self._on_their_way.discard(original)

    def is_free(self, error: OpenFolder, original: str, job_id: int = 0) -> bool:
        """Return whether an original's report may be written: none is there that still counts."""
        report = error.at(report_of(original))
        if not report.exists() or is_reservation(report):
            return True
        mark = _read_mark(report)
        if mark is None:
            return False
        # asked in this order: it is on its way until it is there
        counts = mark[1] in self._on_their_way or error.at(mark[1]).exists()
        return mark[0] == job_id or not counts

    def remove(self, error: OpenFolder, original: str, job_id: int) -> None:
        """Remove the report of an original, if there is one of this job."""
        report = error.at(report_of(original))
        if (mark := _read_mark(report)) and mark[0] == job_id:
            report.remove()

    def remove_stale(self, error: OpenFolder, original: str) -> None:
        """Remove the report of an original that somebody has taken out of error/ by hand."""
        report = error.at(report_of(original))
        if report.exists() and not error.at(original).exists():
            with self._filing, suppress(OSError):
                if _read_mark(report) and self.is_free(error, original):
                    report.remove()


def _read_mark(report: Place) -> tuple[int, str] | None:
    """Return whose a report is: (job, original); None for a file that came to lie here.

    Raises OSError when that cannot be told now.
    """
    try:
        descriptor = report.open(os.O_RDONLY | os.O_NONBLOCK)
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

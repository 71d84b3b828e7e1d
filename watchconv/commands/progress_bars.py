"""Live bars of running jobs on a terminal, with the log above them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from watchconv.names import printable
from watchconv.views import describe_progress

if TYPE_CHECKING:
    from watchconv.views import Status


class _Sink(logging.Handler):
    """Prints log lines above the bars."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        self._console.print(Text(self.format(record)), soft_wrap=True)


class ProgressBars:
    """Draws the daemon's status, and only while jobs run: an idle terminal costs nothing."""

    def __init__(self) -> None:
        console = Console(stderr=True, highlight=False)
        self.log_sink = _Sink(console)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._tasks: dict[int, TaskID] = {}

    def present(self, now: Status) -> None:
        """Draw what runs now."""
        running = {row.id: row for row in now.running}
        for job_id in self._tasks.keys() - running.keys():
            self._progress.remove_task(self._tasks.pop(job_id))
        for job_id, row in running.items():
            if job_id not in self._tasks:
                name = printable(row.source)
                label = name if len(name) <= 40 else f"…{name[-39:]}"
                self._tasks[job_id] = self._progress.add_task(label, total=None, detail="")
            self._progress.update(
                self._tasks[job_id],
                total=None if row.progress is None else 1.0,
                completed=row.progress or 0.0,
                detail=describe_progress(row),
            )
        if running:
            self._progress.start()
            self._progress.refresh()
        else:
            self._progress.stop()

    def close(self) -> None:
        """Clear the bars."""
        self._progress.stop()

"""The journal's own thread, and the two ways to call it.

Guarantees: the journal is used by one thread only, in the order of the calls; the loop never
waits for SQLite's fsync, which may stall behind ffmpeg's writes.
Errors: ``JournalError``, as the journal raises it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from watchconv.journal.jobs import Journal

if TYPE_CHECKING:
    from watchconv.model import Job

CLOSE_SECONDS = 10.0  # what is given to a thread that a dead disk may hold

T = TypeVar("T")
P = ParamSpec("P")
Question = Callable[Concatenate[Journal, P], T]  # a method, or of ``requests``


class JournalThread:
    """The thread that owns a journal, and nothing else."""

    def __init__(self, state_dir: str) -> None:
        """Start the thread and open the journal on it, migrated if need be. Raises JournalError."""
        self._executor = ThreadPoolExecutor(1, "journal")
        try:
            self._journal = self._executor.submit(Journal, state_dir, migrate=True).result()
        except BaseException:
            self._executor.shutdown()
            raise

    def tell(self, hear: Callable[[Job], None]) -> None:
        """Have somebody hear of each job whose state changes, on the journal's thread."""
        self._journal.changed = hear

    async def ask(self, question: Question[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a question there and wait without blocking the loop."""
        future = self._executor.submit(question, self._journal, *args, **kwargs)
        return await asyncio.wrap_future(future)

    def ask_blocking(self, question: Question[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a question there and wait: for threads other than the loop's."""
        return self._executor.submit(question, self._journal, *args, **kwargs).result()

    def close(self) -> None:
        """Close the journal and end the thread; one that a dead disk holds is left to itself."""
        closed = self._executor.submit(self._journal.close)
        with contextlib.suppress(TimeoutError):
            closed.result(CLOSE_SECONDS)
        self._executor.shutdown(wait=closed.done())

"""The journal's own thread: the event loop never waits for SQLite's fsync, which may take long.

Questions are answered in the order in which they are asked. Errors are raised as the journal
raises them.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from watchconv.journal.jobs import Journal

CLOSE_SECONDS = 10.0  # how long closing waits for a thread that a dead disk may hold

T = TypeVar("T")
P = ParamSpec("P")
Question = Callable[Concatenate[Journal, P], T]  # a method of Journal, or a function on one


class JournalThread:
    """The thread that owns a connection to the journal, and nothing else."""

    def __init__(self, state_dir: str) -> None:
        """Start the thread and open the journal on it, migrated if need be. Raises JournalError."""
        self._executor = ThreadPoolExecutor(1, "journal")
        try:
            self._journal = self._executor.submit(Journal, state_dir, migrate=True).result()
        except BaseException:
            self._executor.shutdown()
            raise

    async def ask(self, question: Question[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a question on the thread and wait without blocking the loop."""
        return await asyncio.wrap_future(self.post(question, *args, **kwargs))

    def ask_blocking(self, question: Question[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a question on the thread and wait: for threads other than the loop's."""
        return self.post(question, *args, **kwargs).result()

    def post(self, question: Question[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a question on the thread some time, and return its future."""
        if inspect.isgeneratorfunction(question):  # such as ``Journal.jobs``
            raise TypeError(f"{question} is lazy: it would use the journal on another thread")
        return self._executor.submit(question, self._journal, *args, **kwargs)

    def close(self) -> None:
        """Close the journal and end the thread; one that a dead disk holds is left behind."""
        closed = self._executor.submit(self._journal.close)
        with contextlib.suppress(TimeoutError):
            closed.result(CLOSE_SECONDS)
        self._executor.shutdown(wait=closed.done())

"""Blocking work on threads of its own, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from watchconv.errors import EnvironmentTrouble

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
P = ParamSpec("P")


async def in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function on a new thread and wait for it without blocking the loop.

    A wait that is cancelled leaves the call running. The thread is a daemon thread: one that a dead
    mount holds keeps the program from nothing, least of all from ending. A pool would keep its
    threads for an idle daemon, and wait for each of them at the end. Raises EnvironmentTrouble
    where no thread can be started.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def call() -> None:
        """Hand what comes of it, a bug too, to who waits."""
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)

    name = getattr(function, "__name__", "call").strip("_")
    try:
        threading.Thread(target=call, name=name, daemon=True).start()
    except RuntimeError as error:
        raise EnvironmentTrouble(
            f"no thread can be started ({error}); raise TasksMax= or the limit of processes"
        ) from error
    return await asyncio.wrap_future(future)

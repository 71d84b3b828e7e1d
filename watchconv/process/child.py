"""One child process from its start to its end.

A child lives on a thread of its own, in a session of its own. Its standard output is for
progress (ffmpeg: ``-progress pipe:1``, which still runs when a person copies the command from a
report), its standard error for words; both are handed on as raw chunks. It is ended when it makes
no progress, runs too long or is no longer wanted: TERM to its group, KILL after a grace.

When ``Child.ended`` completes, and it always does, the child is reaped, its group is killed and
every descriptor is closed. Memory stays flat however much the child writes, and an idle child
costs no wake-ups. One exception: a child that survives SIGKILL, because a dead disk or mount holds
it in the kernel, is given up after ``KILL_WAIT_SECONDS``; its thread stays to reap it some day.

It parses nothing and judges no exit status. Why a thread, and no asyncio: confinement is inherited
from the thread that starts the child and cannot be taken off again, and the parent-death signal
fires when that *thread* ends. So it stays as long as the child and is then thrown away. It is a
daemon thread: no child holds up the end of the program, the signal takes the child along.

Errors: what the child or the machine does wrong is an ``ChildExit``, a failed start included. A
callback that raises is a bug: the child is killed and ``ended`` holds the exception; so it does
with an ``EnvironmentTrouble`` of ``prepare``.
"""

from __future__ import annotations

import fcntl
import functools
import math
import os
import select
import signal
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from io import FileIO
from typing import TYPE_CHECKING

from watchconv.errors import EnvironmentTrouble
from watchconv.process.command import Cause, ChildExit, ended, unstarted, why
from watchconv.process.spawn import launcher, limit, open_end, open_pipe, spawn
from watchconv.process.stop import Bell, StopStage

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchconv.process.command import Command

KILL_WAIT_SECONDS = 30.0
CHUNK_BYTES = 65536
# a child says much in small pieces: after one, its words may gather for a moment in the pipe
GATHER_SECONDS, GATHER_BYTES = 0.01, 4096
HEAD_BYTES = 500  # of stderr, enough for the launcher's last words
DAY_SECONDS = 86400.0  # poll() takes no more than 24 days


class Child:
    """One child, to be started once.

    ``on_progress`` gets chunks of standard output and answers whether the work got further; only
    that keeps the child from stalling. ``on_stderr`` gets chunks of standard error. Both run on
    the child's thread. ``ended`` cannot be cancelled: a wait that is given up leaves the child
    running until ``stop``.
    """

    def __init__(
        self,
        command: Command,
        on_progress: Callable[[bytes], bool],
        on_stderr: Callable[[bytes], object],
    ) -> None:
        self.command = command
        self.on_progress = on_progress
        self.on_stderr = on_stderr
        self.bell = Bell()
        self.ended: Future[ChildExit] = Future()
        self.ended.set_running_or_notify_cancel()

    def start(self) -> Future[ChildExit]:
        """Start the child on a new thread and return ``ended`` at once."""
        thread = threading.Thread(target=self._live, name="watchconv-child", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the machine or the cgroup has no more threads
            self.ended.set_result(unstarted(self.command, str(error)))
        return self.ended

    def stop(self, kill: bool = False) -> None:
        """Ask for the end: TERM now and KILL after the grace, or KILL at once.

        Any thread may call it, any number of times, before the start and after the end too. The
        signals are sent by the thread that also reaps, so none can meet a stranger's process that
        was given the same pid.
        """
        self.bell.ring(StopStage.KILLED if kill else StopStage.TERMED)

    def _live(self) -> None:
        try:
            result = _Life(self).live()
        except BaseException as bug:
            self.ended.set_exception(bug)
        else:
            if not self.ended.done():  # it was given up, and died after all
                self.ended.set_result(result)


class _Life:
    """What exists while a child lives; touched by its thread alone."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.command = child.command
        self.prefix = launcher()
        self.poll = select.poll()
        self.reactions: dict[int, Callable[[], object]] = {}
        self.outputs: list[tuple[FileIO, Callable[[bytes], None]]] = []  # progress, stderr
        self.began = self.advanced = time.monotonic()
        self.rung, self.due = StopStage.RUNNING, math.inf
        self.listens_at = math.inf  # to stderr again, while its words gather
        self.cause, self.detail = Cause.EXITED, ""
        self.pid = 0
        self.gone = False
        self.head = b""
        self.code: int | None = None

    def live(self) -> ChildExit:
        """Start the child and serve it to its end; one that cannot be started has its end too."""
        with ExitStack() as stack:
            try:
                self._begin(stack)
            except EnvironmentTrouble:  # of prepare, which says it best
                raise
            except Exception as error:
                return unstarted(self.command, why(error))
            while not self.gone:
                self._look()
            self._drain()
        return self._report()

    def _begin(self, stack: ExitStack) -> None:
        # Confinement may forbid opening anything: all files are opened before it.
        (out, out_end), (err, err_end) = open_pipe(stack), open_pipe(stack)
        null = stack.enter_context(FileIO(os.devnull))
        bell = stack.enter_context(self.child.bell.hung())
        if self.child.bell.wanted:
            self.cause, self.detail, self.gone = Cause.STOPPED, "was stopped before it began", True
            return
        if self.command.prepare:
            self.command.prepare()
        self.pid = spawn(self.prefix, self.command, null, out_end, err_end)
        stack.callback(self._bury)
        out_end.close()
        err_end.close()
        limit(self.pid, self.command.limits)
        self._react(bell, functools.partial(os.eventfd_read, bell))
        self._react(open_end(self.pid, stack), self._note_end)
        self.outputs = [(out, self._take_progress), (err, self._take_stderr)]
        self._react(out.fileno(), functools.partial(self._pump, *self.outputs[0]))
        self._react(err.fileno(), self._listen)

    def _react(self, fd: int, reaction: Callable[[], object]) -> None:
        self.reactions[fd] = reaction
        self.poll.register(fd, select.POLLIN)

    def _look(self) -> None:
        """Sleep until something happens or is due, and act on it."""
        due = min(self._next_due(), self.listens_at)
        seconds = min(due - time.monotonic(), DAY_SECONDS)
        for fd, _ in self.poll.poll(max(seconds, 0) * 1000):
            self.reactions[fd]()
        now = time.monotonic()
        if now >= self.listens_at:
            self._listen()
        if not self.gone:
            self._climb(now)

    def _next_due(self) -> float:
        if self.rung is not StopStage.RUNNING:
            return self.due
        stall_at = self.advanced + self.command.stall_seconds
        return min(stall_at, self.began + self.command.time_limit())

    def _climb(self, now: float) -> None:
        """Go up the stop ladder as far as it is time to."""
        wanted = self.child.bell.wanted
        if self.rung is StopStage.RUNNING and (reason := self._reason(now)):
            self.cause, self.detail = reason
            self._signal(signal.SIGTERM)
            self.rung, self.due = StopStage.TERMED, now + self.command.grace_seconds
        if self.rung is StopStage.TERMED and (wanted is StopStage.KILLED or now >= self.due):
            self._signal(signal.SIGKILL)
            self.rung, self.due = StopStage.KILLED, now + KILL_WAIT_SECONDS
        elif self.rung is StopStage.KILLED and now >= self.due:
            self.rung, self.due = StopStage.GIVEN_UP, math.inf
            self.detail += "; it survives SIGKILL, so a disk or mount that it uses is probably dead"
            self.child.ended.set_result(self._report())

    def _reason(self, now: float) -> tuple[Cause, str] | None:
        """Say why the child must end now, if it must."""
        if self.child.bell.wanted:
            return Cause.STOPPED, "was stopped"
        if now - self.advanced >= self.command.stall_seconds and self.command.still_writes():
            self.advanced = now
        if now - self.advanced >= self.command.stall_seconds:
            return Cause.STALLED, f"made no progress for {self.command.stall_seconds:g} seconds"
        if now - self.began >= (limit := self.command.time_limit()):
            return Cause.OVERTIME, f"ran longer than its limit of {limit:.6g} seconds"
        return None

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _pump(self, output: FileIO, take: Callable[[bytes], None]) -> int:
        """Take what a pipe holds; return how much that was."""
        chunk = output.read(CHUNK_BYTES)
        if chunk:
            take(chunk)
        elif chunk is not None:  # the end; None is a pipe that is empty for now
            self.poll.unregister(output.fileno())
            output.close()
        return len(chunk or b"")

    def _listen(self) -> None:
        """Take what stderr holds, then let its words gather unless they come in floods."""
        output, take = self.outputs[1]
        if self.listens_at < math.inf:
            self.poll.register(output.fileno(), select.POLLIN)
            self.listens_at = math.inf
        elif 0 < self._pump(output, take) < GATHER_BYTES:
            self.poll.unregister(output.fileno())
            self.listens_at = time.monotonic() + GATHER_SECONDS

    def _take_progress(self, chunk: bytes) -> None:
        if self.child.on_progress(chunk):
            self.advanced = time.monotonic()
            self.command.still_writes()  # the stall check compares from here

    def _take_stderr(self, chunk: bytes) -> None:
        self.head += chunk[: HEAD_BYTES - len(self.head)]
        self.child.on_stderr(chunk)

    def _note_end(self) -> None:
        self.gone = True

    def _drain(self) -> None:
        """Take what the dead child has left in its pipes: no more than fits into one.

        What comes after that is from a descendant that has moved to another session.
        """
        for output, take in self.outputs:
            left = 0 if output.closed else fcntl.fcntl(output, fcntl.F_GETPIPE_SZ)
            while left > 0 and (chunk := output.read(min(left, CHUNK_BYTES))):
                take(chunk)
                left -= len(chunk)

    def _bury(self) -> None:
        """Kill what is left of the group, while the unreaped child still keeps its number; reap."""
        self._signal(signal.SIGKILL)
        with suppress(ChildProcessError):  # this process ignores SIGCHLD: nothing was kept
            _, status = os.waitpid(self.pid, 0)
            self.code = os.waitstatus_to_exitcode(status)

    def _report(self) -> ChildExit:
        words = self.head.decode(errors="replace")
        # setpriv has these two statuses for a program that it cannot execute.
        if self.prefix and self.code in (126, 127) and words.startswith("setpriv: "):
            return unstarted(self.command, words.removeprefix("setpriv: ").strip())
        seconds = time.monotonic() - self.began
        return ended(self.command, self.cause, self.code, self.detail, seconds)

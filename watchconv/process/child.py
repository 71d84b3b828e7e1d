"""One child process from its start to its end.

A child lives on a thread and in a session of its own. Its standard output is for progress (ffmpeg:
``-progress pipe:1``, which still runs when a person copies the command from a report), its standard
error for words. It is ended when it makes no progress, runs too long, uses too much memory or is no
longer wanted: TERM to its group, KILL after a grace.

When ``Child.ended`` completes, and it always does, the child is reaped, its group is killed and
every descriptor is closed. One exception: a child that survives SIGKILL, because a dead disk or
mount holds it in the kernel, is given up after ``KILL_WAIT_SECONDS``; its thread stays to reap it
some day. Memory stays flat however much the child writes; an idle child costs no wake-ups, but for
a look at its memory where that is limited.

Why a thread, and no asyncio: confinement is inherited from the thread that starts the child and
cannot be taken off again, and the parent-death signal fires when that *thread* ends. It is a daemon
thread: no child holds up the end of the program, the signal takes the child along.
"""

from __future__ import annotations

import fcntl
import math
import os
import select
import signal
import subprocess
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from io import FileIO
from typing import TYPE_CHECKING

from watchconv.errors import EnvironmentTrouble
from watchconv.process.memory import MemoryWatch
from watchconv.process.spawn import Limits, launcher, limit, open_end, spawn
from watchconv.process.stop import DAY_SECONDS, StopSignal, StopStage
from watchconv.views import show_bytes

if TYPE_CHECKING:
    import resource
    from collections.abc import Callable, Mapping

KILL_WAIT_SECONDS = 30.0
CHUNK_BYTES = 65536
# a child says much in small pieces: after one, its words may gather for a moment in the pipe
GATHER_SECONDS, GATHER_BYTES = 0.01, 4096
HEAD_BYTES = 500  # of stderr, enough for the launcher's last words


@dataclass(frozen=True, slots=True)
class Command:
    """What to start, and how long to bear with it. The child's thread calls the functions.

    ``time_limit`` returns the seconds that the child may take; it is asked again and again, so it
    may grow. ``still_writes`` returns whether the child wrote since the last call, and is called at
    every progress and before a child is taken for stalled. ``prepare`` runs right before the start:
    it makes ``cwd`` if need be, and may confine the thread, but not from executing ``launcher()``.
    """

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    stall_seconds: float
    time_limit: Callable[[], float]
    grace_seconds: float
    limits: Limits = field(default_factory=Limits)
    prepare: Callable[[], None] | None = None
    still_writes: Callable[[], bool] = lambda: False


class ExitCause(StrEnum):
    """Why a child is no longer there."""

    EXITED = "exited"  # by itself, or by a signal that we did not send
    STALLED = "stalled"
    OVERTIME = "overtime"
    MEMORY = "memory"
    STOPPED = "stopped"
    UNSTARTED = "unstarted"


@dataclass(frozen=True, slots=True)
class ChildExit:
    """How a child ended; ``detail`` says it in a sentence.

    ``status`` and ``signal`` are both None when it never ran or its end could not be read.
    """

    cause: ExitCause
    status: int | None  # the exit code
    signal: int | None  # what killed it
    detail: str
    seconds: float  # how long it ran, pauses left out
    cpu_seconds: float | None = None
    # of its largest process, but at least our own: a child begins as a copy of us
    peak_memory_bytes: int | None = None


class Child:
    """One child, to be started once.

    ``on_progress`` gets chunks of standard output and returns whether the work got further; only
    that keeps the child from stalling. Both callbacks run on the child's thread.

    ``ended`` cannot be cancelled: a wait that is given up leaves the child running until ``stop``.
    A failed start, too, is a ``ChildExit``. Where a callback raises, which is a bug, the child is
    killed and ``ended`` holds the exception; so it does with an EnvironmentTrouble of ``prepare``.
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
        self.stop_signal = StopSignal()
        self.is_pause_wanted = False
        self.outgrown_bytes = 0  # what it used when that was too much
        self.memory: MemoryWatch | None = None
        self.ended: Future[ChildExit] = Future()
        self.ended.set_running_or_notify_cancel()

    def start(self) -> Future[ChildExit]:
        """Start the child on a new thread and return ``ended`` at once."""
        run = _Supervisor(self).run
        try:
            if most_bytes := self.command.limits.memory_bytes:
                self.memory = MemoryWatch(most_bytes, self.outgrow)
            threading.Thread(target=run, name="watchconv-child", daemon=True).start()
        except RuntimeError as error:  # the machine or the cgroup has no more threads
            if self.memory:
                self.memory.close()
            self.ended.set_result(_unstarted(self.command, error))
        return self.ended

    def stop(self, kill: bool = False) -> None:
        """Ask for the end: TERM now and KILL after the grace, or KILL at once.

        Any thread may call this, ``pause`` and ``resume``, at any time and repeatedly. The thread
        that also reaps sends the signals, so none meets a stranger that was given the same pid.
        """
        self.stop_signal.request(StopStage.KILLED if kill else StopStage.TERMINATING)

    def outgrow(self, used_bytes: int) -> None:
        """End it at once because it uses so much memory."""
        self.outgrown_bytes = used_bytes
        self.stop_signal.request(StopStage.RUNNING)

    def pause(self) -> None:
        """Freeze the child and all of its group; the time until ``resume`` counts for no limit."""
        self.is_pause_wanted = True
        self.stop_signal.request(StopStage.RUNNING)

    def resume(self) -> None:
        """Let a paused child go on."""
        self.is_pause_wanted = False
        self.stop_signal.request(StopStage.RUNNING)


class _Supervisor:
    """What exists while a child lives; touched by its thread alone."""

    def __init__(self, child: Child) -> None:
        self.child, self.command = child, child.command
        self.poll = select.poll()
        self.outputs: list[FileIO] = []  # progress, stderr
        self.reads_stderr_at = math.inf  # again, while its words gather
        self.stderr_head = b""
        self.began = self.advanced = time.monotonic()  # moved on by each pause
        self.paused_at: float | None = None
        self.stage, self.due = StopStage.RUNNING, math.inf  # due: when the next step is, at most
        self.reason = ExitCause.EXITED, ""
        self.is_over = False
        self.reaped: tuple[int, resource.struct_rusage] | None = None

    def run(self) -> None:
        """Start the child, serve it to its end and complete ``ended``: the child's thread."""
        ended, unstarted = self.child.ended, None
        try:
            with ExitStack() as stack:
                if memory := self.child.memory:
                    stack.callback(memory.close)
                try:
                    self._start(stack)
                except EnvironmentTrouble:  # of prepare, which says it best
                    raise
                except Exception as error:
                    unstarted, self.is_over = _unstarted(self.command, error), True
                while not self.is_over:
                    self._advance(time.monotonic())
                    self._wait()
                for output in self.outputs:
                    # No more than fits into a pipe: the rest is not the dead child's, but from a
                    # descendant that has moved to another session.
                    left = 0 if output.closed else fcntl.fcntl(output, fcntl.F_GETPIPE_SZ)
                    while left > 0 and (chunk := output.read(min(left, CHUNK_BYTES))):
                        self._take(output, chunk)
                        left -= len(chunk)
            if not ended.done():  # it was given up, and died after all
                ended.set_result(unstarted or self._report())
        except BaseException as bug:
            ended.set_exception(bug)

    def _start(self, stack: ExitStack) -> None:
        self.prefix = launcher()  # here, because the first time it runs a program
        # Confinement may forbid opening anything: all files are opened before it.
        null = stack.enter_context(FileIO(os.devnull))
        self.stopping = stack.enter_context(self.child.stop_signal.listening())
        if self.child.stop_signal.wanted:
            self.reason, self.is_over = (ExitCause.STOPPED, "was stopped before it began"), True
            return
        if self.command.prepare:
            self.command.prepare()
        argv = (*self.prefix, *self.command.argv)
        process = spawn(
            argv, self.command.cwd, self.command.env, null.fileno(), output=subprocess.PIPE
        )
        self.pid = process.pid
        stack.callback(self._reap)
        if memory := self.child.memory:
            stack.callback(memory.close)  # before another process can have the number
            memory.watch(self.pid)
        for output in (process.stdout, process.stderr):
            assert isinstance(output, FileIO)
            self.outputs.append(stack.enter_context(output))
            os.set_blocking(output.fileno(), False)
            self.poll.register(output, select.POLLIN)
        limit(self.pid, self.command.limits)
        self.end = open_end(self.pid, stack)
        self.poll.register(self.end, select.POLLIN)
        self.poll.register(self.stopping, select.POLLIN)

    def _advance(self, now: float) -> None:
        """Take the steps that are due on the way to the child's end."""
        wanted = self.child.stop_signal.wanted
        if self.stage is StopStage.RUNNING:
            self._set_paused(self.child.is_pause_wanted)
            exceeded = None if wanted else self._exceeded(now)
            if not wanted and not exceeded:
                return
            self.reason = exceeded or (ExitCause.STOPPED, "was stopped")
            self._set_paused(False)
            self._signal(signal.SIGTERM)
            self.stage, self.due = StopStage.TERMINATING, now + self.command.grace_seconds
            if self.reason[0] is ExitCause.MEMORY:  # it is not to use more while it tidies up
                self.due = now
        if self.stage is StopStage.TERMINATING:
            if wanted is StopStage.KILLED or now >= self.due:
                self._signal(signal.SIGKILL)
                self.stage, self.due = StopStage.KILLED, now + KILL_WAIT_SECONDS
        elif self.stage is StopStage.KILLED and now >= self.due:
            self.stage, self.due = StopStage.GIVEN_UP, math.inf
            cause, detail = self.reason
            detail += "; it survives SIGKILL, so a disk or mount that it uses is probably dead"
            self.reason = cause, detail
            self.child.ended.set_result(self._report())

    def _exceeded(self, now: float) -> tuple[ExitCause, str] | None:
        """Return the limit that is reached, and a sentence about it; note when the next one is."""
        self.due = math.inf
        if used := self.child.outgrown_bytes:
            most = show_bytes(self.command.limits.memory_bytes)
            return ExitCause.MEMORY, f"used {show_bytes(used)} of memory, more than {most}"
        if self.paused_at is not None:
            return None
        stall_seconds, most_seconds = self.command.stall_seconds, self.command.time_limit()
        if now - self.advanced >= stall_seconds and self.command.still_writes():
            self.advanced = now
        if now - self.advanced >= stall_seconds:
            return ExitCause.STALLED, f"made no progress for {stall_seconds:g} seconds"
        if now - self.began >= most_seconds:
            return ExitCause.OVERTIME, f"ran longer than its limit of {most_seconds:.6g} seconds"
        self.due = min(self.advanced + stall_seconds, self.began + most_seconds)
        return None

    def _wait(self) -> None:
        """Sleep until something happens or is due, and take what the child has to give."""
        seconds = min(self.due, self.reads_stderr_at) - time.monotonic()
        ready = dict(self.poll.poll(max(0, min(seconds, DAY_SECONDS)) * 1000))
        self.is_over = self.end in ready
        if self.stopping in ready:
            os.eventfd_read(self.stopping)
        for output in self.outputs:
            if output.closed or output.fileno() not in ready:
                continue
            if chunk := output.read(CHUNK_BYTES):
                self._take(output, chunk)
                if output is self.outputs[1] and len(chunk) < GATHER_BYTES:
                    self.poll.unregister(output)
                    self.reads_stderr_at = time.monotonic() + GATHER_SECONDS
            elif chunk is not None:  # the end; None is a pipe that is empty for now
                self.poll.unregister(output)
                output.close()
        if time.monotonic() >= self.reads_stderr_at:
            self.reads_stderr_at = math.inf
            self.poll.register(self.outputs[1], select.POLLIN)

    def _take(self, output: FileIO, chunk: bytes) -> None:
        if output is self.outputs[1]:
            self.stderr_head += chunk[: HEAD_BYTES - len(self.stderr_head)]
            self.child.on_stderr(chunk)
        elif self.child.on_progress(chunk):
            self.advanced = time.monotonic()
            self.command.still_writes()  # the stall check compares from here

    def _set_paused(self, paused: bool) -> None:
        now = time.monotonic()
        if paused and self.paused_at is None:
            self.paused_at = now
            self._signal(signal.SIGSTOP)
        elif not paused and self.paused_at is not None:
            self.began += now - self.paused_at
            self.advanced += now - self.paused_at
            self.paused_at = None
            self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _reap(self) -> None:
        """Kill what is left of the group, while the unreaped child still keeps its number; reap."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):  # this process ignores SIGCHLD: nothing was kept
            _, status, usage = os.wait4(self.pid, 0)
            self.reaped = os.waitstatus_to_exitcode(status), usage

    def _report(self) -> ChildExit:
        code, usage = self.reaped or (None, None)
        cause, detail = self.reason
        words = self.stderr_head.decode(errors="replace")
        # setpriv has these two statuses for a program that it cannot execute.
        if code in (126, 127) and self.prefix and words.startswith("setpriv: "):
            return _unstarted(self.command, words.removeprefix("setpriv: ").strip())
        killer = -code if code is not None and code < 0 else None
        end = f"exited with status {code}"
        if killer:
            end = f"was killed by signal {killer} ({signal.strsignal(killer)})"
        elif code is None:
            end = "ended, but its status is lost: the daemon was started with SIGCHLD ignored"
        return ChildExit(
            cause,
            status=None if killer else code,
            signal=killer,
            detail=f"{os.path.basename(self.command.argv[0])} {detail or end}",
            seconds=(self.paused_at or time.monotonic()) - self.began,
            cpu_seconds=usage.ru_utime + usage.ru_stime if usage else None,
            peak_memory_bytes=usage.ru_maxrss * 1024 if usage else None,
        )


def _unstarted(command: Command, why: Exception | str) -> ChildExit:
    if isinstance(why, OSError) and why.strerror:
        why = f"{why.filename}: {why.strerror}" if why.filename else why.strerror
    sentence = f"{os.path.basename(command.argv[0])} could not be started: {why}"
    return ChildExit(ExitCause.UNSTARTED, None, None, sentence, 0.0)

"""One child process from its start to its end.

A child lives on a thread of its own, in a session of its own. Its standard output is for
progress (ffmpeg: ``-progress pipe:1``, which still runs when a person copies the command from a
report), its standard error for words; both are handed on as raw chunks. It is ended when it makes
no progress, runs too long or is no longer wanted: TERM to its group, KILL after a grace.

When ``Child.ended`` completes, and it always does, the child is reaped, its group is killed and
every descriptor is closed. One exception: a child that survives SIGKILL, because a dead disk or
mount holds it in the kernel, is given up after ``KILL_WAIT_SECONDS``; its thread stays to reap it
some day. Memory stays flat however much the child writes; an idle child costs no wake-ups.

Why a thread, and no asyncio: confinement is inherited from the thread that starts the child and
cannot be taken off again, and the parent-death signal fires when that *thread* ends. So it stays as
long as the child and is then thrown away. It is a daemon thread: no child holds up the end of the
program, the signal takes the child along.
"""

from __future__ import annotations

import fcntl
import math
import os
import select
import signal
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from io import FileIO
from typing import TYPE_CHECKING

from watchconv.errors import EnvironmentTrouble
from watchconv.process.spawn import Limits, launcher, limit, open_end, open_pipe, spawn
from watchconv.process.stop import DAY_SECONDS, StopSignal, StopStage

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
    """What to start, and how long to bear with it.

    ``time_limit`` returns the seconds that the child may take. The child's thread asks it after
    every sign of life and again when the time seems to be up, so it may grow.
    ``still_writes`` returns whether the child wrote since the last call; it is called at every
    progress and before a child without progress is taken for stalled.
    ``prepare`` runs on the child's thread right before the start: it makes ``cwd`` if need be, and
    may confine the thread; what it leaves allowed must include executing ``launcher()``.
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
    STOPPED = "stopped"
    UNSTARTED = "unstarted"


@dataclass(frozen=True, slots=True)
class ChildExit:
    """How a child ended; ``detail`` says it in a sentence.

    ``status`` is the exit code, ``signal`` what killed it; both are None when it never ran or its
    end could not be read. ``seconds`` is how long it ran, pauses left out. The memory is the peak
    of its largest process, but at least our own: a child begins as a copy of us.
    """

    cause: ExitCause
    status: int | None
    signal: int | None
    detail: str
    seconds: float
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None


class Child:
    """One child, to be started once.

    ``on_progress`` gets chunks of standard output and returns whether the work got further; only
    that keeps the child from stalling. ``on_stderr`` gets chunks of standard error. Both run on
    the child's thread.

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
        self.ended: Future[ChildExit] = Future()
        self.ended.set_running_or_notify_cancel()

    def start(self) -> Future[ChildExit]:
        """Start the child on a new thread and return ``ended`` at once."""
        thread = threading.Thread(target=self._run, name="watchconv-child", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the machine or the cgroup has no more threads
            self.ended.set_result(_unstarted(self.command, str(error)))
        return self.ended

    def stop(self, kill: bool = False) -> None:
        """Ask for the end: TERM now and KILL after the grace, or KILL at once.

        This, ``pause`` and ``resume`` may be called by any thread, any number of times, before the
        start and after the end too. The signals are sent by the thread that also reaps, so none can
        meet a stranger's process that was given the same pid.
        """
        self.stop_signal.request(StopStage.KILLED if kill else StopStage.TERMINATING)

    def pause(self) -> None:
        """Freeze the child and all of its group; the time until ``resume`` counts for no limit."""
        self.is_pause_wanted = True
        self.stop_signal.request(StopStage.RUNNING)

    def resume(self) -> None:
        """Let a paused child go on."""
        self.is_pause_wanted = False
        self.stop_signal.request(StopStage.RUNNING)

    def _run(self) -> None:
        try:
            result = _Supervisor(self).run()
        except BaseException as bug:
            self.ended.set_exception(bug)
        else:
            if not self.ended.done():  # it was given up, and died after all
                self.ended.set_result(result)


class _Clock:
    """Watches a child's time: whether it stalls, whether it runs too long. Pauses do not count."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._began = self._advanced = time.monotonic()
        self._paused_at: float | None = None

    @property
    def seconds(self) -> float:
        """How long the child has run."""
        return (self._paused_at or time.monotonic()) - self._began

    def set_paused(self, paused: bool) -> bool:
        """Let the time stand still, or go on; return whether that is a change."""
        was_paused_at, now = self._paused_at, time.monotonic()
        if paused is (was_paused_at is not None):
            return False
        self._paused_at = now if paused else None
        if was_paused_at is not None:
            self._began += now - was_paused_at
            self._advanced += now - was_paused_at
        return True

    def note_progress(self) -> None:
        """Begin to wait for the next progress."""
        self._advanced = time.monotonic()
        self._command.still_writes()  # the stall check compares from here

    def due(self) -> float:
        """Return when the first of the limits is reached."""
        if self._paused_at is not None:
            return math.inf
        stall_at = self._advanced + self._command.stall_seconds
        return min(stall_at, self._began + self._command.time_limit())

    def exceeded(self, now: float) -> tuple[ExitCause, str] | None:
        """Return the limit that is reached, and a sentence about it."""
        if self._paused_at is not None:
            return None
        stall_seconds = self._command.stall_seconds
        if now - self._advanced >= stall_seconds and self._command.still_writes():
            self._advanced = now
        if now - self._advanced >= stall_seconds:
            return ExitCause.STALLED, f"made no progress for {stall_seconds:g} seconds"
        if now - self._began >= (limit := self._command.time_limit()):
            return ExitCause.OVERTIME, f"ran longer than its limit of {limit:.6g} seconds"
        return None


class _Supervisor:
    """What exists while a child lives; touched by its thread alone."""

    def __init__(self, child: Child) -> None:
        self.child, self.command = child, child.command
        self.prefix = launcher()
        self.poll = select.poll()
        self.reactions: dict[int, Callable[[], object]] = {}
        self.outputs: list[tuple[FileIO, Callable[[bytes], object]]] = []  # progress, stderr
        self.reads_stderr_at = math.inf  # again, while its words gather
        self.stderr_head = b""
        self.clock = _Clock(self.command)
        self.stage, self.stage_over_at = StopStage.RUNNING, math.inf
        self.reason = ExitCause.EXITED, ""
        self.is_over = False
        self.pid = 0
        self.reaped: tuple[int, resource.struct_rusage] | None = None

    def run(self) -> ChildExit:
        """Start the child and serve it to its end; one that cannot be started has its end too."""
        with ExitStack() as stack:
            try:
                self._start(stack)
            except EnvironmentTrouble:  # of prepare, which says it best
                raise
            except Exception as error:
                return _unstarted(self.command, _why(error))
            while not self.is_over:
                self._serve()
            self._drain()
        return self._report()

    def _start(self, stack: ExitStack) -> None:
        # Confinement may forbid opening anything: all files are opened before it.
        (out, out_end), (err, err_end) = open_pipe(stack), open_pipe(stack)
        null = stack.enter_context(FileIO(os.devnull))
        stopping = stack.enter_context(self.child.stop_signal.listening())
        if self.child.stop_signal.wanted:
            self.reason, self.is_over = (ExitCause.STOPPED, "was stopped before it began"), True
            return
        if self.command.prepare:
            self.command.prepare()
        self.pid = spawn(
            (*self.prefix, *self.command.argv),
            cwd=self.command.cwd,
            env=self.command.env,
            stdin=null.fileno(),
            stdout=out_end.fileno(),
            stderr=err_end.fileno(),
        )
        stack.callback(self._reap)
        out_end.close()
        err_end.close()
        limit(self.pid, self.command.limits)
        self.outputs = [(out, self._take_progress), (err, self._take_stderr)]
        self.reactions = {
            stopping: lambda: os.eventfd_read(stopping),
            open_end(self.pid, stack): self._note_end,
            out.fileno(): lambda: self._read(*self.outputs[0]),
            err.fileno(): self._read_stderr,
        }
        for fd in self.reactions:
            self.poll.register(fd, select.POLLIN)

    def _serve(self) -> None:
        """Sleep until something happens or is due, and act on it."""
        due = self.stage_over_at
        if self.stage is StopStage.RUNNING:
            self._set_paused(self.child.is_pause_wanted)
            due = self.clock.due()
        seconds = min(due - time.monotonic(), self.reads_stderr_at - time.monotonic(), DAY_SECONDS)
        for fd, _ in self.poll.poll(max(seconds, 0) * 1000):
            self.reactions[fd]()
        now = time.monotonic()
        if now >= self.reads_stderr_at:
            self._read_stderr()
        while not self.is_over and (stage := self._stage_at(now)) is not self.stage:
            self._enter(stage, now)

    def _note_end(self) -> None:
        self.is_over = True

    def _stage_at(self, now: float) -> StopStage:
        """Return the stage that the child is to be in: its own, or the next one."""
        wanted = self.child.stop_signal.wanted
        match self.stage:
            case StopStage.RUNNING:
                exceeded = None if wanted else self.clock.exceeded(now)
                if not wanted and not exceeded:
                    return StopStage.RUNNING
                self.reason = exceeded or (ExitCause.STOPPED, "was stopped")
                return StopStage.TERMINATING
            case StopStage.TERMINATING:
                is_over = wanted is StopStage.KILLED or now >= self.stage_over_at
                return StopStage.KILLED if is_over else StopStage.TERMINATING
            case StopStage.KILLED:
                return StopStage.GIVEN_UP if now >= self.stage_over_at else StopStage.KILLED
            case StopStage.GIVEN_UP:
                return StopStage.GIVEN_UP

    def _enter(self, stage: StopStage, now: float) -> None:
        """Do what begins a stage, and say when it is over at the latest."""
        self.stage = stage
        match stage:
            case StopStage.TERMINATING:
                self._set_paused(False)
                self._signal(signal.SIGTERM)
                self.stage_over_at = now + self.command.grace_seconds
            case StopStage.KILLED:
                self._signal(signal.SIGKILL)
                self.stage_over_at = now + KILL_WAIT_SECONDS
            case StopStage.GIVEN_UP:
                self.stage_over_at = math.inf
                cause, detail = self.reason
                detail += "; it survives SIGKILL, so a disk or mount that it uses is probably dead"
                self.reason = cause, detail
                self.child.ended.set_result(self._report())

    def _set_paused(self, paused: bool) -> None:
        if self.clock.set_paused(paused):
            self._signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _read(self, output: FileIO, take: Callable[[bytes], object]) -> int:
        """Take what a pipe holds; return how much that was."""
        chunk = output.read(CHUNK_BYTES)
        if chunk:
            take(chunk)
        elif chunk is not None:  # the end; None is a pipe that is empty for now
            self.poll.unregister(output.fileno())
            output.close()
        return len(chunk or b"")

    def _read_stderr(self) -> None:
        """Take what stderr holds, then let its words gather unless they come in floods."""
        output, take = self.outputs[1]
        if self.reads_stderr_at < math.inf:
            self.poll.register(output.fileno(), select.POLLIN)
            self.reads_stderr_at = math.inf
        elif 0 < self._read(output, take) < GATHER_BYTES:
            self.poll.unregister(output.fileno())
            self.reads_stderr_at = time.monotonic() + GATHER_SECONDS

    def _take_progress(self, chunk: bytes) -> None:
        if self.child.on_progress(chunk):
            self.clock.note_progress()

    def _take_stderr(self, chunk: bytes) -> None:
        self.stderr_head += chunk[: HEAD_BYTES - len(self.stderr_head)]
        self.child.on_stderr(chunk)

    def _drain(self) -> None:
        """Take what the dead child has left in its pipes: no more than fits into one.

        What comes after that is from a descendant that has moved to another session.
        """
        for output, take in self.outputs:
            left = 0 if output.closed else fcntl.fcntl(output, fcntl.F_GETPIPE_SZ)
            while left > 0 and (chunk := output.read(min(left, CHUNK_BYTES))):
                take(chunk)
                left -= len(chunk)

    def _reap(self) -> None:
        """Kill what is left of the group, while the unreaped child still keeps its number; reap."""
        self._signal(signal.SIGKILL)
        with suppress(ChildProcessError):  # this process ignores SIGCHLD: nothing was kept
            _, status, usage = os.wait4(self.pid, 0)
            self.reaped = os.waitstatus_to_exitcode(status), usage

    def _report(self) -> ChildExit:
        code, usage = self.reaped or (None, None)
        words = self.stderr_head.decode(errors="replace")
        # setpriv has these two statuses for a program that it cannot execute.
        if self.prefix and code in (126, 127) and words.startswith("setpriv: "):
            return _unstarted(self.command, words.removeprefix("setpriv: ").strip())
        cause, detail = self.reason
        return ChildExit(
            cause,
            status=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            detail=f"{os.path.basename(self.command.argv[0])} {detail or _described(code)}",
            seconds=self.clock.seconds,
            cpu_seconds=usage.ru_utime + usage.ru_stime if usage else None,
            peak_memory_bytes=usage.ru_maxrss * 1024 if usage else None,
        )


def _described(code: int | None) -> str:
    if code is None:
        return "ended, but its status is lost: the daemon was started with SIGCHLD ignored"
    if code < 0:
        return f"was killed by signal {-code} ({signal.strsignal(-code)})"
    return f"exited with status {code}"


def _unstarted(command: Command, reason: str) -> ChildExit:
    sentence = f"{os.path.basename(command.argv[0])} could not be started: {reason}"
    return ChildExit(ExitCause.UNSTARTED, None, None, sentence, 0.0)


def _why(error: Exception) -> str:
    """Return what kept a command from being started."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)

"""The probe worker, from the daemon's side: ask a confined child what a file is.

One child on PyAV is started when it is first needed (or by ``warm``), is handed open descriptors
over a socket and answers with streams and proven facts. Threads ask as they like and are answered
one after another, each within its limits. A child that crashes, hangs or grows is killed and
replaced; a file over which that happens twice is judged, not tried for ever. Without work the child
ends by itself, and nothing ticks. What a child says is parsed as a stranger's words.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from watchconv.media.facts import Examined, Facts
from watchconv.media.probe_protocol import NoWorker, ProbeFailed, nonsense, parse_reply, read_hello
from watchconv.model import Cause
from watchconv.process.sandbox.support import SandboxMode, support
from watchconv.process.spawn import environment, spawn
from watchconv.process.stop import StoppableLock, StopSignal, wait_readable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from watchconv.media.probe_protocol import Pictures, Reply

log = logging.getLogger(__name__)
_warn_once = functools.cache(log.warning)

ENDING = "The file was not probed: watchconv is ending."
PART_BYTES = 64 * 1024  # of a reply
PARTS = 4096
TRIES = 2
WEIGHED_EVERY = 10  # files
BYTES_PER_SECOND = 20_000_000  # how much slower a file's size lets an examination be
DECODING_SLOWS = 10
MOST_NAMED = 4096  # tracks to decode
END_SECONDS = 5.0  # a child that has hung up has ended by then, or is killed

# Without ``site`` the start takes half as long; the daemon hands over its own search path.
# -B: as root it would write compiled modules into the installation.
_OPTIONS = ("-I", "-S", "-B", "-c")
_BOOT = """
import sys
sys.path[:] = sys.argv[2:]
import json, os, socket
channel = socket.socket(fileno=0)
try:
    from watchconv.media.probe_worker import serve
except ImportError as error:
    channel.send(json.dumps({"trouble": f"it lacks something: {error}"}).encode())
else:
    serve(channel, float(sys.argv[1]))
os._exit(0)
"""


class _Lost(Exception):  # noqa: N818 (it is a state)
    """The child was lost over a request; the message says how."""

    def __init__(self, how: str, *, hung: bool = False, idle: bool = False) -> None:
        super().__init__(how)
        self.hung = hung  # it was ended because it took too long, which a sleeping disk may explain
        self.idle = idle  # it ended by itself, perhaps for want of work just when there was some


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may take before it is ended or replaced."""

    start_seconds: float = 30.0
    probe_seconds: float = 30.0
    examine_seconds: float = 60.0  # and a second more for each 20 MB
    look_seconds: float = 90.0
    idle_seconds: float = 30.0
    resident_bytes: int = 256 << 20
    files: int = 500


class _Child(threading.Thread):
    """One child, and the thread that starts it and stays to reap it.

    The kernel ends the child together with the thread that started it.
    """

    def __init__(self, argv: Sequence[str], owner_tag: str, turn: StoppableLock) -> None:
        super().__init__(name="watchconv-probe", daemon=True)
        self.argv, self.owner_tag, self.turn = argv, owner_tag, turn
        self.channel, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.setblocking(False)
        self.lacks: tuple[str, ...] | None = None  # of its confinement; None: it is not ready yet
        self.files = 0
        self.pid: int | None = None  # while it is there
        self.is_over = False  # it has ended, or answers nobody any more
        self.trouble: OSError | None = None  # what kept it from being started
        self.status: int | None = None  # its end's, where that is known
        self.ended = threading.Event()
        self._lock = threading.Lock()  # a pid that is reaped may come to mean another process

    def run(self) -> None:
        """Start the child, wait until it has ended, reap it, and close the channel after that."""
        with self.theirs:
            try:
                env = environment(self.owner_tag, "/")
                pid = spawn(self.argv, "/", env, self.theirs.fileno()).pid
            except OSError as error:
                self.trouble, pid = error, None
        if pid:
            with self._lock:
                self.pid = pid
            if self.is_over:
                self.kill()
            with suppress(ChildProcessError):  # this process ignores SIGCHLD: nothing is kept
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            with self._lock, suppress(ChildProcessError):
                self.pid, self.is_over = None, True
                self.status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self.is_over = True
        self.ended.set()
        with suppress(OSError), self.turn.held(StopSignal()):  # nobody uses it now
            self.channel.close()

    def kill(self) -> None:
        """End the child, even if it only starts yet, and the wait for its answer."""
        with self._lock:
            self.is_over = True
            with suppress(OSError):  # it has hung up already
                self.channel.shutdown(socket.SHUT_RDWR)
            if self.pid is not None:
                os.killpg(self.pid, signal.SIGKILL)

    def resident_bytes(self) -> int:
        """Return how much memory the child has in use."""
        try:
            with open(f"/proc/{self.pid}/statm", encoding="ascii") as fields:
                return int(fields.read().split()[1]) * resource.getpagesize()
        except OSError:
            return 0


class ProbeWorker:
    """Asks one confined child, which it keeps, replaces and ends. Any thread may call it.

    What a child's confinement lacks where ``support`` found nothing missing is told once; with
    ``sandbox: require``, a child whose confinement lacks anything reads nothing.
    """

    def __init__(self, owner_tag: str = "", limits: Limits | None = None) -> None:
        self._owner_tag = owner_tag
        self._limits = limits or Limits()
        self._turn = StoppableLock()  # to use a child's channel
        self._lock = threading.Lock()  # over what follows
        self._children: list[_Child] = []  # the last one answers; the others are ending
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is one."""
        child = self._children[-1] if self._children else None
        return child.pid if child and not child.is_over else None

    def probe(
        self,
        fd: int,
        *,
        sandbox: str = "auto",
        stop: StopSignal | None = None,
        salvage: bool = False,
        whole: bool = False,
    ) -> Facts:
        """Return what the open file is. The descriptor stays the caller's, its position unmoved.

        salvage: also of one that is not whole. whole: look for tracks in as much of it as can be,
        for what ffmpeg has met later than it looks.
        Raises Stopped as soon as a stop is requested, else ProbeFailed: a file's fault if it is
        ``hopeless``, or our own trouble (NoWorker: the machine's).
        """
        found = self._ask(
            {"do": "probe", "salvage": salvage, "whole": whole},
            fd,
            self._limits.probe_seconds,
            sandbox,
            stop,
        )
        if isinstance(found, Facts):
            return found
        raise nonsense()

    def examine(
        self,
        fd: int,
        size_bytes: int,
        *,
        sandbox: str = "auto",
        stop: StopSignal | None = None,
        decode: Collection[int] = (),
    ) -> Examined:
        """Read the open file to its end and return what it holds.

        The tracks in ``decode`` are decoded wholly, of others the first packets.
        """
        pace = BYTES_PER_SECOND / (DECODING_SLOWS if decode else 1)
        limit_seconds = self._limits.examine_seconds + size_bytes / pace
        request = {"do": "examine", "decode": sorted(decode)[:MOST_NAMED]}
        found = self._ask(request, fd, limit_seconds, sandbox, stop)
        if isinstance(found, Examined):
            return found
        raise nonsense()

    def look(
        self,
        fd: int,
        track: int,
        moments: Sequence[float],
        spread: int = 2,
        *,
        sandbox: str = "auto",
        stop: StopSignal | None = None,
    ) -> Pictures:
        """Return, for each moment, the picture that a video shows then and ``spread`` around it.

        Moments are seconds on the file's clock. One that is not reached soon, or whose pixels are
        of a format that is not known, has no pictures.
        """
        request = {"do": "look", "track": track, "moments": [*moments], "spread": spread}
        found = self._ask(request, fd, self._limits.look_seconds, sandbox, stop)
        if isinstance(found, tuple) and len(found) == len(moments):
            return found
        raise nonsense()

    def warm(self) -> None:
        """Have a child started, if there is none, so that it is ready when the first file comes."""
        with suppress(ProbeFailed):
            self._current_child()

    def close(self) -> None:
        """End the child, fail what is being asked, and wait for both, but not for ever."""
        with self._lock:
            self._closed = True
            children = self._children
        if children:
            children[-1].kill()
        deadline = time.monotonic() + END_SECONDS
        for child in children:
            child.join(max(0, deadline - time.monotonic()))

    def _ask(
        self,
        request: Mapping[str, object],
        fd: int,
        limit_seconds: float,
        sandbox: str,
        stop: StopSignal | None,
    ) -> Reply:
        """Ask, and once more with a fresh child when the first is lost over it."""
        stop = stop or StopSignal()
        tries, is_forgiven = 0, False
        words = json.dumps(request).encode()
        try:
            with self._turn.held(stop):
                while tries < TRIES:
                    try:
                        reply = self._exchange(words, fd, limit_seconds, sandbox, stop)
                        return parse_reply(reply)
                    except _Lost as error:
                        lost = error
                    if lost.idle and not is_forgiven:
                        is_forgiven = True
                    else:
                        log.warning("the probe worker was lost over a file: %s", lost)
                        tries += 1
        except OSError as error:  # no descriptors to wait with
            raise NoWorker(error) from error
        raise ProbeFailed(
            f"The file was not probed: the process that reads it {lost}, {TRIES} times in a row.",
            hopeless=not lost.hung,
            cause=Cause.TIMEOUT if lost.hung else Cause.UNREADABLE,
        )

    def _exchange(
        self, request: bytes, fd: int, limit_seconds: float, sandbox: str, stop: StopSignal
    ) -> bytes:
        """Return the reply of a child that is confined and ready, starting one if need be."""
        child = self._current_child()
        try:
            if child.lacks is None:
                child.lacks = read_hello(self._receive(child, self._limits.start_seconds, stop))
            if child.lacks and sandbox == SandboxMode.REQUIRE:
                raise NoWorker(f"sandbox: require is not met: {' '.join(child.lacks)}")
        except _Lost as lost:
            child.kill()
            raise NoWorker(child.trouble or f"it {lost}") from lost
        except NoWorker:
            child.kill()
            raise
        if child.lacks and sandbox == SandboxMode.AUTO and not support().missing:
            for sentence in child.lacks:  # of what support() lacks, the start has told
                _warn_once("%s", sentence)
        try:
            with suppress(OSError):  # it has hung up, as the receiving will find
                socket.send_fds(child.channel, [request], [fd])
            reply = self._receive(child, limit_seconds, stop)
        except BaseException:  # no answer may be left for the next question
            child.kill()
            raise
        child.files += 1
        # its address space is bounded; how much of it stays in use is worth a look now and then
        is_weighed = child.files % WEIGHED_EVERY == 1
        too_large = is_weighed and child.resident_bytes() > self._limits.resident_bytes
        if child.files >= self._limits.files or too_large:
            child.kill()
        return reply

    def _receive(self, child: _Child, limit_seconds: float, stop: StopSignal) -> bytes:
        """Wait for one message, in its parts; raises _Lost when the child has none to give."""
        message = bytearray()
        for _ in range(PARTS):
            if not wait_readable(child.channel.fileno(), limit_seconds, stop):
                raise _Lost(f"did not finish within {limit_seconds:g} s", hung=True)
            part = b""
            with suppress(OSError):  # it hung up with a request unread
                part = child.channel.recv(PART_BYTES)
            message += part.removeprefix(b"\0")
            if not part:
                break
            if not part.startswith(b"\0"):  # which says that there is more
                return bytes(message)
        if self._closed:
            raise ProbeFailed(ENDING, hopeless=False)
        is_idle = child.ended.wait(END_SECONDS) and child.status == 0
        raise _Lost("ended" if is_idle else "crashed", idle=is_idle)

    def _current_child(self) -> _Child:
        """Return the child that answers, starting one if there is none; it may not be ready yet."""
        with self._lock:
            if self._closed:
                raise ProbeFailed(ENDING, hopeless=False)
            if self._children and not self._children[-1].is_over:
                return self._children[-1]
            path = filter(None, sys.path)
            argv = (sys.executable, *_OPTIONS, _BOOT, str(self._limits.idle_seconds), *path)
            child = None
            try:
                child = _Child(argv, self._owner_tag, self._turn)
                child.start()
            except (OSError, RuntimeError) as error:  # no descriptors, or no more threads
                if child:
                    child.channel.close()
                    child.theirs.close()
                raise NoWorker(error) from error
            self._children = [*filter(_Child.is_alive, self._children), child]
            return child

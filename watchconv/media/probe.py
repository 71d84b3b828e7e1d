"""The probe worker, from the daemon's side: ask a confined child what a file is.

One child on PyAV is started when it is first needed (or by ``warm``), is handed open
descriptors over a socket and answers with streams and proven facts. Requests come as they
like and are answered one after another.

Guarantees: an answer or ProbeFailed within the limits; a child that crashes, hangs or grows is
killed and replaced; a file on which that happens twice is judged, not tried for ever; without
work the child is ended, and nothing ticks. What a child says is parsed as a stranger's words.

Does not open files and does not decide what a file is good for.

Errors: ProbeFailed, whose ``hopeless`` tells a file's fault from our own trouble.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from watchconv.media.formats import FORMATS
from watchconv.media.probe_protocol import ProbeFailed, no_worker, nonsense, parse_reply, read_hello
from watchconv.model import Content, MediaInfo
from watchconv.process.sandbox.support import support
from watchconv.process.spawn import environment

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

REPLY_BYTES = 64 * 1024
TRIES = 2
WEIGHED_EVERY = 10  # files
BYTES_PER_SECOND = 20_000_000  # how much slower a file's size lets an examination be

# Without ``site`` the start takes half as long; the daemon hands over its own search path.
_BOOT = """
import sys
sys.path[:] = sys.argv[3:]
import json, socket
channel = socket.socket(fileno=int(sys.argv[1]))
try:
    from watchconv.media.probe_worker import serve
except ImportError as error:
    channel.send(json.dumps({"trouble": f"it lacks something: {error}"}).encode())
else:
    serve(channel, sys.argv[2])
"""


class _Lost(Exception):  # noqa: N818 (it is a state)
    """The child was lost over a request; the message says how.

    hung: it was ended because it took too long, which a sleeping disk may explain.
    """

    def __init__(self, how: str = "", *, hung: bool = False) -> None:
        super().__init__(how)
        self.hung = hung


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may take before it is ended or replaced."""

    start_seconds: float = 30.0
    probe_seconds: float = 30.0
    examine_seconds: float = 60.0  # and a second more for each 20 MB
    idle_seconds: float = 30.0
    resident_bytes: int = 256 << 20
    files: int = 500


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    channel: socket.socket
    ready: bool = False
    files: int = 0


class ProbeWorker:
    """Asks one confined child, which it keeps, replaces and ends.

    Belongs to one event loop, whose thread must live as long as the child: the kernel ends the
    child together with the thread that started it. ``mark`` is put into the child's environment
    as WATCHCONV_CHILD, by which a later daemon knows a leftover. What its confinement lacks where
    ``support`` found nothing missing is told once; where ``sandbox`` gives ``require``, a child
    whose confinement lacks anything reads nothing.
    """

    def __init__(
        self,
        mark: str = "",
        limits: Limits | None = None,
        sandbox: Callable[[], str] = lambda: "auto",
    ) -> None:
        self._mark, self._sandbox = mark, sandbox
        self._limits = limits or Limits()
        self._turn = asyncio.Lock()
        self._closed = False
        self._child: _Child | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._endings: set[asyncio.Future[None]] = set()

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is one."""
        return self._child.process.pid if self._child else None

    async def probe(self, fd: int) -> MediaInfo:
        """Say what the open file is. The descriptor stays the caller's, its position unmoved."""
        found = await self._ask(b"probe", fd, self._limits.probe_seconds)
        if isinstance(found, MediaInfo):
            return found
        raise nonsense()

    async def examine(self, fd: int, size_bytes: int) -> tuple[Content, ...]:
        """Read the open file to its end: per stream the packets, and whether it decodes."""
        limit_seconds = self._limits.examine_seconds + size_bytes / BYTES_PER_SECOND
        found = await self._ask(b"examine", fd, limit_seconds)
        if isinstance(found, tuple):
            return found
        raise nonsense()

    def warm(self) -> None:
        """Start the child, if there is none, so that it is ready when the first file comes."""
        if self._child is None and not self._closed:
            with contextlib.suppress(ProbeFailed):
                self._start()
                self._end_when_idle()

    async def close(self) -> None:
        """End the child, fail what is being asked, and wait until all children are gone."""
        self._closed = True
        if self._child and self._turn.locked():
            self._child.channel.shutdown(socket.SHUT_RDWR)
        async with self._turn:
            self._end()
        if self._endings:
            await asyncio.wait(set(self._endings))

    async def _ask(
        self, request: bytes, fd: int, limit_seconds: float
    ) -> MediaInfo | tuple[Content, ...]:
        async with self._turn:
            self._cancel_idle_end()
            try:
                return parse_reply(await self._answer(request, fd, limit_seconds))
            finally:
                self._end_when_idle()

    async def _answer(self, request: bytes, fd: int, limit_seconds: float) -> bytes:
        """Ask, and once more with a fresh child when the first is lost over it."""
        lost = _Lost()
        for _ in range(TRIES):
            if self._closed:
                raise ProbeFailed("The file was not probed: watchconv is ending.", hopeless=False)
            child = await self._ready_child()
            try:
                return await self._exchange(child, request, fd, limit_seconds)
            except _Lost as error:
                lost = error
                log.warning("the probe worker was lost over a file: %s", error)
        raise ProbeFailed(
            f"The file was not probed: the process that reads it {lost}, {TRIES} times in a row.",
            hopeless=not lost.hung,
        )

    async def _ready_child(self) -> _Child:
        """Give a child that has said that it is confined and ready, starting one if need be."""
        child = self._child or self._start()
        if not child.ready:
            try:
                hello = await self._receive(child, self._limits.start_seconds)
            except _Lost as error:
                raise no_worker(f"it {error}") from error
            try:
                self._take_lacks(read_hello(hello))
            except ProbeFailed:
                self._end()
                raise
            child.ready = True
        return child

    def _take_lacks(self, lacks: tuple[str, ...]) -> None:
        """Tell what does not confine the child, or refuse to use it."""
        mode = self._sandbox()
        if lacks and mode == "require":
            raise no_worker(f"sandbox: require is not met: {' '.join(lacks)}")
        if mode == "auto" and not support().missing:  # else the start has told of it
            for sentence in lacks:
                _tell_once(sentence)

    async def _exchange(
        self, child: _Child, request: bytes, fd: int, limit_seconds: float
    ) -> bytes:
        try:
            socket.send_fds(child.channel, [request], [fd])
        except OSError:
            raise _Lost(self._end()) from None
        reply = await self._receive(child, limit_seconds)
        child.files += 1
        # its address space is bounded; how much of it stays in use is worth a look now and then
        too_large = (
            child.files % WEIGHED_EVERY == 1
            and _resident_bytes(child) > self._limits.resident_bytes
        )
        if child.files >= self._limits.files or too_large:
            self._end()
        return reply

    async def _receive(self, child: _Child, limit_seconds: float) -> bytes:
        """Wait for one message; whatever else happens ends the child, cancellation included."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(limit_seconds):
                reply = await loop.sock_recv(child.channel, REPLY_BYTES)
        except TimeoutError:
            self._end()
            raise _Lost(f"did not finish within {limit_seconds:g} s", hung=True) from None
        except OSError:
            reply = b""
        except BaseException:
            self._end()
            raise
        if not reply:
            raise _Lost(self._end())
        return reply

    def _start(self) -> _Child:
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise no_worker(error.strerror or str(error)) from error
        argv = [sys.executable, "-I", "-S", "-c", _BOOT]
        argv += [str(theirs.fileno()), FORMATS, *filter(None, sys.path)]
        with theirs:
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=environment(self._mark, "/"),
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise no_worker(error.strerror or str(error)) from error
        ours.setblocking(False)
        self._child = _Child(process, ours)
        return self._child

    def _end(self) -> str:
        """Kill the child, if there is one, and have it reaped. Says how it had ended by itself."""
        self._cancel_idle_end()
        child, self._child = self._child, None
        if child is None:
            return "was ended"
        child.channel.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGKILL)
        ending = asyncio.get_running_loop().run_in_executor(None, _reap, child.process)
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
        return "crashed"

    def _cancel_idle_end(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _end_when_idle(self) -> None:
        if self._child is not None:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(self._limits.idle_seconds, self._end)


@functools.cache
def _tell_once(sentence: str) -> None:
    log.warning("%s", sentence)


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Wait for a killed child; one stuck in the kernel is left to subprocess' own reaping."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)


def _resident_bytes(child: _Child) -> int:
    try:
        with open(f"/proc/{child.process.pid}/statm", encoding="ascii") as fields:
            return int(fields.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0

"""A daemon on fresh folders, as a user would start it, and the certain end of all it started."""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from tests.bench.events import CREATED, MOVED_IN, Watch, names_in
from tests.bench.figures import CannotMeasure
from tests.bench.tree import tree, use_of_tree

if TYPE_CHECKING:
    from tests.bench.clips import Clips

CHECKOUT = Path(__file__).parents[2]
FOLDERS = ("inbox", "outbox", "done", "error")
READY_SECONDS = 60.0
RUN_SECONDS = 1200.0
IDLE_PROBE_SECONDS = 90.0  # the probe worker ends after 30 s without work
SETTLE_SECONDS = 2.0  # the default


def install(folder: Path) -> dict[str, str]:
    """Copy the package as an installation would be, byte-compiled; return the environment.

    So the checkout may change meanwhile, and nobody pays for compiling.
    """
    target = folder / "site" / "watchconv"
    shutil.copytree(CHECKOUT / "watchconv", target, ignore=shutil.ignore_patterns("__pycache__"))
    if not compileall.compile_dir(target, quiet=1):
        raise SystemExit("the package does not compile")
    unwanted = ("WATCHCONV_", "XDG_", "PYTHON", "STATE_DIRECTORY", "NOTIFY_SOCKET", "JOURNAL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {**kept, "HOME": str(folder), "PYTHONPATH": str(folder / "site")}


@dataclass(frozen=True, slots=True)
class Place:
    """Four folders, a state directory and a configuration."""

    root: Path
    environment: dict[str, str]

    @classmethod
    def make(cls, root: Path, environment: dict[str, str], **settings: Any) -> Self:
        """Make it anew, with these settings in the configuration."""
        shutil.rmtree(root, ignore_errors=True)
        for name in (*FOLDERS, "staging"):
            (root / name).mkdir(parents=True)
        values = {name: str(root / name) for name in FOLDERS} | {"state": str(root / "state")}
        (root / "config.yaml").write_text(yaml.safe_dump(values | settings), encoding="utf-8")
        return cls(root, environment)

    @property
    def inbox(self) -> Path:
        """Where files are dropped."""
        return self.root / "inbox"

    @property
    def outbox(self) -> Path:
        """Where outputs come out."""
        return self.root / "outbox"

    @property
    def done(self) -> Path:
        """Where originals end."""
        return self.root / "done"

    def command(self, *words: str) -> list[str]:
        """Give the argv of one command."""
        program = [sys.executable, "-m", "watchconv", "--config", str(self.root / "config.yaml")]
        return [*program, *words]

    def say(self, *words: str) -> str:
        """Run a command to its end; return what it printed."""
        ended = subprocess.run(
            self.command(*words),
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=READY_SECONDS,
        )
        if ended.returncode:
            raise CannotMeasure(f"watchconv {words[0]}: {ended.stdout}{ended.stderr}")
        return ended.stdout

    def counts(self) -> dict[str, int]:
        """Ask for the counts by state."""
        answer: dict[str, int] = json.loads(self.say("status", "--json"))["counts"]
        return answer

    def arrivals(self) -> Watch:
        """Watch what comes out."""
        return Watch(MOVED_IN | CREATED, self.outbox, self.done)

    def last_words(self) -> str:
        """Give the end of the daemon's log."""
        lines = (self.root / "log").read_text(encoding="utf-8", errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-3:])

    def fill(self, clips: Clips) -> list[Path]:
        """Copy clips into the staging folder; return them."""
        folder = self.root / "staging" / "clips"
        clips.copy(folder)
        return sorted(folder.iterdir())


class Daemon:
    """``watchconv run``; dead when the block ends, with everything that it started."""

    def __init__(self, place: Place, *words: str, ready: bool = True) -> None:
        """Take the place and words after ``run``; the block begins when the daemon is ready."""
        self._place, self._words, self._wait = place, words, ready
        self.started_at = 0.0

    def __enter__(self) -> Self:
        """Start it."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._kill)
            self._start()
            if self._wait:
                self._await_ready()
            stack.pop_all()
        return self

    def _start(self) -> None:
        address = str(self._place.root / "notify")
        Path(address).unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        environment = self._place.environment
        if self._wait:
            environment = {**environment, "NOTIFY_SOCKET": address}
        with open(self._place.root / "log", "ab") as log:
            self.started_at = time.perf_counter()
            self.process = subprocess.Popen(
                self._place.command("run", *self._words),
                cwd=self._place.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _await_ready(self) -> None:
        """Wait for READY=1: the first look is done. Then nobody listens any more."""
        deadline = time.monotonic() + READY_SECONDS
        self._socket.settimeout(1.0)
        said = b""
        while b"READY=1" not in said:
            if (why := self.trouble()) or time.monotonic() > deadline:
                raise CannotMeasure(why or f"the daemon is not ready after {READY_SECONDS:g} s")
            with contextlib.suppress(TimeoutError):
                said = self._socket.recv(4096)
        self._socket.close()
        time.sleep(1.0)

    def trouble(self) -> str | None:
        """Say what is wrong: it has ended, or something that should be converted was not."""
        if self.process.poll() is not None:
            return f"the daemon ended ({self.process.returncode}): {self._place.last_words()}"
        failed = [name for name in os.listdir(self._place.root / "error") if name[-4:] != ".log"]
        return f"{failed} went to error: {self._place.last_words()}" if failed else None

    def wait_for_all(self, arrivals: Watch, count: int) -> None:
        """Wait until so many outputs and so many originals have come out."""
        place = self._place
        arrivals.wait(
            lambda events: all(
                len(names_in(events, folder)) >= count for folder in (place.outbox, place.done)
            ),
            RUN_SECONDS,
            f"{count} outputs and originals",
            self.trouble,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def wait_until_alone(self) -> None:
        """Wait until it has no child left, the probe worker included."""
        deadline = time.monotonic() + IDLE_PROBE_SECONDS
        while use_of_tree(self.pid).processes > 1:
            if time.monotonic() > deadline:
                raise CannotMeasure(f"children still live after {IDLE_PROBE_SECONDS:g} s")
            time.sleep(0.5)
        time.sleep(1.0)

    def __exit__(self, *_: object) -> None:
        """End it, by SIGTERM at first."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.terminate()
            self.process.wait(10)
        self._kill()

    def _kill(self) -> None:
        self._socket.close()
        if not hasattr(self, "process"):
            return
        below = tree(self.pid)[:-1] if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def litter(inbox: Path, folders: int = 200, files: int = 100) -> None:
    """Put files that are no videos into the inbox."""
    for number in range(folders):
        folder = inbox / f"folder-{number:03}"
        folder.mkdir()
        for file in range(files):
            os.close(os.open(folder / f"note-{file:03}.txt", os.O_CREAT | os.O_WRONLY))

"""A place whose ffmpeg is the fake of ``tests.fakes``, and what tests look at in one.

    place = FakePlace(tmp_path / "videos", {"bad*": "hang"}, max_attempts=2)
    with Daemon(place): ...

``CopyPlace`` is one whose profile copies, so that clips of two frames and other files will do.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.daemon import Daemon, Place
from tests.fakes import write_fake
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FRAMES = 20  # of the clip that a FakePlace is for
COPY_FRAMES = 2  # … and a CopyPlace
NEVER = 300  # seconds; what would take so long must not have been waited for
EAGER: dict[str, Any] = {
    "settle_seconds": 0.1,
    "settle_network_seconds": 0.3,
    "min_free": 0,
    "nice": 0,
    "ionice": "none",
    "max_attempts": 1,
    "jobs": 2,
    "stall_seconds": NEVER,
    "stop_grace_seconds": 1,
}
COPY_PROFILE: dict[str, Any] = {"suffix": ".mkv", "args": "-c copy", "verify": "off"}
COPY: dict[str, Any] = {"profile": "copy", "profiles": {"copy": COPY_PROFILE}}
READ_AGAIN = "the configuration was read again; changed: "
_BEGIN = "import sys\nfrom watchconv.cli import main\nsys.exit(main(sys.argv[1:]))"


class FakePlace(Place):
    """A place with a fake ffmpeg, whose program may be tweaked, or held to the rules of users."""

    def __init__(
        self,
        root: Path,
        plan: Mapping[str, str] | None = None,
        *,
        otherwise: str = "copy",
        frames: int | None = FRAMES,
        tweak: str = "",
        unprivileged: bool = False,
        **settings: Any,
    ) -> None:
        """Tweak is Python that the program runs first; settings come over ``EAGER``."""
        self._tweak, self._prefix = tweak, without_override() if unprivileged else []
        self._programs, self._frames = root.resolve().with_name(f"{root.name}.ffmpeg"), frames
        self.ffmpeg = self.plan(plan, otherwise=otherwise)
        super().__init__(root.resolve(), {**EAGER, "ffmpeg": self.ffmpeg, **settings})

    def plan(self, plan: Mapping[str, str] | None = None, *, otherwise: str = "copy") -> str:
        """Write the fake, now or anew."""
        return write_fake(self._programs, plan, otherwise=otherwise, frames=self._frames)

    def command(self, *words: str | int) -> list[str]:
        """Give the argv of one command on this place."""
        if not self._tweak and not self._prefix:
            return super().command(*words)
        code = f"{self._tweak}\n{_BEGIN}"
        python = (*self._prefix, sys.executable, "-W", "error", "-c", code)
        return [*python, *self.options, *map(str, words)]

    def once(self, seconds: float = 60.0) -> int:
        """Work the inbox off; return the exit code."""
        with self.log_file.open("ab") as log:
            ended = subprocess.run(
                self.command("run", "--once"),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=seconds,
                check=False,
            )
        return ended.returncode

    def counts(self) -> Counter[str]:
        """Count the jobs by state."""
        return Counter(job["state"] for job in self.jobs())

    def wait_for_counts(self, **counts: int) -> None:
        """Wait until there are so many jobs in each state, and none in another."""
        wait_until(lambda: self.counts() == counts, what=lambda: f"{self.counts()}\n{self.log()}")

    def states(self) -> dict[str, list[str]]:
        """Give the states of the jobs of each source, in the order of the jobs."""
        found: dict[str, list[str]] = {}
        for job in sorted(self.jobs(), key=lambda job: int(job["id"])):
            found.setdefault(job["source"], []).append(job["state"])
        return found

    def tree(self) -> list[str]:
        """List what lies in the four folders."""
        return sorted(
            str(path.relative_to(self.root))
            for folder in (self.inbox, self.outbox, self.done, self.error)
            for path in folder.rglob("*")
            if not path.is_dir() and ".watchconv" not in path.parts
        )

    def report(self, name: str) -> list[str]:
        """Read the .log of a failed original, which lies beside it."""
        assert (self.error / name).is_file()
        return (self.error / f"{name}.log").read_text(encoding="utf-8").splitlines()

    def transitions(self, what: str) -> list[Transition]:
        """Find the changes of state of one kind in the log, such as ``queued→running``."""
        pattern = rf"^(\S+ \S+) job=(\d+) profile=\S+ {what}(?!\S)"
        return [
            Transition(datetime.fromisoformat(at).timestamp(), int(job))
            for at, job in re.findall(pattern, self.log(), re.MULTILINE)
        ]

    def children(self, name: str = "") -> list[int]:
        """List the living fakes, whoever their parents are; of one input, if named."""
        mark = os.fsencode(f"WATCHCONV_CHILD={os.path.realpath(self.state)}")
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                source = os.fsencode(f"file:{self.inbox}/{name}")
                if mark in environ and b"-progress" in words and (not name or source in words):
                    found.append(int(pid))
        return found

    @contextmanager
    def paused(self, fill: Callable[[], int]) -> Iterator[Daemon]:
        """Run a daemon that has queued what was put into the inbox, and is paused."""
        self.say("pause")
        expected = fill()
        with Daemon(self) as daemon:
            self.wait_for_counts(queued=expected)
            yield daemon


class CopyPlace(FakePlace):
    """A place whose profile copies and asks for no proof; its clips have two frames."""

    def __init__(
        self,
        root: Path,
        plan: Mapping[str, str] | None = None,
        *,
        tweak: str = "",
        unprivileged: bool = False,
        **settings: Any,
    ) -> None:
        """See ``FakePlace``."""
        options: dict[str, Any] = {**COPY, **settings}
        super().__init__(
            root, plan, frames=COPY_FRAMES, tweak=tweak, unprivileged=unprivileged, **options
        )


class GatedPlace(CopyPlace):
    """A place whose ffmpeg waits at a gate: a job ends when its name is let through."""

    def __init__(
        self,
        root: Path,
        otherwise: str = "gate",
        *,
        tweak: str = "",
        unprivileged: bool = False,
        **settings: Any,
    ) -> None:
        """See ``FakePlace``; one job at a time, unless settings say otherwise."""
        self.gate = root / "gate"
        self.gate.mkdir(parents=True)
        plan = {"*": f"gate:{self.gate.resolve()}" if otherwise == "gate" else otherwise}
        one: dict[str, Any] = {"jobs": 1, **settings}
        super().__init__(root, plan, tweak=tweak, unprivileged=unprivileged, **one)
        self.settings: dict[str, Any] = {**EAGER, **COPY, "ffmpeg": self.ffmpeg, **one}

    def change(self, daemon: Daemon, **settings: Any) -> str:
        """Change the configuration, tell the daemon, and give what it said to it."""
        self.settings = {**self.settings, **settings}
        self.configure(self.settings)
        return self.reload(daemon, READ_AGAIN)

    def reload(self, daemon: Daemon, expected: str) -> str:
        """Tell the daemon to read again; wait for the words; give all it said since."""
        before = len(self.log())
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: expected in self.log()[before:], what=self.log)
        return self.log()[before:]

    def let_through(self, name: str) -> None:
        """Open the gate for one name."""
        (self.gate / name).touch()

    def running(self) -> set[str]:
        """Name what is shown as running."""
        return {row["source"] for row in self.live().get("running", [])}


class Transition(NamedTuple):
    """One change of state in the daemon's log."""

    at: float
    job: int


def without_override() -> list[str]:
    """Begin a program to which, be it root's, folders can be closed."""
    if os.geteuid() != 0:
        return []
    rights = "-dac_override,-dac_read_search,-fowner"
    return ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]


def is_alive(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def files_in(folder: Path) -> set[str]:
    """List the files below a folder, work in progress included."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

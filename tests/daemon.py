"""The real program as a user runs it: a place with four folders, commands, and the daemon.

    place = Place(tmp_path / "videos")
    with Daemon(place):
        drop(clip, place.inbox / "a.mkv")
        wait_until((place.done / "a.mkv").exists)
        assert place.status()["counts"]["done"] == 1

``Place(folder, {"settle_seconds": 0.3})`` writes a configuration and uses ``--config``; without
settings it is ``--root``. The daemon and all that it started are dead when the block ends.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from tests.clips import FFMPEG
from tests.waiting import LONG, wait_until
from watchconv.cli import main

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECKOUT = Path(__file__).parents[1]
FOLDERS = ("inbox", "outbox", "done", "error")
PROGRAM = (sys.executable, "-W", "error", "-m", "watchconv")


# Converts in the time that the clip lasts, with next to no work: for what must be seen running.
SLOW: dict[str, Any] = {"suffix": ".webm", "args": "-vf realtime -c:v libvpx -b:v 100k -an"}
QUICK: dict[str, Any] = {
    "settle_seconds": 0.2,
    "settle_network_seconds": 0.5,  # empty files are given this long on any file system
    "min_free": 0,
    "profiles": {"slow": SLOW},
}


class Place:
    """Four folders and a state directory, and the commands of watchconv on them."""

    def __init__(
        self,
        root: Path,
        settings: Mapping[str, Any] | None = None,
        *,
        ffmpeg: str | os.PathLike[str] = FFMPEG,
    ) -> None:
        """Use root with ``--root``, or with a configuration of these settings."""
        self.root = root
        self.inbox, self.outbox, self.done, self.error = (root / name for name in FOLDERS)
        self.state = root / ".state"
        self.log_file = root / "daemon.log"
        self.config = root / "config.yaml"
        self.options: tuple[str, ...] = ("--root", str(root))
        root.mkdir(parents=True, exist_ok=True)
        self.environment = self._environment(Path(ffmpeg))
        if settings is not None:
            for folder in (self.inbox, self.outbox, self.done, self.error):
                folder.mkdir(exist_ok=True)
            self.configure(settings)

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Write the configuration: the folders of this place, and these settings over them."""
        folders = {name: str(self.root / name) for name in FOLDERS}
        values = {**folders, "state": str(self.state), **settings}
        self.config.write_text(yaml.safe_dump(values), encoding="utf-8")
        self.options = ("--config", str(self.config))

    def _environment(self, ffmpeg: Path) -> dict[str, str]:
        """Give an environment of our own: this ffmpeg on PATH, no configuration of the tester's."""
        programs, home = self.root / ".bin", self.root / ".home"
        programs.mkdir(exist_ok=True)
        home.mkdir(exist_ok=True)
        link = programs / "ffmpeg"
        link.unlink(missing_ok=True)
        link.symlink_to(ffmpeg)
        unwanted = ("WATCHCONV_", "XDG_", "STATE_DIRECTORY", "NOTIFY_SOCKET")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
        (programs / "imageio_ffmpeg.py").touch()  # hides the embedded one, which may be newer
        path = f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        python = f"{programs}{os.pathsep}{CHECKOUT}"
        return {**kept, "PATH": path, "HOME": str(home), "PYTHONPATH": python}

    def command(self, *words: str | int) -> list[str]:
        """Give the argv of one command on this place."""
        return [*PROGRAM, *self.options, *map(str, words)]

    def run(self, *words: str | int, seconds: float = LONG) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; bytes that are no UTF-8 arrive as surrogate escapes."""
        return run_program(*self.options, *words, seconds=seconds, environment=self.environment)

    def say(self, *words: str | int) -> str:
        """Run a command that must do well; return what it said."""
        ended = self.run(*words)
        assert ended.returncode == 0, f"{words}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    def status(self) -> dict[str, Any]:
        """Read ``status --json``."""
        answer: dict[str, Any] = self._read("status")
        return answer

    def jobs(self, *words: str) -> list[dict[str, Any]]:
        """Read ``jobs --json``."""
        answer: list[dict[str, Any]] = self._read("jobs", *words)
        return answer

    def _read(self, *words: str) -> Any:
        """Run one command that only reads, in this process: it is asked often."""
        with contextlib.redirect_stdout(io.StringIO()) as said:
            code = main([*self.options, *words, "--json"])
        assert code == 0, said.getvalue()
        return json.loads(said.getvalue())

    def job(self, source: str) -> dict[str, Any]:
        """Give the newest job of one source, a path below the inbox."""
        found = [job for job in self.jobs() if job["source"] == source]
        assert found, f"no job for {source}"
        return max(found, key=lambda job: int(job["id"]))

    def wait_for(self, source: str, state: str) -> dict[str, Any]:
        """Wait until the newest job of a source is in a state; give it. The daemon's log tells."""
        told = re.compile(rf"\b{state} {re.escape(source)}(?:$|: )", re.MULTILINE)
        wait_until(lambda: told.search(self.log()), what=lambda: f"{source}: {state}\n{self.log()}")
        return wait_until(lambda: (job := self.job(source))["state"] == state and job)

    def log(self) -> str:
        """Read what the daemons of this place said."""
        with contextlib.suppress(FileNotFoundError):
            return self.log_file.read_text(encoding="utf-8", errors="surrogateescape")
        return ""

    def live(self) -> dict[str, Any]:
        """Read the live file: quicker than ``status``, to wait with; {} where there is none."""
        with contextlib.suppress(OSError, ValueError):
            answer: dict[str, Any] = json.loads((self.state / "live.json").read_bytes())
            return answer
        return {}


class Daemon:
    """``watchconv run`` on a place; its words go to a file. Ready when the block begins."""

    def __init__(
        self, place: Place, *words: str, environment: dict[str, str] | None = None
    ) -> None:
        """Take the place; words are given after ``run``."""
        self.place, self.words = place, words
        self.environment = environment or place.environment
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it and wait until it is ready."""
        try:
            self.start()
            self.wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it, and all that it started."""
        self.kill()

    @property
    def pid(self) -> int:
        """Give its process id."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it; does not wait."""
        with self.place.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.place.command("run", *self.words),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_ready(self) -> None:
        """Wait until it shows what it does; fail with its log when it ends instead."""
        wait_until(
            lambda: self.place.live().get("pid") == self.pid or self._must_live(),
            what=lambda: f"the daemon is ready\n{self.log()}",
        )

    def _must_live(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (
            f"the daemon ended: {self.process.returncode}\n{self.log()}"
        )
        return False

    def log(self) -> str:
        """Read all it said, all starts of this place together."""
        return self.place.log()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, seconds: float = LONG) -> int:
        """Wait for its end; return its exit code."""
        assert self.process is not None
        return self.process.wait(seconds)

    def stop(self, seconds: float = LONG) -> int:
        """End it as systemd does; return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self) -> None:
        """SIGKILL the daemon and everything below it; idempotent."""
        if self.process is None:
            return
        with contextlib.ExitStack() as held:
            children = []
            for pid in descendants(self.pid) if self.process.poll() is None else []:
                with contextlib.suppress(ProcessLookupError):
                    children.append(os.pidfd_open(pid))
                    held.callback(os.close, children[-1])
            self.process.kill()
            self.process.wait()
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(child, signal.SIGKILL)

    def encodes(self) -> list[int]:
        """Give the ffmpeg children that are at work now."""
        return encodes(self.pid)


def run_program(
    *words: str | int,
    seconds: float = LONG,
    environment: dict[str, str] | None = None,
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the program with these words to its end."""
    return subprocess.run(
        [*PROGRAM, *map(str, words)],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=seconds,
        check=False,
        encoding="utf-8",
        errors="surrogateescape",
    )


def drop(source: Path, target: Path) -> None:
    """Put a file into an inbox as a careful client does: whole, by one rename."""
    inbox = next(folder for folder in target.parents if folder.name == "inbox")
    hidden = inbox.parent / ".dropping"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, hidden)
    hidden.rename(target)


def descendants(pid: int) -> list[int]:
    """Give all living processes below one, children first."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/task/{task}/children").read_text(encoding="ascii")
                for child in map(int, words.split()):
                    found += [child, *descendants(child)]
    return found


def most_megabytes(pid: int) -> float:
    """Say what a process held in memory at most since its start."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"))
    assert found
    return int(found[1]) / 1024


def encodes(pid: int) -> list[int]:
    """Give the ffmpeg processes below one that are executing ffmpeg, not starting it."""
    return [child for child in descendants(pid) if is_ffmpeg(child)]


def is_ffmpeg(pid: int) -> bool:
    """Tell an encode: its command line has -progress, its program is no launcher."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    program = (os.path.basename(word) for word in words[:3])  # a script's name is the second
    return b"-progress" in words and any(b"ffmpeg" in word for word in program)


@cache
def _tiny_clip(folder: Path, name: str, *arguments: str) -> Path:
    path = folder / name
    subprocess.run(
        [FFMPEG, "-v", "error", "-y", *arguments, "-threads", "1", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=LONG,
    )
    return path


def tiny_clip(folder: Path, name: str = "tiny.mkv", seconds: float = 0.2) -> Path:
    """Make a clip, 64x48 at 10 a second, once for each folder and name; the suffix says as what."""
    pattern = f"testsrc=size=64x48:rate=10:duration={seconds}"
    return _tiny_clip(folder, name, "-f", "lavfi", "-i", pattern, "-c:v", "mpeg4")


def still_picture(folder: Path, name: str = "still.png") -> Path:
    """Make a picture that does not move."""
    pattern = "testsrc=size=64x48:rate=10:duration=0.1"
    return _tiny_clip(folder, name, "-f", "lavfi", "-i", pattern, "-frames:v", "1")


def only_sound(folder: Path, name: str = "sound.mp4") -> Path:
    """Make a file with sound and no picture."""
    return _tiny_clip(folder, name, "-f", "lavfi", "-i", "sine=duration=0.3", "-c:a", "aac")

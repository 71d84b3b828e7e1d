"""A box with a systemd of its own, and services of watchconv in it.

    service = box.service("films", {"jobs": 1})
    service.systemctl("start")
    drop(clip, service.inbox / "a.mkv")
    wait_until((service.done / "a.mkv").exists)

What lies in the box at /srv is a folder of the tests' file system (a real disk, where leases
prove writers), so that a test drops and finds files without asking the box.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.daemon import CHECKOUT, QUICK
from tests.waiting import LONG, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TOOL = Path(
    os.environ.get("WATCHCONV_SYSTEMD_BOX") or CHECKOUT.parent / "shared/tools/systemd-box"
).resolve()
ENVIRONMENT = "/opt/watchconv"
PROGRAM = f"{ENVIRONMENT}/bin/watchconv"
SETTINGS: dict[str, Any] = {**QUICK, "sandbox": "require", "jobs": 1}
_CANNOT_RUN = 77  # what the box says where it cannot be


class Box:
    """One box; ``up`` boots it, ``down`` throws it away."""

    def __init__(self, name: str, environment: Path, srv: Path) -> None:
        self._environ = {**os.environ, "SYSTEMD_BOX_NAME": name}
        self._binds = ["--ro", f"{environment}:{ENVIRONMENT}", "--rw", f"{srv}:/srv"]
        self.srv = srv

    def up(self) -> None:
        """Boot it, or skip the test where that cannot be."""
        ended = self._tool("up", *self._binds, "--ttl", "1500")
        if ended.returncode == _CANNOT_RUN:
            pytest.skip(ended.stderr.strip())
        assert ended.returncode == 0, ended.stdout + ended.stderr

    def down(self) -> None:
        """Throw it away."""
        self._tool("down", "--now")

    def run(self, *words: str, text: str = "", seconds: float = LONG) -> str:
        """Run a program in the box as root; give what it said. It must do well."""
        ended = self.attempt(*words, text=text, seconds=seconds)
        assert ended.returncode == 0, f"{words}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    def attempt(
        self, *words: str, text: str = "", seconds: float = LONG
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the box as root, which may fail."""
        return self._tool("run", "--", *words, text=text, seconds=seconds)

    def shell(self, script: str, **values: str) -> str:
        """Run a few lines of shell in the box."""
        return self.run("env", *(f"{k}={v}" for k, v in values.items()), "sh", "-euc", script)

    def write(self, path: str, content: str) -> None:
        """Write a file in the box."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1"', "sh", path, text=content)

    def service(self, name: str, settings: Mapping[str, Any] | None = None) -> Service:
        """Install an instance, with these settings over quick ones."""
        self.run(PROGRAM, "install", "--name", name)
        service = Service(self, name)
        service.configure(settings or {})
        return service

    def _tool(
        self, *words: str, text: str = "", seconds: float = LONG
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(TOOL), *words],
            env=self._environ,
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )


class Service:
    """One service of watchconv in a box."""

    def __init__(self, box: Box, name: str | None = None) -> None:
        """Take the box, and the instance's name; None is the plain service."""
        self.box = box
        self.unit = f"watchconv@{name}.service" if name else "watchconv.service"
        self.config = f"/etc/watchconv/{name or 'config'}.yaml"
        self.root = box.srv / (f"watchconv-{name}" if name else "watchconv")  # as the tests see it
        self.inbox, self.outbox = self.root / "inbox", self.root / "outbox"
        self.done, self.error = self.root / "done", self.root / "error"

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Write the configuration that install made, with other settings."""
        values = yaml.safe_load(self.box.run("cat", self.config))
        self.box.write(self.config, yaml.safe_dump({**values, **SETTINGS, **settings}))

    def drop_in(self, *lines: str) -> None:
        """Change the unit as ``systemctl edit`` does."""
        text = "\n".join(["[Service]", *lines, ""])
        self.box.write(f"/etc/systemd/system/{self.unit}.d/override.conf", text)
        self.box.run("systemctl", "daemon-reload")

    def systemctl(self, *words: str, seconds: float = LONG) -> None:
        """Run systemctl on the unit."""
        ended = self.box.attempt("systemctl", *words, self.unit, seconds=seconds)
        assert ended.returncode == 0, f"{words}: {ended.stderr}\n{self.log()}"

    def kill(self, signal: str) -> None:
        """Send the daemon a signal, and none of its children."""
        self.systemctl("kill", f"--signal={signal}", "--kill-whom=main")

    def show(self, name: str) -> str:
        """Read one property of the unit."""
        return self.box.run("systemctl", "show", "-P", name, self.unit).strip()

    @property
    def pid(self) -> int:
        """The daemon's process id in the box; 0 without one."""
        return int(self.show("MainPID"))

    @property
    def status(self) -> str:
        """The line that ``systemctl status`` shows."""
        return self.show("StatusText")

    def milliseconds_to_start(self) -> int:
        """Say how long the last start took, from the daemon's exec to READY."""
        began, ready = (
            self.show("ExecMainStartTimestampMonotonic"),
            self.show("ActiveEnterTimestampMonotonic"),
        )
        return (int(ready) - int(began)) // 1000

    def log(self) -> str:
        """Read what it said, and what systemd said of it."""
        return self.box.attempt("journalctl", "-o", "cat", "-u", self.unit).stdout

    def jobs(self) -> list[dict[str, Any]]:
        """Read ``jobs --json``, newest first, as root does."""
        said = self.box.run(PROGRAM, "--config", self.config, "jobs", "--json")
        answer: list[dict[str, Any]] = json.loads(said)
        return answer

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something; tell the log when it does not come."""
        wait_until(condition, what=lambda: f"{what}\n{self.status}\n{self.log()}")

    def wait_for_file(self, path: Path) -> None:
        """Wait for a file to appear."""
        self.wait_for(path.exists, f"{path} appears")

    def wait_for_encode(self) -> None:
        """Wait until an ffmpeg of this service is at work."""
        self.wait_for(self.encodes, "an ffmpeg is at work")

    def encodes(self) -> list[int]:
        """Give the ffmpeg processes of this service, as the box numbers them."""
        said = self.box.attempt("pgrep", "-P", str(self.pid), "-f", "ffmpeg.* -progress").stdout
        return [int(pid) for pid in said.split()]


def python_outside_of_homes() -> str:
    """Find a Python that a system service can see, or skip the test."""
    own = os.path.realpath(sys.executable)
    for path in (own, "/usr/bin/python3", "/usr/local/bin/python3"):
        hidden = re.match("/(home|root|tmp)/", os.path.realpath(path))
        if hidden or not os.access(path, os.X_OK):
            continue
        is_new = "import sys, venv; sys.exit(sys.version_info < (3, 11))"
        if subprocess.run([path, "-c", is_new], capture_output=True, check=False).returncode == 0:
            return path
    pytest.skip("no Python 3.11 or newer outside of a home folder")


def build_environment(folder: Path) -> Path:
    """Install the checkout into an environment that is to be shown at ``ENVIRONMENT``."""
    python = python_outside_of_homes()
    subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", f"{folder}/bin/python"]
    wanted = f"{CHECKOUT}[ffmpeg]"
    subprocess.run(
        [*pip, "--disable-pip-version-check", "install", "-q", wanted],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    script = folder / "bin/watchconv"
    _, _, rest = script.read_text(encoding="utf-8").partition("\n")
    script.write_text(f"#!{ENVIRONMENT}/bin/python\n{rest}", encoding="utf-8")
    return folder

"""Changes of a machine, each printed as a line, or only printed.

A file is written whole, and only when it is not there as it should be; a folder that holds anything
stays. Raises ``OSError`` of the files, ``WatchconvError`` of the programs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from watchconv.errors import WatchconvError

_BOOTED = "/run/systemd/system"  # is there while systemd runs


@dataclass(frozen=True, slots=True)
class SystemChanges:
    """Makes changes, or only prints them."""

    is_dry: bool
    _gone: set[str] = field(default_factory=set)  # so that a dry run names the folder too

    def write(self, path: str, text: str) -> None:
        """Write a file whole, when it is not there as it should be."""
        old = read_text(path)
        if old == text:
            print(f"is there     {path}")
            return
        print(f"{'change      ' if old is not None else 'write       '} {path}")
        if not self.is_dry:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            scratch = Path(f"{path}.new")
            scratch.write_text(text, encoding="utf-8")
            scratch.chmod(0o644)
            scratch.replace(path)

    def remove(self, path: str) -> None:
        """Remove a file that is there."""
        if os.path.lexists(path):
            print(f"remove       {path}")
            self._gone.add(path)
            if not self.is_dry:
                os.unlink(path)

    def make_folder(self, path: str) -> None:
        """Make a folder that is not there, with those above it."""
        if not os.path.isdir(path):
            print(f"make         {path}")
            if not self.is_dry:
                os.makedirs(path)

    def remove_folder(self, path: str) -> None:
        """Remove a folder that is there and empty; one with files stays."""
        if not os.path.isdir(path):
            return
        if {os.path.join(path, name) for name in os.listdir(path)} - self._gone:
            print(f"stays        {path}: it holds files")
            return
        print(f"remove       {path}")
        self._gone.add(path)
        if not self.is_dry:
            os.rmdir(path)

    def run(self, *argv: str) -> None:
        """Run a program of the system's. Raises WatchconvError when it fails."""
        print(f"run          {' '.join(argv)}")
        if self.is_dry:
            return
        try:
            ended = subprocess.run(argv, capture_output=True, text=True, check=False)
        except OSError as error:
            raise WatchconvError(
                f"{argv[0]} cannot be run: {error.strerror}; a service needs a machine with systemd"
            ) from error
        if ended.returncode:
            said = (ended.stderr or ended.stdout).strip() or f"status {ended.returncode}"
            raise WatchconvError(f"{' '.join(argv)} failed: {said}")


def is_booted() -> bool:
    """Return whether systemd runs here."""
    return os.path.isdir(_BOOTED) and shutil.which("systemctl") is not None


def read_text(path: str) -> str | None:
    """Return the text of a file; None where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None

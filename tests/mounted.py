"""A place in a mount namespace of its own: what is mounted there dies with it, whatever happens.

    with Disks(tmp_path) as disks:
        disks.attach("inbox")           # a disk (tmpfs) under the inbox
        with Daemon(disks.place): ...
        disks.pull("inbox")             # gone as a pulled plug: lazily, whoever holds it
        disks.attach("inbox")           # the same disk again

What the daemon sees is seen from outside through ``disks.see``; what is under the mounts, through
``disks.bare``.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.clips import FFMPEG
from tests.daemon import FOLDERS
from tests.waiting import LONG, wait_until
from tests.wrapped import WrappedPlace

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOLD = 'mount -t tmpfs disks "$1" && mkdir "$1"/in && echo ready && exec sleep 3600'


class InsidePlace(WrappedPlace):
    """A place whose daemon runs in another mount namespace."""

    inside: tuple[str, ...] = ()

    def command(self, *words: str | int) -> list[str]:
        """Give the argv of one command on this place, inside."""
        return [*self.inside, *super().command(*words)]


class Disks:
    """Disks that can be attached to a place's folders, and pulled. Ends with the block."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        ffmpeg: str | os.PathLike[str] = FFMPEG,
    ) -> None:
        """Use a folder for all of it."""
        if os.geteuid() != 0:
            pytest.skip("only root may mount")
        self.place = InsidePlace(folder.resolve() / "videos", settings, ffmpeg=ffmpeg)
        self.store = folder.resolve() / "store"

    def __enter__(self) -> Self:
        """Make the namespace, and a tmpfs that holds what each disk holds."""
        self.store.mkdir()
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", _HOLD, "sh", str(self.store)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout
        if self._holder.stdout.readline() != b"ready\n":
            self.__exit__()
            pytest.skip("mounting is not allowed here")
        self.place.inside = ("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--wd=/", "--")
        return self

    def __exit__(self, *_: object) -> None:
        """End the namespace with all that is mounted in it."""
        self._holder.kill()
        self._holder.communicate()

    def run(self, *argv: str | os.PathLike[str]) -> None:
        """Run a program inside; it must do well."""
        done = subprocess.run(
            [*self.place.inside, *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LONG,
            check=False,
            encoding="utf-8",
        )
        assert done.returncode == 0, f"{argv}: {done.stderr}"

    def see(self, path: Path) -> Path:
        """Give the way from outside to what is there inside, mounts and all."""
        return Path(f"/proc/{self._holder.pid}/root{path}")

    def disk(self, name: str) -> Path:
        """Give the way from outside to a disk, attached or not."""
        return self.see(self.store / name)

    def attach(self, name: str) -> None:
        """Mount a disk on the folder of its name, below the place."""
        self.disk(name).mkdir(parents=True, exist_ok=True)
        self.run("mount", "--bind", self.store / name, self.place.root / name)

    def pull(self, name: str) -> None:
        """Unmount a disk, though it is in use."""
        self.run("umount", "--lazy", self.place.root / name)

    def bare(self) -> list[str]:
        """List the files and folders that lie under the mount points, and so on no disk."""
        found = (path for name in FOLDERS for path in (self.place.root / name).rglob("*"))
        return sorted(str(path.relative_to(self.place.root)) for path in found)

    def tree(self) -> list[str]:
        """List all files that the daemon sees in its folders, but for work in progress."""
        root = self.see(self.place.root)
        found = (path for name in FOLDERS for path in (root / name).rglob("*"))
        names = (str(path.relative_to(root)) for path in found if path.is_file())
        return sorted(name for name in names if "/.watchconv/" not in name)

    def wait_for_state(self, state: str) -> None:
        """Wait until the daemon shows a state."""
        wait_until(
            lambda: self.place.live().get("state") == state, what=lambda: self.place.log()[-3000:]
        )

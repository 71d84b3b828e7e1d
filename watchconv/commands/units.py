"""What a service of systemd's is made of: its files, as they are written for this machine.

The shipped unit with two lines filled in (ExecStart=, ReadWritePaths=), for the only service or for
a named instance, of the system or of a user; the example as a configuration of its own folders.
Writes nothing: ``install`` does. Raises ``WatchconvError`` for what no unit can be made of.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import watchconv
from watchconv.errors import WatchconvError

if TYPE_CHECKING:
    from collections.abc import Container

    from watchconv.config import Config

# What ProtectHome= and PrivateTmp= hide from a system service.
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 (named, not used)
# Too much to open for four folders that have no more in common.
_TOO_WIDE = ("/", "/etc", "/usr", "/var", "/var/lib", "/run", "/boot")
_PLAIN = re.compile(r"[\w/.,:@+-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Service:
    """One service: of the system or of the user with this home; the only one, or by its name."""

    home: str | None = None
    name: str | None = None

    @property
    def tag(self) -> str:
        """What its files and folders are told apart by."""
        return f"-{self.name}" if self.name else ""

    @property
    def unit(self) -> str:
        """Its name for systemctl."""
        return f"watchconv@{self.name}.service" if self.name else "watchconv.service"

    @property
    def units(self) -> str:
        """The folder of its unit."""
        return f"{self.home}/.config/systemd/user" if self.home else "/etc/systemd/system"

    @property
    def unit_file(self) -> str:
        """The unit; the instances of a user or of the system share one."""
        return f"{self.units}/watchconv{'@' if self.name else ''}.service"

    @property
    def drop_in(self) -> str | None:
        """What an instance has of its own beside the unit that it shares."""
        shared = self.name and not self.home
        return f"{self.units}/{self.unit}.d/folders.conf" if shared else None

    @property
    def config_file(self) -> str:
        """The configuration."""
        folder = f"{self.home}/.config/watchconv" if self.home else "/etc/watchconv"
        return f"{folder}/{self.name or 'config'}.yaml"

    @property
    def root(self) -> str:
        """The folder of the four folders."""
        return f"{self.home or '/srv'}/watchconv{self.tag}"

    @property
    def state(self) -> str:
        """The state directory, as the configuration names it."""
        return f"{'~/.local/state' if self.home else '/var/lib'}/watchconv{self.tag}"

    @property
    def tmpfiles(self) -> str:
        """What makes the folders of a system service."""
        return f"/etc/tmpfiles.d/watchconv{self.tag}.conf"


SYSUSERS = "/etc/sysusers.d/watchconv.conf"


def shipped(name: str) -> str:
    """Return the path of a file that comes with the package, in a wheel or in a checkout."""
    package = Path(watchconv.__file__).parent
    for folder in (package, package.parent):
        if (found := folder / name).is_file():
            return str(found)
    raise WatchconvError(f"{name} is missing from this installation: install watchconv again")


def unit_text(service: Service, program: str, writable: list[str]) -> str:
    """Return the unit for a program and, where it is not shared, for what it may write."""
    kind = "-user" if service.home else "@" if service.name else ""
    text = Path(shipped(f"systemd/watchconv{kind}.service")).read_text(encoding="utf-8")
    config = "%h/.config/watchconv" if service.home else "/etc/watchconv"
    command = f"{_word(program)} --config {config}/{'%i' if service.name else 'config'}.yaml run"
    text = _fill(text, "ExecStart", command)
    if not service.home and not service.name:
        text = _fill(text, "ReadWritePaths", _paths(writable))
    return text


def drop_in_text(writable: list[str]) -> str:
    """Return what an instance may write, in the place of what the shared unit says."""
    return (
        "# The common parent of this instance's folders, by `watchconv install`.\n"
        f"[Service]\nReadWritePaths=\nReadWritePaths={_paths(writable)}\n"
    )


def tmpfiles_text(service: Service) -> str:
    """Return what makes the folders of a system service."""
    text = Path(shipped("systemd/watchconv.tmpfiles")).read_text(encoding="utf-8")
    return text.replace("/srv/watchconv", service.root)


def config_text(service: Service, *, sandbox: str) -> str:
    """Return the example with the folders and the state of this service."""
    text = Path(shipped("config.example.yaml")).read_text(encoding="utf-8")
    root = "~" + service.root.removeprefix(service.home) if service.home else service.root
    for old, new, times in (
        ("/srv/watchconv/", f"{root}/", 4),
        ("state: /var/lib/watchconv", f"state: {service.state}", 1),
        ("sandbox: auto   ", f"sandbox: {sandbox:<7}", 1),
    ):
        if (count := text.count(old)) != times:
            raise WatchconvError(f"the example that comes with watchconv has {old!r} {count} times")
        text = text.replace(old, new)
    return text


def writable_paths(service: Service, config: Config, written: Container[str]) -> list[str]:
    """Return what the unit must open: the common parent of the folders, and a state elsewhere.

    written: the keys that the configuration holds; without a state in it, the unit's is used.
    """
    named = folders = [config.inbox, config.outbox, config.done, config.error]
    if "state" in written and not _is_open(config.state, [service.state]):
        named = [*folders, config.state]
    for path in named:
        if hidden := below_hidden(path):
            raise WatchconvError(
                f"{path} is below {hidden}, which a system service does not see; name another"
                " folder in the configuration, or use watchconv install --user"
            )
    parent = os.path.commonpath(folders)
    opened = folders if parent in _TOO_WIDE else [parent]
    return [*opened, *(path for path in named if not _is_open(path, opened))]


def _is_open(path: str, opened: list[str]) -> bool:
    return any(os.path.commonpath([path, folder]) == folder for folder in opened)


def below_hidden(path: str) -> str | None:
    """Return the folder above a path that a system service does not see."""
    return next((folder for folder in HIDDEN if _is_open(path, [folder])), None)


def _fill(text: str, key: str, value: str) -> str:
    filled, count = re.subn(f"(?m)^{key}=.*$", lambda _: f"{key}={value}", text)
    if count != 1:
        raise WatchconvError(f"the unit that comes with watchconv has {count} lines {key}=")
    return filled


def _paths(paths: list[str]) -> str:
    return " ".join(_word(f"-{path}") for path in paths)


def _word(text: str) -> str:
    """Return one word of a unit's line, whatever is in it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if any(ord(character) < 0x20 for character in text):
        raise WatchconvError(f"systemd has no way to write the path {text!r}; name another")
    return text if _PLAIN.fullmatch(text) else f'"{escaped}"'

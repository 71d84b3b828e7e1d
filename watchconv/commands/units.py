"""What a service of systemd's is made of: its files, as they are written for this machine.

The shipped unit with two lines filled in (ExecStart=, ReadWritePaths=), for the only service or for
a named instance, of the system or of a user; the example as a configuration of its own folders.
Writes nothing: ``install`` does. Raises ``WatchconvError`` for what no unit can be made of.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import watchconv
from watchconv.errors import WatchconvError
from watchconv.host.mounts import is_below

if TYPE_CHECKING:
    from collections.abc import Container

    from watchconv.config import Config

# What ProtectHome= and PrivateTmp= hide from a system service.
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 (named, not used)
# Too much to open for four folders that have no more in common.
_TOO_WIDE = ("/", "/etc", "/usr", "/var", "/var/lib", "/run", "/boot")
_PLAIN = re.compile(r"[\w/.,:@+-]+", re.ASCII)


class Service:
    """One service, of the system or of the user with this home; the only one, or by its name."""

    def __init__(self, home: str | None = None, name: str | None = None) -> None:
        self.home, self.name = home, name
        tag = f"-{name}" if name else ""
        self.systemctl = ("systemctl", "--user") if home else ("systemctl",)
        self.unit = f"watchconv@{name}.service" if name else "watchconv.service"
        self.units = f"{home}/.config/systemd/user" if home else "/etc/systemd/system"
        # instances share one unit; those of the system have their folders in a file of their own
        self.unit_file = f"{self.units}/watchconv{'@' if name else ''}.service"
        is_instance = name and not home
        self.drop_in = f"{self.units}/{self.unit}.d/folders.conf" if is_instance else None
        self.configs = f"{home}/.config/watchconv" if home else "/etc/watchconv"
        self.config_file = f"{self.configs}/{name or 'config'}.yaml"
        self.root = f"{home or '/srv'}/watchconv{tag}"  # the folder of the four folders
        # as the configuration names it
        self.state = f"{'~/.local/state' if home else '/var/lib'}/watchconv{tag}"
        # makes the folders of a service of the system
        self.tmpfiles = f"/etc/tmpfiles.d/watchconv{tag}.conf"


SYSUSERS = "/etc/sysusers.d/watchconv.conf"


def shipped(name: str) -> str:
    """Return the text of a file that comes with the package, in a wheel or in a checkout."""
    package = Path(watchconv.__file__).parent
    for folder in (package, package.parent):
        if (found := folder / name).is_file():
            return found.read_text(encoding="utf-8")
    raise WatchconvError(f"{name} is missing from this installation: install watchconv again")


def unit_text(service: Service, program: str, writable: list[str]) -> str:
    """Return the unit for a program and, where it is not shared, for what it may write."""
    kind = "-user" if service.home else "@" if service.name else ""
    text = shipped(f"systemd/watchconv{kind}.service")
    config = "%h/.config/watchconv" if service.home else "/etc/watchconv"
    command = f"{_word(program)} --config {config}/{'%i' if service.name else 'config'}.yaml run"
    filled = {"ExecStart": command}
    if not service.home and not service.name:
        filled["ReadWritePaths"] = _paths(writable)
    for key, value in filled.items():
        line = f"{key}={value}"
        text, count = re.subn(f"(?m)^{key}=.*$", line.replace("\\", r"\\"), text)
        if count != 1:
            raise WatchconvError(f"the unit that comes with watchconv has {count} lines {key}=")
    return text


def drop_in_text(writable: list[str]) -> str:
    """Return what an instance may write, in the place of what the shared unit says."""
    return (
        "# The common parent of this instance's folders, by `watchconv install`.\n"
        f"[Service]\nReadWritePaths=\nReadWritePaths={_paths(writable)}\n"
    )


def config_text(service: Service, *, sandbox: str) -> str:
    """Return the example with the folders and the state of this service."""
    text = shipped("config.example.yaml")
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
    if "state" in written and not is_below(config.state, service.state):
        named = [*folders, config.state]
    for path in named:
        if hidden := below_hidden(path):
            raise WatchconvError(
                f"{path} is below {hidden}, which a system service does not see; name another"
                " folder in the configuration, or use watchconv install --user"
            )
    parent = os.path.commonpath(folders)
    opened = folders if parent in _TOO_WIDE else [parent]
    return [*opened, *(path for path in named if not any(is_below(path, one) for one in opened))]


def below_hidden(path: str) -> str | None:
    """Return the folder above a path that a system service does not see."""
    return next((folder for folder in HIDDEN if is_below(path, folder)), None)


def _paths(paths: list[str]) -> str:
    return " ".join(_word(f"-{path}") for path in paths)


def _word(text: str) -> str:
    """Return one word of a unit's line, whatever is in it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if any(ord(character) < 0x20 for character in text):
        raise WatchconvError(f"systemd has no way to write the path {text!r}; name another")
    return text if _PLAIN.fullmatch(text) else f'"{escaped}"'

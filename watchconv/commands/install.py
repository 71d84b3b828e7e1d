"""``install`` and ``uninstall``: watchconv as a service of systemd's, of the machine or of a user.

Starts nothing, and can be repeated: only what is not as it should be is changed. A configuration
that is there is never changed, a folder with files never removed. What cannot be done at all is
said before anything is done. ``--dry-run`` prints what would be done.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from watchconv.commands import units
from watchconv.commands.units import SYSUSERS, Service
from watchconv.config.load import load_config, written_keys
from watchconv.errors import WatchconvError
from watchconv.host.folders import WORK_DIR
from watchconv.process.sandbox.support import support

if TYPE_CHECKING:
    import argparse

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}")
_BOOTED = "/run/systemd/system"  # is there while systemd runs
USER = "watchconv"


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes a machine, and prints each change as a line; a dry run only prints.

    Raises ``OSError`` of the files, ``WatchconvError`` of the programs.
    """

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

    def reload(self, service: Service) -> None:
        """Have systemd read its units again, where it runs."""
        if is_booted():
            try:
                self.run(*service.systemctl, "daemon-reload")
            except WatchconvError as error:  # no bus to a user's systemd, in a cron job, say
                print(f"             {error}")


def change(arguments: argparse.Namespace) -> int:
    """Carry out ``install`` or ``uninstall``."""
    try:
        act = install if arguments.command == "install" else uninstall
        act(_service(arguments), Changes(arguments.dry_run))
    except OSError as error:
        raise WatchconvError(
            f"{error.filename}: {error.strerror}. What is told above was done; when this is put"
            f" right, watchconv {arguments.command} again does the rest"
        ) from error
    return 0


def _service(arguments: argparse.Namespace) -> Service:
    is_user = arguments.user or (os.geteuid() != 0 and not arguments.system)
    name = arguments.name
    if name is not None and (not _NAME.fullmatch(name) or name == "config"):
        raise WatchconvError(
            f"{name!r} is no name for a service; take letters, digits, -, _ and ., but not config"
        )
    if not is_user and os.geteuid() != 0 and not arguments.dry_run:
        raise WatchconvError("a service of the system is for root to install: use sudo, or --user")
    home = os.environ.get("HOME") or os.path.expanduser("~")
    return Service(home if is_user else None, name)


def install(service: Service, changes: Changes) -> None:
    """Write what systemd needs to run watchconv; start nothing."""
    program = _program(service)
    is_new = not os.path.lexists(service.config_file)
    missing = support().missing
    text = units.config_text(service, sandbox="auto" if missing else "require")
    config = None if is_new else load_config(service.config_file)
    writable = [] if service.home else [service.root]
    if config and not service.home:
        writable = units.writable_paths(service, config, written_keys(service.config_file))
    # of a configuration of ours; those of others are theirs to make
    if service.home:
        for name in ("inbox", "outbox", "done", "error") if is_new else ():
            changes.make_folder(f"{service.root}/{name}")
    else:
        changes.write(SYSUSERS, units.shipped("systemd/watchconv.sysusers"))
        if not _has_user():
            changes.run("systemd-sysusers", SYSUSERS)
        if is_new or os.path.lexists(service.tmpfiles):
            folders = units.shipped("systemd/watchconv.tmpfiles")
            changes.write(service.tmpfiles, folders.replace("/srv/watchconv", service.root))
            changes.run("systemd-tmpfiles", "--create", service.tmpfiles)
    changes.write(service.unit_file, units.unit_text(service, program, writable))
    if service.drop_in:
        changes.write(service.drop_in, units.drop_in_text(writable))
    if is_new:  # last: what was interrupted before is begun again as a whole
        changes.write(service.config_file, text)
    else:
        print(f"stays        {service.config_file}")
    changes.reload(service)
    for sentence in missing if is_new else ():
        print(f"\n{sentence} So the configuration says sandbox: auto.")
    rights = "" if service.home else f"-o {USER} -g {USER} -m 2775 "
    for folder in [config.inbox, config.outbox, config.done, config.error] if config else []:
        if not os.path.isdir(folder):
            print(f"\n{folder} does not exist yet: install -d {rights}{folder}, or mount it")
    _print_next(service, program)


def _print_next(service: Service, program: str) -> None:
    manager = " ".join(service.systemctl)
    as_user = "" if service.home else f"runuser -u {USER} -- "
    print("\nNothing was started. Next:")
    print(f"  {as_user}{program} --config {service.config_file} check")
    print(f"  {manager} enable --now {service.unit}")
    print(f"  {manager} status {service.unit}")
    if service.home:
        print("  loginctl enable-linger         # to run when you are not logged in, too")
    else:
        print(f"  usermod -aG {USER} NAME      # who may drop files into {service.root}/inbox")


def uninstall(service: Service, changes: Changes) -> None:
    """Take away what install made, but no file of anybody's."""
    if os.path.lexists(service.unit_file) and is_booted():
        changes.run(*service.systemctl, "disable", "--now", service.unit)
    made = service.home or os.path.lexists(service.tmpfiles)  # by install, as far as can be known
    if service.drop_in:
        changes.remove(service.drop_in)
        changes.remove_folder(os.path.dirname(service.drop_in))
    if not _is_shared(service):
        changes.remove(service.unit_file)
    text = read_text(service.config_file)
    if text in [units.config_text(service, sandbox=word) for word in ("auto", "require")]:
        changes.remove(service.config_file)
        changes.remove_folder(service.configs)
    elif text is not None:
        print(f"stays        {service.config_file}: it was changed")
    inner = ("inbox", f"outbox/{WORK_DIR}", "outbox", "done", "error", "")
    for name in inner if made else ():
        changes.remove_folder(os.path.join(service.root, name).rstrip("/"))
    if not service.home:
        changes.remove(service.tmpfiles)
    changes.reload(service)
    state = os.path.expanduser(service.state)
    if os.path.isdir(state):
        print(f"stays        {state}: the history of its jobs; rm -r {state} removes it")
    if service.home or any(os.path.lexists(Service(name=n).unit_file) for n in (None, "any")):
        return
    # the user goes with the last service, unless files may be theirs
    changes.remove(SYSUSERS)
    if _has_user() and (left := [*glob("/var/lib/watchconv*"), *glob("/srv/watchconv*")]):
        print(f"stays        the user {USER}, for the files in {', '.join(left)}")
    elif _has_user():
        changes.run("userdel", USER)


def _is_shared(service: Service) -> bool:
    """Return whether another instance uses this one's unit."""
    drop_ins = f"{service.units}/watchconv@*.service.d/folders.conf"
    users = glob(drop_ins if service.drop_in else f"{service.configs}/*.yaml")
    own = {service.drop_in, service.config_file, Service(service.home).config_file}
    return bool(service.name and {*users} - own)


def _program(service: Service) -> str:
    """Return the command of this environment, by the path that it was called by.

    Raises WatchconvError where the service could not see it.
    """
    program = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "watchconv")
    if not os.access(program, os.X_OK):
        raise WatchconvError(
            f"{program} is missing: a service needs an environment that watchconv is installed in,"
            " such as one that python3 -m venv /opt/watchconv makes"
        )
    needed = [program, os.path.realpath(sys.executable), os.path.realpath(units.__file__)]
    for path in [] if service.home else needed:
        if hidden := units.below_hidden(path):
            raise WatchconvError(
                f"{path} is below {hidden}, which a system service does not see. Install watchconv"
                " elsewhere, with the system's Python: /usr/bin/python3 -m venv /opt/watchconv,"
                " then its pip and its watchconv install. Or use watchconv install --user."
            )
    return program


def is_booted() -> bool:
    """Return whether systemd runs here."""
    return os.path.isdir(_BOOTED) and shutil.which("systemctl") is not None


def read_text(path: str) -> str | None:
    """Return the text of a file; None where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _has_user() -> bool:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True

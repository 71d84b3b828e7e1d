"""``install`` and ``uninstall``: watchconv as a service of systemd's, of the machine or of a user.

Starts nothing, and can be repeated: only what is not as it should be is changed. A configuration
that is there is never changed, a folder with files never removed. What cannot be done at all is
said before anything is done. ``--dry-run`` prints what would be done.
"""

from __future__ import annotations

import os
import pwd
import re
import sys
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from watchconv.commands import units
from watchconv.commands.changes import SystemChanges, is_booted, read_text
from watchconv.commands.units import SYSUSERS, Service
from watchconv.config.load import load_config, written_keys
from watchconv.errors import WatchconvError
from watchconv.host.folders import WORK_DIR
from watchconv.process.sandbox.support import support

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}")
USER = "watchconv"


def install(arguments: argparse.Namespace) -> int:
    """Write what systemd needs to run watchconv; start nothing."""
    return _change(_install, arguments)


def uninstall(arguments: argparse.Namespace) -> int:
    """Take away what install made, but no file of anybody's."""
    return _change(_uninstall, arguments)


def _change(act: Callable[[Service, SystemChanges], None], arguments: argparse.Namespace) -> int:
    try:
        act(_service(arguments), SystemChanges(arguments.dry_run))
    except OSError as error:
        raise WatchconvError(
            f"{error.filename}: {error.strerror}. What is told above was done; when this is put"
            f" right, watchconv {arguments.command} again does the rest"
        ) from error
    return 0


def _install(service: Service, changes: SystemChanges) -> None:
    program = _program(service)
    is_new = not os.path.lexists(service.config_file)
    missing = support().missing
    text = units.config_text(service, sandbox="auto" if missing else "require")
    config = None if is_new else load_config(service.config_file)
    writable = [] if service.home else [service.root]
    if config and not service.home:
        writable = units.writable_paths(service, config, written_keys(service.config_file))
    _make_folders(service, changes, is_new=is_new)
    changes.write(service.unit_file, units.unit_text(service, program, writable))
    if service.drop_in:
        changes.write(service.drop_in, units.drop_in_text(writable))
    if is_new:  # last: what was interrupted before is begun again as a whole
        changes.write(service.config_file, text)
    else:
        print(f"stays        {service.config_file}")
    _reload(service, changes)
    for sentence in missing if is_new else ():
        print(f"\n{sentence} So the configuration says sandbox: auto.")
    rights = "" if service.home else f"-o {USER} -g {USER} -m 2775 "
    for folder in [config.inbox, config.outbox, config.done, config.error] if config else []:
        if not os.path.isdir(folder):
            print(f"\n{folder} does not exist yet: install -d {rights}{folder}, or mount it")
    manager = " ".join(_systemctl(service))
    as_user = "" if service.home else f"runuser -u {USER} -- "
    print("\nNothing was started. Next:")
    print(f"  {as_user}{program} --config {service.config_file} check")
    print(f"  {manager} enable --now {service.unit}")
    print(f"  {manager} status {service.unit}")
    if service.home:
        print("  loginctl enable-linger         # to run when you are not logged in, too")
    else:
        print(f"  usermod -aG {USER} NAME      # who may drop files into {service.root}/inbox")


def _uninstall(service: Service, changes: SystemChanges) -> None:
    if os.path.lexists(service.unit_file) and is_booted():
        changes.run(*_systemctl(service), "disable", "--now", service.unit)
    made = service.home or os.path.lexists(service.tmpfiles)  # by install, as far as can be known
    if service.drop_in:
        changes.remove(service.drop_in)
        changes.remove_folder(os.path.dirname(service.drop_in))
    if not _is_shared(service):
        changes.remove(service.unit_file)
    text = read_text(service.config_file)
    if text in [units.config_text(service, sandbox=word) for word in ("auto", "require")]:
        changes.remove(service.config_file)
        changes.remove_folder(os.path.dirname(service.config_file))
    elif text is not None:
        print(f"stays        {service.config_file}: it was changed")
    inner = ("inbox", f"outbox/{WORK_DIR}", "outbox", "done", "error", "")
    for name in inner if made else ():
        changes.remove_folder(os.path.join(service.root, name).rstrip("/"))
    if not service.home:
        changes.remove(service.tmpfiles)
    _reload(service, changes)
    state = os.path.expanduser(service.state)
    if os.path.isdir(state):
        print(f"stays        {state}: the history of its jobs; rm -r {state} removes it")
    if not service.home:
        _remove_user(changes)


def _remove_user(changes: SystemChanges) -> None:
    """Remove the user with the last service, unless files may be theirs."""
    if any(os.path.lexists(Service(name=name).unit_file) for name in (None, "any")):
        return
    changes.remove(SYSUSERS)
    if not _has_user():
        return
    if left := [*glob("/var/lib/watchconv*"), *glob("/srv/watchconv*")]:
        print(f"stays        the user {USER}, for the files in {', '.join(left)}")
    else:
        changes.run("userdel", USER)


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


def _make_folders(service: Service, changes: SystemChanges, *, is_new: bool) -> None:
    """Make the user and the folders of a configuration of ours; those of others are theirs."""
    if service.home:
        for name in ("inbox", "outbox", "done", "error") if is_new else ():
            changes.make_folder(f"{service.root}/{name}")
        return
    changes.write(SYSUSERS, Path(units.shipped("systemd/watchconv.sysusers")).read_text("utf-8"))
    if not _has_user():
        changes.run("systemd-sysusers", SYSUSERS)
    if is_new or os.path.lexists(service.tmpfiles):
        changes.write(service.tmpfiles, units.tmpfiles_text(service))
        changes.run("systemd-tmpfiles", "--create", service.tmpfiles)


def _is_shared(service: Service) -> bool:
    """Return whether another instance uses this one's unit."""
    if not service.name:
        return False
    if service.drop_in:
        left = set(glob(f"{service.units}/watchconv@*.service.d/folders.conf"))
        return bool(left - {service.drop_in})
    left = set(glob(f"{os.path.dirname(service.config_file)}/*.yaml"))
    return bool(left - {service.config_file, Service(service.home).config_file})


def _reload(service: Service, changes: SystemChanges) -> None:
    if not is_booted():
        return
    try:
        changes.run(*_systemctl(service), "daemon-reload")
    except WatchconvError as error:  # no bus to a user's systemd, in a cron job, say
        print(f"             {error}")


def _has_user() -> bool:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


def _systemctl(service: Service) -> tuple[str, ...]:
    return ("systemctl", "--user") if service.home else ("systemctl",)

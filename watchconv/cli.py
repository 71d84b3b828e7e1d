"""The command line: what was typed becomes one call of one command.

Exit codes are README's: 0 well, 1 trouble, 2 usage, 75 already running, 78 bad configuration.
What only one command needs is imported for that one, so that the quick ones are quick.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from watchconv import __version__
from watchconv.errors import AlreadyRunning, ConfigError, WatchconvError
from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.config import Config

    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]

EXIT_TROUBLE, EXIT_USAGE, EXIT_ALREADY_RUNNING, EXIT_CONFIG = 1, 2, 75, 78
_OUTPUT_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
# a command is a function of its name in the module of that name in commands, or in this one
_MODULES = dict.fromkeys(("retry", "cancel", "pause", "resume"), "control")
_MODULES |= {"profiles": "explain"}


def main(argv: Sequence[str]) -> int:
    """Run one command; return the exit code."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.command in ("install", "uninstall") and (arguments.config or arguments.root):
        parser.error("a service has a configuration of its own: --name N tells which")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # it may know no more than ASCII
    try:
        code = run_command(arguments)
        sys.stdout.flush()
        return code
    except WatchconvError as error:
        for line in str(error).splitlines():
            print(f"watchconv: {printable(line)}", file=sys.stderr)
        if isinstance(error, ConfigError):
            return EXIT_CONFIG
        return EXIT_ALREADY_RUNNING if isinstance(error, AlreadyRunning) else EXIT_TROUBLE
    except BrokenPipeError:  # the reader of our output has seen enough
        _close_output()
        return 0
    except OSError as error:
        if error.filename is not None or error.errno not in _OUTPUT_IS_FULL:
            raise
        _close_output()
        print(f"watchconv: the answer cannot be written: {error.strerror}", file=sys.stderr)
        return EXIT_TROUBLE
    except KeyboardInterrupt:
        return 130


def _close_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run_command(arguments: argparse.Namespace) -> int:
    """Run the command that was named, on the configuration that was named or found."""
    name = arguments.command
    if name in ("install", "uninstall"):
        from watchconv.commands import install

        return install.change(arguments)
    if name == "check" and arguments.schema:
        from watchconv.commands.check import print_schema

        return print_schema()
    if name == "check" and arguments.files:
        name = "examine"
    module = f"watchconv.commands.{_MODULES.get(name, name)}"
    config = read_configuration(arguments, module)
    return int(getattr(import_module(module), name)(config, arguments))


def read_configuration(arguments: argparse.Namespace, module: str) -> Config:
    """Return the configuration; module is the command's, which is imported meanwhile."""
    from watchconv.config import NoConfigError, config_for_root, find_config, load

    demands: load.Demands = load.nothing_more
    if arguments.command in ("run", "check"):  # the others are to be quick: they leave ffmpeg alone
        from watchconv.encode.program import find_unusable as demands
    if arguments.root is not None:
        return config_for_root(arguments.root, demands)
    try:
        arguments.config = arguments.config or find_config(os.environ)  # a reload reads the same
    except NoConfigError:
        is_examining = arguments.command == "check" and arguments.files
        if arguments.command != "profiles" and not is_examining:  # the defaults will do, then
            raise
        return config_for_root(os.curdir)
    if arguments.command == "run":  # which stays, and is to stay small
        return load.load_apart(arguments.config, demands, meanwhile=module)
    return load.load_config(arguments.config, demands)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = argparse.ArgumentParser(
        prog="watchconv",
        description="Drop a video into a folder, get it converted.",
        epilog="watchconv --root ./videos run: drop a file into ./videos/inbox",
    )
    parser.add_argument("--version", action="version", version=f"watchconv {__version__}")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--config", metavar="FILE", type=named, help="the configuration (YAML)")
    folders = "no configuration: inbox, outbox, done, error in this folder"
    which.add_argument("--root", metavar="DIR", type=named, help=folders)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add = partial(_add_command, commands)
    add("run", "the daemon, in the foreground", once="work off the inbox, then exit")
    check = add(
        "check",
        "check configuration, ffmpeg, folders and sandbox, or examine files",
        forget_mounts="take the folders as they are now, without the mounts that held them before",
        schema="print the JSON Schema and exit",
    )
    whole = "is it whole, and does all of it decode? nothing is made or moved"
    check.add_argument("files", metavar="FILE", nargs="*", help=whole)
    add("status", "what the daemon does now", json="for programs", watch="keep showing it")
    saved = "bytes in, out and saved, of all time"
    jobs = add("jobs", "the history", json="for programs", saved=saved)
    jobs.add_argument("--state", metavar="STATE", help="only the jobs in this state")
    receipt = add("receipt", "what was done with a file, and what was proven", json="for programs")
    receipt.add_argument("job", metavar="JOB", type=int)
    retry = add(
        "retry",
        "failed jobs back into the inbox",
        all="every failed job",
        salvage="take what is there of files that are not whole",
    )
    retry.add_argument("jobs", metavar="JOB", type=int, nargs="*")
    cancel = add("cancel", "end queued or running jobs")
    cancel.add_argument("jobs", metavar="JOB", type=int, nargs="+")
    add("pause", "claim no new jobs; survives restarts")
    add("resume", "go on")
    explain = add("explain", "what would happen to a file, and why")
    explain.add_argument("file", metavar="FILE")
    explain.add_argument("--profile", metavar="PROFILE", help="as if it were dropped for this one")
    add("profiles", "the profiles and their arguments")
    for name, does in (
        ("install", "write a service for systemd; starts nothing"),
        ("uninstall", "remove it; files stay"),
    ):
        service = add(name, does, dry_run="only tell what would be done")
        whose = service.add_mutually_exclusive_group()
        whose.add_argument("--user", action="store_true", help="a service of your own")
        machine = "of the machine; the default for root"
        whose.add_argument("--system", action="store_true", help=machine)
        service.add_argument("--name", metavar="N", help="one of several: watchconv@N")
    return parser


def _add_command(
    commands: _Commands, name: str, does: str, **switches: str
) -> argparse.ArgumentParser:
    """Add a command, with what each of its switches does."""
    command = commands.add_parser(name, help=does)
    for switch, meaning in switches.items():
        option = f"--{switch.replace('_', '-')}"
        command.add_argument(option, action="store_true", help=meaning)
    return command


def named(path: str) -> str:
    """Refuse an empty path: an unset variable of a script is not the folder it runs in."""
    if not path:
        raise argparse.ArgumentTypeError("is empty")
    return path

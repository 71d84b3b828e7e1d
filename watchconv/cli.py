"""The command line: what was typed becomes one call of one command.

Guarantees: exit codes as README lists them (0 well, 1 trouble, 2 usage, 75 already running, 78
bad configuration); what is only for people is imported only when a person looks.
Does not do any work itself: ``commands`` does. Errors: none leave it but bugs.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from typing import TYPE_CHECKING

from watchconv import __version__
from watchconv.errors import AlreadyRunning, ConfigError, WatchconvError
from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from watchconv.config import Config

_NEED_FFMPEG = ("run", "check")  # others are to be quick, and leave it alone
EXIT_TROUBLE, EXIT_USAGE, EXIT_ALREADY_RUNNING, EXIT_CONFIG = 1, 2, 75, 78


def main(argv: Sequence[str]) -> int:
    """Run one command; return the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # it may know no more than ASCII
    try:
        return _run(arguments, parser)
    except BrokenPipeError:  # the reader of our output has seen enough
        _close_output()
        return 0
    except _Unprintable as error:
        _close_output()
        print(f"watchconv: the answer cannot be written: {error}", file=sys.stderr)
        return EXIT_TROUBLE
    except KeyboardInterrupt:
        return 130


class _Unprintable(Exception):  # noqa: N818 (a state of affairs)
    """The output takes no more."""


def _close_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    try:
        if arguments.command in ("install", "uninstall"):
            if arguments.config or arguments.root:
                parser.error("a service has a configuration of its own: --name N tells which")
            from watchconv.commands import install

            return int(getattr(install, arguments.command)(arguments))
        if arguments.command == "check" and arguments.schema:
            from watchconv.commands.check import print_schema

            print_schema()
            return 0
        code = _command(arguments.command)(_configuration(arguments), arguments)
        sys.stdout.flush()
        return code
    except WatchconvError as error:
        for line in str(error).splitlines():
            print(f"watchconv: {printable(line)}", file=sys.stderr)
        if isinstance(error, ConfigError):
            return EXIT_CONFIG
        return EXIT_ALREADY_RUNNING if isinstance(error, AlreadyRunning) else EXIT_TROUBLE
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) and error.filename is None:
            raise _Unprintable(error.strerror) from error
        raise


def _configuration(arguments: argparse.Namespace) -> Config:
    from watchconv.config import (
        NoConfigError,
        config_for_root,
        find_config,
        load_config,
        nothing_more,
    )

    demands = nothing_more
    if arguments.command in _NEED_FFMPEG:
        from watchconv.encode.program import find_unusable as demands
    if arguments.root is not None:
        return config_for_root(arguments.root, demands)
    try:
        arguments.config = arguments.config or find_config(os.environ)  # a reload reads the same
    except NoConfigError:
        if arguments.command != "profiles":  # those that are built in, then
            raise
        return config_for_root(os.curdir)
    return load_config(arguments.config, demands)


def _command(name: str) -> Callable[[Config, argparse.Namespace], int]:
    if name == "run":
        from watchconv.commands.run import run

        return run
    if name == "status":
        from watchconv.commands.status import status

        return status
    if name == "jobs":
        from watchconv.commands.jobs import jobs

        return jobs
    if name in ("retry", "cancel", "pause", "resume"):
        from watchconv.commands import control as ask

        return getattr(ask, name)  # type: ignore[no-any-return]
    from watchconv.commands import check, explain

    return {"check": check.check, "explain": explain.explain, "profiles": explain.profiles}[name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="watchconv",
        description="Drop a video into a folder, get it converted.",
        epilog="watchconv --root ./videos run: drop a file into ./videos/inbox",
    )
    parser.add_argument("--version", action="version", version=f"watchconv {__version__}")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--config", metavar="FILE", type=_named, help="the configuration (YAML)")
    which.add_argument(
        "--root",
        metavar="DIR",
        type=_named,
        help="no configuration: inbox, outbox, done, error in this folder",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="the daemon, in the foreground")
    run.add_argument("--once", action="store_true", help="work off the inbox, then exit")

    check = commands.add_parser("check", help="check configuration, ffmpeg, folders and sandbox")
    check.add_argument(
        "--forget-mounts",
        action="store_true",
        help="take the folders as they are now, without the mounts that held them before",
    )
    check.add_argument("--schema", action="store_true", help="print the JSON Schema and exit")

    status = commands.add_parser("status", help="what the daemon does now")
    status.add_argument("--json", action="store_true", help="for programs")
    status.add_argument("--watch", action="store_true", help="keep showing it")

    jobs = commands.add_parser("jobs", help="the history")
    jobs.add_argument("--state", metavar="STATE", help="only the jobs in this state")
    jobs.add_argument("--json", action="store_true", help="for programs")
    jobs.add_argument("--saved", action="store_true", help="bytes in, out and saved, of all time")

    retry = commands.add_parser("retry", help="failed jobs back into the inbox")
    retry.add_argument("jobs", metavar="JOB", type=int, nargs="*")
    retry.add_argument("--all", action="store_true", help="every failed job")

    cancel = commands.add_parser("cancel", help="end queued or running jobs")
    cancel.add_argument("jobs", metavar="JOB", type=int, nargs="+")

    commands.add_parser("pause", help="claim no new jobs; survives restarts")
    commands.add_parser("resume", help="go on")

    explain = commands.add_parser("explain", help="what would happen to a file, and why")
    explain.add_argument("file", metavar="FILE")
    explain.add_argument("--profile", metavar="PROFILE", help="as if it were dropped for this one")

    commands.add_parser("profiles", help="the profiles and their arguments")
    _add_services(commands)
    return parser


def _named(path: str) -> str:
    """Take a path that is one: an unset variable of a script is not the folder it runs in."""
    if not path:
        raise argparse.ArgumentTypeError("is empty")
    return path


def _add_services(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    for name, does in (
        ("install", "write a service for systemd; starts nothing"),
        ("uninstall", "remove it; files stay"),
    ):
        command = commands.add_parser(name, help=does)
        whose = command.add_mutually_exclusive_group()
        whose.add_argument("--user", action="store_true", help="a service of your own")
        whose.add_argument(
            "--system", action="store_true", help="of the machine; the default for root"
        )
        command.add_argument("--name", metavar="N", help="one of several: watchconv@N")
        command.add_argument("--dry-run", action="store_true", help="only tell what would be done")

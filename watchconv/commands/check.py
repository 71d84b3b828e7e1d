"""``check``: is everything there that ``run`` needs? Every finding at once.

What is tried (a rename, an escape from the sandbox) leaves nothing behind; a finding that cannot be
made keeps none of the others from being made.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from watchconv.commands.jobs import open_journal
from watchconv.errors import ConfigError, WatchconvError
from watchconv.host import status_file
from watchconv.host.folders import WORK_DIR, Folders, find_state
from watchconv.host.mounts import exported_by_nfs, mount_of
from watchconv.journal.jobs import MOUNTS
from watchconv.names import printable
from watchconv.views import show_bytes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from watchconv.config import Config

    Finding = tuple[bool | None, str]  # well, not well, or only to be known


INSTANCES = 1  # of inotify


_MARKS = {True: "ok     ", False: "TROUBLE", None: "       "}


def check(config: Config, arguments: argparse.Namespace) -> int:
    """Print what is well and what is not; return 0, 1 (trouble) or 78 (configuration)."""
    from watchconv.config.load import effective_yaml

    if arguments.forget_mounts and (journal := open_journal(config)):
        journal.remember(MOUNTS, None)
        journal.close()
        status_file.wake(config.state)
    print("# the configuration in effect")
    print(effective_yaml(config))
    trouble = False
    problems: list[str] = []
    for findings in (
        look_at_program(config),
        look_at_state(config),
        look_at_folders(config, make=arguments.root is not None),
        look_at_events(config),
        look_at_sandbox(config),
    ):
        try:
            for well, sentence in findings:
                trouble |= well is False
                print(printable(f"{_MARKS[well]} {sentence}"))
        except ConfigError as error:
            problems.append(str(error))
        except (WatchconvError, OSError) as error:
            trouble = True
            print(printable(f"{_MARKS[False]} {error}"))
    for problem in problems:
        print(f"watchconv: {problem}", file=sys.stderr)
    return 78 if problems else int(trouble)


def print_schema() -> int:
    """Print the JSON Schema of the configuration."""
    from watchconv.config import Config
    from watchconv.config.schema import describe

    print(json.dumps(describe(Config), indent=2))
    return 0


def look_at_program(config: Config) -> Iterator[Finding]:
    """Yield which ffmpeg runs, and what it lacks."""
    from watchconv.encode.program import choose_program, missing_encoders
    from watchconv.process.spawn import launcher

    program = choose_program(config)
    yield True, f"ffmpeg {program.ability.version}: {program.path}"
    missing = missing_encoders(program, config.all_profiles)
    for line in missing:  # those of the configuration's own would have been refused
        yield None, f"built in, not usable here: {line}"
    if not program.ability.encoders:
        yield None, "its encoders are not known: it does not tell them (-encoders)"
    elif not missing:
        yield True, f"it has the encoders of all {len(config.all_profiles)} profiles"
    for gap in program.ability.gaps:
        yield None, f"this ffmpeg is not the newest: {gap}"
    for sentence in config.outdated:
        yield None, sentence
    if not launcher():
        yield None, "no setpriv (util-linux): a crash of the daemon leaves ffmpeg to the next start"


def look_at_state(config: Config) -> Iterator[Finding]:
    """Yield whether the state directory is there, or can be made."""
    state = config.state
    if find_state(state):
        yield True, f"the state {state} is there and can be written"
        if journal := open_journal(config):  # raises JournalError where no daemon could either
            journal.close()
    else:
        above = state
        while not os.path.lexists(above):
            above = os.path.dirname(above)
        if os.access(above, os.W_OK | os.X_OK):
            yield True, f"the state {state} is not there yet; it can be made"
        else:
            who = f"user {os.geteuid()} cannot write to {above}"
            yield False, f"the state {state} cannot be made: {who}; make it, or name another state"
    if mount_of(state).is_network:
        yield None, f"the state {state} is on a network file system: a local one is safer"


def look_at_folders(config: Config, *, make: bool) -> Iterator[Finding]:
    """Yield whether files can go their way through the folders; make those that are missing."""
    from watchconv.deliver.destination import DeliverySettings

    folders = Folders(config.inbox, config.outbox, config.done, config.error)
    if make:
        folders.make()
    with suppress(WatchconvError):  # told with the state
        if journal := open_journal(config):
            folders.remember(json.loads(journal.setting(MOUNTS) or "{}"))
            journal.close()
    troubles = folders.problems()
    for trouble in troubles:
        yield False, trouble
    for name, path in folders.by_name.items():
        mount = mount_of(path)
        yield None, f"{name} {path} on {mount.fs_type} ({mount.point})"
    if troubles:
        return
    yield True, "the folders are there and can be written"
    yield try_rename("inbox", folders.inbox, "done", folders.done)
    yield try_rename("inbox", folders.inbox, "error", folders.error)
    made = not os.path.isdir(folders.work)
    os.makedirs(folders.work, exist_ok=True)
    found = try_rename(f"outbox/{WORK_DIR}", folders.work, "outbox", folders.outbox)
    if made:
        with suppress(OSError):  # a daemon has begun to use it
            os.rmdir(folders.work)
    yield found
    for sentence in DeliverySettings.of(config).ownership.lacks():
        yield False, sentence
    free = folders.free_bytes()
    enough = free >= config.min_free
    advice = "" if enough else "; no job starts until there is room: free some, or lower min_free"
    least = show_bytes(config.min_free)
    yield enough, f"{show_bytes(free)} are free in the outbox, and min_free is {least}{advice}"


def try_rename(source: str, source_path: str, target: str, target_path: str) -> Finding:
    """Try to rename an empty hidden file between two folders."""
    name = f".watchconv-check-{os.getpid()}.part"
    first, second = os.path.join(source_path, name), os.path.join(target_path, name)
    try:
        os.close(os.open(first, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        os.rename(first, second)
    except OSError as error:
        with suppress(OSError):
            os.unlink(first)
        if error.errno == errno.EXDEV:
            return None, f"from {source} to {target} files are copied: they are on two file systems"
        return False, f"a file cannot be renamed from {source} to {target}: {error.strerror}"
    os.unlink(second)
    return True, f"a file can be renamed from {source} to {target}"


def look_at_events(config: Config) -> Iterator[Finding]:
    """Yield what the kernel promises of the inbox, and whether its limits are high enough."""
    mount = mount_of(config.inbox)
    if mount.has_events:
        yield True, f"changes in the inbox make events ({mount.fs_type})"
    else:
        yield None, f"{mount.fs_type} gives no sure events: the inbox is scanned every 30 s"
    if not mount.proves_writers or exported_by_nfs(config.inbox):
        seconds = config.settle_network_seconds
        yield None, f"no proof of writers there: files must be left alone for {seconds:g} s"
    if not os.path.isdir(config.inbox):
        return
    folders = sum(1 for _ in os.walk(config.inbox))
    for name, allowed, needed, needs in (
        ("max_user_instances", "{} instances", INSTANCES, "watchconv takes"),
        ("max_user_watches", "watches of {} folders", folders, "the inbox has"),
    ):
        try:
            with open(f"/proc/sys/fs/inotify/{name}", encoding="ascii") as value:
                limit = int(value.read())
        except (OSError, ValueError):
            continue
        advice = "" if needed <= limit else f"; raise fs.inotify.{name} (sysctl)"
        said = f"inotify allows a user {allowed.format(limit)}, and {needs} {needed}{advice}"
        yield needed <= limit, said


def look_at_sandbox(config: Config) -> Iterator[Finding]:
    """Yield how far ffmpeg is confined here: what an escape from the sandbox comes to."""
    from watchconv.config import Sandbox
    from watchconv.process.sandbox.rules import SandboxRules, try_to_escape
    from watchconv.process.sandbox.support import ready, support

    if config.sandbox == Sandbox.OFF:
        yield None, "sandbox: off; ffmpeg can touch what this user can"
        return
    for sentence in ready(config.sandbox):
        yield None, sentence
    found = support()
    yield None, f"Landlock ABI {found.landlock_abi or 'none'}, seccomp {found.seccomp}"
    leak = None if found.missing else False
    for escape in try_to_escape(SandboxRules(read=(), write=(), execute=())):
        yield escape.refused or leak, f"{escape.name}: {escape.detail}"

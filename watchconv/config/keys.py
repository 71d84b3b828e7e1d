"""The table of the configuration: every key with its type, range, default, and one line of why.

The finished value and its schema are one thing: plain frozen dataclasses, whose annotations and
``key(...)`` pydantic reads where a file is loaded (``schema``). ``v`` is ``values``, which only
pydantic looks up: a process that holds a ``Config`` need not have it loaded.
"""

from __future__ import annotations

import os
from dataclasses import MISSING, dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from watchconv.config.group import Group, key
from watchconv.config.profiles import BUILTIN
from watchconv.model import Incomplete, OnSuccess, Profile, Verify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from watchconv.config import values as v


class Sandbox(StrEnum):
    """How much confinement of ffmpeg is asked for."""

    AUTO = "auto"  # what this system can do
    REQUIRE = "require"  # all of it, or no start
    OFF = "off"


class IoNice(StrEnum):
    """The scheduling class for ffmpeg's input and output, as ionice(1) calls them."""

    IDLE = "idle"  # only when no one else wants the disk
    BEST_EFFORT = "best-effort"  # its lowest level, 7
    NONE = "none"  # left as it is


class Receipts(StrEnum):
    """Whether what was done with a file is written beside its output too."""

    NONE = "none"
    BESIDE = "beside"  # NAME.json


class LogFormat(StrEnum):
    """How the log is written."""

    TEXT = "text"
    JSON = "json"


def usable_cpus() -> int:
    """Count the processors that this process may run on."""
    return max(1, len(os.sched_getaffinity(0)))


def default_state() -> str:
    """Return systemd's state directory (the first of its list), else the one in the home."""
    first, _, _ = os.environ.get("STATE_DIRECTORY", "").partition(":")
    return os.path.expanduser(first or "~/.local/state/watchconv")


@dataclass(frozen=True)
class TimeLimit(Group):
    """The wall clock of one encode: at most seconds + per_second * length of the input."""

    seconds: v.Limit = key(3600, "for every file")
    per_second: v.Seconds = key(60, "and this for each second of input")


@dataclass(frozen=True)
class HealthProfile(Group):
    """One profile that examines files, and makes nothing of them."""

    health: Literal["decode"] = key(MISSING, "decode: all of a file is read and decoded")

    def named(self, name: str) -> Profile:
        """Return the profile of this name."""
        return Examining(name, "", (), incomplete=Incomplete.ERROR)


@dataclass(frozen=True, slots=True)
class Examining(Profile):
    """A profile that makes nothing: what is whole goes to done/, all else to error/."""


@dataclass(frozen=True)
class RawProfile(Group):
    """One profile that is written as ffmpeg's arguments."""

    suffix: v.Suffix = key(MISSING, "what outputs end with; ffmpeg picks the container by it")
    args: v.Arguments = key((), "what stands between input and output on ffmpeg's command line")
    verify: Verify = key(Verify.FULL, "how much an output must prove before it is delivered")
    incomplete: Incomplete = key(Incomplete.AUTO, "a file that is cut off: error, salvage or auto")

    def named(self, name: str) -> Profile:
        """Return the profile of this name."""
        return Profile(name, self.suffix, self.args, self.verify, self.incomplete)


# Names of containers and raw streams that ffmpeg's whitelisted demuxers open, those of recorders
# and cameras too (.dav .wtv .mod .vro .insv .lrv .360); .ogg is music.
_EXTENSIONS = (
    "mp4 m4v mov qt f4v mj2 3gp 3gpp 3g2 3gpp2 mkv mk3d webm avi divx flv wmv asf dvr-ms mpg mpeg "
    "mpe m2p vob evo mod vro m1v m2v mpv ts mts m2ts m2t tod trp tp mxf ogv ogm ogx rm rmvb gif dv "
    "dif ivf h264 264 h265 265 hevc obu dav wtv nut gxf y4m insv lrv 360"
)


@dataclass(frozen=True)
class Config(Group):
    """The whole configuration, its values finished.

    Folders are absolute and resolved, sizes in bytes, ``auto`` jobs counted. None stands for a
    word: any (extensions), auto (scan_seconds, ffmpeg, memory_limit), inherit (the rest).
    """

    inbox: v.Folder = key("/srv/watchconv/inbox", "dropping a file here is the order")
    outbox: v.Folder = key("/srv/watchconv/outbox", "finished outputs, nothing else")
    done: v.Folder = key("/srv/watchconv/done", "originals after success")
    error: v.Folder = key("/srv/watchconv/error", "originals that failed, each with its .log")
    state: v.Folder = key(default_state, "the journal: beside the four folders, on a local disk")
    jobs: v.Jobs = key(
        usable_cpus,
        "ffmpeg children at once, where memory allows; auto is one for each processor",
        json_schema_extra={"default": "auto"},
    )
    profile: str = key("webm", "for files outside a profile's sub-folder", examples=["webm"])
    on_success: OnSuccess = key(OnSuccess.MOVE, "the original: move (to done), delete or keep")
    receipts: Receipts = key(Receipts.NONE, "of each job: none, or beside the output as NAME.json")
    extensions: v.Extensions = key(tuple(_EXTENSIONS.split()), "of videos; any: every file")
    ignore: tuple[v.Pattern, ...] = key(
        (), "patterns added to the built-in list of partial and system files", examples=[["*.bak"]]
    )
    settle_seconds: v.Seconds = key(2, "to be left alone for, where the kernel sees every writer")
    settle_network_seconds: v.Seconds = key(10, "and where it does not: network mounts, FUSE")
    incomplete_after_seconds: v.Seconds = key(3600, "then a file that ends too early is truncated")
    scan_seconds: v.ScanSeconds = key(None, "auto is 900 where events are live, 30 elsewhere")
    max_attempts: int = key(3, "then the file goes to error", ge=1, le=1000)
    stall_seconds: v.Limit = key(300, "no progress for this long ends an encode")
    time_limit: TimeLimit = key(TimeLimit(), "the wall clock of one encode")
    max_pixels: int = key(
        134217728, "of one decoded frame; small files can unpack to huge ones", ge=1, le=2**31 - 1
    )
    max_output: v.OutputSize = key(256 << 30, "of one output, that none fills the disk; 0 is off")
    min_free: v.Size = key(1 << 30, "with less free in the outbox no new job starts; 0 is off")
    stop_grace_seconds: v.Seconds = key(5, "for running jobs to finish when the daemon stops")
    keep_history_days: float = key(
        90, "then ended jobs are forgotten, not while their file is in the inbox", ge=0, le=36500
    )
    ffmpeg: v.Program = key(None, "a path; auto is the newer of PATH's and the embedded one")
    sandbox: Sandbox = key(Sandbox.AUTO, "of ffmpeg: auto (what the kernel can), require or off")
    nice: int = key(10, "how far ffmpeg steps back for others, 0 (not) to 19", ge=0, le=19)
    ionice: IoNice = key(IoNice.IDLE, "and on the disk: idle, best-effort or none (as it is)")
    memory_limit: v.MemoryLimit = key(
        None, "that one ffmpeg may use; auto is a share of what there is, 0 is off"
    )
    address_space: v.ChildSize = key(
        0,
        "deprecated, see memory_limit: what one ffmpeg may map; 0 is off",
    )
    owner: v.User = key(None, "of what lands in outbox, done and error; needs the right to chown")
    group: v.SystemGroup = key(None, "the same for the group")
    mode: v.Mode = key(None, "permissions of files there, in octal: 0664")
    directory_mode: v.FolderMode = key(None, "permissions of folders made there, in octal: 2775")
    preserve_mtime: bool = key(True, "outputs keep the original's time of change")
    log_format: LogFormat = key(LogFormat.TEXT, "text (for people, journald) or json")
    profiles: dict[v.ProfileName, v.ProfileKeys] = key(
        dict, "your own, added to the built-in ones or in their place"
    )

    @cached_property
    def all_profiles(self) -> Mapping[str, Profile]:
        """The built-in profiles and the configured ones, which win over equal names."""
        own = {name: written.named(name) for name, written in self.profiles.items()}
        return {**BUILTIN, **own}

    @property
    def outdated(self) -> tuple[str, ...]:
        """A sentence for each key that is written and should no longer be."""
        if not self.address_space:
            return ()
        return (
            "address_space is deprecated: encoders map far more than they use, and fail for it;"
            " remove it, or write memory_limit instead",
        )

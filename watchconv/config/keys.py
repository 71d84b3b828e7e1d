"""The keys of the configuration: names, types, defaults, and one line of why each.

Guarantees: this is the schema and the only home of defaults; a field has the name of its key.
Values are finished: folders absolute and resolved, sizes in bytes, ``auto`` jobs counted.
None stands for a word: any (extensions), auto (scan_seconds, ffmpeg), inherit (the rest).

Does not check what needs two keys at once, such as nested folders: ``conflicts`` does.

Errors: pydantic's ``ValidationError``; ``load`` turns it into sentences.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping  # noqa: TC003 (pydantic reads Mapping)
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo

from watchconv.config import values as read
from watchconv.config.arguments import read_args
from watchconv.config.profiles import BUILTIN
from watchconv.model import OnSuccess, Profile, Verify


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


class LogFormat(StrEnum):
    """How the log is written."""

    TEXT = "text"
    JSON = "json"


def usable_cpus() -> int:
    """Count the processors that this process may run on."""
    return max(1, len(os.sched_getaffinity(0)))


def default_state() -> str:
    """Give systemd's state directory (the first of its list), else the one in the home."""
    first, _, _ = os.environ.get("STATE_DIRECTORY", "").partition(":")
    return first or "~/.local/state/watchconv"


def _base(context: ValidationInfo) -> str:
    return str((context.context or {}).get("folder") or os.getcwd())


def _reader(take: Callable[..., Any], written: Any, *limits: Any) -> PlainValidator:
    return PlainValidator(lambda value: take(value, *limits), json_schema_input_type=written)


def _whole(low: int, high: int) -> PlainValidator:
    return _reader(read.read_whole, Annotated[int, Field(ge=low, le=high)], low, high)


def _real(low: float, high: float = read.SECONDS_MAX) -> PlainValidator:
    return _reader(read.read_real, Annotated[float, Field(ge=low, le=high)], low, high)


def _choice(words: type[StrEnum]) -> PlainValidator:
    choices = [word.value for word in words]
    return _reader(lambda value: words(read.read_choice(value, choices)), words)


def _jobs(value: object) -> int:
    return usable_cpus() if value == "auto" else read.read_whole(value, 1, 1024)


def _scan(value: object) -> float | None:
    if value is None or value == "auto":
        return None
    return read.read_real(value, 1, read.SECONDS_MAX)


_Folder = Annotated[
    str,
    PlainValidator(
        lambda value, context: read.read_folder(value, _base(context)), json_schema_input_type=str
    ),
]
_State = Annotated[
    str,
    PlainValidator(
        lambda value, context: read.read_state(value, _base(context)), json_schema_input_type=str
    ),
]
_Program = PlainValidator(
    lambda value, context: read.read_program(value, _base(context)), json_schema_input_type=str
)
_Seconds = Annotated[float, _real(0)]
_Limit = Annotated[float, _real(1)]
_Octal = Annotated[str, Field(pattern="^(inherit|(0o)?[0-7]{1,5})$")]
_Name = Annotated[str, _reader(read.read_text, str, "the name of a profile")]
_Size = int | str
_ListOf = list[str]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class TimeLimit(_Group):
    """The wall clock of one encode: at most seconds + per_second * length of the input."""

    seconds: _Limit = Field(3600, description="for every file")
    per_second: _Seconds = Field(60, description="and this for each second of input")


class ProfileKeys(_Group):
    """One profile, as it is written."""

    suffix: Annotated[str, _reader(read.read_suffix, str)] = Field(
        description="what outputs end with; ffmpeg picks the container by it"
    )
    args: Annotated[tuple[str, ...], _reader(read_args, str | list[str | float])] = Field(
        (), description="what stands between input and output on ffmpeg's command line"
    )
    verify: Annotated[Verify, _choice(Verify)] = Field(
        Verify.FULL, description="how much an output must prove before it is delivered"
    )


# Names of containers and raw streams that ffmpeg's whitelisted demuxers open; .ogg is music,
# .y4m, .nut, .wtv and .obu would need demuxers that are not on that list.
_EXTENSIONS = (
    "mp4 m4v mov qt f4v mj2 3gp 3gpp 3g2 3gpp2 mkv mk3d webm avi divx flv wmv asf dvr-ms "
    "mpg mpeg mpe m2p vob evo m1v m2v mpv ts mts m2ts m2t tod trp mxf ogv ogm ogx rm rmvb gif "
    "dv dif ivf h264 264 h265 265 hevc"
)


class Config(_Group):
    """The whole configuration; ``load`` makes it. The folders are absolute and resolved."""

    inbox: _Folder = Field("/srv/watchconv/inbox", description="dropping a file here is the order")
    outbox: _Folder = Field("/srv/watchconv/outbox", description="finished outputs, nothing else")
    done: _Folder = Field("/srv/watchconv/done", description="originals after success")
    error: _Folder = Field(
        "/srv/watchconv/error", description="originals that failed, each with its .log"
    )
    state: _State = Field(
        default_factory=default_state,
        description="the journal; never inside the four folders, best on a local disk",
    )
    jobs: Annotated[int, _reader(_jobs, Literal["auto"] | Annotated[int, Field(ge=1)])] = Field(
        default_factory=usable_cpus,
        description="ffmpeg children at once; auto is one for each usable processor",
    )
    profile: _Name = Field("webm", description="for files outside a profile's sub-folder")
    on_success: Annotated[OnSuccess, _choice(OnSuccess)] = Field(
        OnSuccess.MOVE, description="the original: move (to done), delete or keep (in the inbox)"
    )
    extensions: Annotated[
        tuple[str, ...] | None, _reader(read.read_extensions, Literal["any"] | _ListOf)
    ] = Field(
        tuple(_EXTENSIONS.split()),
        description="what counts as a video by name, in any case; any is every file",
    )
    ignore: Annotated[
        tuple[str, ...],
        _reader(lambda value: tuple(read.read_words(value, '["*.bak"]')), _ListOf),
    ] = Field((), description="patterns added to the built-in list of partial and system files")
    settle_seconds: _Seconds = Field(
        2, description="how long a file must be left alone where the kernel sees every writer"
    )
    settle_network_seconds: _Seconds = Field(
        10, description="and where it does not: network mounts, FUSE"
    )
    incomplete_after_seconds: _Seconds = Field(
        3600, description="a file that ends too early, left alone this long, is truncated"
    )
    scan_seconds: Annotated[
        float | None, _reader(_scan, Literal["auto"] | Annotated[float, Field(ge=1)])
    ] = Field(None, description="the regular look; auto is 900 where events are live, 30 elsewhere")
    max_attempts: Annotated[int, _whole(1, 1000)] = Field(
        3, description="then the file goes to error"
    )
    stall_seconds: _Limit = Field(300, description="no progress for this long ends an encode")
    time_limit: TimeLimit = Field(TimeLimit(), description="the wall clock of one encode")
    max_pixels: Annotated[int, _whole(1, 2**31 - 1)] = Field(
        134217728, description="of one decoded frame; small files can unpack to huge ones"
    )
    max_output: Annotated[int, _reader(read.read_bytes, _Size, read.OUTPUT_BYTES_MIN)] = Field(
        256 << 30, description="of one output; a small file can unpack to a full disk; 0 is off"
    )
    min_free: Annotated[int, _reader(read.read_bytes, _Size)] = Field(
        1 << 30, description="with less than this free in the outbox no new job starts; 0 is off"
    )
    stop_grace_seconds: _Seconds = Field(
        5, description="what running jobs are given to finish when the daemon stops"
    )
    keep_history_days: Annotated[float, _real(0, 36500)] = Field(
        90, description="then ended jobs are forgotten, but never while their file is in the inbox"
    )
    ffmpeg: Annotated[str | None, _Program] = Field(
        None, description="a path; auto is the one on PATH, then the embedded one"
    )
    sandbox: Annotated[Sandbox, _choice(Sandbox)] = Field(
        Sandbox.AUTO, description="confine ffmpeg: auto (what the kernel can), require or off"
    )
    nice: Annotated[int, _whole(0, 19)] = Field(
        10, description="how far ffmpeg steps back for others, 0 (not) to 19"
    )
    ionice: Annotated[IoNice, _choice(IoNice)] = Field(
        IoNice.IDLE, description="and on the disk: idle, best-effort or none (as it is)"
    )
    address_space: Annotated[int, _reader(read.read_bytes, _Size, read.CHILD_BYTES_MIN)] = Field(
        4 << 30, description="what one ffmpeg may map, but where a GPU encodes; 0 is off"
    )
    owner: Annotated[int | None, _reader(read.read_owner, int | str, read.user_id, "user")] = Field(
        None, description="of what lands in outbox, done and error; needs the right to chown"
    )
    group: Annotated[int | None, _reader(read.read_owner, int | str, read.group_id, "group")] = (
        Field(None, description="the same for the group")
    )
    mode: Annotated[int | None, _reader(read.read_mode, _Octal, 0, "")] = Field(
        None, description="permissions of files there, in octal: 0664"
    )
    directory_mode: Annotated[
        int | None,
        _reader(read.read_mode, _Octal, 0o700, "shuts the owner out of the folder"),
    ] = Field(None, description="permissions of folders made there, in octal: 2775")
    preserve_mtime: Annotated[bool, _reader(read.read_switch, bool)] = Field(
        True, description="outputs keep the original's time of change"
    )
    log_format: Annotated[LogFormat, _choice(LogFormat)] = Field(
        LogFormat.TEXT, description="text for people and the system's journal, json for collectors"
    )
    profiles: Mapping[Annotated[str, _reader(read.read_profile_name, str)], ProfileKeys] = Field(
        default_factory=dict, description="your own, added to the built-in ones or in their place"
    )

    @cached_property
    def all_profiles(self) -> Mapping[str, Profile]:
        """The built-in profiles and the configured ones, which win over equal names."""
        own = {
            name: Profile(name, keys.suffix, keys.args, keys.verify)
            for name, keys in self.profiles.items()
        }
        return {**BUILTIN, **own}

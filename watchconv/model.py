"""The values that all packages share: jobs and their states, profiles, outcomes, media.

Nothing here touches the file system or imports anything of ours. Paths inside one of the four
folders are ``str`` relative to it, with surrogate escapes for bytes that are not UTF-8
(``os.fsencode`` gives the bytes back).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "queued"  # waits for a worker (or for its backoff)
    RUNNING = "running"  # an attempt is under way
    DELIVERING = "delivering"  # the verdict is known; files are being moved
    DONE = "done"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"  # the original was taken away before it was converted
    SUPERSEDED = "superseded"  # the original changed; the next scan makes a new job of it


_ONWARD = frozenset({JobState.DELIVERING, JobState.WITHDRAWN, JobState.SUPERSEDED})
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: _ONWARD | {JobState.RUNNING},
    JobState.RUNNING: _ONWARD | {JobState.QUEUED},
    # SUPERSEDED: the finished work vanished before it was delivered; the original is encoded again
    JobState.DELIVERING: frozenset({JobState.DONE, JobState.FAILED, JobState.SUPERSEDED}),
    JobState.DONE: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.WITHDRAWN: frozenset(),
    JobState.SUPERSEDED: frozenset(),
}
OPEN = frozenset({JobState.QUEUED, JobState.RUNNING, JobState.DELIVERING})

STALES_PER_ATTEMPT = 3  # this many changes of the original while it is read cost one attempt
BACKOFF_LIMIT_SECONDS = 600.0


class Verdict(StrEnum):
    """What a delivery delivers."""

    ENCODED = "encoded"  # the output to outbox/, the original by on_success
    FAILED = "failed"  # the original and its report to error/
    CANCELLED = "cancelled"  # the same, because somebody asked for it


class OnSuccess(StrEnum):
    """What becomes of an original whose output is delivered."""

    MOVE = "move"
    DELETE = "delete"
    KEEP = "keep"


class Request(StrEnum):
    """What a person asked of a job on the command line; the daemon acts on it."""

    RETRY = "retry"
    CANCEL = "cancel"


class Cause(StrEnum):
    """Why a job failed, for machines to compare; its ``reason`` is the sentence for a person."""

    NOT_VIDEO = "not-video"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    UNREADABLE = "unreadable"
    DAMAGED = "damaged"
    TOO_LARGE = "too-large"  # over max_pixels
    OUTPUT_TOO_LARGE = "output-too-large"  # over max_output
    UNSUPPORTED = "unsupported"  # this ffmpeg or the output's container cannot do it
    ARGUMENTS = "arguments"  # the profile's arguments are wrong
    PROFILE = "profile"  # the profile is gone
    TIMEOUT = "timeout"
    STALL = "stall"
    MEMORY = "memory"
    KILLED = "killed"
    FFMPEG = "ffmpeg"  # ffmpeg failed, and nothing above says it better
    OUTPUT = "output"  # what was made is not whole
    CHANGED = "changed"  # the original changed each time it was converted
    CRASHED = "crashed"  # watchconv or the machine went down each time
    CANCELLED = "cancelled"


class WaitReason(StrEnum):
    """Why a queued job waits for its time."""

    BACKOFF = "backoff"  # an attempt failed
    UNMOUNTED = "unmounted"  # what holds its original is not mounted
    TROUBLE = "trouble"  # the machine failed its attempt
    READ_ERROR = "read-error"  # its original cannot be read now


class Trouble(StrEnum):
    """What is wrong with the machine."""

    FOLDERS = "folders"
    MOUNT_BELOW = "mount-below"
    EVENTS = "events"
    OVERFLOW = "overflow"
    SPACE = "space"
    JOURNAL = "journal"
    SCAN = "scan"
    ATTEMPT = "attempt"
    DELIVERY = "delivery"
    REQUESTS = "requests"
    RELOAD = "reload"
    STATUS = "status"
    MAINTENANCE = "maintenance"


class EventKind(StrEnum):
    """What an event of the journal is about."""

    STATE = "state"  # a job was added or changed its state
    TROUBLE = "trouble"
    CLEARED = "cleared"  # a trouble is over


class OutputRole(StrEnum):
    """What an output is for."""

    VIDEO = "video"
    RECEIPT = "receipt"  # of the job, beside the others


class OutputState(StrEnum):
    """Where one output of a job stands."""

    INTENDED = "intended"
    DELIVERED = "delivered"


class AttemptOutcome(StrEnum):
    """How an attempt ended, as the journal remembers it."""

    ENCODED = "encoded"
    REJECTED = "rejected"
    BROKE = "broke"
    INTERRUPTED = "interrupted"
    STALE = "stale"
    GONE = "gone"
    CRASHED = "crashed"  # its daemon or the machine went down


class Verify(StrEnum):
    """How much an output must prove before it is delivered."""

    FULL = "full"  # every stream is there, decodes, and accounts for the frames decoded
    STREAMS = "streams"  # every stream is there, decodes, and holds what the encode muxed
    OFF = "off"


class Incomplete(StrEnum):
    """What becomes of an original that is not whole, and will not be any more."""

    AUTO = "auto"  # salvage for an mp4 in fragments, of which a cut costs the last alone
    ERROR, SALVAGE = "error", "salvage"  # salvage: what is there of it is converted


@dataclass(frozen=True, slots=True)
class Profile:
    """How to convert: ``args`` stand between input and output on ffmpeg's command line."""

    name: str
    suffix: str
    args: tuple[str, ...]
    verify: Verify = Verify.FULL
    incomplete: Incomplete = Incomplete.AUTO


@dataclass(frozen=True, slots=True)
class Identity:
    """Which file this is, and its condition: where two are equal, the file was not touched."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Identity:
        """Return the identity in a stat result."""
        return cls(stat.st_dev, stat.st_ino, stat.st_size, mtime_ns(stat), stat.st_ctime_ns)


def mtime_ns(stat: os.stat_result) -> int:
    """Return the time of the last change, cut to what SQLite holds: a client may set year 2300."""
    return max(-(2**63), min(stat.st_mtime_ns, 2**63 - 1))


class Candidate(NamedTuple):
    """A settled file of the inbox that is to become a job."""

    source: str
    size: int
    mtime_ns: int
    profile: str


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One output of a job."""

    file: str  # its name inside the attempt's work directory
    suffix: str  # what its final name ends with
    size: int
    role: OutputRole = OutputRole.VIDEO
    name: str | None = None  # relative to the outbox, once it is intended
    state: OutputState = OutputState.INTENDED


class WarningCause(StrEnum):
    """What a done job's output lacks of its original, or has otherwise."""

    TRACK_LEFT_OUT = "track-left-out"
    TRACK_CONVERTED = "track-converted"  # one that was to be copied
    TONE_MAPPED = "tone-mapped"
    DOLBY_VISION = "dolby-vision"
    MASTERING = "mastering"  # mastering display and light level
    DEINTERLACED = "deinterlaced"
    ALPHA = "alpha"
    DEPTH = "depth"  # bits cut
    CHROMA = "chroma"
    SHAPE = "shape"  # the size or aspect changes on the way
    LAYOUT = "layout"
    SAMPLE_RATE = "sample-rate"
    STYLE = "style"  # of subtitles
    CAPTIONS = "captions"
    CHAPTERS = "chapters"
    COVER = "cover"
    FONTS = "fonts"
    TITLES = "titles"
    FLAGS = "flags"
    DATE = "date"
    PLACE = "place"
    TAGS = "tags"
    TIMECODE = "timecode"
    PROJECTION = "projection"
    GAPS = "gaps"  # the original holds less than its time
    SALVAGED = "salvaged"  # the original is not whole
    UNPROVEN = "unproven"  # a promise could not be proven
    ORIGINAL_KEPT = "original-kept"  # on_success: delete fell back to move
    SIZE = "size"  # the size guard delivered the original
    FALLBACK = "fallback"  # another encoder than the first of the profile


class JobWarning(NamedTuple):
    """What a person should know of a job although it is done."""

    cause: WarningCause
    text: str


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the journal. Times are wall clock, seconds since the epoch."""

    id: int
    source: str  # relative to the inbox
    size: int
    mtime_ns: int
    profile: str
    state: JobState
    attempt: int
    run: int  # how often it was claimed; never given back: it names the work directory
    stale: int  # how often in a row the original changed while it was read
    not_before: float  # a queued job is not claimed before this time (backoff)
    queued_at: float
    started_at: float | None
    ended_at: float | None
    verdict: Verdict | None
    original: str | None  # where the original goes, relative to done/ or error/
    reason: str | None  # one sentence for a person
    report: str | None  # the text of the .log, kept until it is delivered
    request: Request | None
    on_success: OnSuccess | None = None  # what is intended with the original
    priority: int = 0  # a higher one is claimed first
    cause: Cause | None = None  # of its failure
    wait_reason: WaitReason | None = None  # why it is queued with a not_before
    encode_seconds: float = 0.0  # of its attempts since it was queued or retried
    media_seconds: float | None = None  # how long the original plays
    warnings: tuple[JobWarning, ...] = ()
    salvage: bool = False  # what is there of its original is wanted, be it not whole
    outputs: tuple[OutputFile, ...] = ()  # intended while DELIVERING, delivered when DONE

    @property
    def output(self) -> str | None:
        """The name of the first output, relative to the outbox."""
        return self.outputs[0].name if self.outputs else None


class Intent(NamedTuple):
    """What a delivery is to do. Names are relative to their folders; each output has one."""

    verdict: Verdict
    outputs: tuple[OutputFile, ...] = ()
    original: str | None = None
    on_success: OnSuccess | None = None
    cause: Cause | None = None
    reason: str | None = None
    report: str | None = None
    warnings: tuple[JobWarning, ...] = ()
    receipt: str | None = None  # JSON, see ``encode.receipt``


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """What is remembered of an attempt when it ends."""

    outcome: AttemptOutcome
    cause: Cause | None = None
    seconds: float = 0.0  # spent on it
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    media_seconds: float | None = None  # how long the original plays, where that is known


class Attempt(NamedTuple):
    """One attempt at a job, as the journal remembers it."""

    job: int
    run: int
    engine: str
    owner: str
    began: float
    ended: float | None
    outcome: AttemptOutcome | None  # None: it runs, or nobody said how it ended
    cause: Cause | None
    seconds: float
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    media_seconds: float | None


class Event(NamedTuple):
    """One change of a job's state, or one trouble that began or ended."""

    id: int  # grows from one to the next
    at: float
    job: int | None  # None: it is about a trouble
    kind: EventKind
    from_state: JobState | None  # None: the job was added
    to_state: JobState | None
    cause: str | None  # the job's Cause, or WaitReason; or the Trouble
    sentence: str | None


class Statistic(NamedTuple):
    """What jobs of a profile came to on one day (UTC); kept when the jobs are forgotten."""

    day: str  # 2025-12-31
    profile: str
    outcome: str  # done, failed, cancelled
    cause: Cause | None
    jobs: int
    input_bytes: int
    output_bytes: int
    media_seconds: float
    encode_seconds: float
    wait_seconds: float  # between queued and first claimed


class Savings(NamedTuple):
    """What all jobs that are done came to, as far as their sizes are known."""

    jobs: int
    input_bytes: int
    output_bytes: int

    @property
    def saved_bytes(self) -> int:
        """How much smaller the outputs are; negative where they are larger."""
        return self.input_bytes - self.output_bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one encode is. ``fraction`` and ``eta_seconds`` are None where nobody can know."""

    out_seconds: float
    frames: int
    fps: float | None
    speed: float | None
    fraction: float | None
    eta_seconds: float | None


@dataclass(frozen=True, slots=True)
class Encoded:
    """The outputs are made, proven and on disk."""

    outputs: tuple[OutputFile, ...]
    warnings: tuple[JobWarning, ...] = ()
    is_proven: bool = True  # so that the original may be deleted
    receipt: str | None = None  # see ``encode.receipt``


@dataclass(frozen=True, slots=True)
class Rejected:
    """This file will never work; ``report`` is the text of its .log."""

    reason: str
    report: str = ""
    cause: Cause = Cause.FFMPEG
    receipt: str | None = None


@dataclass(frozen=True, slots=True)
class Broke:
    """This attempt failed; another may not."""

    reason: str
    report: str = ""
    cause: Cause = Cause.FFMPEG
    receipt: str | None = None


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The attempt was stopped by us, or could not begin for a reason that will pass."""

    reason: str | None = None
    wait_seconds: float = 0.0
    report: str = ""
    wait_reason: WaitReason | None = None


@dataclass(frozen=True, slots=True)
class Stale:
    """The original changed while we read it."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The original is no longer there, but its folder is."""


Outcome = Encoded | Rejected | Broke | Interrupted | Stale | Gone

"""What the end of an ffmpeg means for its job, by how it ended and by what it said.

Every end has a sentence and a cause. Only what must fail the same way again is ``Rejected``; what
is uncertain is ``Broke``. ffmpeg's words are read line by line, in time that grows with their
number only, however a file has them chosen.
"""

from __future__ import annotations

import os
import signal
import tempfile
from dataclasses import dataclass
from re import compile as pattern
from stat import S_ISREG
from typing import TYPE_CHECKING

from watchconv.encode.program import version_of
from watchconv.encode.stderr_stats import CONTEXT
from watchconv.errors import ConfigError, EnvironmentTrouble
from watchconv.model import Broke, Cause, Interrupted, Outcome, Rejected
from watchconv.process.command import Cause as ExitCause

if TYPE_CHECKING:
    from re import Pattern

    from watchconv.process.command import ChildExit

SENTENCE_CHARACTERS = 300
BELIEVED = 2  # how often one job's "disk full" is believed although there is room
ROOM_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class EncodeFacts:
    """What is known of an encode when its ffmpeg has ended."""

    tail: str  # of its stderr
    output_bytes: int
    had_progress: bool
    max_output: int  # 0: no limit
    run: int  # of the job, as is attempt
    attempt: int
    program: str
    work: str
    outbox: str


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a line of ffmpeg's, without its context, means."""

    pattern: Pattern[str]
    reason: str
    cause: Cause = Cause.UNSUPPORTED
    is_final: bool = True  # a second attempt is useless
    needs_surrender: bool = False  # counts only where ffmpeg gave up over a decoder


# The first that matches a line decides.
_RULES = (
    _Rule(pattern(r"Unknown encoder '([^']*)'"), "this ffmpeg has no encoder {}"),
    _Rule(pattern(r"  Stream #\S+: Video: none[^(]*\((\w+) /"),
          "this ffmpeg cannot decode {}", needs_surrender=True),
    _Rule(pattern(r"Decod(?:er \(codec|ing requested, but no decoder found for:) (\w+)"),
          "this ffmpeg has no decoder for a stream (codec {})"),
    _Rule(pattern(r"Unknown input format: '?(\w+)"),
          "this ffmpeg cannot read containers of type {}"),
    _Rule(pattern(r".*Format not on whitelist"), "this kind of container is not accepted"),
    _Rule(pattern(r"moov atom not found"),
          "the file has no index (moov atom not found): it is incomplete", Cause.TRUNCATED),
    _Rule(pattern(r"Unrecognized option '([^']*)'"),
          "the profile's arguments hold an unknown option: -{}", Cause.ARGUMENTS),
    _Rule(pattern(r"Unable to (?:find a suitable|choose an) output format for '[^']*?(\.[^./']*)'"),
          "this ffmpeg finds no output format for the suffix {}"),
    _Rule(pattern(r"Requested output format '([^']*)' is not"),
          "this ffmpeg has no output format {}"),
    _Rule(pattern(r"No such filter: '([^']*)'"), "this ffmpeg has no filter {}"),
    _Rule(pattern(r"Stream map '([^']*)' matches no streams"),
          "the file has no stream for -map {}", Cause.ARGUMENTS),
    _Rule(pattern(r"Output file (?:#\d+ )?does not contain any stream"),
          "no stream of it can be used"),
    _Rule(pattern(r".*Can't write packet with unknown timestamp"),
          "the file holds no times to copy; a profile that encodes makes them"),
    _Rule(pattern(r".*(?:Could not find tag for codec|codec not currently supported in container"
                  r"|is not supported by this format|Raw RGB is not supported"
                  r"|not yet support muxing)"),
          "the output's container does not take one of the codecs"),
    _Rule(pattern(r".*(?:Cannot allocate memory|Out of memory)"),
          "ffmpeg ran out of memory (see address_space)", Cause.MEMORY, is_final=False),
    _Rule(pattern(r".*Decode error rate \S+ exceeds maximum"),
          "most of the file does not decode", Cause.DAMAGED),
    _Rule(pattern(r"Cannot determine format of input stream"),
          "nothing of a stream decodes", Cause.DAMAGED),
    _Rule(pattern(r".*(?:Error opening input|file:.*|Error while opening decoder.*): ?"
                  r"Invalid data found"),
          "the file holds invalid data that ffmpeg cannot read", Cause.UNREADABLE),
    _Rule(pattern(r".*Permission denied"),
          "ffmpeg was not allowed to open a file", Cause.FFMPEG, is_final=False),
    _Rule(pattern(r".*(?:Error while opening encoder|Could not open encoder)"),
          "the encoder takes neither this picture or sound nor these arguments", is_final=False),
)  # fmt: skip
_FULL = pattern(r"\S.*(?:No space left on device|Disk quota exceeded)")
_OVERSIZE = pattern(r"Picture size (\d+x\d+) exceeds specified max pixel count (\d+)")
_CONTEXT = pattern(CONTEXT)
_ADDRESS = pattern(r" @ 0x[0-9a-f]+(?=\])")  # means nothing to a person, and differs each time


def classify(ended: ChildExit, facts: EncodeFacts) -> Outcome | None:
    """Return what an ffmpeg's end means for its job; None where its output may be judged.

    The machine is asked where the end alone does not tell whether it is to blame: so no job pays
    for a full disk, or for an ffmpeg whose libraries are gone. Raises EnvironmentTrouble then.
    """
    if fault := _machine_fault(ended, facts):
        raise EnvironmentTrouble(fault)
    return outcome_of(ended, facts)


def outcome_of(ended: ChildExit, facts: EncodeFacts) -> Outcome | None:
    """Return the outcome of a child's end that is not the machine's fault. Pure."""
    match ended.cause:
        case ExitCause.STOPPED:
            return Interrupted()
        case ExitCause.OVERTIME:
            reason = f"it takes too long: {ended.detail}; see time_limit"
            return Rejected(reason, cause=Cause.TIMEOUT)
        case ExitCause.STALLED:
            return Broke(ended.detail, cause=Cause.STALL)
        case ExitCause.UNSTARTED:
            return Broke(ended.detail)
    if excess := _over_a_limit(facts):
        return excess
    if ended.status != 0:
        return failure(-ended.signal if ended.signal else ended.status, facts.tail)
    if facts.output_bytes == 0:
        return Broke("ffmpeg ended well but made no output", cause=Cause.OUTPUT)
    return None


def failure(status: int | None, tail: str) -> Rejected | Broke:
    """Return why ffmpeg failed, by its exit status and its last words. Pure.

    A negative status is the signal that killed it; None is one that is not known.
    """
    if is_disk_full(tail):
        return Broke("ffmpeg says that the disk is full")
    if status is not None and status < 0:
        return Broke(_killed(-status), cause=Cause.KILLED)
    said = _without_context(tail)
    surrendered = any(line.startswith("Decod") for line in tail.split("\n"))
    for rule in _RULES:
        if rule.needs_surrender and not surrendered:
            continue
        if found := next(filter(None, map(rule.pattern.match, said)), None):
            reason = rule.reason.format(*found.groups())[:SENTENCE_CHARACTERS]
            return (Rejected if rule.is_final else Broke)(reason, cause=rule.cause)
    lines = [_ADDRESS.sub("", line).strip() for line in tail.splitlines()]
    telling = [line for line in lines if "rror" in line or "ailed" in line] or lines[-1:]
    end = "and its status is lost" if status is None else f"with status {status}"
    words = f": {telling[0][:SENTENCE_CHARACTERS]}" if telling else ""
    return Broke(f"ffmpeg ended {end}{words}")


def is_disk_full(tail: str) -> bool:
    """Return whether ffmpeg says that the disk is full; 5.1 may exit with 0 even then."""
    return any(map(_FULL.fullmatch, _without_context(tail)))


def oversize(tail: str) -> str | None:
    """Return which frame was refused for its size: 9.0 and 5.1 may pass over it and exit with 0."""
    found = next(filter(None, map(_OVERSIZE.match, _without_context(tail))), None)
    if found is None:
        return None
    return f"a frame of it is too large: {found[1]} pixels; max_pixels allows {found[2]}"


def output_bytes(path: str) -> int:
    """Return the size of an output; 0 for none, or for a link, which ffmpeg does not make."""
    try:
        stat = os.lstat(path)
    except FileNotFoundError:
        return 0
    return stat.st_size if S_ISREG(stat.st_mode) and stat.st_nlink == 1 else 0


def _machine_fault(ended: ChildExit, facts: EncodeFacts) -> str | None:
    """Ask whether it is the machine that ended an ffmpeg; return what is wrong with it."""
    if ended.cause is ExitCause.UNSTARTED:
        return ended.detail
    if ended.cause is not ExitCause.EXITED or _over_a_limit(facts):
        return None
    if is_disk_full(facts.tail):
        # A file can have ffmpeg say so, and would hold up all others for ever. It is believed a
        # few times although there is room: there may have been none a moment ago.
        refunds = facts.run - facts.attempt
        if refunds < BELIEVED or not _has_room(facts.work):
            return f"no space left in the outbox {facts.outbox}"
    if not facts.had_progress and (ended.status != 0 or facts.output_bytes == 0):
        try:
            version_of(facts.program)
        except ConfigError as error:
            return str(error)
    return None


def _has_room(folder: str) -> bool:
    """Try to allocate: a quota, too, is only known by trying."""
    try:
        with tempfile.TemporaryFile(dir=folder) as room:
            os.posix_fallocate(room.fileno(), 0, ROOM_BYTES)
    except OSError:
        return False
    return True


def _over_a_limit(facts: EncodeFacts) -> Rejected | None:
    if facts.max_output and facts.output_bytes >= facts.max_output:  # the last write may be a part
        reason = f"its output is too large: max_output allows {facts.max_output} bytes"
        return Rejected(reason, cause=Cause.OUTPUT_TOO_LARGE)
    if excess := oversize(facts.tail):
        return Rejected(excess, cause=Cause.TOO_LARGE)
    return None


def _killed(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    hint = " (was the memory used up?)" if number == signal.SIGKILL else ""
    return f"ffmpeg was killed by {name}{hint}"


def _without_context(tail: str) -> list[str]:
    """Return the lines, each without the context before it."""
    return [_CONTEXT.sub("", line, count=1) for line in tail.split("\n")]

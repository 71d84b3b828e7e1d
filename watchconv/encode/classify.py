"""What the end of an ffmpeg means for its job, and the text of the job's ``.log`` about it.

Every end has a sentence and a cause. Only what must fail the same way again is ``Rejected``; what
is uncertain is ``Broke``. ffmpeg's words are read line by line, in time that grows with their
number only, however a file has them chosen.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from stat import S_ISREG
from typing import TYPE_CHECKING, NamedTuple

from watchconv.encode.ffmpeg_output import CONTEXT
from watchconv.encode.program import version_of
from watchconv.errors import ConfigError, EnvironmentTrouble
from watchconv.media.probe_protocol import NoWorker
from watchconv.model import Broke, Cause, Interrupted, Outcome, Rejected
from watchconv.names import printable
from watchconv.process.child import ExitCause
from watchconv.process.stop import Stopped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.media.probe_protocol import ProbeFailed
    from watchconv.model import Job
    from watchconv.process.child import ChildExit

SENTENCE_CHARACTERS = 300
BELIEVED = 2  # how often one job's "disk full" is believed although there is room
ROOM_BYTES = 16 << 20
# The .log has 64 KiB: before our text stand the reason and the mark of ``deliver.reports``, whose
# path of 4 KiB may be escaped.
LIMIT_BYTES = 36_000
HEAD_BYTES = 4_000


@dataclass(frozen=True, slots=True)
class EncodeFacts:
    """What is known of an encode when its ffmpeg has ended."""

    tail: str  # of its stderr
    output_bytes: int | None  # None: it makes nothing
    had_progress: bool
    max_output: int  # 0: no limit
    has_all_memory: bool  # another attempt would be allowed no more
    run: int  # of the job, as is attempt
    attempt: int
    program: str
    work: str
    outbox: str


class _Rule(NamedTuple):
    """What a line of ffmpeg's, without its context, means. A pattern stays within its line."""

    pattern: str
    reason: str
    cause: Cause = Cause.UNSUPPORTED
    is_final: bool = True  # a second attempt is useless
    needs_surrender: bool = False  # counts only where ffmpeg gave up over a decoder


# A header that is refused for what it is to describe, not for what the machine lacks.
_REFUSED = (
    r"(?:Invalid argument|Invalid data found|(?:Function )?[Nn]ot (?:yet )?implemented"
    r"|Operation not permitted|Experimental feature|Encoder not found|Numerical result out)"
)
# The first that matches a line decides.
_RULES = (
    _Rule(r"Unknown encoder '([^'\n]*)'", "this ffmpeg has no encoder {}"),
    _Rule(r"  Stream #\S+: Video: none[^(\n]*\((\w+) /", "this ffmpeg cannot decode {}",
          needs_surrender=True),
    _Rule(r"Decod(?:er \(codec|ing requested, but no decoder found for:) (\w+)",
          "this ffmpeg has no decoder for a stream (codec {})"),
    _Rule(r"Unknown input format: '?(\w+)", "this ffmpeg cannot read containers of type {}"),
    _Rule(r".*Format not on whitelist", "this kind of container is not accepted"),
    _Rule(r"moov atom not found", "the file has no index (moov atom not found): it is incomplete",
          Cause.TRUNCATED),
    _Rule(r"Unrecognized option '([^'\n]*)'", "the profile's arguments hold an unknown option: -{}",
          Cause.ARGUMENTS),
    _Rule(r"Unable to (?:find a suitable|choose an) output format for '[^'\n]*?(\.[^./'\n]*)'",
          "this ffmpeg finds no output format for the suffix {}"),
    _Rule(r"Requested output format '([^'\n]*)' is not", "this ffmpeg has no output format {}"),
    _Rule(r"No such filter: '([^'\n]*)'", "this ffmpeg has no filter {}"),
    _Rule(r"Stream map '([^'\n]*)' matches no streams", "the file has no stream for -map {}",
          Cause.ARGUMENTS),
    _Rule(r"Output file (?:#\d+ )?does not contain any stream", "no stream of it can be used"),
    _Rule(r".*Can't write packet with unknown timestamp",
          "the file holds no times to copy; a profile that encodes makes them"),
    _Rule(r".*(?:Could not find tag for codec|codec not currently supported in container"
          r"|is not supported by this format|Raw RGB is not supported|not yet support muxing"
          r"|Tag \S+ incompatible with output codec id)",
          "the output's container does not take one of the codecs"),
    _Rule(r".*(?:sample rate not set|Neither number of channels nor channel layout specified"
          r"|Value inf for parameter 'time_base')",
          "a track of it is announced, but holds nothing that can be converted", Cause.DAMAGED),
    _Rule(r".*(?:Cannot allocate memory|Out of memory)",
          "ffmpeg ran out of memory (see memory_limit)", Cause.MEMORY, is_final=False),
    _Rule(r".*Decode error rate \S+ exceeds maximum", "most of the file does not decode",
          Cause.DAMAGED),
    _Rule(r"Cannot determine format of input stream", "nothing of a stream decodes",
          Cause.DAMAGED),
    _Rule(r".*(?:Error opening input|file:.*|Error while opening decoder.*): ?Invalid data found",
          "the file holds invalid data that ffmpeg cannot read", Cause.UNREADABLE),
    _Rule(r".*Permission denied", "ffmpeg was not allowed to open a file", Cause.FFMPEG,
          is_final=False),
    _Rule(r".*(?:Error while opening encoder|Could not open encoder(?! before EOF))",
          "the encoder takes neither this picture or sound nor these arguments{cause_words}",
          is_final=False),
    _Rule(rf".*Could not write header.*: {_REFUSED}",
          "the output's container does not take one of the tracks{cause_words}"),
    _Rule(r"Error initializing output stream \d", "an output track cannot be begun{cause_words}",
          is_final=False),
    _Rule(r".*Error parsing (?:a )?filter", "the profile's filters are not understood{cause_words}",
          Cause.ARGUMENTS),
    _Rule(r".*Error (?:re)?initializing filters", "the filters cannot be set up{cause_words}",
          is_final=False),
    _Rule(r".*Could not open encoder before EOF",
          "a track of it is announced, but holds nothing that can be converted", Cause.DAMAGED),
)  # fmt: skip
_FULL = re.compile(rf"^{CONTEXT}\S.*(?:No space left on device|Disk quota exceeded)$", re.MULTILINE)
_OVERSIZE = re.compile(
    rf"^{CONTEXT}Picture size (\d+x\d+) exceeds specified max pixel count (\d+)", re.MULTILINE
)
# What follows from a failure, and says nothing of it.
_ECHO = re.compile(
    r"Could not write header|Error initializing output stream|Error applying options to the filter"
    r"|Error (?:re)?initializing (?:the )?filters|Error configuring (?:a |the )?filter"
    r"|Error parsing (?:a )?filter|Link '.*:$"
    r"|Task finished with error|Error while (?:filtering|opening encoder)|Conversion failed"
    r"|Could not open encoder|Nothing was written into output"
)
_ASIDE = re.compile(
    r"Last message repeated|^frame=|Statistics:|^(?:Out|In)put #|^  Stream #|^Stream mapping"
    r"|Possible (?:presets|tunes|profiles)|left in the queue|\]  "
    r"|Adding streams from explicit maps|Reinit context|auto-inserting filter|parser not found"
    r"|Terminating thread|thread received|Could not find codec parameters|Finishing stream"
)
_COMPLAINT = re.compile(r"rror|ail|[Nn]ot?\b|nvalid|annot|Could|nsupported|Unable|Impossible|only")
# Decoders and encoders say these of what goes on all the same.
_HARMLESS = re.compile(
    r"error while decoding MB|concealing|[Ii]nvalid NAL|non-existing [PS]PS|x26[45] \[(?:warn|info)"
    r"|(?:numa|set_mempolicy|mbind)|deprecated pixel format|Application provided invalid"
)
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+(?=\])")  # means nothing to a person, and differs each time


def classify(ended: ChildExit, facts: EncodeFacts) -> Outcome | None:
    """Return what an ffmpeg's end means for its job; None where its output may be judged.

    Where the end alone does not tell whether the machine is to blame, the machine is asked, so
    that no job pays for a full disk, or for an ffmpeg whose libraries are gone. Raises
    EnvironmentTrouble then.
    """
    if ended.cause is ExitCause.UNSTARTED:
        raise EnvironmentTrouble(ended.detail)
    outcome = outcome_of(ended, facts)
    if ended.cause is not ExitCause.EXITED or (
        isinstance(outcome, Rejected) and outcome.cause in (Cause.OUTPUT_TOO_LARGE, Cause.TOO_LARGE)
    ):
        return outcome
    if is_disk_full(facts.tail):
        # A file can have ffmpeg say so, and would hold up all others for ever. It is believed a
        # few times although there is room: there may have been none a moment ago.
        if facts.run - facts.attempt < BELIEVED:
            raise EnvironmentTrouble(f"no space left in the outbox {facts.outbox}")
        try:  # a quota, too, is only known by trying
            with tempfile.TemporaryFile(dir=facts.work) as room:
                os.posix_fallocate(room.fileno(), 0, ROOM_BYTES)
        except OSError as error:
            raise EnvironmentTrouble(f"no space left in the outbox {facts.outbox}") from error
    if outcome and not facts.had_progress:
        try:
            version_of(facts.program)
        except ConfigError as error:
            raise EnvironmentTrouble(str(error)) from error
    return outcome


def outcome_of(ended: ChildExit, facts: EncodeFacts) -> Outcome | None:
    """Return the outcome of a child's end that is not the machine's fault. Pure."""
    match ended.cause:
        case ExitCause.STOPPED:
            return Interrupted()
        case ExitCause.OVERTIME:
            reason = f"it takes too long: {ended.detail}; see time_limit"
            return Rejected(reason, cause=Cause.TIMEOUT)
        case ExitCause.MEMORY:
            reason = f"it needs too much memory: {ended.detail}; see memory_limit"
            return (Rejected if facts.has_all_memory else Broke)(reason, cause=Cause.MEMORY)
        case ExitCause.STALLED:
            return Broke(ended.detail, cause=Cause.STALL)
        case ExitCause.UNSTARTED:
            return Broke(ended.detail)
    # ffmpeg may exit with 0 although a limit was reached; its last write may be a part
    if facts.max_output and (facts.output_bytes or 0) >= facts.max_output:
        reason = f"its output is too large: max_output allows {facts.max_output} bytes"
        return Rejected(reason, cause=Cause.OUTPUT_TOO_LARGE)
    if found := _OVERSIZE.search(facts.tail):
        reason = f"a frame of it is too large: {found[1]} pixels; max_pixels allows {found[2]}"
        return Rejected(reason, cause=Cause.TOO_LARGE)
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
        name = f"signal {-status}"
        with suppress(ValueError):
            name = signal.Signals(-status).name
        hint = " (was the memory used up?)" if -status == signal.SIGKILL else ""
        return Broke(f"ffmpeg was killed by {name}{hint}", cause=Cause.KILLED)
    surrendered = re.search("^Decod", tail, re.MULTILINE)
    for rule in _RULES:
        if rule.needs_surrender and not surrendered:
            continue
        if found := re.search(f"^{CONTEXT}(?:{rule.pattern})", tail, re.MULTILINE):
            words = (
                f": {told}" if "{cause_words}" in rule.reason and (told := _telling(tail)) else ""
            )
            reason = rule.reason.format(*found.groups(), cause_words=words)[:SENTENCE_CHARACTERS]
            return (Rejected if rule.is_final else Broke)(reason, cause=rule.cause)
    end = "and its status is lost" if status is None else f"with status {status}"
    words = f": {told[:SENTENCE_CHARACTERS]}" if (told := _telling(tail)) else ""
    return Broke(f"ffmpeg ended {end}{words}")


def _telling(tail: str) -> str:
    """Return the line of ffmpeg's that says why it failed: what it gave up over comes just before.

    Where no such line is known, the first that speaks of an error; else the last.
    """
    lines = [_ADDRESS.sub("", line).strip() for line in tail.splitlines()]
    for at, line in enumerate(lines):
        if _ECHO.search(line) and (before := list(filter(_says_much, lines[:at]))):
            complaints = [line for line in before[-5:] if _COMPLAINT.search(line)]
            return (complaints or before)[-1]
    telling = [line for line in lines if "rror" in line or "ailed" in line]
    own = [line for line in telling if not _ECHO.search(line) and not _HARMLESS.search(line)]
    return next(iter(own or telling or lines[-1:]), "")


def _says_much(line: str) -> bool:
    """Return whether a line may be what an ffmpeg gave up over."""
    asides = _ECHO, _ASIDE, _HARMLESS
    return bool(line) and not any(aside.search(line) for aside in asides)


def unread(failed: Stopped | ProbeFailed) -> Rejected | Broke | Interrupted:
    """Return what it means for a job that a file of it was not read.

    Raises EnvironmentTrouble where there is nobody to read it.
    """
    if isinstance(failed, Stopped):
        return Interrupted()
    if isinstance(failed, NoWorker):
        raise EnvironmentTrouble(failed.reason) from failed
    return (Rejected if failed.hopeless else Broke)(failed.reason, cause=failed.cause)


def is_disk_full(tail: str) -> bool:
    """Return whether ffmpeg says that the disk is full; 5.1 may exit with 0 even then."""
    return _FULL.search(tail) is not None


def output_bytes(path: str) -> int:
    """Return the size of an output; 0 for none, or for a link, which ffmpeg does not make."""
    try:
        stat = os.lstat(path)
    except FileNotFoundError:
        return 0
    return stat.st_size if S_ISREG(stat.st_mode) and stat.st_nlink == 1 else 0


def compose_report(job: Job, argv: Sequence[str], ended: ChildExit | None, tail: str) -> str:
    """Return the text about one attempt, with its command as a shell takes it. Pure.

    It is safe to show: control characters are escaped, and nothing of the environment is in it.
    Where it is too long, the beginning and the end of ffmpeg's own words stay.
    """
    lines = [f"command: {printable(shlex.join(argv))}"] if argv else []
    if ended:
        lines.append(f"end: {ended.detail}, after {ended.seconds:.1f} s")
        if ended.status is not None:
            lines.append(f"exit status: {ended.status}")
        if ended.signal is not None:
            lines.append(f"signal: {ended.signal}")
    queued, started = (
        "-" if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
        for moment in (job.queued_at, job.started_at)
    )
    lines += [
        f"attempts: {job.attempt}",
        f"queued: {queued}",
        f"started: {started}",
        f"source: {printable(job.source)} ({job.size} bytes)",
        f"profile: {printable(job.profile)}",
    ]
    if tail:
        lines += ["", "ffmpeg's last words:", *map(printable, tail.splitlines())]
    text = "\n".join(lines) + "\n"
    written = text.encode()
    if len(written) <= LIMIT_BYTES:
        return text
    gap = "\n…\n".encode()
    end = written[HEAD_BYTES + len(gap) - LIMIT_BYTES :]
    return (written[:HEAD_BYTES] + gap + end).decode(errors="ignore")

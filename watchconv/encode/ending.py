"""What the end of an ffmpeg means for its job: judged as such, or the machine's fault.

Guarantees: an ffmpeg that ends badly without a single sign of life, and cannot even say its version
(its libraries are gone, its file is damaged), costs no job an attempt. A full disk costs none
either, but a file that only makes ffmpeg speak of one cannot hold up the others for ever.
Does not look into the output: ``verify`` does.
Errors: ``EnvironmentTrouble`` when the machine is to blame: disk full, ffmpeg gone or broken.
"""

from __future__ import annotations

import os
from stat import S_ISREG
from typing import TYPE_CHECKING

from watchconv.encode.classify import failure_reason, is_disk_full, is_hopeless, oversize
from watchconv.encode.program import version_of
from watchconv.errors import ConfigError, EnvironmentTrouble
from watchconv.model import Broke, Interrupted, Outcome, Rejected
from watchconv.process.child import ExitCause

if TYPE_CHECKING:
    from watchconv.encode.attempt import Attempt
    from watchconv.process.child import ChildExit

BELIEVED = 2  # how often for one job
ROOM_BYTES = 16 << 20


def outcome_of(attempt: Attempt, ended: ChildExit) -> Outcome | None:
    """Say what a child's end means; None when it ended well and the output may be judged."""
    match ended.cause:
        case ExitCause.STOPPED:
            return Interrupted(report=attempt.report())
        case ExitCause.OVERTIME:
            return Rejected(f"it takes too long: {ended.detail}; see time_limit", attempt.report())
        case ExitCause.STALLED:
            return Broke(ended.detail, attempt.report())
        case ExitCause.UNSTARTED:
            raise EnvironmentTrouble(ended.detail)
    size = _size(attempt.output)
    most = attempt.config.max_output
    if most and size >= most:  # the last write may have been a part
        reason = f"its output is too large: max_output allows {most} bytes"
        return Rejected(reason, attempt.report())
    if excess := oversize(attempt.stderr.tail):
        return Rejected(excess, attempt.report())
    if is_disk_full(attempt.stderr.tail) and not _is_doubtful(attempt):
        raise EnvironmentTrouble(f"no space left in the outbox {attempt.config.outbox}")
    if ended.status == 0 and size > 0:
        return None
    if attempt.beat is None:
        _blame_program(attempt.argv[0])
    if ended.status == 0:
        return Broke("ffmpeg ended well but made no output", attempt.report())
    status = ended.status if ended.status is not None else -(ended.signal or 0)
    tail = attempt.stderr.tail
    kind = Rejected if is_hopeless(tail) else Broke
    return kind(failure_reason(status, tail), attempt.report())


def _size(output: str) -> int:
    """Give the size of an output; a link to another file is none of ffmpeg's making."""
    try:
        stat = os.lstat(output)
    except FileNotFoundError:
        return 0
    return stat.st_size if S_ISREG(stat.st_mode) and stat.st_nlink == 1 else 0


def _is_doubtful(attempt: Attempt) -> bool:
    """Tell whether it is the file that has ffmpeg say that the disk is full.

    It is believed a few times although there is room: there may have been none a moment ago.
    """
    refunds = attempt.job.run - attempt.job.attempt
    return refunds >= BELIEVED and _has_room(attempt.work)


def _has_room(folder: str) -> bool:
    """Try to allocate: a quota, too, is only known by trying."""
    path = os.path.join(folder, "room")
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, ROOM_BYTES)
        finally:
            os.close(descriptor)
            os.unlink(path)
    except OSError:
        return False
    return True


def _blame_program(path: str) -> None:
    """Raise EnvironmentTrouble when an ffmpeg does not run at all, whatever it is to do."""
    try:
        version_of(path)
    except ConfigError as error:
        raise EnvironmentTrouble(str(error)) from error

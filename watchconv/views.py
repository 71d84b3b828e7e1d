"""How the status and jobs are shown: as JSON, whose fields are only ever added, and in words."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from watchconv.model import JobState, OutputRole
from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from watchconv.model import Job, Savings


@dataclass(slots=True)
class RunningJob:
    """A job that runs or is delivered, and how far it is."""

    id: int
    source: str
    profile: str
    progress: float | None = None  # 0..1
    speed: float | None = None
    fps: float | None = None
    eta_seconds: float | None = None
    out_seconds: float | None = None


@dataclass(slots=True)
class WaitingFile:
    """A file of the inbox that is no job yet."""

    source: str
    cause: str  # for machines
    reason: str  # for people
    since: float  # wall clock; when it began to wait for this


@dataclass(slots=True)
class Status:
    """What the daemon says of itself."""

    pid: int
    started: int  # when the process was started, see ``status_file.start_of``
    state: str  # running, paused, trouble
    waiting: int = 0
    ignored: int = 0
    running: list[RunningJob] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    waiting_files: list[WaitingFile] = field(default_factory=list)  # the longest, 100 at most


@dataclass(frozen=True, slots=True)
class Present:
    """What the daemon says of itself and what the journal knows, put together."""

    status: Status | None  # None: no daemon runs
    counts: Mapping[JobState, int]
    jobs: Iterable[Job]  # that run or are delivered
    savings: Savings
    is_paused: bool
    warned: int = 0  # done jobs with warnings
    last_warned: Sequence[Job] = ()  # a few of these, the newest first

    @property
    def state(self) -> str:
        """Whether it is running, paused, in trouble or stopped; of a pause the journal knows."""
        if self.status is None:
            return "stopped"
        if self.status.state == "trouble":
            return "trouble"
        return "paused" if self.is_paused else "running"

    @property
    def running(self) -> list[RunningJob]:
        """The running jobs in order: the journal says which, the daemon how far they are.

        What the daemon wrote of itself may be a second old.
        """
        known = {row.id: row for row in (self.status.running if self.status else [])}
        return [
            known.get(job.id) or RunningJob(job.id, job.source, job.profile)
            for job in sorted(self.jobs, key=lambda job: job.id)
        ]


def status_json(present: Present) -> dict[str, Any]:
    """Return what ``status --json`` prints."""
    status, counts = present.status, present.counts
    waiting = [waiting_json(file) for file in (status.waiting_files if status else [])]
    running = [asdict(row) for row in present.running]
    for row in running:
        del row["out_seconds"]  # it is for describing the job to people
    return {
        "state": present.state,
        "pid": status.pid if status else None,
        "counts": {
            "waiting": status.waiting if status else 0,
            "queued": counts[JobState.QUEUED],
            "running": counts[JobState.RUNNING] + counts[JobState.DELIVERING],
            "done": counts[JobState.DONE],
            "failed": counts[JobState.FAILED],
            "ignored": status.ignored if status else 0,
        },
        "running": running,
        "waiting": waiting,
        "waiting_files": [
            {"source": row["source"], "why": row["reason"], "since": row["since"]}
            for row in waiting
        ],
        "trouble": status.trouble if status else [],
        "saved_bytes": present.savings.saved_bytes,
        "warned": present.warned,
        "warned_jobs": [
            {
                "id": job.id,
                "source": job.source,
                "profile": job.profile,
                "warnings": [warning._asdict() for warning in job.warnings],
            }
            for job in present.last_warned
        ],
    }


def waiting_json(file: WaitingFile) -> dict[str, Any]:
    """Return one file of ``waiting`` in ``status --json``."""
    seconds = round(max(0.0, time.time() - file.since), 1)
    return asdict(file) | {"since": moment(file.since), "seconds": seconds}


def job_json(job: Job) -> dict[str, Any]:
    """Return one job of ``jobs --json``."""
    sizes = [made.size for made in job.outputs if made.role is not OutputRole.RECEIPT]
    return {
        "id": job.id,
        "source": job.source,
        "profile": job.profile,
        "state": job.state,
        "attempt": job.attempt,
        "output": job.output,
        "reason": job.reason,
        "queued_at": moment(job.queued_at),
        "started_at": moment(job.started_at),
        "ended_at": moment(job.ended_at),
        "cause": job.cause,
        "warnings": [warning._asdict() for warning in job.warnings],
        "size": job.size,
        "output_size": sum(sizes) if sizes and all(sizes) else None,  # of old jobs it is not known
        "outputs": [made.name for made in job.outputs],
        "priority": job.priority,
        "media_seconds": job.media_seconds,
        "encode_seconds": job.encode_seconds,
    }


def moment(seconds: float | None) -> str | None:
    """Return a wall clock time as ISO 8601 UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def job_line(job: Job) -> str:
    """Return one line of ``jobs``."""
    when = (moment(job.ended_at or job.started_at or job.queued_at) or "")[:19].replace("T", " ")
    outputs = f" → {', '.join(str(made.name) for made in job.outputs)}" if job.outputs else ""
    why = f": {job.reason}" if job.reason else ""
    count = len(job.warnings)
    warned = f"; {count} warning{'s' if count > 1 else ''}" if count else ""
    state = f"{job.state}!" if count else job.state
    head = f"{job.id:>6} {when} UTC {state:<10} [{job.profile}]"
    return printable(f"{head} {job.source}{outputs}{why}{warned}")


def warned_line(job: Job) -> str:
    """Return one line of ``status`` about a done job with warnings."""
    more = f" (and {len(job.warnings) - 1} more)" if len(job.warnings) > 1 else ""
    return printable(f"job {job.id} [{job.profile}] {job.source}: {job.warnings[0].text}{more}")


def describe_progress(row: RunningJob) -> str:
    """Return how far a job is: percent, speed and time left; where that is all, the time done."""
    parts = []
    if row.progress is not None:
        parts.append(f"{row.progress:.0%}")
    elif row.out_seconds is not None:
        parts.append(f"{show_clock(row.out_seconds)} done")
    if row.speed is not None:
        parts.append(f"{row.speed:.2f}x")
    if row.eta_seconds is not None:
        parts.append(f"{show_clock(row.eta_seconds)} left")
    return ", ".join(parts) or "starting"


def show_clock(seconds: float) -> str:
    """Return a duration as 0:07 or 1:02:03."""
    minutes, left = divmod(round(seconds), 60)
    hours, rest = divmod(minutes, 60)
    return f"{hours}:{rest:02}:{left:02}" if hours else f"{rest}:{left:02}"


def show_size(size: int) -> str:
    """Return a number of bytes in its largest unit: 512 B, 1.5 GiB, -3.0 MiB."""
    value, unit = _in_largest_unit(size)
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"


def show_bytes(count: float) -> str:
    """Return a size as it would be configured: 1 GiB, 6.29 MiB, 100 bytes."""
    value, unit = _in_largest_unit(count)
    return f"{value:.4g} {'bytes' if unit == 'B' else unit}"


def _in_largest_unit(count: float) -> tuple[float, str]:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return count, unit
        count /= 1024
    return count, "TiB"

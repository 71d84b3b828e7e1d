"""The JSON of status and of jobs: what ``--json`` prints, live.json holds and the web page reads.

Pure. Fields are only ever added.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from watchconv.model import JobState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
class Status:
    """What the daemon says of itself."""

    pid: int
    started: int  # when the process was started, see ``status_file.start_of``
    state: str  # running, paused, trouble
    waiting: int = 0
    ignored: int = 0
    running: list[RunningJob] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Present:
    """What the daemon says of itself and what the journal knows, put together."""

    status: Status | None  # None: no daemon runs
    counts: Mapping[JobState, int]
    jobs: Iterable[Job]  # that run or are delivered
    savings: Savings
    is_paused: bool

    @property
    def state(self) -> str:
        """Return running, paused, trouble or stopped; whether it is paused the journal knows."""
        if self.status is None:
            return "stopped"
        if self.status.state == "trouble":
            return "trouble"
        return "paused" if self.is_paused else "running"

    @property
    def running(self) -> list[RunningJob]:
        """Return the running jobs in order: the journal says which, the daemon how far they are.

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
        "running": [_running_json(row) for row in present.running],
        "trouble": status.trouble if status else [],
        "saved_bytes": present.savings.saved_bytes,
    }


def _running_json(row: RunningJob) -> dict[str, Any]:
    """Return a running job's fields but ``out_seconds``, which is for describing it to people."""
    return {name: value for name, value in asdict(row).items() if name != "out_seconds"}


def status_to_json(status: Status) -> dict[str, Any]:
    """Return what live.json holds."""
    return asdict(status)


def status_from_json(values: dict[str, Any]) -> Status:
    """Return what live.json holds as a value. Raises TypeError or KeyError where it is damaged."""
    return Status(**(values | {"running": [RunningJob(**row) for row in values["running"]]}))


def job_json(job: Job) -> dict[str, Any]:
    """Return one job of ``jobs --json``."""
    sizes = [made.size for made in job.outputs]
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
        "warnings": [{"cause": warning.cause, "text": warning.text} for warning in job.warnings],
        "size": job.size,
        "output_size": sum(sizes) if sizes and all(sizes) else None,  # of old jobs it is not known
        "outputs": [made.name for made in job.outputs],
        "priority": job.priority,
        "media_seconds": job.media_seconds,
        "encode_seconds": job.encode_seconds,
    }


def savings_json(savings: Savings) -> dict[str, int]:
    """Return what ``jobs --saved --json`` prints."""
    return savings._asdict() | {"saved_bytes": savings.saved_bytes}


def moment(seconds: float | None) -> str | None:
    """Return a wall clock time as ISO 8601 UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")

"""The receipt of a job: what went in, what was decided, what came out, and what was proven. Pure.

An attempt leaves what only it knows, as JSON, in the journal; the receipt of its job is that and
what the journal knows besides. An attempt's has at most ``MOST_BYTES``: where a file holds more,
lists are cut, and their key with ``_left_out`` says by how much.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from watchconv import __version__
from watchconv.encode.kept import Broken, broken_of_file
from watchconv.encode.promises import pairs_of, wanted_of
from watchconv.media.facts import Track
from watchconv.model import OutputRole
from watchconv.views import moment

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from watchconv.encode.decision import Decision
    from watchconv.encode.plan import EncodePlan
    from watchconv.media.facts import Facts
    from watchconv.model import Attempt, AttemptEnd, Job

FORMAT = 1  # raised when a key changes its meaning; keys are only ever added
MOST_BYTES = 64 << 10
LONGEST_LISTS = (100, 30, 8, 1)  # each is tried in turn until it is short enough
LONGEST_TEXTS = 500


def of_attempt(
    media: Facts, plan: EncodePlan, program: tuple[str, str], found: Mapping[str, Any]
) -> str:
    """Return what an attempt knows, as JSON. program is ffmpeg's path and version.

    found is what the proof tells: ``facts_out``, ``promises``, ``look``.
    """
    whole = {
        "ffmpeg": {"path": program[0], "version": program[1]},
        "argv": list(plan.argv),
        "facts_in": facts_json(media),
        "decisions": [_decision_json(decision) for decision in plan.decisions],
        **found,
    }
    for longest in LONGEST_LISTS:
        text = json.dumps(_shortened(whole, longest))
        if len(text) <= MOST_BYTES:
            return text
    return json.dumps({"ffmpeg": whole["ffmpeg"], "is_too_long": True})


def facts_json(facts: Facts) -> dict[str, Any]:
    """Return what is known of a file; of its tracks, what is not as it usually is."""
    return {
        "container": facts.demuxer,
        "seconds": facts.duration_seconds,
        "tracks": [_track_json(track) for track in facts.tracks],
        "chapters": [{"start": c.start, "end": c.end, "title": c.title} for c in facts.chapters],
        "tags": dict(facts.tags),
    }


def _track_json(track: Track) -> dict[str, Any]:
    """Return the fields that have another value than by default."""
    told = {}
    for field in fields(track):
        value = getattr(track, field.name)
        if field.default is MISSING or value != field.default:
            told[field.name] = value
    return told


def promises_json(
    decisions: Sequence[Decision], original: Facts, output: Facts, keeps: Collection[str]
) -> list[dict[str, Any]]:
    """Return what was promised of an output whose original is not as most are, and what is so."""
    told = []
    for pair in pairs_of(decisions, original, output):
        if isinstance(pair, Broken):
            told.append({"what": pair.text, "wanted": "there", "found": "missing"})
            continue
        for field in fields(Track):
            wanted = wanted_of(pair, field.name)
            is_usual = wanted == field.default and field.name not in pair.decision.changes
            if field.name in _UNPROMISED or wanted is None or is_usual:
                continue
            if field.name in ("width", "height") and pair.before.rotation and not pair.is_copied:
                continue  # they change their places as it is turned
            found = getattr(pair.after, field.name)
            told.append({"what": f"{pair.name}: {field.name}", "wanted": wanted, "found": found})
    for name in sorted(keeps):
        lost = broken_of_file(original, output, [name])
        found = "; ".join(fault.text for fault in lost) or "kept"
        told.append({"what": name, "wanted": "kept", "found": found})
    return told


# of a track, what depends on how it is stored
_UNPROMISED = frozenset(
    {"index", "kind", "samples", "program", "start_seconds", "bit_rate", "discarded"}
    | {"pixel_format", "frame_rate", "largest", "decodable"}
)


def _decision_json(decision: Decision) -> dict[str, Any]:
    changes = {name: value for name, value in decision.changes.items() if value is not None}
    row = {"track": decision.track, "kind": decision.kind, "action": decision.action}
    return {**row, "why": decision.why, "ordinal": decision.ordinal, "changes": changes}


def _shortened(value: Any, longest: int) -> Any:
    """Return a value of JSON with its lists, texts and mappings cut."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXTS else value[:LONGEST_TEXTS] + "…"
    if isinstance(value, list | tuple):
        return [_shortened(item, longest) for item in value[:longest]]
    if not isinstance(value, dict):
        return value
    cut: dict[str, Any] = {}
    for name, item in list(value.items())[: max(longest, 40)]:
        cut[name] = _shortened(item, longest)
        if isinstance(item, list | tuple) and len(item) > longest:
            cut[f"{name}_left_out"] = len(item) - longest
    return cut


def of_job(
    job: Job, attempts: Sequence[Attempt], receipt: str | None, *, ends: AttemptEnd | None = None
) -> dict[str, Any]:
    """Return the receipt of a job, from that of its last attempt.

    ends is how that one ended, where the journal does not say it yet.
    """
    known = json.loads(receipt) if receipt else {}
    argv = known.pop("argv", None)
    made = [output for output in job.outputs if output.role is not OutputRole.RECEIPT]
    # of the outputs of old jobs the size is not known
    size = sum(output.size for output in made) if made and all(o.size for o in made) else None
    rows = [_attempt_json(attempt) for attempt in attempts]
    if rows and ends:
        rows[-1] |= {"ended": ends.outcome, "cause": ends.cause, "seconds": ends.seconds}
        rows[-1] |= {"cpu_seconds": ends.cpu_seconds, "peak_memory_bytes": ends.peak_memory_bytes}
    if rows and argv:
        rows[-1]["argv"] = argv
    source = {"path": job.source, "size": job.size, "mtime": moment(job.mtime_ns / 1e9)}
    return {
        "version": FORMAT,
        "watchconv": __version__,
        "job": job.id,
        "profile": job.profile,
        "state": job.state,
        "source": source,
        "ffmpeg": known.pop("ffmpeg", None),
        "attempts": rows,
        "facts_in": known.pop("facts_in", None),
        "decisions": known.pop("decisions", []),
        "facts_out": known.pop("facts_out", None),
        "promises": known.pop("promises", []),
        "look": known.pop("look", None),
        **known,
        "warnings": [warning._asdict() for warning in job.warnings],
        "size": {"in": job.size, "out": size, "saved": None if size is None else job.size - size},
        "seconds": {"media": job.media_seconds, "encode": job.encode_seconds},
        "cause": job.cause,
        "reason": job.reason,
        "delivered": {
            "outputs": [
                {"name": output.name, "size": output.size or None, "role": output.role}
                for output in job.outputs
            ],
            "original": job.original,
            "on_success": job.on_success,
            "at": moment(job.ended_at),
        },
    }


def _attempt_json(attempt: Attempt) -> dict[str, Any]:
    return {
        "run": attempt.run,
        "began": moment(attempt.began),
        "ended": attempt.outcome,
        "cause": attempt.cause,
        "seconds": attempt.seconds,
        "cpu_seconds": attempt.cpu_seconds,
        "peak_memory_bytes": attempt.peak_memory_bytes,
    }

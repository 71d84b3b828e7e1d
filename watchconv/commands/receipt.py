"""``receipt``: what was done with a file, and what was proven. Works when the daemon is down."""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from watchconv.commands.jobs import open_journal
from watchconv.names import printable
from watchconv.views import show_size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from watchconv.config import Config


def receipt(config: Config, arguments: argparse.Namespace) -> int:
    """Print the receipt of a job; return 1 for a job that is not known."""
    from watchconv.encode.receipt import of_job

    journal = open_journal(config)
    job = None
    if journal:
        with closing(journal):
            if abs(arguments.job) < 1 << 63:  # more than a journal can number, or be asked about
                job = journal.get(arguments.job)
            if job:
                told = of_job(job, journal.attempts(job.id), journal.receipt(job.id))
    if job is None:
        print(f"watchconv: there is no job {arguments.job}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(told, indent=2))
    else:
        for line in _lines(told):
            print(printable(line))
    return 0


def _lines(told: dict[str, Any]) -> Iterator[str]:
    """Yield a receipt for people."""
    source, size, delivered = told["source"], told["size"], told["delivered"]
    why = f": {told['reason']}" if told["reason"] else ""
    yield f"job {told['job']} [{told['profile']}] {source['path']}: {told['state']}{why}"
    yield f"original: {show_size(source['size'])}, changed {source['mtime']}"
    if delivered["original"]:
        yield f"  is now {delivered['original']} in {'done' if why == '' else 'error'}/"
    for output in delivered["outputs"]:
        shown = f", {show_size(output['size'])}" if output["size"] else ""
        yield f"output: {output['name']}{shown}"
    if size["saved"] is not None and size["in"]:
        yield f"saved: {show_size(size['saved'])} ({size['saved'] / size['in']:.0%})"
    if told["ffmpeg"]:
        yield f"ffmpeg: {told['ffmpeg']['path']} ({told['ffmpeg']['version']})"
    for attempt in told["attempts"]:
        cause = f" ({attempt['cause']})" if attempt["cause"] else ""
        cost = f"{attempt['seconds']:.1f} s"
        if attempt["cpu_seconds"] is not None:
            cost += f", {attempt['cpu_seconds']:.1f} s of processor time"
        yield f"attempt {attempt['run']}: {attempt['ended'] or 'under way'}{cause}, {cost}"
        if attempt.get("argv"):
            yield f"  {shlex.join(attempt['argv'])}"
    yield from _proof_lines(told)
    for warning in told["warnings"]:
        yield f"warning ({warning['cause']}): {warning['text']}"


def _proof_lines(told: dict[str, Any]) -> Iterator[str]:
    """Yield what was found of the original, decided, found of the output, and proven."""
    for name, facts in (("in", told["facts_in"]), ("out", told["facts_out"])):
        if facts:
            yield from _facts_lines(name, facts)
    for one in told["decisions"]:
        yield f"decided: {one['kind']} {one['track']}: {one['action']}: {one['why']}"
    for one in told["promises"]:
        wanted, found = _shown(one["wanted"]), _shown(one["found"])
        yield f"promised: {one['what']}: wanted {wanted}, found {found}"
    if told["look"]:
        yield f"look: {_shown(told['look'])}"


def _facts_lines(name: str, facts: dict[str, Any]) -> Iterator[str]:
    length = facts["seconds"]
    shown = "length unknown" if length is None else f"{length:.2f} s"
    chapters, tags = len(facts["chapters"]), ", ".join(facts["tags"])
    more = f", {chapters} chapters" if chapters else ""
    yield f"{name}: {facts['container']}, {shown}{more}{f', tags {tags}' if tags else ''}"
    for track in facts["tracks"]:
        rest = {n: v for n, v in track.items() if n not in ("index", "kind", "codec", "samples")}
        yield f"  {track['kind']} {track['index']}: {track['codec']} {_shown(rest)}"


def _shown(value: object) -> str:
    """Return a value of JSON in words: a mapping as its keys and values, a list as its items."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(_shown(item) for item in value) or "none"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "yes", False: "no"}[value]
    return str(value)

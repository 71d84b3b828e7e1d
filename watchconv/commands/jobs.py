"""``jobs``: the history. Works when the daemon is down; changes nothing.

A history of any length is printed in little memory, and a slow reader holds up no daemon.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from watchconv.host.folders import find_state
from watchconv.journal.database import FILE_NAME
from watchconv.journal.jobs import Journal
from watchconv.model import JobState, Savings
from watchconv.names import printable
from watchconv.views import job_json, job_line, show_size

if TYPE_CHECKING:
    import argparse

    from watchconv.config import Config


def open_journal(config: Config) -> Journal | None:
    """Open the journal of a daemon that has run here; None when none has."""
    if not find_state(config.state) or not os.path.exists(os.path.join(config.state, FILE_NAME)):
        return None
    return Journal(config.state, create=False)


def jobs(config: Config, arguments: argparse.Namespace) -> int:
    """Print the history, newest first, or with ``--saved`` what it came to."""
    state = None
    if arguments.state is not None:
        if arguments.state not in set(JobState):
            known = f"the states are {', '.join(JobState)}"
            print(f"watchconv: there is no state {arguments.state}; {known}", file=sys.stderr)
            return 2
        state = JobState(arguments.state)
    journal = open_journal(config)
    if arguments.saved:
        _print_savings(journal, as_json=arguments.json)
    elif journal is None:
        print("[]" if arguments.json else "no jobs yet")
    else:
        with closing(journal), closing(journal.jobs(state)) as rows:
            if not arguments.json:
                for job in rows:
                    print(job_line(job))
                return 0
            print("[", end="")
            for number, job in enumerate(rows):
                print(("," if number else "") + "\n" + json.dumps(job_json(job)), end="")
            print("]")
    return 0


def _print_savings(journal: Journal | None, *, as_json: bool) -> None:
    savings, by_profile = Savings(0, 0, 0), {}
    if journal:
        with closing(journal):
            savings, by_profile = journal.savings(), journal.savings_by_profile()
    if as_json:
        rows = {name: _savings_json(one) for name, one in by_profile.items()}
        print(json.dumps(_savings_json(savings) | {"profiles": rows}))
        return
    for name, size, more in (
        ("in", savings.input_bytes, f", of {savings.jobs} done jobs"),
        ("out", savings.output_bytes, ""),
        ("saved", savings.saved_bytes, _share(savings)),
    ):
        print(f"{name:<6} {size} bytes, {show_size(size)}{more}")
    for profile, one in by_profile.items():
        sizes = f"{show_size(one.input_bytes)} in, {show_size(one.output_bytes)} out"
        saved = f"{show_size(one.saved_bytes)} saved{_share(one)}"
        print(printable(f"  [{profile}] {one.jobs} jobs: {sizes}, {saved}"))


def _savings_json(savings: Savings) -> dict[str, int]:
    return savings._asdict() | {"saved_bytes": savings.saved_bytes}


def _share(savings: Savings) -> str:
    return f" ({savings.saved_bytes / savings.input_bytes:.0%})" if savings.input_bytes else ""

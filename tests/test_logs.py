"""The log: one line a record, whatever a name holds; for people, for systemd, for collectors."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_policy import JOB
from watchconv.logs.format import JsonFormat, TextFormat
from watchconv.model import Cause, JobState

TEXT = st.text(st.characters(), max_size=60)


def record(message: str, *values: object, level: int = logging.INFO) -> logging.LogRecord:
    made = logging.LogRecord("watchconv.x", level, __file__, 1, message, values, None)
    made.created = 1_700_000_000.25
    return made


def broken(message: str) -> logging.LogRecord:
    """A record with a traceback whose message spans lines and moves the cursor."""
    try:
        raise ValueError("two\nlines\x1b[2J")
    except ValueError:
        made = record(message, level=logging.ERROR)
        made.exc_info = sys.exc_info()
        return made


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (logging.DEBUG, "<7>job=1 a.mov"),
        (logging.INFO, "<6>job=1 a.mov"),
        (logging.WARNING, "<4>warning: job=1 a.mov"),
        (logging.ERROR, "<3>error: job=1 a.mov"),
    ],
)
def test_under_the_journal_a_line_has_its_priority_and_no_time(level: int, expected: str) -> None:
    line = TextFormat("priority").format(record("job=%d %s", 1, "a.mov", level=level))

    assert expected == line


def test_for_people_a_line_begins_with_the_local_time() -> None:
    line = TextFormat("time").format(record("job=%d queued", 1))

    assert re.fullmatch(r"2023-11-1[345] \d\d:\d\d:20\.250 job=1 queued", line)


@given(TEXT, st.sampled_from([logging.INFO, logging.WARNING]))
def test_a_record_is_one_line_whatever_a_name_holds(name: str, level: int) -> None:
    made = record("ignored %s: no video", name, level=level)
    for format_ in (TextFormat("priority"), TextFormat("time"), JsonFormat()):
        line = format_.format(made)

        assert len(line.splitlines()) == 1
        assert line.encode("utf-8")
        assert "\x1b" not in line


def test_a_bug_keeps_its_traceback_with_harmless_lines() -> None:
    lines = TextFormat("priority").format(broken("a bug")).splitlines()

    assert lines[0] == "<3>error: a bug"
    assert lines[1].startswith("Traceback")
    assert lines[-1] == r"lines\x1b[2J"


def test_a_json_line_tells_time_level_message_job_profile_and_state() -> None:
    made = record("job=%d profile=%s queued→running %s", 17, "my phone", "caf\udce9\n.mov")
    made.job = replace(JOB, id=17, profile="my phone", cause=Cause.STALL)
    made.state = JobState.RUNNING

    assert json.loads(JsonFormat().format(made)) == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "info",
        "message": "job=17 profile=my phone queued→running caf\udce9\n.mov",
        "job": 17,
        "profile": "my phone",
        "source": "a.mov",
        "state": "running",
        "cause": "stall",
    }


def test_a_json_line_of_no_job_has_none() -> None:
    assert json.loads(JsonFormat().format(record("stopping"))).keys() == {
        "time",
        "level",
        "message",
    }


def test_a_json_line_carries_the_traceback() -> None:
    row = json.loads(JsonFormat().format(broken("a bug")))

    assert row["level"] == "error"
    assert "ValueError: two" in row["traceback"]


@given(TEXT)
def test_a_json_line_gives_the_message_back(name: str) -> None:
    row = json.loads(JsonFormat().format(record("job=%d %s", 3, name)))

    assert row["message"] == f"job=3 {name}"
    assert "job" not in row, "words forge no field"


SET_UP = """
import logging, sys
from watchconv.logs.format import set_up
set_up(sys.argv[1])
set_up(sys.argv[1])
logging.getLogger("watchconv.x").info("seen %s", "\\udce9\\n")
logging.getLogger("watchconv.x").debug("not seen")
logging.getLogger("other").info("not seen")
logging.getLogger("other").warning("told")
logging.getLogger("watchdog.observers").error("not seen")
"""


def said(log_format: str, **environment: str) -> list[str]:
    child = subprocess.run(
        [sys.executable, "-c", SET_UP, log_format],
        cwd=Path(__file__).parents[1],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout == ""
    return child.stderr.splitlines()


def test_set_up_sends_each_line_to_stderr_once() -> None:
    seen, told = said("text")

    assert seen.endswith(r" seen \xe9\n")
    assert told.endswith(" warning: told")


def test_set_up_writes_json_where_it_is_asked_for() -> None:
    messages = [json.loads(line)["message"] for line in said("json", JOURNAL_STREAM="8:1")]

    assert messages == ["seen \udce9\n", "told"]


def test_a_stream_that_went_away_is_left_at_that() -> None:
    code = (
        "import logging, os\n"
        "from watchconv.logs.format import set_up\n"
        "set_up('text')\n"
        "logging.getLogger('watchconv').info('before')\n"
        "input()\n"
        "for n in range(3): logging.getLogger('watchconv').info('after')\n"
        "print('alive')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    ) as child:
        assert child.stdin and child.stdout and child.stderr
        assert child.stderr.readline().endswith(b" before\n")

        child.stderr.close()
        child.stdin.write(b"\n")
        child.stdin.flush()

        assert child.stdout.read() == b"alive\n"


def test_a_sink_of_the_callers_gets_the_lines() -> None:
    """In a process of its own: the root logger is everybody's."""
    code = (
        "import io, logging\n"
        "from watchconv.logs.format import set_up\n"
        "sink = io.StringIO()\n"
        "set_up('text', logging.StreamHandler(sink))\n"
        "logging.getLogger('watchconv').warning('hello')\n"
        "print(sink.getvalue()[24:], end='')\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )

    assert (child.stdout, child.stderr) == ("warning: hello\n", "")

"""The text of an error report: complete for a person, safe for a terminal, never without end."""

from __future__ import annotations

import json
import shlex
import unicodedata
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_policy import JOB
from watchconv.deliver.reports import REPORT_MARK
from watchconv.encode.classify import LIMIT_BYTES, compose_report, failure
from watchconv.process.child import ChildExit, ExitCause


def test_a_report_tells_everything_in_order() -> None:
    job = replace(JOB, source="trip/a b.mov", size=1234, queued_at=0.0, started_at=60.5)
    ended = ChildExit(ExitCause.EXITED, status=1, signal=None, detail="exit status 1", seconds=2.25)

    assert compose_report(
        job, ["ffmpeg", "-i", "a b.mov", "out.webm"], ended, "first\n\x1b[31msecond\n"
    ).splitlines() == [
        "command: ffmpeg -i 'a b.mov' out.webm",
        "end: exit status 1, after 2.2 s",
        "exit status: 1",
        "attempts: 1",
        "queued: 1970-01-01T00:00:00+00:00",
        "started: 1970-01-01T00:01:00+00:00",
        "source: trip/a b.mov (1234 bytes)",
        "profile: webm",
        "",
        "ffmpeg's last words:",
        "first",
        r"\x1b[31msecond",
    ]


def test_what_is_not_known_is_left_out() -> None:
    text = compose_report(replace(JOB, started_at=None), [], None, "")

    assert "started: -" in text
    assert not any(word in text for word in ("command", "end:", "last words", "signal"))


def test_a_signal_is_named() -> None:
    ended = ChildExit(
        ExitCause.EXITED, status=None, signal=9, detail="killed by SIGKILL", seconds=1.0
    )

    assert "signal: 9\n" in compose_report(JOB, [], ended, "")


def test_a_command_can_be_pasted_into_a_shell() -> None:
    argv = ["ffmpeg", "-i", "it's; rm -rf $HOME `x`.mov", "-vf", "scale=2:2"]
    line = next(
        text
        for text in compose_report(JOB, argv, None, "").splitlines()
        if text.startswith("command: ")
    )

    assert argv == shlex.split(line.removeprefix("command: "))


TEXT = st.text(st.characters(), max_size=200)


@given(TEXT, TEXT, TEXT)
def test_a_report_is_safe_to_show(source: str, argument: str, tail: str) -> None:
    text = compose_report(replace(JOB, source=source), ["ffmpeg", argument], None, tail)

    assert text == text.encode("utf-8").decode("utf-8")
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs"} for c in text.replace("\n", ""))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3 * LIMIT_BYTES), st.sampled_from(["x", "\x00", "é", "\n", "🎬"]))
def test_a_report_has_a_limit_and_keeps_the_last_words(length: int, filler: str) -> None:
    text = compose_report(JOB, ["ffmpeg"], None, filler * length + "\nthe very last words")

    assert len(text.encode()) <= LIMIT_BYTES
    assert text.startswith("command: ffmpeg")
    assert text.endswith("the very last words\n")


def test_the_file_of_a_report_stays_within_64_kib_whatever_is_in_it() -> None:
    longest_path = "\udcff" * 4096
    reason = failure(1, "Unknown encoder '" + "\\x1b" * 4096 + "'").reason
    mark = REPORT_MARK + json.dumps([2**63, longest_path])

    assert len(reason.encode()) + len(mark) + 2 + LIMIT_BYTES <= 64 << 10

"""What the end of an ffmpeg means: real last words of 5.1.9 and 9.0.2, and every way to end."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from watchconv.encode import classify as module
from watchconv.encode.classify import (
    EncodeFacts,
    classify,
    failure,
    is_disk_full,
    outcome_of,
    output_bytes,
)
from watchconv.errors import EnvironmentTrouble
from watchconv.model import Broke, Cause, Interrupted, Outcome, Rejected
from watchconv.process.child import ChildExit, ExitCause

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VVC = "  Stream #0:0[0x1](und): Video: none, 1 reference frame (vvc1 / 0x31637676), 320x180"
# status, the last words, what is said of them, whether it is final, and the cause
FAILURES = [
    (1, "[mov,mp4 @ 0x1] moov atom not found\nfile:/a: Invalid data found", "no index", True,
     Cause.TRUNCATED),
    (183, "[in#0 @ 0x5] Error opening input: Invalid data found when", "invalid data", True,
     Cause.UNREADABLE),
    (1, "Unknown encoder 'nosuch'", "no encoder nosuch", True, Cause.UNSUPPORTED),
    (1, f"{VVC}\nDecoder (codec none) not found for input stream", "cannot decode vvc1", True,
     Cause.UNSUPPORTED),
    (1, f"{VVC}\nConversion failed!", "status 1", False, Cause.FFMPEG),
    (1, "Decoder (codec none) not found for input stream #0:0", "no decoder", True,
     Cause.UNSUPPORTED),
    (8, "Unrecognized option 'nosuch'.", "unknown option: -nosuch", True, Cause.ARGUMENTS),
    (1, "Unrecognized option 'nosuch'.\nError splitting", "option: -nosuch", True,
     Cause.ARGUMENTS),
    (1,
     "[NULL @ 0x55bb1246d500] Unable to find a suitable output format for '/o.d/output.xyz'\n"
     "file:/o.d/output.xyz: Invalid argument",
     "no output format for the suffix .xyz", True, Cause.UNSUPPORTED),
    (234, "[AVFormatContext @ 0x5] Unable to choose an output format for '/o/output.a.xyz'; use",
     "no output format for the suffix .xyz", True, Cause.UNSUPPORTED),
    (1, "[NULL @ 0x5] Requested output format 'xyz' is not a suitable output", "format xyz", True,
     Cause.UNSUPPORTED),
    (1, "No such filter: 'shine'", "no filter shine", True, Cause.UNSUPPORTED),
    (1, "[ogg @ 0x55b7e0] Error: no", "ffmpeg ended with status 1: [ogg] Error: no", False,
     Cause.FFMPEG),
    (1, "one\nAt least one output file must be specified", "1: At least one output file", False,
     Cause.FFMPEG),
    (234, "[in#0 @ 0x56] Unknown input format: 'nosuchf'", "of type nosuchf", True,
     Cause.UNSUPPORTED),
    (1, "[matroska,webm @ 0x5] Format not on whitelist 'mov'", "not accepted", True,
     Cause.UNSUPPORTED),
    (234, "[out#0/mp4 @ 0x5] Stream map '0:a' matches no streams.", "-map 0:a", True,
     Cause.ARGUMENTS),
    (1, "[mp4 @ 0x5] Could not find tag for codec vp8 in stream #0", "does not take one", True,
     Cause.UNSUPPORTED),
    (1, "[matroska @ 0x5] Can't write packet with unknown timestamp", "no times to copy", True,
     Cause.UNSUPPORTED),
    (69, "[vist#0:0/vp9 @ 0x1] [dec:vp9 @ 0x2] Decode error rate 1 exceeds maximum 0.6", "most",
     True, Cause.DAMAGED),
    (1, "Cannot determine format of input stream 0:0 after EOF", "nothing of a stream", True,
     Cause.DAMAGED),
    (69,
     "[dec:gif @ 0x2] Error submitting packet to decoder: Cannot allocate memory\n"
     "[dec:gif @ 0x2] Decode error rate 1 exceeds maximum 0.6",
     "out of memory", False, Cause.MEMORY),
    (1, "Error while opening encoder for output stream #0:0", "the encoder takes", False,
     Cause.UNSUPPORTED),
    (1, "file:/in/a: Permission denied", "not allowed", False, Cause.FFMPEG),
    (1, "Error while decoding stream #0:0: Invalid data found when", "status 1", False,
     Cause.FFMPEG),
    (1, "Error closing file file:/o: No space left on device", "disk is full", False,
     Cause.FFMPEG),
    # what a person needs to know stands before what ffmpeg ends with: it is said, and tried once
    (1,
     "[matroska @ 0x5] No wav codec tag found for codec pcm_bluray\n"
     "Could not write header for output file #0 (incorrect codec parameters ?): Invalid argument\n"
     "Error initializing output stream 0:1 -- \nConversion failed!",
     "one of the tracks: [matroska] No wav codec tag found for codec pcm_bluray", True,
     Cause.UNSUPPORTED),
    (234,
     "[matroska @ 0x5] adpcm_swf can only be written to WAVE with a constant frame size\n"
     "[out#0/matroska @ 0x6] Could not write header (incorrect codec parameters ?): Invalid "
     "argument\nConversion failed!",
     "one of the tracks: [matroska] adpcm_swf can only", True, Cause.UNSUPPORTED),
    (1,
     "[matroska @ 0x5] Tag [6][0][0][0] incompatible with output codec id '98314' ([0][0][0][0])\n"
     "Error initializing output stream 0:1 -- ",
     "does not take one of the codecs", True, Cause.UNSUPPORTED),
    (1,
     "[abuffer @ 0x5] Value inf for parameter 'time_base' out of range [0 - 2.14748e+09]\n"
     "Error reinitializing filters!\nConversion failed!",
     "announced, but holds nothing", True, Cause.DAMAGED),
    (234,
     "[aost#0:2/aac @ 0x5] [enc:aac @ 0x6] Could not open encoder before EOF\n"
     "[aost#0:2/aac @ 0x5] Task finished with error code: -22 (Invalid argument)",
     "announced, but holds nothing", True, Cause.DAMAGED),
    (234,
     "[libx265 @ 0x5] Error setting preset/tune nono/(null).\n"
     "[libx265 @ 0x5] Possible presets: ultrafast superfast\n"
     "[vost#0:0/libx265 @ 0x6] [enc:libx265 @ 0x7] Error while opening encoder - maybe incorrect\n"
     "[vost#0:0/libx265 @ 0x6] [enc:libx265 @ 0x7] Could not open encoder before EOF",
     "nor these arguments: [libx265] Error setting preset", False, Cause.UNSUPPORTED),
    (234,
     "[AVFilterGraph @ 0x5] No option name near '1'\n"
     "[AVFilterGraph @ 0x5] Error parsing a filter description around: ",
     "filters are not understood: [AVFilterGraph] No option name near '1'", True, Cause.ARGUMENTS),
    (218,
     "Impossible to convert between the formats supported by the filter 'a' and the filter 'b'\n"
     "Link 'a.default' -> 'b.default':\n[vf#0:0 @ 0x5] Error reinitializing filters!",
     "set up: Impossible to convert", False, Cause.UNSUPPORTED),
    (1,
     "[h264 @ 0x5] error while decoding MB 1 2\nx265 [warning]: numa failed\n"
     "[vost#0:0 @ 0x6] Error sending frames: Resource busy\nConversion failed!",
     "status 1: [vost#0:0] Error sending frames: Resource busy", False, Cause.FFMPEG),
    (-9, "", "SIGKILL (was the memory used up?)", False, Cause.KILLED),
    (-11, "moov atom not found", "killed by SIGSEGV", False, Cause.KILLED),
    (-250, "", "signal 250", False, Cause.KILLED),
    (3, "", "ffmpeg ended with status 3", False, Cause.FFMPEG),
    (None, "Error: no", "ffmpeg ended and its status is lost: Error: no", False, Cause.FFMPEG),
    (1, "    title           : Unknown encoder 'x'", "status 1", False, Cause.FFMPEG),
]  # fmt: skip


@pytest.mark.parametrize(("status", "tail", "words", "is_final", "cause"), FAILURES)
def test_a_failure_is_told_in_plain_words(
    status: int | None, tail: str, words: str, is_final: bool, cause: Cause
) -> None:
    found = failure(status, tail)

    assert words in found.reason
    assert isinstance(found, Rejected) is is_final
    assert found.cause is cause


@pytest.mark.parametrize(
    "line",
    [
        "[png @ 0x1] [IMGUTILS @ 0x2] Picture size 16000x16000 exceeds specified max pixel count 9",
        "[vist#0:0/png @ 0x3] [dec:png @ 0x1] [IMGUTILS @ 0x2] Picture size 16000x16000 exceeds "
        "specified max pixel count 9, see the documentation if you wish to increase it",
    ],
)
def test_a_frame_that_was_refused_for_its_size_is_told_with_the_figure(line: str) -> None:
    found = outcome_of(WELL, replace(FACTS, tail=f"Stream mapping:\n{line}\nExiting normally"))

    assert isinstance(found, Rejected)
    assert found.reason == "a frame of it is too large: 16000x16000 pixels; max_pixels allows 9"


def test_words_of_a_tag_are_no_refusal() -> None:
    tail = "  title : Picture size 1x1 exceeds specified max pixel count 9"

    assert outcome_of(WELL, replace(FACTS, tail=tail)) is None


def test_a_full_disk_is_never_final() -> None:
    tail = "file:/a: Invalid data found when processing\n[out#0 @ 0x1] x: No space left on device"

    assert is_disk_full(tail)
    assert isinstance(failure(1, tail), Broke)


# the end of a child


FULL = "[out#0 @ 0x1] x: No space left on device"
OVERSIZE = "Picture size 16000x16000 exceeds specified max pixel count 9"
WELL = ChildExit(ExitCause.EXITED, 0, None, "ffmpeg exited with status 0", 1.0)
BADLY = ChildExit(ExitCause.EXITED, 1, None, "ffmpeg exited with status 1", 1.0)
FACTS = EncodeFacts(
    tail="",
    output_bytes=100,
    had_progress=True,
    max_output=0,
    has_all_memory=True,
    run=1,
    attempt=1,
    program="/nowhere/ffmpeg",
    work="/nowhere",
    outbox="/outbox",
)


def ended(cause: ExitCause) -> ChildExit:
    return ChildExit(cause, None, None, "so it ended", 1.0)


@pytest.mark.parametrize(
    ("child", "facts", "outcome"),
    [
        (WELL, FACTS, None),
        (
            WELL,
            replace(FACTS, output_bytes=0),
            Broke("ffmpeg ended well but made no output", cause=Cause.OUTPUT),
        ),
        (
            WELL,
            replace(FACTS, max_output=100),
            Rejected(
                "its output is too large: max_output allows 100 bytes",
                cause=Cause.OUTPUT_TOO_LARGE,
            ),
        ),
        (
            WELL,
            replace(FACTS, tail=OVERSIZE),
            Rejected(
                "a frame of it is too large: 16000x16000 pixels; max_pixels allows 9",
                cause=Cause.TOO_LARGE,
            ),
        ),
        (WELL, replace(FACTS, tail="Unknown encoder 'x'"), None),
        (
            BADLY,
            replace(FACTS, tail="Unknown encoder 'x'"),
            Rejected("this ffmpeg has no encoder x", cause=Cause.UNSUPPORTED),
        ),
        (BADLY, FACTS, Broke("ffmpeg ended with status 1", cause=Cause.FFMPEG)),
        (
            replace(BADLY, status=None, signal=11),
            FACTS,
            Broke("ffmpeg was killed by SIGSEGV", cause=Cause.KILLED),
        ),
        (
            replace(BADLY, status=None),
            FACTS,
            Broke("ffmpeg ended and its status is lost", cause=Cause.FFMPEG),
        ),
        (ended(ExitCause.STOPPED), replace(FACTS, tail=FULL), Interrupted()),
        (
            ended(ExitCause.OVERTIME),
            FACTS,
            Rejected("it takes too long: so it ended; see time_limit", cause=Cause.TIMEOUT),
        ),
        (ended(ExitCause.STALLED), FACTS, Broke("so it ended", cause=Cause.STALL)),
    ],
)
def test_every_end_has_an_outcome(
    child: ChildExit, facts: EncodeFacts, outcome: Outcome | None
) -> None:
    assert outcome_of(child, facts) == outcome
    assert classify(child, facts) == outcome


def test_an_ffmpeg_that_cannot_be_started_is_the_machine_s_fault() -> None:
    with pytest.raises(EnvironmentTrouble, match="so it ended"):
        classify(ended(ExitCause.UNSTARTED), FACTS)


@pytest.mark.parametrize(
    ("child", "facts"), [(BADLY, FACTS), (WELL, replace(FACTS, output_bytes=0))]
)
def test_an_ffmpeg_without_a_sign_of_life_is_asked_whether_it_runs(
    child: ChildExit, facts: EncodeFacts
) -> None:
    silent = replace(facts, had_progress=False)

    with pytest.raises(EnvironmentTrouble, match="/nowhere/ffmpeg does not run"):
        classify(child, silent)


def test_an_ffmpeg_that_runs_leaves_the_failure_to_the_job(tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho ffmpeg version 9\n")
    program.chmod(0o755)

    outcome = classify(BADLY, replace(FACTS, had_progress=False, program=str(program)))

    assert outcome == Broke("ffmpeg ended with status 1", cause=Cause.FFMPEG)


@pytest.mark.parametrize("child", [BADLY, WELL])
@pytest.mark.parametrize(
    ("run", "attempt", "has_room", "is_believed"),
    [
        (1, 1, True, True),
        (2, 1, True, True),
        (3, 1, True, False),
        (4, 2, True, False),
        (5, 4, True, True),  # the others were failures of the job's own
        (99, 1, False, True),
    ],
)
def test_a_full_disk_is_believed_twice_and_while_there_is_no_room(
    child: ChildExit,
    run: int,
    attempt: int,
    has_room: bool,
    is_believed: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that has ffmpeg say so would hold up all others, for half of the time, for ever."""
    if not has_room:
        monkeypatch.setattr(module, "ROOM_BYTES", 1 << 62)
    facts = replace(FACTS, tail=FULL, run=run, attempt=attempt, work=str(tmp_path))

    if is_believed:
        with pytest.raises(EnvironmentTrouble, match="no space left in the outbox /outbox"):
            classify(child, facts)
    else:
        assert classify(child, facts) == outcome_of(child, facts)
    assert list(tmp_path.iterdir()) == []


def test_the_output_is_a_file_of_ffmpeg_s_own(tmp_path: Path) -> None:
    output = tmp_path / "output"
    assert output_bytes(str(output)) == 0

    output.write_bytes(b"seven..")
    assert output_bytes(str(output)) == 7


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_in_the_place_of_the_output_is_none(
    tmp_path: Path, link: Callable[[str, str], None]
) -> None:
    (tmp_path / "private").write_text("private")
    link(str(tmp_path / "private"), str(tmp_path / "output"))

    assert output_bytes(str(tmp_path / "output")) == 0

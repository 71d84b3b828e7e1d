"""The receipt of a job: everything that is known of it, bounded, and the same beside the output."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import CHECKOUT, QUICK, Place, drop
from tests.test_policy import JOB, MADE, WARNED
from watchconv.encode.decision import Action, Decision
from watchconv.encode.plan import EncodePlan
from watchconv.encode.receipt import MOST_BYTES, of_attempt, of_job
from watchconv.media.facts import Chapter, Facts, Track
from watchconv.model import (
    Attempt,
    AttemptEnd,
    AttemptOutcome,
    Cause,
    JobState,
    OutputFile,
    OutputRole,
    Verify,
    WarningCause,
)

if TYPE_CHECKING:
    from pathlib import Path

VIDEO = Track(0, "video", "hevc", 75, width=1280, height=720, bits=10, transfer="arib-std-b67")
SOUND = Track(1, "audio", "aac", 140, language="jpn", channels=6, layout="5.1")
FACTS = Facts("mov", 3.0, (VIDEO, SOUND), (Chapter(0.0, 3.0, "all"),), (("title", "\udce9"),))
PLAN = EncodePlan(
    args=("-c", "copy"),
    argv=("ffmpeg", "-i", "a", "b"),
    suffix=".mp4",
    verify=Verify.FULL,
    time_changer=None,
    uses_hardware=False,
    decisions=(
        Decision(0, "video", Action.ENCODE, "because", 0, {"codec": "h264", "bits": None}),
        Decision(1, "audio", Action.COPY, "it is copied as it is", 0),
    ),
)
PROGRAM = ("/usr/bin/ffmpeg", "9.0")
PROOF = {
    "facts_out": {"container": "mov"},
    "promises": [{"what": "frames", "wanted": 75, "found": 75}],
    "look": {"db": 31.5},
}
BROKE = Attempt(
    1, 1, "local", "", 2.0, 9.0, AttemptOutcome.BROKE, Cause.STALL, 7.0, 3.0, 1 << 20, None
)
LAST = Attempt(1, 2, "local", "", 9.0, None, None, None, 0.0, None, None, None)
ENDED = AttemptEnd(AttemptOutcome.ENCODED, None, 12.5, 25.0, 2 << 20, 3.0)


def test_a_receipt_tells_what_went_in_what_was_decided_and_what_came_out() -> None:
    outputs = tuple(replace(one, name=f"a{one.suffix}") for one in MADE)
    job = replace(JOB, state=JobState.DONE, size=10, ended_at=30.0, outputs=outputs)
    job = replace(job, warnings=WARNED)
    told = of_job(job, [BROKE, LAST], of_attempt(FACTS, PLAN, PROGRAM, PROOF), ends=ENDED)

    assert json.loads(json.dumps(told)) == told
    assert told["source"] == {"path": "a.mov", "size": 10, "mtime": "1970-01-01T00:00:00.000+00:00"}
    assert told["ffmpeg"] == {"path": "/usr/bin/ffmpeg", "version": "9.0"}
    assert [(row["run"], row["ended"], row["cause"]) for row in told["attempts"]] == [
        (1, "broke", "stall"),
        (2, "encoded", None),
    ]
    assert told["attempts"][1] | {"seconds": 12.5, "cpu_seconds": 25.0} == told["attempts"][1]
    assert [row.get("argv") for row in told["attempts"]] == [None, ["ffmpeg", "-i", "a", "b"]]
    assert told["facts_in"] == {
        "container": "mov",
        "seconds": 3.0,
        "tracks": [
            {
                "index": 0,
                "kind": "video",
                "codec": "hevc",
                "samples": 75,
                "width": 1280,
                "height": 720,
                "bits": 10,
                "transfer": "arib-std-b67",
            },
            {
                "index": 1,
                "kind": "audio",
                "codec": "aac",
                "samples": 140,
                "language": "jpn",
                "channels": 6,
                "layout": "5.1",
            },
        ],
        "chapters": [{"start": 0.0, "end": 3.0, "title": "all"}],
        "tags": {"title": "\udce9"},
    }
    assert told["decisions"][0] == {
        "track": 0,
        "kind": "video",
        "action": "encode",
        "why": "because",
        "ordinal": 0,
        "changes": {"codec": "h264"},
    }
    assert {key: told[key] for key in PROOF} == PROOF
    assert told["warnings"] == [{"cause": "track-left-out", "text": "left out: a track"}]
    assert told["size"] == {"in": 10, "out": 3, "saved": 7}
    assert [made["name"] for made in told["delivered"]["outputs"]] == ["a.webm", "a.jpg"]


def test_a_job_that_nobody_attempted_has_a_receipt_too() -> None:
    told = of_job(JOB, [], None)

    assert (told["attempts"], told["facts_in"], told["decisions"]) == ([], None, [])
    assert (told["size"]["out"], told["delivered"]["at"]) == (None, None)


def test_the_size_of_a_receipt_counts_for_nothing() -> None:
    receipt = OutputFile("receipt.json", ".json", 5000, OutputRole.RECEIPT, "a.json")
    told = of_job(replace(JOB, size=10, outputs=(*MADE, receipt)), [], None)

    assert told["size"] == {"in": 10, "out": 3, "saved": 7}


@pytest.mark.parametrize(
    "facts",
    [
        replace(FACTS, tracks=(SOUND,) * 5000),
        replace(FACTS, chapters=(Chapter(0.0, 1.0, "x" * 4000),) * 3000),
        replace(FACTS, tags=tuple((f"{'k' * 90}{n}", "v" * 9000) for n in range(900))),
    ],
    ids=["tracks", "chapters", "tags"],
)
def test_what_an_attempt_tells_is_bounded_whatever_the_file_holds(facts: Facts) -> None:
    argv = ("ffmpeg", *(["-map", "0:1"] * 20_000))
    text = of_attempt(facts, replace(PLAN, argv=argv), PROGRAM, PROOF)
    told = of_job(JOB, [LAST], text)

    assert len(text) <= MOST_BYTES
    assert told["ffmpeg"]["version"] == "9.0"
    assert told["look"] == PROOF["look"]
    if len(facts.tracks) > 2:
        kept = len(told["facts_in"]["tracks"])
        assert kept + told["facts_in"]["tracks_left_out"] == 5000


def test_the_readme_says_what_each_warning_means() -> None:
    text = (CHECKOUT / "README.md").read_text("utf-8").partition("### What a warning means")[2]

    assert [cause for cause in WarningCause if f"`{cause}`" not in text] == []


# the real program


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "videos", {**QUICK, "receipts": "beside"})


def made(place: Place) -> set[str]:
    return {str(path.relative_to(place.outbox)) for path in place.outbox.rglob("*.*")} - {
        ".watchconv"
    }


def read(place: Place, job_id: int) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(place.say("receipt", job_id, "--json"))
    return told


def test_a_receipt_is_beside_its_output_and_in_the_journal(place: Place, clip: Path) -> None:
    (place.outbox / "b.json").write_text("{}")
    for name in ("remux/a.mkv", "remux/b.mkv"):
        drop(clip, place.inbox / name)
    (place.outbox / "remux").mkdir()
    (place.outbox / "remux/b.json").write_text("somebody's")

    assert place.run("run", "--once").returncode == 0
    assert made(place) == {
        "b.json",
        "remux/a.mkv",
        "remux/a.json",
        "remux/b.json",
        "remux/b (2).mkv",
        "remux/b (2).json",
    }
    assert (place.outbox / "remux/b.json").read_text() == "somebody's"
    job = place.job("remux/b.mkv")
    beside = json.loads((place.outbox / "remux/b (2).json").read_text())
    kept = read(place, job["id"])
    same = beside.keys() - {"delivered"}
    assert {key: beside[key] for key in same} == {key: kept[key] for key in same}
    assert job["outputs"] == ["remux/b (2).mkv", "remux/b (2).json"]
    assert job["output_size"] == (place.outbox / "remux/b (2).mkv").stat().st_size
    assert kept["size"]["in"] == clip.stat().st_size
    assert kept["attempts"][0]["argv"][-1].endswith("output.mkv")
    assert kept["decisions"][0]["action"] == "copy"
    promises = {row["what"]: (row["wanted"], row["found"]) for row in kept["promises"]}
    assert promises["video track 0: codec"] == ("mpeg4", "mpeg4")
    assert promises["video track 0: width"] == (64, 64)
    assert promises["video track 0: seconds"][0] == pytest.approx(0.2)
    assert kept["facts_out"]["tracks"][0]["codec"] == "mpeg4"
    assert kept["look"]["is_right"]
    assert [row["codec"] for row in kept["facts_in"]["tracks"]] == ["mpeg4"]
    shown = place.say("receipt", job["id"])
    assert "output: remux/b (2).mkv" in shown
    assert "decided: video 0: copy" in shown
    assert place.run("receipt", 99).returncode == 1


def test_a_failed_job_has_a_receipt_and_none_beside(place: Place, clip: Path) -> None:
    bad = {"suffix": ".mkv", "args": "-map 0:7 -c:v mpeg4"}
    place.configure({**QUICK, "receipts": "beside", "max_attempts": 1, "profiles": {"bad": bad}})
    drop(clip, place.inbox / "bad/a.mkv")

    assert place.run("run", "--once").returncode == 1
    told = read(place, place.job("bad/a.mkv")["id"])
    assert (told["state"], made(place)) == ("failed", set())
    assert told["attempts"][-1]["argv"]
    assert told["reason"]


def test_nothing_is_beside_an_output_by_default(tmp_path: Path, clip: Path) -> None:
    place = Place(tmp_path / "videos", QUICK)
    drop(clip, place.inbox / "remux/a.mkv")

    assert place.run("run", "--once").returncode == 0
    assert made(place) == {"remux/a.mkv"}
    assert read(place, 1)["facts_in"]["container"] == "matroska"


# Dies when an output is proven, and its delivery not yet intended.
DIE = """
import os
from watchconv.__main__ import main
from watchconv.daemon.deliveries import Deliveries

Deliveries._deliver_new = lambda *_: os._exit(9)
main()
"""


def test_a_crash_between_the_proof_and_the_delivery_costs_no_receipt(
    place: Place, clip: Path
) -> None:
    """What an earlier attempt has proven is used, and what it knew."""
    drop(clip, place.inbox / "remux/a.mkv")
    argv = [sys.executable, "-c", DIE, *place.options, "run", "--once"]
    assert subprocess.run(argv, env=place.environment, check=False).returncode == 9
    ended = place.run("run", "--once")

    assert ended.returncode == 0
    assert "what an earlier attempt has proven is used" in ended.stderr
    told = json.loads((place.outbox / "remux/a.json").read_text())
    assert told["facts_in"]["tracks"][0]["codec"] == "mpeg4"
    assert [row["ended"] for row in told["attempts"]] == ["crashed", "encoded"]

"""Examining files: what is whole and decodes is fine, and nothing is made of anything."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.daemon import QUICK, Place, drop, only_sound, tiny_clip
from watchconv.encode.ffmpeg_output import Route, StreamCount, StreamCounts
from watchconv.encode.health import decoded_tracks, judge, plan_health
from watchconv.media.facts import Content, Examined, Facts, Gap, Track
from watchconv.model import Cause, OnSuccess, OutputFile, Verdict, WarningCause
from watchconv.policy import Deliver, spare_original

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VIDEO = Track(0, "video", "h264", 100)
SOUND = Track(1, "audio", "aac", 400)
COVER = Track(2, "video", "mjpeg", 1, attached_picture=True)
ALIEN = Track(3, "audio", "ac4", None, decodable=False)
WORDS = Track(4, "subtitle", "subrip", None)
FACTS = Facts("mov", 4.0, (VIDEO, SOUND, COVER, ALIEN, WORDS))
CONTENTS = (
    Content(0, "video", "h264", 100, decodes=True),
    Content(1, "audio", "aac", 400, decodes=True),
    Content(2, "video", "mjpeg", 1, decodes=True),
    Content(3, "audio", "ac4", 90, decodes=False),
    Content(4, "subtitle", "subrip", 3, decodes=True),
)


def counts(video: int = 100, frames: int = 100, errors: int = 0) -> StreamCounts:
    sound = StreamCount(0, 1, "audio", 400, 400)
    inputs = (StreamCount(0, 0, "video", video, frames, errors), sound)
    outputs = (StreamCount(0, 0, "video", frames, frames), sound)
    routes = (Route((0, 0), (0, 0)), Route((0, 1), (0, 1)))
    return StreamCounts(inputs, outputs, routes, 0, 0, ())


def held(**changes: object) -> Examined:
    """Give the contents, the video's changed."""
    return Examined(FACTS, (replace(CONTENTS[0], **changes), *CONTENTS[1:]))  # type: ignore[arg-type]


def test_every_picture_and_sound_is_decoded_that_can_be() -> None:
    plan = plan_health(FACTS, program="ffmpeg", source="/a.mov", max_pixels=9)

    assert decoded_tracks(FACTS) == [VIDEO, SOUND]
    assert plan.argv[plan.argv.index("-i") :] == (
        *("-i", "file:/a.mov", "-map", "0:0", "-map", "0:1"),
        *("-fps_mode", "passthrough", "-f", "null", "-"),
    )


@pytest.mark.parametrize(
    ("told", "there", "cause"),
    [
        (counts(), held(), None),
        (counts(errors=2), held(), None),
        (counts(), held(gaps=(Gap(1.0, 0.9),)), None),
        (counts(video=50, frames=50), held(), Cause.TRUNCATED),
        (counts(frames=3), held(), Cause.DAMAGED),
        (counts(frames=70, errors=30), held(), Cause.DAMAGED),
        (counts(), held(corrupt=40), Cause.DAMAGED),
        (
            counts(),
            replace(held(gaps=(Gap(1.0, 0.9),)), zeros=((1 << 20, 1 << 19),)),
            Cause.TRUNCATED,
        ),
        (None, held(), Cause.UNREADABLE),
    ],
)
def test_a_file_is_judged_by_what_it_holds_and_what_of_it_decodes(
    told: StreamCounts | None, there: Examined, cause: Cause | None
) -> None:
    fault, _ = judge(FACTS, told, there)

    assert (fault and fault.cause) == cause


def test_what_is_rough_is_said_of_a_file_that_is_fine() -> None:
    _, warnings = judge(FACTS, counts(errors=2), held(gaps=(Gap(1.0, 0.4),)))

    assert [(warning.cause, warning.text) for warning in warnings] == [
        (WarningCause.GAPS, "video track 0: 2 of 100 packets do not decode"),
        (WarningCause.GAPS, "video track 0: nothing is there for 0.4 s from 1.0 s on"),
        (WarningCause.UNPROVEN, "audio track 3 (ac4): nothing here decodes it"),
    ]


@pytest.mark.parametrize(
    ("outputs", "on_success", "chosen"),
    [
        ((), OnSuccess.DELETE, OnSuccess.MOVE),
        ((), OnSuccess.MOVE, OnSuccess.MOVE),
        ((), OnSuccess.KEEP, OnSuccess.KEEP),
        ((OutputFile("a", ".mkv", 1),), OnSuccess.DELETE, OnSuccess.DELETE),
    ],
)
def test_an_original_of_which_nothing_was_made_is_never_deleted(
    outputs: tuple[OutputFile, ...], on_success: OnSuccess, chosen: OnSuccess
) -> None:
    decision = Deliver(Verdict.ENCODED, outputs)

    assert spare_original(decision, on_success) == (chosen, decision)


# the real program


def whole(folder: Path) -> Path:
    return tiny_clip(folder, "whole.mkv", 2)


def cut(folder: Path) -> Path:
    path = folder / "cut.mp4"
    content = tiny_clip(folder, "long.mp4", 4).read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    return path


def overwritten(folder: Path) -> Path:
    path = folder / "overwritten.mp4"
    content = bytearray(tiny_clip(folder, "long.mp4", 4).read_bytes())
    begin = content.index(b"mdat") + 4
    content[begin : begin + (len(content) - begin) * 2 // 3] = bytes(
        (len(content) - begin) * 2 // 3
    )
    path.write_bytes(content)
    return path


def sound(folder: Path) -> Path:
    return only_sound(folder)


KINDS = [(whole, "fine"), (cut, "truncated"), (overwritten, "damaged"), (sound, "refused")]


@pytest.mark.parametrize(("make", "word"), KINDS, ids=[word for _, word in KINDS])
def test_check_says_what_a_file_is_and_touches_nothing(
    tmp_path: Path, make: Callable[[Path], Path], word: str
) -> None:
    place = Place(tmp_path / "videos")
    path = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    said = place.run("check", str(path))

    assert said.stdout.startswith(f"{path}: {word}")
    assert said.returncode == (0 if word == "fine" else 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_check_goes_on_after_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = whole(tmp_path)
    said = Place(tmp_path / "videos").run("check", str(tmp_path / "nothing.mkv"), str(path))

    assert (said.returncode, said.stdout) == (1, f"{path}: fine\n")
    assert "nothing.mkv: it cannot be read: No such file or directory" in said.stderr


def test_a_profile_that_examines_delivers_the_original_alone(tmp_path: Path) -> None:
    settings = {**QUICK, "on_success": "delete", "incomplete_after_seconds": 0, "max_attempts": 1}
    settings |= {"profiles": {"look": {"health": "decode"}}, "receipts": "beside"}
    place = Place(tmp_path / "videos", settings)
    for make, _ in KINDS:
        path = make(tmp_path)
        drop(path, place.inbox / "look" / path.name)

    assert place.run("run", "--once").returncode == 1
    found = {
        str(path.relative_to(place.root))
        for folder in (place.outbox, place.done, place.error)
        for path in folder.rglob("*.*")
        if path.name != ".watchconv"
    }
    failed = ("cut.mp4", "overwritten.mp4", "sound.mp4")
    assert found == {
        "done/look/whole.mkv",
        *(f"error/look/{name}{tail}" for name in failed for tail in ("", ".log")),
    }
    job = place.job("look/whole.mkv")
    assert (job["state"], job["outputs"], job["warnings"]) == ("done", [], [])
    assert "look (health: decode, configured)" in place.say("profiles")
    assert "-f null -" in place.say("explain", str(whole(tmp_path)), "--profile", "look")

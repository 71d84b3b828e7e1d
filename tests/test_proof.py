"""The proof of an output as a whole: what is a fault, what is said, what is proven."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from watchconv.encode.decision import Action, Decision
from watchconv.encode.ffmpeg_output import Route, StreamCount, StreamCounts
from watchconv.encode.plan import EncodePlan
from watchconv.encode.proof import Case, judge
from watchconv.media.facts import Content, Examined, Facts, Gap, Track
from watchconv.model import Broke, Cause, Rejected, Verify, WarningCause

W = WarningCause
PICTURE = Track(0, "video", "h264", None, 160, 120, frame_rate=25.0)
SOUND = Track(1, "audio", "aac", None, channels=2, layout="stereo", sample_rate=48000)
TEXT = Track(2, "subtitle", "subrip", None)
PLAN = EncodePlan(
    args=("-c:v", "libx264"),
    argv=(),
    suffix=".mkv",
    verify=Verify.FULL,
    time_changer=None,
    uses_hardware=False,
    decisions=(
        Decision(0, "video", Action.COPY, "", 0),
        Decision(1, "audio", Action.COPY, "", 0),
    ),
)


def content(track: Track, seconds: float = 8.0, **more: Any) -> Content:
    many = more.pop("packets", round(seconds * (25 if track.kind == "video" else 47)))
    decodes = more.pop("decodes", True)
    return Content(
        track.index, track.kind, track.codec, many, decodes, 0.0, seconds, seconds=seconds, **more
    )


def film(*tracks: Track, zeros: Any = (), **changes: Content) -> Examined:
    found = tracks or (PICTURE, SOUND)
    contents = tuple(changes.get(track.kind, content(track)) for track in found)
    return Examined(Facts("matroska", 8.0, found), contents, zeros)


def counts_of(*, frames: int | None = None, met: Any = ()) -> StreamCounts:
    inputs = (StreamCount(0, 0, "video", 200, frames), StreamCount(0, 1, "audio", 376, None))
    outputs = (StreamCount(0, 0, "video", 200, frames), StreamCount(0, 1, "audio", 376, None))
    routes = (Route((0, 0), (0, 0)), Route((0, 1), (0, 1)))
    return StreamCounts(inputs, outputs, routes, 0, 0, met)


CASE = Case(PLAN, film().facts, counts_of())


def test_a_whole_output_is_proven() -> None:
    proof = judge(CASE, film(), film())

    assert (proof.fault, proof.warnings, proof.is_proven) == (None, (), True)


def test_what_ffmpeg_chose_by_itself_is_proven_by_its_account() -> None:
    proof = judge(CASE._replace(plan=replace(PLAN, decisions=())), film(), film())

    assert (proof.fault, proof.is_proven) == (None, True)


FAULTS = [
    ("a sound that is missing", film(PICTURE), film(), "0 of 1 audio", Cause.OUTPUT),
    ("a copy that nothing plays", film(audio=content(SOUND, decodes=False)), film(),
     "does not decode", Cause.OUTPUT),
    ("an end that is missing", film(audio=content(SOUND, 6.0, packets=376)), film(),
     "the sound (track 1) is cut: 6.00 of 8.00 s", Cause.OUTPUT),
    ("zeros where samples should be", film(), film(video=content(PICTURE, corrupt=100)),
     "100 of 200 packets are damaged", Cause.DAMAGED),
    ("a hole of zeros", film(),
     film(video=content(PICTURE, gaps=(Gap(3.0, 2.0),)), zeros=((1_000_000, 500_000),)),
     "500,000 bytes from byte 1,000,000 on were never written", Cause.TRUNCATED),
    ("a cover", film(video=content(PICTURE, packets=1)), film(), "a single picture", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("made", "there", "words", "cause"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_what_is_lost_or_wrong_is_a_fault(
    made: Examined, there: Examined, words: str, cause: Cause | None
) -> None:
    counts = counts_of() if cause else None
    proof = judge(CASE._replace(counts=counts), made, there)

    assert isinstance(proof.fault, Rejected | Broke)
    assert words in proof.fault.reason
    assert cause in (proof.fault.cause, None)


def test_a_film_whose_only_sound_nothing_decodes_is_named_not_silenced() -> None:
    mute = replace(SOUND, codec="ac4", decodable=False)
    plan = replace(PLAN, decisions=(PLAN.decisions[0], Decision(1, "audio", Action.LEAVE, "")))
    counts = counts_of()
    counts = replace(counts, outputs=counts.outputs[:1], routes=counts.routes[:1])
    there = film(PICTURE, mute)

    proof = judge(Case(plan, there.facts, counts), film(PICTURE), there)

    assert isinstance(proof.fault, Rejected)
    assert "its only sound (ac4)" in proof.fault.reason


def test_zeros_that_no_track_misses_are_none_of_our_business() -> None:
    proof = judge(CASE, film(), film(zeros=((1_000_000, 500_000),)))

    assert proof.is_proven


def test_a_salvaged_original_need_not_be_whole_but_that_is_said_and_unproven() -> None:
    there = film(video=content(PICTURE, corrupt=100))

    proof = judge(CASE._replace(is_salvaged=True), film(), there)

    assert proof.fault is None
    (warning,) = proof.warnings
    assert warning.cause is W.SALVAGED
    assert "8.0 s of it are there" in warning.text
    assert not proof.is_proven


@pytest.mark.parametrize("is_decodable", [True, False])
def test_a_copy_of_what_nothing_decodes_is_told_as_unproven(is_decodable: bool) -> None:
    sound = replace(SOUND, codec="ac4", decodable=is_decodable)
    there = film(PICTURE, sound, audio=content(sound, decodes=False))

    proof = judge(Case(PLAN, there.facts, counts_of()), there, there)

    assert (proof.fault is None) is not is_decodable
    assert not proof.is_proven or is_decodable
    if not is_decodable:
        assert [warning.cause for warning in proof.warnings] == [W.UNPROVEN]


LATE = [
    pytest.param(counts_of(), film(PICTURE, SOUND, TEXT), (2,), "subtitle track 2 (subrip)"),
    pytest.param(counts_of(met=((2, "subtitle"),)), film(), (), "subtitle track 2 begins"),
    pytest.param(counts_of(met=((1, "audio"),)), film(), (), ""),
]


@pytest.mark.parametrize(("counts", "there", "missed", "words"), LATE)
def test_a_track_that_begins_in_the_middle_is_planned_for_or_named(
    counts: StreamCounts, there: Examined, missed: tuple[int, ...], words: str
) -> None:
    proof = judge(CASE._replace(counts=counts), film(), there)

    assert [t.index for t in proof.anew.tracks[2:]] if proof.anew else [*missed] == []
    assert [w.cause for w in proof.warnings] == [W.TRACK_LEFT_OUT] * bool(words)
    assert words in "".join(warning.text for warning in proof.warnings)


def test_a_track_that_the_profile_did_not_ask_for_is_not_missed() -> None:
    case = CASE._replace(plan=replace(PLAN, decisions=()))

    proof = judge(case, film(), film(PICTURE, SOUND, TEXT))

    assert (proof.anew, proof.warnings) == (None, ())


@pytest.mark.parametrize(
    ("demuxer", "known", "is_better"),
    [("mpegts", 0, True), ("mpeg", 0, True), ("flv", 0, False), ("mpegts", 2, False)],
)
def test_a_clock_that_begins_anew_is_planned_for_where_ffmpeg_can_put_it_right(
    demuxer: str, known: int, is_better: bool
) -> None:
    facts = replace(film().facts, demuxer=demuxer)
    there = replace(film(video=content(PICTURE, steps_back=2)), facts=facts)

    proof = judge(CASE._replace(media=replace(facts, clock_restarts=known)), film(), there)

    assert (proof.anew is not None) is is_better
    if proof.anew:
        assert proof.anew.clock_restarts == 2
        assert proof.why == "its clock begins anew"


@pytest.mark.parametrize("change", [{"time_changer": "-r"}, {"verify": Verify.STREAMS}])
def test_less_than_all_is_proven_where_less_is_asked(change: dict[str, Any]) -> None:
    case = CASE._replace(plan=replace(PLAN, **change))

    there = film() if case.plan.verify is Verify.FULL else None  # else it is not examined

    proof = judge(case, film(audio=content(SOUND, 6.0, packets=376)), there)

    assert proof.fault is None
    assert not proof.is_proven

"""What people ask for: retry, cancel, pause."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.daemon import Daemon, drop
from tests.fake_place import NEVER, CopyPlace, FakePlace, files_in
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


def test_a_retry_and_a_move_back_by_hand_make_one_job(tmp_path: Path, clip: Path) -> None:
    place = CopyPlace(tmp_path / "videos", {"*": "exit:1"})
    drop(clip, place.inbox / "a.mkv")

    assert place.once() == 1

    place.say("retry", 1)
    (place.error / "a.mkv").rename(place.inbox / "a.mkv")
    place.plan()

    assert place.once() == 0
    assert place.tree() == ["done/a.mkv", "outbox/a.mkv"]
    assert [job["state"] for job in place.jobs()] == ["done", "failed"]
    assert place.once() == 0
    assert len(place.jobs()) == 2


def test_a_failed_file_moved_into_the_folder_of_a_profile_leaves_no_report(
    tmp_path: Path, clip: Path
) -> None:
    place = CopyPlace(tmp_path / "videos", {"*": "exit:1"})
    drop(clip, place.inbox / "trip/a.mkv")
    assert place.once() == 1
    (place.inbox / "webm/trip").mkdir(parents=True)
    (place.error / "trip/a.mkv").rename(place.inbox / "webm/trip/a.mkv")
    place.plan()

    assert place.once() == 0
    assert place.tree() == ["done/webm/trip/a.mkv", "outbox/webm/trip/a.webm"]


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_retry_takes_no_report_away_but_its_own(
    tmp_path: Path, clip: Path, is_folder: bool
) -> None:
    place = CopyPlace(tmp_path / "videos", {"*": "exit:1"})
    drop(clip, place.inbox / "a.mkv")
    assert place.once() == 1
    report = place.error / "a.mkv.log"
    report.unlink()
    if is_folder:
        report.mkdir()
    else:
        report.write_text("somebody's notes")
    place.say("retry", 1)
    place.plan()

    assert place.once() == 0
    assert report.is_dir() if is_folder else report.read_text() == "somebody's notes"
    assert (place.done / "a.mkv").exists()


def test_a_cancelled_job_ends_at_once_even_when_its_child_ignores_term(
    tmp_path: Path, long_clip: Path
) -> None:
    place = FakePlace(tmp_path / "videos", otherwise="stubborn", jobs=1, stop_grace_seconds=NEVER)
    for name in ("a.mkv", "b.mkv"):
        drop(long_clip, place.inbox / name)
    with Daemon(place):
        wait_until(place.children)
        wait_until(lambda: {"queued", "running"} == {job["state"] for job in place.jobs()})
        ids = {job["state"]: job["id"] for job in place.jobs()}
        place.say("cancel", ids["queued"], ids["running"])
        for name in ("a.mkv", "b.mkv"):
            place.wait_for(name, "failed")

        assert {place.report(name)[0] for name in ("a.mkv", "b.mkv")} == {"cancelled"}
        assert place.states() == {"a.mkv": ["failed"], "b.mkv": ["failed"]}
        assert place.children() == []
        assert files_in(place.outbox) == set()


def test_a_failed_job_is_done_when_it_is_retried_with_a_better_ffmpeg(
    tmp_path: Path, long_clip: Path
) -> None:
    place = FakePlace(tmp_path / "videos", otherwise="exit:3")
    with Daemon(place):
        drop(long_clip, place.inbox / "a.mkv")
        place.wait_for("a.mkv", "failed")
        failed = place.job("a.mkv")
        place.plan()
        place.say("retry", failed["id"])
        place.wait_for("a.mkv", "done")

        (job,) = place.jobs()
        assert (failed["id"], "done", 1, None) == tuple(
            job[key] for key in ("id", "state", "attempt", "reason")
        )
        assert files_in(place.error) == set()
        assert files_in(place.outbox) == {"a.webm"}


def test_a_pause_lets_the_running_job_finish_and_starts_no_other(
    tmp_path: Path, long_clip: Path, gates: Path
) -> None:
    place = FakePlace(tmp_path / "videos", otherwise=f"gate:{gates}", jobs=1)
    for name in ("a.mkv", "b.mkv"):
        drop(long_clip, place.inbox / name)
    with Daemon(place):
        (child,) = wait_until(place.children)
        place.say("pause")
        wait_until(lambda: place.live()["state"] == "paused")
        assert place.children() == [child]
        (gates / "all").touch()
        (finished,) = wait_until(lambda: place.transitions("delivering→done"))
        status = place.status()
        assert (status["state"], status["counts"]["queued"]) == ("paused", 1)
        assert len(place.transitions("queued→running")) == 1
        place.say("resume")
        wait_until(lambda: files_in(place.done) == {"a.mkv", "b.mkv"})

        assert [finished.job] == [step.job for step in place.transitions("queued→running")][:1]

"""What the four folders promise: dropped by any means, converted once, nothing ever overwritten."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import av
import pytest

from tests.daemon import (
    QUICK,
    Daemon,
    Place,
    drop,
    only_sound,
    still_picture,
    tiny_clip,
)
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEYOND_SETTLE = 2.5  # seconds a writer dawdles: more than settle_seconds of --root


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def clip(clips: Path) -> Path:
    return tiny_clip(clips)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon on a machine with nothing configured, for every test that can share it."""
    with Daemon(Place(tmp_path_factory.mktemp("root") / "videos")) as daemon:
        yield daemon


@pytest.fixture
def place(daemon: Daemon) -> Iterator[Place]:
    """The shared place; its daemon must have lived through the test."""
    yield daemon.place
    assert daemon.process is not None and daemon.process.poll() is None, daemon.log()


@pytest.fixture(scope="module")
def hopeless(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Iterator[Place]:
    """A place with all the files that can never be converted, dropped at once."""
    folder = tmp_path_factory.mktemp("hopeless")
    place = Place(folder / "videos", {**QUICK, "incomplete_after_seconds": 2})
    with Daemon(place):
        (place.inbox / "zero bytes.mp4").touch()
        (place.inbox / "text.mp4").write_text("This is no video.\n" * 100)
        drop(still_picture(clips), place.inbox / "still.mp4")
        drop(only_sound(clips), place.inbox / "sound.mp4")
        for suffix in ("mp4", "mkv", "avi"):
            whole = tiny_clip(clips, f"whole.{suffix}", seconds=2).read_bytes()
            (place.inbox / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
        yield place


@pytest.fixture
def quick(tmp_path: Path) -> Place:
    return Place(tmp_path / "videos", QUICK)


def tree(folder: Path) -> set[str]:
    """Give every file below a folder, hidden work included."""
    return {
        os.path.relpath(os.path.join(path, name), folder)
        for path, _, names in os.walk(folder)
        for name in names
    }


def frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def converts(place: Place, source: str, output: str) -> bool:
    """Wait for a file's output and its original in done/; the inbox no longer has it."""
    wait_until((place.done / source).exists, what=f"{source} in done/")

    assert frames(place.outbox / output) >= 1
    assert not (place.inbox / source).exists()
    return True


def fails(place: Place, source: str) -> str:
    """Wait for a file in error/; return the first line of its .log."""
    place.wait_for(source, "failed")
    log = place.error / f"{source}.log"

    assert (place.error / source).exists()
    assert not (place.inbox / source).exists()
    return log.read_text(encoding="utf-8").splitlines()[0]


# How a file arrives


def test_folders_are_made_by_run_with_a_root(place: Place) -> None:
    made = {entry.name for entry in place.root.iterdir() if not entry.name.startswith(".")}

    assert {"inbox", "outbox", "done", "error", "daemon.log"} == made
    assert place.state.is_dir()


def test_a_file_copied_in_is_converted_and_its_original_is_done(place: Place, clip: Path) -> None:
    shutil.copyfile(clip, place.inbox / "copied.mkv")

    assert converts(place, "copied.mkv", "copied.webm")
    assert clip.read_bytes() == (place.done / "copied.mkv").read_bytes()


def test_a_file_renamed_in_is_converted(place: Place, clip: Path) -> None:
    drop(clip, place.inbox / "renamed.mkv")

    assert converts(place, "renamed.mkv", "renamed.webm")


def test_a_file_renamed_from_a_name_of_an_upload_is_converted(place: Place, clip: Path) -> None:
    shutil.copyfile(clip, place.inbox / "upload.mkv.part")
    (place.inbox / "upload.mkv.part").rename(place.inbox / "upload.mkv")

    assert converts(place, "upload.mkv", "upload.webm")
    assert not list(place.done.glob("upload*.part*"))


def test_a_file_linked_in_and_its_old_name_removed_is_converted(place: Place, clip: Path) -> None:
    shutil.copyfile(clip, place.inbox / "sftp.mkv.filepart")
    os.link(place.inbox / "sftp.mkv.filepart", place.inbox / "sftp.mkv")
    (place.inbox / "sftp.mkv.filepart").unlink()

    assert converts(place, "sftp.mkv", "sftp.webm")


def test_a_file_at_depth_keeps_its_path(place: Place, clip: Path) -> None:
    drop(clip, place.inbox / "2026/summer/day 1/a.mkv")

    assert converts(place, "2026/summer/day 1/a.mkv", "2026/summer/day 1/a.webm")


def test_a_whole_tree_moved_in_is_converted(place: Place, clip: Path) -> None:
    outside = place.root / ".moving"
    for name in ("1.mkv", "sub/2.mkv", "sub/deeper/3.mkv"):
        (outside / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clip, outside / name)
    outside.rename(place.inbox / "moved")

    assert converts(place, "moved/1.mkv", "moved/1.webm")
    assert converts(place, "moved/sub/2.mkv", "moved/sub/2.webm")
    assert converts(place, "moved/sub/deeper/3.mkv", "moved/sub/deeper/3.webm")


def test_a_file_in_a_folder_that_is_named_like_a_video_is_converted(
    place: Place, clip: Path
) -> None:
    drop(clip, place.inbox / "folder.mp4/a.mkv")

    assert converts(place, "folder.mp4/a.mkv", "folder.mp4/a.webm")


def test_a_file_that_was_there_before_the_start_is_converted(quick: Place, clip: Path) -> None:
    shutil.copyfile(clip, quick.inbox / "early.mkv")
    (quick.inbox / "deep/er").mkdir(parents=True)
    shutil.copyfile(clip, quick.inbox / "deep/er/early.mkv")
    with Daemon(quick):
        assert converts(quick, "early.mkv", "early.webm")
        assert converts(quick, "deep/er/early.mkv", "deep/er/early.webm")


def test_a_file_written_slowly_is_not_touched_until_its_writer_has_closed_it(
    place: Place, clips: Path
) -> None:
    whole = tiny_clip(clips, "slowly.ts", seconds=2).read_bytes()  # each piece could be decoded
    half = len(whole) // 2
    target = place.inbox / "slowly.ts"
    with target.open("wb") as writer:
        for piece in (whole[:half], whole[half:]):
            writer.write(piece)
            writer.flush()
            time.sleep(BEYOND_SETTLE)

            assert [job for job in place.jobs() if job["source"] == "slowly.ts"] == []
            assert target.exists()

    assert converts(place, "slowly.ts", "slowly.webm")
    assert frames(place.done / "slowly.ts") == frames(place.outbox / "slowly.webm")


def test_an_upload_that_pauses_with_nobody_writing_is_waited_for(place: Place, clips: Path) -> None:
    """An mp4 without its end is no file yet, however long it was left alone."""
    whole = tiny_clip(clips, "paused.mp4", seconds=1).read_bytes()
    target = place.inbox / "paused.mp4"
    target.write_bytes(whole[: len(whole) // 2])
    time.sleep(BEYOND_SETTLE)

    assert target.exists()
    assert [job for job in place.jobs() if job["source"] == "paused.mp4"] == []
    assert place.live()["waiting"] >= 1

    with target.open("ab") as writer:
        writer.write(whole[len(whole) // 2 :])

    assert converts(place, "paused.mp4", "paused.webm")
    assert frames(place.done / "paused.mp4") == frames(place.outbox / "paused.webm")


# Profiles by folder


def test_a_first_level_folder_picks_the_profile(place: Place, clip: Path) -> None:
    drop(clip, place.inbox / "remux/trip/a.mkv")
    wait_until((place.done / "remux/trip/a.mkv").exists)

    job = place.job("remux/trip/a.mkv")
    assert job["profile"] == "remux"
    assert (place.outbox / job["output"]).exists()
    assert job["output"].startswith("remux/trip/a.")


def test_a_deeper_folder_of_that_name_picks_nothing(place: Place, clip: Path) -> None:
    drop(clip, place.inbox / "trip/mp4/a.mkv")

    assert converts(place, "trip/mp4/a.mkv", "trip/mp4/a.webm")
    assert place.job("trip/mp4/a.mkv")["profile"] == "webm"


def test_profiles_of_the_configuration_are_used_and_one_can_be_the_default(
    tmp_path: Path, clip: Path
) -> None:
    profiles = {
        "phone": {"suffix": ".avi", "args": "-c:v mpeg4 -an"},
        "listed": {"suffix": ".mkv", "args": ["-c:v", "mpeg4", "-an", "-metadata", "title=a b"]},
    }
    place = Place(tmp_path / "videos", {**QUICK, "profile": "phone", "profiles": profiles})
    with Daemon(place):
        drop(clip, place.inbox / "a.mkv")
        drop(clip, place.inbox / "listed/a.mkv")
        drop(clip, place.inbox / "webm/a.mkv")

        assert converts(place, "a.mkv", "a.avi")
        assert converts(place, "listed/a.mkv", "listed/a.mkv")
        assert converts(place, "webm/a.mkv", "webm/a.webm")
    with av.open(str(place.outbox / "listed/a.mkv")) as container:
        assert container.metadata["title"] == "a b"


# What becomes of the original


def test_on_success_delete_removes_the_original(tmp_path: Path, clip: Path) -> None:
    place = Place(tmp_path / "videos", {**QUICK, "on_success": "delete"})
    with Daemon(place):
        drop(clip, place.inbox / "sub/a.mkv")
        place.wait_for("sub/a.mkv", "done")

    assert {"sub/a.webm"} == tree(place.outbox)
    assert set() == tree(place.inbox) | tree(place.done) | tree(place.error)


def test_on_success_keep_converts_once_and_again_only_when_replaced(
    tmp_path: Path, clip: Path, clips: Path
) -> None:
    place = Place(tmp_path / "videos", {**QUICK, "on_success": "keep"})
    with Daemon(place) as daemon:
        drop(clip, place.inbox / "a.mkv")
        place.wait_for("a.mkv", "done")

        assert {"a.mkv"} == tree(place.inbox)
        assert daemon.stop() == 0

    with Daemon(place) as daemon:
        drop(clip, place.inbox / "b.mkv")
        place.wait_for("b.mkv", "done")

        assert sorted(job["source"] for job in place.jobs()) == ["a.mkv", "b.mkv"]

        first = place.job("a.mkv")["id"]
        drop(tiny_clip(clips, "other.mkv", 0.5), place.inbox / "a.mkv")
        wait_until((place.outbox / "a (2).webm").exists)

        assert place.wait_for("a.mkv", "done")["id"] != first
        assert daemon.stop() == 0

    assert sorted(job["source"] for job in place.jobs()) == ["a.mkv", "a.mkv", "b.mkv"]
    assert {"a.webm", "a (2).webm", "b.webm"} == tree(place.outbox)
    assert {"a.mkv", "b.mkv"} == tree(place.inbox)
    assert set() == tree(place.done)


# Names that are taken


def test_the_same_name_dropped_again_is_a_new_order_beside_the_first(
    place: Place, clip: Path
) -> None:
    drop(clip, place.inbox / "again.mkv")
    assert converts(place, "again.mkv", "again.webm")
    first = (place.outbox / "again.webm").stat().st_ino
    drop(clip, place.inbox / "again.mkv")

    assert converts(place, "again (2).mkv", "again (2).webm")
    assert first == (place.outbox / "again.webm").stat().st_ino
    assert not (place.inbox / "again.mkv").exists()


def test_what_someone_else_put_into_outbox_and_done_is_never_overwritten(
    place: Place, clip: Path
) -> None:
    (place.outbox / "taken.webm").write_text("mine")
    (place.outbox / "taken (2).webm").mkdir()
    (place.done / "taken.mkv").symlink_to("nowhere")
    drop(clip, place.inbox / "taken.mkv")

    assert converts(place, "taken (2).mkv", "taken (3).webm")
    assert (place.outbox / "taken.webm").read_text() == "mine"
    assert os.readlink(place.done / "taken.mkv") == "nowhere"


def test_two_originals_with_one_output_name_yield_two_outputs(place: Place, clip: Path) -> None:
    drop(clip, place.inbox / "twins/a.mkv")
    drop(clip, place.inbox / "twins/a.mp4")
    for source in ("twins/a.mkv", "twins/a.mp4"):
        wait_until((place.done / source).exists)

    outputs = {place.job("twins/a.mkv")["output"], place.job("twins/a.mp4")["output"]}
    assert {"twins/a.webm", "twins/a (2).webm"} == outputs


def test_what_failed_before_is_never_overwritten_in_error(place: Place) -> None:
    (place.error / "bad.mp4").write_text("an older failure")
    (place.inbox / "bad.mp4").write_text("no video")
    place.wait_for("bad.mp4", "failed")

    assert (place.error / "bad.mp4").read_text() == "an older failure"
    assert (place.error / "bad (2).mp4").read_text() == "no video"
    assert (place.error / "bad (2).mp4.log").exists()


def test_a_log_whose_original_is_gone_is_replaced(hopeless: Place) -> None:
    (hopeless.inbox / "orphan.mp4").write_text("no video")
    fails(hopeless, "orphan.mp4")
    first = hopeless.job("orphan.mp4")["id"]
    (hopeless.error / "orphan.mp4").unlink()
    (hopeless.inbox / "orphan.mp4").touch()
    wait_until((hopeless.error / "orphan.mp4").exists)

    assert hopeless.job("orphan.mp4")["id"] != first
    assert (hopeless.error / "orphan.mp4.log").read_text().startswith("the file is empty\n")
    assert {"orphan.mp4", "orphan.mp4.log"} == {
        path.name for path in hopeless.error.glob("orphan*")
    }


def test_an_original_named_like_the_log_of_another_is_kept(place: Place) -> None:
    """``x.mp4.log`` in error/ can be a failed original itself where every name is a video."""
    (place.error / "clash.mp4").write_text("an older failure")
    (place.error / "clash.mp4.log").write_text("why it failed")
    (place.inbox / "clash.mp4").write_text("no video")
    place.wait_for("clash.mp4", "failed")

    assert (place.error / "clash.mp4.log").read_text() == "why it failed"
    assert (place.error / "clash (2).mp4").read_text() == "no video"


# Failures


def test_a_failure_is_told_by_its_log(tmp_path: Path, clip: Path) -> None:
    profiles = {"odd": {"suffix": ".webm", "args": "-c:v libvpx -vf scale=7:nonsense -an"}}
    place = Place(tmp_path / "videos", {**QUICK, "max_attempts": 1, "profiles": profiles})
    with Daemon(place):
        drop(clip, place.inbox / "odd/sub/a.mkv")
        reason = fails(place, "odd/sub/a.mkv")

    job = place.job("odd/sub/a.mkv")
    words = (place.error / "odd/sub/a.mkv.log").read_text(encoding="utf-8")
    assert reason == job["reason"]
    assert (job["attempt"], job["output"]) == (1, None)
    assert set() == {name for name in tree(place.outbox) if not name.startswith(".watchconv")}
    for shown in (
        r"ffmpeg.* -i .*a\.mkv.* scale=7:nonsense",  # the command
        r"(?i)(exit status|signal)\W+\d",
        r"(?i)attempts?\W+1\b",
        r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d",
        r"nonsense[^$]*[Ee]rror",  # the tail of what ffmpeg said
    ):
        assert re.search(shown, words.split("\n", 1)[1]), f"{shown}\n{words}"


def test_every_failure_has_tries_before_it_is_final(tmp_path: Path, clip: Path) -> None:
    profiles = {"odd": {"suffix": ".webm", "args": "-c:v libvpx -vf scale=7:nonsense -an"}}
    settings = {**QUICK, "max_attempts": 2, "profiles": profiles, "profile": "odd"}
    place = Place(tmp_path / "videos", settings)
    shutil.copyfile(clip, place.inbox / "a.mkv")
    ended = place.run("run", "--once")

    assert ended.returncode == 1
    assert place.job("a.mkv")["attempt"] == 2


BAD = {
    "zero bytes": "empty",
    "text": "no video",
    "still": "no video|picture|image",
    "sound": "no video|sound|audio",
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_video_goes_to_error_with_a_plain_reason(
    hopeless: Place, name: str
) -> None:
    reason = fails(hopeless, f"{name}.mp4")

    assert re.search(BAD[name], reason, re.IGNORECASE), reason
    assert reason == hopeless.job(f"{name}.mp4")["reason"]
    assert hopeless.job(f"{name}.mp4")["attempt"] == 1


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_truncated_file_left_alone_long_enough_is_told_as_truncated(
    hopeless: Place, suffix: str
) -> None:
    reason = fails(hopeless, f"cut.{suffix}")

    assert "truncated" in reason


def test_what_is_no_regular_file_is_left_said_once_and_counted(quick: Place, clip: Path) -> None:
    with Daemon(quick) as daemon:
        quick.inbox.joinpath("link.mp4").symlink_to(clip)
        quick.inbox.joinpath("dangling.mp4").symlink_to("nowhere")
        quick.inbox.joinpath("folder-link").symlink_to(quick.done)
        os.mkfifo(quick.inbox / "fifo.mp4")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(quick.inbox / "s.mp4"))
        quick.inbox.joinpath("notes.txt").write_text("words")
        quick.inbox.joinpath("film.mkv.part").write_text("half")
        quick.inbox.joinpath("empty.mp4").mkdir()
        ignored = ["link.mp4", "dangling.mp4", "folder-link", "fifo.mp4", "s.mp4", "notes.txt"]
        ignored.append("film.mkv.part")
        for number in range(3):  # three more looks, at least
            drop(clip, quick.inbox / f"good {number}.mkv")
            assert converts(quick, f"good {number}.mkv", f"good {number}.webm")
        wait_until(lambda: quick.live()["ignored"] == len(ignored), what=quick.live)

        assert len(ignored) == quick.status()["counts"]["ignored"]
        assert {*ignored, "empty.mp4"} == {entry.name for entry in quick.inbox.iterdir()}
        said = [line for line in daemon.log().splitlines() if "ignored" in line]
        for name in ignored:
            assert sum(name in line for line in said) == 1, daemon.log()
        assert {"good 0.mkv", "good 1.mkv", "good 2.mkv"} == {j["source"] for j in quick.jobs()}
        os.unlink(quick.inbox / "notes.txt")
        wait_until(lambda: quick.live()["ignored"] == len(ignored) - 1)


# Taking an order back


def test_deleting_a_queued_file_withdraws_it(quick: Place, clip: Path) -> None:
    quick.say("pause")
    with Daemon(quick):
        drop(clip, quick.inbox / "sub/a.mkv")
        quick.wait_for("sub/a.mkv", "queued")
        (quick.inbox / "sub/a.mkv").unlink()
        quick.wait_for("sub/a.mkv", "withdrawn")

    assert set() == tree(quick.outbox) | tree(quick.done) | tree(quick.error)


def test_deleting_a_running_file_withdraws_it(quick: Place, clips: Path) -> None:
    with Daemon(quick) as daemon:
        drop(tiny_clip(clips, "long.mkv", 60), quick.inbox / "slow/a.mkv")
        wait_until(daemon.encodes)
        (quick.inbox / "slow/a.mkv").unlink()
        quick.wait_for("slow/a.mkv", "withdrawn")
        wait_until(lambda: not daemon.encodes())

    assert set() == tree(quick.outbox) | tree(quick.done) | tree(quick.error)


def test_a_failed_file_moved_back_by_hand_is_a_new_order(tmp_path: Path, clip: Path) -> None:
    wrong = {"odd": {"suffix": ".webm", "args": "-c:v libvpx -vf scale=7:nonsense -an"}}
    right = {"odd": {"suffix": ".webm", "args": "-c:v libvpx -an"}}
    place = Place(tmp_path / "videos", {**QUICK, "max_attempts": 1, "profiles": wrong})
    with Daemon(place):
        drop(clip, place.inbox / "odd/a.mkv")
        fails(place, "odd/a.mkv")
    failed = place.job("odd/a.mkv")["id"]

    place.configure({**QUICK, "profiles": right})
    with Daemon(place):
        (place.error / "odd/a.mkv").rename(place.inbox / "odd/a.mkv")

        assert converts(place, "odd/a.mkv", "odd/a.webm")
        place.wait_for("odd/a.mkv", "done")
        assert failed != place.job("odd/a.mkv")["id"]
        assert set() == tree(place.error)


# The outbox shows nothing unfinished


def test_the_outbox_shows_no_name_before_the_output_is_whole(quick: Place, clips: Path) -> None:
    source = tiny_clip(clips, "three.mkv", 3)
    with Daemon(quick) as daemon:
        drop(source, quick.inbox / "slow/a.mkv")
        seen: set[str] = set()

        def is_done() -> bool:
            for name in tree(quick.outbox):
                if not name.startswith(".watchconv/") and name not in seen:
                    seen.add(name)
                    assert frames(source) == frames(quick.outbox / name)
            return (quick.done / "slow/a.mkv").exists()

        wait_until(is_done)
        assert daemon.stop() == 0

    assert {"slow/a.webm"} == seen
    assert {"slow/a.webm"} == tree(quick.outbox)  # and no work is left behind


# Folders in trouble


def heals(place: Place, daemon: Daemon, clip: Path, name: str) -> None:
    wait_until(lambda: place.live().get("state") == "running", what=daemon.log)
    drop(clip, place.inbox / name)

    assert converts(place, name, f"{name.removesuffix('.mkv')}.webm")
    assert place.status()["trouble"] == []


@pytest.mark.parametrize("folder", ["inbox", "outbox", "error"])
def test_a_missing_folder_is_trouble_that_heals_when_it_appears(
    quick: Place, clip: Path, folder: str
) -> None:
    missing = quick.root / folder
    missing.rmdir()
    if folder != "inbox":
        shutil.copyfile(clip, quick.inbox / "waits.mkv")
    with Daemon(quick) as daemon:
        wait_until(lambda: quick.live()["state"] == "trouble")
        status = quick.status()

        assert status["state"] == "trouble"
        assert any(str(missing) in sentence for sentence in status["trouble"])
        assert str(missing) in daemon.log()
        assert not missing.exists()
        assert set() == {job["state"] for job in quick.jobs()} - {"queued"}

        missing.mkdir()
        heals(quick, daemon, clip, "a.mkv")
        if folder != "inbox":
            assert converts(quick, "waits.mkv", "waits.webm")


@pytest.mark.parametrize("folder", ["outbox", "done"])
def test_a_folder_that_goes_while_running_is_trouble_and_heals(
    quick: Place, clip: Path, folder: str
) -> None:
    gone = quick.root / folder
    with Daemon(quick) as daemon:
        gone.rename(quick.root / "gone")
        drop(clip, quick.inbox / "waits.mkv")
        wait_until(lambda: quick.live()["state"] == "trouble", what=daemon.log)

        assert (quick.inbox / "waits.mkv").exists()

        (quick.root / "gone").rename(gone)
        assert converts(quick, "waits.mkv", "waits.webm")
        heals(quick, daemon, clip, "a.mkv")


@pytest.mark.parametrize("how", ["renamed", "removed"])
def test_an_inbox_that_was_taken_away_and_made_anew_is_watched_again(
    quick: Place, clip: Path, how: str
) -> None:
    with Daemon(quick) as daemon:
        wait_until(lambda: "watching" in daemon.log())  # the first look is over: nothing is due
        if how == "renamed":
            quick.inbox.rename(quick.root / "gone")
        else:
            quick.inbox.rmdir()
        quick.inbox.mkdir()
        heals(quick, daemon, clip, "a.mkv")


def test_a_file_in_the_place_of_a_folder_is_trouble_that_heals(quick: Place, clip: Path) -> None:
    quick.outbox.rmdir()
    quick.outbox.write_text("in the way")
    with Daemon(quick) as daemon:
        wait_until(lambda: quick.live()["state"] == "trouble")

        assert any(str(quick.outbox) in sentence for sentence in quick.status()["trouble"])
        assert quick.outbox.read_text() == "in the way"

        quick.outbox.unlink()
        quick.outbox.mkdir()
        heals(quick, daemon, clip, "a.mkv")


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Mount a folder over itself so that not even root can write to it."""
    if os.geteuid():
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    mounted = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("as root only a mount is unwritable, and mount does not work here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder, folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("folder", ["outbox", "error"])
def test_a_folder_that_cannot_be_written_is_trouble_that_heals(
    quick: Place, clip: Path, folder: str
) -> None:
    with read_only(quick.root / folder):
        shutil.copyfile(clip, quick.inbox / "waits.mkv")
        ended = [quick.run("check"), quick.run("run", "--once")]

        assert [command.returncode for command in ended] == [1, 1], ended
        with Daemon(quick):
            wait_until(lambda: quick.live()["state"] == "trouble")

            sentences = quick.status()["trouble"]
            assert any(str(quick.root / folder) in sentence for sentence in sentences)
            assert (quick.inbox / "waits.mkv").exists()

    with Daemon(quick) as daemon:
        assert converts(quick, "waits.mkv", "waits.webm")
        heals(quick, daemon, clip, "a.mkv")


@pytest.mark.parametrize("folder", ["inbox", "outbox", "done", "error"])
def test_a_missing_folder_fails_check_and_run_once(quick: Place, folder: str) -> None:
    (quick.root / folder).rmdir()
    for words in (("check",), ("run", "--once")):
        ended = quick.run(*words)

        assert ended.returncode == 1, ended
        assert str(quick.root / folder) in ended.stdout + ended.stderr


# The pool


def test_never_more_encodes_at_once_than_jobs(tmp_path: Path, clips: Path) -> None:
    place = Place(tmp_path / "videos", {**QUICK, "jobs": 2, "profile": "slow"})
    source = tiny_clip(clips, "second.mkv", 1)
    most = 0
    with Daemon(place) as daemon:
        for number in range(12):
            drop(source, place.inbox / f"{number}.mkv")

        def all_done() -> bool:
            nonlocal most
            most = max(most, len(daemon.encodes()))
            return len(list(place.done.iterdir())) == 12

        wait_until(all_done)

    assert most == 2
    assert len(list(place.outbox.glob("*.webm"))) == 12

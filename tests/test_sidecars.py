"""Subtitles beside a film: which are its own, and that they go where it goes, exactly once."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import Daemon, Place, drop
from tests.waiting import wait_until
from watchconv.deliver import move as moving
from watchconv.deliver import sidecars
from watchconv.deliver.ownership import Ownership
from watchconv.deliver.sidecars import Sidecar, Sidecars, sidecars_of
from watchconv.host.files import FOLDER, OpenFolder
from watchconv.intake.filters import NameFilter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = {"settle_seconds": 0.1, "settle_network_seconds": 0.2, "min_free": 0, "profile": "remux"}


def is_film(name: str) -> bool:
    return name.endswith((".mkv", ".mp4"))


@pytest.mark.parametrize(
    ("name", "tail"),
    [
        ("film.srt", ".srt"),
        ("film.SRT", ".SRT"),
        ("film.en.srt", ".en.srt"),
        ("film.pt-BR.forced.ass", ".pt-BR.forced.ass"),
        ("film.idx", ".idx"),
        ("film.sub", ".sub"),
        ("film.vtt", ".vtt"),
        ("film.nfo", None),
        ("film.en.txt", None),
        ("films.srt", None),
        ("film", None),
        ("film.one two.srt", None),
        ("film.a.b.c.d.srt", None),
        ("Film.srt", None),
    ],
)
def test_a_sidecar_is_known_by_the_films_stem_and_its_suffix(name: str, tail: str | None) -> None:
    found = sidecars_of("film.mkv", ["film.mkv", name, "other.srt"], is_film)

    assert found == ([Sidecar(name, tail, is_shared=False)] if tail else [])


def test_what_fits_a_longer_stem_is_that_films_own() -> None:
    names = ["film.mkv", "film.en.mkv", "film.en.srt", "film.en.forced.srt", "film.de.srt"]

    assert [s.name for s in sidecars_of("film.mkv", names, is_film)] == ["film.de.srt"]
    assert [s.tail for s in sidecars_of("film.en.mkv", names, is_film)] == [".srt", ".forced.srt"]


def test_two_films_of_one_stem_share_their_sidecars() -> None:
    (found,) = sidecars_of("film.mkv", ["film.mkv", "film.mp4", "film.jpg", "film.srt"], is_film)

    assert found == Sidecar("film.srt", ".srt", is_shared=True)


@pytest.mark.parametrize(
    ("extensions", "reason"),
    [
        (["mkv"], "subtitles, which go where the film of their name goes"),
        (None, "subtitles, which go where the film of their name goes"),
        (["mkv", "srt"], None),
    ],
)
def test_subtitles_are_no_videos_unless_they_are_named(
    extensions: list[str] | None, reason: str | None
) -> None:
    assert NameFilter(extensions, []).reason("film.en.SRT") == reason


# with the daemon


def tree(place: Place) -> list[str]:
    """List what lies in the four folders."""
    return sorted(
        str(path.relative_to(place.root))
        for folder in (place.inbox, place.outbox, place.done, place.error)
        for path in folder.rglob("*")
        if path.is_file() and ".watchconv" not in path.parts
    )


SIDECARS = ("film.srt", "film.en.srt", "film.idx", "film.sub")
EXPECTED: dict[str, list[str]] = {
    "move": [
        "done/trip/film.mp4",
        *(f"done/trip/{name}" for name in SIDECARS),
        "outbox/trip/film.mkv",
        *(f"outbox/trip/{name}" for name in SIDECARS),
    ],
    "keep": [
        "inbox/trip/film.mp4",
        *(f"inbox/trip/{name}" for name in SIDECARS),
        "outbox/trip/film.mkv",
        *(f"outbox/trip/{name}" for name in SIDECARS),
    ],
    "delete": ["outbox/trip/film.mkv", *(f"outbox/trip/{name}" for name in SIDECARS)],
}


@pytest.mark.parametrize("on_success", EXPECTED)
def test_sidecars_go_where_their_film_goes(tmp_path: Path, clip: Path, on_success: str) -> None:
    place = Place(tmp_path / "videos", {**QUICK, "on_success": on_success})
    (place.inbox / "trip").mkdir()
    for name in SIDECARS:
        (place.inbox / "trip" / name).write_text(f"words of {name}")
    (place.inbox / "trip/other.srt").write_text("another's")
    drop(clip, place.inbox / "trip/film.mp4")
    with Daemon(place):
        place.wait_for("trip/film.mp4", "done")

    expected = [*EXPECTED[on_success], "inbox/trip/other.srt"]
    if on_success == "delete" and (place.done / "trip/film.mp4").exists():
        expected = [*EXPECTED["move"], "inbox/trip/other.srt"]  # it was not proven enough
    assert tree(place) == sorted(expected)
    for name in SIDECARS:
        assert (place.outbox / "trip" / name).read_text() == f"words of {name}"


def test_sidecars_of_a_failed_film_go_to_error_and_come_back_with_it(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos", QUICK)
    (place.inbox / "film.en.srt").write_text("words")
    (place.inbox / "film.mp4").write_bytes(b"no film at all")
    with Daemon(place):
        job = place.wait_for("film.mp4", "failed")

        assert tree(place) == ["error/film.en.srt", "error/film.mp4", "error/film.mp4.log"]

        place.say("pause")
        place.say("retry", job["id"])
        wait_until((place.inbox / "film.mp4").exists)

        assert tree(place)[:2] == ["inbox/film.en.srt", "inbox/film.mp4"]


def test_a_name_that_is_taken_is_not_replaced(tmp_path: Path, clip: Path) -> None:
    place = Place(tmp_path / "videos", QUICK)
    (place.outbox / "film.mkv").write_bytes(b"of before")
    (place.outbox / "film (2).en.srt").write_text("of before")
    (place.done / "film.en.srt").write_text("of before")
    (place.inbox / "film.en.srt").write_text("words")
    drop(clip, place.inbox / "film.mp4")
    with Daemon(place):
        place.wait_for("film.mp4", "done")

    assert (place.outbox / "film (2).en.srt").read_text() == "of before"
    assert (place.outbox / "film (2).en (2).srt").read_text() == "words"
    assert (place.done / "film.en.srt").read_text() == "of before"
    assert (place.done / "film.en (2).srt").read_text() == "words"


# again after a crash


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[dict[str, OpenFolder]]:
    opened = {}
    for name in ("inbox", "outbox", "done"):
        (tmp_path / name).mkdir()
        opened[name] = OpenFolder(os.open(tmp_path / name, FOLDER), str(tmp_path / name))
    yield opened
    for folder in opened.values():
        os.close(folder.descriptor)


def deliver(folders: dict[str, OpenFolder]) -> None:
    """Do what a delivery does with sidecars, as often as it is tried."""
    found = Sidecars(folders["inbox"], "film.mkv", 7, is_film)
    found.copy(folders["inbox"], folders["outbox"], "trip/film", Ownership())
    found.move(folders["inbox"], folders["done"], "film", Ownership())


class Crash(BaseException):
    """The machine went down."""


@pytest.mark.parametrize("steps", range(1, 40))
def test_a_crash_at_any_step_loses_and_doubles_nothing(
    folders: dict[str, OpenFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    (tmp_path / "inbox/film.mkv").write_bytes(b"film")
    for name in ("film.srt", "film.en.srt"):
        (tmp_path / "inbox" / name).write_text(name)
    done = 0

    def counting(real: Any) -> Any:
        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal done
            done += 1
            if done == steps:
                raise Crash
            return real(*args, **kwargs)

        return step

    with monkeypatch.context() as patched:
        for module, name in [
            (moving, "_rename"),
            (moving, "copy"),
            (moving, "sync_folder"),
            (moving, "own"),
            (sidecars, "make_folder"),
        ]:
            patched.setattr(module, name, counting(getattr(module, name)))
        with contextlib.suppress(Crash):
            deliver(folders)
    deliver(folders)

    left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert left == [
        "done/film.en.srt",
        "done/film.srt",
        "inbox/film.mkv",
        "outbox/trip/film.en.srt",
        "outbox/trip/film.srt",
    ]
    assert (tmp_path / "outbox/trip/film.en.srt").read_text() == "film.en.srt"


def test_a_full_disk_fails_the_try_and_one_that_cannot_be_read_does_not(
    folders: dict[str, OpenFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inbox/film.srt").write_text("words")
    codes = [errno.ENOSPC, errno.EACCES]

    def copy(*_: object) -> None:
        raise OSError(codes[0], os.strerror(codes[0]))

    monkeypatch.setattr(moving, "copy", copy)
    with pytest.raises(OSError, match="No space"):
        deliver(folders)
    assert (tmp_path / "inbox/film.srt").exists()

    codes.pop(0)
    deliver(folders)

    assert (tmp_path / "done/film.srt").exists()
    assert list((tmp_path / "outbox").rglob("*.srt")) == []


def test_a_link_or_a_pipe_is_no_sidecar(folders: dict[str, OpenFolder], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a private file")
    (tmp_path / "inbox/film.srt").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "inbox/film.en.srt")
    (tmp_path / "inbox/film.de.srt").mkdir()
    deliver(folders)

    assert list((tmp_path / "outbox").rglob("*")) == []
    assert len(list((tmp_path / "inbox").iterdir())) == 3

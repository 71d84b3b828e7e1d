"""Which names count as videos, with which profile; the others are counted, each logged once."""

from __future__ import annotations

import logging
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchconv.intake.filters import (
    LOGGED_LIMIT,
    Ignored,
    NameFilter,
    names_in_error,
    profile_for,
)
from watchconv.names import with_suffix

VIDEOS = NameFilter(["mp4", "mov"], ["*.proxy.mp4", "raw[12].mov"])
PARTIAL = "its name is that of a partial or system file"
NO_VIDEO = "no video by name"
PROFILES = ("webm", "mp4", "phone x")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.mp4", None),
        ("A.MP4", None),
        ("a.b.MoV", None),
        ("-i.mp4", None),
        ("concat:x.mp4", None),
        ("line\nbreak.mp4", None),
        (os.fsdecode(b"caf\xe9.mp4"), None),
        ("raw3.mov", None),
        ("a.txt", NO_VIDEO),
        ("mp4", NO_VIDEO),
        ("a.", NO_VIDEO),
        ("a.mp4.zip", NO_VIDEO),
        (".mp4", PARTIAL),
        (".hidden.mp4", PARTIAL),
        ("._a.mp4", PARTIAL),
        (".a.mp4.XYZ123", PARTIAL),
        ("~$a.mp4", PARTIAL),
        ("Thumbs.db", PARTIAL),
        ("THUMBS.DB", PARTIAL),
        ("a.mp4.part", PARTIAL),
        ("a.mp4.PART", PARTIAL),
        ("a.mp4.crdownload", PARTIAL),
        ("a.mp4.!qB", PARTIAL),
        ("a\nb.mp4.part", PARTIAL),
        ("a.proxy.mp4", "it is like *.proxy.mp4 in ignore"),
        ("A.Proxy.MP4", "it is like *.proxy.mp4 in ignore"),
        ("raw1.mov", "it is like raw[12].mov in ignore"),
    ],
)
def test_a_name_has_its_reason(name: str, reason: str | None) -> None:

    assert reason == VIDEOS.reason(name)


def test_without_extensions_every_name_counts_but_the_ignored() -> None:
    every = NameFilter(None, [])

    assert [every.reason(n) for n in ("a", "a.txt", "a.part")] == [None, None, PARTIAL]


@pytest.mark.parametrize(
    ("name", "skipped"),
    [
        ("trip", False),
        ("trip.mp4", False),
        ("no video here.txt", False),
        (".git", True),
        ("@eaDir", True),
        ("$RECYCLE.BIN", True),
        ("System Volume Information", True),
        ("_UNPACK_film", True),
        ("x.proxy.mp4", True),
    ],
)
def test_folders_of_ignored_names_are_skipped_whole(name: str, skipped: bool) -> None:

    assert skipped == VIDEOS.skips_folder(name)


@pytest.mark.parametrize(
    ("pattern", "passed_over", "left"),
    [
        ("raw/*", ["raw/a.mp4", "RAW/b.mp4", "raw/day/c.mp4"], ["raw.mp4", "x/raw/a.mp4"]),
        ("/raw/*.mp4", ["raw/a.mp4"], ["raw/a.mov", "x/raw/a.mp4"]),
        ("*/raw/*", ["x/raw/a.mp4", "x/y/raw/a.mp4"], ["raw/a.mp4"]),
        ("priv/", ["priv/a.mp4", "x/priv/y/a.mp4"], ["private/a.mp4", "x/priv.mp4"]),
        ("x/priv/", ["x/priv/a.mp4"], ["priv/a.mp4", "y/x/priv/a.mp4"]),
        ("*.mp4/", ["trip.mp4/a.mp4"], ["trip/a.mp4"]),
    ],
)
def test_a_pattern_with_a_slash_is_about_the_path_and_one_that_ends_with_it_about_folders(
    pattern: str, passed_over: list[str], left: list[str]
) -> None:
    names = NameFilter(["mp4", "mov"], [pattern])

    def stays(path: str) -> bool:
        folder, name = os.path.split(path)
        return names.skips(folder) or names.reason(name, folder) is not None

    assert [path for path in passed_over + left if stays(path)] == passed_over


@given(
    st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=30),
    st.lists(st.text(max_size=6), max_size=4),
)
def test_no_name_and_no_pattern_trips_the_filter(name: str, patterns: list[str]) -> None:
    names = NameFilter(["mp4"], patterns)

    assert names.reason(name) in {None, NO_VIDEO} or names.skips_folder(name)
    assert names.skips_folder(name) == names.skips(name)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged."""
    caplog.set_level(logging.INFO, "watchconv")
    return caplog


def test_an_ignored_file_is_counted_and_logged_once(logged: pytest.LogCaptureFixture) -> None:
    ignored = Ignored()
    ignored.renew("trip", [("a.txt", NO_VIDEO)])
    ignored.renew("trip", [("a.txt", NO_VIDEO)])
    ignored.add("trip", "a.txt", NO_VIDEO)

    assert ignored.end_scan() == 1
    assert logged.messages == ["ignored trip/a.txt: no video by name"]


def test_a_name_that_came_back_is_logged_again(logged: pytest.LogCaptureFixture) -> None:
    ignored = Ignored()
    ignored.add("", "a.txt", NO_VIDEO)
    ignored.discard("", "a.txt")
    ignored.discard("", "a.txt")
    ignored.discard("nowhere", "a.txt")

    assert ignored.end_scan() == 0

    ignored.add("", "a.txt", NO_VIDEO)

    assert logged.messages == ["ignored a.txt: no video by name"] * 2


def test_a_scan_replaces_what_a_folder_holds() -> None:
    ignored = Ignored()
    ignored.renew("a", [("1.txt", NO_VIDEO), ("2.txt", NO_VIDEO)])
    ignored.renew("b", [("1.txt", NO_VIDEO)])
    ignored.renew("a", [("2.txt", NO_VIDEO)])

    assert ignored.end_scan() == 2

    ignored.keep_only({"a"})

    assert ignored.end_scan() == 1

    ignored.renew("a", [])

    assert ignored.end_scan() == 0


def test_a_flood_of_ignored_files_is_counted_not_listed(logged: pytest.LogCaptureFixture) -> None:
    ignored = Ignored()
    ignored.renew("", ((f"{n}.txt", NO_VIDEO) for n in range(LOGGED_LIMIT + 50)))

    assert ignored.end_scan() == LOGGED_LIMIT + 50
    assert len(logged.messages) == LOGGED_LIMIT + 1
    assert logged.messages[-1] == "ignored 50 more files"


def test_a_strange_name_is_logged_on_one_line(logged: pytest.LogCaptureFixture) -> None:
    Ignored().add("trip", "a\n\x1b[2Jb" + os.fsdecode(b"\xff"), NO_VIDEO)

    assert logged.messages == [r"ignored trip/a\n\x1b[2Jb\xff: no video by name"]


# which profile a file gets


@pytest.mark.parametrize("source", ["trip/a.mov", "mp4/trip/a.mov"])
def test_a_file_may_have_failed_in_the_folder_of_any_profile(source: str) -> None:
    names = ["trip/a.mov", "webm/trip/a.mov", "mp4/trip/a.mov", "phone x/trip/a.mov"]

    assert names_in_error(source, PROFILES) == names


@pytest.mark.parametrize(
    ("source", "profile"),
    [
        ("a.mov", "webm"),
        ("mp4/a.mov", "mp4"),
        ("mp4/trip/a.mov", "mp4"),
        ("phone x/a.mov", "phone x"),
        ("trip/mp4/a.mov", "webm"),
        ("mp4", "webm"),
        ("MP4/a.mov", "mp4"),
        ("Mp4/trip/a.mov", "mp4"),
        ("Phone X/a.mov", "phone x"),
        ("MP4", "webm"),
        ("mp4 /a.mov", "webm"),
        ("unknown/a.mov", "webm"),
    ],
)
def test_the_first_folder_picks_the_profile_where_it_is_one(source: str, profile: str) -> None:

    assert profile == profile_for(source, PROFILES, "webm")


@pytest.mark.parametrize(("first", "profile"), [("tv", "tv"), ("TV", "TV"), ("Tv", "tv")])
def test_the_very_name_of_a_profile_comes_before_one_in_another_case(
    first: str, profile: str
) -> None:
    assert profile_for(f"{first}/a.mov", ["tv", "TV", "webm"], "webm") == profile


def test_a_file_may_have_failed_in_a_profiles_folder_in_another_case() -> None:
    names = names_in_error("MP4/a.mov", PROFILES)

    assert names == ["a.mov", "webm/a.mov", "mp4/a.mov", "phone x/a.mov", "MP4/a.mov"]


@given(st.lists(st.text("amp4.é ", min_size=1, max_size=9), min_size=1, max_size=5))
def test_every_path_has_a_profile_and_an_output_in_its_own_folder(parts: list[str]) -> None:
    source = "/".join(parts)
    output = with_suffix(source, ".webm")

    assert profile_for(source, PROFILES, "webm") in PROFILES
    assert os.path.dirname(source) == os.path.dirname(output)
    assert output.endswith(".webm")

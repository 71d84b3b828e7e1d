"""Which profile a file gets, and what its output is called."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchconv.intake.routing import names_in_error, output_for, profile_for

PROFILES = ("webm", "mp4", "phone x")


@pytest.mark.parametrize("source", ["trip/a.mov", "mp4/trip/a.mov"])
def test_a_file_may_have_failed_in_the_folder_of_any_profile(source: str) -> None:
    names = ["trip/a.mov", "webm/trip/a.mov", "mp4/trip/a.mov", "phone x/trip/a.mov"]

    assert list(names_in_error(source, PROFILES)) == names


@pytest.mark.parametrize(
    ("source", "profile"),
    [
        ("a.mov", "webm"),
        ("mp4/a.mov", "mp4"),
        ("mp4/trip/a.mov", "mp4"),
        ("phone x/a.mov", "phone x"),
        ("trip/mp4/a.mov", "webm"),
        ("mp4", "webm"),
        ("MP4/a.mov", "webm"),
        ("mp4 /a.mov", "webm"),
        ("unknown/a.mov", "webm"),
    ],
)
def test_the_first_folder_picks_the_profile_where_it_is_one(source: str, profile: str) -> None:

    assert profile == profile_for(source, PROFILES, "webm")


@given(st.lists(st.text("amp4.é ", min_size=1, max_size=9), min_size=1, max_size=5))
def test_every_path_has_a_profile_and_an_output_in_its_own_folder(parts: list[str]) -> None:
    source = "/".join(parts)
    output = output_for(source, ".webm")

    assert profile_for(source, PROFILES, "webm") in PROFILES
    assert os.path.dirname(source) == os.path.dirname(output)
    assert output.endswith(".webm")


def test_an_output_keeps_its_sub_folder_and_changes_its_suffix() -> None:

    assert output_for("mp4/trip/a.mov", ".mp4") == "mp4/trip/a.mp4"

"""Is a file still changing? By ctime and by what was seen, never by mtime."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchconv.intake.settle import (
    LOOKS_WITHOUT_PROOF,
    Observation,
    observe_again,
    quiet_seconds,
    wait_with_proof,
    wait_without_proof,
)

NOW, WALL = 1_000.0, 1_700_000_000.0  # monotonic, and since the epoch


def sight(
    *, since: float = NOW, changed: float = WALL, wall: float = WALL, looks: int = 1, size: int = 5
) -> Observation:
    """A file first seen at since (monotonic) and wall (wall clock), its ctime at changed."""
    times = {"st_mtime_ns": 77, "st_ctime_ns": int(changed * 1e9)}
    stat = os.stat_result((0o100644, 1, 1, 1, 0, 0, size, 0, 0, 0), times)
    return replace(Observation.of(stat, since, wall, appeared=False), looks=looks)


@pytest.mark.parametrize(
    ("seen", "quiet"),
    [
        (sight(), 0.0),
        (sight(since=NOW - 3), 3.0),
        (sight(changed=WALL - 90), 90.0),
        (sight(since=NOW - 3, changed=WALL - 1), 4.0),
        (sight(changed=WALL + 86_400), 0.0),
        (sight(since=NOW - 3, changed=WALL + 86_400), 3.0),
    ],
)
def test_age_counts_from_ctime_or_the_first_sight(seen: Observation, quiet: float) -> None:

    assert quiet == pytest.approx(quiet_seconds(seen, NOW), abs=1e-3)


def test_a_clock_that_is_stepped_ages_nothing() -> None:
    """A file is seen just after it was written, then the clock is put forward by a day."""
    before = sight(since=NOW - 1, changed=WALL - 0.5)
    after = observe_again(before, sight(changed=WALL - 0.5, wall=WALL + 86_400), own_look=True)

    assert quiet_seconds(after, NOW) == pytest.approx(1.5, abs=1e-3)
    assert wait_with_proof(after, NOW, 3600.0) > 3000


def test_mtime_counts_for_nothing() -> None:
    ancient = replace(sight(), mtime_ns=0)

    assert wait_with_proof(ancient, NOW, 2.0) == 2.0


def test_a_file_left_alone_long_enough_is_settled() -> None:

    assert wait_with_proof(sight(since=NOW - 2), NOW, 2.0) == 0.0
    assert wait_with_proof(sight(changed=WALL - 2), NOW, 2.0) == 0.0


def test_a_name_that_appeared_by_move_or_link_is_settled_at_once() -> None:
    appeared = replace(sight(), appeared=True)

    assert wait_with_proof(appeared, NOW, 2.0) == 0.0


@pytest.mark.parametrize("change", [{"size": 6}, {"mtime_ns": 78}, {"ctime_ns": 1}])
def test_any_change_begins_anew(change: dict[str, int]) -> None:
    before = replace(sight(since=NOW - 9, looks=5), appeared=True)
    seen = replace(sight(), **change)  # type: ignore[arg-type]

    assert seen == observe_again(before, seen, own_look=True)


def test_a_file_that_grows_is_not_settled() -> None:
    seen: Observation | None = None
    for second in range(100):
        now, wall = NOW + second, WALL + second
        seen = observe_again(
            seen, sight(since=now, changed=wall, wall=wall, size=second), own_look=True
        )

        assert wait_with_proof(seen, now, 2.0) == 2.0
        assert wait_without_proof(seen, now, 10.0) > 0


def test_a_sight_that_lasts_keeps_its_beginning_and_gains_a_look() -> None:
    before = sight(since=NOW - 4, looks=2)

    assert replace(before, looks=3) == observe_again(before, sight(), own_look=True)
    assert before == observe_again(before, sight(), own_look=False)


def test_an_appearance_is_remembered_from_either_sight() -> None:
    plain, appeared = sight(), replace(sight(), appeared=True)

    assert observe_again(plain, appeared, own_look=False).appeared
    assert observe_again(appeared, plain, own_look=False).appeared
    assert not observe_again(plain, plain, own_look=False).appeared


def test_many_events_of_one_moment_are_no_several_looks() -> None:
    seen = sight(since=NOW - 60)
    for _ in range(50):
        seen = observe_again(seen, sight(), own_look=False)

    assert wait_without_proof(seen, NOW, 10.0) > 0


@given(st.floats(0, 3600), st.floats(0, 1))
def test_without_proof_three_looks_over_the_whole_time_are_enough(
    settle_seconds: float, late_seconds: float
) -> None:
    now = NOW
    seen = sight(since=now)
    looks = 1
    while (wait := wait_without_proof(seen, now, settle_seconds)) > 0:
        now += wait + late_seconds
        seen = observe_again(seen, sight(since=now), own_look=True)
        looks += 1

        assert looks < 10

    assert seen.looks >= LOOKS_WITHOUT_PROOF
    assert now - NOW >= settle_seconds


@given(
    st.floats(-1e6, 1e6), st.floats(-1e9, 1e9), st.floats(0, 1e5), st.integers(1, 9), st.booleans()
)
def test_a_wait_is_never_negative_nor_longer_than_asked(
    age: float, wall_age: float, settle_seconds: float, looks: int, appeared: bool
) -> None:
    """Clocks may step however they like."""
    seen = replace(sight(since=NOW - age, changed=WALL - wall_age, looks=looks), appeared=appeared)

    assert quiet_seconds(seen, NOW) >= 0
    assert 0 <= wait_with_proof(seen, NOW, settle_seconds) <= settle_seconds
    assert wait_without_proof(seen, NOW, settle_seconds) >= 0

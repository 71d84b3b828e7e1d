"""Jobs under way: how many there are, and what is shown of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import Daemon, drop, tiny_clip
from tests.fake_place import FakePlace, files_in
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


def test_progress_has_percent_speed_and_eta_and_never_passes_the_whole(
    tmp_path: Path, long_clip: Path, gates: Path
) -> None:
    place = FakePlace(
        tmp_path / "videos", {"steady*": f"gate:{gates}", "over*": f"overrun:{gates}"}
    )
    shares: list[float] = []

    def shown(name: str) -> dict[str, Any]:
        rows: list[dict[str, Any]] = place.live()["running"]
        shares.extend(row["progress"] for row in rows if row["progress"] is not None)
        return next((row for row in rows if row["source"] == name), {})

    with Daemon(place):
        drop(long_clip, place.inbox / "over.mkv")
        # far past the end of the input no percent is true
        row = wait_until(lambda: ((row := shown("over.mkv")).get("out_seconds") or 0) > 3.5 and row)
        assert row
        drop(long_clip, place.inbox / "steady.mkv")
        wait_until(lambda: shown("steady.mkv").get("speed"))
        rows = {row["source"]: row for row in place.status()["running"]}
        (gates / "all").touch()
        wait_until(lambda: files_in(place.done) == {"over.mkv", "steady.mkv"})

    assert (row["progress"], row["eta_seconds"]) == (None, None)
    assert all(0 <= share < 1 for share in shares)
    assert rows["over.mkv"]["progress"] is None
    # a tenth of a second of two is done
    steady = rows["steady.mkv"]
    assert steady["progress"] == pytest.approx(0.05, abs=0.005)
    assert steady["eta_seconds"] == pytest.approx(1.9, abs=0.2)
    assert (steady["speed"], steady["fps"], steady["profile"]) == (1.0, 25.0, "webm")
    assert isinstance(steady["id"], int)


def test_a_job_of_unknown_length_shows_no_percent(tmp_path: Path, gates: Path) -> None:
    once = tiny_clip(tmp_path, "once.ts", 12.0)
    twice = tmp_path / "twice.ts"  # its clock begins anew in the middle
    twice.write_bytes(2 * once.read_bytes())
    place = FakePlace(tmp_path / "videos", otherwise=f"gate:{gates}", frames=None)
    with Daemon(place):
        drop(twice, place.inbox / "twice.ts")
        shown = wait_until(lambda: [r for r in place.live()["running"] if r["speed"] is not None])
        (row,) = place.status()["running"]
        (gates / "all").touch()
        place.wait_for("twice.ts", "done")

    assert (shown[0]["progress"], shown[0]["eta_seconds"]) == (None, None)
    assert (row["progress"], row["eta_seconds"], row["speed"]) == (None, None, 1.0)


@pytest.mark.parametrize("sandbox", ["auto", "off"])
def test_never_more_children_than_jobs_are_alive(
    tmp_path: Path, long_clip: Path, sandbox: str
) -> None:
    place = FakePlace(tmp_path / "videos", otherwise="slow:0.2-0.4", jobs=3, sandbox=sandbox)
    names = {f"{number:02}.mkv" for number in range(20)}
    for name in names:
        drop(long_clip, place.inbox / name)
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, len(place.children()))
        return len(place.transitions("delivering→done")) == len(names)

    with Daemon(place) as daemon:
        wait_until(done, what=daemon.log)

    assert most == 3
    assert files_in(place.done) == names
    assert files_in(place.outbox) == {name.replace(".mkv", ".webm") for name in names}
    assert files_in(place.error) == set()

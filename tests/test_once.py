"""``run --once`` ends when the inbox is worked off, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.daemon import Daemon, drop, tiny_clip
from tests.fake_place import CopyPlace
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of two frames."""
    return tiny_clip(tmp_path_factory.mktemp("clips"))


def test_run_once_does_not_end_before_the_file_that_changed_is_done(
    tmp_path: Path, clip: Path
) -> None:
    place = CopyPlace(tmp_path / "videos", {"*": "slow:0.7"})
    drop(clip, place.inbox / "a.mkv")
    daemon = Daemon(place, "--once")
    try:
        daemon.start()
        wait_until((place.outbox / ".watchconv/1/1/output.mkv").exists)
        with (place.inbox / "a.mkv").open("ab") as file:
            file.write(bytes(8))

        assert daemon.wait() == 0
    finally:
        daemon.kill()

    assert [job["state"] for job in place.jobs()] == ["done", "superseded"]
    assert (place.done / "a.mkv").read_bytes() == clip.read_bytes() + bytes(8)
    assert place.tree() == ["done/a.mkv", "outbox/a.mkv"]


def test_run_once_ends_where_a_delivery_cannot_be_done(tmp_path: Path, clip: Path) -> None:
    place = CopyPlace(tmp_path / "videos", unprivileged=True)
    (place.done / "sub").mkdir(mode=0o500)
    drop(clip, place.inbox / "sub/a.mkv")

    assert place.once() == 1
    assert "cannot be delivered yet" in place.log()
    assert [job["state"] for job in place.jobs()] == ["delivering"]

"""``run --once`` ends when the inbox is worked off, and not before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.daemon import Daemon, drop
from tests.fake_place import CopyPlace
from tests.parts import until, with_app
from tests.waiting import wait_until
from watchconv.journal.jobs import Journal
from watchconv.model import Candidate, Job, JobState, Trouble, Verdict
from watchconv.policy import Deliver

if TYPE_CHECKING:
    from pathlib import Path

    from watchconv.daemon.app import App


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


# a run that is almost over


async def ask_again_and_again(app: App) -> None:
    """Have ``run --once`` ask whether it is over at every moment."""
    while True:
        app.context.signals.once.set()
        await asyncio.sleep(0)


async def begin(app: App) -> list[asyncio.Task[None]]:
    """Begin a run whose first scan has been made."""
    app.scan_loop.first_done.set()
    return [asyncio.create_task(work) for work in (app.once.run(), ask_again_and_again(app))]


async def queued(app: App) -> Job:
    """Queue a file that is no longer there."""
    (job,) = await app.context.journal.ask(Journal.add, [Candidate("a.mkv", 1, 1, "copy")], 1.0)
    return job


async def end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_run_is_not_over_while_a_changed_file_is_still_to_be_scanned(tmp_path: Path) -> None:
    """The row of an original that is gone is ended before anybody is asked to scan its name."""
    place = CopyPlace(tmp_path / "videos")

    async def steps(app: App) -> None:
        signals, request = app.context.signals, app.context.request
        job = await queued(app)
        app.dispatcher.resize(1)
        tasks = [*await begin(app), asyncio.create_task(app.dispatcher.run())]
        await until(request.due.is_set)
        for _ in range(20):
            await asyncio.sleep(0.001)
        after = await app.context.journal.ask(Journal.get, job.id)
        assert after and after.state is JobState.WITHDRAWN
        assert not signals.stop.is_set()

        request.watcher.take()  # the scan
        request.due.clear()
        await until(signals.stop.is_set)
        assert app.once.exit_code == 0
        await end(tasks)

    with_app(place, steps)


def test_a_run_is_not_over_while_the_end_of_a_delivery_is_not_counted(tmp_path: Path) -> None:
    """The row says failed before it is counted, and before its name is scanned again."""
    place = CopyPlace(tmp_path / "videos")

    async def steps(app: App) -> None:
        signals, request = app.context.signals, app.context.request
        job = await queued(app)
        tasks = await begin(app)
        decision = Deliver(Verdict.FAILED, reason="why", report="report")
        assert await app.deliveries.conclude(job, decision, None)
        await until(lambda: app.deliveries.failed)
        assert not signals.stop.is_set()
        assert request.due.is_set()

        request.watcher.take()
        request.due.clear()
        await until(signals.stop.is_set)
        assert app.once.exit_code == 1
        await end(tasks)

    with_app(place, steps)


def test_a_paused_run_ends_and_says_what_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = CopyPlace(tmp_path / "videos")

    async def steps(app: App) -> None:
        app.dispatcher.set_paused(True)
        await queued(app)
        tasks = await begin(app)
        await until(app.context.signals.stop.is_set)
        assert app.once.exit_code == 1
        await end(tasks)

    with_app(place, steps)

    assert "paused with 1 jobs queued" in caplog.text


@pytest.mark.parametrize("trouble", [Trouble.FOLDERS, Trouble.SPACE])
def test_a_run_ends_where_nothing_more_can_be_done(tmp_path: Path, trouble: Trouble) -> None:
    place = CopyPlace(tmp_path / "videos")

    async def steps(app: App) -> None:
        app.context.troubles.report(trouble, "the machine is to blame")
        await queued(app)
        tasks = await begin(app)
        await until(app.context.signals.stop.is_set)
        assert app.once.exit_code == 1
        await end(tasks)

    with_app(place, steps)

"""When the inbox is scanned: nothing that is asked for is lost, what failed is tried again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.parts import Bench, until
from watchconv.daemon import scan_loop
from watchconv.daemon.context import call_soon_from_thread
from watchconv.daemon.scan_loop import ScanLoop
from watchconv.errors import EnvironmentTrouble
from watchconv.intake.scan import InboxScanner, ScanResult
from watchconv.journal.jobs import Journal
from watchconv.model import JobState, Trouble

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from watchconv.intake.scan import ScanRules
    from watchconv.intake.watch import Hints


class StandInScanner(InboxScanner):
    """Finds what it is told to, and notes what it was asked for: the hints, or None for all."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.config.inbox, Journal(bench.config.state), bench.folders)
        self.scans: list[Hints | None] = []
        self.results: list[ScanResult | Exception] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def scan(
        self, hints: Hints | None, rules: ScanRules, on_added: Callable[[], None]
    ) -> ScanResult:
        """Scan nothing."""
        self.scans.append(hints)
        self.meanwhile()
        result = self.results.pop(0) if self.results else ScanResult()
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two scans is next to no time."""
    monkeypatch.setattr(scan_loop, "SPACING_SECONDS", 0.001)
    monkeypatch.setattr(scan_loop, "TROUBLE_SECONDS", 0.01)


def with_loop(
    folder: Path, steps: Callable[[Bench, StandInScanner, ScanLoop], Awaitable[None]]
) -> None:
    async def live() -> None:
        async with Bench(folder, {"scan_seconds": 86400}) as bench, asyncio.timeout(60):
            scanner = StandInScanner(bench)
            loop = ScanLoop(bench.context, scanner, bench.dispatcher)
            try:
                await steps(bench, scanner, loop)
            finally:
                await loop.close()
                scanner.close()

    asyncio.run(live())


def test_the_first_scan_is_of_everything_and_then_there_is_rest(tmp_path: Path) -> None:
    async def steps(bench: Bench, scanner: StandInScanner, loop: ScanLoop) -> None:
        bench.start(loop.run())
        await loop.first_done.wait()
        for _ in range(20):
            await asyncio.sleep(0.001)

        assert scanner.scans == [None]
        assert not loop.pending

    with_loop(tmp_path, steps)


def test_a_scan_of_everything_that_is_asked_for_during_one_is_not_lost(tmp_path: Path) -> None:
    """What the first has passed already is seen by the second, not by the next regular scan."""

    async def steps(bench: Bench, scanner: StandInScanner, loop: ScanLoop) -> None:
        here = asyncio.get_running_loop()

        def ask() -> None:
            if len(scanner.scans) == 1:
                call_soon_from_thread(here, bench.request.scan_everything)

        scanner.meanwhile = ask
        bench.start(loop.run())
        await until(lambda: len(scanner.scans) == 2)
        await until(lambda: not loop.busy)
        bench.request.scan_name("a.mkv")
        await until(lambda: len(scanner.scans) == 3)

        everything, again, hints = scanner.scans
        assert everything is None
        assert again is None
        assert hints is not None

    with_loop(tmp_path, steps)


def test_a_folder_that_cannot_be_read_is_scanned_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_loop, "UNREAD_SECONDS", 0.05)

    async def steps(bench: Bench, scanner: StandInScanner, loop: ScanLoop) -> None:
        scanner.results = [ScanResult(unread={"closed", "more"})]
        bench.start(loop.run())
        await until(lambda: any("closed" in str(hints) for hints in scanner.scans))
        named = str(scanner.scans[-1])
        many = len(scanner.scans)
        await asyncio.sleep(0.1)

        assert "more" in named
        assert scanner.scans[0] is None
        assert None not in scanner.scans[1:]
        assert len(scanner.scans) == many  # it could be read now

    with_loop(tmp_path, steps)


def test_a_scan_that_fails_is_trouble_and_made_again(tmp_path: Path) -> None:
    async def steps(bench: Bench, scanner: StandInScanner, loop: ScanLoop) -> None:
        scanner.results = [EnvironmentTrouble("the inbox cannot be listed")]
        bench.start(loop.run())
        await until(lambda: bench.troubles.has(Trouble.SCAN))
        assert bench.troubles.blocked_seconds() == 0
        await until(lambda: not bench.troubles.has(Trouble.SCAN))

        assert scanner.scans == [None, None]

    with_loop(tmp_path, steps)


def test_nothing_is_scanned_while_a_folder_is_in_trouble_and_all_when_it_is_back(
    tmp_path: Path,
) -> None:
    async def steps(bench: Bench, scanner: StandInScanner, loop: ScanLoop) -> None:
        away = tmp_path / "away"
        (tmp_path / "done").rename(away)
        bench.start(loop.run())
        await until(lambda: bench.troubles.has(Trouble.FOLDERS))
        assert loop.checked.is_set()
        assert bench.troubles.blocked_seconds() is None
        assert scanner.scans == []

        bench.signals.retry_deliveries.clear()
        away.rename(tmp_path / "done")
        await until(lambda: not bench.troubles.has(Trouble.FOLDERS))
        await until(lambda: scanner.scans)
        assert scanner.scans == [None]
        await until(bench.signals.retry_deliveries.is_set)  # what was stuck is tried again

    with_loop(tmp_path, steps)


def test_attempts_whose_originals_are_gone_are_ended(tmp_path: Path) -> None:
    async def steps(bench: Bench, scanner: StandInScanner, loop: ScanLoop) -> None:
        (job,) = await bench.add("a.mkv")
        await bench.dispatch(1)
        begun = await bench.engine.begun()
        scanner.results = [ScanResult(taken_away=[job.id])]
        bench.start(loop.run())
        await until(lambda: begun.stops)

        assert begun.stops == [True]
        assert await bench.state(job.id) is JobState.RUNNING

    with_loop(tmp_path, steps)


def test_lost_events_are_trouble_until_everything_was_scanned(tmp_path: Path) -> None:
    async def steps(bench: Bench, scanner: StandInScanner, loop: ScanLoop) -> None:
        bench.start(loop.run())
        await loop.first_done.wait()
        bench.request.watcher.overflowed.set()
        bench.request.scan_name("a.mkv")
        await until(lambda: bench.troubles.has(Trouble.OVERFLOW))
        await until(lambda: not bench.troubles.has(Trouble.OVERFLOW))

        assert scanner.scans[-1] is None

    with_loop(tmp_path, steps)


def test_a_scan_that_hangs_does_not_answer_and_one_that_gets_on_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_loop, "ANSWER_SECONDS", 0.001)

    async def steps(bench: Bench, scanner: StandInScanner, loop: ScanLoop) -> None:
        await loop.answer()  # nothing is under way
        bench.start(loop.run())
        await loop.first_done.wait()
        await loop.answer()
        here, held = asyncio.get_running_loop(), asyncio.Event()

        def hang() -> None:
            asyncio.run_coroutine_threadsafe(held.wait(), here).result(60)

        scanner.meanwhile = hang
        bench.request.scan_name("a.mkv")
        await until(lambda: len(scanner.scans) == 2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await loop.answer()
        scanner.steps += 1
        asking = asyncio.create_task(loop.answer())
        await asyncio.sleep(0)
        scanner.steps += 1
        await asking
        held.set()

    with_loop(tmp_path, steps)

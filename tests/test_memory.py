"""How much memory there is, what an encode needs of it, and who begins when."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.parts import Bench, until
from tests.test_policy import JOB
from watchconv.daemon.memory import MemoryRoom
from watchconv.encode.engine import Assignment, AttemptLimits
from watchconv.encode.needs import needed_memory
from watchconv.encode.plan import EncodePlan
from watchconv.encode.proof import Proof
from watchconv.host.machine import processor_pressure, usable_memory
from watchconv.media.facts import Facts, Track
from watchconv.model import Identity, Rejected, Verify

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30


def machine(folder: Path, meminfo: str, cgroup: str, limits: dict[str, str]) -> tuple[str, str]:
    """Write what a kernel shows of its memory."""
    proc, top = folder / "proc", folder / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(meminfo)
    (proc / "self" / "cgroup").write_text(cgroup)
    for name, text in limits.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    return str(proc), str(top)


TOTAL = "MemTotal:       16777216 kB\nMemFree: 1 kB\n"  # 16 GiB
V2 = "0::/system.slice/watchconv.service\n"
V1 = "9:name=systemd:/\n4:cpu,memory:/docker/abc\n"


@pytest.mark.parametrize(
    ("meminfo", "cgroup", "limits", "gib"),
    [
        (TOTAL, V2, {}, 12.0),
        (TOTAL, V2, {"system.slice/watchconv.service/memory.max": "max\n"}, 12.0),
        (TOTAL, V2, {"system.slice/watchconv.service/memory.max": f"{10 * GIB}\n"}, 9.0),
        (TOTAL, V2, {"system.slice/watchconv.service/memory.high": f"{5 * GIB}\n"}, 4.5),
        (TOTAL, V2, {"system.slice/memory.max": f"{5 * GIB}\n"}, 4.5),
        (TOTAL, "0::/\n", {"memory.max": f"{2 * GIB}\n"}, 1.8),  # in a container
        (TOTAL, V1, {"memory/docker/abc/memory.limit_in_bytes": f"{4 * GIB}\n"}, 3.6),
        (TOTAL, V1, {"memory/docker/abc/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, 12.0),
        (TOTAL, V1, {"memory/memory.limit_in_bytes": f"{4 * GIB}\n"}, 3.6),  # its own name unseen
        ("", "", {}, 0.0),
    ],
)
def test_usable_is_a_share_of_what_the_machine_or_its_cgroup_has(
    tmp_path: Path, meminfo: str, cgroup: str, limits: dict[str, str], gib: float
) -> None:
    assert usable_memory(*machine(tmp_path, meminfo, cgroup, limits)) == int(gib * GIB)


def test_a_kernel_that_shows_nothing_is_no_fault(tmp_path: Path) -> None:
    assert usable_memory(str(tmp_path), str(tmp_path)) == 0
    assert usable_memory() > 0


@pytest.mark.parametrize(
    ("text", "pressure"),
    [
        ("some avg10=94.66 avg60=91.28 avg300=88.65 total=1\nfull avg10=0.00 avg60=0.00", 0.9466),
        ("some avg10=0.00 avg60=91.28 avg300=88.65 total=1\n", 0.0),
        ("", 0.0),
        (None, 0.0),
    ],
)
def test_the_pressure_on_processors_is_what_the_kernel_says(
    tmp_path: Path, text: str | None, pressure: float
) -> None:
    if text is not None:
        (tmp_path / "pressure").mkdir()
        (tmp_path / "pressure" / "cpu").write_text(text)

    assert processor_pressure(str(tmp_path)) == pressure


def video(width: int, height: int, bits: int = 8) -> Facts:
    track = Track(0, "video", "h264", None, width=width, height=height, bits=bits)
    return Facts("mov", 60.0, (track,))


def test_the_forecast_grows_with_the_picture_its_bits_and_the_threads() -> None:
    args = ("-c:v", "libsvtav1")
    small = needed_memory(args, video(640, 360), 2)

    assert small < GIB
    assert small < needed_memory(args, video(3840, 2160), 2)
    assert needed_memory(args, video(3840, 2160), 2) < needed_memory(args, video(3840, 2160), 16)
    assert needed_memory(args, video(3840, 2160), 4) < needed_memory(args, video(3840, 2160, 10), 4)
    assert needed_memory(("-c", "copy"), video(7680, 4320), 32) < GIB


LIMITS = AttemptLimits(0, 0, 0, 0, 0, True, 0, 0, 0, "none", "off")
PLAN = EncodePlan(("-c:v", "libx265"), (), ".mkv", Verify.OFF, None, uses_hardware=False)
LARGE, SMALL = video(3840, 2160), video(640, 360)
NEED = needed_memory(PLAN.args, LARGE, 2)


def assignment(number: int, media: Facts) -> Assignment:
    job = replace(JOB, id=number)
    return Assignment(job, "a.mkv", Identity(0, 0, 0, 0, 0), media, PLAN, LIMITS)


class Asker:
    """An attempt that asks for room."""

    def __init__(self, bench: Bench, room: MemoryRoom, number: int, media: Facts) -> None:
        self.number, self.stopped = number, asyncio.Event()
        asked = assignment(number, media)
        self.task = asyncio.create_task(room.admit(asked, bench.config, 2, self.stopped))

    @property
    def limits(self) -> AttemptLimits:
        return self.task.result().limits


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_encodes_that_fit_begin_side_by_side_and_others_wait_in_their_order(tmp_path: Path) -> None:
    async def live() -> None:
        async with Bench(tmp_path, {"jobs": 4}) as bench:
            room = MemoryRoom(2 * NEED)
            first, second, third = (Asker(bench, room, n, LARGE) for n in (1, 2, 3))
            fourth = Asker(bench, room, 4, SMALL)
            await turns()

            assert first.task.done()
            assert second.task.done()
            assert not third.task.done()
            assert not fourth.task.done(), "it would overtake the third, and others for ever"

            room.leave(1)
            await until(third.task.done)
            assert not fourth.task.done()

            room.leave(2)
            await until(fourth.task.done)

    asyncio.run(live())


def test_one_alone_begins_however_much_it_needs(tmp_path: Path) -> None:
    async def live() -> None:
        async with Bench(tmp_path, {"jobs": 2}) as bench:
            room = MemoryRoom(NEED // 3)
            first, second = (Asker(bench, room, n, LARGE) for n in (1, 2))
            await until(first.task.done)
            await turns()

            assert first.limits.memory == NEED // 3
            assert first.limits.has_all_memory
            assert not second.task.done()

            room.leave(1)
            await until(second.task.done)

    asyncio.run(live())


def test_one_that_is_made_once_more_gives_its_memory_back(tmp_path: Path) -> None:
    """Its slot is given back after the first time: the second has none."""

    async def live() -> None:
        async with Bench(tmp_path, {"jobs": 2}) as bench, asyncio.timeout(30):
            bench.worker.room = MemoryRoom(1)  # for one at a time
            await bench.add("a.mkv")
            await bench.dispatch(2)
            first = await bench.engine.begun()
            film = Track(0, "video", "mpeg2video", None, width=64, height=48)
            first.finish(Rejected("cut"), Proof(anew=Facts("mpegts", 1.0, (film,)), why="late"))
            (await bench.engine.begun()).finish(Rejected("cut"))
            await bench.add("b.mkv")

            assert (await bench.engine.begun()).job.source == "b.mkv"

    asyncio.run(live())


def test_one_that_is_stopped_waits_no_longer_and_lets_the_next_one_pass(tmp_path: Path) -> None:
    async def live() -> None:
        async with Bench(tmp_path, {"jobs": 3}) as bench:
            room = MemoryRoom(int(1.5 * NEED))
            _, second, third = (
                Asker(bench, room, n, m) for n, m in enumerate([LARGE, LARGE, SMALL])
            )
            await turns()
            second.stopped.set()
            await until(second.task.done)
            room.leave(1)
            await until(third.task.done)

    asyncio.run(live())


def test_who_waits_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def live() -> None:
        async with Bench(tmp_path, {"jobs": 2}) as bench:
            room = MemoryRoom(NEED)
            for number in (1, 2):
                Asker(bench, room, number, LARGE)
            await turns()

    with caplog.at_level(logging.INFO):
        asyncio.run(live())

    assert "of memory, and others need" in caplog.text


@pytest.mark.parametrize(
    ("settings", "memory", "has_all"),
    [
        ({"jobs": 4}, [8 * GIB, 8 * GIB - NEED], [True, False]),  # what the others leave
        ({"jobs": 1}, [8 * GIB, 8 * GIB], [True, True]),  # the share of each is all
        ({"jobs": 4, "memory_limit": "1GiB"}, [GIB, GIB], [True, True]),
        ({"jobs": 4, "memory_limit": 0}, [0, 0], [True, True]),
    ],
)
def test_the_limit_is_what_is_configured_or_what_there_is(
    tmp_path: Path, settings: dict[str, object], memory: list[int], has_all: list[bool]
) -> None:
    async def live() -> None:
        async with Bench(tmp_path, settings) as bench:
            room = MemoryRoom(8 * GIB)
            askers = [Asker(bench, room, n, LARGE) for n in (1, 2)]
            await until(lambda: all(asker.task.done() for asker in askers))

            assert [asker.limits.memory for asker in askers] == memory
            assert [asker.limits.has_all_memory for asker in askers] == has_all

    asyncio.run(live())


def test_where_nobody_knows_how_much_there_is_a_limit_still_holds(tmp_path: Path) -> None:
    async def live() -> None:
        async with Bench(tmp_path, {"memory_limit": "1GiB"}) as bench:
            asker = Asker(bench, MemoryRoom(0), 1, LARGE)
            await until(asker.task.done)

            assert asker.limits.memory == GIB

    asyncio.run(live())


@pytest.mark.parametrize(
    ("memory", "address_space", "mapped"),
    [
        (0, 0, 0),
        (0, GIB, GIB),
        (GIB, 0, 64 * GIB),  # only against bombs
        (100 * GIB, 0, 400 * GIB),
        (GIB, 2 * GIB, 2 * GIB),
    ],
)
def test_what_may_be_mapped_is_far_more_than_what_may_be_used(
    memory: int, address_space: int, mapped: int
) -> None:
    limits = replace(LIMITS, memory=memory, address_space=address_space)

    assert limits.mapped_bytes == mapped

"""Real clips, damaged at random, through the whole intake: look, settle, admit, probe, plan.

Nothing is encoded. A damaged file is a job or is refused with a sentence; it never raises, and a
probe worker that is lost over it is replaced. 5,000 clips of a seeded row; 20,000 with
WATCHCONV_FAULTS=all.
"""

from __future__ import annotations

import math
import os
import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.clips import MEDIA
from tests.test_scan import House
from watchconv.config.profiles import BUILTIN
from watchconv.encode.plan import plan_encode, refusal
from watchconv.encode.program import Ability
from watchconv.host.files import open_regular
from watchconv.intake.admit import Admitted, admit
from watchconv.intake.settling import SettleSettings
from watchconv.media.probe import ProbeWorker
from watchconv.media.probe_protocol import ProbeFailed
from watchconv.model import JobState, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from watchconv.media.facts import Facts
    from watchconv.model import Job

EVERYTHING = os.environ.get("WATCHCONV_FAULTS") == "all"
CLIPS = 20_000 if EVERYTHING else 5000
SEED = 20_261_126
BATCH = 250
LARGEST_BYTES = 2 << 20
HEAD_BYTES = 4096  # where most formats keep what can be got wrong
SIZES = (0, 1, 7, 8, 0x7F, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE)

pytestmark = pytest.mark.skipif(not MEDIA.is_dir(), reason=f"the real clips are not at {MEDIA}")


# Each takes a clip and gives it damaged.


def flip_bits(clip: bytearray, luck: random.Random) -> bytearray:
    for _ in range(luck.choice((1, 4, 64))):
        clip[somewhere(clip, luck)] ^= 1 << luck.randrange(8)
    return clip


def lie_about_a_size(clip: bytearray, luck: random.Random) -> bytearray:
    at, width = somewhere(clip, luck), luck.choice((2, 4, 8))
    order = luck.choice(("big", "little"))
    size = luck.choice(SIZES) & ((1 << 8 * width) - 1)
    clip[at : at + width] = size.to_bytes(width, order)  # type: ignore[arg-type]
    return clip


def cut_off(clip: bytearray, luck: random.Random) -> bytearray:
    return clip[: luck.randrange(1, len(clip))]


def lose_a_part(clip: bytearray, luck: random.Random) -> bytearray:
    at = somewhere(clip, luck)
    del clip[at : at + luck.choice((1, 5, 100, 5000))]
    return clip


def repeat_a_part(clip: bytearray, luck: random.Random) -> bytearray:
    at, length = somewhere(clip, luck), luck.choice((1, 30, 3000))
    clip[at:at] = clip[at : at + length] * luck.choice((1, 50))
    return clip


def fill_with_zeros(clip: bytearray, luck: random.Random) -> bytearray:
    at, length = somewhere(clip, luck), luck.choice((8, 512, 65536))
    part = len(clip[at : at + length])
    clip[at : at + length] = bytes(part)
    return clip


def swap_parts(clip: bytearray, luck: random.Random) -> bytearray:
    one, other, length = somewhere(clip, luck), somewhere(clip, luck), luck.choice((4, 100, 4096))
    first, second = clip[one : one + length], clip[other : other + length]
    clip[one : one + len(first)], clip[other : other + len(second)] = second, first
    return clip


def bury_in_noise(clip: bytearray, luck: random.Random) -> bytearray:
    at = somewhere(clip, luck)
    noise = luck.randbytes(luck.choice((16, 600, 20000)))
    clip[at : at + len(noise)] = noise
    return clip


DAMAGES: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    flip_bits, lie_about_a_size, cut_off, lose_a_part, repeat_a_part, fill_with_zeros, swap_parts,
    bury_in_noise,
)  # fmt: skip


def somewhere(clip: bytearray, luck: random.Random) -> int:
    """Choose an offset: half of the time near one of the ends."""
    near = min(HEAD_BYTES, len(clip))
    where = luck.randrange(4)
    if where == 0:
        return luck.randrange(near)
    if where == 1:
        return len(clip) - 1 - luck.randrange(near)
    return luck.randrange(len(clip))


def damaged(clips: list[bytes], luck: random.Random) -> bytes:
    clip = bytearray(luck.choice(clips))
    for _ in range(luck.choice((1, 1, 2, 5))):
        clip = luck.choice(DAMAGES)(clip, luck) or bytearray(b"\0")
    if luck.randrange(20) == 0:
        clip += luck.choice(clips)
    return bytes(clip)


class Tried:
    """What became of the damaged clips."""

    def __init__(self, house: House) -> None:
        self.house, self.ends, self.workers = house, Counter[str](), set[int]()
        self.worker = ProbeWorker()

    def take(self, batch: dict[str, bytes]) -> None:
        """Drop a batch and carry each file as far as the encode."""
        for name, content in batch.items():
            self.house.put(name, content)
        self.house.scan()
        jobs = {job.source: job for job in self.house.journal.in_state(JobState.QUEUED)}
        self.ends["waiting"] += len(batch.keys() - jobs.keys())
        for job in jobs.values():
            self.ends[self.carry(job)] += 1
            self.house.journal.withdraw(job.id, JobState.QUEUED, 0.0)
            (self.house.inbox / job.source).unlink()

    def carry(self, job: Job) -> str:
        """Admit, probe and plan; the probe sees what is not admitted, too."""
        admitted = admit(str(self.house.inbox), job)
        assert isinstance(admitted, Admitted | Rejected), admitted
        if isinstance(admitted, Admitted):
            os.close(admitted.descriptor)
        else:
            assert admitted.reason.isprintable()
        descriptor = open_regular(str(self.house.inbox), job.source)
        try:
            media = self.worker.probe(descriptor)
        except ProbeFailed as failed:
            end = self.blame(failed)
        else:
            end = plan(media)
        finally:
            os.close(descriptor)
            self.workers.add(self.worker.pid or 0)
        return end if isinstance(admitted, Admitted) else "truncated"

    def blame(self, failed: ProbeFailed) -> str:
        assert failed.reason.isprintable()
        assert failed.hopeless, failed.reason
        return "lost a worker" if "in a row" in failed.reason else "refused"


def plan(media: Facts) -> str:
    """Do all that is done with a probe's answer before ffmpeg starts."""
    length = media.duration_seconds
    assert length is None or (math.isfinite(length) and length >= 0)
    if refused := refusal(media, 1 << 27):
        assert refused.reason.isprintable()
        return "no video"
    for profile in BUILTIN.values():
        plan_encode(
            profile,
            media,
            program="ffmpeg",
            ability=Ability(),
            source="/a",
            output="/b",
            cores=2,
            parallel=2,
            max_pixels=1 << 27,
        )
    return "a video"


@pytest.mark.timeout(1800)
def test_no_damaged_clip_does_more_than_be_refused(tmp_path: Path) -> None:
    luck = random.Random(SEED)
    paths = [path for path in sorted(MEDIA.iterdir()) if path.suffix not in {".tsv", ".md"}]
    small = [path for path in paths if path.is_file() and path.stat().st_size <= LARGEST_BYTES]
    clips = [path.read_bytes() for path in small]
    house = House.at(tmp_path.resolve())
    house.rules = replace(house.rules, settle=SettleSettings(0, 0, 0, leases_prove=True))
    tried = Tried(house)

    try:
        for first in range(0, CLIPS, BATCH):
            numbers = range(first, min(first + BATCH, CLIPS))
            tried.take({f"{n}.mp4": damaged(clips, luck) for n in numbers})
    finally:
        tried.worker.close()
        house.journal.close()

    print(f"{CLIPS} damaged clips of {len(clips)}: {dict(tried.ends)}")
    print(f"{len(tried.workers)} probe workers were used")
    assert len(clips) > 15
    assert sum(tried.ends.values()) == CLIPS
    assert tried.ends["a video"] > CLIPS / 10
    assert tried.ends["refused"] > CLIPS / 100
    assert tried.ends["waiting"] == tried.ends["lost a worker"] == 0

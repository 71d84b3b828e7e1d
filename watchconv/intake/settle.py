"""Is a file still changing? Pure: what was seen and when goes in, how long to wait comes out.

Guarantees: age is measured by ctime when the file was first seen in its present condition, and by
the monotonic clock since then, so that a wall clock that is stepped ages nothing; never by mtime,
which is the client's to set; a ctime in the future counts for nothing; where the kernel proves
nothing, three looks and the longer time are asked for.
Does not look at the file: ``watch`` lists it, ``complete`` asks the kernel and the container.
Errors: none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

LOOKS_WITHOUT_PROOF = 3


@dataclass(frozen=True, slots=True)
class Observation:
    """A file as it was seen: its condition, since when (monotonic), in how many looks.

    age: for how many seconds, by its ctime, it had been in this condition when it was first seen.
    appeared: it came by move or link in this condition, so it was written elsewhere.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    since: float
    looks: int = 1
    appeared: bool = False
    age: float = 0.0

    @classmethod
    def of(
        cls, stat: os.stat_result, now: float, wall_now: float, *, appeared: bool
    ) -> Observation:
        """See a file. now is monotonic, wall_now since the epoch."""
        age = max(0.0, wall_now - stat.st_ctime_ns / 1e9)
        condition = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
        return cls(*condition, now, appeared=appeared, age=age)

    def same_file(self, other: Observation) -> bool:
        """Tell whether both saw the file in the same condition."""
        return (self.size, self.mtime_ns, self.ctime_ns) == (
            other.size,
            other.mtime_ns,
            other.ctime_ns,
        )


def observe_again(before: Observation | None, seen: Observation, *, own_look: bool) -> Observation:
    """Add a look to what was seen before; any change begins anew.

    own_look is False for a look that an event caused: several events of one moment are no
    several looks.
    """
    if before is None or not before.same_file(seen):
        return seen
    appeared = before.appeared or seen.appeared
    return replace(before, looks=before.looks + own_look, appeared=appeared)


def quiet_seconds(sight: Observation, now: float) -> float:
    """Say for how long a file has been left alone. now is monotonic."""
    return max(0.0, now - sight.since) + sight.age


def wait_with_proof(sight: Observation, now: float, settle_seconds: float) -> float:
    """Say how many seconds to wait where the kernel can prove that nobody writes; 0: settled."""
    if sight.appeared:
        return 0.0
    return max(0.0, settle_seconds - quiet_seconds(sight, now))


def wait_without_proof(sight: Observation, now: float, settle_seconds: float) -> float:
    """Say how many seconds to wait where nothing proves that nobody writes; 0: settled.

    ctime is another machine's here, so only what this one saw counts, in evenly spread looks.
    """
    quiet = now - sight.since
    if quiet >= settle_seconds and sight.looks >= LOOKS_WITHOUT_PROOF:
        return 0.0
    step = settle_seconds / (LOOKS_WITHOUT_PROOF - 1)
    next_look = min(sight.looks, LOOKS_WITHOUT_PROOF - 1) * step
    return max(next_look - quiet, min(step / 2, 0.5), 0.01)

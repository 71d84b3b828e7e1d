"""Medians and ratios beside their targets, line by line."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class CannotMeasure(Exception):  # noqa: N818 (it is an answer)
    """Why a figure is not there."""


@dataclass(slots=True)
class Report:
    """What was measured; printed as it comes."""

    quick: bool = False
    missed: list[str] = field(default_factory=list)
    unmeasured: list[str] = field(default_factory=list)
    judged: int = 0
    _title: str = ""

    def section(self, title: str) -> None:
        """Begin a section."""
        self._title = title
        print(f"\n{title}", flush=True)

    def runs(self, name: str, values: Sequence[float], unit: str) -> float:
        """Print what several runs gave, without a target; return their median."""
        return self.figure(name, statistics.median(values), unit, runs=values)

    def figure(
        self,
        name: str,
        value: float,
        unit: str = "",
        *,
        target: float | None = None,
        runs: Sequence[float] = (),
    ) -> float:
        """Print one figure, and whether it reaches its target; return it."""
        words = f"  {name:<58} {_number(value):>9} {unit:<5}"
        if target is not None:
            words += f" target ≤ {_number(target):<7} {self._judge(name, value, target)}"
        if len(runs) > 1:
            words += f"  [{_spread(runs)}]"
        print(words.rstrip(), flush=True)
        return value

    def _judge(self, name: str, value: float, target: float) -> str:
        self.judged += 1
        if value <= target:
            return "reached"
        self.missed.append(f"{self._title}: {name}: {_number(value)}, not {_number(target)}")
        return "MISSED "

    def note(self, text: str) -> None:
        """Print a remark."""
        print(f"  {text}", flush=True)

    def cannot(self, why: CannotMeasure) -> None:
        """Print that the rest of a section could not be measured."""
        self.unmeasured.append(f"{self._title}: {why}")
        print(f"  not measured: {why}", flush=True)

    def close(self) -> None:
        """Print the sum of it."""
        print(f"\n{self.judged} figures with a target, {len(self.missed)} missed")
        for line in self.missed:
            print(f"  MISSED {line}")
        for line in self.unmeasured:
            print(f"  not measured: {line}")
        if self.quick:
            print("  --quick: fewer and smaller clips; these are not the figures of the targets")


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _spread(runs: Sequence[float]) -> str:
    if len(runs) <= 5:
        return " ".join(map(_number, runs))
    return f"{_number(min(runs))} … {_number(max(runs))}, n={len(runs)}"

"""A destination in memory, that remembers what it did and fails where it is told to."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from watchconv.deliver.destination import DeliveryResult, ToError
from watchconv.model import Intent, JobState, OnSuccess, Verdict
from watchconv.names import numbered, report_of, with_suffix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from watchconv.deliver.destination import DeliveryOrder, DeliverySettings, ToOutbox
    from watchconv.model import Job, OutputFile


@dataclass(slots=True)
class FakeDestination:
    """Four folders that are one dictionary: ``outbox/a.webm`` → content and mtime."""

    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    fails_at: int = 0  # this step, counted from 1, is not taken
    cleared: list[int] = field(default_factory=list)

    def plan(
        self, job: Job, verdict: Verdict, outputs: Sequence[OutputFile], settings: DeliverySettings
    ) -> Intent:
        """Choose names that are free now."""
        if verdict is not Verdict.ENCODED:
            return Intent(verdict, original=self._free("error", [job.source])[0])
        names = self._free("outbox", [with_suffix(job.source, o.suffix) for o in outputs])
        named = [replace(output, name=name) for output, name in zip(outputs, names, strict=True)]
        moves = settings.on_success is OnSuccess.MOVE
        original = self._free("done", [job.source])[0] if moves else None
        return Intent(verdict, tuple(named), original, settings.on_success)

    def deliver(
        self, order: DeliveryOrder, retarget: Callable[[DeliveryOrder], object]
    ) -> DeliveryResult:
        """Carry out an order."""
        if isinstance(order, ToError):
            if self._is_original(order):
                self._file_original(order, "error", order.original, retarget)
            return DeliveryResult(JobState.FAILED)
        published = self._publish(order, retarget)
        if published is None:
            return DeliveryResult(JobState.SUPERSEDED)
        order = published
        wanted = order.settings.on_success is OnSuccess.DELETE
        if self._is_original(order):
            if order.original is not None:
                self._file_original(order, "done", order.original, retarget)
            elif order.delete and wanted:
                self._step(f"delete inbox/{order.source}")
                del self.files[f"inbox/{order.source}"]
        held = order.original is None and not (order.delete and wanted)
        return DeliveryResult(JobState.DONE, held=held)

    def remove_stale_report(self, original: str) -> None:
        """Remove nothing: no report lies here."""

    def clear(self, job: Job) -> None:
        """Forget the work."""
        self.cleared.append(job.id)
        for name in [name for name in self.files if name.startswith(f"work/{job.id}/")]:
            del self.files[name]

    def _publish(
        self, order: ToOutbox, retarget: Callable[[DeliveryOrder], object]
    ) -> ToOutbox | None:
        work = [f"work/{order.job_id}/{order.run}/{output.file}" for output in order.outputs]
        if not any(name.startswith(f"work/{order.job_id}/") for name in self.files):
            there = all(f"outbox/{name}" in self.files for name in order.names)
            return order if there or not self._is_original(order) else None
        left = [n for n, made in zip(order.names, work, strict=True) if made in self.files]
        if any(f"outbox/{name}" in self.files for name in left):
            for name, made in zip(order.names, work, strict=True):
                if made not in self.files:
                    self._move(f"outbox/{name}", made)
            wishes = [with_suffix(order.source, output.suffix) for output in order.outputs]
            order = replace(order, names=tuple(self._free("outbox", wishes)))
            retarget(order)
        for name, made in zip(order.names, work, strict=True):
            if made in self.files:
                self._move(made, f"outbox/{name}")
        return order

    def _file_original(
        self,
        order: DeliveryOrder,
        root: str,
        name: str,
        retarget: Callable[[DeliveryOrder], object],
    ) -> None:
        report = f"error/{report_of(name)}"
        if f"{root}/{name}" in self.files:
            self.files.pop(report, None)
            name = self._free(root, [order.source])[0]
            retarget(replace(order, original=name))
        if isinstance(order, ToError):
            self._step(f"report {name}")
            text = f"{order.reason}\n{order.report}"
            self.files[f"error/{report_of(name)}"] = (text.encode(), 0)
        self._move(f"inbox/{order.source}", f"{root}/{name}")

    def _is_original(self, order: DeliveryOrder) -> bool:
        content, mtime_ns = self.files.get(f"inbox/{order.source}", (b"", 0))
        return (len(content), mtime_ns) == order.expected

    def _free(self, root: str, wishes: Sequence[str]) -> list[str]:
        number = 1
        while any(f"{root}/{numbered(wish, number)}" in self.files for wish in wishes):
            number += 1
        return [numbered(wish, number) for wish in wishes]

    def _move(self, source: str, target: str) -> None:
        self._step(f"{source} → {target}")
        assert target not in self.files
        self.files[target] = self.files.pop(source)

    def _step(self, what: str) -> None:
        self.steps.append(what)
        if len(self.steps) == self.fails_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO), what)

"""What is wrong with the machine: logged once when it begins, once when it is over.

A trouble that is reported again unchanged makes no noise. Whoever reports one clears it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from watchconv.model import Job, Trouble

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Reported:
    trouble: Trouble
    sentence: str
    blocks: bool
    retry_at: float | None = None  # monotonic: then jobs are claimed to see whether it is over


class Troubles:
    """The present troubles. A blocking one keeps new jobs from being claimed."""

    def __init__(self, record: Callable[[Trouble, str, bool], None]) -> None:
        """Hand each beginning and end to record: (trouble, sentence, is it over)."""
        self._record = record
        self._present: dict[tuple[Trouble, object], _Reported] = {}

    def report(
        self,
        trouble: Trouble,
        sentence: str,
        *,
        blocks: bool = True,
        retry_seconds: float | None = None,
        job: Job | None = None,
    ) -> None:
        """Note that a trouble is there.

        retry_seconds: only trying again can show that it is over, and that is allowed then.
        job is the one that it is about: each job has its own.
        """
        retry_at = None if retry_seconds is None else time.monotonic() + retry_seconds
        reported = _Reported(trouble, sentence, blocks, retry_at)
        self._note((trouble, job.id if job else None), reported, job)

    def report_all(self, trouble: Trouble, sentences: Iterable[str], *, blocks: bool) -> bool:
        """Note that these are the troubles of a kind now; return whether one of before is over."""
        present: dict[tuple[Trouble, object], str]
        present = {(trouble, sentence): sentence for sentence in sentences}
        over = [key for key in self._present if key[0] == trouble and key not in present]
        for key, sentence in present.items():
            self._note(key, _Reported(trouble, sentence, blocks))
        for key in over:
            self._remove(key)
        return bool(over)

    def clear(self, trouble: Trouble, job: Job | None = None) -> None:
        """Note that a trouble is over, if it was there."""
        if self._present:  # this is called at each claim, and there is hardly ever one
            self._remove((trouble, job.id if job else None))

    def _note(
        self, key: tuple[Trouble, object], reported: _Reported, job: Job | None = None
    ) -> None:
        if reported.sentence not in self.sentences:  # of this trouble, or of another one
            log.warning("%s", reported.sentence, extra={"job": job})
            self._record(reported.trouble, reported.sentence, False)
        self._present[key] = reported

    def _remove(self, key: tuple[Trouble, object]) -> None:
        reported = self._present.pop(key, None)
        if reported and reported.sentence not in self.sentences:
            log.warning("over: %s", reported.sentence)
            self._record(reported.trouble, reported.sentence, True)

    def has(self, trouble: Trouble) -> bool:
        """Return whether a trouble of this kind is there."""
        return any(reported.trouble == trouble for reported in self._present.values())

    @property
    def sentences(self) -> list[str]:
        """The present troubles, each once."""
        return list(dict.fromkeys(reported.sentence for reported in self._present.values()))

    @property
    def degraded(self) -> bool:
        """Whether any of them keeps jobs from being claimed, or did until it is tried again."""
        return any(reported.blocks for reported in self._present.values())

    def blocked_seconds(self) -> float | None:
        """Return for how long no job may be claimed: 0 not at all, None until one is cleared."""
        longest = 0.0
        for reported in self._present.values():
            if reported.blocks:
                if reported.retry_at is None:
                    return None
                longest = max(longest, reported.retry_at - time.monotonic())
        return longest

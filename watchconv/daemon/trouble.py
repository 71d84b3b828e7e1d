"""What is wrong with the surroundings: said once when it begins, once when it ends.

Guarantees: a trouble that is told again unchanged makes no noise. Pure but for the log.
Does not heal anything: who told of a trouble tells of its end. Errors: none.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from watchconv.logs.format import about

if TYPE_CHECKING:
    from watchconv.model import Job

log = logging.getLogger(__name__)


class Troubles:
    """The present troubles by cause. A blocking one stops new jobs from being claimed."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        self._blocking: set[str] = set()
        self._on_trial: set[str] = set()  # of those, what is to be seen by trying again

    def tell(
        self, cause: str, sentence: str, *, blocking: bool = True, job: Job | None = None
    ) -> None:
        """Note that a trouble is there; job is the one it is about, if it is about one."""
        if sentence not in self._said.values():  # of this cause, or of another one
            log.warning("%s", sentence, extra=about(job) if job else None)
        self._said[cause] = sentence
        if blocking:
            self._blocking.add(cause)
        self._on_trial.discard(cause)

    def tell_all(self, kind: str, sentences: list[str], *, blocking: bool = True) -> bool:
        """Note that these are the troubles of a kind now; tell whether one is over."""
        present = {f"{kind}: {sentence}": sentence for sentence in sentences}
        over = [cause for cause in self._said if cause.startswith(f"{kind}: ")]
        over = [cause for cause in over if cause not in present]
        for cause, sentence in present.items():
            self.tell(cause, sentence, blocking=blocking)
        for cause in over:
            self.end(cause)
        return bool(over)

    def end(self, cause: str) -> bool:
        """Note that a trouble is over; tell whether it was there."""
        self._blocking.discard(cause)
        self._on_trial.discard(cause)
        sentence = self._said.pop(cause, None)
        if sentence and sentence not in self._said.values():
            log.warning("over: %s", sentence)
        return sentence is not None

    def unblock(self, cause: str) -> None:
        """Let jobs be claimed again to see whether a trouble is over; it stays said."""
        self._on_trial.add(cause)

    def tells(self, cause: str) -> bool:
        """Tell whether a trouble is there, or any of a kind."""
        return any(said == cause or said.startswith(f"{cause}: ") for said in self._said)

    @property
    def sentences(self) -> list[str]:
        """List the present troubles."""
        return list(dict.fromkeys(self._said.values()))

    @property
    def blocked(self) -> bool:
        """Tell whether any of them stops new jobs."""
        return bool(self._blocking - self._on_trial)

    @property
    def serious(self) -> bool:
        """Tell whether any of them stops new jobs, or did until it is tried again."""
        return bool(self._blocking)

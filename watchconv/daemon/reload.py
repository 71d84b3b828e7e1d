"""The configuration in effect: the one place that holds it, and how another takes its place.

Guarantees: ``now`` gives one whole, usable configuration, to everybody the same; a new one that
is not sound, or that this machine cannot run, never takes effect; what needs a restart keeps its
value until then, and that is said.
Does not tell anybody of the change: ``Daemon`` does.
Errors: ``ConfigError``, with every problem; ``MissingExtra`` where there is no ffmpeg.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from watchconv.deliver.ownership import Ownership
from watchconv.encode.program import examine_program, find_program, missing_encoders
from watchconv.errors import ConfigError
from watchconv.process.sandbox.support import ready

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchconv.config import Config
    from watchconv.encode.program import Program

log = logging.getLogger(__name__)

# locks, watches, the journal and the program are taken once; a log has one format from end to end
NEED_RESTART = ("inbox", "outbox", "done", "error", "state", "ffmpeg", "log_format")


class Settings:
    """Holds the configuration in effect."""

    def __init__(self, config: Config, reread: Callable[[], Config] | None) -> None:
        """Take the configuration at the start, and how to read it again (None: it has no file)."""
        self._now, self._reread = config, reread
        self._program = ""
        self._said: set[str] = set()  # what is not as it was asked for, and was said

    def now(self) -> Config:
        """Give the configuration in effect. Frozen: what takes its place is another object."""
        return self._now

    def examine(self) -> Program:
        """Find the ffmpeg, and see that the configuration can be run here. Once, at the start."""
        program = examine_program(find_program(self._now.ffmpeg), self._now.state)
        self._program = program.path
        self._demand_usable(self._now, program)
        return program

    def read_again(self) -> Config | None:
        """Take what the file holds now; the old configuration stays when that raises ConfigError.

        Returns the configuration in effect from now on, None where there is no file to read.
        """
        if self._reread is None:
            log.warning("there is no configuration to read again: with --root there is no file")
            return None
        new, old = self._reread(), self._now
        self._demand_usable(new, examine_program(self._program, old.state))
        names = [
            name for name in type(new).model_fields if getattr(new, name) != getattr(old, name)
        ]
        for name in names:
            if name in NEED_RESTART:
                log.warning("%s is another one now: that takes effect with the next start", name)
        said = ", ".join(name for name in names if name not in NEED_RESTART) or "nothing"
        log.info("the configuration was read again; changed: %s", said)
        self._now = new.model_copy(update={name: getattr(old, name) for name in NEED_RESTART})
        return self._now

    def _demand_usable(self, config: Config, program: Program) -> None:
        """Raise ConfigError for what cannot be run here; say once what is not as it was asked."""
        needed = {*config.profiles, config.profile}
        problems = missing_encoders(program, {name: config.all_profiles[name] for name in needed})
        lacks: tuple[str, ...] = ()
        try:
            lacks = ready(config.sandbox)
        except ConfigError as error:
            problems.append(str(error))
        if problems:
            raise ConfigError("\n".join(problems))
        sentences = (*lacks, *Ownership.of(config).lacks())
        for sentence in sentences:
            if sentence not in self._said:
                log.warning("%s", sentence)
        self._said = set(sentences)

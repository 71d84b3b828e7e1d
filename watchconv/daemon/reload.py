"""Whether a configuration can be run on this machine, at the start and when it is read again.

What is not sound, or cannot be run here, never takes effect. What is not as it was asked for, but
can be done without, is logged: at the start, and again only where a change brings it about.
"""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from watchconv.config import load_apart
from watchconv.deliver.destination import DeliverySettings
from watchconv.encode.program import (
    choose_program,
    examine_program,
    find_unusable,
    missing_encoders,
)
from watchconv.errors import ConfigError
from watchconv.process.sandbox.support import ready

if TYPE_CHECKING:
    from collections.abc import Collection

    from watchconv.config import Config
    from watchconv.encode.program import Program

log = logging.getLogger(__name__)

# locks, watches, the journal and the program are taken once; a log has one format from end to end
NEED_RESTART = ("inbox", "outbox", "done", "error", "state", "ffmpeg", "log_format")


def examine_start(config: Config) -> Program:
    """Return the ffmpeg to run; log what this machine lacks.

    Raises ConfigError, with every problem, or MissingExtra where there is no ffmpeg.
    """
    program = choose_program(config)
    log.info("ffmpeg %s: %s", program.ability.version, program.path)
    _demand_usable(config, program)
    return program


def read_again(old: Config, program: Program, path: str) -> Config:
    """Return the configuration in effect from now on: the file's, but for what needs a restart.

    Blocks while the file is read. Raises ConfigError, with every problem, or MissingExtra; the old
    configuration stays then.
    """
    new = load_apart(path, find_unusable)
    _demand_usable(new, examine_program(program.path, old.state), known=_lacks(old))
    names = [key.name for key in fields(new) if getattr(new, key.name) != getattr(old, key.name)]
    for name in names:
        if name in NEED_RESTART:
            log.warning("%s is another one now: that takes effect with the next start", name)
    if (
        new.ffmpeg == old.ffmpeg
        and (chosen := choose_program(replace(new, state=old.state))).path != program.path
    ):
        log.warning("ffmpeg: auto is %s now: that takes effect with the next start", chosen.path)
    said = ", ".join(name for name in names if name not in NEED_RESTART) or "nothing"
    log.info("the configuration was read again; changed: %s", said)
    return replace(new, **{name: getattr(old, name) for name in NEED_RESTART})


def _demand_usable(config: Config, program: Program, known: Collection[str] = ()) -> None:
    """Raise ConfigError for what cannot be run here; log what is not as it was asked for."""
    needed = {*config.profiles, config.profile}
    problems = missing_encoders(program, {name: config.all_profiles[name] for name in needed})
    lacks: tuple[str, ...] = ()
    try:
        lacks = _lacks(config)
    except ConfigError as error:
        problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    for sentence in lacks:
        if sentence not in known:
            log.warning("%s", sentence)


def _lacks(config: Config) -> tuple[str, ...]:
    return (
        *config.outdated,
        *ready(config.sandbox),
        *DeliverySettings.of(config).ownership.lacks(),
    )

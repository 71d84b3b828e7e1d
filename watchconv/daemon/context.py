"""What every part of one daemon uses. Made first; nothing in it is replaced later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchconv.config import Config
    from watchconv.daemon.signals import Signals
    from watchconv.daemon.trouble import Troubles
    from watchconv.host.folders import Folders
    from watchconv.journal.thread import JournalThread


class CurrentConfig:
    """The configuration in effect; a reload puts another frozen value in its place."""

    def __init__(self, config: Config) -> None:
        self._now = config

    @property
    def now(self) -> Config:
        """The whole configuration; keep it for as long as one thing must not change."""
        return self._now

    def replace(self, config: Config) -> None:
        """Let another configuration be in effect from now on."""
        self._now = config


@dataclass(frozen=True, slots=True)
class Context:
    """What the parts of a daemon share."""

    config: CurrentConfig
    folders: Folders
    journal: JournalThread
    troubles: Troubles
    signals: Signals

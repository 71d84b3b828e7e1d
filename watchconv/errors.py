"""The three tiers of failure.

A job's failure is a value (``model.Outcome``), never an exception. The environment's failure
is ``EnvironmentTrouble``: work pauses, it is said once, and it heals by itself. Any other
exception is a bug and is loud.

Messages are sentences for a person: what failed, on what, why, and what to do.
"""

from __future__ import annotations


class WatchconvError(Exception):
    """What watchconv says to a person; ``str()`` of it is the whole message."""


class ConfigError(WatchconvError):
    """The configuration cannot be used: exit 78. Holds every problem, one a line."""


class JournalError(WatchconvError):
    """The journal cannot be opened, read or written."""


class AlreadyRunning(WatchconvError):  # noqa: N818 (it is a state of affairs, as its message says)
    """Another daemon holds the state directory, the inbox or the outbox: exit 75."""


class EnvironmentTrouble(WatchconvError):  # noqa: N818 (named in the design)
    """A folder, a disk or a mount is not as it must be; no job is to blame, and it may heal."""


class MissingExtra(WatchconvError):  # noqa: N818 (named in the design)
    """Something that an optional extra of the package brings is not installed."""

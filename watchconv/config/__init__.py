"""The configuration: YAML to one frozen ``Config``, or every error at once.

``keys`` is the table of what can be written: names, types, ranges, defaults. ``document`` turns
YAML into texts with lines, ``values`` reads the texts that pydantic cannot read by itself,
``schema`` has pydantic validate against the table, ``sentences`` says what it found wrong,
``conflicts`` finds what is wrong between keys, ``load`` finds the file and does it all.

pydantic and yaml take 10 MB, so the process that stays (the daemon) does not load them: what is
imported here needs neither, and ``load_apart`` has a child of its own read the file.
"""

from __future__ import annotations

from watchconv.config.keys import Config, Examining, Receipts, Sandbox
from watchconv.config.load import NoConfigError, config_for_root, find_config, load_apart

__all__ = [
    "Config",
    "Examining",
    "NoConfigError",
    "Receipts",
    "Sandbox",
    "config_for_root",
    "find_config",
    "load_apart",
]

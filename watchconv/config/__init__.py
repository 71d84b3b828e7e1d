"""The configuration: YAML to one frozen ``Config``, or every error at once.

The way through the rooms: ``document`` (text to values with lines), ``values`` (what one value
may be), ``keys`` (which key has which value and default), ``conflicts`` (what needs two keys),
``load`` (all of it together), ``show`` (back to text).

Does not look at ffmpeg or touch the folders. Import stays cheap: YAML and pydantic, no more.

Errors: ``errors.ConfigError``, whose text holds every problem, one a line.
"""

from __future__ import annotations

import os

# looking for plugins means reading the metadata of every installed package: 15 ms for nothing
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from watchconv.config.keys import Config, IoNice, LogFormat, Sandbox, TimeLimit
from watchconv.config.load import (
    NoConfigError,
    config_for_root,
    find_config,
    load_config,
    nothing_more,
)
from watchconv.config.show import effective_yaml, schema
from watchconv.model import OnSuccess

__all__ = [
    "Config",
    "IoNice",
    "LogFormat",
    "NoConfigError",
    "OnSuccess",
    "Sandbox",
    "TimeLimit",
    "config_for_root",
    "effective_yaml",
    "find_config",
    "load_config",
    "nothing_more",
    "schema",
]

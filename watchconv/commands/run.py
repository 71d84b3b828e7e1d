"""``run``: the daemon in the foreground, with live bars where a person looks at stderr."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, NoReturn

# asyncio loads ssl where it finds it: 4 MB and 13 ms for encrypted sockets, of which we have none
_hidden = "ssl" not in sys.modules
if _hidden:
    sys.modules["ssl"] = None  # type: ignore[assignment]
import asyncio  # noqa: E402

if _hidden:
    del sys.modules["ssl"]

from watchconv.logs import format as logs  # noqa: E402

if TYPE_CHECKING:
    import argparse

    from watchconv.commands.progress_bars import ProgressBars
    from watchconv.config import Config


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Run the daemon; return its exit code."""
    from watchconv.config import load_config
    from watchconv.daemon import Daemon
    from watchconv.encode.program import find_unusable

    listener = _listener(config)
    if listener is None:
        logs.set_up(config.log_format)

    def reread() -> Config:
        """Read the file again, as SIGHUP wants it."""
        return load_config(arguments.config, find_unusable)

    def close() -> None:
        """Take the bars off the terminal. Idempotent."""
        if listener is not None:
            listener.close()

    async def live() -> NoReturn:
        """Live one daemon's life, and end the process at its end."""
        daemon = Daemon(
            config,
            once=arguments.once,
            make_folders=arguments.root is not None,
            listener=listener,
            reread=None if arguments.root is not None else reread,
        )
        code = await daemon.run()
        close()
        logging.shutdown()
        # not by way of asyncio, which waits for all threads: there would be no end where a dead
        # mount holds one. What is under way there is taken up by the next start, as after a crash
        os._exit(code)

    try:
        asyncio.run(live())
    finally:
        close()


def _listener(config: Config) -> ProgressBars | None:
    if not sys.stderr.isatty():
        return None
    from watchconv.commands.progress_bars import ProgressBars

    bars = ProgressBars()
    logs.set_up(config.log_format, bars.log_sink)
    return bars

"""``run``: the daemon in the foreground, with live bars where a person looks at stderr."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from watchconv.daemon import Daemon
from watchconv.logs import format as logs

if TYPE_CHECKING:
    import argparse

    from watchconv.commands.progress_bars import ProgressBars
    from watchconv.config import Config


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Run the daemon until it ends, and the process with it."""
    bars: ProgressBars | None = None
    if sys.stderr.isatty():
        from watchconv.commands.progress_bars import ProgressBars

        bars = ProgressBars()
    logs.set_up(config.log_format, bars.log_sink if bars else None)
    daemon = Daemon(
        config,
        once=arguments.once,
        make_folders=arguments.root is not None,
        display=bars,
        config_file=arguments.config,
    )

    async def live() -> NoReturn:
        """Run it, then end the process."""
        code = await daemon.run()
        if bars:
            bars.close()
        logging.shutdown()
        # not by way of asyncio, which waits for all threads: there would be no end where a dead
        # mount holds one. What is under way there is taken up by the next start, as after a crash
        os._exit(code)

    try:
        asyncio.run(live())
    finally:
        if bars:
            bars.close()
